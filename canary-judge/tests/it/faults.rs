//! Bad luck with stores, the same for every one of them: what fails, who has to do something about it, what it says.

use std::sync::Arc;
use std::time::Duration;

use canary_judge::account::{Account, Kind};
use canary_judge::query::{Question, Scope};
use canary_judge::source::{Class, History, SourceError, source};
use proto::status::Failure;
use runtime::config::Span;
use serde_json::{Value, json};

use crate::stub::{Answer, Stub};
use crate::subject::{Remembered, store};
use crate::vendors::{Secret, with_secrets};

/// Stores that are asked over HTTP.
const KINDS: [Kind; 6] = [
    Kind::Prometheus,
    Kind::Graphite,
    Kind::InfluxDb,
    Kind::Datadog,
    Kind::CloudWatch,
    Kind::NewRelic,
];

const SECRET: &str = "hunter2hunter2";

fn question() -> Question {
    let query = json!({
        "metricName": "requests", "namespace": "app", "select": "average(n) FROM Requests",
        "customFilterTemplate": null,
    });
    Question {
        metric: "request rate".into(),
        query: query.as_object().unwrap().clone(),
        templates: serde_json::Map::new(),
        scope: Scope {
            scope: "arm:x".into(),
            start_ms: 1_767_225_600_000,
            end_ms: 1_767_226_200_000,
            step_s: 60,
            ..Scope::default()
        },
    }
}

/// An account of a store at a stub, with a secret of every kind.
fn account(kind: Kind, stub: &Stub, secret: &Secret) -> Account {
    let mut account = Account {
        // What may stand bare in Graphite's targets, too.
        timeout: Span(Duration::from_millis(300)),
        max_answer_bytes: 100_000,
        ..with_secrets(kind, &stub.url(), secret)
    };
    if matches!(kind, Kind::Prometheus | Kind::InfluxDb | Kind::Graphite) {
        account.username = Some("gennaker".into());
        account.password = secret.reference();
    }
    account
}

/// Asks once and has to fail.
async fn failed(kind: Kind, answer: Answer) -> SourceError {
    let stub = Stub::new(move |_| answer.clone()).await;
    let secret = Secret::new(SECRET);
    let store = store(&account(kind, &stub, &secret));
    let error = store.fetch(&question()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("metric \"request rate\": "), "{text}");
    assert!(
        text.contains(&format!("{} account prod: ", kind.as_str())),
        "{text}"
    );
    assert!(text.contains("; asked was: "), "{text}");
    assert!(!text.contains(SECRET), "{text}");
    error
}

async fn every_store_says(answer: Answer, class: Class, says: &[&str]) {
    for kind in KINDS {
        let error = failed(kind, answer.clone()).await;
        let text = error.to_string();
        assert_eq!(error.class, class, "{text}");
        for part in says {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
}

#[tokio::test]
async fn a_store_that_answers_500_may_be_asked_again() {
    for status in [500, 502, 503, 504, 429, 408] {
        let answer = Answer::With(status, "{\"error\":\"the disk is full\"}".into());
        let says = format!("it answers {status}: the disk is full");
        every_store_says(answer, Class::Transient, &[&says]).await;
    }
}

#[tokio::test]
async fn a_store_that_refuses_a_query_says_why_in_its_own_words() {
    let answer = Answer::With(400, "{\"errors\":[\"no metric of this name\"]}".into());
    let says = [
        "it answers 400: no metric of this name",
        "correct the metric's query",
    ];
    every_store_says(answer, Class::Invalid, &says).await;
}

#[tokio::test]
async fn a_store_that_does_not_know_who_asks_is_the_operators_business() {
    for status in [401, 403] {
        let answer = Answer::With(status, "who are you?".into());
        let says = [
            "who are you?",
            "correct how the account authenticates in canary-judge.accounts",
        ];
        every_store_says(answer, Class::Refused, &says).await;
    }
}

#[tokio::test]
async fn a_store_that_redirects_is_not_followed() {
    let answer = Answer::Redirect("http://169.254.169.254/latest?token=1".into());
    let says = [
        "it redirects (302) to http://169.254.169.254/latest?",
        "as base-url of the account",
    ];
    every_store_says(answer, Class::Refused, &says).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_may_be_asked_for_again() {
    let answer = Answer::Cut("{\"status\":\"success\",\"data\"".into());
    every_store_says(answer, Class::Transient, &["request to 127.0.0.1 failed"]).await;
    let answer = Answer::With(200, "{\"status\":\"success\",\"data\"".into());
    every_store_says(
        answer,
        Class::Transient,
        &["its answer ends after 26 bytes"],
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_is_no_json_shows_how_it_begins() {
    let page = "<html><body>Welcome to nginx!</body></html>";
    let says = [
        "its answer cannot be read",
        "it begins: <html><body>Welcome to nginx!",
    ];
    every_store_says(Answer::With(200, page.into()), Class::Refused, &says).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let answer = Answer::With(200, format!("[\"{}\"]", "x".repeat(200_000)));
    let says = [
        "is larger than the 100000 bytes allowed",
        "raise max-answer-bytes",
    ];
    every_store_says(answer, Class::Invalid, &says).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_in_time_may_be_asked_again() {
    let says = [
        "no answer from 127.0.0.1 within 300 ms",
        "raise timeout of the account",
    ];
    every_store_says(Answer::Silence, Class::Transient, &says).await;
}

#[tokio::test]
async fn a_store_that_is_not_there_may_be_asked_again() {
    for kind in KINDS {
        let secret = Secret::new(SECRET);
        let stub = Stub::new(|_| Answer::Silence).await;
        let account = Account {
            base_url: Some("http://127.0.0.1:1".into()),
            ..account(kind, &stub, &secret)
        };
        let error = store(&account).fetch(&question()).await.unwrap_err();
        assert_eq!(error.class, Class::Transient, "{error}");
        assert!(
            error.to_string().contains("see whether the store runs"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_store_that_repeats_what_it_was_sent_gives_away_no_secret() {
    for kind in KINDS {
        let stub = Stub::new(|received| {
            let headers = format!("{:?} {:?}", received.headers, received.parameters);
            Answer::With(500, headers)
        });
        let secret = Secret::new(SECRET);
        let stub = stub.await;
        let store = store(&account(kind, &stub, &secret));
        let error = store.fetch(&question()).await.unwrap_err().to_string();
        let encoded = "Z2VubmFrZXI6aHVudGVyMmh1bnRlcjI=";
        assert!(
            !error.contains(SECRET) && !error.contains(encoded),
            "{error}"
        );
        let sent = format!("{:?}", stub.received());
        let is_signed = kind == Kind::CloudWatch;
        assert!(
            is_signed || sent.contains(SECRET) || sent.contains(encoded),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_said_before_anything_is_sent() {
    let stub = Stub::new(|_| Answer::Silence).await;
    let mut account = with_secrets(Kind::Prometheus, &stub.url(), &Secret::new(SECRET));
    account.bearer_token = Some("env:GENNAKER_NOBODY_HAS_SET_THIS".parse().unwrap());
    let error = store(&account).fetch(&question()).await.unwrap_err();
    assert_eq!(error.class, Class::Refused);
    assert!(
        error
            .to_string()
            .contains("secret env:GENNAKER_NOBODY_HAS_SET_THIS cannot be read"),
        "{error}"
    );
    assert!(stub.received().is_empty());
}

/// An answer at another step than asked, as the store writes it.
fn every_ten_seconds(kind: Kind) -> Value {
    let start_s = question().scope.start_ms / 1_000;
    let times = (0..12).map(|k| start_s + k * 10);
    match kind {
        Kind::Prometheus => {
            let values: Vec<_> = times.map(|at| json!([at, "1"])).collect();
            json!({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}})
        }
        Kind::CloudWatch => {
            let times: Vec<_> = times.collect();
            json!({"MetricDataResults": [{"Id": "m1", "Values": vec![1.0; 12], "Timestamps": times}]})
        }
        _ => {
            let parts = times.map(|at| {
                json!({"beginTimeSeconds": at, "endTimeSeconds": at + 10, "inspectedCount": 1, "results": [{"a": 1}]})
            });
            let parts: Vec<_> = parts.collect();
            json!({"timeSeries": parts})
        }
    }
}

#[tokio::test]
async fn a_store_that_answers_at_another_step_than_it_was_told_is_refused() {
    for kind in [Kind::Prometheus, Kind::CloudWatch, Kind::NewRelic] {
        let answer = Answer::With(200, every_ten_seconds(kind).to_string());
        let error = failed(kind, answer).await;
        assert_eq!(error.class, Class::Invalid);
        let says = "it answers a value every 10 s, asked was one every 60 s";
        assert!(error.to_string().contains(says), "{error}");
        assert!(
            error
                .to_string()
                .contains("give the scope the step 10, or "),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_store_whose_own_step_is_coarser_is_refused_with_how_to_have_ours() {
    let start_s = question().scope.start_ms / 1_000;
    let times = (0..4).map(|k| start_s + k * 120);
    let points: Vec<_> = times.map(|at| json!([at * 1_000, 1.0])).collect();
    let answer = json!({"status": "ok", "series": [{"pointlist": points}]});
    let error = failed(Kind::Datadog, Answer::With(200, answer.to_string())).await;
    let says = "it answers a value every 120 s, asked was one every 60 s";
    assert!(error.to_string().contains(says), "{error}");
    assert!(
        error
            .to_string()
            .contains("add .rollup(avg, 60) to the query"),
        "{error}"
    );
}

#[tokio::test]
async fn errors_with_status_200_are_errors() {
    for (kind, answer, class) in [
        (
            Kind::Datadog,
            json!({"status": "error", "error": "bad query"}),
            Class::Invalid,
        ),
        (
            Kind::InfluxDb,
            json!({"results": [{"error": "bad query"}]}),
            Class::Invalid,
        ),
        (
            Kind::CloudWatch,
            json!({"MetricDataResults": [{"StatusCode": "InternalError", "Messages": [{"Value": "bad query"}]}]}),
            Class::Transient,
        ),
    ] {
        let error = failed(kind, Answer::With(200, answer.to_string())).await;
        assert_eq!(error.class, class, "{error}");
        assert!(error.to_string().contains("bad query"), "{error}");
    }
    let secret = Secret::new(SECRET);
    for (code, class) in [
        ("TIMEOUT", Class::Transient),
        ("INVALID_INPUT", Class::Invalid),
    ] {
        let answer = json!({"errors": [{"message": "NRQL Syntax Error", "extensions": {"errorClass": code}}]});
        let stub = Stub::new(move |_| Answer::With(200, answer.to_string())).await;
        let mut account = account(Kind::NewRelic, &stub, &secret);
        account.nerd_graph = true;
        let error = store(&account).fetch(&question()).await.unwrap_err();
        assert_eq!(error.class, class, "{error}");
        assert!(
            error.to_string().contains("it answers: NRQL Syntax Error"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn no_error_repeats_a_secret_whatever_the_status_is() {
    // `failed` looks for it; begun at the end of what is shown, none of it may be left either.
    let late = |from: usize| format!("{}{SECRET} is wrong", "x".repeat(from));
    for from in [0, 130, 590, 596] {
        let text = late(from);
        for kind in KINDS {
            for answer in [
                Answer::With(200, text.clone()),
                Answer::With(200, format!("<pre>{{\"key\": \"{text}\"}}")),
                Answer::With(400, text.clone()),
            ] {
                let error = failed(kind, answer).await.to_string();
                assert!(!error.contains("hunt"), "{error}");
            }
        }
        for (kind, answer) in [
            (Kind::Datadog, json!({"status": "error", "error": text})),
            (Kind::InfluxDb, json!({"results": [{"error": text}]})),
            (Kind::InfluxDb, json!({"error": text})),
            (
                Kind::CloudWatch,
                json!({"MetricDataResults": [{"StatusCode": "Forbidden", "Messages": [{"Value": text}]}]}),
            ),
            (
                Kind::Graphite,
                json!([{"target": text, "datapoints": []}, {"target": text, "datapoints": []}]),
            ),
        ] {
            let error = failed(kind, Answer::With(200, answer.to_string())).await;
            assert!(!error.to_string().contains("hunt"), "{error}");
            assert!(error.to_string().contains("***") || from > 500, "{error}");
        }
        let secret = Secret::new(SECRET);
        let answer = json!({"errors": [{"message": text}]});
        let stub = Stub::new(move |_| Answer::With(200, answer.to_string())).await;
        let mut account = account(Kind::NewRelic, &stub, &secret);
        account.nerd_graph = true;
        let error = store(&account).fetch(&question()).await.unwrap_err();
        assert!(!error.to_string().contains("hunt"), "{error}");
    }
}

#[tokio::test]
async fn a_password_is_no_secret_only_as_it_was_written() {
    for (password, said) in [
        ("hunter2hunter2", "Z2VubmFrZXI6aHVudGVyMmh1bnRlcjI="),
        ("hunter2\"", "hunter2\\\""),
    ] {
        let text = format!("<pre>{said} is wrong");
        let stub = Stub::new(move |_| Answer::With(200, text.clone())).await;
        let secret = Secret::new(password);
        let store = store(&account(Kind::Prometheus, &stub, &secret));
        let error = store.fetch(&question()).await.unwrap_err().to_string();
        assert!(error.contains("it begins: <pre>*** is wrong"), "{error}");
    }
}

#[tokio::test]
async fn amazons_throttling_may_be_asked_again_although_its_status_is_400() {
    let said = json!({"__type": "com.amazonaws.cloudwatch#ThrottlingException", "message": "Rate exceeded"});
    let error = failed(Kind::CloudWatch, Answer::With(400, said.to_string())).await;
    assert_eq!(error.class, Class::Transient);
    assert!(error.to_string().contains("Rate exceeded"), "{error}");
}

#[tokio::test]
async fn a_part_of_the_values_is_no_answer() {
    let answer = json!({"results": [{"series": [{"columns": ["time", "v"], "values": [], "partial": true}]}]});
    let error = failed(Kind::InfluxDb, Answer::With(200, answer.to_string())).await;
    assert!(
        error.to_string().contains("a part of the values only"),
        "{error}"
    );
    let answer =
        json!({"results": [{"series": [{"columns": ["time", "v"], "values": [[1, "text"]]}]}]});
    let error = failed(Kind::InfluxDb, Answer::With(200, answer.to_string())).await;
    assert!(
        error
            .to_string()
            .contains("it answers no numbers, v are texts"),
        "{error}"
    );
}

#[tokio::test]
async fn seconds_that_the_balancer_has_forgotten_are_refused_and_not_answered_as_gaps() {
    let mut question = question();
    question.query.insert("metricName".into(), "errors".into());
    question.scope.scope = "app-v001".into();
    let of = async |age_s: i64| {
        let history: Arc<dyn History> = Arc::new(Remembered {
            answer: Some(Ok(json!({"history": {}}))),
            now_ms: question.scope.start_ms + age_s * 1_000,
        });
        let store = source(&Account::local(), &history).unwrap();
        store.fetch(&question).await
    };
    assert!(of(3_600).await.is_ok());
    let error = of(3_601).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(
        error.to_string().contains("the balancer remembers an hour"),
        "{error}"
    );
}

#[tokio::test]
async fn a_balancer_that_is_not_there_may_be_asked_again() {
    for (failure, class) in [
        (
            Failure::new(proto::status::Kind::Unavailable, "the balancer is away"),
            Class::Transient,
        ),
        (
            Failure::new(proto::status::Kind::Unimplemented, "no such call"),
            Class::Refused,
        ),
    ] {
        let history: Arc<dyn History> = Arc::new(Remembered {
            answer: Some(Err(failure.clone())),
            now_ms: 0,
        });
        let store = source(&Account::local(), &history).unwrap();
        let mut question = question();
        question.query.insert("metricName".into(), "errors".into());
        question.scope.scope = "app-v001".into();
        let error = store.fetch(&question).await.unwrap_err();
        assert_eq!(error.class, class, "{error}");
        assert!(error.to_string().contains(&failure.message), "{error}");
        assert!(
            error.to_string().contains("asked was: errors of app-v001"),
            "{error}"
        );
    }
}
