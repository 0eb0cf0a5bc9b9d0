//! Servers that do not keep to the RFC: the suite must notice.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::frames::{
    ACK, END_HEADERS, END_STREAM, Frame, PING, PREFACE, SETTINGS, data, headers, ping, settings,
    settings_ack,
};

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It takes everything, and answers what ends a stream.
    Lenient,
    /// It closes the connection at the first frame behind the greetings, whatever it is.
    Closing,
    /// It greets late, and then says nothing.
    Mute,
}

/// A server; it accepts nothing more once this is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(wrong: Wrong) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, wrong));
            }
        });
        Self { address, accepting }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, wrong: Wrong) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let mut greeted = 0;
    if wrong == Wrong::Mute {
        stream.write_all(&ping(0, [0; 8])).await?;
    }
    // What comes instead of the preface is taken for one by those who do not care.
    while buffer.len() < PREFACE.len() {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
    buffer.drain(..PREFACE.len());
    stream.write_all(&settings(&[])).await?;
    loop {
        let Some(frame) = Frame::take(&mut buffer) else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        if greeted < 2 {
            // The client's settings, and its acknowledgement of the server's.
            greeted += 1;
            if !frame.has(ACK) {
                stream.write_all(&settings_ack()).await?;
            }
            continue;
        }
        match wrong {
            Wrong::Closing => {
                // Read to the end, so that what the client sends does not reset the connection.
                stream.shutdown().await?;
                while stream.read_buf(&mut buffer).await? > 0 {
                    buffer.clear();
                }
                return Ok(());
            }
            Wrong::Mute => {}
            Wrong::Lenient => stream.write_all(&lenient(&frame)).await?,
        }
    }
}

fn lenient(frame: &Frame) -> Vec<u8> {
    match frame.kind {
        PING => ping(ACK, frame.payload[..].try_into().unwrap_or_default()),
        SETTINGS if !frame.has(ACK) => settings_ack(),
        _ if frame.ends_stream() => {
            let stream = frame.stream;
            // 200 stands at 8 in the static table.
            let head = headers(stream, END_HEADERS, &[0x88]);
            [head, data(stream, END_STREAM, b"whatever")].concat()
        }
        _ => Vec::new(),
    }
}
