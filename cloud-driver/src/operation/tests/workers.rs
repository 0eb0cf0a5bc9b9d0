//! Groups whose instances take their own work.

use rollout::{OnDrainTimeout, Settings};

use super::*;
use crate::provider::local::document::Drain;

fn worker(drain: Value, roles: &[Role]) -> Everything {
    let mut group = group(0, roles.contains(&Role::Serve));
    group.value.load_balancers = Vec::new();
    group.value.drain = Input::of(json!({ "drain": drain }))
        .unwrap()
        .drain()
        .unwrap();
    let list = roles.iter().zip(HOSTS);
    let list = list.flat_map(|(role, host)| instances(&group, *role, &[host]));
    Everything {
        instances: list.collect(),
        groups: vec![group],
        balancers: Vec::new(),
    }
}

fn hook() -> Value {
    json!({"path": "/drain"})
}

fn signal() -> Value {
    json!({"signal": "SIGTERM", "timeoutMs": 7_000, "onDeadline": "stop"})
}

fn create(more: Value) -> Value {
    let mut input = json!({
        "application": "shop", "stack": "prod", "imageId": "r/shop:1", "capacity": {"desired": 3},
    });
    if let (Value::Object(input), Value::Object(more)) = (&mut input, more) {
        input.extend(more);
    }
    input
}

fn settings(phase: &Phase) -> Settings {
    phase.rollout.as_ref().unwrap().settings().clone()
}

#[test]
fn a_worker_group_keeps_how_it_is_drained_and_its_rollouts_go_by_it() {
    let scene = Scene::new(1, Everything::default());
    for (drain, final_, then, ms, process) in [
        (hook(), false, OnDrainTimeout::Fail, 60_000, false),
        (signal(), true, OnDrainTimeout::Cut, 7_000, true),
    ] {
        let phase = scene.plan("createServerGroup", create(json!({"drain": drain})));
        let phase = phase.unwrap().unwrap();
        let group = &phase.changes.groups[0];
        let kept = group.drain.clone().unwrap();
        assert_eq!(kept.timeout_ms, ms);
        assert_eq!(
            (group.health.process, group.health.path.as_deref()),
            (process, None)
        );
        let settings = settings(&phase);
        assert!(settings.eager);
        assert_eq!(
            (settings.drain_is_final, settings.on_drain_timeout),
            (final_, then)
        );
        assert_eq!(settings.drain_timeout_ms, ms);
        // Documents that were written before are read as before.
        let mut text = serde_json::to_value(&group.value).unwrap();
        assert!(text["drain"].is_object());
        text.as_object_mut().unwrap().remove("drain");
        let old: ServerGroup = serde_json::from_value(text).unwrap();
        assert_eq!(old.drain, None);
    }
    let cut = json!({"drain": hook(), "onDrainTimeout": "cut"});
    let phase = scene.plan("createServerGroup", create(cut)).unwrap();
    let then = settings(&phase.unwrap()).on_drain_timeout;
    assert_eq!(then, OnDrainTimeout::Cut, "the operation's own word");
}

#[test]
fn fields_that_do_not_go_together_are_named() {
    let scene = Scene::new(1, Everything::default());
    for (more, path, words) in [
        (
            json!({"drain": hook(), "loadBalancers": ["shop-prod"]}),
            "drain",
            &["shop-prod", "loadBalancers: []"][..],
        ),
        (
            json!({"drain": signal(), "startDisabled": true}),
            "startDisabled",
            &["leave startDisabled out"],
        ),
        (
            json!({"healthCheck": {"type": "process"}, "loadBalancers": ["shop-prod"]}),
            "healthCheck.type",
            &["set drain"],
        ),
    ] {
        let refused = scene.plan("createServerGroup", create(more)).unwrap_err();
        let Refused::Field { path: at, message } = refused else {
            panic!("{refused}");
        };
        assert_eq!(at, path);
        for word in words {
            assert!(message.contains(word), "{message}");
        }
    }
    let fine = json!({"drain": hook(), "startDisabled": true, "healthCheck": {"type": "process"}});
    assert!(scene.plan("createServerGroup", create(fine)).is_ok());
}

#[test]
fn a_clone_is_drained_as_its_source_unless_a_load_balancer_does() {
    let scene = Scene::new(2, worker(hook(), &[Role::Serve; 3]));
    let plan = |more| {
        let phase = scene.plan("cloneServerGroup", create(more));
        phase.unwrap().unwrap().changes.groups.remove(0)
    };
    let same = plan(json!({}));
    assert!(same.drain.as_ref().is_some_and(Drain::pauses));
    assert_eq!(same.health, HealthCheck::default(), "the source's");
    let other = plan(json!({"loadBalancers": ["shop-prod"]}));
    assert_eq!((other.drain.clone(), other.load_balancers.len()), (None, 1));
    let signalled = plan(json!({"drain": signal()}));
    assert!(!signalled.drain.as_ref().unwrap().pauses());
}

#[test]
fn workers_of_the_cluster_hold_the_floor_for_one_another() {
    let mut everything = worker(hook(), &[Role::Serve; 3]);
    let mut newer = group(1, true);
    newer.value.load_balancers = Vec::new();
    newer.value.drain = everything.groups[0].drain.clone();
    everything
        .instances
        .extend(instances(&newer, Role::Serve, &HOSTS));
    everything.groups.push(newer);
    let scene = Scene::new(2, everything);
    let old = json!({"serverGroupName": "shop-prod-v000"});
    let phase = scene.plan("disableServerGroup", old).unwrap().unwrap();
    assert_eq!(settings(&phase).floor, 3);
    let shift = json!({"weights": {"shop-prod-v000": 10}});
    let refused = scene.plan("shiftTraffic", shift).unwrap_err().to_string();
    assert!(refused.contains("no share"), "{refused}");
}

#[test]
fn what_was_drained_for_good_is_started_anew_and_what_was_not_goes_on() {
    let name = json!({"serverGroupName": "shop-prod-v000"});
    let paused = Scene::new(1, worker(hook(), &[Role::Drain; 3]));
    let phase = paused.plan("enableServerGroup", name.clone());
    assert_eq!(moves(&phase.unwrap().unwrap()), ["warm", "settle", "serve"]);

    let spent = Scene::new(1, worker(signal(), &[Role::Drain; 3]));
    let phase = spent.plan("enableServerGroup", name.clone());
    assert_eq!(
        moves(&phase.unwrap().unwrap()),
        [
            "drain", "stop", "remove", "prepare", "start", "warm", "settle", "serve"
        ]
    );
    // Disabled, it is cleared away and nothing is started, since that would take work.
    let four = json!({"serverGroupName": "shop-prod-v000", "capacity": {"desired": 4}});
    let phase = spent.plan("resizeServerGroup", four).unwrap().unwrap();
    assert_eq!(moves(&phase), ["drain", "stop", "remove"]);
    assert_eq!(phase.changes.groups[0].capacity.desired, 4);
    let phase = spent.plan("destroyServerGroup", name).unwrap().unwrap();
    assert_eq!(moves(&phase), ["drain", "stop", "remove"]);
}

#[test]
fn in_a_replacement_the_old_group_says_how_it_is_drained() {
    let scene = Scene::new(1, worker(signal(), &[Role::Serve; 3]));
    let new = json!({"drain": hook(), "settleSeconds": 3});
    let phase = scene.plan("replaceInPlace", create(new)).unwrap().unwrap();
    let settings = settings(&phase);
    assert_eq!(
        (settings.drain_timeout_ms, settings.on_drain_timeout),
        (7_000, OnDrainTimeout::Cut)
    );
    assert_eq!((settings.settle_ms, settings.floor), (3_000, 2));
    assert!(settings.eager && settings.drain_is_final);
}
