//! Who may answer a manual judgment.

use crate::{Decision, Permission, Policy, Resource, Roles, Rule, Subject, decide};

/// What a stage asks of its judges.
#[derive(Debug, Clone, Copy)]
pub struct Judgment<'a> {
    /// `selectedStageRoles`; when empty, EXECUTE on the application suffices.
    pub selected_stage_roles: &'a Roles,
    /// Who started the execution, if they may not judge it; else none. An empty list
    /// stands for an execution that no person started.
    pub excluded_authors: Option<&'a [&'a str]>,
    /// How many different people have to say yes.
    pub required_approvals: usize,
}

/// Decides whether `subject` may judge a stage of an execution of `application`.
///
/// A judge needs EXECUTE, and one of the stage's roles that itself has WRITE,
/// EXECUTE or CREATE on the application (`orca: ManualJudgmentStage`).
/// Differs from Spinnaker: administrators are excluded from their own
/// executions too, since four eyes mean two people whoever they are.
pub fn judge(
    policy: &Policy,
    subject: &Subject,
    application: Resource<'_>,
    judgment: Judgment<'_>,
) -> Decision {
    // Someone without a name cannot be shown to be someone else.
    let excluded = judgment.excluded_authors.is_some_and(|authors| {
        subject.name.as_ref().is_none_or(|name| {
            let name = name.to_lowercase();
            authors.iter().any(|author| author.to_lowercase() == name)
        })
    });
    if excluded {
        return Decision::Denied(Rule::OwnExecution);
    }
    if judgment.required_approvals > 1 && subject.name.is_none() {
        return Decision::Denied(Rule::Indistinguishable);
    }
    let executes = decide(policy, subject, application, Permission::Execute);
    if !executes.is_allowed() || subject.admin || judgment.selected_stage_roles.is_empty() {
        return executes;
    }
    let as_judge = Subject {
        roles: subject.roles.common(judgment.selected_stage_roles),
        scope: None,
        ..subject.clone()
    };
    let has_say = [Permission::Write, Permission::Execute, Permission::Create]
        .into_iter()
        .any(|permission| decide(policy, &as_judge, application, permission).is_allowed());
    if !as_judge.roles.is_empty() && has_say {
        Decision::Allowed(Rule::RoleListed)
    } else {
        Decision::Denied(Rule::NotAJudge)
    }
}
