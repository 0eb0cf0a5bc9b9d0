//! What a task asks before it changes something for somebody: the acting user is
//! the execution's, whatever a stage's context says.

use std::collections::BTreeSet;

use authorization::Permission;
use orchestrator_core::TaskError;
use proto::moniker::Moniker;
use proto::status::{Failure, Kind};
use serde_json::{Map, Value};

use super::{TaskContext, failed};
use crate::services::Access;

/// Fails unless the acting user may do this to the application.
pub(crate) async fn require(
    ctx: &TaskContext<'_>,
    application: &str,
    permission: Permission,
) -> Result<(), TaskError> {
    let user = ctx.user();
    let access = ctx.services.access();
    access
        .application(user, application, permission)
        .await
        .map_err(failed)
}

/// The same for a pipeline to be saved: its application, that of the stored one of its id,
/// and whoever its triggers run as.
pub(crate) async fn require_saving(
    ctx: &TaskContext<'_>,
    pipeline: &Value,
) -> Result<(), TaskError> {
    let text = |value: &Value, key: &str| {
        let found = value.get(key).and_then(Value::as_str);
        found.unwrap_or_default().trim().to_owned()
    };
    let application = text(pipeline, "application");
    require(ctx, &application, Permission::Write).await?;
    let id = text(pipeline, "id");
    if !id.is_empty() {
        let stored = ctx.services.definitions().pipeline(&id, "").await;
        if let Some(stored) = stored.map_err(failed)? {
            require(ctx, &text(&stored, "application"), Permission::Write).await?;
        }
    }
    let roles = pipeline.get("roles").and_then(Value::as_array);
    let roles: Vec<String> = roles
        .into_iter()
        .flatten()
        .filter_map(|role| role.as_str().map(ToOwned::to_owned))
        .collect();
    if !roles.is_empty() {
        let access = ctx.services.access();
        let asked = access.act_with(ctx.user(), &roles);
        asked.await.map_err(failed)?;
    }
    let triggers = pipeline.get("triggers").and_then(Value::as_array);
    for trigger in triggers.into_iter().flatten() {
        let account = text(trigger, "runAsUser");
        if !account.is_empty() {
            let access = ctx.services.access();
            let asked = access.run_as(ctx.user(), &application, &account);
            asked.await.map_err(failed)?;
        }
    }
    Ok(())
}

/// Fails unless the user may READ one of a canary config's applications, as at the edge.
pub(crate) async fn readable_canary_config(
    access: &dyn Access,
    user: &str,
    config: &Value,
) -> Result<(), Failure> {
    let listed = config.get("applications").and_then(Value::as_array);
    let mut refused = None;
    for name in listed.into_iter().flatten() {
        let name = name
            .as_str()
            .map_or_else(|| name.to_string(), str::to_owned);
        match access.application(user, &name, Permission::Read).await {
            Err(failure) if failure.kind == Kind::Denied => refused = Some(failure),
            answer => return answer,
        }
    }
    // One without applications cannot be saved.
    refused.map_or(Ok(()), Err)
}

/// The applications that an operation's input names, and the execution's own.
pub(crate) fn applications(own: &str, input: &Map<String, Value>) -> BTreeSet<String> {
    let mut found = BTreeSet::from([own.to_lowercase()]);
    collect(input, &mut found);
    found.remove("");
    found
}

fn collect(input: &Map<String, Value>, found: &mut BTreeSet<String>) {
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    found.extend(text("application").map(str::to_lowercase));
    for key in ["serverGroupName", "asgName", "cluster", "clusterName"] {
        found.extend(
            text(key)
                .and_then(|name| Moniker::parse(name).app)
                .map(|a| a.to_lowercase()),
        );
    }
    for (key, value) in input {
        match value {
            Value::Object(inner) if key == "source" => collect(inner, found),
            Value::Object(inner) if key == "moniker" => {
                let app = inner.get("app").and_then(Value::as_str);
                found.extend(app.map(str::to_lowercase));
            }
            Value::Array(list) if key == "operations" => {
                let parts = list.iter().filter_map(Value::as_object).flatten();
                for inner in parts.filter_map(|(_, part)| part.as_object()) {
                    collect(inner, found);
                }
            }
            Value::Array(list) if key == "serverGroups" => {
                for inner in list.iter().filter_map(Value::as_object) {
                    collect(inner, found);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_application_an_operation_names_is_found() {
        let input = json!({"operations": [
            {"createServerGroup": {"application": "Web", "source": {"asgName": "api-prod-v001"}}},
            {"disableServerGroup": {"serverGroupName": "db-v002", "moniker": {"app": "db"}}},
        ]});
        let found = applications("own", input.as_object().unwrap());
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["api", "db", "own", "web"]
        );
    }
}
