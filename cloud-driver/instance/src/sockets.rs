//! Whose socket listens on a port: so that a probe answered by somebody else's
//! process does not count.

use std::collections::BTreeSet;
use std::fs;

/// Inodes of the TCP sockets that listen on a port.
fn listening(port: u16) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else {
            continue;
        };
        found.extend(text.lines().skip(1).filter_map(|line| row(line, port)));
    }
    found
}

/// The inode of a row of the kernel's table, if it listens on the port.
fn row(line: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let local = fields.get(1)?.rsplit(':').next()?;
    let listens = *fields.get(3)? == "0A";
    let same = u16::from_str_radix(local, 16).ok()? == port;
    if listens && same {
        fields.get(9)?.parse().ok()
    } else {
        None
    }
}

/// Process ids of a process group.
fn members(group: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let in_group = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let rest = &text[text.rfind(')')? + 1..];
        rest.split_ascii_whitespace().nth(2)?.parse::<u32>().ok()
    };
    entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok()?.parse().ok())
        .filter(|pid| in_group(pid) == Some(group))
        .collect()
}

/// Whether a process of the group has a socket that listens on the port.
pub(crate) fn listens(group: u32, port: u16) -> bool {
    let inodes = listening(port);
    if inodes.is_empty() {
        return false;
    }
    members(group).into_iter().any(|pid| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors
            .filter_map(|d| fs::read_link(d.ok()?.path()).ok())
            .any(|target| {
                let text = target.to_string_lossy();
                text.strip_prefix("socket:[")
                    .and_then(|t| t.strip_suffix(']')?.parse().ok())
                    .is_some_and(|inode: u64| inodes.contains(&inode))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_rows_of_the_port_count() {
        let line = "   0: 0100007F:4E21 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1";
        assert_eq!(row(line, 0x4E21), Some(12345));
        assert_eq!(row(line, 0x4E22), None);
        assert_eq!(row(&line.replace(" 0A ", " 01 "), 0x4E21), None);
    }

    #[test]
    fn a_socket_of_this_process_is_found_in_its_group() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        assert!(listens(u32::try_from(group).unwrap(), port));
        assert!(!listens(1, port));
    }
}
