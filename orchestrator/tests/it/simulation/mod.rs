//! The engine under everything that can go wrong, one seed at a time: the real
//! engine, the real turn and commit, the real store in memory; virtual workers,
//! peers, people and time.
//!
//! `SEEDS=n` plays that many (`make simulate`), `FROM=m` begins at another than the first,
//! `SEED=n` plays one and tells its story.
//!
//! A map: `plan.rs` is what a seed decides, `world.rs`, `worker.rs` and `hands.rs` play it,
//! `run.rs` is the story; `law.rs`, `watch.rs`, `peers.rs` and `verdict.rs` judge it by
//! `shape.rs` and `model.rs`, which know nothing of the engine's functions; `mutants.rs`
//! shows that they would notice. `shell` plays the same plans on whole services.

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
mod shell;
mod verdict;
mod watch;
mod worker;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use run::play;
use world::Control;

/// Seeds played in the gate.
const GATE: u64 = 200;

/// Seeds that failed once. What they found is mended and stays so.
const FAILED_ONCE: [u64; 8] = [
    // The failure of a stage took away what a stage of its own that was under way had yet to begin.
    11_349,
    // Cancelled before the first stage of a failure began: the model had it begin.
    11_973,
    // The second of two stages side by side was late: the model had only the first fail.
    35_279, // Begun again before the gate heard of the end before.
    61_040, 79_202, // An execution ended well above a stage that was paused.
    80_885, // A stage was paused between the wish to skip it and the skip.
    86_733,
    // A stage of a failure was cancelled under way, of a stage that was STOPPED.
    89_788,
];

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

/// The seeds to play: `SEED`, or from `FROM` on a part of `SEEDS`, or those of the gate.
fn seeds(gate: u64, part: u64) -> Range<u64> {
    if let Some(seed) = number("SEED") {
        return seed..seed + 1;
    }
    let from = number("FROM").unwrap_or(0);
    from..from + number("SEEDS").map_or(gate, |seeds| seeds.div_ceil(part))
}

/// What a seed's story came to.
struct Played {
    commits: u64,
    acts: usize,
    story: Vec<String>,
}

/// Plays seeds on all processors and names those that fail.
fn play_all(
    name: &str,
    seeds: Range<u64>,
    play: impl Fn(u64, bool) -> Result<Played, (String, Vec<String>)> + Sync,
) {
    let _alone = alone();
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
            if seed.is_multiple_of(10_000) && seed > seeds.start {
                println!("{name}: at seed {seed}, {:.0?}", begun.elapsed());
            }
            let (story, error) = match play(seed, tells) {
                Ok(played) => {
                    commits += played.commits;
                    acts += played.acts;
                    (played.story, None)
                }
                Err((error, story)) => (story, Some(error)),
            };
            story.into_iter().for_each(|line| println!("{line}"));
            if let Some(error) = error {
                println!("{name}: SEED={seed}: {error}");
                failures.push(seed);
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
    println!(
        "{name}: {count} seeds, {rate:.0} a second, {commits} commits, {acts} effects outside"
    );
    assert!(
        failures.is_empty(),
        "seeds {failures:?} fail; SEED=n tells the story of one"
    );
}

#[test]
fn nothing_is_lost_or_done_twice_whatever_goes_wrong() {
    play_all("core", seeds(GATE, 1), |seed, tells| {
        let world = play(seed, Control::None, tells)?;
        Ok(Played {
            commits: world.commits,
            acts: world.peers.acts(),
            story: world.story.unwrap_or_default(),
        })
    });
}

#[test]
fn what_failed_once_holds() {
    let _alone = alone();
    for seed in FAILED_ONCE {
        if let Err((error, _)) = play(seed, Control::None, false) {
            panic!("SEED={seed}: {error}");
        }
    }
}
