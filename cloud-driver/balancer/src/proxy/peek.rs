//! Looking at the first bytes of a connection without taking them out of it.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What the first bytes told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told<T> {
    /// What was looked for.
    This(T),
    /// The buffer is full and it was not there.
    Full,
    /// The client has ended after so many bytes.
    Ended(usize),
}

/// Looks until `tell` knows; it is asked again with more bytes as long as it does not.
///
/// # Errors
/// When the connection has failed.
pub(crate) async fn peek<T>(
    stream: &TcpStream,
    buffer: &mut [u8],
    tell: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Told<T>> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        // Within `try_io`, so that bytes which do not suffice count as none: it then waits for more,
        // although those that are there have not been read.
        let looked = stream.try_io(Interest::READABLE, || {
            let (read, _) = recv(stream, &mut *buffer, RecvFlags::PEEK)?;
            let told = tell(&buffer[..read]).map(Told::This);
            let told = told.or_else(|| (read == buffer.len()).then_some(Told::Full));
            let ended = read == 0 || ready.is_read_closed();
            let told = told.or_else(|| ended.then_some(Told::Ended(read)));
            told.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            looked => return looked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let client = client.unwrap();
        client.set_nodelay(true).unwrap();
        (client, accepted.unwrap().0)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let limited = async { tokio::time::timeout(Duration::from_secs(10), test).await };
        runtime.unwrap().block_on(limited).unwrap();
    }

    /// The position of the first `;`.
    fn semicolon(bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|byte| *byte == b';')
    }

    #[test]
    fn bytes_that_come_one_by_one_are_waited_for_and_stay_where_they_are() {
        run(async {
            let (mut client, mut server) = pair().await;
            let text = b"some words;rest";
            let write = async {
                for byte in text {
                    client.write_all(&[*byte]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let mut buffer = [0; 64];
            let (told, ()) = tokio::join!(peek(&server, &mut buffer, semicolon), write);
            assert_eq!(told.unwrap(), Told::This(10));
            let mut read = vec![0; text.len()];
            server.read_exact(&mut read).await.unwrap();
            assert_eq!(read, text);
        });
    }

    #[test]
    fn a_full_buffer_and_an_end_are_told_apart() {
        run(async {
            let (mut client, server) = pair().await;
            client.write_all(b"no end").await.unwrap();
            assert_eq!(
                peek(&server, &mut [0; 4], semicolon).await.unwrap(),
                Told::Full
            );
            let mut buffer = [0; 64];
            let end = async {
                tokio::task::yield_now().await;
                client.shutdown().await.unwrap();
            };
            let (told, ()) = tokio::join!(peek(&server, &mut buffer, semicolon), end);
            assert_eq!(told.unwrap(), Told::Ended(6));
        });
    }
}
