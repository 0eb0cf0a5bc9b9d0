//! `kill -9` at points drawn from the log of an undisturbed run: whatever moment it is, the run ends with
//! the same statuses, nothing outside happens twice, and nothing is left behind.
//!
//! A point is right after a line of the log that marks a commit, a step of an operation or a generation
//! of the balancer. `KILL=all` takes every point; otherwise eight are taken, at least one of each kind.

mod reaper;
mod scene;

use std::collections::BTreeSet;

use tests::Backend;
use tests::redis::Fsync;
use tests::world::HOSTS;

use crate::first_pipeline::backends;
use reaper::{Kind, LOST, MARKS};
use scene::{Scene, Victim};

const KILLS: usize = 8;

/// Whether a kill is to come at every point.
fn takes_all() -> bool {
    std::env::var("KILL").as_deref() == Ok("all")
}

/// Every point with `KILL=all`, else eight spread over the run, at least one of each kind.
fn choose(points: &[Kind]) -> Vec<usize> {
    if takes_all() {
        return (0..points.len()).collect();
    }
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    for kind in [Kind::Commit, Kind::Step, Kind::Generation] {
        let of_kind: Vec<usize> = (0..points.len()).filter(|at| points[*at] == kind).collect();
        chosen.extend(of_kind.get(of_kind.len() / 2));
    }
    let spread = KILLS - chosen.len();
    chosen.extend((0..spread).map(|part| (2 * part + 1) * points.len() / (2 * spread)));
    // Two of them may have met.
    let rest = (0..points.len()).filter(|at| !chosen.contains(at));
    let missing: Vec<usize> = rest.take(KILLS - chosen.len()).collect();
    chosen.extend(missing);
    chosen.into_iter().collect()
}

#[test]
fn the_chosen_points_have_every_kind() {
    let mut points = vec![Kind::Commit; 60];
    points[7] = Kind::Step;
    points[41] = Kind::Generation;
    let chosen = choose(&points);
    assert!(
        chosen.len() >= KILLS && chosen.contains(&7) && chosen.contains(&41),
        "{chosen:?}"
    );
}

#[tokio::test]
async fn a_kill_at_any_point_changes_nothing() {
    for backend in backends() {
        let mut scene = Scene::set(backend).await;
        let undisturbed = scene.run(&[], Victim::ControlPlane).await;
        let (expected, points) = (&undisturbed.outcome, &undisturbed.seen);
        assert_eq!((expected.started, expected.effects), (HOSTS, [1, 1]));
        assert_eq!(expected.traffic, [HOSTS; 3]);
        for (kind, mark) in MARKS {
            assert!(
                points.contains(&kind),
                "the log shows no {mark:?}: nothing can be drawn"
            );
        }
        let chosen = choose(points);
        println!(
            "{backend:?}: {} points, killing after {chosen:?}",
            points.len()
        );
        for at in chosen {
            let run = scene.run(&[at], Victim::ControlPlane).await;
            assert_eq!(
                run.done,
                1,
                "the run ended before point {at}: {} marks",
                run.seen.len()
            );
            run.require_same_as(&undisturbed, &format!("point {at} ({:?})", points[at]));
        }
        // Several kills in one run.
        let several: Vec<usize> = (1..4).map(|part| part * points.len() / 4).collect();
        let run = scene.run(&several, Victim::ControlPlane).await;
        assert!(run.done >= 2, "{} kills only", run.done);
        run.require_same_as(&undisturbed, &format!("points {several:?}"));
    }
}

#[tokio::test]
async fn redis_killed_at_any_point_changes_nothing_when_it_syncs_always() {
    redis_killed(Fsync::Always).await;
}

/// What was acknowledged last is undone; it is noticed, and repeated under the same effect ids.
#[tokio::test]
async fn commits_that_redis_loses_are_noticed_and_repeated_under_the_same_effect_ids() {
    redis_killed(Fsync::EverySecond).await;
}

async fn redis_killed(fsync: Fsync) {
    if !tests::program::installed(tests::redis::PROGRAM) {
        println!("skipped: redis-server is not installed");
        return;
    }
    let victim = match fsync {
        Fsync::Always => Victim::Redis,
        Fsync::EverySecond => Victim::LastCommits,
    };
    let mut scene = Scene::set(Backend::Redis(fsync)).await;
    let undisturbed = scene.run(&[], Victim::ControlPlane).await;
    // The first of them are the engine's, most others are operations' and in another shard.
    let (first, points) = (LOST + 2, undisturbed.seen.len());
    let chosen: Vec<usize> = if takes_all() {
        (first..points).collect()
    } else {
        vec![first, points / 4, points / 2, points * 3 / 4]
    };
    for at in chosen {
        let run = scene.run(&[at], victim).await;
        assert_eq!(run.done, 1, "the run ended before point {at}");
        let killed = format!("{victim:?} at point {at}");
        match victim {
            Victim::LastCommits => run.require_same_effects_as(&undisturbed, &killed),
            Victim::Redis | Victim::ControlPlane => run.require_same_as(&undisturbed, &killed),
        }
        if victim == Victim::Redis || at == first {
            assert_eq!(run.notices, usize::from(victim == Victim::LastCommits));
        }
    }
    let noticed = "redis lost acknowledged commits";
    assert_eq!(
        scene.world.stack.log().unwrap().contains(noticed),
        victim == Victim::LastCommits
    );
}
