//! What runs in an environment: a pure judgement over server groups and
//! executions, which version is where, how healthy, since when, by whom, and
//! whether versions are mixed for longer than a deployment takes.
//!
//! Asks nobody and keeps nothing; [`crate::rest`] reads what it is given.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What is known of an application at one moment.
pub(crate) struct Known<'a> {
    /// Server groups of the application, as cloud-driver tells of them.
    pub(crate) server_groups: &'a [Value],
    /// Its executions with contexts, newest first.
    pub(crate) executions: &'a [Value],
    /// Milliseconds since the epoch.
    pub(crate) now_ms: u64,
}

/// An environment and what runs in it: `{name, order, owner, accounts, clusters, health,
/// version, versions, mixedVersions}`. Only groups in traffic with instances count as running.
pub(crate) fn judge(environment: &Value, known: &Known<'_>) -> Value {
    let accounts: Vec<&str> = texts(environment, "accounts");
    let mut clusters: BTreeMap<(&str, &str), Vec<&Value>> = BTreeMap::new();
    for group in known.server_groups {
        let account = text(group, "account");
        if accounts.contains(&account) && runs(group) {
            let place = (account, text(group, "cluster"));
            clusters.entry(place).or_default().push(group);
        }
    }
    let limit_ms = environment
        .get("mixedVersionsAfterMs")
        .and_then(Value::as_u64);
    let clusters: Vec<Value> = clusters
        .into_iter()
        .map(|((account, name), groups)| cluster(account, name, &groups, limit_ms, known))
        .collect();
    let mut versions: Vec<&Value> = Vec::new();
    for version in clusters.iter().flat_map(|c| list(c, "versions")) {
        let name = &version["version"];
        if !versions.contains(&name) {
            versions.push(name);
        }
    }
    let only = match versions.as_slice() {
        [one] => (*one).clone(),
        _ => Value::Null,
    };
    let mixed = clusters.iter().any(|c| c["mixedVersions"] == json!(true));
    json!({
        "name": environment["name"],
        "order": environment["order"],
        "owner": environment["owner"],
        "accounts": accounts,
        "health": worst(clusters.iter().map(|c| text(c, "health"))),
        "version": only,
        "versions": versions,
        "mixedVersions": mixed,
        "clusters": clusters,
    })
}

fn cluster(
    account: &str,
    name: &str,
    groups: &[&Value],
    limit_ms: Option<u64>,
    known: &Known<'_>,
) -> Value {
    let mut by_version: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for group in groups {
        by_version.entry(version(group)).or_default().push(group);
    }
    let mut versions: Vec<Value> = by_version
        .iter()
        .map(|(version, groups)| running(version, groups, known))
        .collect();
    // The newest first: what was deployed last is what people ask for.
    versions.sort_by_key(|v| std::cmp::Reverse(v["since"].as_u64()));
    let deploying = deploying(account, name, known.executions);
    let differs = versions.len() > 1;
    // They differ since the newest of them came.
    let since = versions.first().and_then(|v| v["since"].as_u64());
    let lasts_ms = known.now_ms.saturating_sub(since.unwrap_or(known.now_ms));
    let mixed = differs
        && match limit_ms {
            Some(limit) => lasts_ms > limit,
            None => deploying.is_none(),
        };
    let (up, total, desired) = totals(groups);
    let mut told = json!({
        "account": account,
        "cluster": name,
        "regions": regions(groups),
        "instanceCounts": {"up": up, "total": total, "desired": desired},
        "health": health(up, total, desired),
        "versions": versions,
        "mixedVersions": mixed,
        "deployedNowBy": deploying,
    });
    if mixed {
        told["mixedVersionsSince"] = json!(since);
        let names: Vec<&str> = told["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|v| text(v, "version"))
            .collect();
        let reason = match limit_ms {
            Some(limit) => format!(
                "{} run beside each other for {lasts_ms} ms, more than the {limit} ms allowed",
                names.join(" and ")
            ),
            None => format!(
                "{} run beside each other and no deployment is under way",
                names.join(" and ")
            ),
        };
        told["mixedVersionsReason"] = json!(reason);
    }
    told
}

fn running(version: &str, groups: &[&Value], known: &Known<'_>) -> Value {
    let (up, total, desired) = totals(groups);
    let names: Vec<&str> = groups.iter().map(|g| text(g, "name")).collect();
    let created = groups
        .iter()
        .filter_map(|g| g.get("createdTime").and_then(Value::as_u64))
        .max();
    let deployed = groups
        .iter()
        .filter_map(|g| deployed_by(g, known.executions))
        .max_by_key(|(at, _)| *at);
    let since = deployed.as_ref().and_then(|(at, _)| *at).or(created);
    json!({
        "version": version,
        "image": groups.first().map(|g| image(g)),
        "digest": groups.first().and_then(|g| g.get("imageDigest")),
        "serverGroups": names,
        "regions": regions(groups),
        "instanceCounts": {"up": up, "total": total, "desired": desired},
        "health": health(up, total, desired),
        "since": since,
        "by": deployed.map(|(_, by)| by),
    })
}

/// Whether a group is in traffic and has instances.
fn runs(group: &Value) -> bool {
    group.get("isDisabled") != Some(&json!(true)) && totals(&[group]).1 > 0
}

/// The version of a group: its image's, else the whole image.
fn version(group: &Value) -> String {
    let of = |pointer: &str| group.pointer(pointer).and_then(Value::as_str);
    of("/buildInfo/version")
        .or_else(|| of("/buildInfo/docker/tag"))
        .filter(|v| !v.is_empty())
        .map_or_else(|| image(group).to_owned(), ToOwned::to_owned)
}

fn image(group: &Value) -> &str {
    let first = group.pointer("/buildInfo/images/0").and_then(Value::as_str);
    first.unwrap_or_else(|| text(group, "image"))
}

/// Instances up, in all, and wanted.
fn totals(groups: &[&Value]) -> (u64, u64, u64) {
    let sum = |pointer: &str| {
        let of = |g: &&Value| g.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        groups.iter().map(of).sum()
    };
    (
        sum("/instanceCounts/up"),
        sum("/instanceCounts/total"),
        sum("/capacity/desired"),
    )
}

fn health(up: u64, total: u64, desired: u64) -> &'static str {
    match up {
        _ if total == 0 => "empty",
        0 => "down",
        _ if up < total || up < desired => "degraded",
        _ => "healthy",
    }
}

fn worst<'a>(all: impl Iterator<Item = &'a str>) -> &'static str {
    let rank = |health: &str| match health {
        "down" => 3,
        "degraded" => 2,
        "healthy" => 1,
        _ => 0,
    };
    match all.map(rank).max() {
        Some(3) => "down",
        Some(2) => "degraded",
        Some(1) => "healthy",
        _ => "empty",
    }
}

fn regions(groups: &[&Value]) -> Vec<String> {
    let mut regions: Vec<_> = groups
        .iter()
        .map(|g| text(g, "region").to_owned())
        .collect();
    regions.sort_unstable();
    regions.dedup();
    regions
}

/// When the newest stage that made this group ended, and who ran it.
fn deployed_by(group: &Value, executions: &[Value]) -> Option<(Option<u64>, Value)> {
    let (execution, stage) = executions
        .iter()
        .find_map(|execution| Some((execution, stage_that_made(execution, group)?)))?;
    let at = ["endTime", "startTime"]
        .iter()
        .find_map(|key| stage.get(*key).and_then(Value::as_u64));
    Some((at, who(execution)))
}

/// Whether an execution made this group.
pub(crate) fn made(execution: &Value, group: &Value) -> bool {
    stage_that_made(execution, group).is_some()
}

fn stage_that_made<'a>(execution: &'a Value, group: &Value) -> Option<&'a Value> {
    let (account, name) = (text(group, "account"), text(group, "name"));
    list(execution, "stages").find(|stage| {
        let context = &stage["context"];
        let names = context
            .get("deploy.server.groups")
            .and_then(|groups| groups.get(text(group, "region")));
        let made = names
            .and_then(Value::as_array)
            .is_some_and(|names| names.iter().any(|n| n == name));
        let of = account_of(context);
        made && (of.is_empty() || of == account)
    })
}

/// The running execution that changes this cluster; none if none does.
fn deploying(account: &str, cluster: &str, executions: &[Value]) -> Option<Value> {
    let under_way = |status: &str| matches!(status, "RUNNING" | "PAUSED" | "SUSPENDED");
    let found = executions.iter().find(|execution| {
        under_way(text(execution, "status"))
            && list(execution, "stages").any(|stage| {
                let context = &stage["context"];
                let of = context.get("cluster").and_then(Value::as_str);
                under_way(text(stage, "status"))
                    && account_of(context) == account
                    && of.is_none_or(|of| of == cluster)
            })
    });
    found.map(who)
}

fn account_of(context: &Value) -> &str {
    let direct = ["account", "credentials"]
        .into_iter()
        .map(|key| text(context, key))
        .find(|name| !name.is_empty());
    // A deploy stage as written names it in each of its clusters.
    direct.unwrap_or_else(|| {
        context
            .pointer("/clusters/0/account")
            .and_then(Value::as_str)
            .unwrap_or_default()
    })
}

fn who(execution: &Value) -> Value {
    let trigger = &execution["trigger"];
    let user = execution
        .pointer("/authentication/user")
        .or_else(|| trigger.get("user"));
    json!({
        "executionId": execution["id"],
        "executionType": execution["type"],
        "name": execution.get("name").or_else(|| execution.get("description")),
        "status": execution["status"],
        "trigger": trigger["type"],
        "user": user,
    })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.get(key).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    list(value, key).filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, tag: &str, up: u64, total: u64, created_ms: u64) -> Value {
        json!({"name": name, "account": "p1", "region": "eu", "cluster": "shop",
               "isDisabled": false, "createdTime": created_ms, "capacity": {"desired": total},
               "instanceCounts": {"up": up, "total": total},
               "buildInfo": {"version": tag, "images": [format!("r/shop:{tag}")]}})
    }

    fn execution(id: &str, status: &str, names: &[&str], ended_ms: u64) -> Value {
        json!({"id": id, "type": "PIPELINE", "name": "promote", "status": status,
               "trigger": {"type": "docker"}, "authentication": {"user": "ann"},
               "stages": [{"type": "createServerGroup", "status": status, "endTime": ended_ms,
                           "context": {"account": "p1", "cluster": "shop",
                                       "deploy.server.groups": {"eu": names}}}]})
    }

    fn judged(groups: &[Value], executions: &[Value], limit_ms: Option<u64>) -> Value {
        let mut environment = json!({"name": "prod", "order": 2, "accounts": ["p1", "p2"]});
        if let Some(limit) = limit_ms {
            environment["mixedVersionsAfterMs"] = json!(limit);
        }
        let known = Known {
            server_groups: groups,
            executions,
            now_ms: 1_000,
        };
        judge(&environment, &known)
    }

    #[test]
    fn versions_are_mixed_only_when_they_differ_longer_than_a_deployment_takes() {
        let (old, new) = (group("s-v1", "1", 2, 2, 100), group("s-v2", "2", 1, 1, 900));
        let mut off = old.clone();
        off["isDisabled"] = json!(true);
        let mut elsewhere = old.clone();
        elsewhere["cluster"] = json!("shop-api");
        let under_way = execution("E", "RUNNING", &[], 0);
        let done = execution("E", "SUCCEEDED", &[], 0);
        for (what, groups, executions, limit_ms, mixed) in [
            ("one version", vec![&new], vec![], None, false),
            ("no deployment", vec![&old, &new], vec![], None, true),
            ("a finished one", vec![&old, &new], vec![&done], None, true),
            ("under way", vec![&old, &new], vec![&under_way], None, false),
            ("in time", vec![&old, &new], vec![], Some(100), false),
            (
                "too long",
                vec![&old, &new],
                vec![&under_way],
                Some(99),
                true,
            ),
            ("out of traffic", vec![&off, &new], vec![], None, false),
            ("two clusters", vec![&elsewhere, &new], vec![], None, false),
        ] {
            let groups: Vec<_> = groups.into_iter().cloned().collect();
            let executions: Vec<_> = executions.into_iter().cloned().collect();
            let found = judged(&groups, &executions, limit_ms);
            assert_eq!(found["mixedVersions"], json!(mixed), "{what}: {found}");
            let reason = found["clusters"][0].get("mixedVersionsReason");
            assert_eq!(reason.is_some(), mixed, "{what}");
        }
    }

    #[test]
    fn health_is_told_for_every_count() {
        for (up, total, desired, wanted) in [
            (0, 0, 0, "empty"),
            (0, 2, 2, "down"),
            (1, 2, 2, "degraded"),
            (2, 2, 3, "degraded"),
            (2, 2, 2, "healthy"),
            (3, 3, 2, "healthy"),
        ] {
            assert_eq!(health(up, total, desired), wanted, "{up} {total} {desired}");
        }
        assert_eq!(worst(["healthy", "down", "degraded"].into_iter()), "down");
        assert_eq!(worst(std::iter::empty()), "empty");
    }

    #[test]
    fn the_newest_execution_that_made_the_group_is_named() {
        let groups = [group("shop-v2", "2", 2, 2, 500)];
        let executions = [
            execution("E3", "SUCCEEDED", &["other-v0"], 950),
            execution("E2", "SUCCEEDED", &["shop-v2"], 600),
            execution("E1", "SUCCEEDED", &["shop-v2"], 400),
        ];
        let found = judged(&groups, &executions, None);
        let version = &found["clusters"][0]["versions"][0];
        assert_eq!(
            (&version["since"], &version["by"]["executionId"]),
            (&json!(600), &json!("E2"))
        );
        assert_eq!(version["by"]["user"], "ann");
        assert_eq!(found["version"], "2");
        let alone = judged(&groups, &[], None);
        let version = &alone["clusters"][0]["versions"][0];
        assert_eq!(
            (&version["since"], &version["by"]),
            (&json!(500), &Value::Null)
        );
    }
}
