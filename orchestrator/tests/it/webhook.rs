//! The webhook stage: what it sends, where it looks for the end, and what it makes of the answers.

use orchestrator::services::HttpResponse;
use orchestrator::services::fake::{Fake, ok, response};
use orchestrator_core::Status;
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::make;

const HOOK: &str = "http://hook.test/start";
const STATUS: &str = "http://hook.test/status";

/// Answers by URL, in order.
type Answers = Vec<(&'static str, HttpResponse)>;

async fn played(fields: &Value, answers: Answers) -> Bench {
    let fake = Fake::new();
    for (url, answer) in answers {
        fake.answer(url, Ok(answer));
    }
    let mut context = json!({"url": HOOK, "method": "POST", "payload": {"a": 1}});
    let all = context.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    let mut bench = Bench::new(fake, json!([make("webhook", "1", &[], context)]));
    bench.drive(|_, _| Act::Run).await;
    bench
}

fn webhook(bench: &Bench) -> Value {
    bench.execution().stages[0].context["webhook"].clone()
}

/// That it waits, and how it knows the end.
fn waits(more: Value) -> Value {
    let mut fields = json!({
        "waitForCompletion": true, "statusUrlResolution": "webhookResponse",
        "statusUrlJsonPath": "$.at", "statusJsonPath": "$.state",
        "successStatuses": "done, fine", "canceledStatuses": "stopped",
        "terminalStatuses": "broken",
    });
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    fields
}

fn started() -> (&'static str, HttpResponse) {
    (HOOK, ok(&json!({"at": "/status"})))
}

fn told(body: &Value) -> (&'static str, HttpResponse) {
    (STATUS, ok(body))
}

#[tokio::test]
async fn the_end_is_looked_for_where_the_stage_says() {
    let mut located = ok(&json!({}));
    located.headers.insert("location".into(), "status".into());
    for (resolution, answers, asked) in [
        (
            json!({}),
            vec![started(), told(&json!({"state": "done"}))],
            STATUS,
        ),
        (
            json!({"statusUrlResolution": "locationHeader"}),
            vec![(HOOK, located), told(&json!({"state": "done"}))],
            STATUS,
        ),
        (
            json!({"statusUrlResolution": "getMethod"}),
            vec![
                (HOOK, ok(&json!({}))),
                (HOOK, ok(&json!({"state": "done"}))),
            ],
            HOOK,
        ),
    ] {
        let bench = played(&waits(resolution), answers).await;
        assert_eq!(
            bench.status(),
            Status::Succeeded,
            "{:#?}",
            bench.execution()
        );
        let requests = bench.fake.requests();
        let last = requests.last().unwrap();
        assert_eq!((last.method.as_str(), last.url.as_str()), ("GET", asked));
        assert_eq!(webhook(&bench)["statusEndpoint"], asked);
        assert_eq!(webhook(&bench)["statusCode"], "OK");
    }
}

#[tokio::test]
async fn a_place_that_is_not_given_is_an_error_that_says_so() {
    for (resolution, word) in [
        (
            json!({"statusUrlResolution": "locationHeader"}),
            "no Location header",
        ),
        (json!({"statusUrlJsonPath": "$.nowhere"}), "$.nowhere"),
        (json!({"statusUrlJsonPath": "$.list"}), "$.list"),
    ] {
        let answers = vec![(HOOK, ok(&json!({"list": [1, 2]})))];
        let bench = played(&waits(resolution), answers).await;
        assert_eq!(bench.status(), Status::Terminal);
        let error = webhook(&bench)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn what_the_status_says_decides_the_end() {
    for (told_states, ends) in [
        (vec![json!("DONE")], Status::Succeeded),
        (vec![json!("busy"), json!("fine")], Status::Succeeded),
        (vec![json!("stopped")], Status::Canceled),
        (vec![json!("busy"), json!("broken")], Status::Terminal),
        (vec![json!(0), json!(57), json!(100)], Status::Succeeded),
        (vec![json!(100.0)], Status::Succeeded),
        (vec![json!(["done"])], Status::Terminal),
    ] {
        let mut answers = vec![started()];
        answers.extend(
            told_states
                .iter()
                .map(|state| told(&json!({"state": state}))),
        );
        let bench = played(&waits(json!({})), answers).await;
        assert_eq!(bench.status(), ends, "{told_states:?}");
        let looks = bench.fake.requests().len() - 1;
        assert_eq!(looks, told_states.len(), "{told_states:?}");
    }
}

#[tokio::test]
async fn progress_is_shown_while_it_waits() {
    let fields = waits(json!({"progressJsonPath": "$.step"}));
    let answers = vec![
        started(),
        told(&json!({"state": "busy", "step": "half"})),
        told(&json!({"state": "done", "step": "all"})),
    ];
    let bench = played(&fields, answers).await;
    assert_eq!(bench.status(), Status::Succeeded);
    let monitor = &webhook(&bench)["monitor"];
    assert_eq!(monitor["progressMessage"], "all");
    assert_eq!(monitor["resolvedValue"], "done");
    assert_eq!(monitor["body"]["state"], "done");
    assert_eq!(monitor["pastStatusCodes"], json!([200, 200]));
    let none = played(&fields, vec![started(), told(&json!({"state": "busy"}))]).await;
    assert_eq!(none.status(), Status::Terminal);
}

#[tokio::test]
async fn which_answers_are_asked_for_again_is_configured() {
    let looked = |code: u16| (STATUS, response(code, &json!({})));
    let good = || told(&json!({"state": "done"}));
    for (fields, codes, ends, looks) in [
        // 5xx and 429 are asked again unless the stage says otherwise.
        (json!({}), vec![500, 429], Status::Succeeded, 3),
        (json!({}), vec![404], Status::Terminal, 1),
        (
            json!({"retryStatusCodes": [404]}),
            vec![404],
            Status::Succeeded,
            2,
        ),
        (
            json!({"retries": {"503": {"maxAttempts": 2}}}),
            vec![503, 503],
            Status::Terminal,
            2,
        ),
    ] {
        let mut answers = vec![started()];
        answers.extend(codes.iter().map(|code| looked(*code)));
        answers.push(good());
        let bench = played(&waits(fields.clone()), answers).await;
        assert_eq!(
            bench.status(),
            ends,
            "{fields} {codes:?}: {:#?}",
            webhook(&bench)
        );
        assert_eq!(bench.fake.requests().len() - 1, looks, "{fields} {codes:?}");
    }
}

#[tokio::test]
async fn codes_that_fail_fast_are_not_sent_again() {
    let answers = vec![(HOOK, response(503, &json!({})))];
    let bench = played(&json!({"failFastStatusCodes": [503]}), answers).await;
    assert_eq!(bench.status(), Status::Terminal);
    assert_eq!(bench.fake.requests().len(), 1);
    let error = webhook(&bench)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("configured to fail fast"), "{error}");
}

#[tokio::test]
async fn one_that_was_cancelled_tells_the_other_side() {
    let fake = Fake::new();
    fake.answer(HOOK, Ok(started().1));
    for _ in 0..5 {
        fake.answer(STATUS, Ok(ok(&json!({"state": "busy"}))));
    }
    let fields = waits(json!({
        "url": HOOK, "method": "POST", "signalCancellation": true,
        "cancelEndpoint": "http://hook.test/cancel", "cancelMethod": "POST",
        "cancelPayload": {"why": "canceled"},
    }));
    let mut bench = Bench::new(fake, json!([make("webhook", "1", &[], fields)]));
    bench
        .drive(|_, run| {
            if run.task_type == "monitorWebhook" {
                Act::Cancel
            } else {
                Act::Run
            }
        })
        .await;
    assert_eq!(bench.status(), Status::Canceled);
    let requests = bench.fake.requests();
    let cancels: Vec<_> = requests
        .iter()
        .filter(|r| r.url.ends_with("/cancel"))
        .collect();
    assert_eq!(cancels.len(), 1);
    assert_eq!(cancels[0].method, "POST");
    assert!(String::from_utf8_lossy(&cancels[0].body).contains("canceled"));
}
