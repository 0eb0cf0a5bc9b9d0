//! The types of stages there are: the list, and the catalogue the engine asks.
//!
//! A stage plans with pure functions and has its work done by tasks. To add one:
//! its file, and two adjacent lines here.

mod apply_source_server_group_capacity;
mod bulk_destroy_server_group;
mod capture_source_server_group_capacity;
mod check_metric;
mod check_preconditions;
mod cleanup_canary_clusters;
mod clone_server_group;
mod cluster_wide;
pub(crate) mod configured;
mod create_application;
mod create_server_group;
mod create_v2_pipeline_template;
mod delete_application;
mod delete_pipeline;
mod delete_project;
mod delete_v2_pipeline_template;
mod depends_on_execution;
mod deploy;
mod deploy_canary_server_groups;
mod deploy_previous_version;
mod deployment_monitor;
mod destroy_job;
mod destroy_server_group;
mod determine_target_server_group;
mod disable_cluster;
mod disable_server_group;
mod enable_server_group;
mod evaluate_artifacts;
mod evaluate_deployment_health;
mod evaluate_variables;
mod find_artifact_from_execution;
mod find_image;
mod find_image_from_tags;
mod get_properties;
mod jenkins;
mod kayenta_canary;
pub(crate) mod manual_judgment;
mod modify_aws_scaling_process;
mod monitor_pipeline;
mod noop;
mod notify_deploy_completed;
mod notify_deploy_starting;
mod page_application_owner;
mod pin_server_group;
mod pipeline;
mod preconfigured_job;
mod preconfigured_webhook;
mod promote_environment;
mod reorder_pipelines;
mod replace_in_place;
mod resize_server_group;
mod resolve_canary_config;
mod restore_server_group;
pub(crate) mod restrict_execution_during_time_window;
mod rollback_cluster;
mod rollback_server_group;
mod run_canary;
mod run_canary_intervals;
mod run_job;
mod run_multiple_pipelines;
mod save_pipeline;
mod save_pipelines_from_artifact;
mod scale_down_cluster;
mod script;
mod shift_traffic;
mod shrink_cluster;
pub mod strategy;
mod targeted;
mod terminate_instance_and_decrement_server_group;
mod terminate_instances;
pub mod unbuilt;
mod undo_deployment;
mod update_application;
mod update_pipeline;
mod update_v2_pipeline_template;
mod upsert_application;
mod upsert_load_balancer;
mod upsert_load_balancers;
mod upsert_project;
mod wait;
mod wait_until;
mod webhook;

use orchestrator_core::{StageCatalog, StageDefinition, TaskPolicy};
use serde_json::{Map, Value, json};

use crate::task::{self, Task};

/// Every type of stage.
pub static STAGES: &[&dyn StageType] = &[
    &apply_source_server_group_capacity::STAGE,
    &bulk_destroy_server_group::STAGE,
    &capture_source_server_group_capacity::STAGE,
    &check_metric::STAGE,
    &check_preconditions::STAGE,
    &cleanup_canary_clusters::STAGE,
    &clone_server_group::STAGE,
    &create_application::STAGE,
    &create_server_group::STAGE,
    &create_v2_pipeline_template::STAGE,
    &delete_application::STAGE,
    &delete_pipeline::STAGE,
    &delete_project::STAGE,
    &delete_v2_pipeline_template::STAGE,
    &depends_on_execution::STAGE,
    &deploy::STAGE,
    &deploy_canary_server_groups::STAGE,
    &deploy_previous_version::STAGE,
    &destroy_job::STAGE,
    &destroy_server_group::STAGE,
    &determine_target_server_group::STAGE,
    &disable_cluster::STAGE,
    &disable_server_group::STAGE,
    &enable_server_group::STAGE,
    &evaluate_artifacts::STAGE,
    &evaluate_deployment_health::STAGE,
    &evaluate_variables::STAGE,
    &find_artifact_from_execution::STAGE,
    &find_image::STAGE,
    &find_image_from_tags::STAGE,
    &get_properties::STAGE,
    &jenkins::STAGE,
    &kayenta_canary::STAGE,
    &manual_judgment::STAGE,
    &modify_aws_scaling_process::STAGE,
    &monitor_pipeline::STAGE,
    &noop::STAGE,
    &page_application_owner::STAGE,
    &notify_deploy_completed::STAGE,
    &notify_deploy_starting::STAGE,
    &pin_server_group::STAGE,
    &pipeline::STAGE,
    &preconfigured_job::STAGE,
    &preconfigured_webhook::STAGE,
    &promote_environment::STAGE,
    &reorder_pipelines::STAGE,
    &replace_in_place::STAGE,
    &resolve_canary_config::STAGE,
    &resize_server_group::STAGE,
    &restore_server_group::STAGE,
    &restrict_execution_during_time_window::STAGE,
    &rollback_cluster::STAGE,
    &rollback_server_group::STAGE,
    &run_canary::STAGE,
    &run_canary_intervals::STAGE,
    &run_job::STAGE,
    &run_multiple_pipelines::STAGE,
    &save_pipeline::STAGE,
    &save_pipelines_from_artifact::STAGE,
    &scale_down_cluster::STAGE,
    &script::STAGE,
    &shift_traffic::STAGE,
    &shrink_cluster::STAGE,
    &terminate_instance_and_decrement_server_group::STAGE,
    &terminate_instances::STAGE,
    &undo_deployment::STAGE,
    &update_application::STAGE,
    &update_pipeline::STAGE,
    &update_v2_pipeline_template::STAGE,
    &upsert_application::STAGE,
    &upsert_load_balancer::STAGE,
    &upsert_load_balancers::STAGE,
    &upsert_project::STAGE,
    &wait::STAGE,
    &wait_until::STAGE,
    &webhook::STAGE,
];

/// A type of stage as this service knows it.
pub trait StageType: StageDefinition {
    /// Tasks that no other stage uses.
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[]
    }

    /// Accounts that a stage as written names, with their paths below the stage.
    fn accounts(&self, _stage: &Map<String, Value>) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// What stands behind a type that is meant for our own provider: `deploy_local`.
pub(crate) const OWN_PROVIDER: &str = "_local";

/// A type by name, also one that is known and not built; none if there is none.
pub fn find(kind: &str) -> Option<&'static dyn StageType> {
    let kind = kind.strip_suffix(OWN_PROVIDER).unwrap_or(kind);
    let built = STAGES.iter().copied().find(|s| s.kind() == kind);
    built.or_else(|| unbuilt::find(kind).map(|known| known as &dyn StageType))
}

/// What may stand in place of an unknown type.
pub fn known_types() -> String {
    let kinds: Vec<_> = STAGES.iter().map(|s| s.kind()).collect();
    format!("known are {}", kinds.join(", "))
}

/// A type for people and forms: type, label, description, category, schema, and
/// whether it can be run.
pub fn describe(stage: &dyn StageType) -> Value {
    let about = stage.describe();
    json!({
        "type": stage.kind(),
        "built": unbuilt::find(stage.kind()).is_none(),
        "label": about.label,
        "description": about.text,
        "category": about.category,
        "schema": stage.schema(),
    })
}

/// The catalogue of this service.
#[derive(Debug, Clone, Copy)]
pub struct Catalog;

impl StageCatalog for Catalog {
    fn stage(&self, kind: &str) -> Option<&dyn StageDefinition> {
        find(kind).map(|found| found as &dyn StageDefinition)
    }

    fn task(&self, kind: &str) -> Option<TaskPolicy> {
        task::find(kind).map(|found| found.policy())
    }
}

/// Accounts under `account` and `credentials` of a map; `prefix` ends with a dot or is empty.
fn accounts_of(map: &Map<String, Value>, prefix: &str) -> Vec<(String, String)> {
    ["account", "credentials"]
        .into_iter()
        .filter_map(|key| {
            let name = map.get(key)?.as_str().filter(|name| !name.is_empty())?;
            Some((format!("{prefix}{key}"), name.to_owned()))
        })
        .collect()
}

/// Checks what is an expression although it need not say so with `${…}`.
pub(crate) fn bare_expression(text: &str) -> Result<(), String> {
    if text.contains("${") || text.trim().is_empty() {
        // Checked where every text is; or nothing.
        return Ok(());
    }
    expression::parse_check(&format!("${{{text}}}"))
        .map_err(|error| format!("bad expression: {error}"))
}

/// A schema of an object with these properties.
fn schema(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_own_type_and_says_what_it_is() {
        let known = unbuilt::UNBUILT.iter();
        let known = known.flat_map(|u| u.aliases.iter().copied().chain([u.kind]));
        let mut kinds: Vec<_> = STAGES.iter().map(|s| s.kind()).chain(known).collect();
        let sorted = kinds.clone();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), sorted.len());
        for stage in STAGES {
            let about = stage.describe();
            assert!(
                !about.label.is_empty() && !about.text.is_empty(),
                "{}",
                stage.kind()
            );
        }
    }

    #[test]
    fn the_list_is_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/stage");
        let files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".rs") && name != "mod.rs")
            .filter(|name| {
                ![
                    "targeted.rs",
                    "cluster_wide.rs",
                    "configured.rs",
                    "deployment_monitor.rs",
                ]
                .contains(&name.as_str())
            })
            .collect();
        assert_eq!(files.len(), STAGES.len(), "{files:?}");
    }
}
