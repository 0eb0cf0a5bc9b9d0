//! The shell under the same: whole services, three of them, over one store, on a clock that
//! the runtime holds still while anybody has something to do. They are born, die at any
//! commit, stand still past their leases, and hear late or nothing; plan, law, watch, peers
//! and model are those of the core's simulator.
//!
//! Everything happens on one thread, and time, chance and ids come from the seed, so a seed
//! tells the same story each time, which a test holds. `SEED=n cargo test -p orchestrator
//! --test it -- --nocapture simulation::shell` tells it.

mod life;
mod run;
mod toys;
mod world;

use std::collections::BTreeSet;

use super::law::Invariant;
use super::{Played, alone, play_all, seeds};
use run::play;
use world::Control;

/// Seeds played in the gate.
const GATE: u64 = 200;
/// One is played for so many of the core's, by `SEEDS`: it takes so much longer.
const PART: u64 = 20;
/// Seeds within which each control must be found.
const SEEDS: u64 = 500;

#[test]
fn whole_services_lose_nothing_and_do_nothing_twice() {
    play_all("shell", seeds(GATE, PART), |seed, tells| {
        let told = play(seed, Control::None, tells)?;
        Ok(Played {
            commits: told.commits,
            acts: told.acts,
            story: told.story,
        })
    });
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    let _alone = alone();
    for seed in 0..8 {
        let tell = || match play(seed, Control::None, true) {
            Ok(told) => told.story,
            Err((error, _)) => panic!("SEED={seed}: {error}"),
        };
        let (first, second) = (tell(), tell());
        let differs = first.iter().zip(&second).position(|(a, b)| a != b);
        assert_eq!(
            differs.map(|at| (&first[at], &second[at])),
            None,
            "SEED={seed}"
        );
        assert_eq!(first.len(), second.len(), "SEED={seed}");
    }
}

#[test]
fn leases_that_are_never_renewed_cost_time_alone() {
    let _alone = alone();
    for seed in 0..8 {
        if let Err((error, _)) = play(seed, Control::NeverRenewed, false) {
            panic!("SEED={seed}: {error}");
        }
    }
}

/// Plays seeds until one of them breaks an invariant.
fn found(name: &str, control: Control, wanted: &[Invariant]) {
    let _alone = alone();
    let mut others = BTreeSet::new();
    for seed in 0..SEEDS {
        let Err((error, _)) = play(seed, control, false) else {
            continue;
        };
        if wanted.iter().any(|i| error.starts_with(&i.to_string())) {
            println!("{name}: seed {seed}: {error}");
            return;
        }
        others.insert(error);
    }
    panic!("{name}: {SEEDS} seeds break none of {wanted:?}, but {others:#?}");
}

#[test]
fn what_is_neither_renewed_nor_compared_is_done_by_two() {
    let wanted = [
        Invariant::Moves,
        Invariant::Requisites,
        Invariant::OneAtWork,
        Invariant::OnceOutside,
        Invariant::AnsweredOnce,
    ];
    let control = Control::NeitherRenewedNorFenced;
    found("neither renewed nor compared", control, &wanted);
}

#[test]
fn answering_before_the_commit_is_durable_loses_it() {
    let wanted = [Invariant::OnceOutside, Invariant::Wakes, Invariant::Durable];
    found("answered first", Control::AnsweredFirst, &wanted);
}
