//! Stores that are sold as services, and the balancer: answered by a stub as their vendors document it
//! (`tests/fixtures/README.md` has the origin of each shape), over the same made-up canary.

use std::sync::Arc;

use canary_judge::account::{Account, Kind};
use canary_judge::source::{History, source};
use runtime::config::SecretRef;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::stub::{Answer, Received, Stub};
use crate::subject::{
    COUNT, GAP, NoSeries, Remembered, STEP_S, Subject, account, points, start_s, store,
};

/// A secret in a file.
pub(crate) struct Secret(NamedTempFile);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{text}\n")).unwrap();
        Self(file)
    }

    pub(crate) fn reference(&self) -> Option<SecretRef> {
        Some(format!("file:{}", self.0.path().display()).parse().unwrap())
    }
}

/// An account with every secret that one of these asks for.
pub(crate) fn with_secrets(kind: Kind, url: &str, secret: &Secret) -> Account {
    Account {
        api_key: secret.reference(),
        application_key: secret.reference(),
        access_key_id: secret.reference(),
        secret_access_key: secret.reference(),
        region: Some("eu-central-1".into()),
        account_id: Some("7".into()),
        default_scope_key: Some("host".into()),
        ..account(kind, url)
    }
}

fn ok(value: &Value) -> Answer {
    Answer::With(200, value.to_string())
}

fn arm_in(text: &str) -> &'static str {
    ["baseline", "canary"]
        .into_iter()
        .find(|arm| text.contains(arm))
        .unwrap_or("")
}

fn known(arm: &str, start_s: i64) -> Vec<(i64, f64)> {
    if arm.is_empty() {
        Vec::new()
    } else {
        points(arm, start_s)
    }
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

pub(crate) async fn datadog() -> Subject {
    let start_s = start_s();
    let answer = move |received: &Received| {
        assert_eq!(received.headers["dd-api-key"], "secret");
        assert_eq!(received.headers["dd-application-key"], "secret");
        if received.path == "/api/v1/metrics" {
            return ok(&json!({"from": received.parameters["from"], "metrics": ["requests"]}));
        }
        assert_eq!(received.path, "/api/v1/query");
        let instant = |name: &str| received.parameters[name].parse::<i64>().unwrap();
        let (from, to) = (instant("from"), instant("to"));
        let query = &received.parameters["query"];
        let known = known(arm_in(query), start_s);
        // Both ends are inside there.
        let points = known.iter().filter(|(at, _)| (from..=to).contains(at));
        let points: Vec<_> = points
            .map(|(at, v)| json!([*at as f64 * 1_000.0, v]))
            .collect();
        let series = json!({"metric": "requests", "interval": STEP_S, "scope": "arm:x",
                            "tag_set": ["host:a"], "start": from * 1_000, "end": to * 1_000,
                            "length": points.len(), "aggr": "avg", "pointlist": points});
        let series = if points.is_empty() {
            json!([])
        } else {
            json!([series])
        };
        ok(&json!({"status": "ok", "res_type": "time_series", "query": query, "series": series}))
    };
    let stub = Stub::new(answer).await;
    let secret = Secret::new("secret");
    Subject {
        source: store(&with_secrets(Kind::Datadog, &stub.url(), &secret)),
        query: json!({"type": "datadog", "metricName": "avg:requests"}),
        scope: |arm| match arm {
            "baseline" => ("arm:baseline", ""),
            "canary" => ("arm:canary", ""),
            _ => ("arm:nobody", ""),
        },
        extended: &[],
        tags: &[],
        no_series: NoSeries::Placeholder,
        text: "avg:requests{arm:",
        lists: "requests",
        start_s,
        _server: Box::new(secret),
    }
}

pub(crate) async fn cloudwatch() -> Subject {
    let start_s = start_s();
    let answer = move |received: &Received| {
        let signed = &received.headers["authorization"];
        let parts = [
            "/eu-central-1/monitoring/aws4_request",
            "SignedHeaders=content-type;host;x-amz-date;x-amz-target",
        ];
        assert!(parts.iter().all(|part| signed.contains(part)), "{signed}");
        if received.headers["x-amz-target"].ends_with(".ListMetrics") {
            return ok(&json!({"Metrics": [{"Namespace": "app", "MetricName": "requests"}]}));
        }
        let body: Value = serde_json::from_str(&received.body).unwrap();
        let (from, to) = (
            body["StartTime"].as_i64().unwrap(),
            body["EndTime"].as_i64().unwrap(),
        );
        let metric = &body["MetricDataQueries"][0]["MetricStat"]["Metric"];
        let known = known(
            arm_in(metric["Dimensions"][0]["Value"].as_str().unwrap()),
            start_s,
        );
        let all: Vec<_> = known
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .collect();
        // In two pages.
        let (first, second) = all.split_at(all.len() / 2);
        let is_first = body["NextToken"].is_null();
        let page = if is_first { first } else { second };
        let mut answer = json!({"Messages": [], "MetricDataResults": [{
            "Id": "m1", "Label": "requests", "StatusCode": if is_first { "PartialData" } else { "Complete" },
            "Timestamps": page.iter().map(|(at, _)| *at as f64).collect::<Vec<_>>(),
            "Values": page.iter().map(|(_, value)| value).collect::<Vec<_>>(),
        }]});
        if is_first {
            answer["NextToken"] = json!("more");
        }
        ok(&answer)
    };
    let stub = Stub::new(answer).await;
    let secret = Secret::new("secret");
    Subject {
        source: store(&with_secrets(Kind::CloudWatch, &stub.url(), &secret)),
        query: json!({"type": "cloudwatch", "namespace": "app", "metricName": "requests",
                      "dimensions": {"arm": "${scope}"}}),
        scope: |arm| match arm {
            "baseline" => ("baseline", ""),
            "canary" => ("canary", ""),
            _ => ("nobody", ""),
        },
        extended: &[],
        tags: &[],
        no_series: NoSeries::Placeholder,
        text: "\"Namespace\":\"app\"",
        lists: "requests",
        start_s,
        _server: Box::new(secret),
    }
}

fn number_after(text: &str, word: &str) -> i64 {
    let (_, rest) = text.split_once(word).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

pub(crate) async fn new_relic(nerd_graph: bool) -> Subject {
    let start_s = start_s();
    let answer = move |received: &Received| {
        let nrql = if nerd_graph {
            assert_eq!(
                (received.path.as_str(), received.headers["api-key"].as_str()),
                ("/graphql", "secret")
            );
            let body: Value = serde_json::from_str(&received.body).unwrap();
            assert_eq!(body["variables"]["id"], 7);
            body["variables"]["nrql"].as_str().unwrap().to_owned()
        } else {
            assert_eq!(received.path, "/v1/accounts/7/query");
            assert_eq!(received.headers["x-query-key"], "secret");
            received.parameters["nrql"].clone()
        };
        let graph = |results: Value| {
            ok(&json!({"data": {"actor": {"account": {"nrql": {"results": results}}}}}))
        };
        if nrql.contains("uniques") {
            return match nerd_graph {
                true => graph(json!([{"uniques.metricName": ["requests"]}])),
                false => ok(&json!({"results": [{"members": ["requests"]}]})),
            };
        }
        let (since, until) = (number_after(&nrql, "SINCE"), number_after(&nrql, "UNTIL"));
        let step = number_after(&nrql, "TIMESERIES");
        let known = known(arm_in(&nrql), start_s);
        let parts = (since..until).step_by(usize::try_from(step).unwrap()).map(|begin| {
            let value = known.iter().find(|(at, _)| *at == begin).map(|(_, value)| *value);
            let end = (begin + step).min(until);
            match nerd_graph {
                true => json!({"average.n": value, "beginTimeSeconds": begin, "endTimeSeconds": end}),
                false => json!({"results": [{"average": value.unwrap_or(0.0)}],
                                "beginTimeSeconds": begin, "endTimeSeconds": end,
                                "inspectedCount": i32::from(value.is_some())}),
            }
        });
        let parts: Vec<_> = parts.collect();
        match nerd_graph {
            true => graph(json!(parts)),
            false => ok(&json!({"timeSeries": parts, "total": {}, "metadata": {}})),
        }
    };
    let stub = Stub::new(answer).await;
    let secret = Secret::new("secret");
    let account = Account {
        nerd_graph,
        ..with_secrets(Kind::NewRelic, &stub.url(), &secret)
    };
    Subject {
        source: store(&account),
        query: json!({"type": "newrelic", "select": "average(n) FROM Requests"}),
        scope: |arm| match arm {
            "baseline" => ("baseline", ""),
            "canary" => ("canary", ""),
            _ => ("nobody", ""),
        },
        extended: &[("_scope_key", "arm")],
        tags: &[],
        no_series: NoSeries::Nan,
        text: "SELECT average(n) FROM Requests TIMESERIES 60 seconds SINCE",
        lists: "requests",
        start_s,
        _server: Box::new(secret),
    }
}

pub(crate) fn local() -> Subject {
    let start_s = start_s();
    let until_s = start_s + (COUNT + 5) * STEP_S - 1;
    let series = ["baseline", "canary"].map(|arm| {
        let known = points(arm, start_s);
        let second = |at_s: i64| {
            let step_s = start_s + (at_s - start_s).div_euclid(STEP_S) * STEP_S;
            let value = known
                .iter()
                .find(|(at, _)| *at == step_s)
                .map(|(_, value)| *value);
            let is_gap = GAP.contains(&((step_s - start_s) / STEP_S));
            let requests = u32::from(value.is_some() && !is_gap);
            json!({"ok": requests, "p50Us": value.unwrap_or(0.0) * 1_000.0})
        };
        let seconds: Vec<_> = (start_s - 300..=until_s).map(second).collect();
        json!({"loadBalancer": "lb", "group": arm, "seconds": seconds})
    });
    let history: Arc<dyn History> = Arc::new(Remembered {
        answer: Some(Ok(
            json!({"live": null, "history": {"untilS": until_s, "series": series}}),
        )),
        now_ms: until_s * 1_000,
    });
    Subject {
        source: source(&Account::local(), &history).unwrap(),
        query: json!({"type": "local", "metricName": "latency_p50"}),
        scope: |arm| match arm {
            "baseline" => ("baseline", ""),
            "canary" => ("canary", ""),
            _ => ("nobody", ""),
        },
        extended: &[],
        tags: &[],
        no_series: NoSeries::Placeholder,
        text: "latency_p50 of ",
        lists: "latency_p99",
        start_s,
        _server: Box::new(()),
    }
}

/// What a store makes of an answer that its vendor documents: values and tags of each set.
async fn read(
    kind: Kind,
    nerd_graph: bool,
    name: &str,
    query: Value,
    (start_s, count): (i64, i64),
) -> Vec<(Vec<Option<f64>>, Vec<(String, String)>)> {
    let body = fixture(name);
    let stub = Stub::new(move |_| Answer::With(200, body.clone())).await;
    let secret = Secret::new("secret");
    let account = Account {
        nerd_graph,
        ..with_secrets(kind, &stub.url(), &secret)
    };
    let subject = Subject {
        source: store(&account),
        query,
        start_s,
        _server: Box::new(()),
        ..local()
    };
    let mut question = subject.question("canary");
    question.scope.end_ms = (start_s + count * STEP_S) * 1_000;
    let sets = subject.source.fetch(&question).await.unwrap();
    let values = |values: Vec<f64>| {
        values
            .into_iter()
            .map(|v| Some(v).filter(|v| !v.is_nan()))
            .collect()
    };
    sets.into_iter()
        .map(|set| (values(set.values), set.tags.into_iter().collect()))
        .collect()
}

#[tokio::test]
async fn documented_answers_are_read() {
    let metric = json!({"metricName": "avg:system.cpu.user"});
    let sets = read(
        Kind::Datadog,
        false,
        "datadog.json",
        metric,
        (1_710_000_000, 4),
    )
    .await;
    assert_eq!(sets.len(), 2);
    assert_eq!(sets[0].0, [Some(12.3), Some(11.8), None, Some(12.1)]);
    assert_eq!(sets[0].1, [("host".to_owned(), "ip-10-0-0-12".to_owned())]);

    let metric = json!({"namespace": "AWS/EC2", "metricName": "CPUUtilization"});
    let sets = read(
        Kind::CloudWatch,
        false,
        "cloudwatch.json",
        metric,
        (1_637_074_200, 4),
    )
    .await;
    assert_eq!(
        sets,
        [(vec![Some(67.0), None, Some(50.0), Some(51.5)], vec![])]
    );

    let select = json!({"select": "average(duration) FROM Transaction"});
    let window = (1_487_700_000, 3);
    let sets = read(
        Kind::NewRelic,
        false,
        "new-relic-insights.json",
        select.clone(),
        window,
    )
    .await;
    assert_eq!(sets, [(vec![Some(0.25), None, Some(0.5)], vec![])]);
    let sets = read(
        Kind::NewRelic,
        true,
        "new-relic-nerdgraph.json",
        select,
        window,
    )
    .await;
    assert_eq!(sets.len(), 2);
    assert_eq!(sets[0].0, [Some(10.0), Some(12.0), None]);
    assert_eq!(sets[0].1, [("facet".to_owned(), "a".to_owned())]);
}
