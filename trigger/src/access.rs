//! Whether whoever a trigger runs as may run the pipeline at all: EXECUTE on its application, as of now. The
//! operations of its stages are asked about again when they come.
//! Source: `echo: BaseTriggerEventHandler.canAccessApplication`.

use std::sync::Arc;

use authorization::{Decision, Permission, Permissions, Policy, Resource, Subject};
use proto::status::Failure;
use runtime::auth::AuthContext;
use serde_json::{Map, Value};

use crate::intake::Intake;
use crate::matcher;
use crate::refusal::Refusal;

/// The operator's rules, where people have to authenticate; without them everybody may do everything.
#[derive(Debug, Clone)]
pub(crate) struct Access(pub(crate) Option<Arc<Policy>>);

impl Access {
    /// The decision about a user with these roles; none where nobody has to authenticate.
    pub(crate) fn decide(
        &self,
        user: &str,
        roles: &[String],
        resource: Resource<'_>,
        permission: Permission,
    ) -> Option<Decision> {
        let policy = self.0.as_ref()?;
        let subject = match user {
            AuthContext::ANONYMOUS => Subject::default(),
            user => Subject::user(policy, user, roles.iter().collect()),
        };
        Some(authorization::decide(
            policy, &subject, resource, permission,
        ))
    }
}

/// Takes back the starts of triggers whose user may not run their pipeline.
///
/// # Errors
/// When permissions or roles cannot be read.
pub(crate) async fn apply(
    intake: &Intake,
    pipelines: &[Map<String, Value>],
    decisions: &mut [matcher::Decision],
) -> Result<(), Failure> {
    if intake.access.0.is_none() {
        return Ok(());
    }
    for decision in decisions {
        let Ok(request) = &decision.outcome else {
            continue;
        };
        let user = request.trigger.get("user").and_then(Value::as_str);
        let user = user.unwrap_or(AuthContext::ANONYMOUS);
        let is = |p: &&Map<String, Value>| {
            p.get("id").and_then(Value::as_str) == Some(decision.pipeline_id.as_str())
        };
        let pipeline = pipelines.iter().find(is).cloned().unwrap_or_default();
        let roles = if user == AuthContext::ANONYMOUS {
            Vec::new()
        } else {
            intake.peers.roles(&pipeline, user).await?
        };
        let name = decision.application.as_str();
        let stored = intake.peers.permissions(name).await?;
        let permissions = match &stored {
            // What cannot be understood allows nothing.
            Some(own) => match serde_json::from_value::<Permissions>(own.clone()) {
                Ok(own) => Some(own),
                Err(_) => {
                    decision.outcome = Err(refusal(name, user, "its permissions cannot be read"));
                    continue;
                }
            },
            None => None,
        };
        let resource = Resource::Application {
            name,
            permissions: permissions.as_ref(),
        };
        let decided = intake
            .access
            .decide(user, &roles, resource, Permission::Execute);
        if let Some(decided) = decided.filter(|decided| !decided.is_allowed()) {
            let because = decided.rule().to_string();
            decision.outcome = Err(refusal(name, user, &because));
        }
    }
    Ok(())
}

fn refusal(application: &str, user: &str, because: &str) -> Refusal {
    let expected = format!("EXECUTE on application {application}");
    let message = format!("{user} may not run pipelines of application {application}: {because}");
    let remedy = "set runAsUser to a service account with a role that is listed under EXECUTE of the application, \
                  or under READ where it lists none";
    Refusal::new("runAsUser", &expected, user, &message, remedy)
}
