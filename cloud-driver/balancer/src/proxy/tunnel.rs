//! Requests for another protocol: when the instance agrees (101), bytes pass both ways until both
//! ends are done or the tunnel is cut.
//!
//! Cut tunnels of WebSocket end with a close frame, code 1001 (going away), between two frames.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer::Own;
use super::ask::Ask;
use super::body::{Carrier, Count, Guard, RequestBody, ResponseBody, take_over};
use super::client::{Busy, Client};
use super::forward::{Reset, answer_own, bad_body, prepare};
use super::headers;
use super::hold;
use super::meter::Repeat;
use super::passage::{CUT, Passage};
use super::pipe::{ConnectError, MOST_HEAD, Open, connect};
use super::table::Group;
use super::target::Target;
use super::watch::Watch;
use super::worker::Worker;

/// How long a cut tunnel may take to come to the end of a frame.
const TO_BOUNDARY: Duration = Duration::from_secs(1);

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// A close frame of a server: code 1001.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// Counts a tunnel as long as it lives.
struct Counted(Rc<Guard>);

impl Counted {
    /// The request becomes a tunnel.
    fn new(guard: Rc<Guard>) -> Self {
        guard.upstream().target.open_tunnel();
        // The request itself ends now, after its tunnel began to count.
        guard.upstream().target.leave();
        Self(guard)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let target: &Target = &self.0.upstream().target;
        // The guard gives a request back when it drops: so it must be one again, before the tunnel
        // is given back.
        target.reenter();
        target.close_tunnel();
    }
}

/// Forwards a request that asks for another protocol.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    client: &Client,
    busy: Busy,
    ask: &Ask,
    mut request: Request<Incoming>,
    protocol: HeaderValue,
    passage: &Passage,
) -> Result<Response<ResponseBody>, Reset> {
    let theirs = hyper::upgrade::on(&mut request);
    let (mut parts, body) = request.into_parts();
    let (reads, began) = (ask.reads, ask.began);
    prepare(&mut parts, client, !body.is_end_stream());
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, protocol.clone());

    let (group, guard, stream, open) = match open_stream(worker, ask, passage).await {
        Ok(opened) => opened,
        Err(answer) => return Ok(*answer),
    };
    let guard = Rc::new(guard);
    let cuts = guard.upstream().cuts.get();
    let body = if body.is_end_stream() {
        RequestBody::Empty
    } else {
        RequestBody::Upload {
            body,
            guard: Some(guard.clone()),
            bytes: passage.upload(),
            tap: None,
        }
    };
    let made = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MOST_HEAD)
        .max_header_size(MOST_HEAD)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = made.map_err(|_| Reset::Broken)?;
    worker.spawn(async move {
        // Its end is seen by whoever reads the answer or the tunnel.
        let _ended = connection.with_upgrades().await;
        drop(open);
    });
    let cut = guard.upstream().clone();
    let sent = tokio::select! {
        sent = sender.send_request(Request::from_parts(parts, body)) => sent,
        () = cut.cut.notified() => {
            worker.totals.cut_requests.add(1);
            return Err(Reset::Cut);
        }
    };
    let mut response = match sent {
        Ok(response) => response,
        Err(_) if guard.upload_broke() => return Ok(bad_body(worker, &group.meter, reads)),
        // It is not the instance that broke it off.
        Err(_) if let Some(breach) = ask.breach() => return Ok(ask.refusal(worker, breach)),
        Err(error) => {
            guard.upstream().target.failed();
            worker.totals.not_repeated.add(1);
            return Ok(answer_own(worker, &group.meter, reads, Own::Lost, error));
        }
    };
    guard.upstream().target.answered(response.status().as_u16());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let ours = hyper::upgrade::on(&mut response);
        let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        group.meter.first.record(began.elapsed());
        group.meter.ended(reads, 101, began.elapsed());
        let mut journey = passage.take();
        if let Some(journey) = &mut journey {
            journey.opened(began.elapsed());
        }
        let agreed = response.headers().get(UPGRADE).cloned();
        if let Some(watch) = guard.watch() {
            watch.lift_time();
        }
        let upstream = guard.upstream().clone();
        let counted = Counted::new(guard);
        let ends = worker.clone();
        worker.spawn(async move {
            let passed = Passed::default();
            if let (Ok(theirs), Ok(ours)) = (theirs.await, ours.await) {
                pass(&ends, &counted.0, theirs, ours, websocket, &passed).await;
            }
            drop(counted);
            if let Some(mut journey) = journey {
                let why = passed.cut.get().then_some(CUT);
                journey.closed(passed.up.get(), passed.down.get(), why);
            }
        });
        let (mut parts, _) = response.into_parts();
        headers::strip(&mut parts.headers);
        ask.stick(&mut parts.headers, &upstream);
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, agreed.unwrap_or(protocol));
        parts.version = Version::HTTP_11;
        return Ok(Response::from_parts(parts, ResponseBody::Whole(None)));
    }
    let (mut parts, body) = response.into_parts();
    headers::strip(&mut parts.headers);
    ask.stick(&mut parts.headers, guard.upstream());
    parts.version = Version::HTTP_11;
    let count = Count {
        worker: worker.clone(),
        _busy: busy,
        group,
        began,
        status: parts.status.as_u16(),
        reads,
        first: began.elapsed(),
        journey: passage.take(),
    };
    let body = take_over(body, Carrier::Apart, guard, cuts, count);
    Ok(Response::from_parts(parts, body))
}

/// Chooses an instance and connects; another one when it does not accept.
async fn open_stream(
    worker: &Rc<Worker>,
    ask: &Ask,
    passage: &Passage,
) -> Result<(Rc<Group>, Guard, TcpStream, Open), Box<Response<ResponseBody>>> {
    let limits = worker.table().limits;
    let (mut tries, mut tried) = (0, Vec::new());
    loop {
        tries += 1;
        let (group, mut guard) = hold::choose(worker, ask, &tried).await?;
        guard.hold(ask.watch.as_ref());
        passage.tried(tries, &group, guard.upstream());
        match connect(&guard.upstream().target, limits.connect).await {
            Ok((stream, open)) => {
                group.meter.sent.add(1);
                return Ok((group, guard, stream, open));
            }
            Err(error) => {
                guard.upstream().target.failed();
                tried.push(guard.upstream().clone());
                if tries < limits.tries && worker.budget.may_repeat(worker) {
                    worker.totals.retried_connect.add(1);
                    group.meter.repeated(Repeat::Connect);
                    continue;
                }
                let why = match error {
                    ConnectError::Timeout { .. } => Own::ConnectTimeout,
                    ConnectError::Refused { .. } | ConnectError::Setup { .. } => Own::NoConnection,
                };
                return Err(Box::new(answer_own(
                    worker,
                    &group.meter,
                    ask.reads,
                    why,
                    error,
                )));
            }
        }
    }
}

/// What went through a tunnel.
#[derive(Default)]
struct Passed {
    /// Bytes to the instance.
    up: Cell<u64>,
    /// Bytes to the client.
    down: Cell<u64>,
    cut: Cell<bool>,
}

fn add(sum: &Cell<u64>, bytes: usize) {
    sum.set(sum.get() + bytes as u64);
}

async fn pass(
    worker: &Worker,
    guard: &Guard,
    theirs: Upgraded,
    ours: Upgraded,
    websocket: bool,
    passed: &Passed,
) {
    let _living = worker.tunnel();
    let (mut client_reads, mut client_writes) = tokio::io::split(TokioIo::new(theirs));
    let (mut instance_reads, mut instance_writes) = tokio::io::split(TokioIo::new(ours));
    let mut up = pin!(async {
        let mut buffer = vec![0; CHUNK];
        copy(
            guard,
            &mut client_reads,
            &mut instance_writes,
            &mut buffer,
            &passed.up,
        )
        .await
    });
    let mut down = pin!(copy_until_cut(
        worker,
        guard,
        &mut instance_reads,
        &mut client_writes,
        websocket,
        passed,
    ));
    let mut stuck = pin!(async {
        guard.broken().await;
        // Whoever takes bytes was told within this time.
        tokio::time::sleep(TO_BOUNDARY * 2).await;
    });
    let (mut up_ended, mut down_ended) = (false, false);
    loop {
        tokio::select! {
            ended = &mut up, if !up_ended => {
                up_ended = true;
                if ended.is_err() || down_ended {
                    return;
                }
            }
            // The instance has said all it had, or the tunnel was cut.
            ended = &mut down, if !down_ended => {
                down_ended = true;
                if up_ended || ended.is_ok_and(|ended| ended == Ended::Cut) {
                    return;
                }
            }
            () = &mut stuck => return,
        }
    }
}

fn touch(guard: &Guard) {
    if let Some(watch) = guard.watch() {
        watch.touch();
    }
}

/// Whether no byte passed for longer than the route allows.
fn is_idle(guard: &Guard) -> bool {
    guard.watch().and_then(Watch::breach).is_some()
}

/// Copies to the end and passes the end on.
async fn copy(
    guard: &Guard,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    buffer: &mut [u8],
    passed: &Cell<u64>,
) -> std::io::Result<()> {
    loop {
        let read = from.read(buffer).await?;
        touch(guard);
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        add(passed, read);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    BySelf,
    Cut,
}

async fn copy_until_cut(
    worker: &Worker,
    guard: &Guard,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    websocket: bool,
    passed: &Passed,
) -> std::io::Result<Ended> {
    let mut buffer = vec![0; CHUNK];
    let mut frames = Frames::default();
    let mut cut_at = None;
    let upstream = guard.upstream();
    let cuts = upstream.cuts.get();
    loop {
        let told = upstream.cuts.get() != cuts || worker.must_tunnels_end() || is_idle(guard);
        if told && cut_at.is_none() {
            passed.cut.set(true);
            cut_at = Some(tokio::time::Instant::now());
        }
        if cut_at.is_some() && (!websocket || frames.at_boundary()) {
            return cut(worker, guard, to, websocket).await;
        }
        let limit = cut_at.map(|at: tokio::time::Instant| at + TO_BOUNDARY);
        let read = tokio::select! {
            biased;
            () = upstream.cut.notified(), if cut_at.is_none() => continue,
            () = worker.tunnels_end(), if cut_at.is_none() => continue,
            _ = guard.broken(), if cut_at.is_none() => continue,
            () = async { tokio::time::sleep_until(limit.unwrap_or_else(tokio::time::Instant::now)).await },
                if limit.is_some() => return cut(worker, guard, to, false).await,
            read = from.read(&mut buffer) => read?,
        };
        touch(guard);
        if read == 0 {
            to.shutdown().await?;
            return Ok(Ended::BySelf);
        }
        let boundary = if websocket {
            frames.feed(&buffer[..read])
        } else {
            None
        };
        match (cut_at, boundary) {
            (Some(_), Some(at)) => {
                to.write_all(&buffer[..at]).await?;
                add(&passed.down, at);
                return cut(worker, guard, to, true).await;
            }
            _ => to.write_all(&buffer[..read]).await?,
        }
        to.flush().await?;
        add(&passed.down, read);
    }
}

async fn cut(
    worker: &Worker,
    guard: &Guard,
    to: &mut (impl AsyncWrite + Unpin),
    say_so: bool,
) -> std::io::Result<Ended> {
    // One that was idle for too long is counted at its route.
    if !is_idle(guard) {
        worker.totals.cut_tunnels.add(1);
    }
    if say_so {
        to.write_all(&GOING_AWAY).await?;
    }
    to.shutdown().await?;
    Ok(Ended::Cut)
}

/// Where frames of a WebSocket end.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    left: u64,
}

impl Frames {
    /// Whether the last byte seen ended a frame.
    fn at_boundary(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    /// Follows bytes; where the first frame ends among them.
    fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let (mut at, mut first) = (0, None);
        while at < bytes.len() {
            if self.left > 0 {
                let rest = (bytes.len() - at) as u64;
                let step = rest.min(self.left);
                self.left -= step;
                at += usize::try_from(step).unwrap_or(bytes.len());
            } else {
                self.head.push(bytes[at]);
                at += 1;
                if let Some(length) = frame_length(&self.head) {
                    self.head.clear();
                    self.left = length;
                }
            }
            if self.at_boundary() && first.is_none() {
                first = Some(at);
            }
        }
        first
    }
}

/// Length of a frame's payload once its head is whole.
fn frame_length(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (extended, length) = match second & 0x7f {
        126 => (2, None),
        127 => (8, None),
        short => (0, Some(u64::from(short))),
    };
    if head.len() < 2 + extended + mask {
        return None;
    }
    let long = || {
        head[2..2 + extended]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    Some(length.unwrap_or_else(long))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0; length + if masked { 4 } else { 0 }]);
        frame
    }

    #[test]
    fn the_end_of_the_first_frame_is_found_however_the_bytes_come() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let one = frame(length, false);
            let mut bytes = one.clone();
            bytes.extend(frame(3, false));
            for size in [1, 7, bytes.len()] {
                let (mut frames, mut seen, mut first) = (Frames::default(), 0, None);
                for chunk in bytes.chunks(size) {
                    if let Some(at) = frames.feed(chunk) {
                        first = first.or(Some(seen + at));
                    }
                    seen += chunk.len();
                }
                assert_eq!(first, Some(one.len()), "{length} by {size}");
                assert!(frames.at_boundary());
            }
        }
    }
}
