//! Networks: which addresses are meant by `10.0.0.0/8`.

use std::net::IpAddr;
use std::str::FromStr;

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkError {
    /// The text.
    pub text: String,
    /// What is wrong with it, and what to write instead.
    pub why: String,
}

impl std::fmt::Display for NetworkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\" {}", self.text, self.why)
    }
}

impl std::error::Error for NetworkError {}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = |why: &str| NetworkError {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| wrong("is no network; write one like 10.0.0.0/8 or ::1/128"))?;
        let most = width(address);
        let bits = match bits.map(str::parse) {
            None => most,
            Some(Ok(bits)) if bits <= most => bits,
            Some(_) => {
                return Err(wrong(&format!(
                    "has no length from 0 to {most} after its /"
                )));
            }
        };
        let network = Self { address, bits };
        if number(address) & !network.mask() != 0 {
            return Err(wrong(&format!(
                "has bits behind its length of {bits}; set them to 0"
            )));
        }
        Ok(network)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

impl Network {
    fn mask(self) -> u128 {
        let width = width(self.address);
        let all = u128::MAX >> (128 - width);
        let host = width - self.bits;
        // Shifting by all of a number's bits is none in Rust.
        all & u128::MAX.checked_shl(host).unwrap_or(0)
    }

    /// Whether an address is one of them. An IPv4 address within IPv6 counts as the IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && number(address) & self.mask() == number(self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_as_it_does() {
        for (network, inside, outside) in [
            (
                "127.0.0.0/8",
                &["127.0.0.1", "127.255.0.1", "::ffff:127.0.0.1"][..],
                &["128.0.0.1", "::1"][..],
            ),
            ("10.1.2.3", &["10.1.2.3"], &["10.1.2.2", "10.1.2.4"]),
            (
                "192.168.4.0/23",
                &["192.168.4.0", "192.168.5.255"],
                &["192.168.6.0", "192.168.3.255"],
            ),
            (
                "0.0.0.0/0",
                &["1.2.3.4", "255.255.255.255"],
                &["::1", "2001:db8::1"],
            ),
            ("::/0", &["::1", "2001:db8::1"], &["1.2.3.4"]),
            ("::1/128", &["::1"], &["::2"]),
            (
                "2001:db8::/33",
                &["2001:db8:7fff::1"],
                &["2001:db8:8000::1"],
            ),
        ] {
            let network: Network = network.parse().unwrap();
            for address in inside {
                assert!(
                    network.contains(address.parse().unwrap()),
                    "{network:?} {address}"
                );
            }
            for address in outside {
                assert!(
                    !network.contains(address.parse().unwrap()),
                    "{network:?} {address}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_remedy() {
        for (text, why) in [
            ("", "is no network"),
            ("host", "is no network"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/-1", "from 0 to 32"),
            ("10.0.0.1/8", "behind its length of 8"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains(text),
                "{text}: {error}"
            );
        }
    }
}
