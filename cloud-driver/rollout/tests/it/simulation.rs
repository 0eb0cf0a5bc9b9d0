//! The simulator: one seed decides goal, sizes, faults and their times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rollout::{Effect, Observation, Outcome, Process, Restored, Role, Rollout};

use crate::random::Random;
use crate::scene::{Controls, Goal, NEW, OLD, scene};
use crate::world::{Version, World};

/// More steps than any rollout of a seed may need.
const MAX_STEPS: u32 = 6_000;

/// How long a router is asked again before what it said last must do: `capacity_timeout_ms` of the scene.
const PATIENCE_MS: u64 = 15_000;

/// Nothing goes wrong after this many steps.
const LAST_FAULT: u32 = 1_500;

/// How often what goes wrong, of a thousand.
#[derive(Default)]
struct Faults {
    crash: u64,
    lost: u64,
    stale: u64,
    silent: u64,
    death: u64,
    sick: u64,
    router: u64,
    cancel: u64,
}

impl Faults {
    fn of(random: &mut Random) -> Self {
        let mut some = |most: u64| {
            if random.chance(500) {
                random.below(most + 1)
            } else {
                0
            }
        };
        Self {
            crash: some(120),
            lost: some(200),
            stale: some(250),
            silent: some(200),
            death: some(4),
            sick: some(30),
            router: some(4),
            cancel: some(6),
        }
    }
}

struct Run {
    world: World,
    goal: Goal,
    initial: BTreeMap<String, Role>,
    outcome: Outcome,
    disturbed: bool,
    canceled: bool,
    rollout: Rollout,
}

fn simulate(seed: u64, controls: Controls) -> Run {
    let mut random = Random::new(seed);
    let goals = [
        Goal::Create,
        Goal::Enable,
        Goal::Disable,
        Goal::Destroy,
        Goal::ResizeUp,
        Goal::ResizeDown,
        Goal::Shift,
        Goal::Replace,
        Goal::Replace,
        Goal::Replace,
    ];
    let goal = goals[usize::try_from(random.below(10)).unwrap()];
    let version = match random.below(10) {
        0 => Version::NeverReady,
        1 => Version::DiesAtOnce,
        2 => Version::NoImage,
        _ => Version::Good,
    };
    let mut faults = Faults::of(&mut random);
    if controls.horizon_off {
        // This control shows only where answers are old and instances fall ill.
        (faults.stale, faults.sick) = (300, 40);
    }
    let traffic = random.chance(800);
    let mut world = World::new(version, NEW, traffic);
    world.aside = Random::new(!seed);
    let mut rollout = scene(&mut random, goal, controls, &mut world);
    world.floor = rollout.settings().floor;
    world.drain_timeout_ms = rollout.settings().drain_timeout_ms;
    let initial = world.documents.roles.clone();
    let mut stored = serde_json::to_string(&rollout).unwrap();
    let mut known: Option<(u64, u64, u64)> = None;
    let mut past: VecDeque<Observation> = VecDeque::new();
    let (mut disturbed, mut canceled) = (false, false);
    // The newest truth the machine was shown, and what of it outlives a crash.
    let (mut informed, mut stored_informed) = (0, 0);
    for number in 0..MAX_STEPS {
        if number == LAST_FAULT {
            // Each crash gives every wait its whole time again: a storm of them
            // must end for the rollout to end.
            faults = Faults::default();
        }
        world.pass(random.between(20, 400), &mut random);
        if random.chance(faults.router) {
            world.restart_router();
            disturbed = true;
        }
        if random.chance(faults.death) {
            let ids: Vec<String> = world.processes.keys().cloned().collect();
            let id = &ids[usize::try_from(random.below(ids.len() as u64)).unwrap()];
            world.kill(id);
            disturbed = true;
        }
        if random.chance(faults.sick) {
            let ids: Vec<String> = world.processes.keys().cloned().collect();
            let id = &ids[usize::try_from(random.below(ids.len() as u64)).unwrap()];
            world.sicken(id, random.between(500, 6_000));
            disturbed = true;
        }
        if random.chance(faults.cancel) {
            rollout.cancel("by hand");
            canceled = true;
        }
        let mut crash = random.chance(faults.crash);
        let mut observation = world.observe(&rollout, known);
        past.push_back(observation.clone());
        if past.len() > 12 {
            past.pop_front();
        }
        if random.chance(faults.stale) {
            let i = usize::try_from(random.below(past.len() as u64)).unwrap();
            observation.router = past[i].router.clone();
        }
        if random.chance(faults.silent) {
            observation.router = None;
        }
        if random.chance(faults.silent) {
            observation.processes.retain(|_, p| *p != Process::Absent);
        }
        informed = informed.max(shown_at(&past, &observation));
        let step = rollout.step(&observation);
        if crash && random.chance(300) {
            // Before the commit: the step never happened.
            (rollout, known) = resume(&stored);
            informed = stored_informed;
            past.clear();
            continue;
        }
        for overdue in &step.overdue {
            world.told(overdue, PATIENCE_MS);
        }
        if step.changed {
            stored = serde_json::to_string(&rollout).unwrap();
            stored_informed = informed;
            world.commit(&rollout, &step.journal, informed);
        }
        if let Some(outcome) = step.outcome {
            return Run {
                world,
                goal,
                initial,
                outcome,
                disturbed,
                canceled,
                rollout,
            };
        }
        for effect in &step.effects {
            if crash && random.chance(300) {
                (rollout, known) = resume(&stored);
                informed = stored_informed;
                past.clear();
                world.ask_anew();
                crash = false;
                break;
            }
            let times = if random.chance(100) { 2 } else { 1 };
            for _ in 0..times {
                let lost = random.chance(faults.lost);
                perform(effect, &mut world, &mut random, &mut known, lost);
            }
        }
        if crash {
            (rollout, known) = resume(&stored);
            informed = stored_informed;
            past.clear();
            world.ask_anew();
        }
    }
    panic!(
        "seed {seed}: {goal:?} does not end; at {:?} of {:?}",
        rollout.current(),
        rollout.plan()
    );
}

/// When the router's answer that was shown was true.
fn shown_at(past: &VecDeque<Observation>, shown: &Observation) -> u64 {
    let same = |o: &&Observation| o.router.is_some() && o.router == shown.router;
    past.iter().find(same).map_or(0, |o| o.now_ms)
}

fn resume(stored: &str) -> (Rollout, Option<(u64, u64, u64)>) {
    let mut rollout: Rollout = serde_json::from_str(stored).unwrap();
    rollout.resumed();
    (rollout, None)
}

fn perform(
    effect: &Effect,
    world: &mut World,
    random: &mut Random,
    known: &mut Option<(u64, u64, u64)>,
    lost: bool,
) {
    // A lost effect either never arrived or its answer did not.
    let arrives = !lost || random.chance(500);
    if !arrives {
        return;
    }
    match effect {
        Effect::Prepare { group } => {
            if world.version != Version::NoImage {
                world.prepared.insert(group.clone());
            }
        }
        Effect::Spawn { member } => world.spawn(member, random),
        Effect::Configure { .. } => {
            let answer = world.configure();
            if !lost {
                *known = Some(answer);
            }
        }
        Effect::Observe => world.ask(),
        Effect::Prove { member } => world.prove(member),
        Effect::Cut { member } => world.cut(member),
        Effect::Stop { member, grace_ms } => world.stop(member, *grace_ms, random),
    }
}

/// What must be true at the end of a run, besides no violation on the way.
fn judge(run: &mut Run) {
    let quiet = !run.disturbed && !run.canceled;
    let alive: BTreeSet<String> = run
        .world
        .processes
        .keys()
        .filter(|id| run.world.alive(id))
        .cloned()
        .collect();
    let mut wrong = Vec::new();
    for id in &alive {
        if !run.world.documents.slots.contains_key(id) {
            wrong.push(format!("{id} lives and nobody has it in the journal"));
        }
    }
    for (id, count) in &run.world.spawned {
        if *count != 1 {
            wrong.push(format!("{id} was started {count} times"));
        }
    }
    match &run.outcome {
        Outcome::Succeeded => {
            let new = |id: &String| id.starts_with(NEW);
            let in_place = run.goal == Goal::Replace;
            for (id, role) in &run.world.documents.roles {
                let expected = match run.goal {
                    Goal::Create => None,
                    Goal::Disable if id.starts_with(OLD) => Some(Role::Drain),
                    Goal::Destroy if id.starts_with(OLD) => Some(Role::Absent),
                    _ => Some(Role::Serve),
                };
                if expected.is_some_and(|e| e != *role) {
                    wrong.push(format!("{id} has the role {role:?} at the end"));
                }
            }
            if in_place {
                let count = run
                    .world
                    .documents
                    .roles
                    .keys()
                    .filter(|id| new(id))
                    .count();
                if count != run.initial.len() || alive.iter().any(|id| !new(id)) {
                    wrong.push(format!(
                        "{count} new of {}, alive {alive:?}",
                        run.initial.len()
                    ));
                }
            }
            let bad = run.world.version != Version::Good;
            if bad && matches!(run.goal, Goal::Create | Goal::Replace) {
                wrong.push(format!("succeeded with {:?}", run.world.version));
            }
        }
        Outcome::Failed { restored, .. } => {
            if *restored == Restored::Whole {
                for id in alive.iter().filter(|id| !run.initial.contains_key(*id)) {
                    let back = run.rollout.member(id);
                    if !back.is_some_and(|m| m.origin == rollout::Origin::Restored) {
                        wrong.push(format!("{id} is left over"));
                    }
                }
                if run.goal == Goal::Disable && run.world.drain_is_final {
                    let serve = |roles: &BTreeMap<String, Role>| {
                        roles.values().filter(|r| **r == Role::Serve).count()
                    };
                    let (before, after) = (serve(&run.initial), serve(&run.world.documents.roles));
                    if before != after {
                        wrong.push(format!("{after} of {before} serve again"));
                    }
                }
                if run.goal == Goal::Replace {
                    let serving = run.world.documents.roles.values();
                    let count = serving.filter(|r| **r == Role::Serve).count();
                    if count != run.initial.len() {
                        wrong.push(format!("{count} of {} serve again", run.initial.len()));
                    }
                }
            } else if quiet && run.goal != Goal::Disable {
                // A request may outlive the drain deadline on the way back too.
                let drain = format!("{:?}", run.outcome).contains("Drain");
                if !drain {
                    wrong.push(format!("undisturbed and not restored: {:?}", run.outcome));
                }
            }
        }
    }
    for text in wrong {
        run.world.violate(text);
    }
}

fn seeds() -> u64 {
    std::env::var("SEEDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(200)
}

fn first_violation(controls: Controls, seeds: u64) -> Option<(u64, Goal, Vec<String>)> {
    (0..seeds).find_map(|seed| {
        let mut run = simulate(seed, controls);
        judge(&mut run);
        let found = !run.world.violations.is_empty();
        found.then_some((seed, run.goal, run.world.violations))
    })
}

#[test]
fn no_seed_breaks_an_invariant() {
    let begun = std::time::Instant::now();
    let seeds = seeds();
    if let Some((seed, goal, violations)) = first_violation(Controls::default(), seeds) {
        panic!("seed {seed} ({goal:?}): {violations:#?}");
    }
    let rate = seeds as f64 / begun.elapsed().as_secs_f64();
    println!("{seeds} seeds, {rate:.0} a second");
}

#[test]
fn the_seeds_reach_every_end() {
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..200 {
        let run = simulate(seed, Controls::default());
        let end = match run.outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed {
                restored: Restored::Whole,
                ..
            } => "restored",
            Outcome::Failed { .. } => "failed",
        };
        *ends.entry(end).or_default() += 1;
    }
    assert!(ends.get("succeeded").is_some_and(|n| *n > 60), "{ends:?}");
    assert!(ends.get("restored").is_some_and(|n| *n > 20), "{ends:?}");
}

#[test]
fn the_control_without_draining_is_found() {
    let controls = Controls {
        drain_off: true,
        ..Controls::default()
    };
    let (_, _, violations) = first_violation(controls, 200).expect("must be found");
    let named = violations.iter().any(|v| v.contains("in flight"));
    assert!(named, "{violations:?}");
}

#[test]
fn the_control_without_observation_is_found() {
    let controls = Controls {
        observe_off: true,
        ..Controls::default()
    };
    let (_, _, violations) = first_violation(controls, 200).expect("must be found");
    let named = violations
        .iter()
        .any(|v| v.contains("lose traffic") || v.contains("without having been seen ready"));
    assert!(named, "{violations:?}");
}

#[test]
fn a_world_whose_workers_are_eager_is_found_when_nobody_says_so() {
    let controls = Controls {
        eager_untold: true,
        ..Controls::default()
    };
    let (_, _, violations) = first_violation(controls, 500).expect("must be found");
    let named = violations.iter().any(|v| v.contains("in flight"));
    assert!(named, "{violations:?}");
}

#[test]
fn a_world_whose_drains_are_final_is_found_when_nobody_says_so() {
    let controls = Controls {
        final_untold: true,
        ..Controls::default()
    };
    let (_, _, violations) = first_violation(controls, 500).expect("must be found");
    let named = violations.iter().any(|v| v.contains("for good"));
    assert!(named, "{violations:?}");
}

#[test]
fn the_control_that_believes_old_answers_is_found() {
    let controls = Controls {
        horizon_off: true,
        ..Controls::default()
    };
    let found = first_violation(controls, 1_000);
    let (_, _, violations) = found.expect("must be found");
    assert!(!violations.is_empty());
}
