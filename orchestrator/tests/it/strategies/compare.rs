//! What has to be equal, and where we differ on purpose.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::stub::Sent;

/// Where we differ on purpose: name and reason. A record that is equal but for
/// these counts as matched, and says which it needed.
pub(crate) const IMPROVEMENTS: [(&str, &str); 7] = [
    (
        "rollback-lookup",
        "the groups of a rollback are looked up by a task, which may be repeated, not while planning",
    ),
    (
        "unpin",
        "the stage that ends a pin lowers the minimum; Orca's keeps it",
    ),
    (
        "no-teardown-after-failure",
        "a new group that failed is not followed by stages that take the old one away, also when \
         failures are to be ignored",
    ),
    (
        "restored-before-destroyed",
        "before the new group is destroyed the old ones serve again, if they may be out of traffic",
    ),
    (
        "no-entity-tags",
        "what a group followed is read from the cluster; nothing is written on the group",
    ),
    (
        "unknown-strategy",
        "a strategy that does not exist is refused before anything is created; Orca takes it for none",
    ),
    (
        "own-context",
        "stages of a rolling deployment do not carry fields of those planned before them",
    ),
];

/// Fields of an operation that must be equal where the record has them.
const FIELDS: [&str; 16] = [
    "serverGroupName",
    "asgName",
    "region",
    "credentials",
    "account",
    "capacity",
    "desiredPercentage",
    "amiName",
    "imageId",
    "source",
    "strategy",
    "services",
    "enableTraffic",
    "replicas",
    "availabilityZones",
    "processes",
];

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) faults: Vec<String>,
    pub(crate) improvements: BTreeSet<&'static str>,
}

impl Verdict {
    fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }

    fn improved(&mut self, name: &'static str) {
        assert!(IMPROVEMENTS.iter().any(|(n, _)| *n == name), "{name}");
        self.improvements.insert(name);
    }
}

fn stages(execution: &Value) -> BTreeMap<String, &Value> {
    let listed = execution["stages"].as_array().unwrap().iter();
    let by_ref = listed.map(|s| (s["refId"].as_str().unwrap().to_owned(), s));
    by_ref.collect()
}

/// (name, status) of a stage's tasks, without what only refreshes caches.
fn tasks(stage: &Value) -> Vec<(String, String)> {
    let text = |t: &Value, key: &str| t[key].as_str().unwrap_or_default().to_owned();
    let listed = stage["tasks"].as_array().into_iter().flatten();
    listed
        .map(|t| (text(t, "name"), text(t, "status")))
        .filter(|(name, _)| !name.to_lowercase().contains("forcecacherefresh"))
        .collect()
}

/// Whether we refused the strategy of a deployment.
pub(crate) fn is_refused(ours: &Value, verdict: &mut Verdict) -> bool {
    let stages = ours["stages"].as_array().into_iter().flatten();
    let errors = stages
        .filter_map(|s| s.pointer("/context/exception/details/errors")?.as_array())
        .flatten()
        .filter_map(Value::as_str);
    let mut errors = errors.filter(|e| e.starts_with("strategy \"") && e.contains("is unknown"));
    let refused = errors.next().is_some();
    if refused {
        verdict.improved("unknown-strategy");
    }
    refused
}

/// Compares an execution with a recorded one.
pub(crate) fn execution(recorded: &Value, ours: &Value, verdict: &mut Verdict) {
    if recorded["status"] != ours["status"] {
        verdict.fault(format!(
            "execution {} instead of {}",
            ours["status"], recorded["status"]
        ));
    }
    let (theirs, own) = (stages(recorded), stages(ours));
    let torn_down_anyway = continued_after_failure(&theirs);
    let restored = restored_first(&own);
    for (ref_id, stage) in &theirs {
        let what = format!("{ref_id} {}", stage["name"]);
        match own.get(ref_id) {
            Some(mine) if restored && mine["name"] != stage["name"] => {
                verdict.improved("restored-before-destroyed");
            }
            Some(mine) => one_stage(&what, stage, mine, verdict),
            None if torn_down_anyway.iter().any(|p| ref_id.starts_with(p)) => {
                verdict.improved("no-teardown-after-failure");
            }
            None => verdict.fault(format!("{what} is missing")),
        }
    }
    for (ref_id, stage) in own.iter().filter(|(r, _)| !theirs.contains_key(*r)) {
        if restored {
            verdict.improved("restored-before-destroyed");
        } else {
            verdict.fault(format!("{ref_id} {} is not in the record", stage["name"]));
        }
    }
}

/// Compares how an execution was started, as far as it is the same in every run.
pub(crate) fn trigger(recorded: &Value, ours: &Value, verdict: &mut Verdict) {
    let (theirs, own) = (&recorded["trigger"], &ours["trigger"]);
    for key in ["type", "strategy"] {
        if theirs[key] != own[key] {
            let (own, theirs) = (&own[key], &theirs[key]);
            verdict.fault(format!("trigger: {key} is {own} instead of {theirs}"));
        }
    }
    let empty = Map::new();
    let parameters = |trigger: &Value| -> Map<String, Value> {
        let all = trigger["parameters"].as_object().unwrap_or(&empty).clone();
        // Ids are of the run.
        let own = |(key, _): &(String, Value)| !key.starts_with("parent");
        all.into_iter().filter(own).collect()
    };
    let (own, theirs) = (parameters(own), parameters(theirs));
    if own != theirs {
        verdict.fault(format!("trigger: parameters {own:?} instead of {theirs:?}"));
    }
}

/// Prefixes of the after-stages of stages that failed and were to go on.
fn continued_after_failure(stages: &BTreeMap<String, &Value>) -> Vec<String> {
    let failed = stages.iter().filter(|(_, s)| {
        let creates = ["createServerGroup", "cloneServerGroup"]
            .iter()
            .any(|k| s["type"] == **k);
        creates && s["status"] == "FAILED_CONTINUE"
    });
    failed.map(|(ref_id, _)| format!("{ref_id}>")).collect()
}

/// Whether a rollback goes before the destruction of the new group, after a
/// teardown that had begun.
fn restored_first(stages: &BTreeMap<String, &Value>) -> bool {
    let original = |s: &Value| s["context"]["originalServerGroup"].is_string();
    let rolled = stages
        .values()
        .any(|s| s["type"] == "rollbackCluster" && original(s));
    rolled
        && stages
            .values()
            .any(|s| s["type"] == "disableCluster" || s["type"] == "shrinkCluster")
}

fn one_stage(what: &str, recorded: &Value, ours: &Value, verdict: &mut Verdict) {
    for key in ["type", "name", "status"] {
        if recorded[key] != ours[key] {
            verdict.fault(format!(
                "{what}: {key} is {} instead of {}",
                ours[key], recorded[key]
            ));
        }
    }
    if recorded["requisiteStageRefIds"] != ours["requisiteStageRefIds"] {
        let (own, theirs) = (
            &ours["requisiteStageRefIds"],
            &recorded["requisiteStageRefIds"],
        );
        verdict.fault(format!("{what}: after {own} instead of {theirs}"));
    }
    let mut own = tasks(ours);
    let mut theirs = tasks(recorded);
    if ours["type"] == "rollbackServerGroup" {
        verdict.improved("rollback-lookup");
        own.retain(|(name, _)| name != "determineRollback");
    }
    if theirs.iter().any(|(name, _)| name == "tagServerGroup") {
        verdict.improved("no-entity-tags");
        theirs.retain(|(name, _)| name != "tagServerGroup");
    }
    if own != theirs {
        verdict.fault(format!("{what}: tasks {own:?} instead of {theirs:?}"));
    }
    let empty = Value::Object(Map::new());
    let (own, theirs) = (
        ours.get("outputs").unwrap_or(&empty),
        recorded.get("outputs").unwrap_or(&empty),
    );
    if own != theirs {
        if recorded["type"] == "pinServerGroup" && is_unpin(&recorded["context"]) {
            verdict.improved("unpin");
        } else {
            verdict.fault(format!("{what}: outputs {own} instead of {theirs}"));
        }
    }
}

fn is_unpin(fields: &Value) -> bool {
    fields["unpinMinimumCapacity"] == true
        && fields["serverGroupName"] == fields["source"]["serverGroupName"]
}

/// Compares what was sent. Requests of branches that run at once may come in
/// either order, so they are compared per region and in their order there.
pub(crate) fn operations(recorded: &[Value], ours: &[Sent], verdict: &mut Verdict) {
    let tags = |o: &&Value| o["name"] == "upsertEntityTags";
    if recorded.iter().any(|o| tags(&o)) {
        verdict.improved("no-entity-tags");
    }
    let theirs: Vec<&Value> = recorded.iter().filter(|o| !tags(o)).collect();
    let mut own: Vec<&Sent> = ours.iter().collect();
    let restored =
        own.len() > theirs.len() && verdict.improvements.contains("restored-before-destroyed");
    if restored {
        // What brings the old groups back.
        let known = |s: &&Sent| theirs.iter().any(|o| same(o, s));
        own.retain(known);
    }
    if own.len() != theirs.len() {
        let names = |list: Vec<String>| list.join(" ");
        let mine = names(own.iter().map(|s| s.name.clone()).collect());
        let their = names(theirs.iter().map(|o| o["name"].to_string()).collect());
        verdict.fault(format!("operations {mine} instead of {their}"));
        return;
    }
    for (region, (theirs, own)) in by_region(&theirs, &own) {
        let (mut their_post, mut own_post) = (0, 0);
        for (n, (record, sent)) in theirs.iter().zip(&own).enumerate() {
            let what = format!("operation {n} in {region} {}", record["name"]);
            let post = usize::try_from(record["post"].as_u64().unwrap()).unwrap();
            // A new request there begins one here.
            if n > 0 && (post != their_post) != (sent.post != own_post) {
                verdict.fault(format!("{what}: requests are divided otherwise"));
            }
            (their_post, own_post) = (post, sent.post);
            one_operation(&what, record, sent, verdict);
        }
        if theirs.len() != own.len() {
            verdict.fault(format!(
                "{} operations in {region} instead of {}",
                own.len(),
                theirs.len()
            ));
        }
    }
}

fn same(recorded: &Value, sent: &Sent) -> bool {
    recorded["name"] == sent.name.as_str()
        && recorded["description"]["serverGroupName"] == sent.description["serverGroupName"]
}

fn region_of(description: &Value) -> String {
    let zones = description["availabilityZones"].as_object();
    let first = zones.and_then(|z| z.keys().next().cloned());
    let own = description["region"].as_str().map(ToOwned::to_owned);
    first.or(own).unwrap_or_default()
}

type Pair<'a> = (Vec<&'a Value>, Vec<&'a Sent>);

fn by_region<'a>(theirs: &[&'a Value], own: &[&'a Sent]) -> BTreeMap<String, Pair<'a>> {
    let mut all: BTreeMap<String, Pair<'a>> = BTreeMap::new();
    for record in theirs {
        let pair = all.entry(region_of(&record["description"])).or_default();
        pair.0.push(record);
    }
    for sent in own {
        let pair = all.entry(region_of(&sent.description)).or_default();
        pair.1.push(sent);
    }
    all
}

fn one_operation(what: &str, recorded: &Value, sent: &Sent, verdict: &mut Verdict) {
    if recorded["name"] != sent.name.as_str() {
        verdict.fault(format!("{what}: it is {}", sent.name));
        return;
    }
    let theirs = &recorded["description"];
    for key in FIELDS {
        let (Some(wanted), mine) = (theirs.get(key), sent.description.get(key)) else {
            continue;
        };
        if mine == Some(wanted) {
            continue;
        }
        let takes_source = ["createServerGroup", "cloneServerGroup", "resizeServerGroup"];
        if key == "source" && !takes_source[..2].contains(&sent.name.as_str()) {
            verdict.improved("own-context");
        } else if key == "capacity" && is_unpin(theirs) {
            verdict.improved("unpin");
        } else {
            let mine = mine.cloned().unwrap_or_default();
            verdict.fault(format!("{what}: {key} is {mine} instead of {wanted}"));
        }
    }
}
