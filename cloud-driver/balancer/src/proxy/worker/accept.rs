//! Accepting connections, and passing them on to workers that have fewer.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

use super::{Command, Load, Place, Worker};
use crate::fault::Fault;
use crate::proxy::client::serve;
use crate::proxy::listener::Listener;

/// How many more connections than the emptiest worker one may have before it passes a new one on.
const LEAD: usize = 2;

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
        let mut deaf = std::pin::pin!(self.deaf.notified());
        while self.deafenings.get() == told {
            tokio::select! {
                biased;
                () = &mut deaf => return,
                () = closing.told.notified() => return self.accept_rest(listener, at),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.welcome(stream, peer, at),
                    Err(error) => {
                        eprintln!("connection cannot be accepted: {error}");
                        tokio::time::sleep(BREATH).await;
                    }
                },
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
        let mut others = self.handles.iter();
        let fewer = |load: &Load| {
            load.accepts.load(Ordering::Relaxed)
                && load.clients.load(Ordering::Relaxed) + LEAD < own
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
