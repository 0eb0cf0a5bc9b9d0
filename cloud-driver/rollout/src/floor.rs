//! Capacity: how many instances were seen serving, and what may be taken away.

use std::collections::BTreeMap;

use crate::machine::Direction;
use crate::member::{Member, Role};
use crate::router::View;

/// How many of the members not in `without` are meant to serve and were seen serving.
pub(crate) fn serving(
    members: &BTreeMap<String, Member>,
    view: &View,
    without: &[String],
) -> usize {
    members
        .values()
        .filter(|m| !without.contains(&m.id) && serves(m, view))
        .count()
}

/// Whether this member was seen serving.
pub(crate) fn serves(member: &Member, view: &View) -> bool {
    member.role == Role::Serve && !member.died && view.serves(&member.id)
}

/// Whether taking traffic from `leaving` keeps the floor.
///
/// What serves nothing may go: on the way forward only when its process is
/// dead (a suspended instance may come back, and while a whole group is
/// suspended it gets requests all the same), on the way back also when it is
/// unhealthy, because it is what failed.
pub(crate) fn may_leave(
    members: &BTreeMap<String, Member>,
    view: &View,
    leaving: &[String],
    floor: usize,
    direction: Direction,
) -> bool {
    let of = |id: &String| members.get(id);
    let takes_nothing = leaving
        .iter()
        .filter_map(of)
        .all(|m| match (m.role, direction) {
            (Role::Serve, Direction::Forward) => m.died,
            (Role::Serve, Direction::Inverse) => !serves(m, view),
            (Role::Absent | Role::Warm | Role::Drain, _) => true,
        });
    takes_nothing || serving(members, view, leaving) >= floor
}
