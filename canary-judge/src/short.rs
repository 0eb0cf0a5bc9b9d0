//! The short form of an ad-hoc request: a query and the two scopes, and all else by default. It is written out as
//! Kayenta's documents before anything is done with it, so that what was tried can be saved.

use judge::iso;
use proto::status::Failure;
use serde_json::{Map, Value, json};

use crate::request::parse_instant;

/// The last hour is judged, if no times are given.
const HOUR_MS: i64 = 3_600_000;
/// Of the balancer's history, which goes back an hour and no further, these 50 minutes are.
const LOCAL_MS: i64 = 3_000_000;
/// The group of the one metric.
const GROUP: &str = "all";

/// An ad-hoc request with `query` in place of `canaryConfig`, written out:
/// `{query, control, experiment, start?, end?, step?, account?, type?, location?, direction?}`. Others stay as they are.
///
/// # Errors
/// `Invalid` with the field.
pub(crate) fn written_out(body: Value, now_ms: i64) -> Result<Value, Failure> {
    let Some(short) = body
        .as_object()
        .filter(|body| body.get("query").is_some_and(Value::is_string))
    else {
        return Ok(body);
    };
    let known = [
        "query",
        "control",
        "experiment",
        "start",
        "end",
        "step",
        "type",
        "location",
        "direction",
        "application",
        "metricsAccountName",
    ];
    if let Some(other) = short.keys().find(|key| !known.contains(&key.as_str())) {
        let message = format!("it is unknown beside query: use {}", known.join(", "));
        return Err(Failure::field(other, message));
    }
    let text = |key: &str| short.get(key).and_then(Value::as_str).unwrap_or_default();
    for key in ["query", "control", "experiment"] {
        if text(key).is_empty() {
            let message = "it is missing: a short request names query, control and experiment";
            return Err(Failure::field(key, message));
        }
    }
    let instant = |key: &str, otherwise: i64| match short.get(key) {
        None | Some(Value::Null) => Ok(otherwise),
        Some(value) => value.as_str().and_then(parse_instant).ok_or_else(|| {
            Failure::field(
                key,
                format!("{value} is no instant: write 2026-01-01T00:00:00Z"),
            )
        }),
    };
    let step = short.get("step").cloned().unwrap_or_else(|| json!(60));
    // Whole minutes, so that a repeat within one asks the same.
    let end = instant("end", now_ms - now_ms.rem_euclid(60_000))?;
    let last = match text("type") {
        "local" => LOCAL_MS,
        _ => HOUR_MS,
    };
    let start = instant("start", end - last)?;
    let scope = |side: &str| {
        json!({"scope": text(side), "location": text("location"), "start": iso(start), "end": iso(end),
               "step": step, "extendedScopeParams": {}})
    };
    let or = |key: &str, otherwise: &str| match text(key) {
        "" => otherwise.to_owned(),
        text => text.to_owned(),
    };
    let kind = or("type", "prometheus");
    let config = json!({
        "name": "short",
        "applications": [or("application", "ad-hoc")],
        "judge": {"name": "NetflixACAJudge-v1.0", "judgeConfigurations": {}},
        "metrics": [{
            "name": "metric",
            "scopeName": "default",
            "groups": [GROUP],
            "query": query(&kind, text("query")),
            "analysisConfigurations": {"canary": {"direction": or("direction", "either")}},
        }],
        "templates": {},
        "classifier": {"groupWeights": {GROUP: 100}},
    });
    let mut whole = Map::new();
    whole.insert("canaryConfig".to_owned(), config);
    whole.insert(
        "executionRequest".to_owned(),
        json!({
            "scopes": {"default": {"controlScope": scope("control"), "experimentScope": scope("experiment")}},
            "thresholds": {"pass": 95, "marginal": 75},
        }),
    );
    Ok(Value::Object(whole))
}

/// A query in the words of its store, as Kayenta's documents have it.
fn query(kind: &str, text: &str) -> Value {
    let mut query = json!({"type": kind, "serviceType": kind});
    match kind {
        "prometheus" => query["customInlineTemplate"] = format!("PromQL:{text}").into(),
        "graphite" | "local" => query["metricName"] = text.into(),
        _ => query["customInlineTemplate"] = text.into(),
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_two_scopes_are_enough() {
        let short = json!({"query": "rate(x{instance=\"${scope}\"}[1m])", "control": "a", "experiment": "b"});
        let whole = written_out(short, 7_200_000 + 12_345).unwrap();
        let config = &whole["canaryConfig"];
        let query = &config["metrics"][0]["query"];
        assert_eq!(
            query["customInlineTemplate"],
            "PromQL:rate(x{instance=\"${scope}\"}[1m])"
        );
        let scope = &whole["executionRequest"]["scopes"]["default"]["experimentScope"];
        assert_eq!((&scope["scope"], &scope["step"]), (&json!("b"), &json!(60)));
        assert_eq!(scope["start"], "1970-01-01T01:00:00Z");
        assert_eq!(scope["end"], "1970-01-01T02:00:00Z");
    }

    #[test]
    fn of_the_balancers_history_no_more_is_asked_for_than_it_remembers() {
        let short = json!({"query": "errors", "control": "a", "experiment": "b", "type": "local"});
        let whole = written_out(short, 7_200_000).unwrap();
        let scope = &whole["executionRequest"]["scopes"]["default"]["controlScope"];
        assert_eq!(scope["start"], "1970-01-01T01:10:00Z");
    }

    #[test]
    fn a_whole_request_stays_as_it_is() {
        let whole = json!({"canaryConfig": {"metrics": []}, "executionRequest": {}});
        assert_eq!(written_out(whole.clone(), 0).unwrap(), whole);
    }

    #[test]
    fn a_short_request_names_what_it_lacks_or_has_too_much() {
        let told = |body: Value| written_out(body, 0).unwrap_err().message;
        assert!(told(json!({"query": "x", "control": "a"})).contains("experiment: it is missing"));
        let odd = json!({"query": "x", "control": "a", "experiment": "b", "scope": "c"});
        assert!(told(odd).contains("scope: it is unknown beside query"));
        let odd = json!({"query": "x", "control": "a", "experiment": "b", "start": "now"});
        assert!(told(odd).contains("start: \"now\" is no instant"));
    }
}
