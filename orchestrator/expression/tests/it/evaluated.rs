//! Expressions of ours and what the real evaluator makes of each: see
//! `tests/fixtures/README.md`.

use std::collections::BTreeSet;

use expression::Offline;
use serde_json::Value;

use crate::world::{NOW, alike, unprinted};

const ANSWERS: &str = include_str!("../fixtures/evaluated.jsonl");

/// What we answer otherwise on purpose: why, and the expressions.
const OTHERWISE: &[(&str, &[&str])] = &[
    (
        "an assignment yields its value and changes nothing",
        &[
            "${waitTime++ + waitTime}",
            "${foo = 1} ${foo}",
            "${local = 'x'} ${local}",
            "${items[0].v = 99} ${items[0].v}",
            "${parameters.x = 1} ${parameters.x}",
            "${items.add('z')} ${items.size()}",
            "${items.addAll({1,2})} ${items.size()}",
            "${waitTime++} ${waitTime}",
            "${++waitTime} ${waitTime}",
            "${cfg.list[0]++} ${cfg.list[0]}",
            "${execution.setName('x')}",
        ],
    ),
    (
        "the execution is passed to a function, not written into the text of its call",
        &[
            "${'deployedServerGroups'}",
            "${'deployedServerGroups' + 'x'}",
            "deployedServerGroups ${local}",
            "${#deployedServerGroups('Deploy')[0].serverGroup} ${deployedServerGroups[0].region}",
            "#stage(x) ${local}",
            "${'#stage('}",
            "${\"#stage('Vars')\"}",
            "${'#currentStage()'}",
            "${#stage ('Vars').name}",
            "${# stage('Vars').name}",
        ],
    ),
    (
        "a function is called or it is nothing: there is no reflection on one",
        &["${#stage.name}"],
    ),
    (
        "a list does not know what its elements are declared to be",
        &["${local + execution.stages}"],
    ),
    (
        "classes of numbers and arrays have no use where nothing can be called on them",
        &["${T(String[])}", "${T(int)}", "${T(int[])}"],
    ),
    (
        "an array of arrays is written as a list of lists",
        &["${new int[2][2]}"],
    ),
    (
        "no digests are computed",
        &["${T(java.util.UUID).nameUUIDFromBytes('a'.getBytes()).toString()}"],
    ),
    (
        "YAML's parser is of version 1.2 underneath",
        &["${#readYaml('a: 0o10').a}", "${#readYaml('a: !!str 1').a}"],
    ),
    (
        "a default needs something it is the default of",
        &["${?:1}"],
    ),
];

#[test]
fn every_expression_gives_what_the_real_evaluator_gives() {
    let known: BTreeSet<&str> = OTHERWISE
        .iter()
        .flat_map(|(_, all)| *all)
        .copied()
        .collect();
    let (mut world, mut right, mut wrong) = (None, 0, Vec::new());
    let mut met = BTreeSet::new();
    for line in ANSWERS.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(stage) = line["stage"].as_str() {
            world = Some(Offline::new(&line["execution"], stage).unwrap());
            continue;
        }
        let expression = line[0].as_str().unwrap();
        let (value, detail) = world.as_ref().unwrap().ask(expression, NOW);
        let level = detail
            .values()
            .next()
            .and_then(|list| list[0]["level"].as_str());
        let expected = &line[1];
        let same = match line[2].as_str() {
            Some(failed) => level == Some(failed),
            None => level.is_none() && alike(&unprinted(&value), &unprinted(expected)),
        };
        match (same, known.get(expression)) {
            (true, _) => right += 1,
            (false, Some(expression)) => {
                met.insert(*expression);
            }
            (false, None) => wrong.push(format!(
                "{expression}\n  is {value} {detail:?}\n  not {line}"
            )),
        }
    }
    let idle: Vec<_> = known.difference(&met).collect();
    assert!(
        idle.is_empty(),
        "right now, remove them from OTHERWISE: {idle:?}"
    );
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(right >= 3_850, "only {right} were right");
}
