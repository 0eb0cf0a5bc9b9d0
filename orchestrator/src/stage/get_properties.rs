//! `getProperties`: what a build that failed left in its property file. Planned after
//! such a failure. Source: `orca: GetPropertiesStage`.

use orchestrator_core::graph::Fault;
use orchestrator_core::{Description, PlanError, StageDefinition, StageView, TaskSpec};
use serde_json::{Map, Value, json};

use super::{StageType, jenkins, schema};

/// The type.
pub(super) static STAGE: GetProperties = GetProperties;

/// See the module.
#[derive(Debug)]
pub(super) struct GetProperties;

impl StageDefinition for GetProperties {
    fn kind(&self) -> &'static str {
        "getProperties"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Get properties",
            text: "Reads the properties in a file that a build keeps.",
            category: "integration",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(
            "getPropertiesFile",
            jenkins::PROPERTIES,
        )])
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let keys = ["master", "job", "buildNumber", "propertyFile"];
        let missing = |key: &&str| match context.get(*key) {
            None | Some(Value::Null) => true,
            Some(value) => *value == json!(""),
        };
        let fault = |key: &str| Fault::new(format!("{path}.{key}"), "it is missing; name it");
        keys.iter()
            .filter(|k| missing(k))
            .map(|k| fault(k))
            .collect()
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "master": {"type": "string", "title": "Master"},
                "job": {"type": "string", "title": "Job"},
                "buildNumber": {"type": "integer", "title": "Build"},
                "propertyFile": {"type": "string", "title": "Property file"},
            }),
            &["master", "job", "buildNumber", "propertyFile"],
        )
    }
}

impl StageType for GetProperties {}
