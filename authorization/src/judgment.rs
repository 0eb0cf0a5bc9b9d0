//! Who may answer a manual judgment.

use crate::{Decision, Permission, Policy, Resource, Roles, Rule, Subject, decide};

/// What a stage asks of its judges.
#[derive(Debug, Clone, Copy)]
pub struct Judgment<'a> {
    /// `selectedStageRoles`; when empty, EXECUTE on the application suffices.
    pub selected_stage_roles: &'a Roles,
    /// Who started the execution, if that user may not judge it; else none.
    pub excluded_author: Option<&'a str>,
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
    let excluded = match (&subject.name, judgment.excluded_author) {
        (Some(name), Some(author)) => name.to_lowercase() == author.to_lowercase(),
        // Someone without a name cannot be shown to be someone else.
        (None, Some(_)) => true,
        (_, None) => false,
    };
    if excluded {
        return Decision::Denied(Rule::OwnExecution);
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
