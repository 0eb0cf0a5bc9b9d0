//! What a judgment asks of those who give it: read from the stage's context, pure.

use authorization::Roles;
use orchestrator_core::Execution;
use runtime::auth::AuthContext;
use serde_json::{Map, Value};

use crate::definition::kind_of;

/// Whom calls are made for when nobody is logged in.
pub(super) const NOBODY: &str = AuthContext::ANONYMOUS;
/// More people than this never agree in time, and every vote is kept in the stage.
pub(super) const MOST_APPROVALS: usize = 50;
/// A chain of pipelines is followed so far to who began it.
const MOST_PARENTS: usize = 50;

/// What a judgment asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// One of these, if there are any; `requiredJudgmentRoles`, else `selectedStageRoles`.
    pub(super) roles: Roles,
    /// `preventSelfApproval`: not who started the execution.
    pub(super) prevents_self: bool,
    /// `requiredApprovals`: how many different people; 1 by default.
    pub(super) approvals: usize,
}

/// A field that cannot be understood: its name, and what is wrong with which value.
pub(super) type Faulty = (&'static str, String);

impl Rules {
    /// Whether anything is asked beyond the right to run the application.
    pub(super) fn restrict(&self) -> bool {
        self.prevents_self || self.approvals > 1 || !self.roles.is_empty()
    }

    /// The rules of a stage.
    ///
    /// # Errors
    /// The first field that cannot be understood; such a stage must not be judged by nobody's rules.
    pub(super) fn of(context: &Map<String, Value>) -> Result<Self, Faulty> {
        let required = roles(context, "requiredJudgmentRoles")?;
        let selected = roles(context, "selectedStageRoles")?;
        Ok(Self {
            roles: if required.is_empty() {
                selected
            } else {
                required
            },
            prevents_self: flag(context, "preventSelfApproval")?,
            approvals: approvals(context)?,
        })
    }

    /// Every faulty field of a stage as it was written; what an expression yields is known later.
    pub(super) fn faults(context: &Map<String, Value>) -> Vec<Faulty> {
        let checks = [
            roles(context, "requiredJudgmentRoles").err(),
            roles(context, "selectedStageRoles").err(),
            flag(context, "preventSelfApproval").err(),
            approvals(context).err(),
        ];
        let faults = checks.into_iter().flatten();
        faults
            .filter(|(field, _)| !context[*field].to_string().contains("${"))
            .collect()
    }

    /// Who may answer, for people.
    pub(super) fn who(&self, execution: &Execution) -> String {
        let mut who = if self.roles.is_empty() {
            format!(
                "everybody who may run application {} can answer",
                execution.application
            )
        } else {
            format!("who holds {} can answer", self.named())
        };
        let authors = authors(execution);
        if self.prevents_self && !authors.is_empty() {
            who.push_str(&format!(
                ", except {}, who started the execution",
                authors.join(", ")
            ));
        }
        who
    }

    /// The roles, for people.
    pub(super) fn named(&self) -> String {
        let names: Vec<_> = self.roles.iter().collect();
        names.join(" or ")
    }
}

fn roles(context: &Map<String, Value>, field: &'static str) -> Result<Roles, Faulty> {
    let faulty = |value: &Value| {
        let message = format!("it is {value}; send a list of names of roles, each a string");
        Err((field, message))
    };
    match context.get(field) {
        None | Some(Value::Null) => Ok(Roles::default()),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Roles::default()),
        Some(value @ Value::Array(list)) => {
            let names: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            match names {
                // A blank name would silently ask for less.
                Some(names) if names.iter().all(|n| !n.trim().is_empty()) => {
                    Ok(names.into_iter().collect())
                }
                _ => faulty(value),
            }
        }
        Some(other) => faulty(other),
    }
}

fn flag(context: &Map<String, Value>, field: &'static str) -> Result<bool, Faulty> {
    match context.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.is_empty() || text.eq_ignore_ascii_case("false") => {
            Ok(false)
        }
        Some(other) => Err((field, format!("it is {other}; send true or false"))),
    }
}

fn approvals(context: &Map<String, Value>) -> Result<usize, Faulty> {
    const FIELD: &str = "requiredApprovals";
    let value = match context.get(FIELD) {
        None | Some(Value::Null) => return Ok(1),
        Some(value) => value,
    };
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let number = number.and_then(|n| usize::try_from(n).ok());
    match number.filter(|n| (1..=MOST_APPROVALS).contains(n)) {
        Some(number) => Ok(number),
        None => {
            let shown = match value {
                Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
                other => other.to_string(),
            };
            let message = format!("it is {shown}; send a whole number from 1 to {MOST_APPROVALS}");
            Err((FIELD, message))
        }
    }
}

/// Who started an execution, by every name it has for them, through the executions
/// that started it; empty when no person did.
pub(super) fn authors(execution: &Execution) -> Vec<&str> {
    let mut names = vec![Some(execution.user()), execution.trigger.text("user")];
    let mut parent = execution.trigger.get("parentExecution");
    for _ in 0..MOST_PARENTS {
        let Some(at) = parent else { break };
        let trigger = at.get("trigger");
        for of in [at.get("authentication"), trigger] {
            names.push(of.and_then(|of| of.get("user")?.as_str()));
        }
        parent = trigger.and_then(|trigger| trigger.get("parentExecution"));
    }
    let mut found: Vec<&str> = Vec::new();
    for name in names.into_iter().flatten().map(str::trim) {
        let nobody = matches!(name, "" | NOBODY | "[anonymous]");
        if !nobody && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}
