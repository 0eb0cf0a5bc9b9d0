//! A stream whose first bytes were read already and are to be read again.
//!
//! Reading them is cheaper than looking at them and reading them later: most often they are the whole
//! request.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::spoken::LOOKED_AT;

/// Most bytes that are read ahead at a time.
const AHEAD: usize = 1024;

/// Most bytes that are put together before they are sent: one small piece is cheaper than two.
const SMALL: usize = 1024;

/// A stream with a few bytes put back in front.
#[derive(Debug)]
pub(crate) struct Rewound<S> {
    stream: S,
    ahead: Vec<u8>,
    /// Of these, how many were read again.
    at: usize,
}

impl<S: AsyncRead + Unpin> Rewound<S> {
    /// Nothing was read yet.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            at: 0,
        }
    }

    /// The stream itself.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// Reads ahead until `tell` knows; none: the stream has ended, or no more may be looked at.
    /// Asked once, before anything else is read.
    ///
    /// # Errors
    /// When the stream fails.
    pub(crate) async fn look<T>(
        &mut self,
        tell: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let seen = self.ahead.len().min(LOOKED_AT);
            let told = tell(&self.ahead[..seen]);
            if told.is_some() || seen == LOOKED_AT {
                return Ok(told);
            }
            if poll_fn(|cx| self.poll_ahead(cx)).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Here, and not in what waits: connections that say nothing shall need no memory for it.
        let mut buffer = [0; AHEAD];
        let mut read = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        self.ahead.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at < self.ahead.len() {
            let ahead = &self.ahead[self.at..];
            let count = ahead.len().min(buf.remaining());
            buf.put_slice(&ahead[..count]);
            self.at += count;
            if self.at == self.ahead.len() {
                (self.ahead, self.at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if length > SMALL {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        let (mut piece, mut at) = ([0; SMALL], 0);
        for buf in bufs {
            piece[at..at + buf.len()].copy_from_slice(buf);
            at += buf.len();
        }
        self.poll_write(cx, &piece[..length])
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn what_was_looked_at_is_read_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let long = "x".repeat(LOOKED_AT + 1);
            let semicolon = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b';');
            for (text, told) in [
                ("some;thing", Some(4)),
                (";", Some(0)),
                ("no end", None),
                (&long, None),
                ("", None),
            ] {
                let mut rewound = Rewound::new(text.as_bytes());
                let looked = rewound.look(semicolon).await.unwrap();
                assert_eq!(looked, told, "{text}");
                let mut read = String::new();
                rewound.read_to_string(&mut read).await.unwrap();
                assert_eq!(read, text);
            }
        });
    }
}
