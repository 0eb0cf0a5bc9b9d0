//! What a canary run came to, in words: which metric, by how much. Pure.

use serde_json::Value;

use crate::task::number;

/// Metrics named in one message.
const MOST_FINDINGS: usize = 5;
/// Fewer points of the control than these make a score doubtful.
const FEW_POINTS: f64 = 50.0;
/// As Orca says it.
const FEW_POINTS_TEXT: &str = "One of the metrics returned fewer than 50 data points, which can \
                               reduce confidence in the final canary score.";

/// What a judge decided that looks after every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stage) enum Decision {
    Pass,
    Fail,
    Continue,
    Inconclusive,
}

impl Decision {
    /// As it is written.
    pub(in crate::stage) fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Continue => "CONTINUE",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Pass, Self::Fail, Self::Continue, Self::Inconclusive]
            .into_iter()
            .find(|decision| decision.as_str().eq_ignore_ascii_case(text))
    }
}

fn held(holder: &Value) -> Option<&Value> {
    let result = holder.get("result")?;
    Some(result.get("judgeResult").unwrap_or(result)).filter(|r| r.is_object())
}

/// The judge's result of a run: the whole run's, else that of its last judgement.
pub(in crate::stage) fn judge_result(run: &Value) -> Option<&Value> {
    held(run).or_else(|| {
        let intervals = run.get("intervals")?.as_array()?;
        intervals.iter().rev().find_map(held)
    })
}

/// The decision of a run, if its judge decides.
pub(in crate::stage) fn decision(run: &Value) -> Option<Decision> {
    let own = run.get("decision").and_then(Value::as_str);
    let of_result = || judge_result(run)?.get("decision")?.as_str();
    Decision::parse(own.or_else(of_result)?)
}

/// The score of a run, 0 to 100.
pub(in crate::stage) fn score(run: &Value) -> Option<f64> {
    let score = judge_result(run)?.get("score")?;
    number(score.get("score")?).filter(|score| score.is_finite())
}

/// Why the judge decided so, in its own words; empty if it says nothing.
pub(in crate::stage) fn reason(run: &Value) -> String {
    let Some(result) = judge_result(run) else {
        return String::new();
    };
    let own = ["decisionReason", "decision_reason"]
        .iter()
        .find_map(|key| {
            let text = run.get(*key).or_else(|| result.get(*key))?.as_str();
            text.filter(|text| !text.is_empty())
        });
    let of_score = || result.get("score")?.get("classificationReason")?.as_str();
    own.or_else(of_score).unwrap_or_default().to_owned()
}

/// The metrics that speak against the canary, the worst first: `errors: 0.021 against the baseline's 0.0017,
/// +1,135 %`.
pub(in crate::stage) fn findings(run: &Value) -> Vec<String> {
    let results = judge_result(run).and_then(|result| result.get("results")?.as_array());
    let mut found: Vec<(bool, f64, String)> = results
        .into_iter()
        .flatten()
        .filter(|metric| metric.get("muted") != Some(&Value::Bool(true)))
        .filter_map(finding)
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
    let more = found.len().saturating_sub(MOST_FINDINGS);
    let mut lines: Vec<String> = found
        .into_iter()
        .take(MOST_FINDINGS)
        .map(|(_, _, line)| line)
        .collect();
    if more > 0 {
        lines.push(format!("and {more} metrics more"));
    }
    lines
}

/// Whether a metric that counts was measured and is worse.
pub(in crate::stage) fn is_worse(run: &Value) -> bool {
    let results = judge_result(run).and_then(|result| result.get("results")?.as_array());
    let mut counted = results
        .into_iter()
        .flatten()
        .filter(|metric| metric.get("muted") != Some(&Value::Bool(true)));
    counted.any(|metric| {
        let class = metric.get("classification").and_then(Value::as_str);
        matches!(class, Some("High" | "Low"))
    })
}

fn finding(metric: &Value) -> Option<(bool, f64, String)> {
    let text = |key: &str| metric.get(key).and_then(Value::as_str).unwrap_or_default();
    let class = text("classification");
    let critical = metric.get("critical") == Some(&Value::Bool(true));
    let name = named(metric);
    let judged = |key: &str| number(metric.get("resultMetadata")?.get(key)?);
    // Of a metric that counts, how many says little: either side may have had more requests.
    let level = |side: &str| {
        let mean = || number(metric.pointer(&format!("/{side}Metadata/stats/mean"))?);
        judged(&format!("{side}Rate"))
            .or_else(mean)
            .filter(|level| level.is_finite())
    };
    if !matches!(class, "High" | "Low") {
        // Missing data fail a canary only where the metric must have some.
        let told = match class {
            "NodataFailMetric" => true,
            "Nodata" | "Error" => critical || text("classificationReason").contains("must"),
            _ => false,
        };
        let reason = text("classificationReason");
        let reason = if reason.is_empty() { class } else { reason };
        return told.then(|| (critical, 0.0, format!("{name}: {reason}")));
    }
    let (experiment, control) = (level("experiment"), level("control"));
    let ratio = judged("ratio")
        .or_else(|| Some(experiment? / control.filter(|c| *c != 0.0)?))
        .filter(|ratio| ratio.is_finite());
    let size = ratio.map_or(f64::MAX, |ratio| ratio.max(1e-9).ln().abs());
    let word = if class == "High" { "higher" } else { "lower" };
    let mut line = match (experiment, control) {
        (Some(e), Some(c)) => format!("{name}: {} against the baseline's {}", shown(e), shown(c)),
        _ => format!("{name}: {word} than the baseline's"),
    };
    if let Some(ratio) = ratio {
        line = format!("{line}, {:+.1} %", (ratio - 1.0) * 100.0);
    }
    if critical {
        line = format!("{line}, critical");
    }
    Some((critical, size, line))
}

/// A metric with what sets it apart from others of its name.
fn named(metric: &Value) -> String {
    let name = metric.get("name").and_then(Value::as_str).unwrap_or("?");
    let tags = metric.get("tags").and_then(Value::as_object);
    let tags: Vec<String> = tags
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    if tags.is_empty() {
        name.to_owned()
    } else {
        format!("{name} ({})", tags.join(", "))
    }
}

/// A number with about four digits that count.
pub(in crate::stage) fn shown(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size == 0.0 => "0".to_owned(),
        1e6.. => format!("{value:.3e}"),
        100.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.3}"),
        1e-4.. => format!("{value:.5}"),
        _ => format!("{value:.3e}"),
    };
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Whether a score stands on few points, as Orca warns (not of Datadog's, which come rolled up).
pub(in crate::stage) fn warnings(run: &Value) -> Vec<String> {
    let own = run.get("warnings").and_then(Value::as_array);
    let of_result = judge_result(run).and_then(|r| r.get("warnings")?.as_array());
    let mut all: Vec<String> = Vec::new();
    for text in own
        .into_iter()
        .chain(of_result)
        .flatten()
        .filter_map(Value::as_str)
    {
        if !all.iter().any(|known| known == text) {
            all.push(text.to_owned());
        }
    }
    let results = judge_result(run).and_then(|result| result.get("results")?.as_array());
    let few = results.into_iter().flatten().any(|metric| {
        let count = metric
            .pointer("/controlMetadata/stats/count")
            .and_then(number);
        count.is_some_and(|count| count < FEW_POINTS)
    });
    // A judge that decides says itself how much it needs.
    if few
        && decision(run).is_none()
        && !of_datadog(run)
        && all.iter().all(|t| t != FEW_POINTS_TEXT)
    {
        all.insert(0, FEW_POINTS_TEXT.to_owned());
    }
    all
}

fn of_datadog(run: &Value) -> bool {
    let metrics = run.get("config").and_then(|c| c.get("metrics")?.as_array());
    metrics.into_iter().flatten().any(|metric| {
        let kind = metric.get("query").and_then(|q| q.get("type")?.as_str());
        kind == Some("datadog")
    })
}

/// The scores and decisions of a run's judgements, the last ones.
pub(in crate::stage) fn intervals(run: &Value) -> Vec<Value> {
    const MOST: usize = 50;
    let all = run.get("intervals").and_then(Value::as_array);
    let all = all.map_or(&[][..], Vec::as_slice);
    let last = all
        .get(all.len().saturating_sub(MOST)..)
        .unwrap_or_default();
    let brief = |interval: &Value| {
        let mut kept = interval.clone();
        if let Some(fields) = kept.as_object_mut() {
            fields.retain(|_, value| !value.is_object() && !value.is_array());
            if let Some(score) = score(interval) {
                fields.entry("score").or_insert_with(|| score.into());
            }
            if let Some(decision) = decision(interval) {
                fields
                    .entry("decision")
                    .or_insert_with(|| decision.as_str().into());
            }
        }
        kept
    };
    last.iter().map(brief).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metric(name: &str, class: &str, means: (f64, f64), ratio: Value, more: Value) -> Value {
        let mut all = json!({
            "name": name, "classification": class, "classificationReason": "said so",
            "experimentMetadata": {"stats": {"mean": means.0, "count": 60}},
            "controlMetadata": {"stats": {"mean": means.1, "count": 60}},
            "resultMetadata": {"ratio": ratio},
        });
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    }

    #[test]
    fn the_worst_metrics_are_named_first_and_by_how_much() {
        let run = json!({"result": {"judgeResult": {"results": [
            metric("fine", "Pass", (1.0, 1.0), json!(1.0), json!({})),
            metric("latency", "High", (0.25, 0.2), json!(1.25), json!({"tags": {"pod": "a"}})),
            metric("errors", "High", (0.021, 0.0017), json!(12.35), json!({})),
            metric("quiet", "High", (9.0, 1.0), json!(9.0), json!({"muted": true})),
            metric("saves", "Low", (80.0, 100.0), json!(0.8), json!({"critical": true})),
            metric("gone", "Nodata", (0.0, 0.0), json!("NaN"), json!({"critical": true})),
            metric("idle", "Nodata", (0.0, 0.0), json!("NaN"), json!({})),
            metric("away", "NodataFailMetric", (0.0, 0.0), json!("NaN"),
                json!({"classificationReason": "Missing data for away"})),
        ]}}});
        assert_eq!(
            findings(&run),
            [
                "saves: 80 against the baseline's 100, -20.0 %, critical",
                "gone: said so",
                "errors: 0.021 against the baseline's 0.0017, +1135.0 %",
                "latency (pod=a): 0.25 against the baseline's 0.2, +25.0 %",
                "away: Missing data for away",
            ]
        );
    }

    #[test]
    fn of_a_metric_that_counts_the_rates_are_named() {
        let mut errors = metric("errors", "High", (10.0, 20.0), json!(5.0), json!({}));
        let judged = errors["resultMetadata"].as_object_mut().unwrap();
        judged.insert("experimentRate".to_owned(), json!(0.1));
        judged.insert("controlRate".to_owned(), json!(0.02));
        let run = json!({"result": {"judgeResult": {"results": [errors]}}});
        assert_eq!(
            findings(&run),
            ["errors: 0.1 against the baseline's 0.02, +400.0 %"]
        );
    }

    #[test]
    fn a_decision_is_found_wherever_it_is_told() {
        for (run, expected) in [
            (json!({"decision": "FAIL"}), Some(Decision::Fail)),
            (
                json!({"result": {"judgeResult": {"decision": "PASS"}}}),
                Some(Decision::Pass),
            ),
            (
                json!({"intervals": [{"result": {"judgeResult": {"decision": "CONTINUE"}}}]}),
                Some(Decision::Continue),
            ),
            (json!({"result": {"judgeResult": {}}}), None),
        ] {
            assert_eq!(decision(&run), expected, "{run}");
        }
    }

    #[test]
    fn few_points_are_warned_of_unless_datadog_rolled_them_up() {
        let of = |count: u64, store: &str, more: Value| {
            let mut run = json!({
                "config": {"metrics": [{"query": {"type": store}}]}, "warnings": ["w"],
                "result": {"judgeResult": {"results": [{"controlMetadata": {"stats": {"count": count}}}]}},
            });
            run.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            warnings(&run).len()
        };
        assert_eq!(of(49, "prometheus", json!({})), 2);
        assert_eq!(of(50, "prometheus", json!({})), 1);
        assert_eq!(of(49, "datadog", json!({})), 1);
        assert_eq!(of(49, "local", json!({"decision": "PASS"})), 1);
    }

    #[test]
    fn numbers_are_shown_with_the_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (12.0, "12"),
            (0.00172, "0.00172"),
            (123.456, "123.5"),
            (2_500_000.0, "2.500e6"),
            (-0.5, "-0.5"),
        ] {
            assert_eq!(shown(value), text);
        }
    }
}
