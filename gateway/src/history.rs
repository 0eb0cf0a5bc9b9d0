//! What a list of an application's executions shows, and in which order.
//! Source: `orca: TaskController.getPipelinesForApplication`.

use std::collections::BTreeMap;

use serde_json::Value;

/// Older ones are shown only where there is hardly anything newer, in ms.
const SHOWN_MS: i64 = 14 * 24 * 60 * 60 * 1_000;
/// So many older ones of each pipeline are shown all the same.
const OLDER: usize = 2;

fn text<'a>(execution: &'a Value, key: &str) -> &'a str {
    execution
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn time(execution: &Value, key: &str) -> i64 {
    execution.get(key).and_then(Value::as_i64).unwrap_or(0)
}

/// Leaves out what is too old, of executions given newest first, and puts the rest into
/// order of their start; those that have not started come first.
pub(crate) fn shown(found: Vec<Value>, now_ms: u64) -> Vec<Value> {
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let mut older: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Value> = Vec::new();
    for execution in found {
        let pipeline = match text(&execution, "pipelineConfigId") {
            "" => text(&execution, "name").to_owned(),
            id => id.to_owned(),
        };
        let at = time(&execution, "startTime").max(time(&execution, "buildTime"));
        if at > 0 && at + SHOWN_MS < now_ms {
            let count = older.entry(pipeline).or_default();
            *count += 1;
            if *count > OLDER {
                continue;
            }
        }
        kept.push(execution);
    }
    kept.sort_by(|a, b| {
        let started = time(a, "startTime").cmp(&time(b, "startTime"));
        started.then_with(|| text(b, "id").cmp(text(a, "id")))
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_the_old_ones_two_of_each_pipeline_are_shown_and_all_in_order_of_their_start() {
        let one = |id: &str, pipeline: &str, start: i64| json!({"id": id, "pipelineConfigId": pipeline, "startTime": start});
        let now = u64::try_from(SHOWN_MS).unwrap() + 100;
        let found = vec![
            one("g", "p", 200),
            one("f", "p", 200),
            json!({"id": "e", "pipelineConfigId": "p"}),
            one("d", "p", 90),
            one("c", "q", 80),
            one("b", "p", 70),
            one("a", "p", 60),
        ];
        let shown = shown(found, now);
        let ids: Vec<&str> = shown.iter().map(|e| text(e, "id")).collect();
        assert_eq!(ids, ["e", "b", "c", "d", "g", "f"]);
    }
}
