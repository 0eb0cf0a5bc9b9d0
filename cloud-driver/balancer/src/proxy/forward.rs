//! The way of a request: route, instance, connection, answer; and what may be tried again.
//!
//! | What happened | GET HEAD OPTIONS TRACE PUT DELETE without body | any other |
//! |---|---|---|
//! | no connection | another instance | another instance: nothing was sent |
//! | handed back unsent | same instance, new connection | same |
//! | kept connection ended before the first byte | once, on a new connection | never |
//! | new connection ended before the first byte | never: the request may be what ended it | never |
//! | HTTP/2: refused, or the instance left before it came to it | once, on another connection | the same without a body |
//! | first byte seen | never, the client's stream is reset | never |
//! | any status of the instance | passed on | passed on |
//!
//! In HTTP/1.1, requests of the second kind take a new connection, so that the third row cannot happen
//! to them.

use std::rc::Rc;
use std::time::Instant;

use http::header::{CONNECTION, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::{Body, Incoming};

use super::answer::Own;
use super::ask::Ask;
use super::body::{Carrier, Count, Guard, RequestBody, ResponseBody, take_over};
use super::client::{Busy, Client};
use super::headers;
use super::hold;
use super::meter::Repeat;
use super::passage::Passage;
use super::pipe::{ConnectError, Sent};
use super::redirect;
use super::refuse;
use super::shared::is_grpc;
use super::table::{Balancer, Group, Upstream};
use super::tunnel;
use super::way::{How, Wanted, Way};
use super::worker::Worker;
use crate::fault::Fault;

/// The connection is reset instead of answered.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum Reset {
    /// On purpose.
    #[error("request was cut")]
    Cut,
    /// By the instance.
    #[error("request was broken off")]
    Broken,
}

/// Answers one request. It is boxed, and so moved cheaply from step to step.
pub(crate) async fn forward(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Box<Request<Incoming>>,
) -> Result<Response<ResponseBody>, Reset> {
    let began = Instant::now();
    let busy = Busy::new(client.clone(), worker.clone());
    busy.watch().await;
    let leaving = worker.is_leaving();
    let passage = Passage::default();
    let answer = route(&worker, &client, busy, began, request, &passage).await;
    let mut response = passage.answered(answer)?;
    // In HTTP/2 the connection says it, not each answer.
    if (leaving || worker.is_leaving()) && !client.is_shared() {
        let headers = response.headers_mut();
        if !headers.contains_key(CONNECTION) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Ok(response)
}

async fn route(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    busy: Busy,
    began: Instant,
    mut request: Box<Request<Incoming>>,
    passage: &Passage,
) -> Result<Response<ResponseBody>, Reset> {
    let reads = reads(request.method());
    if request.method() == Method::CONNECT {
        passage.begin(worker, client, None, began, &mut request);
        let why = "this is no proxy for tunnels of clients";
        return Ok(own(worker, None, reads, Own::ConnectRefused, why));
    }
    if let Some((flaw, why)) = refuse::flaw(&request) {
        passage.begin(worker, client, None, began, &mut request);
        return Ok(own(worker, None, reads, flaw, why));
    }
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    if let Some(port) = client.way.redirect {
        passage.begin(worker, client, None, began, &mut request);
        return Ok(match redirect::to_https(&request, port) {
            Some(answer) => {
                worker.nobody.told(reads, answer.status().as_u16());
                answer
            }
            None => {
                let why = "a request without a host cannot be sent to https; name one";
                own(worker, None, reads, Own::BadHost, why)
            }
        });
    }
    let route = {
        let table = worker.table();
        let headers = request.headers();
        let host = headers.get(HOST).and_then(|h| h.to_str().ok());
        let (path, method) = (request.uri().path(), request.method());
        let routes = &table.routes;
        routes
            .find(host.unwrap_or_default(), path, method, headers)
            .cloned()
    };
    passage.begin(worker, client, route.as_ref(), began, &mut request);
    let Some(route) = route else {
        let why = format!(
            "no route for this host and path; path {}",
            request.uri().path()
        );
        return Ok(own(worker, None, reads, Own::NoRoute, why));
    };
    worker.budget.request();
    let ask = match Ask::enter(worker, client, route, &request, reads, began) {
        Ok(ask) => ask,
        Err(answer) => return Ok(*answer),
    };
    if let Some(protocol) = headers::upgrade(request.headers()) {
        let tried = tunnel::forward(worker, client, busy, &ask, *request, protocol, passage);
        return Box::pin(ask.within(worker, tried)).await;
    }
    let (mut parts, body) = request.into_parts();
    prepare(&mut parts, client, !body.is_end_stream());
    let mut body = if body.is_end_stream() {
        RequestBody::Empty
    } else {
        RequestBody::Upload {
            body,
            guard: None,
            bytes: passage.upload(),
            tap: None,
        }
    };
    if let Some(mirror) = &ask.route.mirror {
        mirror.copy(worker, &parts, &mut body);
    }
    let attempt = Attempt {
        worker,
        ask: &ask,
        passage,
        repeatable: matches!(body, RequestBody::Empty) && is_idempotent(&parts.method),
        grpc: is_grpc(&parts.headers),
        tries: 0,
        tried: Vec::new(),
    };
    let request = Box::new(Request::from_parts(parts, body));
    if ask.watch.is_none() {
        return attempt.run(request, busy).await;
    }
    Box::pin(ask.within(worker, attempt.run(request, busy))).await
}

/// A head as instances get it.
pub(crate) fn prepare(parts: &mut Parts, client: &Client, has_body: bool) {
    headers::origin_form(&mut parts.uri);
    // Once, instead of growing with each that is added.
    parts.headers.reserve(headers::ADDED);
    headers::strip(&mut parts.headers);
    if parts.version == Version::HTTP_2 {
        headers::join_cookies(&mut parts.headers);
    }
    let host = parts.headers.get(HOST).cloned();
    headers::forwarded(&mut parts.headers, &client.peer, client.way, host.as_ref());
    if host.is_none() {
        // HTTP/1.0 may do without; HTTP/1.1 may not, and then says nothing (RFC 9112, section 3.2).
        parts.headers.insert(HOST, HeaderValue::from_static(""));
    }
    if has_body {
        headers::frame(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
}

fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

/// Whether a method only reads.
pub(crate) fn reads(method: &Method) -> bool {
    method.is_safe()
}

/// Answers without an instance, and counts it.
pub(crate) fn own(
    worker: &Worker,
    balancer: Option<&Balancer>,
    reads: bool,
    why: Own,
    text: impl std::fmt::Display,
) -> Response<ResponseBody> {
    let meter = balancer.map_or(&worker.nobody, |b| &b.nobody);
    answer_own(worker, meter, reads, why, text)
}

/// Answers for a group's instance, and counts it.
pub(crate) fn answer_own(
    worker: &Worker,
    meter: &super::meter::Meter,
    reads: bool,
    why: Own,
    text: impl std::fmt::Display,
) -> Response<ResponseBody> {
    let status = why.status().0.as_u16();
    meter.answered(reads, why);
    if (502..=504).contains(&status) {
        worker.totals.own_errors.add(1);
    }
    if why == Own::NoInstance {
        worker.totals.no_instance.add(1);
    }
    why.response(text)
}

/// The client's body broke off, or is none; the instance is not to blame.
pub(crate) fn bad_body(
    worker: &Worker,
    meter: &super::meter::Meter,
    reads: bool,
) -> Response<ResponseBody> {
    let why = "the body of the request ended before its end, or its chunks are none";
    answer_own(worker, meter, reads, Own::BadBody, why)
}

/// One request and what was tried for it.
struct Attempt<'a> {
    worker: &'a Rc<Worker>,
    ask: &'a Ask,
    passage: &'a Passage,
    repeatable: bool,
    grpc: bool,
    tries: u32,
    tried: Vec<Rc<Upstream>>,
}

impl Attempt<'_> {
    async fn run(
        mut self,
        mut request: Box<Request<RequestBody>>,
        busy: Busy,
    ) -> Result<Response<ResponseBody>, Reset> {
        let limits = self.worker.table().limits;
        let mut fresh = !self.repeatable && !Fault::ReusePost.is_on();
        let mut again: Option<(Rc<Group>, Guard)> = None;
        loop {
            let chosen = match again.take() {
                Some(same) => Ok(same),
                None => hold::choose(self.worker, self.ask, &self.tried).await,
            };
            let (group, mut guard) = match chosen {
                Ok(chosen) => chosen,
                Err(answer) => return Ok(*answer),
            };
            guard.hold(self.ask.watch.as_ref());
            self.tries += 1;
            let upstream = guard.upstream().clone();
            self.passage.tried(self.tries, &group, &upstream);
            let cuts = upstream.cuts.get();
            let wanted = Wanted {
                grpc: self.grpc,
                fresh,
                again: self.tries > 1,
                limit: limits.connect,
            };
            let (mut way, pooled) = match Way::open(&group, &upstream, wanted).await {
                Ok(found) => found,
                Err(error) => {
                    drop(guard);
                    match self.not_connected(&group, upstream, limits.tries, &error) {
                        Some(answer) => return Ok(answer),
                        None => continue,
                    }
                }
            };
            let spare = self.spare(&way, limits.tries, &request);
            let repeatable = pooled && self.repeatable && limits.tries > 1;
            let how = How {
                grpc: self.grpc,
                cuts,
                noted: repeatable,
            };
            let guard = Rc::new(guard);
            if let RequestBody::Upload { guard: held, .. } = request.body_mut() {
                *held = Some(guard.clone());
            }
            group.meter.sent.add(1);
            let sent = way.send(request, &upstream, how).await;
            match sent {
                // It is not the instance that broke it off.
                Sent::Lost { .. } | Sent::Unsent(_) if let Some(breach) = self.ask.breach() => {
                    return Ok(self.ask.refusal(self.worker, breach));
                }
                Sent::Answer(response) => {
                    let carrier = match way {
                        Way::Pipe(pipe) => Carrier::Pipe(pipe),
                        Way::Stream(stream) => Carrier::Stream(stream),
                    };
                    return Ok(self.answer(response, carrier, guard, group, cuts, busy));
                }
                Sent::Unsent(back) => {
                    request = back;
                    release(&mut request);
                    if self.tries >= limits.tries || !self.worker.budget.may_repeat(self.worker) {
                        return Ok(self.lost(&group, "it could not be written"));
                    }
                    self.worker.totals.retried_unsent.add(1);
                    group.meter.repeated(Repeat::Unsent);
                    fresh = true;
                    // The same instance, as long as it takes requests.
                    again = Rc::try_unwrap(guard).ok().map(|guard| (group, guard));
                    again = again.filter(|(_, guard)| !guard.upstream().target.is_draining());
                }
                Sent::Unprocessed { why } => match spare {
                    Some(spare) if self.worker.budget.may_repeat(self.worker) => {
                        self.worker.totals.retried_unsent.add(1);
                        group.meter.repeated(Repeat::Unsent);
                        request = spare;
                        fresh = true;
                        self.tried.push(upstream);
                    }
                    _ => return Ok(self.lost(&group, &why)),
                },
                Sent::Lost { .. } if guard.upload_broke() => {
                    return Ok(bad_body(self.worker, &group.meter, self.ask.reads));
                }
                Sent::Lost { seen, why } => {
                    if seen {
                        self.worker.totals.broken.add(1);
                        return Err(Reset::Broken);
                    }
                    if !pooled {
                        upstream.target.failed();
                    }
                    let spare = spare.or_else(|| way.noted().map(Box::new));
                    match spare.filter(|_| repeatable) {
                        Some(spare) if self.worker.budget.may_repeat(self.worker) => {
                            self.worker.totals.retried_closed.add(1);
                            group.meter.repeated(Repeat::Closed);
                            request = spare;
                            fresh = true;
                        }
                        _ => return Ok(self.lost(&group, &why)),
                    }
                }
                Sent::Cut => {
                    self.worker.totals.cut_requests.add(1);
                    return Err(Reset::Cut);
                }
            }
        }
    }

    /// What may be sent a second time on a shared connection, should this one not have been
    /// answered. What is sent on a connection of its own can be had again from there.
    fn spare(
        &self,
        way: &Way,
        most: u32,
        request: &Request<RequestBody>,
    ) -> Option<Box<Request<RequestBody>>> {
        let shared = matches!(way, Way::Stream(_));
        let may = shared && self.tries < most && matches!(request.body(), RequestBody::Empty);
        may.then(|| Box::new(copy(request)))
    }

    /// Nothing was sent: another instance may be tried, unless this was the last try.
    fn not_connected(
        &mut self,
        group: &Group,
        upstream: Rc<Upstream>,
        most: u32,
        error: &ConnectError,
    ) -> Option<Response<ResponseBody>> {
        upstream.target.failed();
        self.tried.push(upstream);
        if self.tries < most && self.worker.budget.may_repeat(self.worker) {
            self.worker.totals.retried_connect.add(1);
            group.meter.repeated(Repeat::Connect);
            return None;
        }
        let why = match error {
            ConnectError::Timeout { .. } => Own::ConnectTimeout,
            ConnectError::Refused { .. } | ConnectError::Setup { .. } => Own::NoConnection,
        };
        Some(answer_own(
            self.worker,
            &group.meter,
            self.ask.reads,
            why,
            error,
        ))
    }

    /// It may have arrived and must not be sent again.
    fn lost(&self, group: &Group, why: &str) -> Response<ResponseBody> {
        self.worker.totals.not_repeated.add(1);
        let text = format!("the instance did not answer and the request is not repeated: {why}");
        answer_own(self.worker, &group.meter, self.ask.reads, Own::Lost, text)
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        carrier: Carrier,
        guard: Rc<Guard>,
        group: Rc<Group>,
        cuts: u32,
        busy: Busy,
    ) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        guard.upstream().target.answered(parts.status.as_u16());
        headers::strip(&mut parts.headers);
        self.ask.stick(&mut parts.headers, guard.upstream());
        parts.version = Version::HTTP_11;
        let count = Count {
            worker: self.worker.clone(),
            _busy: busy,
            group,
            began: self.ask.began,
            status: parts.status.as_u16(),
            reads: self.ask.reads,
            first: self.ask.began.elapsed(),
            journey: self.passage.take(),
        };
        let body = take_over(body, carrier, guard, cuts, count);
        Response::from_parts(parts, body)
    }
}

/// A copy of a request without a body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// A request that came back is nobody's until the next instance is chosen.
fn release(request: &mut Request<RequestBody>) {
    if let RequestBody::Upload { guard, .. } = request.body_mut() {
        *guard = None;
    }
}
