//! What the kinds plan, as tables over a small journal.

mod together;
mod workers;

use std::collections::BTreeSet;

use proto::moniker::Moniker;
use rollout::{Move, Role};
use serde_json::{Value, json};

use super::*;
use crate::provider::local::document::{
    Capacity, HealthCheck, ImageRef, Instance, ServerGroup, Timing, WEIGHT,
};
use crate::provider::local::journal::Everything;

fn config(slots: u32) -> Config {
    let account = format!(
        "{{name: prod, regions: {{local: {{hosts: 3, slots-per-host: {slots}}}}}, \
         load-balancers: [{{name: shop-prod, host: shop.test}}], secrets: {{db: \"env:DB\"}}}}"
    );
    Config {
        accounts: vec![serde_yaml_ng::from_str(&account).unwrap()],
        ..Config::default()
    }
}

fn group(sequence: u32, enabled: bool) -> Stored<ServerGroup> {
    let name = format!("shop-prod-v{sequence:03}");
    Stored {
        version: 1,
        value: ServerGroup {
            account: "prod".into(),
            region: "local".into(),
            moniker: Moniker::parse(&name),
            name,
            application: "shop".into(),
            cluster: "shop-prod".into(),
            image: ImageRef {
                id: format!("r/shop:{sequence}"),
                ..ImageRef::default()
            },
            capacity: Capacity::of(3),
            load_balancers: vec!["shop-prod".into()],
            enabled,
            weight: WEIGHT,
            environment: [("A".to_owned(), "1".to_owned())].into(),
            health: HealthCheck::default(),
            timing: Timing::default(),
            drain: None,
            created_ms: i64::from(sequence),
            operation: "before".into(),
            ancestor: None,
        },
    }
}

fn instances(group: &ServerGroup, role: Role, slots: &[&str]) -> Vec<Stored<Instance>> {
    let instance = |slot: &&str| Stored {
        version: 1,
        value: Instance {
            id: format!("{}-{slot}", group.name),
            account: "prod".into(),
            region: "local".into(),
            group: group.name.clone(),
            application: "shop".into(),
            cluster: "shop-prod".into(),
            slot: (*slot).to_owned(),
            port: 20_000,
            role,
            stopping: false,
            token: String::new(),
            created_ms: 0,
        },
    };
    slots.iter().map(instance).collect()
}

const HOSTS: [&str; 3] = ["host-1", "host-2", "host-3"];

/// One serving group of three.
fn serving() -> Everything {
    let group = group(0, true);
    Everything {
        instances: instances(&group, Role::Serve, &HOSTS),
        groups: vec![group],
        balancers: Vec::new(),
    }
}

struct Scene {
    config: Config,
    everything: Everything,
    dead: BTreeSet<String>,
    serving: BTreeSet<String>,
    memory: Memory,
}

impl Scene {
    fn new(slots: u32, everything: Everything) -> Self {
        Self {
            config: config(slots),
            everything,
            dead: BTreeSet::new(),
            serving: BTreeSet::new(),
            memory: Memory::new(),
        }
    }

    fn with<R>(&self, input: Value, ask: impl FnOnce(&Planning<'_>) -> R) -> R {
        let mut whole = json!({"account": "prod", "region": "local"});
        if let (Value::Object(whole), Value::Object(input)) = (&mut whole, input) {
            whole.extend(input);
        }
        let input = Input::of(whole).unwrap();
        ask(&Planning {
            operation: "op",
            input: &input,
            config: &self.config,
            everything: &self.everything,
            dead: &self.dead,
            serving: &self.serving,
            memory: &self.memory,
            now_ms: 1_000,
        })
    }

    fn plan(&self, name: &str, input: Value) -> Result<Option<Phase>, Refused> {
        self.with(input, |planning| kind(name).unwrap().phase(0, planning))
    }
}

fn moves(phase: &Phase) -> Vec<&'static str> {
    let rollout = phase.rollout.as_ref().unwrap();
    rollout.plan().iter().map(Move::name).collect()
}

fn create(image: &str) -> Value {
    json!({
        "application": "shop", "stack": "prod", "imageId": image,
        "capacity": {"desired": 3}, "loadBalancers": ["shop-prod"],
    })
}

#[test]
fn a_server_group_gets_the_next_name_and_free_slots() {
    let empty = Scene::new(1, Everything::default());
    let phase = empty
        .plan("createServerGroup", create("r/shop:1"))
        .unwrap()
        .unwrap();
    let group = &phase.changes.groups[0];
    assert_eq!(group.name, "shop-prod-v000");
    assert!(group.enabled && group.version == 0);
    assert_eq!(
        moves(&phase),
        ["prepare", "start", "warm", "settle", "serve"]
    );

    let full = Scene::new(1, serving());
    let text = full
        .plan("createServerGroup", create("r/shop:1"))
        .unwrap_err()
        .to_string();
    for word in ["inplacedrain", "slots-per-host", "there are 0"] {
        assert!(text.contains(word), "{text}");
    }

    let roomy = Scene::new(2, serving());
    let phase = roomy
        .plan("createServerGroup", create("r/shop:1"))
        .unwrap()
        .unwrap();
    assert_eq!(phase.changes.groups[0].name, "shop-prod-v001");
    let rollout = phase.rollout.unwrap();
    let slots: BTreeSet<&str> = rollout.members().map(|m| m.slot.as_str()).collect();
    assert_eq!(slots, ["host-1/1", "host-2/1", "host-3/1"].into());
}

#[test]
fn inputs_that_do_not_fit_the_configuration_name_their_field() {
    let scene = Scene::new(1, Everything::default());
    for (change, path) in [
        (json!({"loadBalancers": ["x"]}), "loadBalancers[0]"),
        (json!({"env": {"A": "secret:nothing"}}), "env.A"),
        (json!({"region": "mars"}), "region"),
        (json!({"account": "moon"}), "account"),
        (json!({"stack": "a-b"}), "stack"),
        (json!({"cloudProvider": "aws"}), "cloudProvider"),
    ] {
        let mut input = create("r/shop:1");
        input
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let text = scene
            .plan("createServerGroup", input)
            .unwrap_err()
            .to_string();
        assert!(text.starts_with(path), "{path}: {text}");
    }
}

#[test]
fn a_clone_differs_only_in_what_is_asked_for() {
    let scene = Scene::new(2, serving());
    let input = json!({"source": {"serverGroupName": "shop-prod-v000"}, "imageId": "r/shop:9"});
    let phase = scene.plan("cloneServerGroup", input).unwrap().unwrap();
    let (new, old) = (&phase.changes.groups[0], &scene.everything.groups[0]);
    assert_eq!(new.image.id, "r/shop:9");
    assert_eq!(new.environment, old.environment);
    assert_eq!(new.load_balancers, old.load_balancers);
    assert_eq!(new.capacity, old.capacity);
    assert_eq!(new.ancestor.as_deref(), Some("shop-prod-v000"));
}

#[test]
fn replacing_in_place_takes_the_slots_of_the_newest_group() {
    let scene = Scene::new(1, serving());
    let phase = scene
        .plan("replaceInPlace", create("r/shop:1"))
        .unwrap()
        .unwrap();
    let rollout = phase.rollout.as_ref().unwrap();
    assert_eq!(rollout.settings().floor, 2);
    assert_eq!(moves(&phase), ["prepare", "pick", "confirm"]);
    assert_eq!(phase.memory["source"], "shop-prod-v000");
    let new: Vec<_> = rollout
        .members()
        .filter(|m| m.group == "shop-prod-v001")
        .collect();
    assert_eq!(new.len(), 3);

    let first = Scene::new(1, Everything::default());
    let phase = first
        .plan("replaceInPlace", create("r/shop:1"))
        .unwrap()
        .unwrap();
    assert_eq!(moves(&phase)[0], "prepare");
    assert_eq!(phase.changes.groups[0].name, "shop-prod-v000");
}

#[test]
fn one_host_is_refused_with_its_remedies() {
    let mut everything = serving();
    everything.instances.truncate(1);
    let scene = Scene::new(1, everything);
    let refused = scene
        .plan("replaceInPlace", create("r/shop:1"))
        .unwrap_err();
    assert!(matches!(refused, Refused::InPlace(_)));
    let mut allowed = create("r/shop:1");
    allowed["allowOutage"] = json!(true);
    assert!(scene.plan("replaceInPlace", allowed).is_ok());
    // Requests that wait for the new instance are no outage.
    let mut everything = serving();
    everything.instances.truncate(1);
    let mut scene = Scene::new(1, everything);
    let hold = json!({"holdRequests": {"maxMs": 60_000, "maxRequests": 1_000}});
    scene.config.accounts[0].load_balancers[0].traffic = serde_json::from_value(hold).unwrap();
    let phase = scene.plan("replaceInPlace", create("r/shop:1"));
    let rollout = phase.unwrap().unwrap().rollout.unwrap();
    assert_eq!(rollout.settings().floor, 0);
}

#[test]
fn an_empty_group_is_restored_in_place_and_one_with_instances_is_not() {
    let (old, new) = (group(0, false), group(1, true));
    let everything = Everything {
        instances: instances(&new, Role::Serve, &HOSTS),
        groups: vec![old, new],
        balancers: Vec::new(),
    };
    let scene = Scene::new(1, everything);
    let input = |target: &str| {
        json!({
            "source": {"serverGroupName": "shop-prod-v001"}, "targetServerGroupName": target,
        })
    };
    let phase = scene
        .plan("replaceInPlace", input("shop-prod-v000"))
        .unwrap()
        .unwrap();
    assert_eq!(phase.changes.groups[0].name, "shop-prod-v000");
    assert!(phase.changes.groups[0].enabled);
    assert!(
        scene
            .plan("replaceInPlace", input("shop-prod-v001"))
            .is_err()
    );
    assert!(
        scene
            .plan("replaceInPlace", input("shop-prod-v007"))
            .is_err()
    );
}

#[test]
fn the_last_group_that_serves_is_not_destroyed_unless_forced() {
    let scene = Scene::new(1, serving());
    let input = json!({"serverGroupName": "shop-prod-v000"});
    let text = scene
        .plan("destroyServerGroup", input.clone())
        .unwrap_err()
        .to_string();
    assert!(text.contains("force: true"), "{text}");
    let mut forced = input;
    forced["force"] = json!(true);
    let phase = scene.plan("destroyServerGroup", forced).unwrap().unwrap();
    assert_eq!(moves(&phase), ["drain", "stop", "remove"]);
    let gone = json!({"serverGroupName": "shop-prod-v009"});
    assert_eq!(scene.plan("destroyServerGroup", gone), Ok(None));
}

#[test]
fn a_group_that_got_the_name_of_the_one_that_was_meant_stays() {
    let scene = Scene::new(1, serving());
    let age = scene.everything.groups[0].created_ms;
    let of = |created: Value| {
        let input =
            json!({"serverGroupName": "shop-prod-v000", "force": true, "createdTime": created});
        scene.plan("destroyServerGroup", input)
    };
    assert_eq!(
        moves(&of(json!(age)).unwrap().unwrap()),
        ["drain", "stop", "remove"]
    );
    assert_eq!(of(json!(age + 1)), Ok(None));
    let text = of(json!("soon")).unwrap_err().to_string();
    assert!(text.contains("createdTime"), "{text}");
    for (created, gone) in [(age, 1), (age + 1, 0)] {
        let input = json!({"serverGroupName": "shop-prod-v000", "createdTime": created});
        let done = scene.with(input, |planning| {
            kind("destroyServerGroup").unwrap().complete(planning)
        });
        assert_eq!(done.changes.gone.len(), gone);
    }
}

#[test]
fn disabling_holds_what_the_peers_can_hold() {
    let (old, new) = (group(0, true), group(1, true));
    let mut all = instances(&old, Role::Serve, &HOSTS);
    all.extend(instances(&new, Role::Serve, &["host-1/1", "host-2/1"]));
    let everything = Everything {
        instances: all,
        groups: vec![old, new],
        balancers: Vec::new(),
    };
    let scene = Scene::new(2, everything);
    for (input, leaving, floor) in [
        (json!({"serverGroupName": "shop-prod-v000"}), 3, 2),
        (
            json!({"serverGroupName": "shop-prod-v000", "desiredPercentage": 34}),
            2,
            3,
        ),
        (
            json!({"serverGroupName": "shop-prod-v000", "force": true}),
            3,
            0,
        ),
    ] {
        let phase = scene.plan("disableServerGroup", input).unwrap().unwrap();
        let ids = phase.memory["instanceIdsToDisable"]
            .as_array()
            .unwrap()
            .len();
        let rollout = phase.rollout.unwrap();
        assert_eq!((ids, rollout.settings().floor), (leaving, floor));
    }
}

#[test]
fn resizing_replaces_the_dead_in_their_own_slots() {
    let mut scene = Scene::new(1, serving());
    scene.dead.insert("shop-prod-v000-host-2".to_owned());
    let input = json!({"serverGroupName": "shop-prod-v000", "capacity": {"desired": 3}});
    let phase = scene.plan("resizeServerGroup", input).unwrap().unwrap();
    assert_eq!(
        moves(&phase),
        [
            "stop", "remove", "prepare", "start", "warm", "settle", "serve"
        ]
    );
    let rollout = phase.rollout.unwrap();
    let new = rollout
        .members()
        .find(|m| m.origin == rollout::Origin::New)
        .unwrap();
    assert_eq!(new.slot, "host-2");

    let down = json!({"serverGroupName": "shop-prod-v000", "capacity": {"desired": 1}});
    scene.dead.clear();
    scene.serving.insert("shop-prod-v000-host-1".to_owned());
    let phase = scene.plan("resizeServerGroup", down).unwrap().unwrap();
    let rollout = phase.rollout.unwrap();
    assert_eq!(rollout.settings().floor, 1);
    let leaving = rollout.plan()[0].members();
    assert!(
        !leaving.contains(&"shop-prod-v000-host-1".to_owned()),
        "{leaving:?}"
    );
}

#[test]
fn what_a_failed_creation_leaves_is_an_empty_group_and_goes() {
    let mut scene = Scene::new(1, Everything::default());
    let mut made = group(0, true);
    made.value.operation = "op".into();
    scene.everything.groups.push(made);
    scene
        .memory
        .insert("serverGroup".to_owned(), json!("shop-prod-v000"));
    let kind = kind("createServerGroup").unwrap();
    let changes = scene.with(create("r/shop:1"), |p| kind.abandon(p));
    assert_eq!(changes.gone.len(), 1);
    let left = instances(&scene.everything.groups[0], Role::Serve, &["host-1"]);
    scene.everything.instances = left;
    let changes = scene.with(create("r/shop:1"), |p| kind.abandon(p));
    assert!(changes.gone.is_empty());
}

#[test]
fn every_kind_has_its_own_name_and_refuses_an_empty_input_by_field() {
    let mut names: Vec<&str> = KINDS.iter().map(|k| k.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), KINDS.len());
    let empty = Input::of(json!({})).unwrap();
    for kind in KINDS {
        let faults = kind.check(&empty, &Config::default());
        assert!(!faults.is_empty(), "{}", kind.name());
        assert!(faults.iter().all(|f| !f.path.is_empty()));
    }
}

#[test]
fn operations_of_one_request_are_performed_in_order_and_each_once() {
    let (old, new) = (group(0, true), group(1, true));
    let mut all = instances(&old, Role::Serve, &HOSTS);
    all.extend(instances(&new, Role::Serve, &["host-1/1", "host-2/1"]));
    let everything = Everything {
        instances: all,
        groups: vec![old, new],
        balancers: Vec::new(),
    };
    let mut scene = Scene::new(2, everything);
    let on = |name: &str| json!({"account": "prod", "region": "local", "serverGroupName": name});
    let input = json!({"operations": [
        {"disableServerGroup": on("shop-prod-v000")},
        {"destroyServerGroup": on("shop-prod-v009")},
        {"disableServerGroup": on("shop-prod-v001")},
    ]});
    let kind = kind("operations").unwrap();
    let first = scene.with(input.clone(), |p| kind.phase(0, p));
    scene.memory = first.unwrap().unwrap().memory;
    for instance in &mut scene.everything.instances[..3] {
        instance.value.role = Role::Drain;
    }
    // What the first leaves behind is written when the third begins; the second
    // has nothing to do.
    let third = scene.with(input.clone(), |p| kind.phase(1, p));
    let third = third.unwrap().unwrap();
    assert_eq!(third.changes.groups[0].name, "shop-prod-v000");
    assert!(!third.changes.groups[0].enabled);
    assert_eq!(third.memory["at"], 2);
    scene.memory = third.memory;
    assert_eq!(scene.with(input.clone(), |p| kind.phase(2, p)), Ok(None));
    let end = scene.with(input, |p| kind.complete(p));
    let written: Vec<_> = end.changes.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(written, ["shop-prod-v001"]);
    assert_eq!(
        end.result["instanceIdsToDisable"].as_array().unwrap().len(),
        2
    );

    let config = &scene.config;
    for (wrong, path) in [
        (json!({"operations": []}), "operations"),
        (json!({"operations": [{"teleport": {}}]}), "operations[0]"),
        (json!({"operations": [{"operations": {}}]}), "operations[0]"),
        (
            json!({"operations": [{"disableServerGroup": {"account": "prod", "region": "local"}}]}),
            "operations[0].serverGroupName",
        ),
    ] {
        let faults = kind.check(&Input::of(wrong).unwrap(), config);
        assert_eq!(faults[0].path, path);
    }
}

#[test]
fn shares_are_shifted_between_groups_that_serve() {
    let (old, new) = (group(0, true), group(1, true));
    let mut all = instances(&old, Role::Serve, &HOSTS);
    all.extend(instances(&new, Role::Serve, &["host-1/1"]));
    let everything = Everything {
        instances: all,
        groups: vec![old, new],
        balancers: Vec::new(),
    };
    let scene = Scene::new(2, everything);
    let shift = |weights: Value| scene.plan("shiftTraffic", json!({ "weights": weights }));
    let phase = shift(json!({"shop-prod-v001": 10})).unwrap().unwrap();
    let rollout = phase.rollout.unwrap();
    let Some(Move::Weigh { weights }) = rollout.plan().first() else {
        panic!("{:?}", rollout.plan());
    };
    assert_eq!(
        (weights["shop-prod-v000"], weights["shop-prod-v001"]),
        (WEIGHT, 10)
    );
    for refused in [
        json!({"shop-prod-v009": 10}),
        json!({"shop-prod-v000": 0, "shop-prod-v001": 0}),
    ] {
        assert!(shift(refused.clone()).is_err(), "{refused}");
    }
}
