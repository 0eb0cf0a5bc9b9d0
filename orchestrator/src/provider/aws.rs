//! AWS: groups resize themselves, images belong to an account. Source: `orca:
//! AmazonServerGroupCreator`, `AwsDeployStagePreProcessor`, `ScaleDownClusterTask`.

use serde_json::{Map, Value, json};

use super::{Part, Provider};

/// The provider.
pub(super) static PROVIDER: Aws = Aws;

/// The account that images are baked in (`default.bake.account`).
const BAKE_ACCOUNT: &str = "default";

/// See the module.
#[derive(Debug)]
pub(super) struct Aws;

impl Provider for Aws {
    fn key(&self) -> &'static str {
        "aws"
    }

    fn platform_health(&self) -> Option<&'static str> {
        Some("Amazon")
    }

    fn pins_new_group(&self) -> bool {
        true
    }

    fn has_scaling_processes(&self) -> bool {
        true
    }

    fn infers_regions(&self) -> bool {
        true
    }

    fn lists_commits(&self) -> bool {
        true
    }

    /// An image is shared with the account that launches it, in every region.
    fn before_creation(&self, input: &mut Map<String, Value>) -> Vec<Part> {
        let text = |key: &str| {
            let value = input.get(key).and_then(Value::as_str);
            value.filter(|t| !t.is_empty()).map(ToOwned::to_owned)
        };
        let account = text("account").or_else(|| text("credentials"));
        let Some(image) = text("amiName").or_else(|| text("imageId")) else {
            return Vec::new();
        };
        input.insert("amiName".to_owned(), image.clone().into());
        let regions: Vec<String> = match input.get("availabilityZones") {
            Some(Value::Object(zones)) if !zones.is_empty() => zones.keys().cloned().collect(),
            _ => input
                .get("region")
                .and_then(Value::as_str)
                .map(ToOwned::to_owned)
                .into_iter()
                .collect(),
        };
        let Some(account) = account.filter(|a| a != BAKE_ACCOUNT) else {
            return Vec::new();
        };
        let allow = |region: String| {
            let input = json!({
                "account": account, "amiName": image, "credentials": BAKE_ACCOUNT, "region": region,
            });
            let input = input.as_object().cloned().unwrap_or_default();
            ("allowLaunchDescription".to_owned(), input)
        };
        regions.into_iter().map(allow).collect()
    }

    /// A suspended group would keep its instances.
    fn before_scale_down(&self, input: &Map<String, Value>) -> Vec<Part> {
        let mut input = input.clone();
        input.shift_remove("capacity");
        input.insert("processes".to_owned(), json!(["Terminate"]));
        vec![("resumeAsgProcessesDescription".to_owned(), input)]
    }
}
