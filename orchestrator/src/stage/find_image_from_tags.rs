//! `findImageFromTags`: the newest image of a package that carries some tags.
//! Source: `orca: FindImageFromTagsStage`, `AmazonImageFinder`, `frigga: AppVersion`.

use std::cmp::Reverse;

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use proto::status::Kind;
use serde_json::{Map, Value, json};

use super::find_image::{made, regions_after};
use super::{StageType, schema};
use crate::provider;
use crate::task::server_group::{self, regions_of};
use crate::task::{Task, TaskContext, failed};

/// Images whose labels are looked at, newest first.
const MOST_LOOKED_AT: usize = 100;

/// The type.
pub(super) static STAGE: FindImageFromTags = FindImageFromTags;

/// See the module.
#[derive(Debug)]
pub(super) struct FindImageFromTags;

impl StageDefinition for FindImageFromTags {
    fn kind(&self) -> &'static str {
        "findImageFromTags"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Find image from tags",
            text: "Finds the newest image of a package that carries some tags.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("findImage", Find.kind())])
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let package = context.get("packageName").and_then(Value::as_str);
        if package.is_none_or(str::is_empty) {
            let message = "it is missing; name the package, or the repository, of the image";
            return vec![Fault::new(format!("{path}.packageName"), message)];
        }
        Vec::new()
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "packageName": {"type": "string", "title": "Package"},
                "tags": {"type": "object", "title": "Tags"},
                "regions": {"type": "array", "items": {"type": "string"}, "title": "Regions"},
            }),
            &["packageName"],
        )
    }
}

impl StageType for FindImageFromTags {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Find]
    }
}

#[derive(Debug)]
struct Find;

#[async_trait]
impl Task for Find {
    fn kind(&self) -> &'static str {
        "findImageFromTags"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 300_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let package = ctx.text("packageName").ok_or_else(|| {
            TaskError::user("packageName is missing; name the package of the image")
        })?;
        let tags = ctx.own("tags").and_then(Value::as_object);
        let tags = tags.cloned().unwrap_or_default();
        let mut regions = regions_of(&ctx.stage.context);
        if provider::of(&ctx.stage.context).infers_regions() {
            for region in regions_after(ctx.execution, ctx.stage) {
                if !regions.contains(&region) {
                    regions.push(region);
                }
            }
        }
        let driver = ctx.services.cloud_driver();
        let images = driver.images(server_group::provider(ctx), package).await;
        let images = images.map_err(failed)?;
        let details = if images.iter().any(|i| i.get("amis").is_some()) {
            of_regions(&images, package, &tags, &regions)
        } else {
            of_registry(ctx, &images, package, &tags)
                .await?
                .into_iter()
                .collect()
        };
        if details.is_empty() {
            return Err(TaskError::user(format!(
                "Could not find tagged image for package: {package} and tags: {}",
                Value::Object(tags)
            )));
        }
        let artifacts: Vec<Value> = details.iter().map(|d| artifact(ctx, d)).collect();
        Ok(TaskResult::succeeded()
            .with_context("amiDetails", details.clone())
            .with_context("artifacts", artifacts)
            .with_output("deploymentDetails", details))
    }
}

/// The newest image of each region that has the package and all tags.
fn of_regions(
    images: &[Value],
    package: &str,
    tags: &Map<String, Value>,
    regions: &[String],
) -> Vec<Value> {
    let mut details = Vec::new();
    for region in regions {
        let candidates = images.iter().filter_map(|image| {
            let name = image.get("imageName")?.as_str()?;
            let id = image.get("amis")?.get(region)?.get(0)?.as_str()?;
            let carried = image.get("tagsByImageId").and_then(|t| t.get(id));
            let has = |(key, value): (&String, &Value)| {
                carried.and_then(|c| c.get(key)).is_some_and(|v| v == value)
            };
            let fits = name.starts_with(package) && tags.iter().all(has);
            fits.then_some((made(image), name, id, carried))
        });
        let newest = candidates.max_by(|a, b| a.0.cmp(&b.0));
        if let Some((_, name, id, carried)) = newest {
            let mut detail = json!({
                "ami": id, "imageId": id, "imageName": name, "region": region,
            });
            if let Some(jenkins) = carried.and_then(jenkins) {
                detail["jenkins"] = jenkins;
            }
            details.push(detail);
        }
    }
    details
}

/// The newest image of a registry's repository whose labels have all tags.
async fn of_registry(
    ctx: &TaskContext<'_>,
    images: &[Value],
    package: &str,
    tags: &Map<String, Value>,
) -> Result<Option<Value>, TaskError> {
    let text = |image: &'_ Value, key: &str| -> String {
        let found = image.get(key).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let of_package = |image: &&Value| {
        let repository = text(image, "repository");
        repository == package || repository.ends_with(&format!("/{package}"))
    };
    let mut candidates: Vec<&Value> = images.iter().filter(of_package).collect();
    candidates.sort_by_cached_key(|image| Reverse(order(&text(image, "tag"))));
    let driver = ctx.services.cloud_driver();
    for (looked, image) in candidates.into_iter().enumerate() {
        if !tags.is_empty() {
            if looked == MOST_LOOKED_AT {
                return Err(TaskError::user(format!(
                    "none of the newest {MOST_LOOKED_AT} images of {package} has these tags as labels"
                )));
            }
            let labels = match driver.labels(image).await {
                Ok(labels) => labels,
                // Deleted meanwhile, of another platform, or damaged: it is none of those looked for.
                Err(failure) if matches!(failure.kind, Kind::NotFound | Kind::Internal) => continue,
                Err(failure) => return Err(failed(failure)),
            };
            let has = |(key, value): (&String, &Value)| labels.get(key) == Some(value);
            if !tags.iter().all(has) {
                continue;
            }
        }
        return Ok(image.pointer("/artifact/reference").map(|reference| {
            json!({
                "imageId": reference, "imageName": image.pointer("/artifact/name"),
                "tag": image.get("tag"),
            })
        }));
    }
    Ok(None)
}

/// Words of versions that come before the version itself.
const BEFORE: [&str; 7] = ["alpha", "beta", "dev", "pre", "preview", "rc", "snapshot"];

/// Versions in their order: numbers by value, texts as they are, `1.9-rc1` before `1.9` before `1.9-h2`.
fn order(tag: &str) -> Vec<(u8, String, u64)> {
    let part = |part: &str| {
        let number = part.trim_start_matches('v').parse::<u64>();
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let lower = word.to_lowercase();
        match number {
            Ok(number) => (3, String::new(), number),
            Err(_) if BEFORE.contains(&lower.as_str()) => {
                let number = part
                    .strip_prefix(word)
                    .and_then(|digits| digits.parse().ok());
                (0, lower, number.unwrap_or(0))
            }
            Err(_) => (2, part.to_owned(), 0),
        }
    };
    let parts = tag.split(['.', '-', '_', '+']).map(part);
    parts.chain([(1, String::new(), 0)]).collect()
}

/// The build that an image's `appversion` names: `name-1.2-h3.abc/JOB/3`.
fn jenkins(tags: &Value) -> Option<Value> {
    let mut parts = tags.get("appversion")?.as_str()?.split('/').skip(1);
    let (job, number) = (parts.next()?, parts.next()?);
    let host = tags.get("build_host").cloned().unwrap_or_default();
    Some(json!({"host": host, "name": job, "number": number}))
}

fn artifact(ctx: &TaskContext<'_>, detail: &Value) -> Value {
    let provider = server_group::provider(ctx);
    let kind = if provider == "local" {
        "docker"
    } else {
        provider
    };
    let jenkins = detail.get("jenkins");
    let metadata =
        jenkins.map(|j| json!({"build_info_url": j.get("host"), "build_number": j.get("number")}));
    json!({
        "customKind": false, "type": format!("{kind}/image"), "name": detail.get("imageName"),
        "reference": detail.get("imageId"), "location": detail.get("region"),
        "metadata": metadata.unwrap_or_else(|| json!({})), "uuid": ctx.effect("artifact"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let sorted = [
            "latest",
            "1.9-alpha",
            "1.9-rc2",
            "1.9-rc10",
            "1.9",
            "1.9-h2",
            "1.9.0",
            "1.10",
            "v2",
        ];
        let mut tags = sorted.to_vec();
        tags.reverse();
        tags.sort_by_key(|tag| order(tag));
        assert_eq!(tags, sorted);
    }

    #[test]
    fn a_build_is_read_from_the_version_of_an_image() {
        let tags = json!({"appversion": "a-1.2-h2.abc/JOB-a/2", "build_host": "http://j/"});
        let expected = json!({"host": "http://j/", "name": "JOB-a", "number": "2"});
        assert_eq!(jenkins(&tags), Some(expected));
    }
}
