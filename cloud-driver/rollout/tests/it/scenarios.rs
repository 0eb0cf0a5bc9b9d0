//! Runs without faults, as tables: which moves a goal makes, in which order.

use rollout::{
    Create, Destroy, Disable, Effect, Enable, Failure, Newcomer, Outcome, Present, ReplaceInPlace,
    Restored, Role, Rollout, Settings,
};

use crate::random::Random;
use crate::world::{Version, World};

const OLD: &str = "a-v000";
const NEW: &str = "a-v001";

fn present(count: u64, role: Role) -> Vec<Present> {
    (0..count)
        .map(|n| Present {
            id: format!("old{n}"),
            group: OLD.into(),
            slot: format!("h{n}"),
            role,
            dead: false,
        })
        .collect()
}

fn newcomers(count: u64) -> Vec<Newcomer> {
    (0..count)
        .map(|n| Newcomer {
            id: format!("new{n}"),
            slot: format!("h{n}"),
        })
        .collect()
}

fn replacement(count: u64) -> Rollout {
    ReplaceInPlace {
        old_group: OLD.into(),
        old: present(count, Role::Serve),
        weight: 90,
        new_group: NEW.into(),
        new: newcomers(count),
        floor: None,
        allow_outage: false,
        settings: Settings::default(),
    }
    .plan()
    .unwrap()
}

/// Drives a rollout in a faultless world; returns what it caused, first mention
/// only, and how it ended.
fn drive(mut rollout: Rollout, old: &[Present], version: Version) -> (Vec<String>, World, Outcome) {
    let mut random = Random::new(7);
    let mut world = World::new(version, NEW, true);
    for p in old {
        world.place(&p.id, &p.group, &p.slot, p.role, p.dead);
    }
    world.floor = rollout.settings().floor;
    world.drain_timeout_ms = rollout.settings().drain_timeout_ms;
    let (mut caused, mut known) = (Vec::new(), None);
    for _ in 0..20_000 {
        world.pass(100, &mut random);
        let observation = world.observe(&rollout, known);
        let step = rollout.step(&observation);
        if step.changed {
            world.commit(&rollout, &step.journal, observation.now_ms);
            let roles = step.journal.iter().filter_map(|line| match line {
                rollout::Journal::Role { member, role } => Some(format!("{role:?} {member}")),
                _ => None,
            });
            caused.extend(roles);
        }
        if let Some(outcome) = step.outcome {
            assert_eq!(world.violations, Vec::<String>::new());
            return (caused, world, outcome);
        }
        for effect in &step.effects {
            let line = match effect {
                Effect::Prepare { group } => {
                    world.prepared.insert(group.clone());
                    format!("prepare {group}")
                }
                Effect::Spawn { member } => {
                    world.spawn(member, &mut random);
                    format!("spawn {member}")
                }
                Effect::Configure { .. } => {
                    known = Some(world.configure());
                    continue;
                }
                Effect::Observe => {
                    world.ask();
                    continue;
                }
                Effect::Prove { member } => {
                    world.prove(member);
                    continue;
                }
                Effect::Cut { member } => {
                    world.cut(member);
                    format!("cut {member}")
                }
                Effect::Stop { member, grace_ms } => {
                    world.stop(member, *grace_ms, &mut random);
                    format!("stop {member}")
                }
            };
            if !caused.contains(&line) {
                caused.push(line);
            }
        }
    }
    panic!("does not end: {:?}", rollout.current());
}

#[test]
fn replacing_in_place_goes_slot_by_slot() {
    let (caused, world, outcome) = drive(replacement(2), &present(2, Role::Serve), Version::Good);
    assert_eq!(outcome, Outcome::Succeeded);
    let expected = [
        "prepare a-v001",
        "Drain old0",
        "stop old0",
        "Absent old0",
        "spawn new0",
        "Warm new0",
        "Serve new0",
        "Drain old1",
        "stop old1",
        "Absent old1",
        "spawn new1",
        "Warm new1",
        "Serve new1",
    ];
    assert_eq!(caused, expected);
    assert_eq!(world.documents.weights[NEW], 90);
    assert_eq!(world.documents.weights[OLD], 0);
}

#[test]
fn a_new_version_that_fails_gives_its_first_slot_back_and_touches_no_other() {
    for (version, reason) in [
        (Version::NeverReady, "healthy"),
        (Version::DiesAtOnce, "died"),
    ] {
        let (caused, world, outcome) = drive(replacement(3), &present(3, Role::Serve), version);
        let Outcome::Failed { failure, restored } = outcome else {
            panic!("succeeded");
        };
        assert!(failure.to_string().contains(reason), "{failure}");
        assert_eq!(failure.member(), Some("new0"));
        assert_eq!(restored, Restored::Whole);
        assert!(!caused.contains(&"Drain old1".to_owned()), "{caused:?}");
        assert!(caused.contains(&"Serve old0-r".to_owned()), "{caused:?}");
        assert_eq!(world.capacity(), 3);
        assert_eq!(world.documents.weights[OLD], 90);
    }
}

#[test]
fn an_image_that_cannot_be_had_fails_before_anything_is_touched() {
    let (caused, _, outcome) = drive(replacement(3), &present(3, Role::Serve), Version::NoImage);
    assert!(
        matches!(&outcome, Outcome::Failed { failure: Failure::Image { .. }, restored } if *restored == Restored::Whole)
    );
    assert_eq!(caused, Vec::<String>::new());
}

#[test]
fn other_goals_make_the_moves_of_the_protocol() {
    let settings = Settings::default;
    let create = |serve| Create {
        group: NEW.into(),
        instances: newcomers(1),
        serve,
        settings: settings(),
    };
    let idle = present(1, Role::Drain);
    let busy = present(1, Role::Serve);
    let enable = Enable {
        group: OLD.into(),
        instances: idle.clone(),
        missing: Vec::new(),
        settings: settings(),
    };
    let half: Vec<Present> = present(1, Role::Serve)
        .into_iter()
        .chain(idle.iter().map(|p| Present {
            id: "idle0".into(),
            slot: "h9".into(),
            ..p.clone()
        }))
        .collect();
    let enable_rest = Enable {
        group: OLD.into(),
        instances: half.clone(),
        missing: Vec::new(),
        settings: settings(),
    };
    let disable = Disable {
        instances: busy.clone(),
        peers: Vec::new(),
        settings: settings(),
    };
    let destroy = Destroy {
        instances: busy.clone(),
        peers: Vec::new(),
        settings: settings(),
    };
    let none = Vec::new();
    let table: [(Rollout, &[Present], &[&str]); 6] = [
        (
            create(true).plan(),
            &none,
            &["prepare a-v001", "spawn new0", "Warm new0", "Serve new0"],
        ),
        (
            create(false).plan(),
            &none,
            &["prepare a-v001", "spawn new0", "Warm new0"],
        ),
        (enable.plan(), &idle, &["Warm old0", "Serve old0"]),
        (enable_rest.plan(), &half, &["Warm idle0", "Serve idle0"]),
        (disable.plan(), &busy, &["Drain old0"]),
        (
            destroy.plan(),
            &busy,
            &["Drain old0", "stop old0", "Absent old0"],
        ),
    ];
    for (rollout, old, expected) in table {
        let (caused, _, outcome) = drive(rollout, old, Version::Good);
        assert_eq!(outcome, Outcome::Succeeded);
        assert_eq!(caused, expected);
    }
}

#[test]
fn removing_the_last_capacity_below_the_floor_waits_and_then_fails() {
    let mut settings = Settings {
        floor: 1,
        ..Settings::default()
    };
    settings.capacity_timeout_ms = 3_000;
    let rollout = Disable {
        instances: present(1, Role::Serve),
        peers: Vec::new(),
        settings,
    }
    .plan();
    let (caused, world, outcome) = drive(rollout, &present(1, Role::Serve), Version::Good);
    assert!(matches!(
        outcome,
        Outcome::Failed {
            failure: Failure::Capacity {
                serving: 0,
                floor: 1,
                ..
            },
            ..
        }
    ));
    assert_eq!(caused, Vec::<String>::new());
    assert_eq!(world.capacity(), 1);
}
