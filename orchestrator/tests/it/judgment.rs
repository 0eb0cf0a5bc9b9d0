//! Manual judgments: who may answer, how many have to, what nobody can forge, and what is kept.

use orchestrator::services::fake::Fake;
use proto::common::v1::Json;
use proto::orchestrator::v1::SaveApplicationRequest;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::commit::backends;
use crate::rig::{Rig, make, pipeline, quick, stage};

/// Declares application `app` with these permissions.
async fn declare(rig: &Rig, permissions: Value) {
    let application = json!({"name": "app", "email": "e", "permissions": permissions});
    let request = SaveApplicationRequest {
        application: Some(Json::of(&application)),
        user: "root".into(),
    };
    let saved = rig.definitions.clone().save_application(request).await;
    saved.unwrap();
}

/// An execution that ann started and that asks under these rules, with the stage that asks.
async fn asked(rig: &Rig, rules: Value) -> (String, Value) {
    let stages = json!([make("manualJudgment", "1", &[], rules)]);
    let id = rig.start_stages(stages).await;
    let ask = rig.stage_is(&id, "1", "RUNNING").await;
    (id, ask)
}

fn go() -> Value {
    json!({"judgmentStatus": "continue"})
}

fn votes(execution: &Value) -> Vec<String> {
    let list = stage(execution, "1")["context"]["judgments"].as_array();
    let name = |vote: &Value| vote["user"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = list.into_iter().flatten().map(name).collect();
    names.sort();
    names
}

const NOT_LISTED: &str = "no role of the user is listed";
const NO_JUDGE: &str = "a judge needs one of selectedStageRoles";
const OWN: &str = "who started the execution may not judge it";

#[tokio::test]
async fn who_may_answer_follows_from_roles_application_and_author() {
    let open = json!({});
    let closed = json!({"READ": ["dev", "ops"], "WRITE": ["ops"], "EXECUTE": ["dev", "ops"]});
    let own = json!({"preventSelfApproval": true});
    let by_ops = json!({"selectedStageRoles": ["Ops"]});
    let by_qa = json!({"selectedStageRoles": ["qa"]});
    let required = json!({"selectedStageRoles": ["qa"], "requiredJudgmentRoles": ["ops"]});
    let plain = json!({});
    type Row<'a> = (&'a Value, &'a Value, (&'a str, &'a [&'a str]), &'a str);
    let rows: [Row<'_>; 16] = [
        (&open, &plain, ("", &[]), ""),
        (&open, &plain, ("ann", &[]), ""),
        (&open, &by_ops, ("", &[]), NO_JUDGE),
        (&open, &by_ops, ("bob", &[]), NO_JUDGE),
        (&open, &by_ops, ("bob", &["ops"]), ""),
        (&closed, &plain, ("", &[]), NOT_LISTED),
        (&closed, &plain, ("bob", &["qa"]), NOT_LISTED),
        (&closed, &plain, ("bob", &["dev"]), ""),
        (&closed, &by_ops, ("bob", &["dev"]), NO_JUDGE),
        (&closed, &by_ops, ("bob", &["OPS"]), ""),
        // A role without a say in the application makes no judge.
        (&closed, &by_qa, ("bob", &["dev", "qa"]), NO_JUDGE),
        (&closed, &required, ("bob", &["ops"]), ""),
        (&open, &own, ("Ann", &[]), OWN),
        (&open, &own, ("bob", &[]), ""),
        (&open, &own, ("", &[]), OWN),
        (&closed, &own, ("ann", &["ops"]), OWN),
    ];
    let rig = Rig::enforced(authorization::Policy::default()).await;
    for (permissions, rules, who, refused) in rows {
        declare(&rig, permissions.clone()).await;
        let (id, ask) = asked(&rig, rules.clone()).await;
        let answer = rig.judge(&id, &ask, who, go()).await;
        let about = format!("{permissions} {rules} {who:?}");
        if refused.is_empty() {
            answer.unwrap();
            let ended = rig.ends(&id, "SUCCEEDED").await;
            let by = if who.0.is_empty() { "anonymous" } else { who.0 };
            let context = &stage(&ended, "1")["context"];
            assert_eq!(context["lastModifiedBy"], by, "{about}");
            assert_eq!(votes(&ended), [by], "{about}");
            assert!(context["judgments"][0]["at"].is_i64(), "{about}");
            assert!(context["judgments"][0]["rule"].is_string(), "{about}");
        } else {
            let failure = answer.unwrap_err();
            assert_eq!(failure.kind, Kind::Denied, "{about}: {failure}");
            assert!(failure.message.contains(refused), "{about}: {failure}");
            let still = rig.get(&id).await;
            assert_eq!(stage(&still, "1"), &ask, "{about}");
            rig.cancel(&id).await.unwrap();
        }
    }
}

#[tokio::test]
async fn permissions_bind_nobody_where_nobody_has_to_authenticate() {
    let rig = Rig::up().await;
    declare(&rig, json!({"EXECUTE": ["ops"]})).await;
    let (id, ask) = asked(&rig, json!({})).await;
    rig.judge(&id, &ask, ("", &[]), go()).await.unwrap();
    rig.ends(&id, "SUCCEEDED").await;
    let (id, ask) = asked(&rig, json!({"selectedStageRoles": ["ops"]})).await;
    let failure = rig.judge(&id, &ask, ("", &[]), go()).await.unwrap_err();
    assert!(failure.message.contains(NO_JUDGE), "{failure}");
}

#[tokio::test]
async fn a_change_of_permissions_counts_at_the_next_answer() {
    let rig = Rig::up().await;
    let (id, ask) = asked(&rig, json!({})).await;
    declare(&rig, json!({"EXECUTE": ["ops"]})).await;
    let who = ("bob", &["dev"][..]);
    assert!(rig.judge(&id, &ask, who, go()).await.is_err());
    declare(&rig, json!({"EXECUTE": ["dev"]})).await;
    rig.judge(&id, &ask, who, go()).await.unwrap();
    rig.ends(&id, "SUCCEEDED").await;
}

#[tokio::test]
async fn who_started_it_is_known_through_parents_and_whatever_the_body_says() {
    let rig = Rig::up().await;
    let ask = || {
        json!([make(
            "manualJudgment",
            "1",
            &[],
            json!({"preventSelfApproval": true})
        )])
    };
    let mut body = pipeline("p", ask());
    // The call is ann's.
    body["trigger"] = json!({"type": "manual", "user": "mallory"});
    let id = rig.start(&body).await;
    let waiting = rig.stage_is(&id, "1", "RUNNING").await;
    let own = rig.judge(&id, &waiting, ("ann", &[]), go()).await;
    assert_eq!(own.unwrap_err().kind, Kind::Denied);
    rig.judge(&id, &waiting, ("mallory", &[]), go())
        .await
        .unwrap();

    let parent = json!({
        "authentication": {"user": "anonymous"},
        "trigger": {"type": "docker", "user": "[anonymous]",
            "parentExecution": {"authentication": {"user": "zoe"}, "trigger": {"type": "manual"}}},
    });
    body["trigger"] = json!({"type": "pipeline", "parentExecution": parent});
    let id = rig.start(&body).await;
    let waiting = rig.stage_is(&id, "1", "RUNNING").await;
    let own = rig.judge(&id, &waiting, ("ZOE", &[]), go()).await;
    assert!(own.unwrap_err().message.contains(OWN));
    rig.judge(&id, &waiting, ("bob", &[]), go()).await.unwrap();
    rig.ends(&id, "SUCCEEDED").await;
}

#[tokio::test]
async fn several_have_to_agree_each_counts_once_and_all_at_once_are_counted() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store, Fake::new(), quick()).await;
        let (id, ask) = asked(&rig, json!({"requiredApprovals": 8})).await;
        // The same person in many calls is one.
        let bob = (0..8).map(|_| rig.judge(&id, &ask, ("bob", &[]), go()));
        for answer in futures_util::future::join_all(bob).await {
            answer.unwrap();
        }
        let waiting = rig.get(&id).await;
        assert_eq!(votes(&waiting), ["bob"], "{backend}");
        assert_eq!(stage(&waiting, "1")["status"], "RUNNING");
        assert!(
            stage(&waiting, "1")["context"]
                .get("judgmentStatus")
                .is_none()
        );

        let names: Vec<String> = (0..7).map(|n| format!("judge-{n}")).collect();
        let all = names
            .iter()
            .map(|name| rig.judge(&id, &ask, (name, &[]), go()));
        for answer in futures_util::future::join_all(all).await {
            answer.unwrap();
        }
        let ended = rig.ends(&id, "SUCCEEDED").await;
        let mut expected = names.clone();
        expected.insert(0, "bob".to_owned());
        assert_eq!(votes(&ended), expected, "{backend}");
        assert_eq!(stage(&ended, "1")["context"]["judgmentStatus"], "continue");
    }
}

#[tokio::test]
async fn one_rejection_stops_and_what_was_decided_stays() {
    let rig = Rig::up().await;
    let (id, ask) = asked(&rig, json!({"requiredApprovals": "3"})).await;
    for who in ["bob", "BOB", "zoe"] {
        rig.judge(&id, &ask, (who, &[]), go()).await.unwrap();
    }
    assert_eq!(votes(&rig.get(&id).await), ["bob", "zoe"]);
    let stop = json!({"judgmentStatus": "STOP", "judgmentInput": "not today"});
    rig.judge(&id, &ask, ("bob", &[]), stop.clone())
        .await
        .unwrap();
    let ended = rig.ends(&id, "TERMINAL").await;
    let context = &stage(&ended, "1")["context"];
    assert_eq!(votes(&ended), ["bob", "zoe"]);
    assert_eq!(context["judgmentStatus"], "stop");
    assert_eq!(context["judgmentInput"], "not today");
    // A repeat by who missed the reply is no error; anything else comes too late.
    rig.judge(&id, &ask, ("bob", &[]), stop).await.unwrap();
    for who in ["bob", "eve"] {
        let late = rig.judge(&id, &ask, (who, &[]), go()).await.unwrap_err();
        assert_eq!(late.kind, Kind::Conflict);
        assert!(late.message.contains("was judged to stop by bob"), "{late}");
    }
    assert_eq!(stage(&rig.get(&id).await, "1"), stage(&ended, "1"));

    rig.restart(&id, &ask).await.unwrap();
    let again = rig.stage_is(&id, "1", "RUNNING").await;
    for gone in [
        "judgments",
        "judgmentStatus",
        "judgmentInput",
        "lastModifiedBy",
    ] {
        assert!(again["context"].get(gone).is_none(), "{gone}");
    }
    rig.judge(&id, &ask, ("bob", &[]), go()).await.unwrap();
    assert_eq!(votes(&rig.get(&id).await), ["bob"]);
}

#[tokio::test]
async fn people_without_a_login_cannot_be_several() {
    let rig = Rig::up().await;
    let (id, ask) = asked(&rig, json!({"requiredApprovals": 2})).await;
    let refused = rig.judge(&id, &ask, ("", &[]), go()).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Denied);
    assert!(
        refused.message.contains("switch on authentication"),
        "{refused}"
    );
    assert!(votes(&rig.get(&id).await).is_empty());
}

#[tokio::test]
async fn an_answer_carries_nothing_but_itself() {
    let rig = Rig::up().await;
    let rules = json!({
        "requiredApprovals": 2, "selectedStageRoles": ["ops"],
        "judgmentInputs": [{"value": "now"}, {"value": "later"}],
    });
    let (id, ask) = asked(&rig, rules).await;
    let forged = json!([{"user": "eve", "status": "continue", "at": 1}]);
    for (field, value) in [
        ("judgments", forged.clone()),
        ("judgments", json!([])),
        ("judgedBy", json!("eve")),
        ("selectedStageRoles", json!([])),
        ("requiredJudgmentRoles", json!(["dev"])),
        ("requiredApprovals", json!(1)),
        ("preventSelfApproval", json!(false)),
        ("stageTimeoutMs", json!(1)),
        ("alias", json!("wait")),
        ("manualSkip", json!(true)),
        ("propagateAuthenticationContext", json!(true)),
        ("judgmentStatus", json!("perhaps")),
        ("judgmentStatus", json!(true)),
        ("judgmentInput", json!(7)),
        ("judgmentInput", json!("never")),
        ("judgmentInput", json!("${1 + 1}")),
    ] {
        let mut answer = go();
        answer[field] = value.clone();
        let refused = rig.judge(&id, &ask, ("bob", &["ops"]), answer).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid, "{field}");
        let paths: Vec<_> = refused.fields.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, [field], "{refused}");
        assert_eq!(stage(&rig.get(&id).await, "1"), &ask, "{field}");
    }
    let empty = rig.judge(&id, &ask, ("bob", &["ops"]), json!({})).await;
    assert_eq!(empty.unwrap_err().fields[0].path, "judgmentStatus");
    // Nor can it name somebody else.
    let mut as_eve = go();
    as_eve["lastModifiedBy"] = json!("eve");
    as_eve["judgmentInput"] = json!("now");
    rig.judge(&id, &ask, ("bob", &["ops"]), as_eve)
        .await
        .unwrap();
    let now = rig.get(&id).await;
    assert_eq!(votes(&now), ["bob"]);
    assert_eq!(stage(&now, "1")["lastModified"]["user"], "bob");
    // All approve the same choice.
    let later = json!({"judgmentStatus": "continue", "judgmentInput": "later"});
    let other = rig
        .judge(&id, &ask, ("zoe", &["ops"]), later)
        .await
        .unwrap_err();
    assert_eq!(other.fields[0].path, "judgmentInput");
    rig.judge(&id, &ask, ("zoe", &["ops"]), go()).await.unwrap();
    let ended = rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(stage(&ended, "1")["context"]["judgmentInput"], "now");
}

#[tokio::test]
async fn a_definition_answers_for_nobody() {
    let rig = Rig::up().await;
    let forged = json!({
        "requiredApprovals": 2, "judgmentStatus": "continue",
        "judgments": [{"user": "eve", "status": "continue", "at": 1, "input": null}],
    });
    let (id, ask) = asked(&rig, forged).await;
    rig.judge(&id, &ask, ("bob", &[]), go()).await.unwrap();
    let waiting = rig.get(&id).await;
    assert_eq!(votes(&waiting), ["bob"]);
    assert_eq!(stage(&waiting, "1")["status"], "RUNNING");
    rig.judge(&id, &ask, ("zoe", &[]), go()).await.unwrap();
    rig.ends(&id, "SUCCEEDED").await;
    // The control: where nothing is asked of those who answer, it counts as with Orca.
    let plain = make(
        "manualJudgment",
        "1",
        &[],
        json!({"judgmentStatus": "Continue"}),
    );
    let id = rig.start_stages(json!([plain])).await;
    rig.ends(&id, "SUCCEEDED").await;
}

#[tokio::test]
async fn an_answer_before_its_time_is_refused_and_one_while_paused_counts() {
    let rig = Rig::up().await;
    let stages = json!([
        make("manualJudgment", "1", &[], json!({})),
        make("manualJudgment", "2", &["1"], json!({})),
    ]);
    let id = rig.start_stages(stages).await;
    let ask = rig.stage_is(&id, "1", "RUNNING").await;
    let next = stage(&rig.get(&id).await, "2").clone();
    let early = rig.judge(&id, &next, ("bob", &[]), go()).await.unwrap_err();
    assert_eq!(early.kind, Kind::Conflict);
    assert!(early.message.contains("NOT_STARTED"), "{early}");
    rig.executions
        .clone()
        .pause(Rig::action(&id))
        .await
        .unwrap();
    rig.stage_is(&id, "1", "PAUSED").await;
    rig.judge(&id, &ask, ("bob", &[]), go()).await.unwrap();
    rig.executions
        .clone()
        .resume(Rig::action(&id))
        .await
        .unwrap();
    rig.stage_is(&id, "2", "RUNNING").await;
}

#[tokio::test]
async fn stages_after_a_judgment_act_as_its_judge_if_it_says_so() {
    for (propagates, by) in [(true, "bob"), (false, "ann")] {
        let rig = Rig::up().await;
        let saved = json!({"application": "app", "name": "Q", "id": "q", "stages": []});
        let rules = json!({"propagateAuthenticationContext": propagates});
        let stages = json!([
            make("manualJudgment", "1", &[], rules),
            make("savePipeline", "2", &["1"], json!({"pipeline": saved})),
        ]);
        let id = rig.start_stages(stages).await;
        let ask = rig.stage_is(&id, "1", "RUNNING").await;
        rig.judge(&id, &ask, ("bob", &[]), go()).await.unwrap();
        rig.ends(&id, "SUCCEEDED").await;
        let key = proto::orchestrator::v1::PipelineKey {
            id: "q".into(),
            application: "app".into(),
            ..Default::default()
        };
        let stored = rig.definitions.clone().get_pipeline(key).await.unwrap();
        let stored = stored.into_inner().value("pipeline").unwrap();
        assert_eq!(stored["lastModifiedBy"], by);
    }
}

#[tokio::test]
async fn what_expires_says_so_first_and_who_could_have_answered() {
    let rules = json!({"stageTimeoutMs": 60_000, "selectedStageRoles": ["ops", "qa"],
        "preventSelfApproval": true, "requiredApprovals": 2});
    let ask = make("manualJudgment", "1", &[], rules);
    let mut bench = Bench::new(Fake::new(), json!([ask]));
    bench.drive(|_, _| Act::Run).await;
    let execution = bench.execution().to_json();
    assert_eq!(execution["status"], "TERMINAL");
    let told = &stage(&execution, "1")["context"]["exception"]["details"]["errors"][0];
    let told = told.as_str().unwrap();
    let first = "the judgment expired: it has none of 2 approvals; who holds ops or qa can answer, \
                 except ann, who started the execution: waitForJudgment of stage manualJudgment 1 \
                 timed out after 1 minute";
    assert!(told.starts_with(first), "{told}");
}

#[tokio::test]
async fn rules_that_cannot_be_understood_are_refused_when_saved_and_when_run() {
    let rig = Rig::up().await;
    for (field, value) in [
        ("requiredApprovals", json!(0)),
        ("requiredApprovals", json!("two")),
        ("requiredApprovals", json!(51)),
        ("requiredApprovals", json!(1.5)),
        ("selectedStageRoles", json!("ops")),
        ("selectedStageRoles", json!(["ops", ""])),
        ("requiredJudgmentRoles", json!([1])),
        ("preventSelfApproval", json!("yes")),
    ] {
        let ask = make("manualJudgment", "1", &[], json!({field: value}));
        let body = pipeline("p", json!([ask]));
        let refused: Failure = rig.save(&body).await.unwrap_err();
        assert_eq!(refused.fields[0].path, format!("stages[0].{field}"));
        let id = rig.start(&body).await;
        let ended = rig.ends(&id, "TERMINAL").await;
        assert!(ended.to_string().contains(field), "{ended:#}");
    }
    let later = json!({"requiredApprovals": "${parameters.n}"});
    let ask = make("manualJudgment", "1", &[], later);
    rig.save(&pipeline("p", json!([ask]))).await.unwrap();
}
