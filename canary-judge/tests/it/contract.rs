//! What every metric store holds to, whichever it is: the range, the step, gaps, scopes, tags, what is shown before
//! anything is sent, names.

use canary_judge::source::Class;
use judge::MetricSet;
use serde_json::json;

use crate::subject::{COUNT, GAP, NoSeries, STEP_S, Subject, points};
use crate::{servers, vendors};

/// Values as bits, so that NaN equals NaN.
fn bits(values: &[f64]) -> Vec<u64> {
    let canonical = |v: &f64| if v.is_nan() { f64::NAN } else { *v };
    values.iter().map(|v| canonical(v).to_bits()).collect()
}

fn one(sets: Vec<MetricSet>) -> MetricSet {
    let [set] = <[MetricSet; 1]>::try_from(sets).unwrap();
    set
}

async fn holds(subject: &Subject) {
    the_range_the_step_and_gaps(subject).await;
    other_windows(subject).await;
    nothing_known(subject).await;
    names(subject).await;
}

/// The start is inside, the end is outside, gaps are NaN at their place, and each arm has its own values.
async fn the_range_the_step_and_gaps(subject: &Subject) {
    for arm in ["baseline", "canary"] {
        let question = subject.question(arm);
        let set = one(subject.source.fetch(&question).await.unwrap());
        let known = points(arm, subject.start_s);
        let value = |k: i64| {
            let found = known
                .iter()
                .find(|(at_s, _)| *at_s == subject.start_s + k * STEP_S);
            found.map_or(f64::NAN, |(_, value)| *value)
        };
        let expected: Vec<f64> = (0..COUNT).map(value).collect();
        assert_eq!(
            bits(&set.values),
            bits(&expected),
            "{arm}: {:?}",
            set.values
        );
        assert_eq!(expected.iter().filter(|v| v.is_nan()).count(), GAP.count());
        let times: Vec<i64> = (0..COUNT)
            .map(|k| (subject.start_s + k * STEP_S) * 1_000)
            .collect();
        assert_eq!(set.timestamps, times);
        assert_eq!(
            (set.start_ms, set.end_ms),
            (question.scope.start_ms, question.scope.end_ms)
        );
        assert_eq!(
            (set.step_ms, set.name.as_str()),
            (STEP_S * 1_000, "requests")
        );
        assert_eq!(set.expected_values(), set.values.len());
        assert_eq!(set.tags, subject.expected_tags());
        // What is shown before it is asked is what is asked.
        let text = subject.source.text(&question).unwrap();
        assert_eq!(set.attributes["query"], text.as_str());
        assert!(text.contains(subject.text), "{text}");
    }
}

/// A window of one step, and one that ends within a step.
async fn other_windows(subject: &Subject) {
    let mut question = subject.question("canary");
    question.scope.end_ms = question.scope.start_ms + STEP_S * 1_000;
    let set = one(subject.source.fetch(&question).await.unwrap());
    assert_eq!(bits(&set.values), bits(&[200.0]));
    question.scope.end_ms += 1_000;
    let set = one(subject.source.fetch(&question).await.unwrap());
    assert_eq!(set.values.len(), 2);
    assert_eq!(bits(&set.values[..1]), bits(&[200.0]));
    question.scope.end_ms = question.scope.start_ms;
    let error = subject.source.fetch(&question).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(
        error.to_string().contains("give an end after the start"),
        "{error}"
    );
}

/// A window that begins within a second has its values at their own places, for each store that knows whole seconds, and
/// the next one goes on where it ends.
async fn windows_within_a_second(subject: &Subject) {
    let mut question = subject.question("canary");
    question.scope.start_ms += 456;
    for (from, until, expected) in [
        (0, 5, &[200.0, 201.0, 202.0, 203.0, 204.0][..]),
        (0, 1, &[200.0]),
        (1, 2, &[201.0]),
        (5, 7, &[205.0, 206.0]),
    ] {
        let at_ms = |k: i64| (subject.start_s + k * STEP_S) * 1_000 + 456;
        (question.scope.start_ms, question.scope.end_ms) = (at_ms(from), at_ms(until));
        let set = one(subject.source.fetch(&question).await.unwrap());
        assert_eq!(bits(&set.values), bits(expected), "{:?}", set.values);
        assert_eq!(set.timestamps.len(), expected.len());
        assert_eq!(set.timestamps[0], set.start_ms);
        assert_eq!(set.start_ms.div_euclid(1_000), at_ms(from) / 1_000);
        assert_eq!(set.expected_values(), expected.len());
    }
}

/// Neither a scope nor a time that nobody knows is an error of the store.
async fn nothing_known(subject: &Subject) {
    let question = subject.question("nobody");
    let sets = subject.source.fetch(&question).await.unwrap();
    match subject.no_series {
        NoSeries::Placeholder => {
            let set = one(sets);
            assert!(set.values.is_empty(), "{:?}", set.values);
            let count = usize::try_from(COUNT).unwrap();
            assert_eq!(
                (set.name.as_str(), set.expected_values()),
                ("requests", count)
            );
        }
        NoSeries::Nan => {
            let set = one(sets);
            assert!(set.values.iter().all(|v| v.is_nan()), "{:?}", set.values);
        }
    }
}

async fn names(subject: &Subject) {
    let all = subject.source.metrics("").await.unwrap();
    assert!(
        all.iter().any(|name| name.contains(subject.lists)),
        "{all:?}"
    );
    let none = subject.source.metrics("nobody-has-this").await.unwrap();
    assert_eq!(none, Vec::<String>::new());
}

#[tokio::test]
async fn prometheus_holds_the_contract() {
    if let Some(subject) = servers::prometheus().await {
        holds(&subject).await;
        windows_within_a_second(&subject).await;
        // In its own words.
        let mut question = subject.question("canary");
        question
            .query
            .insert("customInlineTemplate".into(), "PromQL: sum(".into());
        let error = subject.source.fetch(&question).await.unwrap_err();
        assert_eq!(error.class, Class::Invalid);
        assert!(error.to_string().contains("it answers 400: "), "{error}");
        assert!(error.to_string().contains("parse error"), "{error}");
        assert!(error.to_string().contains("asked was: sum("), "{error}");
        // Tags are labels without the name; what has no range is refused.
        question
            .query
            .insert("customInlineTemplate".into(), "PromQL: requests".into());
        let sets = subject.source.fetch(&question).await.unwrap();
        let instances: Vec<_> = sets
            .iter()
            .map(|set| set.tags["instance"].clone())
            .collect();
        assert_eq!(instances, ["baseline", "canary"]);
        assert!(sets.iter().all(|set| !set.tags.contains_key("__name__")));
    }
}

#[tokio::test]
async fn graphite_holds_the_contract() {
    if let Some(subject) = servers::graphite().await {
        holds(&subject).await;
        windows_within_a_second(&subject).await;
        let mut question = subject.question("canary");
        question.query.insert(
            "metricName".into(),
            "nofunction(app.$scope.requests)".into(),
        );
        let error = subject.source.fetch(&question).await.unwrap_err();
        assert_eq!(error.class, Class::Invalid);
        assert!(
            error.to_string().contains("unknown function: nofunction"),
            "{error}"
        );
        question
            .query
            .insert("metricName".into(), "app.*.requests".into());
        let error = subject.source.fetch(&question).await.unwrap_err();
        assert!(error.to_string().contains("it answers 2 series"), "{error}");
        // Its step is that of its archive: several of its values make one of ours, but not the other way round.
        question
            .query
            .insert("metricName".into(), "app.$scope.requests".into());
        question.scope.step_s = 120;
        let set = one(subject.source.fetch(&question).await.unwrap());
        assert_eq!(bits(&set.values[..2]), bits(&[200.5, 202.5]));
        question.scope.step_s = 10;
        let error = subject.source.fetch(&question).await.unwrap_err();
        let text = "it answers a value every 60 s, asked was one every 10 s";
        assert!(error.to_string().contains(text), "{error}");
        assert!(
            error.to_string().contains("summarize(…, '10s', 'avg')"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn influxdb_holds_the_contract() {
    if let Some(subject) = servers::influxdb().await {
        holds(&subject).await;
        windows_within_a_second(&subject).await;
        let mut question = subject.question("canary");
        question.query.insert("database".into(), "nowhere".into());
        let error = subject.source.fetch(&question).await.unwrap_err();
        assert!(
            error.to_string().contains("database not found: nowhere"),
            "{error}"
        );
        question.query.shift_remove("database");
        // Means of two values each, by its own grouping.
        let template = "SELECT mean(value) FROM requests WHERE ${timeFilter} AND ${scope} \
                        GROUP BY time(${step}) fill(none)";
        question
            .query
            .insert("customInlineTemplate".into(), template.into());
        question.scope.step_s = 120;
        let set = one(subject.source.fetch(&question).await.unwrap());
        assert_eq!(set.tags["field"], "mean");
        assert_eq!(bits(&set.values[..2]), bits(&[200.5, 202.5]));
        // A measurement may be qualified and a field have its type, as where they are sent as they are.
        question.query.shift_remove("customInlineTemplate");
        question
            .query
            .insert("fields".into(), json!(["value::field"]));
        question.scope.step_s = 60;
        for name in ["autogen.requests", "\"metrics\"..\"requests\""] {
            question.query.insert("metricName".into(), name.into());
            let set = one(subject.source.fetch(&question).await.unwrap());
            assert_eq!(set.tags["field"], "value");
            assert_eq!(bits(&set.values[..2]), bits(&[200.0, 201.0]), "{name}");
        }
        // What a scope says stays a text.
        question.scope.scope = "arm:x' OR arm = 'canary".into();
        let set = one(subject.source.fetch(&question).await.unwrap());
        assert!(set.values.is_empty(), "{:?}", set.values);
        // Groups begin at whole seconds, whatever the window does.
        let grouped = Subject {
            query: json!({"customInlineTemplate": template}),
            ..subject
        };
        windows_within_a_second(&grouped).await;
    }
}

#[tokio::test]
async fn datadog_holds_the_contract() {
    let subject = vendors::datadog().await;
    holds(&subject).await;
    windows_within_a_second(&subject).await;
}

#[tokio::test]
async fn cloudwatch_holds_the_contract() {
    let subject = vendors::cloudwatch().await;
    holds(&subject).await;
    windows_within_a_second(&subject).await;
}

#[tokio::test]
async fn new_relic_holds_the_contract() {
    let subject = vendors::new_relic(false).await;
    holds(&subject).await;
    windows_within_a_second(&subject).await;
}

#[tokio::test]
async fn new_relics_nerdgraph_holds_the_contract() {
    let subject = vendors::new_relic(true).await;
    holds(&subject).await;
    windows_within_a_second(&subject).await;
}

#[tokio::test]
async fn the_balancers_history_holds_the_contract() {
    let subject = vendors::local();
    holds(&subject).await;
    windows_within_a_second(&subject).await;
}
