//! What runs where, for the verbs outside a pipeline: environments, their clusters, the version
//! that serves and the one before it. Reads only; the truth is cloud-driver's and the objects'
//! of kind `environment` and `quarantine`.

use orchestrator_core::{NewStage, StageView, TaskError};
use proto::moniker::Moniker;
use serde_json::{Map, Value, json};

use super::server_group::{self, image, instances, is_disabled, is_up, name};
use super::{TaskContext, failed, quarantine};
use crate::services::Object;

/// What a verb decided to do, kept so that a second run and a restart do the same.
pub(crate) const PLANNED: &str = "plannedStages";
/// Places that one verb changes.
const MOST_PLACES: usize = 50;

/// A cluster in one region of one account.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) cluster: String,
    pub(crate) region: String,
    /// Its server groups, newest first.
    pub(crate) groups: Vec<Value>,
}

impl Place {
    /// For messages.
    pub(crate) fn words(&self) -> String {
        format!(
            "cluster {} of {} in {}",
            self.cluster, self.account, self.region
        )
    }

    /// The newest group that takes traffic and has instances.
    pub(crate) fn serving(&self) -> Option<&Value> {
        let mut groups = self.groups.iter();
        groups.find(|g| !is_disabled(g) && !instances(g).is_empty())
    }

    /// Images that serve here with every instance up, each once.
    pub(crate) fn healthy(&self) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for group in &self.groups {
            let up =
                !instances(group).is_empty() && instances(group).iter().all(|i| is_up(i, None));
            if let Some(image) = image(group).filter(|_| up && !is_disabled(group))
                && !found.contains(&image)
            {
                found.push(image);
            }
        }
        found
    }

    /// The group that ran before another one: the newest older one with another image that
    /// was not rolled back here.
    pub(crate) fn before(&self, group: &Value, held: &[Value]) -> Result<&Value, TaskError> {
        let after = self.groups.iter().skip_while(|g| name(g) != name(group));
        let other = |g: &&Value| image(g).is_some() && image(g) != image(group);
        let older: Vec<&Value> = after.filter(other).collect();
        let free = |g: &&&Value| !quarantine::holds(held, image(g));
        match (older.iter().find(free), older.first()) {
            (Some(found), _) => Ok(found),
            (None, Some(held)) => Err(TaskError::user(format!(
                "every version before {} is in quarantine for {}, such as {}; release one \
                 (DELETE /quarantine/{{id}}), or deploy another image",
                name(group),
                self.words(),
                image(held).unwrap_or_default(),
            ))),
            (None, None) => Err(TaskError::user(format!(
                "no previous version of {} is known, {} is the only one; deploy an image by a \
                 pipeline",
                self.words(),
                image(group).unwrap_or_else(|| name(group)),
            ))),
        }
    }

    /// The stage that makes `to` serve here again instead of `from`.
    pub(crate) fn rollback(&self, ctx: &TaskContext<'_>, from: &str, to: &Value) -> Value {
        let context = json!({
            "account": self.account, "credentials": self.account, "region": self.region,
            "cloudProvider": server_group::provider(ctx), "cluster": self.cluster,
            "rollbackType": "EXPLICIT",
            "rollbackContext": {
                "rollbackServerGroupName": from, "restoreServerGroupName": name(to),
                "imageId": image(to), "targetHealthyRollbackPercentage": 100,
            },
        });
        let title = format!("Rollback {from} to {} in {}", name(to), self.region);
        json!({"type": "rollbackServerGroup", "name": title, "context": context})
    }
}

/// The application that a verb is about: the execution's, since that is what was permitted.
pub(crate) fn application<'a>(ctx: &TaskContext<'a>) -> Result<&'a str, TaskError> {
    let own = ctx.execution.application.as_str();
    match ctx.text("application") {
        Some(other) if !other.eq_ignore_ascii_case(own) => Err(TaskError::user(format!(
            "application is {other}, but the task belongs to {own}; start it as a task of {other}"
        ))),
        _ => Ok(own),
    }
}

/// The accounts of an environment that a field names.
pub(crate) async fn accounts(ctx: &TaskContext<'_>, field: &str) -> Result<Vec<String>, TaskError> {
    let wanted = ctx
        .text(field)
        .ok_or_else(|| TaskError::user(format!("{field} is missing; name an environment")))?;
    let definitions = ctx.services.definitions();
    let all = definitions
        .objects(Object::Environment)
        .await
        .map_err(failed)?;
    let named = |e: &Value| e["name"].as_str().unwrap_or_default().to_owned();
    let Some(found) = all.iter().find(|e| named(e).eq_ignore_ascii_case(wanted)) else {
        let known: Vec<String> = all.iter().map(named).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        return Err(TaskError::user(format!(
            "{field}: there is no environment \"{wanted}\"; known are {known}; create it with \
             POST /environments"
        )));
    };
    let listed = found["accounts"].as_array().into_iter().flatten();
    Ok(listed
        .filter_map(|a| Some(a.as_str()?.to_owned()))
        .collect())
}

/// The clusters of the application in these accounts, by region; only the one that the stage
/// names, if it does.
pub(crate) async fn places(
    ctx: &TaskContext<'_>,
    application: &str,
    accounts: &[String],
) -> Result<Vec<Place>, TaskError> {
    let only = ctx.text("cluster");
    let driver = ctx.services.cloud_driver();
    let listed = driver.clusters(application).await.map_err(failed)?;
    let mut found = Vec::new();
    for account in accounts {
        let entries = listed.get(account).and_then(Value::as_array);
        let mut names: Vec<&str> = entries
            .into_iter()
            .flatten()
            .filter_map(|c| c.as_str().or_else(|| c.get("name")?.as_str()))
            .filter(|name| only.is_none_or(|only| only == *name))
            .collect();
        names.sort_unstable();
        names.dedup();
        for cluster in names {
            found.extend(of_cluster(ctx, application, account, cluster).await?);
        }
    }
    if found.len() > MOST_PLACES {
        return Err(TaskError::user(format!(
            "{} clusters and regions are more than the {MOST_PLACES} one task may change; name a \
             cluster",
            found.len()
        )));
    }
    Ok(found)
}

/// A cluster, by region.
pub(crate) async fn of_cluster(
    ctx: &TaskContext<'_>,
    application: &str,
    account: &str,
    cluster: &str,
) -> Result<Vec<Place>, TaskError> {
    let driver = ctx.services.cloud_driver();
    let provider = server_group::provider(ctx);
    let found = driver
        .cluster(application, account, cluster, provider)
        .await;
    let found = found.map_err(failed)?.unwrap_or_default();
    let listed = found.get("serverGroups").and_then(Value::as_array);
    let mut regions: Vec<&str> = listed
        .into_iter()
        .flatten()
        .map(server_group::region)
        .collect();
    regions.sort_unstable();
    regions.dedup();
    Ok(regions
        .into_iter()
        .map(|region| Place {
            account: account.to_owned(),
            cluster: cluster.to_owned(),
            region: region.to_owned(),
            groups: server_group::of_cluster(&found, region).cloned().collect(),
        })
        .collect())
}

/// Refuses a cluster of another application: what was permitted is this one.
pub(crate) fn belongs(application: &str, cluster: &str) -> Result<(), TaskError> {
    let owner = Moniker::parse(cluster).app.unwrap_or_default();
    if owner.eq_ignore_ascii_case(application) {
        return Ok(());
    }
    Err(TaskError::user(format!(
        "cluster {cluster} belongs to application {owner}, not to {application}; start the task for {owner}"
    )))
}

/// The stages that a verb decided on, one after another.
pub(crate) fn planned(stage: StageView<'_>) -> Vec<NewStage> {
    let listed = stage.stage.context.get(PLANNED).and_then(Value::as_array);
    let stages = listed.into_iter().flatten().filter_map(|entry| {
        let context: &Map<String, Value> = entry.get("context")?.as_object()?;
        let (kind, name) = (entry.get("type")?.as_str()?, entry.get("name")?.as_str()?);
        Some(NewStage::new(kind, name, context.clone()))
    });
    NewStage::chain(stages.collect())
}
