//! Since when each trigger of a pipeline can fire: what happened before is history to it.
//!
//! Kept in the stored trigger as [`SINCE`], for the trigger service alone: whoever reads a pipeline does not see
//! it, and what a save says of it counts nothing.

use serde_json::{Map, Value};

use super::pipeline::is_true;
use super::text;

/// When a trigger was saved first, or enabled the last time; milliseconds since the epoch.
pub(super) const SINCE: &str = "since";

fn live(pipeline: &Map<String, Value>, trigger: &Map<String, Value>) -> bool {
    !is_true(pipeline.get("disabled")) && is_true(trigger.get("enabled"))
}

/// Stamps the triggers of a pipeline that is saved: those that could fire before keep their time.
pub(super) fn keep(
    body: &mut Map<String, Value>,
    stored: Option<&Map<String, Value>>,
    now_ms: i64,
) {
    let known = stored.and_then(|stored| stored.get("triggers")?.as_array());
    let before = |id: Option<&str>| {
        let mut known = known.into_iter().flatten().filter_map(Value::as_object);
        let found = known.find(|trigger| id.is_some() && text(trigger, "id") == id)?;
        let stood = stored.is_some_and(|stored| live(stored, found));
        // One that stood before times were kept has none.
        stood.then(|| found.get(SINCE).cloned().unwrap_or_else(|| 0.into()))
    };
    let disabled = is_true(body.get("disabled"));
    let triggers = body.get_mut("triggers").and_then(Value::as_array_mut);
    for trigger in triggers
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        trigger.shift_remove(SINCE);
        if !disabled && is_true(trigger.get("enabled")) {
            let since = before(text(trigger, "id")).unwrap_or_else(|| now_ms.into());
            trigger.insert(SINCE.into(), since);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn saved(body: Value, stored: Option<&Map<String, Value>>, now_ms: i64) -> Map<String, Value> {
        let mut body = body.as_object().cloned().unwrap();
        keep(&mut body, stored, now_ms);
        body
    }

    fn sinces(body: &Map<String, Value>) -> Vec<Value> {
        let all = body["triggers"].as_array().unwrap();
        all.iter()
            .map(|t| t.get(SINCE).cloned().unwrap_or_default())
            .collect()
    }

    #[test]
    fn a_trigger_keeps_its_time_while_it_can_fire() {
        let both = |a: bool, b: bool| json!({"triggers": [{"id": "a", "enabled": a, "since": 1}, {"id": "b", "enabled": b.to_string()}]});
        let first = saved(both(true, false), None, 10);
        assert_eq!(sinces(&first), [json!(10), Value::Null]);
        let second = saved(both(true, true), Some(&first), 20);
        assert_eq!(sinces(&second), [json!(10), json!(20)]);
        let mut paused = both(true, true);
        paused["disabled"] = true.into();
        let third = saved(paused, Some(&second), 30);
        assert_eq!(sinces(&third), [Value::Null, Value::Null]);
        assert_eq!(sinces(&saved(both(true, true), Some(&third), 40)), [40, 40]);
    }
}
