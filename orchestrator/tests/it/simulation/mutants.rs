//! The simulator would notice: known bugs put into the engine and its shell, each found
//! within a number of seeds by the invariant that forbids it.

use orchestrator_core::testing::Mutant;

use super::alone;
use super::law::Invariant;
use super::run::play;
use super::world::Control;

/// Seeds within which each must be found.
const SEEDS: u64 = 2_000;

/// Plays seeds until one of them breaks an invariant.
fn found(name: &str, control: Control, invariant: Invariant, says: impl Fn(&str) -> bool) {
    let _alone = alone();
    let wanted = invariant.to_string();
    let found = (0..SEEDS).find_map(|seed| match play(seed, control, false) {
        Err((error, _)) if error.starts_with(&wanted) && says(&error) => Some((seed, error)),
        _ => None,
    });
    let Some((seed, error)) = found else {
        panic!("{name}: {SEEDS} seeds do not break {wanted}");
    };
    println!("{name}: seed {seed}: {error}");
}

#[test]
fn acknowledging_before_the_commit_loses_an_execution() {
    let control = Control::AcknowledgeFirst;
    found(
        "acknowledge before commit",
        control,
        Invariant::Wakes,
        |_| true,
    );
}

#[test]
fn a_join_that_is_not_told_of_its_last_stage_never_starts() {
    let control = Control::Mutant(Mutant::LostJoin);
    found("lost join", control, Invariant::Wakes, |_| true);
}

#[test]
fn a_stage_that_starts_twice_is_noticed() {
    let control = Control::Mutant(Mutant::DoubleStart);
    found("double start", control, Invariant::Moves, |_| true);
}

#[test]
fn acknowledging_stale_state_makes_a_finished_execution_run_again() {
    // spinnaker/spinnaker#7921
    let over = ["SUCCEEDED", "TERMINAL", "CANCELED"];
    let revived = |error: &str| {
        let is = |status| error.ends_with(&format!("execution: {status} → RUNNING"));
        over.into_iter().any(is)
    };
    let control = Control::NoFencing;
    found(
        "stale state acknowledged",
        control,
        Invariant::Moves,
        revived,
    );
}

#[test]
fn a_limit_that_is_off_by_one_is_noticed() {
    let control = Control::Mutant(Mutant::LimitOffByOne);
    found("limit off by one", control, Invariant::Limit, |_| true);
}

#[test]
fn a_cancel_that_is_ignored_is_noticed() {
    let control = Control::Mutant(Mutant::CancelIgnored);
    found("cancel ignored", control, Invariant::Cancel, |_| true);
}

#[test]
fn saving_and_pushing_apart_leaves_an_execution_that_nothing_will_wake() {
    let control = Control::SplitCommit;
    found("save and push apart", control, Invariant::Wakes, |_| true);
}

#[test]
fn what_is_planned_again_under_another_id_is_done_twice() {
    let control = Control::FreshIds;
    found("fresh ids", control, Invariant::OnceOutside, |_| true);
}
