use serde_json::{Value, json};

use super::*;
use crate::query::Scope;

fn prometheus() -> Prometheus {
    let account = Account {
        kind: crate::account::Kind::Prometheus,
        base_url: Some("http://127.0.0.1:9".to_owned()),
        ..Account::local()
    };
    Prometheus::new(&account).unwrap()
}

fn question(query: &Value, scope: &str, location: &str) -> Question {
    Question {
        metric: "m".into(),
        query: query.as_object().unwrap().clone(),
        scope: Scope {
            scope: scope.into(),
            location: location.into(),
            extended: BTreeMap::from([("project".into(), "p".into())]),
            ..Scope::default()
        },
        ..Question::default()
    }
}

#[test]
fn queries_read_as_kayenta_writes_them() {
    for (query, expected) in [
        (json!({"metricName": "m"}), "avg(m{instance=\"s-v1\"})"),
        (
            json!({"metricName": "m", "labelBindings": ["mode=~\"user|system\""], "resourceType": "aws_ec2_instance"}),
            "avg(m{mode=~\"user|system\",asg_groupName=\"s-v1\",zone=~\"eu.{1}\"})",
        ),
        (
            json!({"metricName": "m", "resourceType": "gce_instance", "groupByFields": ["a", "b"]}),
            "avg(m{instance=~\"s-v1-.{4}\",zone=~\".+/projects/p/zones/eu-.{1}\"}) by (a,b)",
        ),
        (
            json!({"metricName": "m", "customInlineTemplate": "pod=~\"${scope}.*\",ns=\"${location}\"", "labelBindings": ["x=\"y\""]}),
            "avg(m{pod=~\"s-v1.*\",ns=\"eu\",x=\"y\"})",
        ),
        (
            json!({"customInlineTemplate": "PromQL: rate(m{pod=~\"${scope}\"}[5m])"}),
            "rate(m{pod=~\"s-v1\"}[5m])",
        ),
        (
            json!({"customInlineTemplate": "PromQL:m{p=\"$\\{project}\"}"}),
            "m{p=\"p\"}",
        ),
    ] {
        assert_eq!(
            prometheus().text(&question(&query, "s-v1", "eu")).unwrap(),
            expected
        );
    }
}

#[test]
fn queries_that_cannot_be_made_say_what_is_missing() {
    for (query, text) in [
        (
            json!({}),
            "Metric Name is required when query type is Default.",
        ),
        (
            json!({"metricName": "m", "resourceType": "k8s"}),
            "query.resourceType is \"k8s\"",
        ),
        (
            json!({"metricName": "m", "resourceType": "gce_instance"}),
            "scope.location is missing",
        ),
        (
            json!({"metricName": "m", "groupByFields": ["a) or (b"]}),
            "query.groupByFields is",
        ),
        (
            json!({"metricName": "m", "labelBindings": "a"}),
            "query.labelBindings is",
        ),
    ] {
        let error = prometheus().text(&question(&query, "s", "")).unwrap_err();
        assert_eq!(error.class, Class::Invalid);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_scope_with_a_quote_stays_within_its_label() {
    let scope = "x\"} or vector(1) or m{a=\"";
    let query = json!({"metricName": "m"});
    let text = prometheus().text(&question(&query, scope, "")).unwrap();
    assert_eq!(text, "avg(m{instance=\"x\\\"} or vector(1) or m{a=\\\"\"})");
    let query = json!({"metricName": "m", "resourceType": "aws_ec2_instance"});
    let text = prometheus().text(&question(&query, "s", "e\\\"")).unwrap();
    assert!(text.ends_with("zone=~\"e\\\\\\\".{1}\"})"), "{text}");
}

fn grid() -> Grid {
    let scope = Scope {
        start_ms: 1_435_781_430_000,
        end_ms: 1_435_781_475_000,
        step_s: 15,
        ..Scope::default()
    };
    Grid::of(&scope).unwrap()
}

/// The example of the documentation of its HTTP API.
const DOCUMENTED: &str = r#"{"status" : "success","data" : {"resultType" : "matrix","result" : [
  {"metric" : {"__name__" : "up","job" : "prometheus","instance" : "localhost:9090"},
   "values" : [[ 1435781430, "1" ],[ 1435781445, "1" ],[ 1435781460, "1" ]]},
  {"metric" : {"__name__" : "up","job" : "node","instance" : "localhost:9091"},
   "values" : [[ 1435781430.000, "0" ],[ 1435781460.000, "+Inf" ]]}]}}"#;

#[test]
fn the_documented_answer_is_read() {
    let series = read(DOCUMENTED.as_bytes(), grid()).unwrap();
    assert_eq!(series.len(), 2);
    assert_eq!(series[0].0["job"], "prometheus");
    assert_eq!(series[0].0.len(), 2);
    assert_eq!(series[0].1, [1.0; 3]);
    let values = &series[1].1;
    assert!(values[0].abs() < 1e-9 && values[1].is_nan() && values[2].is_infinite());
}

#[test]
fn values_are_read_as_prometheus_writes_them() {
    for (written, is) in [
        ("NaN", f64::is_nan as fn(f64) -> bool),
        ("+Inf", |v| v.total_cmp(&f64::INFINITY).is_eq()),
        ("-Inf", |v| v.total_cmp(&f64::NEG_INFINITY).is_eq()),
        ("1.5e-7", |v| v.total_cmp(&1.5e-7).is_eq()),
        ("-0", |v| v.total_cmp(&-0.0).is_eq()),
        ("0.1", |v| v.total_cmp(&0.1).is_eq()),
    ] {
        let body = format!(
            r#"{{"data":{{"result":[{{"metric":{{}},"values":[[1435781430.000,"{written}"]]}}]}}}}"#
        );
        let series = read(body.as_bytes(), grid()).unwrap();
        assert!(is(series[0].1[0]), "{written}");
    }
}

#[test]
fn an_answer_cut_anywhere_is_cut_and_never_a_shorter_answer() {
    for length in 0..DOCUMENTED.len() {
        let found = read(&DOCUMENTED.as_bytes()[..length], grid());
        assert_eq!(
            found,
            Err(NoSeries::Unreadable(Unreadable::Cut)),
            "{length}"
        );
    }
}

#[test]
fn other_answers_are_told_apart() {
    type Is = fn(&NoSeries) -> bool;
    let cases: [(&str, Is); 5] = [
        ("<html>", |n| {
            matches!(n, NoSeries::Unreadable(Unreadable::Other(_)))
        }),
        (r#"{"status":"success"}"#, |n| {
            matches!(n, NoSeries::Unreadable(Unreadable::Other(_)))
        }),
        (
            r#"{"data":{"result":[{"metric":{},"value":[1435781430,"1"]}]}}"#,
            |n| matches!(n, NoSeries::NoRange),
        ),
        (
            r#"{"data":{"result":[{"metric":{},"values":[[1435781430,"1"],[1435781435,"1"]]}]}}"#,
            |n| matches!(n, NoSeries::OtherStep(OtherStep { found_ms: 5_000 })),
        ),
        (
            r#"{"data":{"result":[{"metric":{},"values":[[1435781430,"one"]]}]}}"#,
            |n| matches!(n, NoSeries::Unreadable(Unreadable::Other(_))),
        ),
    ];
    for (body, is) in cases {
        let found = read(body.as_bytes(), grid()).unwrap_err();
        assert!(is(&found), "{body}: {found:?}");
    }
}
