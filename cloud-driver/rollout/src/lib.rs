//! The machine that moves traffic: how an operation brings instances up, gives
//! them traffic, takes it away and stops them without failing a request.
//!
//! A [`Rollout`] is durable state (serde). [`Rollout::step`] takes what was
//! observed and says what to write down and what to cause, as data. Whoever
//! drives it commits the state together with [`Step::journal`] *before* it
//! performs [`Step::effects`]; every effect may be performed twice. Nothing is
//! removed before its replacement was seen serving, nothing is stopped before
//! the router saw its last request end (or the drain deadline cut it), and
//! observed capacity never falls below the floor by a move of ours.
//!
//! Pure: no clock (time is part of the observation), no randomness, no I/O.
//! The truth about the world is the observation; the truth about what was asked
//! is the state.

#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::float_cmp,
    clippy::cast_possible_truncation
)]

mod advance;
mod effect;
mod floor;
mod goal;
mod inverse;
mod machine;
mod member;
mod moves;
mod observation;
mod outcome;
pub mod router;
mod settings;

pub use effect::{Effect, Journal, Overdue, Step};
pub use goal::{
    Create, CreateTogether, Destroy, Disable, Enable, Newcomer, Present, Refusal, ReplaceInPlace,
    Resize, Shift,
};
pub use machine::{Direction, Rollout};
pub use member::{Member, Origin, Pair, Role, Standing};
pub use moves::Move;
pub use observation::{Observation, Process};
pub use outcome::{Failure, Outcome, Restored};
pub use router::{InFlight, Seen, State, View};
pub use settings::{OnDrainTimeout, Settings};
