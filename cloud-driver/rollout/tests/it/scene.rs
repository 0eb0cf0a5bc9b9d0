//! What a seed begins with: a world, and a rollout that is to change it.

use std::collections::BTreeMap;

use rollout::{
    Create, Destroy, Disable, Enable, Newcomer, Present, ReplaceInPlace, Resize, Role, Rollout,
    Settings, Shift,
};

use crate::random::Random;
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Create,
    Enable,
    Disable,
    Destroy,
    ResizeUp,
    ResizeDown,
    Shift,
    Replace,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Controls {
    pub(crate) drain_off: bool,
    pub(crate) observe_off: bool,
    pub(crate) horizon_off: bool,
    /// Instances are eager, and the machine is not told.
    pub(crate) eager_untold: bool,
    /// A drain is for good, and the machine is not told.
    pub(crate) final_untold: bool,
}

pub(crate) const OLD: &str = "a-v000";
pub(crate) const NEW: &str = "a-v001";

fn settings(random: &mut Random, controls: Controls) -> Settings {
    Settings {
        floor: 0,
        settle_ms: random.between(0, 1_500),
        start_timeout_ms: 8_000,
        prepare_timeout_ms: 5_000,
        drain_timeout_ms: random.between(3_000, 6_000),
        on_drain_timeout: match random.below(5) {
            0 | 1 => rollout::OnDrainTimeout::Cut,
            2 => rollout::OnDrainTimeout::Wait,
            _ => rollout::OnDrainTimeout::Fail,
        },
        grace_ms: 1_000,
        capacity_timeout_ms: 15_000,
        prove_after_ms: 200,
        drain_off: controls.drain_off,
        observe_off: controls.observe_off,
        horizon_off: controls.horizon_off,
        ..Settings::default()
    }
}

fn newcomers(group: &str, slots: impl Iterator<Item = u64>) -> Vec<Newcomer> {
    slots
        .map(|n| Newcomer {
            id: format!("{group}-{n}"),
            slot: format!("h{n}"),
        })
        .collect()
}

/// The world before, and the rollout.
pub(crate) fn scene(
    random: &mut Random,
    goal: Goal,
    controls: Controls,
    world: &mut World,
) -> Rollout {
    let size = random.between(1, 6);
    let mut settings = settings(random, controls);
    world.eager = world.aside.chance(300) || controls.eager_untold;
    world.drain_is_final = world.aside.chance(300) || controls.final_untold;
    if controls.horizon_off {
        // It shows seldom, and least where more is drained.
        (world.eager, world.drain_is_final) = (false, false);
    }
    settings.eager = world.eager && !controls.eager_untold;
    settings.drain_is_final = world.drain_is_final && !controls.final_untold;
    // A group may be in traffic in part already, or as a whole.
    let serving = if goal == Goal::Enable && random.chance(600) {
        0
    } else if goal == Goal::Enable {
        random.between(1, size)
    } else {
        size
    };
    let dead = random.chance(100).then(|| random.below(size));
    let present: Vec<Present> = (0..size)
        .map(|n| Present {
            id: format!("{OLD}-{n}"),
            group: OLD.into(),
            slot: format!("h{n}"),
            role: if n < serving {
                Role::Serve
            } else {
                Role::Drain
            },
            dead: dead == Some(n),
        })
        .collect();
    for p in &present {
        world.place(&p.id, &p.group, &p.slot, p.role, p.dead);
    }
    // Who was drained for good is of no use, whether it runs or not.
    let spent = |p: &Present| p.role == Role::Drain && settings.drain_is_final;
    let present: Vec<Present> = present
        .into_iter()
        .map(|p| Present {
            dead: p.dead || spent(&p),
            ..p
        })
        .collect();
    if goal == Goal::Enable {
        let alive = |p: &&Present| p.role == Role::Serve && !p.dead;
        settings.floor = present.iter().filter(alive).count();
    }
    let peers: Vec<Present> = if random.chance(500) {
        newcomers("a-v009", 50..50 + random.between(1, 3))
            .into_iter()
            .map(|n| Present {
                id: n.id,
                group: "a-v009".into(),
                slot: n.slot,
                role: Role::Serve,
                dead: false,
            })
            .collect()
    } else {
        Vec::new()
    };
    let with_peers = matches!(goal, Goal::Disable | Goal::Destroy | Goal::ResizeDown);
    if with_peers {
        for p in &peers {
            world.place(&p.id, &p.group, &p.slot, p.role, false);
        }
        settings.floor = peers.len();
    }
    let peers = if with_peers { peers } else { Vec::new() };
    match goal {
        Goal::Create => Create {
            group: NEW.into(),
            instances: newcomers(NEW, 10..10 + size),
            serve: random.chance(800),
            settings,
        }
        .plan(),
        Goal::Enable => Enable {
            group: OLD.into(),
            instances: present,
            missing: newcomers(OLD, 20..20 + random.below(3)),
            settings,
        }
        .plan(),
        Goal::Disable => Disable {
            instances: present,
            peers,
            settings,
        }
        .plan(),
        Goal::Destroy => Destroy {
            instances: present,
            peers,
            settings,
        }
        .plan(),
        Goal::ResizeUp => Resize {
            group: OLD.into(),
            stay: present,
            add: newcomers(OLD, 20..20 + random.between(1, 3)),
            remove: Vec::new(),
            serve: true,
            peers,
            settings,
        }
        .plan(),
        Goal::ResizeDown => {
            let serving: Vec<String> = present
                .iter()
                .filter(|p| !p.dead)
                .map(|p| p.id.clone())
                .collect();
            let count = usize::try_from(random.between(1, size)).unwrap();
            let remove = Resize::choose(&present, &serving, count);
            let stay: Vec<Present> = present
                .iter()
                .filter(|p| !remove.contains(p))
                .cloned()
                .collect();
            settings.floor += stay.iter().filter(|p| !p.dead).count();
            Resize {
                group: OLD.into(),
                stay,
                add: Vec::new(),
                remove,
                serve: true,
                peers,
                settings,
            }
            .plan()
        }
        Goal::Shift => {
            let of = |a: u32, b: u32| BTreeMap::from([(OLD.to_owned(), a), (NEW.to_owned(), b)]);
            Shift {
                weights: of(u32::try_from(random.between(1, 100)).unwrap(), 50),
                current: of(100, 0),
                settings,
            }
            .plan()
        }
        Goal::Replace => {
            let floor = random
                .chance(400)
                .then(|| usize::try_from(random.below(size)).unwrap());
            ReplaceInPlace {
                old_group: OLD.into(),
                old: present,
                weight: 100,
                new_group: NEW.into(),
                new: newcomers(NEW, 0..size),
                floor,
                allow_outage: true,
                settings,
            }
            .plan()
            .unwrap()
        }
    }
}
