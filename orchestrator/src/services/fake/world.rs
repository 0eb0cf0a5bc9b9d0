//! The state behind the fake peers, and what operations do to it.

use std::collections::{BTreeMap, VecDeque};

use proto::status::Failure;
use serde_json::{Map, Value, json};

use super::{Dice, HttpError, HttpRequest, HttpResponse, NewOperation, Object, Operation, Plan};
use crate::services::{MetricQuestion, NewRun};

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) operations: Vec<(NewOperation, Operation)>,
    pub(super) plans: BTreeMap<String, VecDeque<Plan>>,
    pub(super) server_groups: Vec<Value>,
    pub(super) accounts: Vec<String>,
    pub(super) applications: BTreeMap<String, Value>,
    pub(super) pipelines: BTreeMap<String, Value>,
    pub(super) requests: Vec<HttpRequest>,
    pub(super) answers: BTreeMap<String, VecDeque<Result<HttpResponse, HttpError>>>,
    pub(super) canceled: Vec<String>,
    pub(super) images: Vec<Value>,
    pub(super) objects: Vec<(Object, Value)>,
    pub(super) started: Vec<(String, Value)>,
    pub(super) executions: Vec<Value>,
    pub(super) child_status: Option<String>,
    pub(super) builds: Vec<String>,
    pub(super) build_result: Option<String>,
    pub(super) build_parameters: Vec<Map<String, Value>>,
    pub(super) property_failures: u32,
    pub(super) canary_configs: Vec<Value>,
    pub(super) canary_plans: VecDeque<Value>,
    pub(super) canary_runs: Vec<(NewRun, Value)>,
    pub(super) metric_questions: Vec<MetricQuestion>,
    pub(super) metric_answers: VecDeque<Result<Value, Failure>>,
    pub(super) faults: Option<(Dice, u64)>,
}

/// What an operation of this kind makes when nobody says otherwise.
pub(super) fn default_result(new: &NewOperation) -> Value {
    let together = super::parts(new).into_iter();
    if let Some(made) = together
        .into_iter()
        .find(|one| one.kind == "createServerGroups")
        && new.kind != made.kind
    {
        return default_result(&made);
    }
    let region = new
        .input
        .get("region")
        .and_then(Value::as_str)
        .unwrap_or("local");
    match new.kind.as_str() {
        "createServerGroup" | "cloneServerGroup" | "replaceInPlace" => {
            json!({"serverGroupNames": [format!("{region}:{}", next_name(new))]})
        }
        "createServerGroups" => {
            let names = parts_of(new)
                .into_iter()
                .map(|one| format!("{region}:{}", next_name(&one)));
            json!({"serverGroupNames": names.collect::<Vec<_>>()})
        }
        "runJob" => json!({
            "deployedNamesByLocation": {region: ["job"]},
            "jobStatus": {"name": "job", "jobState": "Succeeded", "logs": "done",
                "completionDetails": {"exitCode": 0}},
            "properties": {"build": "7"},
        }),
        _ => json!({}),
    }
}

/// The groups that are made together, each as an operation of its own.
fn parts_of(new: &NewOperation) -> Vec<NewOperation> {
    let listed = new.input.get("serverGroups").and_then(Value::as_array);
    let one = |input: &Value| NewOperation {
        kind: "createServerGroup".to_owned(),
        input: input.clone(),
        ..new.clone()
    };
    listed.into_iter().flatten().map(one).collect()
}

/// The name of the group an operation makes.
fn next_name(new: &NewOperation) -> String {
    let text = |key: &str| new.input.get(key).and_then(Value::as_str);
    if let Some(target) = text("targetServerGroupName") {
        return target.to_owned();
    }
    let application = text("application").unwrap_or("app");
    let cluster = match (text("stack"), text("freeFormDetails")) {
        (Some(stack), Some(details)) => format!("{application}-{stack}-{details}"),
        (Some(stack), None) => format!("{application}-{stack}"),
        (None, _) => application.to_owned(),
    };
    let source = new
        .input
        .get("source")
        .and_then(|s| s.get("serverGroupName"));
    let number = source
        .and_then(Value::as_str)
        .and_then(|name| name.rsplit_once("-v")?.1.parse::<u32>().ok())
        .map_or(0, |number| number + 1);
    format!("{cluster}-v{number:03}")
}

impl World {
    /// When something happens: after all operations there were.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.operations.len() + 1_000).unwrap_or(i64::MAX)
    }

    pub(super) fn members(&self, account: &str, cluster: &str) -> Vec<Value> {
        let of = |g: &&Value| {
            let name = g["name"].as_str().unwrap_or_default();
            let own = name.rsplit_once("-v").map_or(name, |(front, _)| front);
            own == cluster && g.get("account").is_none_or(|a| *a == json!(account))
        };
        let mut members: Vec<Value> = self.server_groups.iter().filter(of).cloned().collect();
        members.sort_by_key(|g| g["createdTime"].as_i64());
        members
    }

    /// What a successful operation changes.
    pub(super) fn perform(&mut self, new: &NewOperation) {
        let name = new
            .input
            .get("serverGroupName")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned);
        let found = self
            .server_groups
            .iter_mut()
            .find(|g| g["name"].as_str() == name.as_deref());
        match (new.kind.as_str(), found) {
            ("enableServerGroup", Some(group)) => enable(group, true),
            ("disableServerGroup", Some(group)) => {
                let part = new.input.get("desiredPercentage").and_then(Value::as_u64);
                match part.filter(|part| *part < 100) {
                    Some(part) => disable_part(group, part),
                    None => enable(group, false),
                }
            }
            ("resizeServerGroup", Some(group)) => {
                let mut capacity = group["capacity"].clone();
                if let (Value::Object(own), Some(Value::Object(asked))) =
                    (&mut capacity, new.input.get("capacity"))
                {
                    own.extend(asked.clone());
                }
                resize(group, &capacity);
            }
            ("terminateInstances", Some(group)) => terminate(group, &new.input),
            ("destroyServerGroup", _) => {
                let created = new.input.get("createdTime");
                let meant = |g: &Value| {
                    g["name"].as_str() == name.as_deref()
                        && created.is_none_or(|created| g.get("createdTime") == Some(created))
                };
                self.server_groups.retain(|g| !meant(g));
            }
            ("createServerGroup" | "cloneServerGroup" | "replaceInPlace", _) => self.make(new),
            ("createServerGroups", _) => {
                for one in parts_of(new) {
                    self.make(&one);
                }
            }
            _ => {}
        }
    }

    fn make(&mut self, new: &NewOperation) {
        let source = new
            .input
            .get("source")
            .and_then(|s| s.get("serverGroupName"))
            .cloned();
        let mut capacity = new.input.get("capacity").cloned().unwrap_or_default();
        for group in &mut self.server_groups {
            if Some(&group["name"]) == source.as_ref() && new.kind == "replaceInPlace" {
                if capacity.is_null() {
                    capacity = group["capacity"].clone();
                }
                enable(group, false);
                resize(group, &json!({"min": 0, "max": 0, "desired": 0}));
            }
        }
        if capacity.is_null() {
            capacity = json!({"min": 1, "max": 1, "desired": 1});
        }
        let name = next_name(new);
        self.server_groups.retain(|g| g["name"] != json!(name));
        let mut group = json!({
            "name": name,
            "account": new.input.get("account").cloned().unwrap_or_else(|| json!("prod")),
            "region": new.input.get("region").cloned().unwrap_or_else(|| json!("local")),
            "createdTime": self.now(),
            "imageId": new.input.get("imageId"),
            "loadBalancers": ["lb"],
            "isDisabled": false,
        });
        resize(&mut group, &capacity);
        self.server_groups.push(group);
    }
}

fn resize(group: &mut Value, capacity: &Value) {
    group["capacity"] = capacity.clone();
    let desired = capacity.get("desired").and_then(Value::as_u64).unwrap_or(0);
    let state = if group["isDisabled"] == json!(true) {
        "OutOfService"
    } else {
        "Up"
    };
    let instances: Vec<Value> = (0..desired)
        .map(|n| json!({"id": format!("i-{n}"), "health": [{"type": "LoadBalancer", "state": state}]}))
        .collect();
    group["instances"] = instances.into();
}

/// Instances go; others come in their place, unless the group is to be smaller.
fn terminate(group: &mut Value, input: &Value) {
    let going = input["instanceIds"].as_array().cloned().unwrap_or_default();
    let Some(instances) = group["instances"].as_array_mut() else {
        return;
    };
    let before = instances.len();
    instances.retain(|i| !going.contains(&i["id"]));
    let gone = before - instances.len();
    if input["decrement"] == json!(true) {
        let desired = instances.len();
        group["capacity"]["desired"] = json!(desired);
        return;
    }
    for n in 0..gone {
        let up =
            json!({"id": format!("new-{n}"), "health": [{"type": "LoadBalancer", "state": "Up"}]});
        instances.push(up);
    }
}

fn disable_part(group: &mut Value, percentage: u64) {
    let all = group["instances"].as_array_mut();
    let Some(all) = all else { return };
    let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let out = usize::try_from((count * percentage).div_ceil(100)).unwrap_or(usize::MAX);
    for instance in all.iter_mut().take(out) {
        instance["health"] = json!([{"type": "LoadBalancer", "state": "OutOfService"}]);
    }
}

fn enable(group: &mut Value, enabled: bool) {
    group["isDisabled"] = json!(!enabled);
    let state = if enabled { "Up" } else { "OutOfService" };
    for instance in group["instances"].as_array_mut().into_iter().flatten() {
        instance["health"] = json!([{"type": "LoadBalancer", "state": state}]);
    }
}
