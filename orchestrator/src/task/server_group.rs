//! Reading server groups as cloud-driver serves them, and the places a stage names.

use orchestrator_core::TaskError;
use proto::moniker::Moniker;
use serde_json::{Map, Value, json};

use super::{TaskContext, failed, number};

/// How large a group is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Capacity {
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) desired: i64,
}

impl Capacity {
    /// Reads `{min, max, desired}`; a missing part is the desired size.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let part = |key: &str| value.get(key).and_then(whole);
        let desired = part("desired")
            .or_else(|| part("min"))
            .or_else(|| part("max"))?;
        let (min, max) = (
            part("min").unwrap_or(desired),
            part("max").unwrap_or(desired),
        );
        Some(Self { min, max, desired })
    }

    pub(crate) fn to_json(self) -> Value {
        json!({"min": self.min, "max": self.max, "desired": self.desired})
    }

    pub(crate) fn is_pinned(self) -> bool {
        self.min == self.max && self.max == self.desired
    }
}

/// A whole number, also written as text.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = number(value)?;
        format!("{number:.0}")
            .parse()
            .ok()
            .filter(|_| number.fract().abs() < 1e-9)
    })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn name(group: &Value) -> &str {
    text(group, "name")
}

pub(crate) fn region(group: &Value) -> &str {
    text(group, "region")
}

pub(crate) fn is_disabled(group: &Value) -> bool {
    ["isDisabled", "disabled"]
        .iter()
        .any(|key| group.get(*key) == Some(&Value::Bool(true)))
}

pub(crate) fn capacity(group: &Value) -> Capacity {
    group
        .get("capacity")
        .and_then(Capacity::of)
        .unwrap_or_default()
}

pub(crate) fn instances(group: &Value) -> &[Value] {
    group
        .get("instances")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The image a group runs, as a stage refers to one.
pub(crate) fn image(group: &Value) -> Option<&str> {
    let listed = || group.get("buildInfo")?.get("images")?.get(0)?.as_str();
    ["imageId", "image"]
        .iter()
        .find_map(|key| group.get(*key)?.as_str())
        .or_else(listed)
        .filter(|image| !image.is_empty())
}

/// The image that ran before a group: as a note on it says (`orca: entity tag
/// spinnaker:metadata`), else that of the newest older group with another one.
pub(crate) fn image_before<'a>(group: &'a Value, cluster: &[&'a Value]) -> Option<&'a Value> {
    let tags = group
        .get("entityTags")
        .and_then(|t| t.get("tags")?.as_array());
    let noted = tags
        .into_iter()
        .flatten()
        .filter(|t| text(t, "name") == "spinnaker:metadata")
        .find_map(|t| t.get("value")?.get("previousServerGroup"));
    noted.or_else(|| {
        let created = |g: &Value| g.get("createdTime").and_then(whole).unwrap_or(0);
        let older = |g: &&&Value| created(g) < created(group) && image(g) != image(group);
        cluster
            .iter()
            .copied()
            .filter(|g| older(&g))
            .max_by_key(|g| created(g))
    })
}

/// Groups of a cluster in a region, newest first.
pub(crate) fn of_cluster<'a>(cluster: &'a Value, in_region: &str) -> std::vec::IntoIter<&'a Value> {
    let listed = cluster.get("serverGroups").and_then(Value::as_array);
    let mut groups: Vec<&Value> = listed
        .into_iter()
        .flatten()
        .filter(|g| region(g) == in_region)
        .collect();
    // Never by number: after v999 comes v000.
    groups.sort_by_key(|g| std::cmp::Reverse(g.get("createdTime").and_then(whole).unwrap_or(0)));
    groups.into_iter()
}

/// What an instance's health checks report, by the types that count.
fn healths<'a>(instance: &'a Value, interesting: Option<&[String]>) -> Vec<&'a Value> {
    let listed = instance.get("health").and_then(Value::as_array);
    let counts = |h: &&Value| interesting.is_none_or(|t| t.iter().any(|t| t == text(h, "type")));
    listed.into_iter().flatten().filter(counts).collect()
}

fn states<'a>(instance: &'a Value, healths: &[&'a Value]) -> Vec<&'a str> {
    if instance.get("health").is_none_or(|h| !h.is_array()) {
        let whole = instance.get("healthState").and_then(Value::as_str);
        return whole.into_iter().collect();
    }
    healths
        .iter()
        .filter_map(|h| h.get("state")?.as_str())
        .collect()
}

fn is_platform(health: &Value) -> bool {
    text(health, "healthClass") == "platform"
}

/// Up, and nothing says otherwise; where the platform's health was asked for,
/// running is enough (`orca: HealthHelper.someAreUpAndNoneAreDownOrStarting`).
pub(crate) fn is_up(instance: &Value, interesting: Option<&[String]>) -> bool {
    let healths = healths(instance, interesting);
    let states = states(instance, &healths);
    let blocked = ["Down", "OutOfService", "Starting", "Draining"];
    let runs = |h: &&Value| is_platform(h) && text(h, "state") != "Down";
    let some_up = states.contains(&"Up") || interesting.is_some() && healths.iter().any(runs);
    some_up && !states.iter().any(|s| blocked.contains(s))
}

/// Down, and nothing says otherwise; where only the platform is asked, not knowing
/// is enough (`orca: HealthHelper.someAreDownAndNoneAreUp`).
pub(crate) fn is_down(instance: &Value, interesting: Option<&[String]>) -> bool {
    let healths = healths(instance, interesting);
    let states = states(instance, &healths);
    if let [only] = healths.as_slice()
        && is_platform(only)
        && states == ["Unknown"]
    {
        return true;
    }
    let some_down = states.is_empty()
        || states
            .iter()
            .any(|s| ["Down", "OutOfService", "Starting"].contains(s));
    some_down && !states.iter().any(|s| ["Up", "Draining"].contains(s))
}

/// The types of health that count; none: all.
pub(crate) fn interesting(ctx: &TaskContext<'_>) -> Option<Vec<String>> {
    let listed = ctx.own("interestingHealthProviderNames")?.as_array()?;
    Some(
        listed
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect(),
    )
}

/// The account of a stage: `account`, else `credentials`.
pub(crate) fn account<'a>(ctx: &TaskContext<'a>) -> Result<&'a str, TaskError> {
    ctx.text("account")
        .or_else(|| ctx.text("credentials"))
        .ok_or_else(|| TaskError::user("account is missing; name the account to deploy to"))
}

/// The provider of a stage; `local` unless it says another.
pub(crate) fn provider<'a>(ctx: &TaskContext<'a>) -> &'a str {
    crate::provider::name_of(&ctx.stage.context)
}

/// The regions a context names, in whatever form.
pub(crate) fn regions_of(context: &Map<String, Value>) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|t| !t.is_empty())
            .map(ToOwned::to_owned)
    };
    let location = context.get("targetLocation").and_then(|l| l.get("value"));
    let single = location
        .or_else(|| context.get("region"))
        .or_else(|| context.get("namespace"));
    if let Some(one) = single.and_then(text) {
        return vec![one];
    }
    for key in ["regions", "zones", "namespaces"] {
        if let Some(Value::Array(list)) = context.get(key) {
            return list.iter().filter_map(text).collect();
        }
    }
    match context.get("availabilityZones") {
        Some(Value::Object(zones)) => zones.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The one region of a stage.
pub(crate) fn region_of(ctx: &TaskContext<'_>) -> Result<String, TaskError> {
    regions_of(&ctx.stage.context)
        .into_iter()
        .next()
        .ok_or_else(|| TaskError::user("region is missing; name a region of the account"))
}

/// The cluster a context is about: its moniker's, its own, or made of its parts.
pub(crate) fn cluster_of(context: &Map<String, Value>, application: &str) -> String {
    let own = |key: &str| {
        context
            .get(key)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    let moniker = context
        .get("moniker")
        .and_then(|m| m.get("cluster"))
        .and_then(Value::as_str);
    if let Some(cluster) = moniker.or_else(|| own("cluster")) {
        return cluster.to_owned();
    }
    if let Some(group) = own("serverGroupName").or_else(|| own("asgName")) {
        return Moniker::parse(group)
            .cluster
            .unwrap_or_else(|| group.to_owned());
    }
    let application = own("application").unwrap_or(application);
    match (
        own("stack"),
        own("freeFormDetails").or_else(|| own("detail")),
    ) {
        (None, None) => application.to_owned(),
        (Some(stack), None) => format!("{application}-{stack}"),
        (stack, Some(detail)) => format!("{application}-{}-{detail}", stack.unwrap_or_default()),
    }
}

/// The server group a stage acts on: its own, or the one that a target was resolved to.
pub(crate) fn target_name(ctx: &TaskContext<'_>) -> Result<String, TaskError> {
    if let Some(own) = ctx.text("serverGroupName").or_else(|| ctx.text("asgName")) {
        return Ok(own.to_owned());
    }
    let region = region_of(ctx)?;
    // As an earlier stage, or the one that planned this, resolved the target.
    let seen = ctx.execution.ancestors(ctx.stage).into_iter();
    let found = seen
        .filter_map(|s| s.context.get("targetReferences")?.as_array())
        .flatten()
        .find(|r| text(r, "region") == region);
    found
        .and_then(|r| r.get("asg").map(name).filter(|n| !n.is_empty()))
        .map(ToOwned::to_owned)
        .ok_or_else(|| {
            TaskError::user(format!(
                "no server group is named for {region}; set serverGroupName, or target and cluster"
            ))
        })
}

/// The server group a stage acts on, as it is now; none if it is gone.
pub(crate) async fn live(ctx: &TaskContext<'_>, name: &str) -> Result<Option<Value>, TaskError> {
    live_in(ctx, &region_of(ctx)?, name).await
}

/// The same in a region other than the stage's own.
pub(crate) async fn live_in(
    ctx: &TaskContext<'_>,
    region: &str,
    name: &str,
) -> Result<Option<Value>, TaskError> {
    let region = if region == NO_REGION {
        region_of(ctx)?
    } else {
        region.to_owned()
    };
    ctx.services
        .cloud_driver()
        .server_group(account(ctx)?, &region, name)
        .await
        .map_err(failed)
}

/// Stands for the region of a name that came without one.
pub(crate) const NO_REGION: &str = "region_missing";

/// The server groups that this stage deployed or acted on: (region, name).
pub(crate) fn deployed(ctx: &TaskContext<'_>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let groups = ctx.own("deploy.server.groups").and_then(Value::as_object);
    for (region, names) in groups.into_iter().flatten() {
        for name in names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            found.push((region.clone(), name.to_owned()));
        }
    }
    found
}

/// How many of `desired` must be up for a percentage (`orca: WaitForUpInstancesTask`):
/// rounded to the nearest, at least one of some.
pub(crate) fn share(percentage: f64, desired: i64) -> i64 {
    let desired = f64::from(i32::try_from(desired).unwrap_or(i32::MAX));
    let wanted: i64 = format!("{:.0}", (percentage * desired / 100.0 + 1e-9).round())
        .parse()
        .unwrap_or(0);
    if wanted == 0 && percentage > 0.0 && desired > 0.0 {
        1
    } else {
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_and_never_nothing_of_something() {
        for (percentage, desired, wanted) in [
            (100.0, 3, 3),
            (50.0, 3, 2),
            (10.0, 3, 1),
            (0.0, 3, 0),
            (95.0, 40, 38),
            (50.0, 0, 0),
        ] {
            assert_eq!(
                share(percentage, desired),
                wanted,
                "{percentage} of {desired}"
            );
        }
    }

    #[test]
    fn a_cluster_is_named_by_moniker_name_group_or_parts() {
        for (context, expected) in [
            (
                json!({"moniker": {"cluster": "a-b"}, "cluster": "x"}),
                "a-b",
            ),
            (json!({"cluster": "x"}), "x"),
            (json!({"serverGroupName": "shop-prod-v003"}), "shop-prod"),
            (json!({"application": "shop", "stack": "prod"}), "shop-prod"),
            (
                json!({"application": "shop", "freeFormDetails": "d"}),
                "shop--d",
            ),
            (json!({}), "app"),
        ] {
            let Value::Object(context) = context else {
                unreachable!()
            };
            assert_eq!(cluster_of(&context, "app"), expected);
        }
    }

    #[test]
    fn health_is_up_or_down_only_without_a_contradiction() {
        for (states, up, down) in [
            (vec!["Up"], true, false),
            (vec!["Up", "Unknown"], true, false),
            (vec!["Up", "Draining"], false, false),
            (vec!["Down"], false, true),
            (vec![], false, true),
            (vec!["OutOfService", "Up"], false, false),
        ] {
            let health: Vec<_> = states.iter().map(|s| json!({"state": s})).collect();
            let instance = json!({ "health": health });
            assert_eq!(
                (is_up(&instance, None), is_down(&instance, None)),
                (up, down),
                "{states:?}"
            );
        }
    }

    #[test]
    fn the_platforms_health_counts_as_up_only_where_it_was_asked_for() {
        let instance = json!({"health": [
            {"type": "Amazon", "healthClass": "platform", "state": "Unknown"},
            {"type": "TargetGroup", "state": "OutOfService"},
        ]});
        let only = ["Amazon".to_owned()];
        assert!(is_up(&instance, Some(&only)) && !is_up(&instance, None));
        assert!(is_down(&instance, Some(&only)) && is_down(&instance, None));
    }
}
