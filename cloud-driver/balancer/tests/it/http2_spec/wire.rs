//! A client that writes the bytes it is given and reads frames.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frames::{ACK, Frame, INITIAL_WINDOW_SIZE, PREFACE, SETTINGS, settings, settings_ack};

/// Anything that carries bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What a server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Frame(Frame),
    /// It closed the connection in good order.
    Closed,
    /// The connection was reset, or ended within a frame. What was on its way may be lost so: it
    /// counts as no way of closing.
    Broken(String),
    Silence,
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(frame) => write!(f, "{frame}"),
            Self::Closed => f.write_str("the connection closed"),
            Self::Broken(how) => write!(f, "the connection broken: {how}"),
            Self::Silence => f.write_str("silence"),
        }
    }
}

/// A connection of HTTP/2.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
    /// Longest wait for the next frame.
    patience: Duration,
}

impl Wire {
    pub(super) fn new(stream: impl Stream + 'static, patience: Duration) -> Self {
        Self {
            stream: Box::new(stream),
            read: Vec::new(),
            patience,
        }
    }

    /// Writes bytes. A server may have closed by then: what is read tells.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let stream = &mut self.stream;
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        let _ = timeout(self.patience, written).await;
    }

    /// What the server does next.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            if let Some(frame) = Frame::take(&mut self.read) {
                return Event::Frame(frame);
            }
            let more = self.stream.read_buf(&mut self.read);
            match timeout(self.patience, more).await {
                Err(_) => return Event::Silence,
                Ok(Err(error)) => return Event::Broken(error.to_string()),
                Ok(Ok(0)) if self.read.is_empty() => return Event::Closed,
                Ok(Ok(0)) => {
                    let text = String::from_utf8_lossy(&self.read).into_owned();
                    return Event::Broken(format!("it ended within a frame: {text:?}"));
                }
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Begins: both sides have told their settings and acknowledged the other's. The server's.
    ///
    /// # Errors
    /// What the server did instead.
    pub(super) async fn greet(&mut self) -> Result<Vec<(u16, u32)>, String> {
        let ours = settings(&[(INITIAL_WINDOW_SIZE, 65_535)]);
        self.write(&[PREFACE, &ours].concat()).await;
        let (mut theirs, mut acknowledged) = (None, false);
        loop {
            match self.next().await {
                Event::Frame(frame) if frame.kind == SETTINGS => {
                    if frame.has(ACK) {
                        acknowledged = true;
                    } else {
                        theirs = Some(frame.settings());
                        self.write(&settings_ack()).await;
                    }
                }
                Event::Frame(_) => {}
                other => return Err(format!("no greeting but {other}")),
            }
            if let (Some(theirs), true) = (&theirs, acknowledged) {
                return Ok(theirs.clone());
            }
        }
    }
}
