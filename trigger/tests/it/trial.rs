//! Why does my trigger not fire? Each of these mistakes is answered in one call
//! with the rule that keeps it from firing.

use hmac::{Hmac, Mac};
use proto::common::v1::Json;
use proto::trigger::v1::{Header, ReceiveRequest, TestRequest};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{State, World, memory, pipeline, slow};

/// A mistake: what is posted, the pipeline, and the field that has to be named.
struct Mistake {
    kind: &'static str,
    source: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Value,
    trigger: Value,
    pipeline: Value,
    field: &'static str,
    says: &'static str,
}

fn docker(trigger: Value, field: &'static str, says: &'static str) -> Mistake {
    let body = json!({"events": [{"action": "push",
        "target": {"repository": "shop", "tag": "latest", "digest": "sha256:x"}}]});
    let mut whole = json!({"type": "docker", "id": "t", "enabled": true, "account": "r",
        "repository": "shop"});
    merge(&mut whole, trigger);
    Mistake {
        kind: "docker",
        source: "r",
        headers: Vec::new(),
        body,
        trigger: whole,
        pipeline: json!({}),
        field,
        says,
    }
}

fn webhook(trigger: Value, field: &'static str, says: &'static str) -> Mistake {
    let mut whole = json!({"type": "webhook", "id": "t", "enabled": true, "source": "ci"});
    merge(&mut whole, trigger);
    Mistake {
        kind: "webhook",
        source: "ci",
        headers: Vec::new(),
        body: json!({"branch": "main", "n": 7, "o": {"list": ["a", "b"]},
            "artifacts": [{"type": "docker/image", "name": "h/a", "reference": "h/a:1"}]}),
        trigger: whole,
        pipeline: json!({}),
        field,
        says,
    }
}

fn git(trigger: Value, field: &'static str, says: &'static str) -> Mistake {
    let mut whole = json!({"type": "git", "id": "t", "enabled": true, "source": "github",
        "project": "team", "slug": "shop", "branch": "main"});
    merge(&mut whole, trigger);
    Mistake {
        kind: "git",
        source: "github",
        headers: vec![("X-GitHub-Event", "push")],
        body: json!({"ref": "refs/heads/main", "after": "abc",
            "repository": {"name": "shop", "owner": {"name": "team"}}}),
        trigger: whole,
        pipeline: json!({}),
        field,
        says,
    }
}

fn cron(trigger: Value, field: &'static str, says: &'static str) -> Mistake {
    let mut whole = json!({"type": "cron", "id": "t", "enabled": true,
        "cronExpression": "0 0 2 * * ?"});
    merge(&mut whole, trigger);
    Mistake {
        kind: "",
        source: "",
        headers: Vec::new(),
        body: Value::Null,
        trigger: whole,
        pipeline: json!({}),
        field,
        says,
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

impl Mistake {
    fn of(mut self, pipeline: Value) -> Self {
        self.pipeline = pipeline;
        self
    }

    fn with(mut self, headers: &[(&'static str, &'static str)]) -> Self {
        self.headers.extend(headers);
        self
    }

    fn posting(mut self, body: Value) -> Self {
        self.body = body;
        self
    }
}

fn mistakes() -> Vec<Mistake> {
    let expecting = json!({"expectedArtifacts": [{"id": "e", "displayName": "the image",
        "matchArtifact": {"type": "docker/image", "name": "h/b"}}]});
    vec![
        docker(json!({}), "tag", "leaves out"),
        docker(
            json!({"tag": "v.*"}),
            "tag",
            "\"latest\" does not match \"v.*\"",
        ),
        docker(json!({"tag": "v("}), "tag", "cannot be used"),
        docker(
            json!({"account": "R"}),
            "account",
            "account is \"r\", not \"R\"",
        ),
        docker(
            json!({"repository": "shop2"}),
            "repository",
            "not \"shop2\"",
        ),
        docker(json!({"repository": ""}), "repository", "has no repository"),
        docker(
            json!({"enabled": false, "tag": "latest"}),
            "enabled",
            "not enabled",
        ),
        docker(
            json!({"tag": "latest"}),
            "disabled",
            "the pipeline is disabled",
        )
        .of(json!({"disabled": true})),
        docker(
            json!({"type": "webhook"}),
            "type",
            "type is \"docker\", not \"webhook\"",
        ),
        webhook(
            json!({"source": "CI"}),
            "source",
            "source is \"ci\", not \"CI\"",
        ),
        webhook(json!({"source": ""}), "source", "has no source"),
        webhook(
            json!({"payloadConstraints": {"branch": "^side$"}}),
            "payloadConstraints.branch",
            "branch \"main\" does not match",
        ),
        webhook(
            json!({"payloadConstraints": {"ref": ".*"}}),
            "payloadConstraints.ref",
            "not in the payload",
        ),
        webhook(
            json!({"payloadConstraints": {"$.o.list": "^c$"}}),
            "payloadConstraints.$.o.list",
            "a, b",
        ),
        webhook(
            json!({"payloadConstraints": {"$.o[": "c"}}),
            "payloadConstraints.$.o[",
            "is no JSONPath",
        ),
        webhook(json!({"secret": "s"}), "secret", "not signed"),
        webhook(
            json!({"expectedArtifactIds": ["e"]}),
            "expectedArtifactIds",
            "the image",
        )
        .of(expecting),
        webhook(
            json!({}),
            "parameterConfig",
            "Required parameter v is missing",
        )
        .of(json!({"parameterConfig": [{"name": "v", "required": true}]})),
        git(
            json!({"branch": "release/.*"}),
            "branch",
            "\"main\" does not match",
        ),
        git(
            json!({"project": "Team2"}),
            "project",
            "project is \"team\"",
        ),
        git(json!({"slug": "shop.git"}), "slug", "not \"shop.git\""),
        git(
            json!({"source": "gitlab"}),
            "source",
            "source is \"github\", not \"gitlab\"",
        ),
        git(json!({"secret": "s"}), "secret", "not that of the secret")
            .with(&[("X-Hub-Signature-256", "sha256=00ff")]),
        git(json!({"secret": "s"}), "secret", "not signed")
            .with(&[("X-Hub-Signature", "sha1=00ff")]),
        git(
            json!({"events": ["pull_request:opened"]}),
            "events",
            "events is \"push:push\"",
        ),
        git(json!({}), "event", "is no event").posting(json!({"zen": "z", "hook_id": 1})),
        cron(
            json!({"cronExpression": "0 2 * * *"}),
            "cronExpression",
            "5 fields",
        ),
        cron(
            json!({"cronExpression": "0 0 25 * * ?"}),
            "cronExpression",
            "hour \"25\"",
        ),
        cron(
            json!({"cronExpression": "0 0 2 1 * MON"}),
            "cronExpression",
            "both set",
        ),
        cron(json!({"timeZone": "CEST"}), "timeZone", "no time zone"),
        cron(json!({"enabled": "false"}), "enabled", "not enabled"),
        cron(json!({"type": "travis"}), "type", "not supported"),
    ]
}

async fn tried(world: &World, mistake: &Mistake) -> Vec<Value> {
    let mut pipeline = json!({"id": "p", "application": "shop", "name": "Promote",
        "triggers": [mistake.trigger]});
    merge(&mut pipeline, mistake.pipeline.clone());
    let headers = mistake.headers.iter().map(|(name, value)| Header {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    });
    let request = TestRequest {
        event: Some(ReceiveRequest {
            r#type: mistake.kind.to_owned(),
            source: mistake.source.to_owned(),
            headers: headers.collect(),
            body: mistake.body.to_string().into_bytes(),
        }),
        pipeline: Some(Json::of(&pipeline)),
        ..TestRequest::default()
    };
    let reply = world
        .events
        .clone()
        .test(request)
        .await
        .unwrap()
        .into_inner();
    reply
        .decisions
        .iter()
        .map(|d| d.value("d").unwrap())
        .collect()
}

#[tokio::test]
async fn every_mistake_is_answered_with_its_rule_in_one_call() {
    let world = World::start(memory(), slow(), State::default());
    let all = mistakes();
    assert!(all.len() >= 25);
    for mistake in &all {
        let answers = tried(&world, mistake).await;
        let [answer] = answers.as_slice() else {
            panic!("{} {answers:#?}", mistake.trigger);
        };
        let what = format!("{} {answer:#}", mistake.trigger);
        assert_eq!(answer["outcome"], "rejected", "{what}");
        assert_eq!(answer["field"], mistake.field, "{what}");
        let text = format!("{} {}", answer["reason"], answer["actual"]).replace("\\\"", "\"");
        assert!(text.contains(mistake.says), "{what}");
        assert!(!answer["remedy"].as_str().unwrap().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn what_would_fire_says_so_and_starts_nothing() {
    let world = World::start(memory(), slow(), State::default());
    for (mistake, outcome) in [
        (docker(json!({"tag": "latest"}), "", ""), "started"),
        (
            webhook(json!({"payloadConstraints": {"n": "7"}}), "", ""),
            "started",
        ),
        (git(json!({}), "", ""), "started"),
        (cron(json!({"timeZone": "Europe/Berlin"}), "", ""), "ready"),
    ] {
        let answers = tried(&world, &mistake).await;
        assert_eq!(answers[0]["outcome"], outcome, "{answers:#?}");
        if outcome == "ready" {
            assert_eq!(answers[0]["next"].as_array().unwrap().len(), 5);
        }
    }
    assert!(world.state().starts.is_empty());
    assert!(world.decisions("p").await.is_empty());
}

#[tokio::test]
async fn what_becomes_of_every_expected_artifact_is_told_with_the_nearest_miss() {
    let world = World::start(memory(), slow(), State::default());
    let default = json!({"type": "docker/image", "name": "h/b", "reference": "h/b:0"});
    let expecting = json!({"expectedArtifacts": [
        {"id": "came", "matchArtifact": {"type": "docker/image"}},
        {"id": "spare", "displayName": "the release", "matchArtifact": {"name": "h/b"},
         "useDefaultArtifact": true, "defaultArtifact": default},
    ]});
    let mistake = webhook(json!({"expectedArtifactIds": ["came"]}), "", "").of(expecting);
    let told = tried(&world, &mistake).await.remove(0);
    assert_eq!(told["outcome"], "started", "{told:#}");
    assert_eq!(told["artifacts"][0]["bound"], "received");
    let spare = &told["artifacts"][1];
    assert_eq!(
        (&spare["name"], &spare["bound"]),
        (&json!("the release"), &json!("default"))
    );
    assert_eq!(
        spare["nearest"],
        json!({"artifact": "h/a:1", "misses": [{"field": "name", "expected": "h/b", "actual": "h/a"}]})
    );
}

#[tokio::test]
async fn a_pipeline_as_it_was_read_is_tried_with_its_stored_secret() {
    let with = |secret: &str, id: &str, says: &'static str| {
        git(json!({"secret": secret, "id": id}), "secret", says)
    };
    let mut stored = json!({"id": "p", "application": "shop", "name": "Promote"});
    stored["triggers"] = json!([with("s", "t", "").trigger]);
    let state = State {
        pipelines: vec![stored],
        ..State::default()
    };
    let world = World::start(memory(), slow(), state);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"s").unwrap();
    mac.update(with("s", "t", "").body.to_string().as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let signature: &'static str = signature.leak();
    // A trigger that nobody stored has no secret to be found.
    for (id, outcome) in [("t", "started"), ("u", "rejected")] {
        let headers = [("X-Hub-Signature-256", signature)];
        let tries = tried(&world, &with("********", id, "").with(&headers)).await;
        assert_eq!(tries[0]["outcome"], outcome, "{tries:#?}");
    }
}

#[tokio::test]
async fn a_trigger_that_can_match_nothing_is_told_why_without_an_event() {
    let state = State {
        pipelines: vec![pipeline("q", "shop", &[])],
        ..State::default()
    };
    let mut config = slow();
    config.jenkins =
        serde_yaml_ng::from_str("[{name: ci, address: 'http://127.0.0.1:9'}]").unwrap();
    let world = World::start(memory(), config, state);
    for (trigger, field) in [
        (json!({"type": "jenkins", "master": "ci", "job": "j"}), ""),
        (
            json!({"type": "jenkins", "master": "none", "job": "j"}),
            "master",
        ),
        (json!({"type": "jenkins", "master": "ci", "job": ""}), "job"),
        (
            json!({"type": "pipeline", "pipeline": "q", "status": ["successful"]}),
            "",
        ),
        (
            json!({"type": "pipeline", "pipeline": "gone", "status": ["successful"]}),
            "pipeline",
        ),
        (
            json!({"type": "pipeline", "pipeline": "q", "status": []}),
            "status",
        ),
        (
            json!({"type": "pipeline", "pipeline": "q", "status": ["SUCCEEDED"]}),
            "status",
        ),
        (
            json!({"type": "docker", "account": "r", "repository": "a", "tag": "("}),
            "tag",
        ),
        (
            json!({"type": "git", "source": "github", "slug": "s"}),
            "project",
        ),
        (
            json!({"type": "webhook", "source": "s", "payloadConstraints": {"$.a[": "x"}}),
            "payloadConstraints.$.a[",
        ),
        (
            json!({"type": "webhook", "source": "s", "payloadConstraints": {"$.a": "("}}),
            "payloadConstraints.$.a",
        ),
    ] {
        let mut trigger = trigger;
        trigger["enabled"] = json!(true);
        let asked = json!({"id": "p", "application": "shop", "name": "n", "triggers": [trigger]});
        let request = TestRequest {
            pipeline: Some(Json::of(&asked)),
            ..TestRequest::default()
        };
        let told = world
            .events
            .clone()
            .test(request)
            .await
            .unwrap()
            .into_inner();
        let told = told.decisions[0].value("d").unwrap();
        if field.is_empty() {
            assert_eq!(told["outcome"], "ready", "{told:#}");
        } else {
            assert_eq!(
                (&told["outcome"], &told["field"]),
                (&json!("rejected"), &json!(field)),
                "{told:#}"
            );
        }
    }
}
