//! Versions that were rolled back: in the cluster where that happened neither a
//! poll nor a notification deploys them again, until they are released.
//!
//! The truth is the objects of kind `quarantine`: `{id, account, cluster, image,
//! serverGroup, executionId}`, one per image and cluster. A person who starts a
//! deployment by hand decides for themselves.

use orchestrator_core::{Execution, TaskError};
use serde_json::{Value, json};

use super::{TaskContext, failed};
use crate::services::Object;

/// Puts an image into quarantine for a cluster; a repetition changes nothing.
pub(crate) async fn put(
    ctx: &TaskContext<'_>,
    account: &str,
    cluster: &str,
    group: &str,
    image: &str,
) -> Result<(), TaskError> {
    let object = json!({
        "id": format!("{account}/{cluster}/{image}"), "account": account, "cluster": cluster,
        "image": image, "serverGroup": group, "executionId": ctx.execution.id.to_string(),
        "application": ctx.execution.application,
    });
    let definitions = ctx.services.definitions();
    let user = ctx.user();
    let saved = definitions
        .save_object(Object::Quarantine, object, user)
        .await;
    saved.map(drop).map_err(failed)
}

/// The images that are in quarantine for a cluster, as objects.
pub(crate) async fn of_cluster(
    ctx: &TaskContext<'_>,
    account: &str,
    cluster: &str,
) -> Result<Vec<Value>, TaskError> {
    let definitions = ctx.services.definitions();
    let mut all = definitions
        .objects(Object::Quarantine)
        .await
        .map_err(failed)?;
    all.retain(|q| text(q, "account") == account && text(q, "cluster") == cluster);
    Ok(all)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether one of these is about an image.
pub(crate) fn holds(quarantined: &[Value], image: Option<&str>) -> bool {
    quarantined.iter().any(|q| Some(text(q, "image")) == image)
}

/// Refuses to deploy an image in quarantine when nobody asked for it by hand.
pub(crate) async fn check(
    ctx: &TaskContext<'_>,
    account: &str,
    cluster: &str,
    image: &str,
) -> Result<(), TaskError> {
    if is_by_hand(ctx.execution) {
        return Ok(());
    }
    let all = of_cluster(ctx, account, cluster).await?;
    let Some(found) = all.iter().find(|q| text(q, "image") == image) else {
        return Ok(());
    };
    Err(TaskError::user(format!(
        "{image} is in quarantine for cluster {cluster} of {account}: execution {} rolled it back; \
         release {}, or start the deployment by hand",
        text(found, "executionId"),
        text(found, "id"),
    )))
}

/// Whether a person started an execution, or the one that started it.
fn is_by_hand(execution: &Execution) -> bool {
    let kind = |trigger: &Value| text(trigger, "type").to_owned();
    let own = execution.trigger.get("type").and_then(Value::as_str);
    let mut kind_now = own.unwrap_or_default().to_owned();
    let mut parent = execution.trigger.get("parentExecution");
    while kind_now == "pipeline"
        && let Some(trigger) = parent.and_then(|p| p.get("trigger"))
    {
        kind_now = kind(trigger);
        parent = trigger.get("parentExecution");
    }
    matches!(kind_now.as_str(), "" | "manual" | "none")
}
