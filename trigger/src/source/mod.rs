//! The list of trigger types, and what each of them must be able to do.
//!
//! To add one: a file here, a `mod` line and an entry in [`SOURCES`].

mod cron;
mod docker;
mod git;
mod jenkins;
pub mod manual;
mod pipeline;
mod webhook;

use proto::status::Failure;
use serde_json::{Map, Value};

use crate::event::Event;
use crate::pattern;
use crate::proof::Proof;
use crate::refusal::Refusal;

pub use docker::pushed as docker_event;

/// Every type of trigger that events can fire. Manual starts
/// ([`manual::prepare`]) are not among them: nothing has to match.
pub const SOURCES: &[&dyn Source] = &[
    &cron::Cron,
    &docker::Docker,
    &git::Git,
    &jenkins::Jenkins,
    &pipeline::Pipeline,
    &webhook::Webhook,
];

/// One trigger type. All of it is pure.
pub trait Source: Sync {
    /// `type` of the triggers it fires, and the first part of the webhook's path.
    fn kind(&self) -> &'static str;

    /// The source of its events is a registry account, known to cloud-driver.
    fn is_of_registry(&self) -> bool {
        false
    }

    /// Its events come from outside, and are posted to `/webhooks/{type}/{source}`.
    fn is_posted(&self) -> bool {
        true
    }

    /// Its events tell which artifacts they bring. Those of others are found when the
    /// pipeline starts.
    fn brings_artifacts(&self) -> bool {
        true
    }

    /// Whether an event is about a trigger at all: of those it is not about nothing
    /// is decided.
    fn concerns(&self, _trigger: &Map<String, Value>, _event: &Event) -> bool {
        true
    }

    /// The events in the body of a webhook.
    ///
    /// # Errors
    /// [`Failure`] naming what does not fit; an event of no interest is left out.
    fn parse(&self, source: &Origin<'_>, body: &[u8]) -> Result<Vec<Event>, Failure>;

    /// Why a trigger can match no event at all, whatever comes; `Ok` if it can.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    fn standing(&self, _trigger: &Map<String, Value>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Why an enabled trigger of this type does not match an event; `Ok` if it does.
    ///
    /// # Errors
    /// The field, what was expected and what came.
    fn matches(&self, trigger: &Map<String, Value>, event: &Event) -> Result<(), Refusal>;

    /// The trigger as the execution will hold it: its own fields and what the event adds.
    fn fired(&self, trigger: &Map<String, Value>, event: &Event) -> Map<String, Value>;
}

/// The fields that a trigger needs to match anything.
pub(crate) fn needs(trigger: &Map<String, Value>, fields: &[&str]) -> Result<(), Refusal> {
    let is_there = |field: &&&str| {
        let value = trigger.get(**field).and_then(Value::as_str);
        value.is_none_or(|text| text.trim().is_empty())
    };
    fields
        .iter()
        .find(is_there)
        .map_or(Ok(()), |field| Err(Refusal::absent(field)))
}

/// A pattern that a trigger has, if it has one, must be one.
pub(crate) fn usable(trigger: &Map<String, Value>, field: &str) -> Result<(), Refusal> {
    let pattern = trigger
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim();
    pattern::whole(pattern, "")
        .map(|_| ())
        .map_err(|reason| Refusal::unusable(field, pattern, &reason))
}

/// Where a webhook came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The path behind the type: the registry account for `docker`.
    pub source: &'a str,
    /// The registry's address, as image references write it; empty for other types.
    pub registry: &'a str,
    /// Its headers.
    pub headers: &'a [(String, String)],
    /// A text that no other call has.
    pub nonce: &'a str,
    /// When it came, milliseconds since the epoch.
    pub received_at_ms: i64,
}

/// Headers by which senders name a delivery, so that a repetition is known.
const DELIVERY: [&str; 6] = [
    "idempotency-key",
    "x-github-delivery",
    "x-gitlab-event-uuid",
    "x-request-uuid",
    "x-atlassian-webhook-identifier",
    "ce-id",
];

impl Origin<'_> {
    /// A header, its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// The delivery's name, else a text of its own.
    pub(crate) fn delivery(&self) -> String {
        let named = DELIVERY
            .iter()
            .find_map(|name| Some((name, self.header(name)?)));
        match named {
            Some((name, value)) => format!("{name}:{value}"),
            None => format!("nonce:{}", self.nonce),
        }
    }

    /// What it brings to show who sent it.
    pub(crate) fn proof(&self, body: &[u8]) -> Proof {
        Proof::of(self.headers, body)
    }
}

/// The source of this type.
///
/// # Errors
/// When events of this type are not supported; names the types that are.
pub fn of_kind(kind: &str) -> Result<&'static dyn Source, Failure> {
    let found = SOURCES
        .iter()
        .find(|source| source.kind().eq_ignore_ascii_case(kind));
    found.copied().ok_or_else(|| {
        let known: Vec<_> = SOURCES.iter().map(|source| source.kind()).collect();
        Failure::new(
            proto::status::Kind::Unimplemented,
            format!(
                "events of type \"{kind}\" are not supported; supported are: {}",
                known.join(", ")
            ),
        )
    })
}
