//! Graphs of stages against oracles that look at every path: what is found wrong with a
//! definition, who waits for whom, and where planned stages are put.

use std::collections::{BTreeMap, BTreeSet};

use orchestrator_core::graph::{Fault, check};
use orchestrator_core::testing::{CountedIds, execution};
use orchestrator_core::{Execution, ExecutionId, ExecutionType, Owner, Stage, new_execution};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::runner::Runner;

/// What somebody may write for a refId: mostly one, sometimes a wrong one.
fn ref_id() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        12 => (0..7u8).prop_map(|n| Some(n.to_string().into())),
        3 => (0..7u8).prop_map(|n| Some(n.into())),
        1 => prop::sample::select(vec![None, Some(json!(null)), Some(json!("")), Some(json!([]))]),
    ]
}

fn requisites() -> impl Strategy<Value = Option<Value>> {
    let one = prop_oneof![
        12 => (0..7u8).prop_map(|n| Value::from(n.to_string())),
        3 => (0..7u8).prop_map(Value::from),
        1 => prop::sample::select(vec![json!("x"), json!(""), json!(null), json!({})]),
    ];
    prop_oneof![
        8 => prop::collection::vec(one, 0..3).prop_map(|list| Some(Value::Array(list))),
        1 => prop::sample::select(vec![None, Some(json!(null)), Some(json!("1")), Some(json!(1))]),
    ]
}

fn anything() -> impl Strategy<Value = Vec<Map<String, Value>>> {
    let stage = (ref_id(), requisites()).prop_map(|(ref_id, requisites)| {
        let mut stage = Map::new();
        stage.insert("type".to_owned(), "plain".into());
        stage.extend(ref_id.map(|v| ("refId".to_owned(), v)));
        stage.extend(requisites.map(|v| ("requisiteStageRefIds".to_owned(), v)));
        stage
    });
    prop::collection::vec(stage, 1..8)
}

/// Text as it is, numbers as their text, nothing else.
fn written(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The graph as the oracle reads it.
struct Read {
    /// Of each stage, if it has one.
    refs: Vec<Option<String>>,
    /// `waits[a][b]`: `a` waits for `b`, however many are between.
    waits: Vec<Vec<bool>>,
    /// Paths of what is wrong, circles left out.
    faults: Vec<String>,
}

fn read(stages: &[Map<String, Value>]) -> Read {
    let refs: Vec<Option<String>> = stages
        .iter()
        .map(|s| written(s.get("refId")).filter(|text| !text.is_empty()))
        .collect();
    let mut waits = vec![vec![false; stages.len()]; stages.len()];
    let mut faults = Vec::new();
    for (at, stage) in stages.iter().enumerate() {
        let double = refs[at].is_some() && refs[..at].contains(&refs[at]);
        if refs[at].is_none() || double {
            faults.push(format!("stages[{at}].refId"));
        }
        let path = format!("stages[{at}].requisiteStageRefIds");
        let list = match stage.get("requisiteStageRefIds") {
            None | Some(Value::Null) => continue,
            Some(Value::Array(list)) => list,
            Some(_) => {
                faults.push(path);
                continue;
            }
        };
        for (number, value) in list.iter().enumerate() {
            let wanted = written(Some(value)).filter(|text| !text.is_empty());
            let mut found = false;
            for (other, its) in refs.iter().enumerate() {
                if wanted.is_some() && *its == wanted {
                    waits[at][other] = true;
                    found = true;
                }
            }
            if !found {
                faults.push(format!("{path}[{number}]"));
            }
        }
    }
    for between in 0..stages.len() {
        for from in 0..stages.len() {
            for to in 0..stages.len() {
                waits[from][to] |= waits[from][between] && waits[between][to];
            }
        }
    }
    Read {
        refs,
        waits,
        faults,
    }
}

fn is_circle(fault: &Fault) -> bool {
    fault.message.contains("wait for each other")
}

/// The circle a fault tells of is one: each waits for the next, the last is the first.
fn circle(fault: &Fault, stages: &[Map<String, Value>]) -> bool {
    let names = fault.message.split(": ").nth(1).unwrap();
    let names: Vec<&str> = names.split(';').next().unwrap().split(" → ").collect();
    let waits = |pair: &[&str]| {
        stages.iter().any(|s| {
            let requisites = s.get("requisiteStageRefIds").and_then(Value::as_array);
            let wanted = |r: &Value| written(Some(r)).as_deref() == Some(pair[1]);
            written(s.get("refId")).as_deref() == Some(pair[0])
                && requisites.is_some_and(|list| list.iter().any(wanted))
        })
    };
    names.len() > 1 && names.first() == names.last() && names.windows(2).all(waits)
}

fn acyclic() -> impl Strategy<Value = Vec<Value>> {
    let requisites = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop::collection::vec(requisites, 1..12).prop_map(|list| {
        let refs = |position: usize, picked: &[prop::sample::Index]| -> BTreeSet<String> {
            let earlier = picked.iter().filter(|_| position > 0);
            earlier.map(|r| r.index(position).to_string()).collect()
        };
        let stages = list.iter().enumerate().map(|(position, picked)| {
            let requisites = refs(position, picked);
            json!({
                "type": "plain", "refId": position.to_string(),
                "requisiteStageRefIds": requisites,
            })
        });
        stages.collect()
    })
}

fn names<'a>(stages: impl IntoIterator<Item = &'a Stage>) -> Vec<String> {
    stages.into_iter().map(|s| s.ref_id.to_string()).collect()
}

/// How many steps up each stage is that one waits for, itself included.
fn distances(execution: &Execution, from: &Stage) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::from([(from.ref_id.to_string(), 0)]);
    for distance in 0..execution.stages.len() {
        for stage in execution.stages.iter() {
            if found.get(stage.ref_id.as_str()) == Some(&distance) {
                for requisite in &stage.requisite_stage_ref_ids {
                    found.entry(requisite.to_string()).or_insert(distance + 1);
                }
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn what_is_wrong_is_found_and_nothing_else(stages in anything()) {
        let read = read(&stages);
        let faults = check(&stages);
        let mut found: Vec<String> = faults
            .iter()
            .filter(|f| !is_circle(f))
            .map(|f| f.path.clone())
            .collect();
        let mut expected = read.faults.clone();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
        let circles: Vec<&Fault> = faults.iter().filter(|f| is_circle(f)).collect();
        let has_circle = (0..stages.len()).any(|at| read.waits[at][at]);
        prop_assert_eq!(circles.len(), usize::from(has_circle));
        for fault in circles {
            prop_assert!(circle(fault, &stages), "{:?}", fault);
        }
    }

    #[test]
    fn an_execution_fails_at_once_exactly_if_it_could_never_end(stages in anything()) {
        let read = read(&stages);
        let body = json!({"application": "a", "name": "p", "stages": stages});
        let (kind, id) = (ExecutionType::Pipeline, ExecutionId::new("E"));
        let mut ids = CountedIds::default();
        let (made, _) = new_execution(kind, &body, id, "ann", 1, &mut ids).unwrap();
        // Without any refId they are a chain; with two of the same, both are meant.
        let numbered = stages.iter().all(|s| s.get("refId").is_none_or(Value::is_null));
        let double = |at: usize| read.refs[at].is_some();
        let lasting = read.faults.iter().any(|path| {
            let at = path.trim_start_matches("stages[").split(']').next().unwrap();
            !path.ends_with("refId") || !double(at.parse().unwrap())
        });
        let circle = (0..stages.len()).any(|at| read.waits[at][at]);
        let fails = !numbered && (lasting || circle);
        prop_assert_eq!(made.failure.is_some(), fails, "{:?}", made.failure);
        prop_assert_eq!(made.stages.len(), stages.len());
        let refs = names(made.stages.iter());
        prop_assert!(refs.is_sorted(), "{:?}", refs);
    }

    #[test]
    fn who_waits_for_whom_is_what_was_written(stages in acyclic()) {
        let (made, _) = execution(&Value::Array(stages.clone()));
        for stage in made.stages.iter() {
            let own = &stages[stage.ref_id.as_str().parse::<usize>().unwrap()];
            let written: BTreeSet<String> =
                serde_json::from_value(own["requisiteStageRefIds"].clone()).unwrap();
            let upstream: BTreeSet<String> = names(made.upstream(stage)).into_iter().collect();
            prop_assert_eq!(&upstream, &written);
            for other in made.stages.iter() {
                let waits = names(made.downstream(stage)).contains(&other.ref_id.to_string());
                prop_assert_eq!(waits, names(made.upstream(other)).contains(&stage.ref_id.to_string()));
            }
            let distances = distances(&made, stage);
            let seen = names(made.ancestors(stage));
            let steps: Vec<usize> = seen.iter().map(|name| distances[name]).collect();
            prop_assert_eq!(seen.len(), distances.len(), "{:?}", seen);
            prop_assert!(steps.is_sorted(), "nearest first: {:?}", seen);
        }
    }

    #[test]
    fn planned_stages_lie_around_the_one_that_planned_them(
        counts in prop::collection::vec((0..3usize, 0..3usize), 1..5),
    ) {
        let stages = counts.iter().enumerate().map(|(position, (before, after))| json!({
            "refId": position.to_string(), "type": "nested", "before": before, "after": after,
            "requisiteStageRefIds": position.checked_sub(1).iter().map(ToString::to_string)
                .collect::<Vec<_>>(),
        }));
        let runner = Runner::new(execution(&stages.collect::<Vec<_>>().into())).end();
        let mut expected = Vec::new();
        for (position, (before, after)) in counts.iter().enumerate() {
            // Each is put directly before its parent, or behind all of its family.
            expected.extend((1..=*before).map(|n| format!("{position}<{n}")));
            expected.push(position.to_string());
            expected.extend((1..=*after).map(|n| format!("{position}>{n}")));
        }
        let made = runner.execution();
        prop_assert_eq!(names(made.stages.iter()), expected);
        for stage in made.stages.iter().filter(|s| s.is_synthetic()) {
            let (parent, number) = stage.ref_id.as_str().split_at(1);
            let owner = made.stage(stage.parent_stage_id.as_ref().unwrap()).unwrap();
            prop_assert_eq!(owner.ref_id.as_str(), parent);
            let last = number.strip_prefix('>').map(|n| n.parse::<usize>().unwrap() - 1);
            let requisites: Vec<String> = match last {
                Some(last) if last > 0 => vec![format!("{parent}>{last}")],
                _ => Vec::new(),
            };
            let own: Vec<String> = stage.requisite_stage_ref_ids.iter().map(ToString::to_string).collect();
            prop_assert_eq!(own, requisites);
            let side = if last.is_some() { Owner::StageAfter } else { Owner::StageBefore };
            prop_assert_eq!(stage.synthetic_stage_owner, Some(side));
        }
    }
}
