//! What becomes of templates as a whole, and what people are told.

use expression::{Options, parse, parse_check, summary};
use serde_json::{Map, Value, json};

use crate::world::{NOW, evaluate, evaluate_in, object, text};

fn root() -> Map<String, Value> {
    object(json!({
        "replaceMe": "newValue", "ENV": null, "var1": 17, "map1": {"map1key": "map1val"},
        "big": 1, "t": "x"
    }))
}

#[test]
fn maps_lists_and_keys_are_walked_and_other_values_left_alone() {
    let template = json!({
        "${replaceMe}": "a", "${replaceMe}again": ["${var1}", {"k": "${map1}"}],
        "n": 4, "b": true, "nothing": null, "plain": "$ {x} {y} $"
    });
    let evaluated = evaluate(&template, &root());
    let expected = json!({
        "newValue": "a", "newValueagain": [17, {"k": {"map1key": "map1val"}}],
        "n": 4, "b": true, "nothing": null, "plain": "$ {x} {y} $"
    });
    assert_eq!(evaluated.value, expected);
    assert!(evaluated.failures.is_empty());
}

#[test]
fn numbers_and_the_order_of_keys_pass_through_as_written() {
    let root: Map<String, Value> =
        serde_json::from_str(r#"{"n":{"z":1.0,"a":1180591620717411303424,"m":1.10},"x":2.50}"#)
            .unwrap();
    let evaluated = evaluate(&json!(["${n}", "${n.a}", "${x}", "${n.m + 0}"]), &root);
    assert_eq!(
        serde_json::to_string(&evaluated.value).unwrap(),
        r#"[{"z":1.0,"a":1180591620717411303424,"m":1.10},1180591620717411303424,2.50,1.1]"#
    );
}

#[test]
fn a_null_part_stays_and_is_told_once_for_the_whole_text() {
    let one = text("a.${ENV}.b.${replaceMe}", &root());
    assert_eq!(one.value, json!("a.${ENV}.b.newValue"));
    let both = text("a.${ENV}.b.${ENV2}", &root());
    assert_eq!(both.value, json!("a.${ENV}.b.${ENV2}"));
    let told: Vec<&str> = both.failures.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(told, ["a.ENV.b.ENV2"]);
}

#[test]
fn a_summary_has_the_shape_orca_serves() {
    let template =
        json!({"value": "${no.such}", "other": {"value2": "x ${ENV}"}, "again": "${no.such}"});
    let evaluated = evaluate(&template, &root());
    let expected = json!({
        "no.such": [
            {
                "description": "Failed to evaluate [again, value] EL1007E: Property or field 'such' cannot be found on null",
                "exceptionType": "org.springframework.expression.spel.SpelEvaluationException",
                "timestamp": NOW, "level": "ERROR"
            },
            {
                "description": "Failed to evaluate [again, value] EL1007E: Property or field 'such' cannot be found on null",
                "exceptionType": "org.springframework.expression.spel.SpelEvaluationException",
                "timestamp": NOW, "level": "ERROR"
            }
        ],
        "x ENV": [
            {"description": "Failed to evaluate [value2] : x ENV not found", "timestamp": NOW, "level": "INFO"}
        ]
    });
    assert_eq!(Value::Object(summary(&evaluated.failures, NOW)), expected);
    assert_eq!(evaluated.value, template);
}

#[test]
fn a_failure_can_be_named_after_the_key_it_was_evaluated_for() {
    let mut evaluated = text("${1/0 == 1}", &root());
    let failure = &mut evaluated.failures[0];
    assert_eq!(
        failure.description,
        "Failed to evaluate {1/0 == 1} / by zero"
    );
    failure.name("expression");
    assert_eq!(
        failure.description,
        "Failed to evaluate [expression] / by zero"
    );
    assert_eq!(
        failure.exception_type.as_deref(),
        Some("java.lang.ArithmeticException")
    );
    assert_eq!(failure.key, "1/0 == 1");
}

#[test]
fn keys_show_the_execution_that_functions_take() {
    let root = object(json!({"execution": {"id": "e", "stages": [
        {"id": "1", "name": "A", "context": {}, "outputs": {}}]}}));
    let keys = |template: &str| text(template, &root).failures[0].key.clone();
    assert_eq!(
        keys("${#stage('A').context.x}"),
        "#stage( #root.execution, 'A').context.x"
    );
    assert_eq!(
        keys("${#currentStage().x}"),
        "#currentStage( #root.execution, ).x"
    );
    assert_eq!(
        keys("${ #stage('A').status.toString() "),
        "{ #stage('A').status.toString() "
    );
}

#[test]
fn unknown_names_are_errors_where_a_pipeline_is_submitted() {
    let root = object(json!({"exists": 1, "isempty": "", "isnull": null}));
    let strict = Options {
        unknown_names: false,
        ..Options::default()
    };
    let cases = [
        ("${exists}", json!(1), None),
        ("${noexists}-foo", json!("${noexists}-foo"), Some("ERROR")),
        (
            "${noexists ?: \"bacon\"}",
            json!("${noexists ?: \"bacon\"}"),
            Some("ERROR"),
        ),
        ("${isempty ?: \"bacon\"}", json!("bacon"), None),
        ("${isnull ?: \"bacon\"}", json!("bacon"), None),
        ("${isnull}", json!("${isnull}"), Some("INFO")),
    ];
    for (template, value, level) in cases {
        let evaluated = evaluate_in(&json!(template), &root, &strict);
        assert_eq!(evaluated.value, value, "{template}");
        let found = evaluated.failures.first().map(|f| f.level.as_str());
        assert_eq!(found, level, "{template}");
    }
}

#[test]
fn the_current_stage_is_known_only_inside_a_stage() {
    let root = object(json!({"execution": {"id": "e", "stages": [
        {"id": "s7", "name": "Here", "context": {}, "outputs": {}}]}}));
    let template = json!("${#currentStage()[\"name\"].toString()}");
    let outside = evaluate(&template, &root);
    assert!(
        outside.failures[0]
            .description
            .contains("An execution context is required")
    );
    let options = Options {
        current_stage: Some("s7"),
        user: Some("amy"),
        ..Options::default()
    };
    assert_eq!(evaluate_in(&template, &root, &options).value, json!("Here"));
    assert_eq!(
        evaluate_in(&json!("${#currentUser()}"), &root, &options).value,
        json!("amy")
    );
}

#[test]
fn the_branch_of_the_sources_is_the_first_that_is_special() {
    let branch = |names: &[&str]| {
        let scm: Vec<Value> = names.iter().map(|b| json!({"branch": b})).collect();
        let root = object(json!({"trigger": {"type": "concourse", "buildInfo": {"scm": scm}}}));
        text("${scmInfo.branch}", &root).value
    };
    assert_eq!(branch(&[]), json!("${scmInfo.branch}"));
    assert_eq!(branch(&["branch1"]), json!("branch1"));
    assert_eq!(branch(&["branch1", "master"]), json!("branch1"));
    assert_eq!(branch(&["develop", "master"]), json!("develop"));
    assert_eq!(
        branch(&["buildBranch", "jenkinsBranch"]),
        json!("buildBranch")
    );
}

#[test]
fn deployed_server_groups_are_read_from_the_stages_that_deployed() {
    let root = object(json!({"execution": {"id": "e", "stages": [
        {"id": "1", "name": "Deploy in us-east-1", "type": "createServerGroup", "status": "SUCCEEDED",
         "context": {"account": "test", "availabilityZones": {"us-east-1": []},
            "capacity": {"desired": 1}, "deploy.server.groups": {"us-east-1": ["flex-test-v043"]},
            "deploymentDetails": [{"ami": "a1", "region": "us-west-1"}, {"ami": "a2", "region": "us-east-1"}]}},
        {"id": "2", "name": "Deploy in us-west-1", "type": "createServerGroup", "status": "SUCCEEDED",
         "context": {"account": "test", "region": "us-west-1",
            "deploy.server.groups": {"us-west-1": ["flex-prestaging-v011"]}}},
        {"id": "3", "name": "Failed", "type": "deploy", "status": "TERMINAL",
         "context": {"region": "x", "deploy.server.groups": {"x": ["y"]}}},
    ]}}));
    let names = json!(["flex-test-v043", "flex-prestaging-v011"]);
    assert_eq!(
        text("${#deployedServerGroups().![serverGroup]}", &root).value,
        names
    );
    assert_eq!(
        text("${deployedServerGroups.![serverGroup]}", &root).value,
        names
    );
    assert_eq!(
        text("${#deployedServerGroups('Deploy in us-east-1')}", &root).value,
        json!([{
            "account": "test", "capacity": {"desired": 1}, "region": "us-east-1", "ami": "a2",
            "serverGroup": "flex-test-v043", "deployments": []
        }])
    );
}

#[test]
fn a_judgment_is_that_of_the_judgment_stage_of_that_name() {
    let root = object(json!({"execution": {"id": "e", "stages": [
        {"id": "1", "name": "my stage", "type": "bake", "context": {"judgmentInput": "no"}},
        {"id": "2", "name": "my stage", "type": "manualJudgment", "context": {"judgmentInput": "rollback"}},
    ]}}));
    assert_eq!(
        text("${#judgment('my stage').equals('rollback')}", &root).value,
        json!(true)
    );
    assert_eq!(
        text("${#judgement('my stage')}", &root).value,
        json!("rollback")
    );
}

#[test]
fn a_malformed_text_is_refused_with_its_position_and_a_remedy() {
    let cases = [
        ("ab ${1 +}", 7, "problem parsing right operand"),
        ("ab ${  foo(1, }", 14, "most recent opening is '('"),
        ("ab ${x", 3, "no ending suffix"),
        ("ab ${ }", 3, "no expression defined"),
        ("${'x}", 2, "non terminating string literal"),
        ("${({1}", 2, "missing closing ')'"),
        ("${a]}", 3, "without an opening '['"),
        ("${a b}", 4, "still more data"),
        ("${a..b}", 3, "unexpected data after '.'"),
        ("é${a ? b}", 8, "ran out of input"),
        ("${12345678901}", 2, "cannot be parsed as an int"),
        ("${a & b}", 4, "still more data"),
        ("${#toJsn(1)}", 2, "did you mean #toJson(…)?"),
        (
            "${{#stge('a')}.![#stageExist(1)]}",
            3,
            "did you mean #stage(…)?",
        ),
    ];
    for (template, position, words) in cases {
        let error = parse_check(template).unwrap_err();
        assert_eq!(error.position, position, "{template}: {error}");
        assert!(error.to_string().contains(words), "{template}: {error}");
    }
    for fine in [
        "",
        "plain",
        "$ {x",
        "#!/bin/sh\necho $HOME",
        "${a?.b.![c]}",
        "${#stage('x')}",
        "a ${b} c ${d}",
    ] {
        assert_eq!(parse_check(fine), Ok(()), "{fine}");
    }
}

#[test]
fn a_failing_evaluation_says_where_and_what_would_help() {
    let failure = |template: &str| text(template, &root()).failures.remove(0);
    let missing = failure("ab ${replaceMe + t.foo.bar}");
    assert_eq!(missing.position, 19);
    assert!(
        missing
            .description
            .contains("requested getter foo not found"),
        "{}",
        missing.description
    );
    let get = failure("${map1.get('x')}");
    assert_eq!(get.suggestion.as_deref(), Some("write map['key']"));
    let date = failure("${T(LocalDate).now()}");
    assert_eq!(
        date.suggestion.as_deref(),
        Some("write T(java.time.LocalDate)")
    );
    let null = failure("${ENV.x}");
    assert!(null.suggestion.unwrap().contains("?.x"));
}

#[test]
fn the_same_pipeline_draws_the_same_random_numbers_again() {
    let template = json!([
        "${T(Math).random()}",
        "${new java.util.Random().nextInt(1000000)}",
        "${T(java.util.UUID).randomUUID().toString()}"
    ]);
    let first = evaluate(&template, &root());
    assert_eq!(first, evaluate(&template, &root()));
    let other = Options {
        seed: Some(1),
        ..Options::default()
    };
    assert_ne!(first.value, evaluate_in(&template, &root(), &other).value);
    let uuid = first.value[2].as_str().unwrap();
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
}

#[test]
fn printing_puts_parentheses_where_they_are_needed() {
    for text in [
        "(1 + 2) * 3",
        "- (a + b)",
        "(a ?: b).c",
        "a ? b : c ? d : e",
        "{a:1,'b':{1,2}}",
    ] {
        assert_eq!(parse(text).unwrap().to_string(), text);
    }
}
