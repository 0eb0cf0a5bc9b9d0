//! One connection of a client: served until it ends, is idle for too long, or the process leaves.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use balancer::ProxyProtocol;
use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::forward::forward;
use super::gathered::Gathered;
use super::listener::{Terms, Way};
use super::parting::part;
use super::patient::Patient;
use super::pipe::MOST_HEAD;
use super::proxy_protocol::{self, Header, HeaderError};
use super::rewound::Rewound;
use super::shared::Local;
use super::spoken::{Spoken, spoken};
use super::tls;
use super::worker::{Place, Registered, Worker};
use crate::fault::Fault;

/// How long a connection may be without a request, seconds.
const IDLE_S: u64 = 75;

/// From the end of an answer to the end of the next request's head, seconds: above the idle time, so
/// that it only ends who sends a head too slowly.
const HEAD_S: u64 = IDLE_S + 15;

/// The same once the process leaves.
const IDLE_LEAVING_S: u64 = 10;

/// A client's connection, as its worker knows it.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its address, as it is written into requests.
    pub(crate) peer: HeaderValue,
    /// How it came in.
    pub(crate) way: Way,
    busy: Cell<u32>,
    /// Second of the worker's clock of its last request or answer.
    last: Cell<u64>,
    ends: Cell<bool>,
    /// Whether the head of its request takes too long.
    late: Cell<bool>,
    waker: RefCell<Waker>,
    /// Whether requests share it, each in a task of its own.
    shared: Cell<bool>,
    /// Those tasks, by request.
    tasks: RefCell<HashMap<u64, Waker>>,
    next: Cell<u64>,
}

impl Client {
    fn new(peer: SocketAddr, way: Way, now_s: u64) -> Self {
        Self {
            peer: written(peer.ip().to_canonical()),
            way,
            busy: Cell::new(0),
            last: Cell::new(now_s),
            ends: Cell::new(false),
            late: Cell::new(false),
            waker: RefCell::new(Waker::noop().clone()),
            shared: Cell::new(false),
            tasks: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// Polls everything of this connection again.
    pub(crate) fn wake(&self) {
        self.waker.borrow().wake_by_ref();
        for task in self.tasks.borrow().values() {
            task.wake_by_ref();
        }
    }

    /// Whether requests share it.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.get()
    }

    fn watch(&self, waker: &Waker) {
        if !self.waker.borrow().will_wake(waker) {
            self.waker.borrow_mut().clone_from(waker);
        }
    }

    /// Ends it when it has been idle for too long.
    ///
    /// Once the process leaves, idle time counts from then on: nobody's next request shall meet a
    /// connection that was closed because of that.
    pub(crate) fn sweep(&self, now_s: u64, leaving_since_s: Option<u64>) {
        let idle_since = self.last.get().max(leaving_since_s.unwrap_or(0));
        let limit = if leaving_since_s.is_some() {
            IDLE_LEAVING_S
        } else {
            IDLE_S
        };
        if self.busy.get() > 0 {
            return;
        }
        // A timer for each head would do the same, and cost more than all of this.
        if now_s.saturating_sub(self.last.get()) >= HEAD_S {
            self.late.set(true);
        }
        if now_s.saturating_sub(idle_since) >= limit {
            self.end();
        }
    }

    /// Ends it after what it is answering.
    pub(crate) fn end(&self) {
        self.ends.set(true);
        self.wake();
    }
}

/// An address as it is written into requests.
fn written(address: IpAddr) -> HeaderValue {
    let value = match address {
        // By hand: each new connection needs it, and formatting takes ten times as long.
        IpAddr::V4(address) => {
            let (mut text, mut length) = ([0; "255.255.255.255".len()], 0);
            let mut put = |byte| {
                text[length] = byte;
                length += 1;
            };
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    put(b'.');
                }
                if octet >= 100 {
                    put(b'0' + octet / 100);
                }
                if octet >= 10 {
                    put(b'0' + octet / 10 % 10);
                }
                put(b'0' + octet % 10);
            }
            HeaderValue::from_bytes(&text[..length])
        }
        IpAddr::V6(address) => HeaderValue::from_bytes(address.to_string().as_bytes()),
    };
    value.unwrap_or(HeaderValue::from_static("unknown"))
}

/// A request of a client that has not been answered whole.
#[derive(Debug)]
pub(crate) struct Busy {
    client: Rc<Client>,
    worker: Rc<Worker>,
    number: u64,
}

impl Busy {
    pub(crate) fn new(client: Rc<Client>, worker: Rc<Worker>) -> Self {
        client.busy.set(client.busy.get() + 1);
        let number = client.next.get();
        client.next.set(number + 1);
        Self {
            client,
            worker,
            number,
        }
    }

    /// Lets [`Client::wake`] know the task of this request, should it have one of its own.
    pub(crate) async fn watch(&self) {
        if !self.client.is_shared() {
            return;
        }
        poll_fn(|cx| {
            let mut tasks = self.client.tasks.borrow_mut();
            tasks.insert(self.number, cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.client.busy.set(self.client.busy.get() - 1);
        if self.client.is_shared() {
            self.client.tasks.borrow_mut().remove(&self.number);
        }
        self.client.last.set(self.worker.now_s());
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    terms: Arc<Terms>,
) {
    let mut client = Rc::new(Client::new(peer, terms.way(peer), worker.now_s()));
    let registered = worker.register(client.clone(), place);
    if terms.proxy_protocol != ProxyProtocol::Off {
        let named = Box::pin(named(&worker, &client, &mut stream, peer, &terms)).await;
        match named {
            Some(None) => {}
            Some(Some(named)) => client = renamed(&worker, &registered, &client, named, &terms),
            None => return,
        }
    }
    if let Some(config) = terms.tls.clone() {
        let limit = terms.limit;
        // What only this connection needs is held by nobody else's.
        drop(terms);
        return Box::pin(tls::serve(worker, client, stream, config, limit)).await;
    }
    drop(terms);
    let mut stream = Rewound::new(Patient::new(stream));
    // Each kind in memory of its own size: idle connections are many.
    match until_ended(&client, stream.look(spoken)).await {
        Some(Ok(Some(Spoken::Http1) | None)) => Box::pin(http1(worker, client, stream)).await,
        Some(Ok(Some(Spoken::Http2))) => Box::pin(http2(worker, client, stream)).await,
        Some(Ok(Some(Spoken::Neither))) => Box::pin(part(stream, b"")).await,
        // It went away without a word, or said nothing for too long.
        Some(Err(_)) | None => {}
    }
}

/// The client that a proxy names, if it names one; none: the connection is to end.
async fn named(
    worker: &Worker,
    client: &Client,
    stream: &mut TcpStream,
    peer: SocketAddr,
    terms: &Terms,
) -> Option<Option<SocketAddr>> {
    let figures = &worker.totals.greetings;
    let required = terms.proxy_protocol == ProxyProtocol::Required;
    if !terms.trusts(peer) && !Fault::TrustAll.is_on() {
        if required {
            figures.untrusted.add(1);
            return None;
        }
        return Some(None);
    }
    let taken = until_ended(client, proxy_protocol::take(stream));
    let Ok(taken) = tokio::time::timeout(terms.limit, taken).await else {
        figures.late.add(1);
        return None;
    };
    match taken? {
        Ok(Some(Header::Client(client))) => {
            figures.named.add(1);
            Some(Some(client))
        }
        Ok(Some(Header::Sender)) => {
            figures.unnamed.add(1);
            Some(None)
        }
        Ok(None) if required => {
            figures.missing.add(1);
            None
        }
        Ok(None) => {
            figures.absent.add(1);
            Some(None)
        }
        Err(HeaderError::Malformed(_)) => {
            figures.malformed.add(1);
            None
        }
        Err(HeaderError::Gone) => None,
    }
}

/// The client by the name that its proxy gave.
fn renamed(
    worker: &Worker,
    registered: &Registered,
    before: &Client,
    named: SocketAddr,
    terms: &Terms,
) -> Rc<Client> {
    let client = Rc::new(Client::new(named, terms.way(named), worker.now_s()));
    client.ends.set(before.ends.get());
    registered.replace(client.clone());
    client
}

/// The result of a future, none when the connection is to end before.
pub(crate) async fn until_ended<T>(client: &Client, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        client.watch(cx.waker());
        if client.ends.take() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

pub(crate) async fn http1(
    worker: Rc<Worker>,
    client: Rc<Client>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let service = {
        let (worker, client) = (worker, client.clone());
        // In memory of its own: connections that are idle need none for it.
        service_fn(move |request| {
            Box::pin(forward(worker.clone(), client.clone(), Box::new(request)))
        })
    };
    // Pinned where it is made: it is large, and each new connection would move it once more.
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(MOST_HEAD)
            .max_header_size(MOST_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = poll_fn(|cx| {
        client.watch(cx.waker());
        if client.ends.take() {
            connection.as_mut().graceful_shutdown();
        }
        if client.late.get() {
            return Poll::Ready(Ok(()));
        }
        connection.as_mut().poll(cx)
    })
    .await;
    // What a client does to its own connection is not worth a line; faults of instances are counted.
    drop(ended);
}

/// Requests of a client that come on one connection at the same time.
const MOST_STREAMS: u32 = 256;
/// A client that is silent for so long is asked for a sign of life, and has as long to give it.
const PING: Duration = Duration::from_secs(20);
/// Bytes of a body that one request, and all of a connection, may have under way.
const WINDOW: (u32, u32) = (256 * 1024, 1024 * 1024);

pub(crate) async fn http2(
    worker: Rc<Worker>,
    client: Rc<Client>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) {
    client.shared.set(true);
    if worker.is_leaving() {
        client.ends.set(true);
    }
    let service = {
        let (worker, client) = (worker, client.clone());
        // It is moved several times until it runs in a task of its own.
        service_fn(move |request| {
            Box::pin(forward(worker.clone(), client.clone(), Box::new(request)))
        })
    };
    let gathered = Gathered::new(stream);
    let connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(u32::try_from(MOST_HEAD).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW.0)
        .initial_connection_window_size(WINDOW.1)
        .serve_connection(TokioIo::new(gathered.clone()), service);
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        client.watch(cx.waker());
        if client.ends.take() {
            // Tells the client with GOAWAY; what it has sent meanwhile is answered.
            connection.as_mut().graceful_shutdown();
        }
        let ended = connection.as_mut().poll(cx).map(drop);
        match gathered.poll_send(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => ended,
        }
    })
    .await;
}

/// Longest time a worker takes to notice an idle connection.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everybody_writes_them() {
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "10.20.30.4",
            "100.99.109.200",
            "255.255.255.255",
            "2001:db8::1",
        ] {
            assert_eq!(written(text.parse().unwrap()), text);
        }
    }

    #[test]
    fn a_client_without_a_request_is_ended_and_one_that_goes_on_with_its_head_later() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let way = Way {
            secure: false,
            believed: false,
            redirect: None,
        };
        let client = Client::new(peer, way, 100);
        let state = |now_s, leaving_since_s| {
            client.sweep(now_s, leaving_since_s);
            (client.ends.take(), client.late.get())
        };
        client.busy.set(1);
        assert_eq!(
            state(100 + 10 * HEAD_S, None),
            (false, false),
            "it is answered"
        );
        client.busy.set(0);
        assert_eq!(state(100 + IDLE_S - 1, None), (false, false));
        assert_eq!(state(100 + IDLE_S, None), (true, false));
        let left = 100 + IDLE_S - 5;
        assert_eq!(state(left + IDLE_LEAVING_S - 1, Some(left)), (false, false));
        assert_eq!(state(left + IDLE_LEAVING_S, Some(left)), (true, false));
        assert_eq!(state(100 + HEAD_S, None), (true, true));
    }
}
