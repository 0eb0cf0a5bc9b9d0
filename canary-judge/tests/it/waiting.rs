//! Runs that wait cost nothing.

use std::sync::Arc;
use std::time::Duration;

use store::Shards;
use store::embedded::{Embedded, FileSettings};

use crate::world::{World, planned};

/// Processor time of this process so far, in ms.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // User and system time, in hundredths of a second.
    let ticks = |at: usize| -> u64 { fields[at].parse().unwrap() };
    (ticks(11) + ticks(12)) * 10
}

/// `cargo test -p canary-judge --release --test it -- --ignored waiting --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, with --release"]
async fn ten_thousand_waiting_runs_take_less_than_half_a_percent_of_a_core() {
    let folder = tempfile::tempdir().unwrap();
    let settings = FileSettings::new(folder.path().join("store"));
    let store = Arc::new(Embedded::open(settings, Shards::default()).unwrap());
    let world = Arc::new(World::on(store));
    let begun = tokio::time::Instant::now();
    let starts = (0..8).map(|_| {
        let world = Arc::clone(&world);
        async move {
            for _ in 0..1_250 {
                // Begun one after the other, none is due while it is measured.
                let mut asked = planned("NetflixACAJudge-v1.0", 120, 0);
                asked.plan.as_mut().unwrap().interval_ms = 0;
                world.start(asked).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(starts).await;
    println!("10,000 runs begun in {:?}", begun.elapsed());
    let (before, span) = (processor_ms(), Duration::from_secs(20));
    tokio::time::sleep(span).await;
    let used = processor_ms() - before;
    let share = used as f64 / span.as_millis() as f64 * 100.0;
    println!("10,000 waiting runs: {share:.2} % of a core over {span:?}");
    assert!(share <= 0.5, "{share} %");
}
