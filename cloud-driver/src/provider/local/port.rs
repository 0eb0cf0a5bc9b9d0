//! Ports of instances: chosen outside of what the system gives to outgoing
//! connections, tested before use, and seen to belong to whom they should.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::Error;

/// The ports instances may get.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// A range, both ends included.
    pub fn new(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    /// A port that is not in `taken` and can be bound now, from a random one on:
    /// a port just given back is not the next one given out.
    ///
    /// # Errors
    /// When there is none.
    pub fn free(&self, taken: &BTreeSet<u16>) -> Result<u16, Error> {
        let from = rand::random_range(self.first..=self.last);
        (from..=self.last)
            .chain(self.first..from)
            .find(|port| !taken.contains(port) && can_bind(*port))
            .ok_or(Error::NoPort {
                first: self.first,
                last: self.last,
            })
    }

    /// Whether somebody else holds the port now.
    pub fn is_held(&self, port: u16) -> bool {
        !can_bind(port)
    }

    /// How the range overlaps the system's own range for outgoing connections,
    /// in words; none when it does not.
    pub fn overlap(&self) -> Option<String> {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut bounds = text
            .split_whitespace()
            .filter_map(|b| b.parse::<u16>().ok());
        let (low, high) = (bounds.next()?, bounds.next()?);
        (self.first <= high && self.last >= low).then(|| {
            format!(
                "local.first-port {} to local.last-port {} overlaps ip_local_port_range {low} to {high}: \
                 outgoing connections may take an instance's port; choose another range",
                self.first, self.last
            )
        })
    }
}

fn can_bind(port: u16) -> bool {
    // std sets SO_REUSEADDR, so a port whose last connection lingers is free,
    // and one that somebody listens on is not.
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}

/// Whether a process of the group `leader` leads listens on the port: its own
/// socket, not that of a predecessor or of a stranger.
#[cfg(target_os = "linux")]
pub fn listens(leader: u32, port: u16) -> bool {
    let sockets = listeners(port);
    if sockets.is_empty() {
        return false;
    }
    let owned = |pid: u32| -> Option<bool> {
        let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut links = folder
            .flatten()
            .filter_map(|e| std::fs::read_link(e.path()).ok());
        Some(links.any(|link| {
            let text = link.to_string_lossy();
            let inode = text
                .strip_prefix("socket:[")
                .and_then(|t| t.strip_suffix(']'));
            inode.is_some_and(|i| sockets.iter().any(|s| s == i))
        }))
    };
    match owned(leader) {
        Some(true) => return true,
        // Another user's process, which we may not look into: that somebody
        // listens is all there is to know.
        None => return true,
        Some(false) => {}
    }
    members(leader)
        .into_iter()
        .any(|pid| owned(pid) == Some(true))
}

/// Elsewhere only that somebody listens can be known.
#[cfg(not(target_os = "linux"))]
pub fn listens(_leader: u32, port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(100)).is_ok()
}

/// Inodes of the sockets that listen on a port.
#[cfg(target_os = "linux")]
fn listeners(port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) =
                (fields.get(1), fields.get(3), fields.get(9))
            else {
                continue;
            };
            let number = local
                .rsplit(':')
                .next()
                .and_then(|p| u16::from_str_radix(p, 16).ok());
            if *state == "0A" && number == Some(port) {
                found.push((*inode).to_owned());
            }
        }
    }
    found
}

/// The other processes of a process group.
#[cfg(target_os = "linux")]
fn members(leader: u32) -> Vec<u32> {
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = folder
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let group = rest
            .split_whitespace()
            .nth(2)
            .and_then(|g| g.parse::<u32>().ok());
        group == Some(leader) && *pid != leader
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_somebody_listens_on_is_not_free_and_is_ours_if_we_listen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(Ports::new(port, port).free(&BTreeSet::new()).is_err());
        assert!(listens(std::process::id(), port));
        drop(listener);
        assert!(!listens(std::process::id(), port));
        assert_eq!(Ports::new(port, port).free(&BTreeSet::new()).unwrap(), port);
        assert!(
            Ports::new(port, port)
                .free(&BTreeSet::from([port]))
                .is_err()
        );
    }
}
