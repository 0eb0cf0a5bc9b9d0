//! How the stages of an execution hang together: order, ancestors, what they put out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::value::{Heir, Val};

/// The stages of an execution, in its order.
pub(crate) fn stages(execution: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let stages = execution.get("stages").and_then(Value::as_array);
    stages.into_iter().flatten().filter_map(Value::as_object)
}

pub(super) fn outputs(stage: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    stage
        .get("outputs")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// A text field of a stage.
pub(crate) fn field<'a>(stage: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    stage.get(name).and_then(Value::as_str)
}

fn requisites(stage: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let list = stage.get("requisiteStageRefIds").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Top-level stages, each after those it requires; what is left of a cycle last.
pub(super) fn in_order(execution: &Map<String, Value>) -> Vec<&Map<String, Value>> {
    let mut left: Vec<_> = stages(execution)
        .filter(|stage| field(stage, "parentStageId").is_none())
        .collect();
    let mut ordered = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    loop {
        let (ready, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|stage| requisites(stage).all(|id| done.contains(id)));
        if ready.is_empty() {
            ordered.extend(rest);
            return ordered;
        }
        done.extend(ready.iter().filter_map(|stage| field(stage, "refId")));
        ordered.extend(ready);
        left = rest;
    }
}

/// The first of a stage's ancestors, itself included, whose outputs have this key.
pub(crate) fn inherited<'a>(heir: Heir<'a>, key: &str) -> Option<Val<'a>> {
    ancestors(heir)
        .into_iter()
        .find_map(|stage| stage.get("outputs")?.as_object()?.get(key))
        .map(Val::from_json)
}

/// A stage, those it waits for with their synthetic stages, and so on; where it waits
/// for none, its parent. Nearest first.
pub(super) fn ancestors(heir: Heir<'_>) -> Vec<&Map<String, Value>> {
    let mut found = vec![heir.stage];
    let mut seen: BTreeSet<&str> = field(heir.stage, "id").into_iter().collect();
    let mut next = 0;
    while let Some(stage) = found.get(next).copied() {
        next += 1;
        let parent = field(stage, "parentStageId");
        let required: Vec<&str> = requisites(stage).collect();
        let before = |other: &Map<String, Value>| {
            field(other, "refId").is_some_and(|id| required.contains(&id))
        };
        let mut near: Vec<_> = stages(heir.execution).filter(|s| before(s)).collect();
        let ids: Vec<&str> = near.iter().filter_map(|s| field(s, "id")).collect();
        near.extend(
            stages(heir.execution)
                .filter(|s| field(s, "parentStageId").is_some_and(|id| ids.contains(&id))),
        );
        if required.is_empty()
            && let Some(parent) = parent
        {
            if field(stage, "syntheticStageOwner") == Some("STAGE_AFTER") {
                near.extend(stages(heir.execution).filter(|s| {
                    field(s, "parentStageId") == Some(parent)
                        && field(s, "syntheticStageOwner") == Some("STAGE_BEFORE")
                }));
            }
            near.extend(stages(heir.execution).filter(|s| field(s, "id") == Some(parent)));
        }
        for stage in near {
            // One without an id cannot be told from itself, so it is left out.
            if field(stage, "id").is_some_and(|id| seen.insert(id)) {
                found.push(stage);
            }
        }
    }
    found
}

/// A stage and the stages it was made by, the nearest first.
pub(super) fn lineage(heir: Heir<'_>) -> Vec<&Map<String, Value>> {
    let mut found = vec![heir.stage];
    while let Some(parent) = found.last().and_then(|stage| field(stage, "parentStageId")) {
        let Some(next) = stages(heir.execution).find(|s| field(s, "id") == Some(parent)) else {
            break;
        };
        // A stage that is its own ancestor would be walked for ever.
        if found.iter().any(|known| std::ptr::eq(*known, next)) {
            break;
        }
        found.push(next);
    }
    found
}

/// The stages that wait for a stage; with `all`, also those that wait for them.
pub(super) fn downstream(heir: Heir<'_>, all: bool) -> Vec<&Map<String, Value>> {
    let mut found: Vec<&Map<String, Value>> = Vec::new();
    let mut next = 0;
    let mut stage = heir.stage;
    loop {
        let id = field(stage, "refId");
        for after in stages(heir.execution) {
            let waits = requisites(after).any(|required| Some(required) == id);
            if waits && !found.iter().any(|known| std::ptr::eq(*known, after)) {
                found.push(after);
            }
        }
        match found.get(next) {
            Some(following) if all => stage = following,
            Some(_) | None => return found,
        }
        next += 1;
    }
}
