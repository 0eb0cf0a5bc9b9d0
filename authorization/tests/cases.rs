//! The rules as a table: each line of `fixtures/cases.jsonl` is a policy, a
//! subject, a resource and a permission with the decision and rule expected.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use authorization::{
    Decision, Judgment, Permission, Permissions, Policy, Resource, Roles, Rule, Subject, decide,
    decide_run_as, judge,
};
use serde_json::{Value, json};

const CASES: &str = include_str!("fixtures/cases.jsonl");

fn parsed<T: for<'a> serde::Deserialize<'a>>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn decided(case: &Value) -> Decision {
    let policy: Policy = parsed(&case["policy"]);
    let subject: Subject = parsed(&case["subject"]);
    let permission: Permission = parsed(&case["permission"]);
    let resource = &case["resource"];
    if let Some(roles) = resource.get("serviceAccount") {
        let roles: Roles = parsed(roles);
        return decide(
            &policy,
            &subject,
            Resource::ServiceAccount(&roles),
            permission,
        );
    }
    if let Some(permissions) = resource.get("account") {
        let permissions: Permissions = parsed(permissions);
        return decide(
            &policy,
            &subject,
            Resource::Configured(&permissions),
            permission,
        );
    }
    if resource.get("system").is_some() {
        return decide(&policy, &subject, Resource::System, permission);
    }
    let permissions: Option<Permissions> = parsed(&resource["permissions"]);
    let application = Resource::Application {
        name: resource["application"].as_str().unwrap(),
        permissions: permissions.as_ref(),
    };
    let Some(judgment) = case.get("judgment") else {
        return decide(&policy, &subject, application, permission);
    };
    let roles: Roles = parsed(&judgment["roles"]);
    // `author` is one name, `authors` several; null or neither: anybody may judge.
    let one = judgment["author"].as_str().map(|author| vec![author]);
    let several = judgment.get("authors").and_then(Value::as_array);
    let several = several.map(|list| list.iter().map(|a| a.as_str().unwrap()).collect());
    let authors = one.or(several);
    let approvals = judgment.get("approvals").and_then(Value::as_u64);
    let judgment = Judgment {
        selected_stage_roles: &roles,
        excluded_authors: authors.as_deref(),
        required_approvals: approvals.map_or(1, |n| usize::try_from(n).unwrap()),
    };
    judge(&policy, &subject, application, judgment)
}

#[test]
fn every_case_is_decided_by_the_rule_expected() {
    let mut seen = BTreeSet::new();
    for (line, case) in CASES.lines().enumerate() {
        let case: Value = serde_json::from_str(case).unwrap();
        let decision = decided(&case);
        let expected: Rule = parsed(&case["rule"]);
        assert_eq!(
            (decision.is_allowed(), decision.rule()),
            (case["allowed"].as_bool().unwrap(), expected),
            "line {}: {case}",
            line + 1
        );
        seen.insert(case["rule"].to_string());
    }
    assert!(CASES.lines().count() >= 200);
    assert_eq!(seen.len(), 14, "a rule has no case: {seen:?}");
}

/// The control of the table: a decision that looks at nothing fails it.
#[test]
fn the_table_refutes_those_who_always_say_the_same() {
    let allowed = |wanted: bool| {
        CASES
            .lines()
            .map(|case| serde_json::from_str::<Value>(case).unwrap())
            .filter(|case| case["allowed"] == json!(wanted))
            .count()
    };
    assert!(allowed(true) >= 80 && allowed(false) >= 80);
}

#[test]
fn a_pipeline_runs_as_whom_its_saver_may_be_and_who_may_run_it() {
    let policy = Policy::default();
    let permissions: Permissions = parsed(&json!({"READ": ["team-a"], "EXECUTE": ["ci"]}));
    let web = Resource::Application {
        name: "web",
        permissions: Some(&permissions),
    };
    for (saver, member_of, expected) in [
        (
            &["team-a", "ci"][..],
            &["ci"][..],
            Decision::Allowed(Rule::RoleListed),
        ),
        (
            &["team-a"],
            &["ci"],
            Decision::Denied(Rule::NotMemberOfServiceAccount),
        ),
        (
            &["team-a"],
            &["team-a"],
            Decision::Denied(Rule::NoRoleListed),
        ),
        (&["team-a"], &[], Decision::Denied(Rule::NoRoleListed)),
    ] {
        let subject = Subject::user(&policy, "saver", saver.iter().collect());
        let member_of: Roles = member_of.iter().collect();
        assert_eq!(
            decide_run_as(&policy, &subject, &member_of, web),
            expected,
            "{saver:?} {member_of:?}"
        );
    }
}
