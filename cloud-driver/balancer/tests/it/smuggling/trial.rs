//! One trial: bytes sent to a proxy from an address of their own, what it answered, what arrived.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::recorder::Recorder;
use super::strict::Message;
use crate::stand::{eventually, soon};

/// A proxy with an instance behind it.
pub(crate) struct Side {
    pub(crate) proxy: SocketAddr,
    pub(crate) recorder: Recorder,
}

/// What came of some bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Of the proxy's answers, in order, without 1xx.
    pub(crate) statuses: Vec<u16>,
    /// Requests that arrived whole, in order.
    pub(crate) arrived: Vec<Message>,
    /// What a strict instance would have found fault with.
    pub(crate) faults: Vec<String>,
}

/// How a batch is tried.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// A proxy that has said nothing for so long is asked something else.
    pub(crate) quiet: Duration,
    /// Having answered that so often meanwhile, it waits for more: however busy the machine is, it
    /// has come by.
    pub(crate) rounds: u32,
    /// Trials at a time.
    pub(crate) at_a_time: usize,
}

/// Pieces of a request come so long after one another.
const BETWEEN_PIECES: Duration = Duration::from_millis(3);

/// Who asks the something else.
const ASKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// An address of this machine that no other trial has.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed) % (1 << 23);
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 128, 0, 0).to_bits() + next)
}

/// Tries all of these, on one side; outcomes in their order.
pub(crate) async fn tries(side: &Side, all: &[Arc<[u8]>], pace: Pace) -> Vec<Outcome> {
    let places = Arc::new(Semaphore::new(pace.at_a_time));
    let mut running = JoinSet::new();
    let clients: Vec<_> = all.iter().map(|_| own_address()).collect();
    for (at, raw) in all.iter().enumerate() {
        let place = places.clone().acquire_owned().await.unwrap();
        let (raw, client, proxy) = (raw.clone(), clients[at], side.proxy);
        running.spawn(async move {
            let said = talk(proxy, client, &raw, pace).await;
            drop(place);
            (at, statuses(&said))
        });
    }
    let mut outcomes = vec![Outcome::default(); all.len()];
    while let Some(ended) = running.join_next().await {
        let (at, statuses) = ended.unwrap();
        outcomes[at].statuses = statuses;
    }
    eventually("what was sent has arrived or been given up", async || {
        side.recorder.rests().then_some(()).ok_or("it has not")
    })
    .await;
    for (outcome, client) in outcomes.iter_mut().zip(clients) {
        (outcome.arrived, outcome.faults) = side.recorder.take(client);
    }
    side.recorder.take(ASKER);
    let (_, strays) = side.recorder.take(Ipv4Addr::UNSPECIFIED);
    assert!(strays.is_empty(), "from nobody: {strays:?}");
    outcomes
}

/// Sends bytes and reads until the proxy ends the connection, or waits for more and is told that
/// there is none.
async fn talk(proxy: SocketAddr, client: Ipv4Addr, raw: &[u8], pace: Pace) -> Vec<u8> {
    let (mut reads, mut writes) = connect(proxy, client).await.into_split();
    let mut said = Vec::new();
    let sending = async {
        // Some come in pieces, for a reader that has half a head takes another way than one that
        // has all of it.
        let pieces = if raw.len().is_multiple_of(3) { 3 } else { 1 };
        for piece in raw.chunks(raw.len().div_ceil(pieces).max(1)) {
            // One that is refused early breaks; what the proxy said of it counts.
            let _broken = writes.write_all(piece).await;
            tokio::time::sleep(BETWEEN_PIECES).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = sending => {}
        () = listen(proxy, &mut reads, &mut said, pace) => {}
    }
    // By now it ends, or has nothing more to do; some proxies linger until they are told.
    let _gone = writes.shutdown().await;
    drop(writes);
    listen(proxy, &mut reads, &mut said, pace).await;
    said
}

async fn listen(proxy: SocketAddr, reads: &mut OwnedReadHalf, said: &mut Vec<u8>, pace: Pace) {
    let mut rounds = 0;
    while rounds < pace.rounds {
        match tokio::time::timeout(pace.quiet, reads.read_buf(said)).await {
            Ok(Ok(1..)) => rounds = 0,
            Ok(_) => return,
            Err(_) => {
                soon("an answer to somebody else", ask(proxy)).await;
                rounds += 1;
            }
        }
    }
}

/// An innocent request from beginning to end.
async fn ask(proxy: SocketAddr) {
    let mut stream = connect(proxy, ASKER).await;
    let ask = b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(statuses(&answer), [200], "{}", answer.escape_ascii());
}

async fn connect(proxy: SocketAddr, client: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    let stream = socket.connect(proxy).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Statuses of answers. Bodies are not told apart: no proxy under trial says this in one.
fn statuses(said: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(said);
    let begun = text.split("HTTP/1.").skip(1);
    let words = begun.filter_map(|rest| rest.strip_prefix(['0', '1'])?.strip_prefix(' '));
    let statuses = words.filter_map(|rest| rest.get(..3)?.parse().ok());
    statuses.filter(|status| *status >= 200).collect()
}
