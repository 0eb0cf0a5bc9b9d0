//! The goals a rollout can have, one file each: from what is asked to the plan.

mod create;
mod destroy;
mod disable;
mod enable;
mod replace_in_place;
mod resize;
mod shift;

use serde::{Deserialize, Serialize};

pub use create::{Create, CreateTogether};
pub use destroy::Destroy;
pub use disable::Disable;
pub use enable::Enable;
pub use replace_in_place::{Refusal, ReplaceInPlace};
pub use resize::Resize;
pub use shift::Shift;

use crate::member::{Member, Origin, Role};
use crate::moves::{Move, take_out};
use crate::settings::Settings;

/// An instance that is to be brought up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Newcomer {
    /// Instance id, never used before.
    pub id: String,
    /// The free slot it takes.
    pub slot: String,
}

pub(crate) fn newcomers(group: &str, list: &[Newcomer]) -> (Vec<Member>, Vec<String>) {
    let member =
        |n: &Newcomer| Member::fresh(n.id.clone(), group.into(), n.slot.clone(), Origin::New);
    (
        list.iter().map(member).collect(),
        list.iter().map(|n| n.id.clone()).collect(),
    )
}

/// An instance that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Instance id.
    pub id: String,
    /// Server group.
    pub group: String,
    /// Its slot.
    pub slot: String,
    /// The role it has.
    pub role: Role,
    /// It is of no use any more: its process is known to have ended, or it was drained for good.
    pub dead: bool,
}

impl Present {
    pub(crate) fn member(&self, origin: Origin) -> Member {
        let mut member = Member::existing(
            self.id.clone(),
            self.group.clone(),
            self.slot.clone(),
            self.role,
        );
        member.origin = origin;
        member.died = self.dead;
        member
    }
}

pub(crate) fn present(list: &[Present], origin: Origin) -> Vec<Member> {
    list.iter().map(|p| p.member(origin)).collect()
}

/// Who of them may have work to end before it is stopped.
pub(crate) fn working(list: &[Present], settings: &Settings) -> Vec<String> {
    ids(list.iter().filter(|p| settings.works(p.role)))
}

/// What is of no use any more is taken away; what was drained for good ends its work before.
pub(crate) fn clear(dead: &[String], settings: &Settings) -> Vec<Move> {
    let working = if settings.drain_is_final { dead } else { &[] };
    if dead.is_empty() {
        return Vec::new();
    }
    take_out(dead, working)
}

pub(crate) fn ids<'a>(list: impl IntoIterator<Item = &'a Present>) -> Vec<String> {
    list.into_iter().map(|p| p.id.clone()).collect()
}
