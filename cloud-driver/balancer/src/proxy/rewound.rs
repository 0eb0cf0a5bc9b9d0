//! A stream whose first bytes were read already and are to be read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::spoken::LOOKED_AT;

/// A stream with a few bytes put back in front.
#[derive(Debug)]
pub(crate) struct Rewound<S> {
    stream: S,
    ahead: [u8; LOOKED_AT],
    from: u8,
    to: u8,
}

impl<S: AsyncRead + Unpin> Rewound<S> {
    /// Nothing was read yet.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: [0; LOOKED_AT],
            from: 0,
            to: 0,
        }
    }

    /// The stream itself.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// Reads ahead until `tell` knows; none: the stream has ended, or no more may be read ahead.
    /// Asked once, before anything else is read.
    ///
    /// # Errors
    /// When the stream fails.
    pub(crate) async fn look<T>(
        &mut self,
        tell: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let to = usize::from(self.to);
            let told = tell(&self.ahead[..to]);
            if told.is_some() || to == LOOKED_AT {
                return Ok(told);
            }
            let read = self.stream.read(&mut self.ahead[to..]).await?;
            if read == 0 {
                return Ok(None);
            }
            self.to += u8::try_from(read).unwrap_or(0);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.from < self.to {
            let ahead = &self.ahead[usize::from(self.from)..usize::from(self.to)];
            let count = ahead.len().min(buf.remaining());
            buf.put_slice(&ahead[..count]);
            self.from += u8::try_from(count).unwrap_or(0);
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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
