//! Whose socket listens on a port: so that a probe answered by somebody else's
//! process does not count.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};

/// The kernel's tables. The second one is only read when the first does not have it: where nobody
/// listens in it, the kernel goes through all connections of the host to say so.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Inodes of the TCP sockets of a table that listen on a port.
///
/// The kernel tells sockets that listen before all others (`net/ipv4/tcp_ipv4.c`, `tcp_get_idx`), and
/// of the others a busy host has tens of thousands: they are not read.
fn listening(table: &str, port: u16) -> BTreeSet<u64> {
    let Ok(file) = File::open(table) else {
        return BTreeSet::new();
    };
    let rows = BufReader::new(file).lines().map_while(Result::ok).skip(1);
    let listening = rows.map_while(|line| listens_at(&line));
    let inodes = listening.filter_map(|(at, inode)| (at == port).then_some(inode));
    inodes.collect()
}

/// Port and inode of a row of the kernel's table, if it is that of a socket that listens.
fn listens_at(line: &str) -> Option<(u16, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?.rsplit(':').next()?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let port = u16::from_str_radix(local, 16).ok()?;
    Some((port, fields.nth(5)?.parse().ok()?))
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
    TABLES.into_iter().any(|table| {
        let inodes = listening(table, port);
        // Most often it is the first process itself; the others are only looked for when it is not.
        !inodes.is_empty()
            && (holds(group, &inodes) || members(group).into_iter().any(|pid| holds(pid, &inodes)))
    })
}

/// Whether a process has one of these sockets.
fn holds(pid: u32, inodes: &BTreeSet<u64>) -> bool {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_of_sockets_that_listen_count() {
        let line = "   0: 0100007F:4E21 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1";
        assert_eq!(listens_at(line), Some((0x4E21, 12345)));
        assert_eq!(listens_at(&line.replace(" 0A ", " 01 ")), None);
    }

    #[test]
    fn a_socket_of_this_process_is_found_in_its_group() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Connections of the same port, before and behind it in the table, make no difference.
        let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        assert!(listens(u32::try_from(group).unwrap(), port));
        assert!(!listens(1, port));
        // In the second table as well.
        let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
            println!("skipped: this host has no IPv6");
            return;
        };
        let port = listener.local_addr().unwrap().port();
        assert!(listens(u32::try_from(group).unwrap(), port));
    }
}
