//! Ports for servers that are started a moment later.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the kernel chooses from: its first port and its last one.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The first port that is given.
const FIRST: u16 = 10_000;
/// What local instances get unless `gennaker.yml` says otherwise (`cloud_driver::config::Local`): tests of
/// deployments start them there.
const INSTANCES: RangeInclusive<u16> = 20_000..=24_999;
/// Where the kernel's range begins unless the system says otherwise.
const USUAL: u16 = 32_768;
/// With fewer ports than these below its range, it has been moved for somebody's good reason.
const FEWEST: u16 = 1_000;
/// How far apart processes with adjacent ids begin.
const APART: usize = 7_919;

/// How many ports this process has asked for.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// A port at 127.0.0.1 that is free now, and that the kernel gives to nobody before the server listens that is
/// started on it a moment later.
///
/// `127.0.0.1:0` would not do. The kernel chooses a port, and once that is closed it may choose it again for whoever
/// asks next: a stub of the same process, or an outgoing connection. A server may need a second until it listens, and
/// a test that waits for it gets its first answer from the wrong one meanwhile. So the port is below what the kernel
/// chooses from, another one at each call in a process, and sought from another place in each process.
///
/// # Panics
/// None is free.
pub fn free() -> u16 {
    let below = begin(std::fs::read_to_string(RANGE).ok());
    let ports: Vec<u16> = (FIRST..below).filter(|p| !INSTANCES.contains(p)).collect();
    let place = std::process::id() as usize * APART;
    let sought = std::iter::repeat_with(|| place + ASKED.fetch_add(1, Ordering::Relaxed))
        .map(|number| ports[number % ports.len()]);
    first_free(sought.take(ports.len()))
        .unwrap_or_else(|| panic!("no free port from {FIRST} to {below}"))
}

fn first_free(mut ports: impl Iterator<Item = u16>) -> Option<u16> {
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

/// Where the range begins that the kernel chooses from. A range that leaves nothing below itself cannot be
/// avoided: the usual place is as good as any then.
fn begin(told: Option<String>) -> u16 {
    let low = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    low.filter(|low| *low >= FIRST + FEWEST).unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_below_the_kernels_range_differ_and_can_be_bound() {
        let below = begin(std::fs::read_to_string(RANGE).ok());
        let given: Vec<u16> = (0..200).map(|_| free()).collect();
        for port in &given {
            assert!((FIRST..below).contains(port), "{port}");
            assert!(!INSTANCES.contains(port), "{port}");
        }
        let different: BTreeSet<_> = given.iter().collect();
        assert_eq!(different.len(), given.len());
        let bound = given
            .iter()
            .map(|port| TcpListener::bind(("127.0.0.1", *port)));
        bound.collect::<Result<Vec<_>, _>>().unwrap();
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_given() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let (taken, other) = (held.local_addr().unwrap().port(), free());
        assert_eq!(first_free([taken, other].into_iter()), Some(other));
        assert_eq!(first_free([taken].into_iter()), None);
    }

    #[test]
    fn the_kernels_range_is_read_where_something_is_below_it() {
        for (told, expected) in [
            (Some("32768\t60999\n"), 32_768),
            (Some("15000 61000"), 15_000),
            (Some("1024 65535"), USUAL),
            (Some("10001 65535"), USUAL),
            (Some("?"), USUAL),
            (None, USUAL),
        ] {
            assert_eq!(begin(told.map(str::to_owned)), expected, "{told:?}");
        }
    }
}
