//! The list of trigger types, and what each of them must be able to do.
//!
//! To add one: a file here, a `mod` line and an entry in [`SOURCES`].

mod docker;
pub mod manual;

use proto::status::Failure;
use serde_json::{Map, Value};

use crate::event::Event;

pub use docker::pushed as docker_event;

/// Every type of trigger that events can fire. Manual starts
/// ([`manual::prepare`]) are not among them: nothing has to match.
pub const SOURCES: &[&dyn Source] = &[&docker::Docker];

/// One trigger type. All of it is pure.
pub trait Source: Sync {
    /// `type` of the triggers it fires, and the first part of the webhook's path.
    fn kind(&self) -> &'static str;

    /// The events in the body of a webhook; `source` is the rest of its path
    /// and `registry` what cloud-driver knows about it.
    ///
    /// # Errors
    /// [`Failure`] naming what does not fit; an event of no interest is left out.
    fn parse(&self, source: &Origin<'_>, body: &[u8]) -> Result<Vec<Event>, Failure>;

    /// Why an enabled trigger of this type does not match an event; `Ok` if it does.
    ///
    /// # Errors
    /// One sentence with what was expected and what came.
    fn matches(&self, trigger: &Map<String, Value>, event: &Event) -> Result<(), String>;

    /// The trigger as the execution will hold it: its own fields and what the event adds.
    fn fired(&self, trigger: &Map<String, Value>, event: &Event) -> Map<String, Value>;
}

/// Where a webhook came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The path behind the type: the registry account for `docker`.
    pub account: &'a str,
    /// The registry's address, as image references write it.
    pub registry: &'a str,
    /// When it came, milliseconds since the epoch.
    pub received_at_ms: i64,
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
