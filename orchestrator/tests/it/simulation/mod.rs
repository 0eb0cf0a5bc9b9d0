//! The engine under everything that can go wrong, one seed at a time: the real
//! engine, the real turn and commit, the real store in memory; virtual workers,
//! peers, people and time.
//!
//! `SEEDS=n` plays that many (`make simulate`), `SEED=n` plays one and tells its story.
//!
//! A map: `plan.rs` is what a seed decides, `world.rs`, `worker.rs` and `hands.rs` play it,
//! `run.rs` is the story; `law.rs`, `watch.rs`, `peers.rs` and `verdict.rs` judge it by
//! `shape.rs` and `model.rs`, which know nothing of the engine's functions; `mutants.rs`
//! shows that they would notice.

mod catalog;
mod hands;
mod independence;
mod law;
mod model;
mod mutants;
mod peers;
mod plan;
mod random;
mod run;
mod shape;
mod verdict;
mod watch;
mod worker;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use run::play;
use world::Control;

/// Seeds played in the gate.
const GATE: u64 = 200;

/// Each of these tests would have all processors.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a whole number"))
}

#[test]
fn nothing_is_lost_or_done_twice_whatever_goes_wrong() {
    let _alone = alone();
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(GATE),
    };
    let (begun, tells) = (Instant::now(), number("SEED").is_some());
    let next = AtomicU64::new(seeds.start);
    let (mut commits, mut acts, mut failures) = (0, 0, Vec::new());
    let one = || {
        let (mut commits, mut acts, mut failures) = (0, 0, Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return (commits, acts, failures);
            }
            match play(seed, Control::None, tells) {
                Ok(world) => {
                    commits += world.commits;
                    acts += world.peers.acts();
                    world
                        .story
                        .into_iter()
                        .flatten()
                        .for_each(|line| println!("{line}"));
                }
                Err((error, story)) => {
                    story.into_iter().for_each(|line| println!("{line}"));
                    println!("SEED={seed}: {error}");
                    failures.push(seed);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        for player in players {
            let (more_commits, more_acts, more) = player.join().expect("a seed panicked");
            commits += more_commits;
            acts += more_acts;
            failures.extend(more);
        }
    });
    failures.sort_unstable();
    let count = seeds.end - seeds.start;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("{count} seeds, {rate:.0} a second, {commits} commits, {acts} effects outside");
    assert!(
        failures.is_empty(),
        "seeds {failures:?} fail; SEED=n tells the story of one"
    );
}
