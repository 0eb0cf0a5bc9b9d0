//! The goals a rollout can have, one file each: from what is asked to the plan.

mod create;
mod destroy;
mod disable;
mod enable;
mod replace_in_place;
mod resize;
mod shift;

use serde::{Deserialize, Serialize};

pub use create::Create;
pub use destroy::Destroy;
pub use disable::Disable;
pub use enable::Enable;
pub use replace_in_place::{Refusal, ReplaceInPlace};
pub use resize::Resize;
pub use shift::Shift;

use crate::member::{Member, Origin, Role};

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
    /// Its process is known to have ended.
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

pub(crate) fn ids<'a>(list: impl IntoIterator<Item = &'a Present>) -> Vec<String> {
    list.into_iter().map(|p| p.id.clone()).collect()
}
