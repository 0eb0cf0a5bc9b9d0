//! A drain whose time is over: what is left is told once, whatever becomes of it.

use rollout::{
    Disable, Effect, Failure, InFlight, OnDrainTimeout, Outcome, Overdue, Present, Role, Rollout,
    Settings,
};

use crate::random::Random;
use crate::world::{Version, World};

/// Drains one instance with two requests that last 9 s, in 2 s. The state is stored and read again
/// at each step, as by a process that is killed each time.
fn drain(then: OnDrainTimeout) -> (Vec<Overdue>, u32, Outcome) {
    let present = Present {
        id: "old0".into(),
        group: "a-v000".into(),
        slot: "h0".into(),
        role: Role::Serve,
        dead: false,
    };
    let settings = Settings {
        drain_timeout_ms: 2_000,
        on_drain_timeout: then,
        ..Settings::default()
    };
    let mut rollout = Disable {
        instances: vec![present],
        peers: Vec::new(),
        settings,
    }
    .plan();
    let mut random = Random::new(7);
    let mut world = World::new(Version::Good, "a-v001", false);
    world.place("old0", "a-v000", "h0", Role::Serve, false);
    world.drain_timeout_ms = 2_000;
    let end = world.now + 9_000;
    world.router.get_mut("old0").unwrap().in_flight = vec![end, end];
    let (mut told, mut cuts, mut known) = (Vec::new(), 0, None);
    for _ in 0..1_000 {
        world.pass(100, &mut random);
        let step = rollout.step(&world.observe(&rollout, known));
        assert!(step.overdue.is_empty() || step.changed, "told and not kept");
        told.extend(step.overdue);
        if step.changed {
            world.commit(&rollout, &step.journal, world.now);
        }
        if let Some(outcome) = step.outcome {
            return (told, cuts, outcome);
        }
        for effect in &step.effects {
            match effect {
                Effect::Configure { .. } => known = Some(world.configure()),
                Effect::Cut { member } => {
                    world.cut(member);
                    cuts += 1;
                }
                Effect::Observe => world.ask(),
                Effect::Prove { member } => world.prove(member),
                other => panic!("{other:?}"),
            }
        }
        let stored = serde_json::to_string(&rollout).unwrap();
        rollout = serde_json::from_str::<Rollout>(&stored).unwrap();
    }
    panic!("does not end: {:?}", rollout.current());
}

#[test]
fn what_a_drain_leaves_at_its_deadline_is_told_once_with_its_count() {
    for then in [
        OnDrainTimeout::Wait,
        OnDrainTimeout::Fail,
        OnDrainTimeout::Cut,
    ] {
        let (told, cuts, outcome) = drain(then);
        let [overdue] = &told[..] else {
            panic!("{then:?}: told {told:?}");
        };
        let two = InFlight {
            requests: 2,
            tunnels: 0,
        };
        assert_eq!((overdue.in_flight, overdue.then), (two, then));
        assert!((2_000..2_500).contains(&overdue.waited_ms), "{overdue:?}");
        match then {
            OnDrainTimeout::Wait => assert_eq!((cuts, outcome), (0, Outcome::Succeeded)),
            OnDrainTimeout::Cut => assert_eq!((cuts, outcome), (1, Outcome::Succeeded)),
            OnDrainTimeout::Fail => {
                let Outcome::Failed { failure, .. } = outcome else {
                    panic!("it did not fail");
                };
                assert!(
                    matches!(failure, Failure::Drain { requests: 2, .. }),
                    "{failure}"
                );
            }
        }
    }
}
