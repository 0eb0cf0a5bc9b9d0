//! A stream whose writer hands small pieces over and has them sent together.
//!
//! An HTTP/2 connection writes each frame by itself, of a body at most 16 KiB, and flushes in between:
//! calls of the system, segments and TLS records of that size cost more than one copy. So writing only
//! lays bytes down here; whoever drives the connection sends them when it has nothing more to write.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that wait; a writer that has more waits itself. A body of 64 KiB fits, with its frames.
pub(crate) const MOST: usize = 80 * 1024;

/// Bytes for which memory is kept while nothing waits.
const KEPT: usize = 1024;

/// A stream, and what waits to be sent on it.
#[derive(Debug)]
struct Inner<S> {
    stream: S,
    waiting: Vec<u8>,
    /// Of these, how many were sent.
    sent: usize,
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            let rest = &self.waiting[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.sent = 0;
        if self.waiting.capacity() > KEPT {
            self.waiting = Vec::new();
        }
        self.waiting.clear();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Lays bytes down; how many.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= MOST {
            ready!(self.poll_send(cx))?;
        }
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.waiting.len() + length > KEPT {
            // At once, instead of growing with each frame.
            self.waiting.reserve_exact(MOST - self.waiting.len());
        }
        let mut taken = 0;
        for buf in bufs {
            let count = buf.len().min(MOST - self.waiting.len());
            self.waiting.extend_from_slice(&buf[..count]);
            taken += count;
        }
        Poll::Ready(Ok(taken))
    }
}

/// A handle of a stream, to write or to send.
#[derive(Debug)]
pub(crate) struct Gathered<S>(Rc<RefCell<Inner<S>>>);

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Nothing waits.
    pub(crate) fn new(stream: S) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            stream,
            waiting: Vec::new(),
            sent: 0,
        })))
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// When the stream fails.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: [`Gathered::poll_send`] follows.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(test);
    }

    async fn send(gathered: &Gathered<impl AsyncWrite + Unpin>) {
        std::future::poll_fn(|cx| gathered.poll_send(cx))
            .await
            .unwrap();
    }

    #[test]
    fn pieces_are_sent_in_their_order_when_it_is_said_and_at_the_end() {
        run(async {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let gathered = Gathered::new(ours);
            let mut writer = gathered.clone();
            writer.write_all(b"one ").await.unwrap();
            writer.flush().await.unwrap();
            let pieces = [io::IoSlice::new(b"two "), io::IoSlice::new(b"three")];
            assert_eq!(writer.write_vectored(&pieces).await.unwrap(), 9);
            let mut buffer = [0; 64];
            let mut read = ReadBuf::new(&mut buffer);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let polled = Pin::new(&mut theirs).poll_read(&mut cx, &mut read);
            assert!(polled.is_pending(), "nothing was sent yet");
            send(&gathered).await;
            let count = theirs.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], b"one two three");
            writer.write_all(b"four").await.unwrap();
            writer.shutdown().await.unwrap();
            let count = theirs.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], b"four");
            assert_eq!(theirs.read(&mut buffer).await.unwrap(), 0);
        });
    }

    #[test]
    fn a_writer_waits_when_the_other_side_does_not_read() {
        run(async {
            let (ours, mut theirs) = tokio::io::duplex(1_000);
            let gathered = Gathered::new(ours);
            let mut writer = gathered.clone();
            let all: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut written = 0;
            while let Poll::Ready(count) =
                Pin::new(&mut writer).poll_write(&mut cx, &all[written..])
            {
                written += count.unwrap();
            }
            assert!((MOST..=MOST + 1_000).contains(&written), "{written}");
            let write = async {
                writer.write_all(&all[written..]).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut read = Vec::new();
            let ((), count) = tokio::join!(write, theirs.read_to_end(&mut read));
            assert_eq!((count.unwrap(), read == all), (all.len(), true));
        });
    }
}
