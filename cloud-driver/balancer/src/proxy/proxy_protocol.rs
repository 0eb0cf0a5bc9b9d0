//! The PROXY protocol, versions 1 and 2, as HAProxy's `proxy-protocol.txt` specifies it: a header
//! before everything else, by which a proxy names the client.
//!
//! Exactly the header is taken out of the connection, and nothing of it is believed before all of it
//! is there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::peek::{Told, peek};

/// How a header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// How a header of version 1 begins.
const WORD: &[u8; 6] = b"PROXY ";
/// Longest header of version 1, by its specification.
const MOST_LINE: usize = 107;
/// Bytes of a header of version 2 before those it counts.
const FIXED: usize = 16;
/// Most bytes that a header of version 2 may count: addresses and what is said of them.
const MOST_COUNTED: usize = 4_096;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// This client, says the proxy.
    Client(SocketAddr),
    /// The proxy itself, as when it probes, or somebody it cannot name.
    Sender,
}

/// Why a header is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The connection failed, or ended before its first byte.
    #[error("connection ended")]
    Gone,
    /// It is none of the protocol.
    #[error("header is malformed: {0}")]
    Malformed(&'static str),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("it ends early"),
            _ => Self::Gone,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    V1,
    V2,
    Absent,
}

fn kind(bytes: &[u8]) -> Option<Kind> {
    let begins = |with: &[u8]| {
        let length = bytes.len().min(with.len());
        (bytes[..length] == with[..length]).then_some(length == with.len())
    };
    match (begins(WORD), begins(SIGNATURE)) {
        (Some(true), _) => Some(Kind::V1),
        (_, Some(true)) => Some(Kind::V2),
        (None, None) => Some(Kind::Absent),
        _ => None,
    }
}

/// Takes the header out; none when the connection does not begin with one.
///
/// # Errors
/// See [`HeaderError`]; the connection is of no use then.
pub(crate) async fn take(stream: &mut TcpStream) -> Result<Option<Header>, HeaderError> {
    let told = peek(stream, &mut [0; SIGNATURE.len()], kind).await?;
    match told {
        Told::This(Kind::V1) => line(stream).await.map(Some),
        Told::This(Kind::V2) => binary(stream).await.map(Some),
        Told::Ended(0) => Err(HeaderError::Gone),
        Told::Ended(_) => Err(HeaderError::Malformed("it ends early")),
        Told::This(Kind::Absent) | Told::Full => Ok(None),
    }
}

async fn line(stream: &mut TcpStream) -> Result<Header, HeaderError> {
    let mut buffer = [0; MOST_LINE];
    let end = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n');
    let length = match peek(stream, &mut buffer, end).await? {
        Told::This(end) => end + 1,
        Told::Full => return Err(HeaderError::Malformed("its line is too long")),
        Told::Ended(_) => return Err(HeaderError::Malformed("it ends early")),
    };
    stream.read_exact(&mut buffer[..length]).await?;
    read_line(&buffer[..length]).map_err(HeaderError::Malformed)
}

fn read_line(line: &[u8]) -> Result<Header, &'static str> {
    let line = line.strip_suffix(b"\r\n").ok_or("no carriage return")?;
    let line = line.strip_prefix(WORD).ok_or("another word")?;
    let line = std::str::from_utf8(line).map_err(|_| "not ASCII")?;
    let words: Vec<&str> = line.split(' ').collect();
    if words[0] == "UNKNOWN" {
        // What follows says nothing, by the specification.
        return Ok(Header::Sender);
    }
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return Err("not two addresses and two ports");
    };
    let address = |text: &str| -> Result<IpAddr, &'static str> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6),
            _ => return Err("unknown family"),
        }
        .map_err(|_| "an address that is none of its family")
    };
    let (source, _) = (address(source)?, address(destination)?);
    let (port, _) = (port(source_port)?, port(destination_port)?);
    Ok(Header::Client(SocketAddr::new(source, port)))
}

fn port(text: &str) -> Result<u16, &'static str> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (text == "0" || !text.starts_with('0'));
    let port = text.parse().ok().filter(|_| canonical);
    port.ok_or("a port that is none")
}

async fn binary(stream: &mut TcpStream) -> Result<Header, HeaderError> {
    let mut fixed = [0; FIXED];
    stream.read_exact(&mut fixed).await?;
    let counted = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if counted > MOST_COUNTED {
        return Err(HeaderError::Malformed("it is too long"));
    }
    let mut rest = vec![0; counted];
    stream.read_exact(&mut rest).await?;
    read_binary(fixed[12], fixed[13], &rest).map_err(HeaderError::Malformed)
}

fn read_binary(command: u8, family: u8, rest: &[u8]) -> Result<Header, &'static str> {
    match command {
        // Of itself: whatever follows is skipped, by the specification.
        0x20 => return Ok(Header::Sender),
        0x21 => {}
        _ => return Err("unknown version or command"),
    }
    let (client, said) = match family {
        // Unspecified: nobody that it could name.
        0x00 => return Ok(Header::Sender),
        0x11 => {
            let (addresses, said) = rest
                .split_first_chunk::<12>()
                .ok_or("no room for its addresses")?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            (
                SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port),
                said,
            )
        }
        0x21 => {
            let (addresses, said) = rest
                .split_first_chunk::<36>()
                .ok_or("no room for its addresses")?;
            let mut address = [0; 16];
            address.copy_from_slice(&addresses[..16]);
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            (SocketAddr::new(Ipv6Addr::from(address).into(), port), said)
        }
        _ => return Err("unknown family"),
    };
    skip(said)?;
    Ok(Header::Client(client))
}

/// Goes through what else is said, none of which is used: type, length, value.
fn skip(mut said: &[u8]) -> Result<(), &'static str> {
    while let [_, high, low, rest @ ..] = said {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        said = rest.get(length..).ok_or("a value longer than the header")?;
    }
    if said.is_empty() {
        Ok(())
    } else {
        Err("bytes that are no value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Result<Header, &'static str> {
        Ok(Header::Client(text.parse().unwrap()))
    }

    #[test]
    fn lines_are_read_and_what_is_none_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(80));
        for (line, read) in [
            (
                "PROXY TCP4 10.1.2.3 10.0.0.1 5000 80\r\n",
                client("10.1.2.3:5000"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 5000 80\r\n",
                client("[2001:db8::1]:5000"),
            ),
            (
                "PROXY TCP4 255.255.255.255 0.0.0.0 0 65535\r\n",
                client("255.255.255.255:0"),
            ),
            ("PROXY UNKNOWN\r\n", Ok(Header::Sender)),
            ("PROXY UNKNOWN ff:: ff:: 1 1\r\n", Ok(Header::Sender)),
            (&long, Ok(Header::Sender)),
            (
                "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
                Err("an address that is none of its family"),
            ),
            (
                "PROXY TCP6 10.1.2.3 10.0.0.1 1 2\r\n",
                Err("an address that is none of its family"),
            ),
            (
                "PROXY TCP4 10.1.2.3 ::1 1 2\r\n",
                Err("an address that is none of its family"),
            ),
            (
                "PROXY TCP4 010.1.2.3 10.0.0.1 1 2\r\n",
                Err("an address that is none of its family"),
            ),
            (
                "PROXY TCP4 host 10.0.0.1 1 2\r\n",
                Err("an address that is none of its family"),
            ),
            (
                "PROXY TCP5 10.1.2.3 10.0.0.1 1 2\r\n",
                Err("unknown family"),
            ),
            (
                "PROXY tcp4 10.1.2.3 10.0.0.1 1 2\r\n",
                Err("unknown family"),
            ),
            (
                "PROXY UNKNOWNS 10.1.2.3 10.0.0.1 1 2\r\n",
                Err("unknown family"),
            ),
            (
                "PROXY TCP4 10.1.2.3 10.0.0.1 1\r\n",
                Err("not two addresses and two ports"),
            ),
            (
                "PROXY TCP4 10.1.2.3 10.0.0.1 1 2 3\r\n",
                Err("not two addresses and two ports"),
            ),
            (
                "PROXY TCP4  10.1.2.3 10.0.0.1 1 2\r\n",
                Err("not two addresses and two ports"),
            ),
            ("PROXY \r\n", Err("not two addresses and two ports")),
            (
                "PROXY TCP4 10.1.2.3 10.0.0.1 1 65536\r\n",
                Err("a port that is none"),
            ),
            (
                "PROXY TCP4 10.1.2.3 10.0.0.1 01 2\r\n",
                Err("a port that is none"),
            ),
            (
                "PROXY TCP4 10.1.2.3 10.0.0.1 +1 2\r\n",
                Err("a port that is none"),
            ),
            (
                "PROXY TCP4 10.1.2.3 10.0.0.1 1 \r\n",
                Err("a port that is none"),
            ),
            (
                "PROXY TCP4 10.1.2.3 10.0.0.1 1 2\n",
                Err("no carriage return"),
            ),
        ] {
            assert_eq!(read_line(line.as_bytes()), read, "{line:?}");
        }
        assert_eq!(read_line(b"PROXY \xff\r\n"), Err("not ASCII"));
    }

    #[test]
    fn binary_headers_are_read_and_what_is_none_is_refused() {
        let four = [10, 1, 2, 3, 10, 0, 0, 1, 0x13, 0x88, 0, 80];
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        six[32..34].copy_from_slice(&5000_u16.to_be_bytes());
        let with = |said: &[u8]| [&four[..], said].concat();
        for (command, family, rest, read) in [
            (0x21, 0x11, four.to_vec(), client("10.1.2.3:5000")),
            (0x21, 0x21, six.to_vec(), client("[2001:db8::1]:5000")),
            (
                0x21,
                0x11,
                with(&[4, 0, 2, 9, 9, 1, 0, 0]),
                client("10.1.2.3:5000"),
            ),
            (0x20, 0x00, Vec::new(), Ok(Header::Sender)),
            (0x20, 0x11, vec![1, 2, 3], Ok(Header::Sender)),
            (0x21, 0x00, vec![1, 2, 3], Ok(Header::Sender)),
            (
                0x21,
                0x11,
                four[..11].to_vec(),
                Err("no room for its addresses"),
            ),
            (0x21, 0x21, four.to_vec(), Err("no room for its addresses")),
            (0x21, 0x12, four.to_vec(), Err("unknown family")),
            (0x21, 0x31, vec![0; 216], Err("unknown family")),
            (0x21, 0x41, four.to_vec(), Err("unknown family")),
            (0x22, 0x11, four.to_vec(), Err("unknown version or command")),
            (0x11, 0x11, four.to_vec(), Err("unknown version or command")),
            (
                0x21,
                0x11,
                with(&[4, 0, 3, 9, 9]),
                Err("a value longer than the header"),
            ),
            (0x21, 0x11, with(&[4, 0]), Err("bytes that are no value")),
        ] {
            assert_eq!(
                read_binary(command, family, &rest),
                read,
                "{command:x} {family:x}"
            );
        }
    }

    #[test]
    fn the_first_bytes_tell_which_it_is_as_soon_as_they_can() {
        for (bytes, told) in [
            (&b"PROXY "[..], Some(Kind::V1)),
            (b"PROXY TCP4 1", Some(Kind::V1)),
            (SIGNATURE, Some(Kind::V2)),
            (b"PROX", None),
            (b"PR", None),
            (b"\r\n\r\n\0", None),
            (b"", None),
            (b"PRI *", Some(Kind::Absent)),
            (b"PROXY\t", Some(Kind::Absent)),
            (b"GET /", Some(Kind::Absent)),
            (b"\r\nGET", Some(Kind::Absent)),
            (&[0x16, 3, 1], Some(Kind::Absent)),
        ] {
            assert_eq!(kind(bytes), told, "{bytes:?}");
        }
    }
}
