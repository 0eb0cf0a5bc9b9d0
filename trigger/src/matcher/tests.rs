//! Decisions as tables, and what must hold of every decision.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::source::{self, Origin};

const ORIGIN: Origin<'static> = Origin {
    source: "r",
    headers: &[],
    nonce: "",
    registry: "h:1",
    received_at_ms: 7,
};

fn event() -> Event {
    source::docker_event(&ORIGIN, "poll", "a", "v1", "sha256:x")
}

fn pipeline(id: &str, extra: Value) -> Map<String, Value> {
    let base = json!({"id": id, "application": "app", "name": id});
    let (Value::Object(mut base), Value::Object(extra)) = (base, extra) else {
        panic!("no objects");
    };
    base.extend(extra);
    base
}

fn decided(pipelines: &[Map<String, Value>]) -> Vec<Decision> {
    let source = source::of_kind("docker").unwrap();
    decide(source, &event(), pipelines)
}

#[test]
fn every_trigger_of_the_type_is_answered_for() {
    let trigger = |extra: Value| {
        let mut base =
            json!({"type": "docker", "enabled": true, "account": "r", "repository": "a"});
        base.as_object_mut()
            .unwrap()
            .extend(extra.as_object().cloned().unwrap());
        base
    };
    let pipelines = [
        pipeline("fires", json!({"triggers": [trigger(json!({"id": "t"}))]})),
        pipeline(
            "text",
            json!({"triggers": [trigger(json!({"enabled": "true", "type": "DOCKER"}))]}),
        ),
        pipeline(
            "off",
            json!({"disabled": true, "triggers": [trigger(json!({}))]}),
        ),
        pipeline(
            "asleep",
            json!({"triggers": [trigger(json!({"enabled": false}))]}),
        ),
        pipeline(
            "unset",
            json!({"triggers": [trigger(json!({"enabled": null}))]}),
        ),
        pipeline(
            "other",
            json!({"triggers": [trigger(json!({"repository": "b"}))]}),
        ),
        pipeline(
            "cron",
            json!({"triggers": [{"type": "cron", "enabled": true}]}),
        ),
        pipeline("none", json!({})),
        pipeline(
            "waits",
            json!({"triggers": [trigger(json!({"expectedArtifactIds": ["e"]}))],
            "expectedArtifacts": [{"id": "e", "displayName": "chart", "matchArtifact": {"type": "helm/chart"}}]}),
        ),
        pipeline(
            "asks",
            json!({"triggers": [trigger(json!({}))],
            "parameterConfig": [{"name": "p", "required": true}]}),
        ),
    ];
    let decisions = decided(&pipelines);
    let outcomes: Vec<_> = decisions
        .iter()
        .map(|d| {
            (
                d.pipeline_id.as_str(),
                d.outcome.as_ref().err().map(|r| r.message.as_str()),
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("fires", None),
            ("text", None),
            ("off", Some("the pipeline is disabled")),
            ("asleep", Some("the trigger is not enabled")),
            ("unset", Some("the trigger is not enabled")),
            ("other", Some("repository is \"a\", not \"b\"")),
            (
                "waits",
                Some(
                    "no artifact of the event is one of the expected chart; chart: h:1/a:v1 came, but its type \
                     is \"docker/image\", not \"helm/chart\""
                )
            ),
            ("asks", Some("Required parameter p is missing")),
        ]
    );
}

#[test]
fn a_start_carries_what_the_execution_will_hold() {
    let pipelines = [pipeline(
        "p",
        json!({
            "parameterConfig": [{"name": "k", "default": "v"}],
            "triggers": [{"type": "docker", "id": "t", "enabled": true, "account": "r",
                          "repository": "a", "tag": "v.*", "runAsUser": " bot "}],
        }),
    )];
    let decisions = decided(&pipelines);
    let request = decisions[0].outcome.as_ref().unwrap();
    assert_eq!(
        (
            &*request.application,
            &*request.pipeline_config_id,
            &*request.trigger_id
        ),
        ("app", "p", "t")
    );
    assert_eq!(
        (&request.event_id, request.recorded_at_ms),
        (&event().id, 7)
    );
    for (key, expected) in [
        ("type", json!("docker")),
        ("tag", json!("v1")),
        ("digest", json!("sha256:x")),
        ("user", json!("bot")),
        ("eventId", json!(event().id)),
        ("parameters", json!({"k": "v"})),
        ("artifacts", json!(event().artifacts)),
    ] {
        assert_eq!(request.trigger[key], expected, "{key}");
    }
}

#[test]
fn a_trigger_without_id_has_the_same_derived_one_each_time() {
    let trigger = |tag: &str| json!({"type": "docker", "enabled": true, "account": "r", "repository": "a", "tag": tag});
    let pipelines = [pipeline(
        "p",
        json!({"triggers": [trigger("v1"), trigger("v.")]}),
    )];
    let first = decided(&pipelines);
    assert_eq!(first, decided(&pipelines));
    assert_ne!(first[0].trigger_id, first[1].trigger_id);
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z(*.\\\\]{0,6}".prop_map(Value::from),
        Just(json!("docker")),
        Just(json!("r")),
        Just(json!("a")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let keys = prop::sample::select(vec![
            "triggers",
            "type",
            "enabled",
            "account",
            "repository",
            "tag",
            "id",
            "disabled",
            "expectedArtifacts",
            "expectedArtifactIds",
            "parameterConfig",
            "matchArtifact",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..5).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_stored_gives_decisions_and_the_same_ones_twice(
        pipelines in prop::collection::vec(arbitrary_json(), 0..4)
    ) {
        let pipelines: Vec<_> = pipelines.into_iter().filter_map(|p| p.as_object().cloned()).collect();
        let first = decided(&pipelines);
        prop_assert_eq!(&first, &decided(&pipelines));
        let triggers: usize = pipelines.iter().map(|p| triggers(p, "docker").count()).sum();
        prop_assert_eq!(first.len(), triggers);
    }
}

#[test]
fn what_happened_before_a_trigger_was_there_is_history_to_it() {
    let decided = |since: i64, happened_at_ms: i64| {
        let event = Event {
            happened_at_ms,
            received_at_ms: 50_000,
            ..event()
        };
        let trigger = json!({"type": "docker", "enabled": true, "account": "r", "repository": "a", "since": since});
        let pipelines = [pipeline("p", json!({"triggers": [trigger]}))];
        let source = source::of_kind("docker").unwrap();
        decide(source, &event, &pipelines).remove(0).outcome
    };
    // Without a time of its own it happened when it came; clocks may be two seconds apart.
    for (since, happened) in [
        (0, 1),
        (50_000, 0),
        (52_000, 0),
        (20_000, 18_000),
        (20_000, 30_000),
    ] {
        let start = decided(since, happened).unwrap();
        assert!(start.trigger.get("since").is_none());
    }
    for (since, happened) in [(52_001, 0), (20_000, 17_999)] {
        let refused = decided(since, happened).unwrap_err();
        assert_eq!(refused.field, "enabled");
        assert!(refused.message.contains("1970-01-01T00:00:"), "{refused}");
    }
}
