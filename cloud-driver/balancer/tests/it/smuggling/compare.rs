//! What the balancer did with some bytes, held against what nginx did with them.

use std::fmt;
use std::sync::Arc;

use super::strict::Message;
use super::trial::Outcome;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What arrived has more than one reading; never allowed.
    Ambiguous(String),
    /// It said 2xx more often than the instance did; never allowed.
    Invented,
    /// A request arrived that nginx would not let through, or not so.
    Accepted(Message),
}

/// A finding.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) raw: Arc<[u8]>,
    pub(crate) kind: Kind,
    pub(crate) ours: Outcome,
    pub(crate) nginx: Outcome,
}

/// Compares; nothing where there is nothing to explain. Without an nginx only what arrived is judged.
pub(crate) fn difference(
    raw: &Arc<[u8]>,
    ours: &Outcome,
    nginx: Option<&Outcome>,
) -> Option<Difference> {
    let well = ours
        .statuses
        .iter()
        .filter(|s| (200..300).contains(*s))
        .count();
    let kind = if let Some(fault) = ours.faults.first() {
        Kind::Ambiguous(fault.clone())
    } else if well > ours.arrived.len() {
        Kind::Invented
    } else {
        Kind::Accepted(first_extra(&ours.arrived, &nginx?.arrived)?.clone())
    };
    Some(Difference {
        raw: raw.clone(),
        kind,
        ours: ours.clone(),
        nginx: nginx.cloned().unwrap_or_default(),
    })
}

/// The first of ours that is not, in its turn, among theirs.
fn first_extra<'a>(ours: &'a [Message], theirs: &[Message]) -> Option<&'a Message> {
    let mut theirs = theirs.iter();
    ours.iter().find(|one| {
        let same = |their: &Message| {
            (&their.method, &their.target, &their.body) == (&one.method, &one.target, &one.body)
        };
        !theirs.any(same)
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Ambiguous(fault) => writeln!(f, "what arrived is ambiguous: {fault}")?,
            Kind::Invented => writeln!(f, "answered without the instance")?,
            Kind::Accepted(message) => writeln!(
                f,
                "accepted, and not by nginx: {} {} with {} bytes",
                message.method,
                message.target.escape_ascii(),
                message.body.len()
            )?,
        }
        for (name, outcome) in [("balancer", &self.ours), ("nginx", &self.nginx)] {
            let arrived: Vec<_> = outcome
                .arrived
                .iter()
                .map(|m| {
                    let length = m.body.len();
                    format!("{} {} ({length})", m.method, m.target.escape_ascii())
                })
                .collect();
            writeln!(
                f,
                "  {name} answers {:?}, arrived {arrived:?}",
                outcome.statuses
            )?;
        }
        write!(f, "  sent: {}", self.raw.escape_ascii())
    }
}
