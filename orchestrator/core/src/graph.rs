//! The graph of a pipeline's stages: built from JSON, checked with paths to the
//! faulty fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// One fault of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: `stages[2].requisiteStageRefIds[0]`.
    pub path: String,
    /// What is wrong with which value, and the remedy.
    pub message: String,
}

impl Fault {
    /// A fault at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// A refId or requisite as text; numbers count as their text.
pub fn ref_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Gives stages without any refId the ids `0`, `1`, … in a chain, as Orca does.
pub fn number_stages(stages: &mut [Map<String, Value>]) {
    if stages
        .iter()
        .any(|s| s.get("refId").is_some_and(|r| !r.is_null()))
    {
        return;
    }
    for (position, stage) in stages.iter_mut().enumerate() {
        stage.insert("refId".to_owned(), position.to_string().into());
        let before: Vec<String> = position
            .checked_sub(1)
            .iter()
            .map(ToString::to_string)
            .collect();
        stage.insert("requisiteStageRefIds".to_owned(), before.into());
    }
}

/// What is wrong with the graph: refIds that are missing or double, requisites
/// that name no stage, cycles.
pub fn check(stages: &[Map<String, Value>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (position, stage) in stages.iter().enumerate() {
        let path = format!("stages[{position}].refId");
        match ref_of(stage) {
            None => faults.push(Fault::new(path, MISSING)),
            Some(text) => {
                let known = places.entry(text.clone()).or_default();
                if let Some(first) = known.first() {
                    let message =
                        format!("\"{text}\" is stages[{first}]'s already; give each its own");
                    faults.push(Fault::new(path, message));
                }
                known.push(position);
            }
        }
    }
    faults.extend(unfulfillable(stages, &places));
    faults
}

/// What of it keeps an execution from reaching its end. Stages that share a refId do
/// not: as in Orca, what waits for it waits for all of them.
pub(crate) fn check_runnable(stages: &[Map<String, Value>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (position, stage) in stages.iter().enumerate() {
        match ref_of(stage) {
            None => faults.push(Fault::new(format!("stages[{position}].refId"), MISSING)),
            Some(text) => places.entry(text).or_default().push(position),
        }
    }
    faults.extend(unfulfillable(stages, &places));
    faults
}

const MISSING: &str = "is missing; give every stage a refId of its own";

fn ref_of(stage: &Map<String, Value>) -> Option<String> {
    let text = stage.get("refId").and_then(ref_text)?;
    (!text.is_empty()).then_some(text)
}

/// Requisites that no stage can ever fulfil.
fn unfulfillable(
    stages: &[Map<String, Value>],
    places: &BTreeMap<String, Vec<usize>>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut requisites: Vec<Vec<usize>> = Vec::new();
    for (position, stage) in stages.iter().enumerate() {
        let mut found = Vec::new();
        match stage.get("requisiteStageRefIds") {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                for (number, value) in list.iter().enumerate() {
                    let path = format!("stages[{position}].requisiteStageRefIds[{number}]");
                    match ref_text(value).map(|text| (places.get(&text), text)) {
                        Some((Some(at), _)) => found.extend(at),
                        Some((None, text)) => faults.push(Fault::new(
                            path,
                            format!("\"{text}\" is no stage's refId; name one of this pipeline's"),
                        )),
                        None => faults.push(Fault::new(path, "is not a refId; write text")),
                    }
                }
            }
            Some(_) => faults.push(Fault::new(
                format!("stages[{position}].requisiteStageRefIds"),
                "is not a list; write [\"1\"]",
            )),
        }
        requisites.push(found);
    }
    if let Some(cycle) = find_cycle(&requisites) {
        let name = |at: &usize| stages.get(*at).and_then(ref_of).unwrap_or_default();
        let names: Vec<String> = cycle.iter().map(name).collect();
        let at = cycle.first().copied().unwrap_or(0);
        faults.push(Fault::new(
            format!("stages[{at}].requisiteStageRefIds"),
            format!(
                "stages wait for each other: {}; break the circle",
                names.join(" → ")
            ),
        ));
    }
    faults
}

/// A circle of positions, each waiting for the next, if there is one.
fn find_cycle(requisites: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut open: BTreeSet<usize> = (0..requisites.len()).collect();
    // Take away whatever waits for nothing that is still there; what stays is in or behind a circle.
    loop {
        let free: Vec<usize> = open
            .iter()
            .copied()
            .filter(|at| {
                requisites
                    .get(*at)
                    .is_some_and(|r| r.iter().all(|n| !open.contains(n)))
            })
            .collect();
        if free.is_empty() {
            break;
        }
        for at in free {
            open.remove(&at);
        }
    }
    let mut path = vec![*open.first()?];
    loop {
        let at = *path.last()?;
        let next = *requisites.get(at)?.iter().find(|n| open.contains(n))?;
        if let Some(start) = path.iter().position(|p| *p == next) {
            let mut cycle = path.split_off(start);
            cycle.push(next);
            return Some(cycle);
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stages(value: Value) -> Vec<Map<String, Value>> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn faults_name_the_field_and_the_value() {
        let faults = check(&stages(json!([
            {"refId": "1", "requisiteStageRefIds": ["3"]},
            {"refId": 2, "requisiteStageRefIds": [1, "x"]},
            {"refId": "3", "requisiteStageRefIds": ["2"]},
            {"refId": "3"},
            {}
        ])));
        let texts: Vec<String> = faults
            .iter()
            .map(|f| format!("{}: {}", f.path, f.message))
            .collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts[0].starts_with("stages[3].refId: \"3\" is stages[2]'s already"));
        assert!(texts[1].starts_with("stages[4].refId: is missing"));
        assert!(texts[2].starts_with("stages[1].requisiteStageRefIds[1]: \"x\" is no stage's"));
        assert!(texts[3].contains("1 → 3 → 2 → 1"), "{}", texts[3]);
    }

    #[test]
    fn stages_that_share_a_refid_can_run_unless_they_wait_for_themselves() {
        let shared = stages(json!([
            {"refId": "1"}, {"refId": "1"}, {"refId": "2", "requisiteStageRefIds": ["1"]}
        ]));
        assert_eq!(check(&shared).len(), 1);
        assert!(check_runnable(&shared).is_empty());
        let circle = stages(json!([
            {"refId": "1"}, {"refId": "1", "requisiteStageRefIds": ["2"]},
            {"refId": "2", "requisiteStageRefIds": ["1"]}
        ]));
        let faults = check_runnable(&circle);
        assert!(faults[0].message.contains("1 → 2 → 1"), "{faults:?}");
    }

    #[test]
    fn stages_without_refids_form_a_chain() {
        let mut list = stages(json!([{"type": "a"}, {"type": "b"}]));
        number_stages(&mut list);
        assert_eq!(list[1]["requisiteStageRefIds"], json!(["0"]));
        assert!(check(&list).is_empty());
    }
}
