//! One metric over one window.

use orchestrator::services::fake::Fake;
use orchestrator_core::Status;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use super::{driven, measured, named, why};
use crate::rig::make;

fn checked(more: Value) -> Value {
    let mut fields = json!({"account": "m", "query": {"type": "local", "metricName": "errors"},
        "scope": "app-main-v000", "location": "local", "window": "PT5M", "step": 1, "threshold": 0.4});
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    make("checkMetric", "1", &[], fields)
}

#[tokio::test]
async fn a_metric_is_measured_over_a_window_and_compared() {
    let fake = Fake::new();
    measured(&fake);
    for (more, ends, told) in [
        (
            json!({}),
            Status::Succeeded,
            "checkMetric 1: mean is 0.375 (2 points in PT5M), asked was <= 0.4",
        ),
        (
            json!({"aggregation": "max"}),
            Status::Terminal,
            "checkMetric 1: max is 0.5 (2 points in PT5M), asked was <= 0.4",
        ),
        (
            json!({"operator": ">", "threshold": "${0.3}"}),
            Status::Succeeded,
            "checkMetric 1: mean is 0.375 (2 points in PT5M), asked was > 0.3",
        ),
    ] {
        let bench = driven(&fake, checked(more)).await;
        assert_eq!(bench.status(), ends, "{:#?}", bench.execution());
        let stage = named(&bench, "checkMetric 1");
        assert_eq!(stage.context["metricMessage"], told);
        if ends == Status::Terminal {
            assert_eq!(why(stage), told);
        }
    }
    let asked = &fake.metric_questions()[0];
    assert_eq!(
        (asked.account.as_str(), asked.application.as_str()),
        ("m", "app")
    );
    assert_eq!(asked.scope["start"], "1969-12-31T23:55:01Z");
    assert_eq!(asked.scope["end"], "1970-01-01T00:00:01Z");
    assert_eq!(
        (&asked.scope["scope"], &asked.scope["location"]),
        (&json!("app-main-v000"), &json!("local"))
    );
}

#[tokio::test]
async fn every_series_must_hold_and_the_worst_one_is_named() {
    let fake = Fake::new();
    let set = |pod: &str, value: f64| json!({"tags": {"pod": pod}, "values": [value]});
    fake.metrics(Ok(
        json!({"query": "q", "metricSets": [set("a", 0.1), set("b", 0.9)]}),
    ));
    let bench = driven(&fake, checked(json!({}))).await;
    assert_eq!(bench.status(), Status::Terminal);
    assert!(why(named(&bench, "checkMetric 1")).contains("mean of pod=b is 0.9"));
}

#[tokio::test]
async fn a_metric_without_data_or_store_fails_with_a_remedy() {
    let fake = Fake::new();
    fake.metrics(Ok(
        json!({"query": "sum(x)", "metricSets": [{"values": ["NaN"]}]}),
    ));
    let bench = driven(&fake, checked(json!({}))).await;
    assert_eq!(bench.status(), Status::Terminal);
    let text = json!(named(&bench, "checkMetric 1").context["exception"]).to_string();
    assert!(
        text.contains("no data in PT5M") && text.contains("asked was: sum(x)"),
        "{text}"
    );
    fake.metrics(Err(Failure::new(
        Kind::Invalid,
        "query.metricName \"x\" is unknown; correct it",
    )));
    let bench = driven(&fake, checked(json!({}))).await;
    assert!(why(named(&bench, "checkMetric 1")).contains("query.metricName \"x\" is unknown"));
}

#[tokio::test]
async fn what_a_store_that_is_away_said_is_told_at_the_end_and_a_refusal_at_once() {
    let fake = Fake::new();
    for _ in 0..200 {
        let away = "prometheus account m: it answers 503 ${#toJson(execution)}; look at it";
        fake.metrics(Err(Failure::new(Kind::Unavailable, away)));
    }
    let bench = driven(&fake, checked(json!({}))).await;
    assert_eq!(bench.status(), Status::Terminal);
    let stage = named(&bench, "checkMetric 1");
    let text = why(stage);
    let told = "it answers 503 $ {#toJson(execution)}; look at it: checkMetric of stage";
    assert!(text.contains(told) && text.contains("timed out"), "{text}");
    let fake = Fake::new();
    let refused = "prometheus account m: it answers 401; write its password anew";
    fake.metrics(Err(Failure::new(Kind::Conflict, refused)));
    let bench = driven(&fake, checked(json!({}))).await;
    assert_eq!(why(named(&bench, "checkMetric 1")), refused);
    assert_eq!(fake.metric_questions().len(), 1);
}
