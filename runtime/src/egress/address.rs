//! Which addresses a request of a user must not reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is refused, or none if it may be reached.
pub(super) fn refusal(address: IpAddr) -> Option<&'static str> {
    let reason = match address {
        IpAddr::V4(v4) => v4_refusal(v4),
        IpAddr::V6(v6) => v6_refusal(v6),
    };
    reason.or_else(|| own(address).then_some("an address of this machine"))
}

fn v4_refusal(v4: Ipv4Addr) -> Option<&'static str> {
    if v4.is_loopback() {
        Some("a loopback address")
    } else if v4.is_link_local() {
        Some("a link-local address")
    } else if v4.is_unspecified() || v4.octets()[0] == 0 {
        Some("an unspecified address")
    } else if v4.is_multicast() || v4.is_broadcast() {
        Some("a multicast address")
    } else {
        None
    }
}

fn v6_refusal(v6: Ipv6Addr) -> Option<&'static str> {
    // An IPv4 address in IPv6 clothes (mapped, compatible, 6to4, NAT64) is judged as what it is.
    if let Some(v4) = embedded_v4(v6) {
        return refusal(IpAddr::V4(v4));
    }
    if v6.is_loopback() {
        Some("a loopback address")
    } else if v6.is_unspecified() {
        Some("an unspecified address")
    } else if v6.is_unicast_link_local() {
        Some("a link-local address")
    } else if v6.is_multicast() {
        Some("a multicast address")
    } else {
        None
    }
}

fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let last = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(last(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(last(high, low)),
        [0x2002, high, low, ..] => Some(last(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(last(high, low)),
        _ => None,
    }
}

/// Whether an interface of this machine has the address, as the kernel lists
/// them. Where it lists none (not Linux), only the classes above are refused.
fn own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            std::fs::read_to_string("/proc/net/fib_trie").is_ok_and(|trie| in_fib_trie(&trie, v4))
        }
        IpAddr::V6(v6) => {
            std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|list| in_if_inet6(&list, v6))
        }
    }
}

fn in_fib_trie(trie: &str, address: Ipv4Addr) -> bool {
    let leaf = format!("|-- {address}");
    let mut lines = trie.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == leaf
            && lines
                .peek()
                .is_some_and(|next| next.contains("/32 host LOCAL"))
        {
            return true;
        }
    }
    false
}

fn in_if_inet6(list: &str, address: Ipv6Addr) -> bool {
    let text: String = address
        .octets()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    list.lines().any(|line| line.starts_with(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_addresses_are_refused_in_every_clothing() {
        for (text, refused) in [
            ("127.0.0.1", true),
            ("127.8.9.1", true),
            ("0.0.0.0", true),
            ("169.254.169.254", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("::1", true),
            ("::", true),
            ("::ffff:127.0.0.1", true),
            ("::127.0.0.1", true),
            ("2002:7f00:1::", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("8.8.8.8", false),
            ("10.1.2.3", false),
            ("2606:4700::1111", false),
        ] {
            assert_eq!(refusal(text.parse().unwrap()).is_some(), refused, "{text}");
        }
    }

    #[test]
    fn own_addresses_are_read_from_the_kernels_list() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.5\n        /32 host LOCAL\n     \
                    |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert!(in_fib_trie(trie, "10.0.0.5".parse().unwrap()));
        assert!(!in_fib_trie(trie, "10.0.0.255".parse().unwrap()));
        let list = "20010db8000000000000000000000001 02 40 00 80     eth0\n";
        assert!(in_if_inet6(list, "2001:db8::1".parse().unwrap()));
    }
}
