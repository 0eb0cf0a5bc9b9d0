//! The stages of a templated pipeline: the template's, those the configuration puts in their place or adds, and
//! those that are injected. Source: `orca: V2GraphMutator`, `V2DefaultStageInjection`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

type Stage = Map<String, Value>;

fn ref_id(stage: &Stage) -> String {
    let id = stage.get("refId").and_then(Value::as_str);
    id.unwrap_or_default().to_owned()
}

fn names(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

fn requisites(stage: &Stage) -> Vec<String> {
    names(stage.get("requisiteStageRefIds"))
}

fn require(stage: &mut Stage, of: impl IntoIterator<Item = String>) {
    let mut seen = BTreeSet::new();
    let distinct = of.into_iter().filter(|id| seen.insert(id.clone()));
    let distinct: Vec<Value> = distinct.map(Value::from).collect();
    stage.insert("requisiteStageRefIds".to_owned(), distinct.into());
}

/// Where a stage is injected.
enum Rule {
    First,
    Last,
    Before(Vec<String>),
    After(Vec<String>),
}

/// The rule of a stage, if it has one.
fn rule(stage: &Stage) -> Result<Option<Rule>, String> {
    let Some(inject) = stage.get("inject").and_then(Value::as_object) else {
        return Ok(None);
    };
    let is = |key: &str| inject.get(key) == Some(&Value::Bool(true));
    let (before, after) = (names(inject.get("before")), names(inject.get("after")));
    let mut rules = Vec::new();
    rules.extend(is("first").then_some(Rule::First));
    rules.extend(is("last").then_some(Rule::Last));
    rules.extend((!before.is_empty()).then_some(Rule::Before(before)));
    rules.extend((!after.is_empty()).then_some(Rule::After(after)));
    match (rules.pop(), rules.is_empty()) {
        (Some(rule), true) => Ok(Some(rule)),
        _ => Err(format!(
            "inject of stage {} has none or several of first, last, before and after; leave one",
            ref_id(stage)
        )),
    }
}

/// The stages in the order of the template, then those of the configuration.
///
/// # Errors
/// A rule that cannot be followed, or a graph that is none.
pub(super) fn graph(template: Vec<Value>, config: Vec<Value>) -> Result<Vec<Value>, String> {
    let stages = |list: Vec<Value>| {
        let objects = list.into_iter().filter_map(|stage| match stage {
            Value::Object(stage) => Some(stage),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => None,
        });
        objects.collect::<Vec<Stage>>()
    };
    let mut all: Vec<Stage> = Vec::new();
    let mut injected: Vec<(Stage, Rule)> = Vec::new();
    let mut added: Vec<(Stage, Rule)> = Vec::new();
    for stage in stages(template) {
        match rule(&stage)? {
            Some(rule) => injected.push((stage, rule)),
            None => all.push(stage),
        }
    }
    for stage in stages(config) {
        let id = ref_id(&stage);
        let rule = rule(&stage)?;
        let same = all.iter_mut().find(|known| ref_id(known) == id);
        match (rule, same) {
            (Some(rule), _) => added.push((stage, rule)),
            (None, Some(known)) => *known = stage,
            (None, None) => all.push(stage),
        }
    }
    for (stage, rule) in injected.into_iter().chain(added) {
        put(&mut all, stage, rule)?;
    }
    for stage in &mut all {
        stage.shift_remove("inject");
        let required = requisites(stage);
        require(stage, required);
    }
    ends(&all)?;
    Ok(all.into_iter().map(Value::Object).collect())
}

fn put(all: &mut Vec<Stage>, mut stage: Stage, rule: Rule) -> Result<(), String> {
    let id = ref_id(&stage);
    let known: BTreeSet<String> = all.iter().map(ref_id).collect();
    if let Rule::Before(targets) | Rule::After(targets) = &rule
        && let Some(unknown) = targets.iter().find(|target| !known.contains(*target))
    {
        return Err(format!(
            "stage {id} is injected at stage {unknown}, which there is none of"
        ));
    }
    match rule {
        Rule::First => {
            require(&mut stage, []);
            for root in all.iter_mut().filter(|s| requisites(s).is_empty()) {
                require(root, [id.clone()]);
            }
        }
        Rule::Last => {
            let required: BTreeSet<String> = all.iter().flat_map(requisites).collect();
            require(
                &mut stage,
                known.into_iter().filter(|id| !required.contains(id)),
            );
        }
        Rule::Before(targets) => {
            let is = |s: &&mut Stage| targets.contains(&ref_id(s));
            let mut required = Vec::new();
            for target in all.iter_mut().filter(is) {
                required.extend(requisites(target));
                require(target, [id.clone()]);
            }
            require(&mut stage, required);
        }
        Rule::After(targets) => {
            for dependant in all.iter_mut() {
                let required = requisites(dependant);
                if required.iter().any(|r| targets.contains(r)) {
                    let moved = required
                        .into_iter()
                        .map(|r| if targets.contains(&r) { id.clone() } else { r });
                    require(dependant, moved);
                }
            }
            require(&mut stage, targets);
        }
    }
    all.push(stage);
    Ok(())
}

/// Whether the graph has an order.
fn ends(all: &[Stage]) -> Result<(), String> {
    let mut left: BTreeMap<String, Vec<String>> =
        all.iter().map(|s| (ref_id(s), requisites(s))).collect();
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, required)| required.iter().all(|r| !left.contains_key(r)))
            .map(|(id, _)| id.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        for id in free {
            left.remove(&id);
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let stages: Vec<String> = left.into_keys().collect();
    Err(format!(
        "Cycle detected in graph: stages {}",
        stages.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edges(config: Value) -> Result<Vec<String>, String> {
        let template = json!([
            {"refId": "1", "type": "wait", "requisiteStageRefIds": []},
            {"refId": "2", "type": "wait", "requisiteStageRefIds": ["1"]},
            {"refId": "3", "type": "wait", "requisiteStageRefIds": ["1"]},
        ]);
        let list = |value: Value| value.as_array().cloned().unwrap();
        let planned = graph(list(template), list(config))?;
        let told = planned.iter().map(|s| {
            let required = names(s.get("requisiteStageRefIds")).join("+");
            format!("{}<{required}", s["refId"].as_str().unwrap())
        });
        Ok(told.collect())
    }

    fn injected(rule: Value) -> Result<Vec<String>, String> {
        edges(json!([{"refId": "x", "type": "wait", "inject": rule}]))
    }

    #[test]
    fn stages_are_injected_where_their_rule_says() {
        for (rule, expected) in [
            (json!({"first": true}), ["1<x", "2<1", "3<1", "x<"]),
            (json!({"last": true}), ["1<", "2<1", "3<1", "x<2+3"]),
            (json!({"before": ["2"]}), ["1<", "2<x", "3<1", "x<1"]),
            (json!({"after": ["1"]}), ["1<", "2<x", "3<x", "x<1"]),
            (json!({"after": ["2", "3"]}), ["1<", "2<1", "3<1", "x<2+3"]),
        ] {
            assert_eq!(injected(rule.clone()).unwrap(), expected, "{rule}");
        }
    }

    #[test]
    fn a_stage_of_the_same_reference_takes_the_others_place_and_others_are_added() {
        let found = edges(json!([
            {"refId": "2", "type": "webhook", "requisiteStageRefIds": []},
            {"refId": "4", "type": "wait", "requisiteStageRefIds": ["2"]},
        ]));
        assert_eq!(found.unwrap(), ["1<", "2<", "3<1", "4<2"]);
    }

    #[test]
    fn what_cannot_be_planned_is_told() {
        for (rule, says) in [
            (json!({"before": ["9"]}), "stage x is injected at stage 9"),
            (json!({}), "none or several"),
            (json!({"first": true, "last": true}), "none or several"),
            (json!({"before": ["1"], "after": ["1"]}), "none or several"),
        ] {
            let told = injected(rule).unwrap_err();
            assert!(told.contains(says), "{told}");
        }
        let told = edges(json!([{"refId": "1", "type": "wait", "requisiteStageRefIds": ["2"]}]));
        assert!(told.unwrap_err().contains("Cycle detected in graph"));
    }
}
