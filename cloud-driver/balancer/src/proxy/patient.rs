//! A stream that is not asked again while it can have nothing new.
//!
//! hyper reads more often than something comes: to see whether the other side has gone, and once in
//! every round. The runtime's answer to each is a lock and a look at what it knows; here it is a flag
//! that whatever is new sets.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection that one task reads, most often.
#[derive(Debug)]
pub(crate) struct Patient {
    stream: TcpStream,
    bell: Arc<Bell>,
    /// The bell, as what rings it knows it.
    waker: Waker,
    /// Whether there was nothing to read, and the bell will ring when there is.
    waits: bool,
}

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    /// Who is woken: the task that read first. Another one is served without the bell.
    wakes: OnceLock<Waker>,
}

impl Patient {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let bell = Arc::<Bell>::default();
        Self {
            stream,
            waker: Waker::from(bell.clone()),
            bell,
            waits: false,
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        if let Some(task) = self.wakes.get() {
            task.wake_by_ref();
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let stream = Pin::new(&mut this.stream);
        let wakes = this.bell.wakes.get_or_init(|| cx.waker().clone());
        if !wakes.will_wake(cx.waker()) {
            // From here on it is this one that is woken, past the bell.
            this.waits = false;
            return stream.poll_read(cx, buf);
        }
        if this.waits && !this.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Before it is asked: what comes meanwhile is heard.
        this.bell.rung.store(false, Ordering::Relaxed);
        let read = stream.poll_read(&mut Context::from_waker(&this.waker), buf);
        this.waits = read.is_pending();
        read
    }
}

impl AsyncWrite for Patient {
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
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::super::relay::tests::Count;
    use super::*;

    fn read(stream: &mut Patient, waker: &Waker) -> Poll<Vec<u8>> {
        let mut bytes = [0; 8];
        let mut buf = ReadBuf::new(&mut bytes);
        let polled = Pin::new(stream).poll_read(&mut Context::from_waker(waker), &mut buf);
        polled.map(|read| {
            read.unwrap();
            buf.filled().to_vec()
        })
    }

    #[test]
    fn whoever_reads_is_woken_whether_it_read_first_or_not() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut other = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let mut stream = Patient::new(listener.accept().await.unwrap().0);
            let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
            let wakers = [0, 1].map(|at| Waker::from(counts[at].clone()));
            // Each reads alone, then after the other had waited, then in vain between the two.
            for (round, reads) in [0, 0, 1, 1, 0, 1, 0].into_iter().enumerate() {
                for at in [1 - reads, reads, reads] {
                    assert!(read(&mut stream, &wakers[at]).is_pending(), "{round}");
                }
                let woken = counts[reads].0.load(Ordering::Relaxed);
                other.write_all(b"x").await.unwrap();
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    let now = counts[reads].0.load(Ordering::Relaxed);
                    if now > woken {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
                assert_eq!(
                    read(&mut stream, &wakers[reads]),
                    Poll::Ready(b"x".to_vec()),
                    "{round}"
                );
            }
            drop(other);
            while read(&mut stream, &wakers[0]) != Poll::Ready(vec![]) {
                tokio::task::yield_now().await;
            }
        });
    }
}
