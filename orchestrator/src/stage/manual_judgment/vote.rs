//! One answer to a judgment: whether it counts, and what follows. Pure; the caller
//! commits it over the version it read, so that two answers at once both count.

use authorization::{Judgment, Permissions, Policy, Resource, Rule, Subject, judge};
use orchestrator_core::{Effects, Execution, Stage, StageId, Status, command, timing};
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::ballot::{Ballot, CONTINUE, STOP, choices};
use super::rules::{NOBODY, Rules, authors};
use super::{KIND, policy_of};
use crate::stage::{Catalog, find};

/// The list of answers in a stage's context: `[{user, at, status, input, rule}]`.
pub(super) const VOTES: &str = "judgments";

/// Who answers, and what is known about what they may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voter<'a> {
    /// Who.
    pub(crate) subject: &'a Subject,
    /// The operator's settings.
    pub(crate) policy: &'a Policy,
    /// Those stored with the application.
    pub(crate) permissions: &'a Permissions,
}

/// Whether a stage is a judgment, by whatever alias.
pub(crate) fn is_judgment(stage: &Stage) -> bool {
    find(stage.definition()).is_some_and(|found| found.kind() == KIND)
}

/// Takes an answer to a judgment: the effects to commit, none for a repeat.
///
/// # Errors
/// `Denied` naming the rule, `Invalid` naming the field, `Conflict` when it is not the time.
pub(crate) fn vote(
    execution: &Execution,
    stage: &StageId,
    asked: &Map<String, Value>,
    voter: Voter<'_>,
    now: i64,
) -> Result<Effects, Failure> {
    let stage = execution.stage(stage).ok_or_else(|| {
        Failure::not_found(format!("execution {} has no stage {stage}", execution.id))
    })?;
    let rules = Rules::of(&stage.context).map_err(|(field, message)| {
        let text = format!("stage {} cannot be judged: {field}: {message}", stage.name);
        Failure::new(Kind::Conflict, text)
    })?;
    let rule = permitted(execution, stage, &rules, voter)?;
    let ballot = Ballot::read(asked, &stage.context)?;
    let user = voter.subject.name.as_deref().unwrap_or(NOBODY);
    let mut votes = votes(stage);
    let own = votes.iter().position(|vote| same(vote, user));
    if let Some(own) = own.and_then(|at| votes.get(at))
        && own["status"] == ballot.status
        && own["input"] == ballot.input
    {
        // Said before, such as by a caller who missed the reply.
        return Ok(Effects::default());
    }
    open(execution, stage, now)?;
    agrees(&votes, user, &ballot, stage)?;
    if let Some(own) = own {
        votes.remove(own);
    }
    votes.push(json!({
        "user": user, "at": now, "status": ballot.status, "input": ballot.input, "rule": rule,
    }));
    let approvals = votes.iter().filter(|v| v["status"] == CONTINUE).count();
    let decided = ballot.status == STOP || approvals >= rules.approvals;
    let mut context = Map::new();
    if decided {
        context.insert("judgmentStatus".to_owned(), ballot.status.into());
        let given = votes.iter().rev().filter(|v| v["status"] == ballot.status);
        if let Some(input) = given.map(|v| &v["input"]).find(|i| !i.is_null()) {
            context.insert("judgmentInput".to_owned(), input.clone());
        }
    } else if stage.context.contains_key("judgmentStatus") {
        // Written into the definition, where it decides nothing.
        context.insert("judgmentStatus".to_owned(), "".into());
    }
    context.insert(VOTES.to_owned(), votes.into());
    context.insert("lastModifiedBy".to_owned(), user.into());
    command::update_stage(execution, &stage.id, context, user, now, &Catalog)
        .map_err(|refusal| Failure::new(Kind::Conflict, refusal.to_string()))
}

/// The rule by which this person may answer.
fn permitted(
    execution: &Execution,
    stage: &Stage,
    rules: &Rules,
    voter: Voter<'_>,
) -> Result<Rule, Failure> {
    let authors = authors(execution);
    let judgment = Judgment {
        selected_stage_roles: &rules.roles,
        excluded_authors: rules.prevents_self.then_some(authors.as_slice()),
        required_approvals: rules.approvals,
    };
    let application = Resource::Application {
        name: &execution.application,
        permissions: Some(voter.permissions),
    };
    let decision = judge(voter.policy, voter.subject, application, judgment);
    if decision.is_allowed() {
        return Ok(decision.rule());
    }
    let user = voter
        .subject
        .name
        .as_deref()
        .unwrap_or("who is not logged in");
    let rule = decision.rule();
    let mut text = format!("{user} may not judge stage {}: {rule}", stage.name);
    text.push_str(&match rule {
        Rule::NotAJudge => format!("; the roles are {}", rules.named()),
        Rule::Indistinguishable => format!(
            "; it needs {} approvals: switch on authentication, or set requiredApprovals to 1",
            rules.approvals
        ),
        Rule::OwnExecution if voter.subject.name.is_none() => {
            "; log in, so that it can be told who answers".to_owned()
        }
        _ => format!("; {}", rules.who(execution)),
    });
    Err(Failure::new(Kind::Denied, text))
}

/// The answers so far. What a definition has under this name nobody gave.
pub(super) fn votes(stage: &Stage) -> Vec<Value> {
    let list = stage.context.get(VOTES).and_then(Value::as_array);
    let list = list.filter(|_| stage.last_modified.is_some());
    list.cloned().unwrap_or_default()
}

/// Whether a vote is this user's; names differ by more than case.
fn same(vote: &Value, user: &str) -> bool {
    let by = vote["user"].as_str().unwrap_or_default();
    by.to_lowercase() == user.to_lowercase()
}

/// Whether the stage takes answers now.
fn open(execution: &Execution, stage: &Stage, now: i64) -> Result<(), Failure> {
    let name = &stage.name;
    let closed = |text: String| Err(Failure::new(Kind::Conflict, text));
    if let Some(made) = super::decision(stage) {
        let by = stage.context.get("lastModifiedBy").and_then(Value::as_str);
        let by = by.unwrap_or("its definition");
        return closed(format!(
            "stage {name} was judged to {made} by {by}; restart the stage to ask again"
        ));
    }
    if execution.canceled || !matches!(stage.status, Status::Running | Status::Paused) {
        let status = if execution.canceled {
            Status::Canceled
        } else {
            stage.status
        };
        return closed(format!(
            "stage {name} is {status}; it can be judged only while it is RUNNING"
        ));
    }
    let late = stage.tasks.iter().any(|task| {
        let policy = policy_of(&task.implementing_class);
        policy
            .is_some_and(|policy| timing::timed_out(execution, stage, task, policy, now).is_some())
    });
    if late {
        return closed(format!(
            "the judgment of stage {name} expired; restart the stage to ask again"
        ));
    }
    Ok(())
}

/// Whoever approves, approves the same choice as those before, if there are choices.
fn agrees(votes: &[Value], user: &str, ballot: &Ballot, stage: &Stage) -> Result<(), Failure> {
    if ballot.status == STOP || ballot.input.is_null() || choices(&stage.context).is_empty() {
        return Ok(());
    }
    let mut others = votes
        .iter()
        .filter(|v| v["status"] == CONTINUE && !same(v, user));
    let Some(other) = others.find(|v| !v["input"].is_null() && v["input"] != ballot.input) else {
        return Ok(());
    };
    let message = format!(
        "it is {}, but {} approved {} of stage {}; choose the same, or stop",
        ballot.input,
        other["user"].as_str().unwrap_or_default(),
        other["input"],
        stage.name,
    );
    Err(Failure::field("judgmentInput", message))
}
