//! A canary run as a machine without clock and socket: which windows are judged, when, and what a judgement, a failure
//! or a cancellation makes of the run. Whoever runs it keeps the [`State`], waits and asks the metric stores.
//!
//! A window follows from the plan and its number alone, never from when somebody came to judge it: what was missed is
//! judged late, in order, over the same times. Source: `orca: RunCanaryIntervalsStage`, `kayenta:
//! SetupAndExecuteCanariesStage`; looking after each step is ours.

mod machine;
mod plan;
#[cfg(test)]
mod tests;

pub use machine::{Course, Effect, Event, Judged, State, Status};
pub use plan::{Look, MOST_LOOKS, Pace, Plan, SETTLING_STEPS, Window};
