//! Several groups at once: their plan, their shares, their end.

use super::*;

fn asked(more: &[(&str, Value)]) -> Value {
    let group = |details: &str, image: &str| {
        let mut all = create(image);
        all["account"] = json!("prod");
        all["region"] = json!("local");
        all["freeFormDetails"] = json!(details);
        all["capacity"] = json!({"min": 1, "max": 1, "desired": 1});
        for (key, value) in more {
            all[*key] = value.clone();
        }
        all
    };
    json!({"serverGroups": [group("baseline", "r/shop:0"), group("canary", "r/shop:1")]})
}

#[test]
fn groups_that_are_created_together_start_and_serve_in_one_move() {
    let scene = Scene::new(1, serving());
    let input = asked(&[("trafficShare", json!(10))]);
    let phase = scene.plan("createServerGroups", input).unwrap().unwrap();
    assert_eq!(
        moves(&phase),
        ["prepare", "prepare", "start", "warm", "settle", "serve"]
    );
    let names: Vec<&str> = phase
        .changes
        .groups
        .iter()
        .map(|g| g.name.as_str())
        .collect();
    assert_eq!(names, ["shop-prod-baseline-v000", "shop-prod-canary-v000"]);
    // 12 : 12 : 100, as near to 10 : 10 : 80 as whole weights beside 100 come.
    assert!(
        phase
            .changes
            .groups
            .iter()
            .all(|g| g.weight == 13 || g.weight == 12)
    );
    assert!(phase.changes.groups.iter().all(|g| g.created_ms == 1_000));
    let members: BTreeSet<_> = phase
        .rollout
        .unwrap()
        .members()
        .map(|m| m.group.clone())
        .collect();
    assert_eq!(members.len(), 2);
}

#[test]
fn shares_that_leave_nothing_or_cannot_be_weighed_are_refused() {
    let scene = Scene::new(1, serving());
    for (share, told) in [
        (json!(50), "leaves nothing for what serves"),
        (json!(49), "needs a weight above 1000"),
        (json!(0), "is no percentage above 0"),
        (json!("much"), "is no percentage above 0"),
    ] {
        let input = asked(&[("trafficShare", share)]);
        let text = scene
            .plan("createServerGroups", input)
            .unwrap_err()
            .to_string();
        assert!(text.contains(told), "{text}");
    }
    // Where nothing serves, there is nothing to share with.
    let alone = Scene::new(1, Everything::default());
    let phase = alone.plan("createServerGroups", asked(&[("trafficShare", json!(10))]));
    assert!(
        phase
            .unwrap()
            .unwrap()
            .changes
            .groups
            .iter()
            .all(|g| g.weight == WEIGHT)
    );
}

#[test]
fn what_cannot_be_created_together_names_its_place() {
    let scene = Scene::new(1, serving());
    let kind = kind("createServerGroups").unwrap();
    let check = |input: Value| {
        let mut whole = json!({"account": "prod", "region": "local"});
        whole
            .as_object_mut()
            .unwrap()
            .extend(input.as_object().unwrap().clone());
        let faults = kind.check(&Input::of(whole).unwrap(), &scene.config);
        faults.into_iter().map(|f| f.path).collect::<Vec<_>>()
    };
    assert_eq!(check(asked(&[])), [""; 0]);
    assert_eq!(check(json!({"serverGroups": []})), ["serverGroups"]);
    assert_eq!(
        check(asked(&[("imageId", json!(null))])),
        ["serverGroups[0].imageId", "serverGroups[1].imageId"]
    );
    assert_eq!(
        check(asked(&[("region", json!("mars"))]))[0],
        "serverGroups[0].region"
    );
    let twice = asked(&[("freeFormDetails", json!("canary"))]);
    let text = scene
        .plan("createServerGroups", twice)
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("serverGroups[1].cluster"), "{text}");
}

#[test]
fn a_creation_of_several_leaves_all_or_nothing() {
    let mut scene = Scene::new(1, Everything::default());
    let kind = kind("createServerGroups").unwrap();
    let phase = scene
        .plan("createServerGroups", asked(&[]))
        .unwrap()
        .unwrap();
    scene.memory = phase.memory;
    scene.everything.groups = phase.changes.groups;
    let names = |changes: Changes| changes.gone.len();
    assert_eq!(scene.with(asked(&[]), |p| names(kind.abandon(p))), 2);
    let result = scene.with(asked(&[]), |p| kind.complete(p)).result;
    assert_eq!(
        result["serverGroupNames"],
        json!([
            "local:shop-prod-baseline-v000",
            "local:shop-prod-canary-v000"
        ])
    );
    assert_eq!(result["deployments"].as_array().unwrap().len(), 2);
    let left = scene.everything.groups[0].value.clone();
    scene.everything.instances = instances(&left, Role::Serve, &["host-1"]);
    assert_eq!(scene.with(asked(&[]), |p| names(kind.abandon(p))), 1);
}

#[test]
fn who_may_create_several_is_asked_of_each() {
    let input = Input::of(json!({"operations": [
        {"disableServerGroup": {"serverGroupName": "a-v000"}}, {"createServerGroups": asked(&[])},
    ]}))
    .unwrap();
    let each = each_of(&input);
    let details: Vec<_> = each
        .iter()
        .map(|one| one.text(&["freeFormDetails"]))
        .collect();
    assert_eq!(details, [None, Some("baseline"), Some("canary")]);
    let alone = Input::of(asked(&[])).unwrap();
    assert_eq!(
        first_of(&alone).unwrap().text(&["freeFormDetails"]),
        Some("baseline")
    );
}
