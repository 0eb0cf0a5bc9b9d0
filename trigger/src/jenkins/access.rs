//! Who may do what with a master: READ to see its jobs and builds, WRITE to start and
//! stop a build, and READ for whoever a trigger runs as, since an execution shows the
//! build that started it. Without authentication everybody may do everything.
//! Source: `igor: BuildController` and `fiat: BuildService`.

use authorization::{Decision, Permission, Resource, refusal};
use proto::status::{Failure, Kind};
use runtime::auth::AuthContext;
use serde_json::{Map, Value, json};

use crate::access::Access;
use crate::config::Master;
use crate::event::Event;
use crate::intake::Intake;
use crate::matcher;
use crate::refusal::Refusal;

impl Access {
    fn decision(
        &self,
        user: &str,
        roles: &[String],
        master: &Master,
        permission: Permission,
    ) -> Option<Decision> {
        let resource = Resource::Configured(&master.permissions);
        self.decide(user, roles, resource, permission)
    }

    /// The decision about a caller, as `GET /auth/explain` tells it.
    pub(crate) fn explain(
        &self,
        caller: &AuthContext,
        master: &Master,
        permission: Permission,
    ) -> Value {
        let decision = self.decision(&caller.user, &caller.roles, master, permission);
        decision.map_or_else(
            || json!({"allowed": true}),
            |decision| {
                let rule = decision.rule();
                json!({"allowed": decision.is_allowed(), "rule": rule, "because": rule.to_string()})
            },
        )
    }

    /// Whether a caller may do this to a master.
    ///
    /// # Errors
    /// `Denied` with the rule.
    pub(crate) fn require(
        &self,
        caller: &AuthContext,
        master: &Master,
        permission: Permission,
    ) -> Result<(), Failure> {
        match self.decision(&caller.user, &caller.roles, master, permission) {
            Some(decision) if !decision.is_allowed() => {
                let what = format!("build service {}", master.name);
                let rule = decision.rule();
                let message = refusal(&what, permission, Some(&caller.user), rule);
                Err(Failure::new(Kind::Denied, message))
            }
            _ => Ok(()),
        }
    }
}

/// Whoever a trigger runs as.
fn runs_as(trigger: &Map<String, Value>) -> &str {
    let named = trigger.get("runAsUser").and_then(Value::as_str);
    match named.unwrap_or_default().trim() {
        "" => AuthContext::ANONYMOUS,
        name => name,
    }
}

/// Why a trigger of a pipeline may not know of a master's builds; none if it may.
///
/// # Errors
/// When the roles of whoever it runs as cannot be read.
pub(crate) async fn refused(
    intake: &Intake,
    pipeline: &Map<String, Value>,
    trigger: &Map<String, Value>,
    master: &str,
) -> Result<Option<Refusal>, Failure> {
    let configured = intake.config.jenkins.iter().find(|m| m.name == master);
    let restricted = configured.filter(|m| !m.permissions.is_unrestricted());
    let (Some(master), true) = (restricted, intake.access.0.is_some()) else {
        return Ok(None);
    };
    let user = runs_as(trigger);
    let roles = intake.peers.roles(pipeline, user).await?;
    let decision = intake
        .access
        .decision(user, &roles, master, Permission::Read);
    if decision.is_none_or(Decision::is_allowed) {
        return Ok(None);
    }
    let name = &master.name;
    let expected = format!("READ of build service {name}");
    let message = format!("{user} may not read build service {name}");
    let remedy = "set runAsUser to a service account that may; an operator lists its roles in the permissions \
                  of the master";
    Ok(Some(Refusal::new(
        "runAsUser",
        &expected,
        user,
        &message,
        remedy,
    )))
}

/// Takes back the starts of triggers that may not know of the event's build.
///
/// # Errors
/// When roles cannot be read.
pub(crate) async fn apply(
    intake: &Intake,
    event: &Event,
    pipelines: &[Map<String, Value>],
    decisions: &mut [matcher::Decision],
) -> Result<(), Failure> {
    let master = event.content.get("master").and_then(Value::as_str);
    let (Some(master), "jenkins") = (master, event.kind.as_str()) else {
        return Ok(());
    };
    for decision in decisions.iter_mut().filter(|d| d.outcome.is_ok()) {
        let is = |p: &&Map<String, Value>| {
            p.get("id").and_then(Value::as_str) == Some(decision.pipeline_id.as_str())
        };
        let Some(pipeline) = pipelines.iter().find(is) else {
            continue;
        };
        let same = |t: &&Map<String, Value>| matcher::trigger_id(t) == decision.trigger_id;
        let Some(trigger) = matcher::triggers(pipeline, "jenkins").find(same) else {
            continue;
        };
        if let Some(refusal) = refused(intake, pipeline, trigger, master).await? {
            decision.outcome = Err(refusal);
        }
    }
    Ok(())
}
