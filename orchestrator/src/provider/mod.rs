//! What plans of stages take into account about a provider: which stages and
//! operations it adds of its own. To add one: its file, and two adjacent lines here.
//!
//! Never talks to a provider: that is cloud-driver's part.

mod aws;
mod local;

use serde_json::{Map, Value};

/// Every provider that plans differ for.
pub static PROVIDERS: &[&dyn Provider] = &[&aws::PROVIDER, &local::PROVIDER];

/// One operation of a request: its kind and its input.
pub type Part = (String, Map<String, Value>);

/// A provider, as far as planning is concerned.
pub trait Provider: Sync {
    /// Its name, as in `cloudProvider`.
    fn key(&self) -> &'static str;

    /// The type of health that only says that an instance runs.
    fn platform_health(&self) -> Option<&'static str> {
        None
    }

    /// An instance that no load balancer watches is up when it runs.
    fn running_is_up(&self) -> bool {
        false
    }

    /// A new group keeps the size of the one before it while both run: its minimum
    /// is raised, and lowered again at the end.
    fn pins_new_group(&self) -> bool {
        false
    }

    /// Groups resize themselves, which a resize must not run into.
    fn has_scaling_processes(&self) -> bool {
        false
    }

    /// An image is wanted wherever a deployment after it goes.
    fn infers_regions(&self) -> bool {
        false
    }

    /// Its load balancer weighs groups.
    fn shifts_traffic(&self) -> bool {
        false
    }

    /// After a failed deployment a look at what is there says how the group before
    /// it comes back.
    fn restores(&self) -> bool {
        false
    }

    /// Creating a group is followed by a look for the commits it brings.
    fn lists_commits(&self) -> bool {
        false
    }

    /// The strategy by which an earlier image comes back.
    fn rollback_strategy(&self) -> &'static str {
        "redblack"
    }

    /// Completes the input of an operation that makes a group, and says what goes
    /// before it in the same request.
    fn before_creation(&self, _input: &mut Map<String, Value>) -> Vec<Part> {
        Vec::new()
    }

    /// What goes before a group is resized to nothing, in the same request.
    fn before_scale_down(&self, _input: &Map<String, Value>) -> Vec<Part> {
        Vec::new()
    }
}

/// The name of a context's provider.
///
/// Differs from Spinnaker: without one it is `local`, there `aws`.
pub fn name_of(context: &Map<String, Value>) -> &str {
    ["cloudProvider", "providerType"]
        .iter()
        .find_map(|key| context.get(*key)?.as_str().filter(|name| !name.is_empty()))
        .unwrap_or("local")
}

/// The provider of a context; one that plans do not differ for is as `local`.
pub fn of(context: &Map<String, Value>) -> &'static dyn Provider {
    let name = name_of(context);
    PROVIDERS
        .iter()
        .copied()
        .find(|p| p.key() == name)
        .unwrap_or(&local::PROVIDER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_context_names_its_provider_in_two_ways() {
        for (context, expected) in [
            (json!({"cloudProvider": "aws"}), "aws"),
            (json!({"providerType": "aws"}), "aws"),
            (json!({"cloudProvider": ""}), "local"),
            (json!({}), "local"),
            (json!({"cloudProvider": "titus"}), "local"),
        ] {
            let Value::Object(context) = context else {
                unreachable!()
            };
            assert_eq!(of(&context).key(), expected);
        }
    }
}
