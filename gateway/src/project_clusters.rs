//! The clusters of a project with what runs in them: a pure sum over server
//! groups. Source: `clouddriver: ProjectClustersService`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

const COUNTS: [&str; 7] = [
    "total",
    "up",
    "down",
    "starting",
    "unknown",
    "outOfService",
    "draining",
];

/// `[{account, stack, detail, instanceCounts, applications: [{application, lastPush, clusters}]}]`
/// for the clusters a project lists. Only enabled groups with instances count.
pub(crate) fn clusters(project: &Value, server_groups: &[Value]) -> Value {
    let config = &project["config"];
    let all: Vec<&str> = strings(&config["applications"]);
    let listed = config.get("clusters").and_then(Value::as_array);
    let told = listed.into_iter().flatten().map(|cluster| {
        let own = strings(&cluster["applications"]);
        let applications = if own.is_empty() { &all } else { &own };
        let inside: Vec<&Value> = server_groups
            .iter()
            .filter(|group| fits(cluster, group))
            .collect();
        let of = applications.iter().map(|application| {
            let its =
                |group: &&&Value| text(group, "application").eq_ignore_ascii_case(application);
            let groups: Vec<&Value> = inside.iter().filter(its).copied().collect();
            json!({
                "application": application,
                "lastPush": last_push(&groups),
                "clusters": regions(&groups),
            })
        });
        let of: Vec<Value> = of.collect();
        let known = |group: &&&Value| {
            let name = text(group, "application");
            applications.iter().any(|a| a.eq_ignore_ascii_case(name))
        };
        let counted: Vec<&Value> = inside.iter().filter(known).copied().collect();
        json!({
            "account": cluster["account"],
            "stack": cluster["stack"],
            "detail": cluster["detail"],
            "instanceCounts": counts(&counted),
            "applications": of,
        })
    });
    told.collect()
}

/// Stack and detail match literally, `*` anything, empty what has none.
fn fits(cluster: &Value, group: &Value) -> bool {
    let total = group
        .pointer("/instanceCounts/total")
        .and_then(Value::as_u64);
    let part = |key: &str| {
        let wanted = text(cluster, key);
        let found = group.get("moniker").map_or("", |m| text(m, key));
        wanted == "*" || wanted == found
    };
    group.get("isDisabled") != Some(&json!(true))
        && total.unwrap_or(0) > 0
        && text(cluster, "account") == text(group, "account")
        && part("stack")
        && part("detail")
}

fn regions(groups: &[&Value]) -> Vec<Value> {
    let mut by_region: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for group in groups {
        by_region
            .entry(text(group, "region"))
            .or_default()
            .push(group);
    }
    let told = by_region.into_iter().map(|(region, groups)| {
        json!({
            "region": region,
            "instanceCounts": counts(&groups),
            "lastPush": last_push(&groups),
            "builds": builds(&groups),
        })
    });
    told.collect()
}

/// Each build once, with when it was deployed last.
fn builds(groups: &[&Value]) -> Vec<Value> {
    let mut builds: Vec<Value> = Vec::new();
    for group in groups {
        let build = &group["buildInfo"];
        let told = json!({
            "host": build.pointer("/jenkins/host"),
            "job": build.pointer("/jenkins/name"),
            "buildNumber": build.pointer("/jenkins/number"),
            "deployed": group["createdTime"],
            "images": build["images"],
        });
        let same = |b: &&mut Value| {
            ["host", "job", "buildNumber", "images"]
                .iter()
                .all(|key| b[*key] == told[*key])
        };
        match builds.iter_mut().find(same) {
            Some(known) if known["deployed"].as_u64() < told["deployed"].as_u64() => *known = told,
            Some(_) => {}
            None => builds.push(told),
        }
    }
    builds
}

fn last_push(groups: &[&Value]) -> Option<u64> {
    let created = groups.iter().filter_map(|g| g["createdTime"].as_u64());
    created.max()
}

fn counts(groups: &[&Value]) -> Value {
    let mut sums = Map::new();
    for key in COUNTS {
        let of = |g: &&Value| g["instanceCounts"][key].as_u64().unwrap_or(0);
        sums.insert(key.to_owned(), json!(groups.iter().map(of).sum::<u64>()));
    }
    Value::Object(sums)
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(application: &str, stack: &str, up: u64, created_ms: u64, disabled: bool) -> Value {
        json!({"application": application, "account": "p", "region": "eu", "isDisabled": disabled,
               "moniker": {"stack": stack}, "createdTime": created_ms,
               "instanceCounts": {"total": up, "up": up}, "buildInfo": {"images": ["r/i:1"]}})
    }

    #[test]
    fn clusters_match_literally_by_star_or_by_absence() {
        let groups = [
            group("shop", "main", 2, 5, false),
            group("shop", "", 1, 7, false),
            group("shop", "main", 4, 9, true),
            group("pay", "main", 3, 8, false),
            group("other", "main", 8, 8, false),
        ];
        for (stack, applications, total, pushed) in [
            ("*", json!(null), 6, json!([7, 8])),
            ("main", json!([]), 5, json!([5, 8])),
            ("", json!(null), 1, json!([7, null])),
            ("none", json!(null), 0, json!([null, null])),
            ("*", json!(["pay"]), 3, json!([8])),
        ] {
            let project = json!({"config": {"applications": ["shop", "pay"], "clusters": [
                {"account": "p", "stack": stack, "detail": "*", "applications": applications},
            ]}});
            let found = clusters(&project, &groups);
            let cluster = &found[0];
            assert_eq!(cluster["instanceCounts"]["total"], total, "{stack}");
            let last: Vec<_> = cluster["applications"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| a["lastPush"].clone())
                .collect();
            assert_eq!(json!(last), pushed, "{stack}");
        }
    }
}
