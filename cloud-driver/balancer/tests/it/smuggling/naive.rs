//! A careless proxy: it goes by the last Content-Length alone and passes on the bytes that it got. What
//! the other tests look for is in it, so they must find it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::recorder::STAMP;
use crate::backend::find;

/// A running one.
pub(crate) struct Naive {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Naive {
    pub(crate) async fn start(instance: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(async move {
                    // It ends as its client or its instance ends it.
                    let _ended = pass(stream, peer, instance).await;
                });
            }
        });
        Self { address, accepting }
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(
    mut client: TcpStream,
    peer: SocketAddr,
    instance: SocketAddr,
) -> std::io::Result<()> {
    let mut behind = TcpStream::connect(instance).await?;
    let (mut sent, mut said) = (Vec::new(), Vec::new());
    while let Some(head) = head(&mut client, &mut sent).await? {
        let length = length(&head);
        while sent.len() < length {
            if client.read_buf(&mut sent).await? == 0 {
                return Ok(());
            }
        }
        let end = head.len() - if head.ends_with(b"\r\n") { 2 } else { 1 };
        let stamp = format!("{STAMP}: {}\r\n", peer.ip());
        let body: Vec<u8> = sent.drain(..length).collect();
        let all = [&head[..end], stamp.as_bytes(), &head[end..], &body].concat();
        behind.write_all(&all).await?;
        let answer = loop {
            tokio::select! {
                answer = self::head(&mut behind, &mut said) => break answer?,
                read = client.read_buf(&mut sent) => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
            }
        };
        let Some(answer) = answer else {
            return Ok(());
        };
        client.write_all(&answer).await?;
        if find(&head, b"onnection: close").is_some() {
            return Ok(());
        }
    }
    Ok(())
}

/// The next head; what was read behind it stays in the buffer.
async fn head(from: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Vec<u8>>> {
    loop {
        let ends = [&b"\n\r\n"[..], b"\n\n"];
        let ends = ends
            .iter()
            .filter_map(|end| Some(find(buffer, end)? + end.len()));
        if let Some(end) = ends.min() {
            return Ok(Some(buffer.drain(..end).collect()));
        }
        if from.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lengths = text
        .lines()
        .filter_map(|line| line.strip_prefix("content-length:"));
    let last = lengths.next_back().map(str::trim);
    last.and_then(|length| length.parse().ok()).unwrap_or(0)
}
