//! Whether whoever a trigger runs as may run the pipeline at all: EXECUTE on its application, as of now. The
//! operations of its stages are asked about again when they come.
//! Source: `echo: BaseTriggerEventHandler.canAccessApplication`.

use authorization::{Permission, Permissions, Resource, Subject, decide};
use proto::status::Failure;
use runtime::auth::AuthContext;
use serde_json::{Map, Value};

use crate::intake::Intake;
use crate::matcher::Decision;
use crate::refusal::Refusal;

/// Takes back the starts of triggers whose user may not run their pipeline.
///
/// # Errors
/// When permissions or roles cannot be read.
pub(crate) async fn apply(
    intake: &Intake,
    pipelines: &[Map<String, Value>],
    decisions: &mut [Decision],
) -> Result<(), Failure> {
    let Some(policy) = &intake.access.0 else {
        return Ok(());
    };
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
        let subject = if user == AuthContext::ANONYMOUS {
            Subject::default()
        } else {
            let roles = intake.peers.roles(&pipeline, user).await?;
            Subject::user(policy, user, roles.iter().collect())
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
        let decided = decide(policy, &subject, resource, Permission::Execute);
        if !decided.is_allowed() {
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
