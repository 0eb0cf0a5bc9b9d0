//! One request on its way through: from the moment its route is known to the end of its answer it is
//! in flight there; at its end it is counted and told to the access log.
//!
//! Whoever takes an instance's answer further takes the [`Journey`] along. One that nobody took and
//! nobody answered was left by its client.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use hyper::body::{Body, Incoming};

use super::access::{Entry, Log, REQUEST_ID, settle_id};
use super::answer::Own;
use super::body::ResponseBody;
use super::client::Client;
use super::forward::Reset;
use super::routes::Route;
use super::table::{Group, Upstream};
use super::worker::Worker;

/// Why an answer has no end, as the access log names it.
pub(crate) const CLIENT_GONE: &str = "client_gone";
/// It was cut.
pub(crate) const CUT: &str = "cut";
/// The instance broke it off.
pub(crate) const BROKEN: &str = "broken";

/// A request that is looked after by the one who received it.
#[derive(Debug, Default)]
pub(crate) struct Passage {
    journey: RefCell<Option<Journey>>,
    /// To be told to the client.
    id: RefCell<Option<HeaderValue>>,
}

impl Passage {
    /// It takes this route, or none.
    pub(crate) fn begin(
        &self,
        worker: &Rc<Worker>,
        client: &Client,
        route: Option<&Rc<Route>>,
        began: Instant,
        request: &mut Request<Incoming>,
    ) {
        if let Some(route) = route {
            route.meter.began.add(1);
        }
        let log = worker.table().log(route.map(|route| &**route)).cloned();
        let line = log.and_then(|log| {
            let id = settle_id(request.headers_mut());
            let line = log.is_next().then(|| Line::new(log, request, &id, client));
            *self.id.borrow_mut() = Some(id);
            line
        });
        *self.journey.borrow_mut() = Some(Journey {
            worker: worker.clone(),
            route: route.cloned(),
            reads: super::forward::reads(request.method()),
            began,
            line,
            ended: false,
        });
    }

    /// It is sent to an instance; the first is the first try.
    pub(crate) fn tried(&self, tries: u32, group: &Group, upstream: &Upstream) {
        if let Some(journey) = &mut *self.journey.borrow_mut() {
            journey.tried(tries, group, upstream);
        }
    }

    /// Where the bytes of its body are counted; none: nobody wants to know.
    pub(crate) fn upload(&self) -> Option<Rc<Cell<u64>>> {
        let journey = self.journey.borrow();
        let line = journey.as_ref().and_then(|journey| journey.line.as_ref());
        line.map(|line| line.bytes_in.clone())
    }

    /// Hands it over to whoever takes the answer further.
    pub(crate) fn take(&self) -> Option<Journey> {
        self.journey.take()
    }

    /// Ends what nobody took: the balancer's own answers, and resets.
    pub(crate) fn answered(
        &self,
        mut answer: Result<Response<ResponseBody>, Reset>,
    ) -> Result<Response<ResponseBody>, Reset> {
        if let Ok(response) = &mut answer
            && let Some(id) = self.id.take()
        {
            response.headers_mut().insert(&REQUEST_ID, id);
        }
        let Some(mut journey) = self.take() else {
            return answer;
        };
        match &mut answer {
            Ok(response) => {
                let own = response.extensions_mut().remove::<Own>();
                let name = own.map(|own| own.status().1);
                let bytes = response.body().size_hint().exact().unwrap_or(0);
                journey.own(response.status().as_u16(), bytes, name);
            }
            Err(Reset::Cut) => journey.lost(CUT),
            Err(Reset::Broken) => journey.lost(BROKEN),
        }
        answer
    }
}

/// A request until its end.
#[derive(Debug)]
pub(crate) struct Journey {
    worker: Rc<Worker>,
    route: Option<Rc<Route>>,
    reads: bool,
    began: Instant,
    line: Option<Line>,
    ended: bool,
}

/// What will be written.
#[derive(Debug)]
struct Line {
    entry: Box<Entry>,
    log: Rc<Log>,
    bytes_in: Rc<Cell<u64>>,
}

impl Line {
    fn new(log: Rc<Log>, request: &Request<Incoming>, id: &HeaderValue, client: &Client) -> Self {
        let peer = client.peer.to_str().unwrap_or_default();
        Self {
            entry: Box::new(log.entry(request, id, peer)),
            log,
            bytes_in: Rc::default(),
        }
    }
}

impl Journey {
    fn tried(&mut self, tries: u32, group: &Group, upstream: &Upstream) {
        if let Some(route) = self.route.as_ref().filter(|_| tries > 1) {
            route.meter.retries.add(1);
        }
        if let Some(line) = &mut self.line {
            line.entry.server_group = Some(group.name.clone());
            line.entry.instance = Some(upstream.target.clone());
            line.entry.retries = tries.saturating_sub(1);
        }
    }

    /// Bytes of the answer's body go to the client.
    pub(crate) fn passed(&mut self, bytes: usize) {
        if let Some(line) = &mut self.line {
            line.entry.bytes_out += bytes as u64;
        }
    }

    /// The instance's answer has ended; `why`: before its end.
    pub(crate) fn ended(
        &mut self,
        status: u16,
        first: Duration,
        total: Duration,
        why: Option<&'static str>,
    ) {
        if let Some(route) = &self.route {
            route.meter.ended(self.reads, status, total);
        }
        if let Some(line) = &mut self.line {
            line.entry.status = Some(status);
            line.entry.first_byte_us = Some(micros(first));
        }
        self.write(total, why);
    }

    /// The instance agreed to another protocol.
    pub(crate) fn opened(&mut self, first: Duration) {
        if let Some(route) = &self.route {
            route.meter.ended(self.reads, 101, first);
        }
        if let Some(line) = &mut self.line {
            line.entry.status = Some(101);
            line.entry.first_byte_us = Some(micros(first));
            line.entry.tunnel = true;
        }
    }

    /// Its tunnel has ended.
    pub(crate) fn closed(&mut self, up: u64, down: u64, why: Option<&'static str>) {
        if let Some(line) = &mut self.line {
            line.bytes_in.set(up);
            line.entry.bytes_out = down;
        }
        self.write(self.began.elapsed(), why);
    }

    fn own(&mut self, status: u16, bytes: u64, name: Option<&'static str>) {
        if let Some(route) = &self.route {
            route.meter.answered(self.reads, status);
        }
        if let Some(line) = &mut self.line {
            line.entry.status = Some(status);
            line.entry.bytes_out = bytes;
        }
        self.write(self.began.elapsed(), name);
    }

    /// There will be no answer.
    fn lost(&mut self, why: &'static str) {
        self.write(self.began.elapsed(), Some(why));
    }

    fn write(&mut self, total: Duration, why: Option<&'static str>) {
        self.ended = true;
        let Some(line) = self.line.take() else {
            return;
        };
        let mut entry = line.entry;
        entry.bytes_in = line.bytes_in.get();
        entry.duration_us = micros(total);
        entry.error = why;
        if let Some(route) = &self.route {
            entry.route = Some(route.name.clone());
            entry.load_balancer = Some(route.balancer.name.clone());
        }
        line.log.write(entry, &self.worker.totals);
    }
}

impl Drop for Journey {
    fn drop(&mut self) {
        if !self.ended {
            self.worker.totals.client_gone.add(1);
            self.lost(CLIENT_GONE);
        }
        if let Some(route) = &self.route {
            route.meter.done.add(1);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
