//! A request that a route was found for, and what the route says of it before and while an instance
//! answers.

use std::rc::Rc;
use std::time::Instant;

use http::header::{RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::{Body, Incoming};

use super::answer::Own;
use super::body::ResponseBody;
use super::client::Client;
use super::clock::now_ns;
use super::forward::{Reset, own};
use super::routes::Route;
use super::sticky::Mark;
use super::table::Upstream;
use super::watch::{Breach, Watch};
use super::worker::Worker;

/// A request on its route.
pub(crate) struct Ask {
    pub(crate) route: Rc<Route>,
    /// None on a route without limits.
    pub(crate) watch: Option<Rc<Watch>>,
    /// What its client's cookie says.
    pub(crate) mark: Option<Mark>,
    /// Whether its method only reads.
    pub(crate) reads: bool,
    pub(crate) began: Instant,
}

impl Ask {
    /// Lets a request enter its route.
    ///
    /// # Errors
    /// With the answer, when the route's limits do not allow it.
    pub(crate) fn enter(
        worker: &Worker,
        client: &Rc<Client>,
        route: Rc<Route>,
        request: &Request<Incoming>,
        reads: bool,
        began: Instant,
    ) -> Result<Self, Box<Response<ResponseBody>>> {
        let sticky = route.balancer.sticky.as_ref();
        let mut ask = Self {
            mark: sticky.and_then(|sticky| sticky.mark(request.headers())),
            route,
            watch: None,
            reads,
            began,
        };
        let Some((gate, allowance)) = &ask.route.limits else {
            return Ok(ask);
        };
        let pass = gate.enter(allowance, now_ns()).map_err(|full| {
            let text = format!("route {}: {full}", ask.route.name);
            let mut answer = ask.own(worker, Own::RouteLimit, text);
            let after = HeaderValue::from(full.retry_after_s());
            answer.headers_mut().insert(RETRY_AFTER, after);
            Box::new(answer)
        })?;
        let watch = Watch::begin(pass, client.clone(), *allowance, began);
        if let Some(length) = request.body().size_hint().exact()
            && let Err(breach) = watch.fits(length)
        {
            return Err(Box::new(ask.refusal(worker, breach)));
        }
        ask.watch = Some(watch);
        Ok(ask)
    }

    /// An answer of the balancer itself.
    pub(crate) fn own(
        &self,
        worker: &Worker,
        why: Own,
        text: impl std::fmt::Display,
    ) -> Response<ResponseBody> {
        own(worker, Some(&self.route.balancer), self.reads, why, text)
    }

    /// Tells the client which instance answered, unless it knows.
    pub(crate) fn stick(&self, headers: &mut HeaderMap, upstream: &Upstream) {
        if let Some(sticky) = &self.route.balancer.sticky
            && self.mark != Some(upstream.mark)
            && let Some(cookie) = sticky.cookie(upstream.mark)
        {
            headers.append(SET_COOKIE, cookie);
        }
    }

    /// The limit that the request has reached.
    pub(crate) fn breach(&self) -> Option<Breach> {
        self.watch.as_ref().and_then(|watch| watch.breach())
    }

    /// The answer to a request that has reached a limit.
    pub(crate) fn refusal(&self, worker: &Worker, breach: Breach) -> Response<ResponseBody> {
        let text = format!("route {}: {breach}", self.route.name);
        self.own(worker, breach.own(), text)
    }

    /// The answer, or a refusal when a limit is reached before there is one.
    pub(crate) async fn within(
        &self,
        worker: &Worker,
        answer: impl Future<Output = Result<Response<ResponseBody>, Reset>>,
    ) -> Result<Response<ResponseBody>, Reset> {
        let broken = async {
            match &self.watch {
                Some(watch) => watch.broken().await,
                None => std::future::pending().await,
            }
        };
        // One that just came may itself be the refusal: it goes first.
        tokio::select! {
            biased;
            answer = answer => answer,
            breach = broken => Ok(self.refusal(worker, breach)),
        }
    }
}
