//! `findImage`: the image that a cluster runs, for a deployment after it.
//! Source: `orca: FindImageFromClusterStage`, `FindImageFromClusterTask`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, Execution, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted};
use crate::provider;
use crate::task::server_group::{self, regions_of, whole};
use crate::task::{Task, TaskContext, failed};

/// The type.
pub(super) static STAGE: FindImage = FindImage;

const STRATEGIES: [&str; 4] = ["NEWEST", "OLDEST", "LARGEST", "FAIL"];

/// See the module.
#[derive(Debug)]
pub(super) struct FindImage;

impl StageDefinition for FindImage {
    fn kind(&self) -> &'static str {
        "findImage"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Find image from cluster",
            text: "Finds the image that a cluster runs.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        super::unbuilt::require_provider(stage.stage)?;
        Ok(vec![TaskSpec::new("findImage", Find.kind())])
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = targeted::place_faults(context, path);
        let named = context.get("cluster").or_else(|| context.get("moniker"));
        if named.is_none() {
            let message = "it is missing; name the cluster";
            faults.push(Fault::new(format!("{path}.cluster"), message));
        }
        let strategy = context.get("selectionStrategy").and_then(Value::as_str);
        if let Some(other) = strategy.filter(|s| !s.contains("${") && !STRATEGIES.contains(s)) {
            let message = format!("\"{other}\" is unknown; use {}", STRATEGIES.join(", "));
            faults.push(Fault::new(format!("{path}.selectionStrategy"), message));
        }
        faults
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "credentials": {"type": "string", "title": "Account"},
                "regions": {"type": "array", "items": {"type": "string"}, "title": "Regions"},
                "cluster": {"type": "string", "title": "Cluster"},
                "selectionStrategy": {"type": "string", "enum": STRATEGIES, "default": "NEWEST"},
                "onlyEnabled": {"type": "boolean", "default": true},
                "imageNamePattern": {"type": "string", "title": "Image name, a regular expression"},
            }),
            &["credentials", "regions", "cluster"],
        )
    }
}

impl StageType for FindImage {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Find]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

/// Regions that deployments after a stage go to (`orca: RegionCollector`).
pub(super) fn regions_after(execution: &Execution, stage: &Stage) -> Vec<String> {
    let mut open = vec![stage];
    let mut seen: Vec<&Stage> = Vec::new();
    while let Some(at) = open.pop() {
        for next in execution.downstream(at) {
            if !seen.iter().any(|s| s.id == next.id) {
                seen.push(next);
                open.push(next);
            }
        }
    }
    let mut regions = Vec::new();
    for deploy in seen.into_iter().filter(|s| s.kind == "deploy") {
        let listed = deploy.context.get("clusters").and_then(Value::as_array);
        let clusters = listed.into_iter().flatten().filter_map(Value::as_object);
        for region in clusters.flat_map(regions_of) {
            if !regions.contains(&region) {
                regions.push(region);
            }
        }
    }
    regions
}

#[derive(Debug)]
struct Find;

#[async_trait]
impl Task for Find {
    fn kind(&self) -> &'static str {
        "findImageFromCluster"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(10_000, 600_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let account = server_group::account(ctx)?;
        let cluster = server_group::cluster_of(&ctx.stage.context, &ctx.execution.application);
        let own = provider::of(&ctx.stage.context);
        let mut regions = regions_of(&ctx.stage.context);
        let mut inferred = Vec::new();
        if own.infers_regions() && !ctx.flag("skipRegionDetection") {
            inferred = regions_after(ctx.execution, ctx.stage);
            inferred.retain(|region| !regions.contains(region));
            regions.extend(inferred.iter().cloned());
        }
        let application = ctx
            .text("application")
            .unwrap_or(&ctx.execution.application);
        let driver = ctx.services.cloud_driver();
        let found = driver
            .cluster(application, account, &cluster, server_group::provider(ctx))
            .await
            .map_err(failed)?
            .unwrap_or_default();
        let mut details = Vec::new();
        let mut missing = Vec::new();
        for region in regions {
            let groups: Vec<&Value> = server_group::of_cluster(&found, &region).collect();
            match select(ctx, &groups, &region)? {
                Some(group) if server_group::image(group).is_none() => {
                    return Ok(TaskResult::running());
                }
                Some(group) => details.push(detail(ctx, group, &region)),
                None if ctx.flag("resolveMissingLocations") => missing.push(region),
                None => {
                    return Err(TaskError::user(format!(
                        "Could not find cluster '{cluster}' for '{account}' in '{region}'."
                    )));
                }
            }
        }
        if !missing.is_empty() {
            let resolved = resolve(ctx, account, &details, &missing).await?;
            details.extend(resolved);
        }
        if let Some(pattern) = ctx.text("imageNamePattern") {
            let expression = regex(pattern)?;
            details.retain(|d| {
                let name = d.get("imageName").and_then(Value::as_str);
                name.is_some_and(|name| expression.is_match(name))
            });
        }
        let artifacts: Vec<Value> = details.iter().map(|d| artifact(ctx, d)).collect();
        Ok(TaskResult::succeeded()
            .with_context("amiDetails", details.clone())
            .with_context("artifacts", artifacts)
            .with_output("deploymentDetails", details)
            .with_output("inferredRegions", inferred))
    }
}

/// A pattern that must match the whole name.
fn regex(pattern: &str) -> Result<regex::Regex, TaskError> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(1 << 20)
        .build()
        .map_err(|error| {
            TaskError::user(format!("imageNamePattern \"{pattern}\" is wrong: {error}"))
        })
}

/// The group whose image counts; none if the cluster has none there.
fn select<'a>(
    ctx: &TaskContext<'_>,
    groups: &[&'a Value],
    region: &str,
) -> Result<Option<&'a Value>, TaskError> {
    let only_enabled = ctx.stage.flag("onlyEnabled") != Some(false);
    // Newest first, as they come.
    let groups: Vec<&Value> = groups
        .iter()
        .copied()
        .filter(|g| !only_enabled || !server_group::is_disabled(g))
        .collect();
    Ok(match ctx.text("selectionStrategy").unwrap_or("NEWEST") {
        "OLDEST" => groups.last().copied(),
        "LARGEST" => groups
            .iter()
            .rev()
            .copied()
            .max_by_key(|g| server_group::instances(g).len()),
        "FAIL" if groups.len() > 1 => {
            return Err(TaskError::user(format!(
                "Multiple possible server groups present in {region}"
            )));
        }
        _ => groups.first().copied(),
    })
}

fn detail(ctx: &TaskContext<'_>, group: &Value, region: &str) -> Value {
    let image = server_group::image(group);
    let name = group.get("imageName").cloned();
    let name = name.unwrap_or_else(|| json!(image));
    let mut detail = json!({
        "ami": image, "imageId": image, "imageName": name, "name": name,
        "cloudProvider": server_group::provider(ctx), "refId": ctx.stage.ref_id.to_string(),
        "region": region, "sourceServerGroup": server_group::name(group),
    });
    let build = group.get("buildInfo").and_then(Value::as_object);
    for (key, value) in build.into_iter().flatten().filter(|(k, _)| *k != "images") {
        detail[key] = value.clone();
    }
    detail
}

/// The image as an artifact for what comes after.
fn artifact(ctx: &TaskContext<'_>, detail: &Value) -> Value {
    let provider = server_group::provider(ctx);
    let text = |key: &str| detail.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, name, reference) = if provider == "local" {
        let whole = text("imageId");
        let name = whole.rsplit_once(':').map_or(whole, |(name, _)| name);
        ("docker/image".to_owned(), name, whole.to_owned())
    } else {
        // As in Orca the reference is the kind, not the image.
        let kind = format!("{provider}/image");
        (kind.clone(), text("imageName"), kind)
    };
    let mut metadata = detail.clone();
    if let Some(fields) = metadata.as_object_mut() {
        for key in ["ami", "cloudProvider", "region", "imageName"] {
            fields.shift_remove(key);
        }
    }
    json!({
        "customKind": false, "type": kind, "name": name, "reference": reference,
        "location": detail.get("region"), "metadata": metadata, "uuid": ctx.effect(name),
    })
}

/// The same image in regions where the cluster does not run, by its name.
async fn resolve(
    ctx: &TaskContext<'_>,
    account: &str,
    details: &[Value],
    missing: &[String],
) -> Result<Vec<Value>, TaskError> {
    let mut names: Vec<&str> = details
        .iter()
        .filter_map(|d| d.get("imageName")?.as_str())
        .map(base_name)
        .collect();
    names.sort_unstable();
    names.dedup();
    let [name] = names.as_slice() else {
        return Err(TaskError::user(format!(
            "the image for regions {missing:?} is one of {names:?}; it must be one"
        )));
    };
    let driver = ctx.services.cloud_driver();
    let images = driver.images(server_group::provider(ctx), name).await;
    let images = images.map_err(failed)?;
    let mut found = Vec::new();
    for region in missing {
        let own = |image: &&Value| {
            let accounts = image.get("accounts").and_then(Value::as_array);
            accounts.is_none_or(|list| list.iter().any(|a| a == account))
        };
        let in_region = images.iter().filter(own).find_map(|image| {
            let id = image.get("amis")?.get(region)?.get(0)?;
            Some((id.clone(), image.get("imageName").cloned()?))
        });
        let Some((id, image)) = in_region else {
            return Err(TaskError::user(format!(
                "Missing image '{name}' in regions: [{region}]"
            )));
        };
        found.push(json!({
            "ami": id, "imageId": id, "imageName": image, "name": image,
            "cloudProvider": server_group::provider(ctx), "refId": ctx.stage.ref_id.to_string(),
            "region": region, "sourceServerGroup": Value::Null,
        }));
    }
    Ok(found)
}

/// An image's name without the number that a copy of it got.
fn base_name(name: &str) -> &str {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if base.ends_with("-ebs") { base } else { name }
}

/// When an image was made, for an order; text as it stands.
pub(super) fn made(image: &Value) -> String {
    let at = image.get("attributes").and_then(|a| a.get("creationDate"));
    match at {
        Some(Value::String(text)) => text.clone(),
        Some(other) => whole(other).map(|n| format!("{n:020}")).unwrap_or_default(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_copy_is_not_part_of_the_name() {
        assert_eq!(base_name("shop-1.0-x86_64-ebs1"), "shop-1.0-x86_64-ebs");
        assert_eq!(base_name("shop-1.0"), "shop-1.0");
    }
}
