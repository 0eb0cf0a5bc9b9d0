//! `rollbackCluster`: in every region of a cluster the version before serves again.
//! Source: `orca: RollbackClusterStage`, `DetermineRollbackCandidatesTask`.
//!
//! Differs from Spinnaker: a version that was itself rolled back here is never
//! what comes back, unless it is named.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use proto::moniker::Moniker;
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema};
use crate::task::quarantine;
use crate::task::server_group::{self, regions_of, whole};
use crate::task::{Task, TaskContext, failed};

/// The type.
pub(super) static STAGE: RollbackCluster = RollbackCluster;

/// See the module.
#[derive(Debug)]
pub(super) struct RollbackCluster;

impl StageDefinition for RollbackCluster {
    fn kind(&self) -> &'static str {
        "rollbackCluster"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Rollback cluster",
            text: "Makes the version before serve again, in every region of a cluster.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        super::unbuilt::require_provider(stage.stage)?;
        Ok(vec![TaskSpec::new(
            "determineRollbackCandidates",
            Determine.kind(),
        )])
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let outputs = &stage.stage.outputs;
        let object = |key: &str| outputs.get(key).and_then(Value::as_object);
        let (Some(types), Some(contexts)) = (object("rollbackTypes"), object("rollbackContexts"))
        else {
            return Ok(Vec::new());
        };
        let own = &stage.stage.context;
        let pause = own.get("waitTimeBetweenRegions").and_then(whole);
        let pause = pause.filter(|seconds| *seconds > 0);
        let regions: Vec<String> = regions_of(own)
            .into_iter()
            .filter(|r| types.contains_key(r))
            .collect();
        let mut planned = Vec::new();
        for (n, region) in regions.iter().enumerate() {
            let name = format!("Rollback {region}");
            let context = rollback(stage, region, types, contexts);
            planned.push(NewStage::new("rollbackServerGroup", &name, context));
            if let Some(seconds) = pause.filter(|_| n + 1 < regions.len()) {
                let mut context = Map::new();
                context.insert("waitTime".to_owned(), seconds.into());
                let name = format!("Wait after {region}");
                planned.push(NewStage::new("wait", &name, context));
            }
        }
        Ok(NewStage::chain(planned))
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in ["rollbackTypes", "rollbackContexts"] {
            stage.outputs.shift_remove(key);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        super::targeted::place_faults(context, path)
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "credentials": {"type": "string", "title": "Account"},
                "regions": {"type": "array", "items": {"type": "string"}, "title": "Regions"},
                "cluster": {"type": "string", "title": "Cluster"},
                "targetHealthyRollbackPercentage": {"type": "integer"},
                "waitTimeBetweenRegions": {"type": "integer", "title": "Seconds between regions"},
            }),
            &["credentials", "regions"],
        )
    }
}

/// The context of one region's rollback.
fn rollback(
    stage: StageView<'_>,
    region: &str,
    types: &Map<String, Value>,
    contexts: &Map<String, Value>,
) -> Map<String, Value> {
    let own = &stage.stage.context;
    let mut context = Map::new();
    for key in [
        "credentials",
        "account",
        "cloudProvider",
        "application",
        "floor",
        "allowOutage",
    ] {
        if let Some(value) = own.get(key) {
            context.insert(key.to_owned(), value.clone());
        }
    }
    let mut inner = contexts.get(region).cloned().unwrap_or_default();
    if let (Value::Object(inner), Some(Value::Object(more))) =
        (&mut inner, own.get("additionalRollbackContext"))
    {
        inner.extend(more.clone());
    }
    context.insert("region".to_owned(), region.into());
    context.insert(
        "rollbackType".to_owned(),
        types.get(region).cloned().unwrap_or_default(),
    );
    context.insert("rollbackContext".to_owned(), inner);
    context.insert("type".to_owned(), "rollbackServerGroup".into());
    let inherited = [
        "interestingHealthProviderNames",
        "sourceServerGroupCapacitySnapshot",
    ];
    let parent = stage.parent();
    for key in inherited {
        let of_parent = parent.as_ref().and_then(|p| p.stage.context.get(key));
        if let Some(value) = own.get(key).or(of_parent) {
            context.insert(key.to_owned(), value.clone());
        }
    }
    context
}

impl StageType for RollbackCluster {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Determine]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

#[derive(Debug)]
struct Determine;

#[async_trait]
impl Task for Determine {
    fn kind(&self) -> &'static str {
        "determineRollbackCandidates"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 2_000,
            timeout_ms: Some(300_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let context = &ctx.stage.context;
        let of_group = ctx
            .text("serverGroup")
            .and_then(|name| Moniker::parse(name).cluster);
        let cluster = of_group
            .unwrap_or_else(|| server_group::cluster_of(context, &ctx.execution.application));
        let application = Moniker::parse(&cluster).app;
        let application = application.unwrap_or_else(|| ctx.execution.application.clone());
        let account = server_group::account(ctx)?;
        let driver = ctx.services.cloud_driver();
        let found = driver
            .cluster(&application, account, &cluster, server_group::provider(ctx))
            .await
            .map_err(failed)?
            .unwrap_or_default();
        let quarantined = quarantine::of_cluster(ctx, account, &cluster).await?;
        let (mut types, mut contexts) = (Map::new(), Map::new());
        let mut images = Vec::new();
        for region in regions_of(context) {
            let groups: Vec<&Value> = server_group::of_cluster(&found, &region).collect();
            let asked = Asked {
                original: ctx.text("originalServerGroup"),
                healthy: ctx.own("targetHealthyRollbackPercentage").cloned(),
                only_enabled: ctx
                    .own("additionalRollbackContext")
                    .and_then(|c| c.get("onlyEnabledServerGroups"))
                    == Some(&json!(true)),
                quarantined: &quarantined,
            };
            let Some((kind, inner, image)) = asked.choose(&groups).map_err(|message| {
                TaskError::user(format!("{message} in {region} of cluster {cluster}"))
            })?
            else {
                continue;
            };
            images.push(json!({"region": region, "image": image, "rollbackMethod": kind}));
            types.insert(region.clone(), kind.into());
            contexts.insert(region, inner);
        }
        Ok(TaskResult::succeeded()
            .with_context("imagesToRestore", images)
            .with_output("rollbackTypes", types)
            .with_output("rollbackContexts", contexts))
    }
}

/// What the stage says about which group comes back.
struct Asked<'a> {
    original: Option<&'a str>,
    healthy: Option<Value>,
    only_enabled: bool,
    /// What was rolled back here before.
    quarantined: &'a [Value],
}

impl Asked<'_> {
    /// Of a region's groups, newest first: the type of the rollback, its context
    /// and the image that comes back; none if there is nothing to roll back.
    fn choose(&self, groups: &[&Value]) -> Result<Option<(&'static str, Value, Value)>, String> {
        let current = groups.iter().find(|g| !server_group::is_disabled(g));
        let (Some(current), true) = (current, groups.len() > 1) else {
            return Ok(None);
        };
        let from = server_group::name(current);
        let candidates: Vec<&Value> = groups
            .iter()
            .copied()
            .filter(|g| server_group::name(g) != from)
            .filter(|g| !self.only_enabled || !server_group::is_disabled(g))
            .collect();
        let any = !candidates.is_empty();
        let held = |g: &&Value| quarantine::holds(self.quarantined, server_group::image(g));
        let candidates: Vec<&Value> = candidates.into_iter().filter(|g| !held(g)).collect();
        if any && candidates.is_empty() && self.original.is_none() {
            // All others were rolled back before: this is the version to stay at.
            return Ok(None);
        }
        let named = |name: &str| {
            groups
                .iter()
                .find(|g| server_group::name(g) == name)
                .copied()
        };
        let noted = current
            .get("entityTags")
            .and_then(|_| server_group::image_before(current, &[]));
        let restored = match (self.original, noted) {
            (Some(original), _) => named(original)
                .ok_or_else(|| format!("the group to restore, {original}, does not exist"))?,
            (None, Some(before)) => {
                let image = server_group::image(before);
                let same = |g: &&&Value| server_group::image(g) == image;
                match candidates.iter().find(same) {
                    Some(group) => group,
                    None => {
                        let name = before.get("imageName").cloned().unwrap_or_default();
                        let mut inner = json!({
                            "rollbackServerGroupName": from, "imageId": image, "imageName": name,
                        });
                        inner["targetHealthyRollbackPercentage"] = self.percentage(current);
                        return Ok(Some(("PREVIOUS_IMAGE", inner, name)));
                    }
                }
            }
            (None, None) => candidates
                .first()
                .ok_or_else(|| "there is no server group to roll back to".to_owned())?,
        };
        let inner = json!({
            "rollbackServerGroupName": from,
            "restoreServerGroupName": server_group::name(restored),
            "targetHealthyRollbackPercentage": self.percentage(current),
        });
        let image = restored.get("imageName").cloned();
        let image = image.unwrap_or_else(|| json!(server_group::image(restored)));
        Ok(Some(("EXPLICIT", inner, image)))
    }

    /// How much of the group must be healthy: as asked, else by its size.
    fn percentage(&self, current: &Value) -> Value {
        let by_size = || match server_group::capacity(current).desired {
            ..10 => 100,
            10..20 => 90,
            20.. => 95,
        };
        self.healthy.clone().unwrap_or_else(|| by_size().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, created: u64, disabled: bool, image: &str) -> Value {
        json!({"name": name, "createdTime": created, "isDisabled": disabled, "imageId": image,
            "capacity": {"min": 1, "max": 12, "desired": 12}})
    }

    fn choose(asked: &Asked<'_>, groups: &[Value]) -> Result<Option<(String, Value)>, String> {
        let groups: Vec<&Value> = groups.iter().collect();
        let chosen = asked.choose(&groups)?;
        Ok(chosen.map(|(kind, inner, _)| (kind.to_owned(), inner)))
    }

    #[test]
    fn the_newest_other_group_comes_back_unless_another_is_named() {
        let all = [
            group("a-v2", 3, false, "i2"),
            group("a-v1", 2, true, "i1"),
            group("a-v0", 1, false, "i0"),
        ];
        let mut asked = Asked {
            original: None,
            healthy: None,
            only_enabled: false,
            quarantined: &[],
        };
        let (kind, inner) = choose(&asked, &all).unwrap().unwrap();
        assert_eq!(kind, "EXPLICIT");
        assert_eq!(inner["restoreServerGroupName"], "a-v1");
        assert_eq!(inner["targetHealthyRollbackPercentage"], 90);
        asked.only_enabled = true;
        let (_, inner) = choose(&asked, &all).unwrap().unwrap();
        assert_eq!(inner["restoreServerGroupName"], "a-v0");
        assert!(choose(&asked, &all[..2]).is_err());
        asked.original = Some("a-v1");
        let (_, inner) = choose(&asked, &all).unwrap().unwrap();
        assert_eq!(inner["restoreServerGroupName"], "a-v1");
        assert!(choose(&asked, &all[..1]).unwrap().is_none());
    }

    #[test]
    fn an_image_that_runs_nowhere_any_more_is_deployed_again() {
        let mut current = group("a-v2", 3, false, "i2");
        current["entityTags"] = json!({"tags": [{"name": "spinnaker:metadata",
            "value": {"previousServerGroup": {"imageId": "i0", "imageName": "img-0"}}}]});
        let asked = Asked {
            original: None,
            healthy: Some(json!(50)),
            only_enabled: false,
            quarantined: &[],
        };
        let all = [current, group("a-v1", 2, true, "i1")];
        let (kind, inner) = choose(&asked, &all).unwrap().unwrap();
        assert_eq!(
            (kind.as_str(), &inner["imageId"]),
            ("PREVIOUS_IMAGE", &json!("i0"))
        );
    }
}
