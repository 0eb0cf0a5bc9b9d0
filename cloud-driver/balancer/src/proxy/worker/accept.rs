//! Accepting connections, and passing them on to workers that have fewer.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

use super::{Command, Load, Place, Worker};
use crate::fault::Fault;
use crate::proxy::client::serve;
use crate::proxy::listener::Listener;

/// How many more connections than another worker one with `own`, of which `ended` have ended within a
/// second, may have before it passes a new one on.
///
/// Passing on costs about as much as a short request. Where clients make a new connection for each, a
/// worker that has more for a moment has fewer in the next: what ends within a tenth of a second need
/// not be evened out.
const fn lead(own: usize, ended: usize) -> usize {
    2 + own / 2 + ended / 10
}

/// Why no more is accepted at an address, for now or for good.
enum End {
    /// The worker accepts nothing more.
    Deaf,
    /// The address is given up.
    Close,
    Failed(io::Error),
}

/// How long to wait when no connection can be accepted, most often for want of descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// How a listener is told to close.
#[derive(Debug, Default)]
pub(super) struct Closing {
    pub(super) told: Notify,
    pub(super) confirm: RefCell<Option<oneshot::Sender<()>>>,
}

impl Worker {
    /// Accepts at an address from now on.
    pub(super) fn accept(self: &Rc<Self>, listener: TcpListener, at: Arc<Listener>) {
        self.load().accepts.store(true, Ordering::SeqCst);
        // Small answers must not wait for acknowledgements; without it they are only slower. Whoever is
        // accepted here has it from the listener: a call less for each.
        let _slower = SockRef::from(&listener).set_tcp_nodelay(true);
        self.accepting.set(self.accepting.get() + 1);
        let closing = Rc::new(Closing::default());
        let mut closings = self.closings.borrow_mut();
        closings.insert(at.address, closing.clone());
        let (worker, told) = (self.clone(), self.deafenings.get());
        self.spawn(async move {
            worker.accept_from(listener, &at, told, &closing).await;
            worker.accepting.set(worker.accepting.get() - 1);
            worker.deafened.notify_waiters();
            if let Some(confirm) = closing.confirm.take() {
                // Nobody waits any more when the process ends meanwhile.
                let _ = confirm.send(());
            }
        });
    }

    /// Accepts until it is told to stop once more than before, or to close; the listener goes with
    /// it.
    async fn accept_from(
        self: &Rc<Self>,
        listener: TcpListener,
        at: &Arc<Listener>,
        told: u64,
        closing: &Closing,
    ) {
        let mut deaf = pin!(self.deaf.notified());
        let mut close = pin!(closing.told.notified());
        loop {
            let ended = poll_fn(|cx| {
                if deaf.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(End::Deaf);
                }
                if close.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(End::Close);
                }
                // All that wait, before it is asked again whether it is to stop.
                while self.deafenings.get() == told {
                    match ready!(listener.poll_accept(cx)) {
                        Ok((stream, peer)) => self.welcome(stream, peer, at),
                        Err(error) => return Poll::Ready(End::Failed(error)),
                    }
                }
                Poll::Ready(End::Deaf)
            });
            match ended.await {
                End::Deaf => return,
                End::Close => return self.accept_rest(listener, at),
                End::Failed(error) => {
                    eprintln!("connection cannot be accepted: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    /// Accepts what waits, then closes: who waits there would be reset.
    fn accept_rest(self: &Rc<Self>, listener: TcpListener, at: &Arc<Listener>) {
        if Fault::CloseAtOnce.is_on() {
            return;
        }
        // The system is asked itself: the runtime may not have heard of all that it knows.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let stream = stream
                        .set_nonblocking(true)
                        .and_then(|()| TcpStream::from_std(stream));
                    match stream {
                        Ok(stream) => self.welcome(stream, peer, at),
                        Err(error) => eprintln!("connection of {peer} was lost: {error}"),
                    }
                }
                Err(error) if gone_meanwhile(&error) => {}
                Err(_) => return,
            }
        }
    }

    /// Serves a new connection, or passes it on when another worker has fewer.
    fn welcome(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, at: &Arc<Listener>) {
        let own = self.load().clients.load(Ordering::Relaxed);
        let ended = self.ended.0.get().max(self.ended.1.get());
        let most = own.saturating_sub(lead(own, ended));
        // Nobody has fewer than none: most often the others' counts, which are theirs to write, are not
        // even read.
        let mut others = self.handles.iter().filter(|_| most > 0);
        let fewer = |load: &Load| {
            load.accepts.load(Ordering::Relaxed) && load.clients.load(Ordering::Relaxed) < most
        };
        let Some(other) = others.find(|handle| fewer(&handle.load)) else {
            self.serve(stream, peer, Place::new(self.load()), at);
            return;
        };
        // Counted there at once, or all of a burst would be passed on.
        let place = Place::new(&other.load);
        match stream.into_std() {
            Ok(stream) => {
                let take = Command::Take(stream, peer, place, at.clone());
                let sent = other.commands.send(take);
                if sent.is_err() {
                    eprintln!("connection of {peer} was lost: its worker has ended");
                }
            }
            Err(error) => eprintln!("connection of {peer} was lost: {error}"),
        }
    }

    /// Serves a connection, unless there are too many.
    pub(super) fn serve(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
        at: &Listener,
    ) {
        if self.load().clients.load(Ordering::Relaxed) > self.most_clients {
            self.totals.refused_clients.add(1);
            // Within TLS nobody could read it.
            if at.terms().tls.is_none() {
                refuse(&stream);
            }
            return;
        }
        self.spawn(serve(self.clone(), stream, peer, place, at.terms()));
    }
}

/// Whether only the one connection is lost that could not be accepted.
fn gone_meanwhile(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn refuse(stream: &TcpStream) {
    let text = b"HTTP/1.1 503 Service Unavailable\r\nx-balancer-error: too_many_connections\r\n\
                 retry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    // A connection just accepted has room for these bytes; if not, it is closed without them.
    let _unsaid = stream.try_write(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_stay_are_evened_out_and_those_that_end_soon_are_not() {
        let passes = |own: usize, ended| own.saturating_sub(lead(own, ended)) > 0;
        assert!(passes(40, 0) && passes(1_000, 100));
        assert!(!passes(40, 1_000) && !passes(1_000, 10_000));
        assert!(!passes(3, 0), "a few more are no matter");
    }

    #[test]
    fn what_is_accepted_need_not_wait_for_acknowledgements_because_its_listener_need_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_tcp_nodelay(true).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!client.nodelay().unwrap(), "it is not so by itself");
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }
}
