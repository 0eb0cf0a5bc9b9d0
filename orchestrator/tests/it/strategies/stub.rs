//! cloud-driver as it was scripted when Orca was recorded: server groups in memory,
//! operations that take effect at once, all of them noted.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use orchestrator::services::{CloudDriver, NewOperation, Operation, OperationState, Target};
use orchestrator::task::SEQUENCE;
use proto::moniker::Moniker;
use proto::status::Failure;
use serde_json::{Value, json};

mod children;
mod doors;

const ACCOUNT: &str = "test";
/// Groups that were there before are an hour apart.
const FIRST: i64 = 1_500_000_000_000;
const HOUR: i64 = 3_600_000;

/// One operation as it was sent: request, kind, description.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) post: usize,
    pub(crate) name: String,
    pub(crate) description: Value,
}

#[derive(Debug, Clone)]
struct Group {
    name: String,
    region: String,
    created: i64,
    capacity: Value,
    disabled: bool,
    /// Instances out of service, in percent.
    out: f64,
    image: Value,
    image_name: Value,
    build: Value,
    suspended: Vec<String>,
    target_groups: Value,
    /// When each instance came up; those before the case always were.
    instances: Vec<Instance>,
}

#[derive(Debug, Clone)]
struct Instance {
    since: i64,
    state: String,
}

#[derive(Debug, Default)]
struct World {
    now: i64,
    groups: Vec<Group>,
    operations: Vec<(String, Operation)>,
    sent: Vec<Sent>,
    script: Value,
    /// Executions that stages started, by their events.
    children: Vec<(String, Value)>,
}

/// The stub; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stub(Arc<Mutex<World>>);

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn cluster_of(name: &str) -> String {
    Moniker::parse(name).cluster.unwrap_or_default()
}

fn size(capacity: &Value) -> usize {
    let desired = &capacity["desired"];
    let number = desired.as_u64();
    let number = number.or_else(|| desired.as_str()?.parse().ok());
    usize::try_from(number.unwrap_or(0)).unwrap()
}

impl Stub {
    pub(crate) fn of(world: &Value) -> Self {
        let stub = Self::default();
        {
            let mut own = stub.lock();
            own.script = world.clone();
            let listed = world["serverGroups"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for (n, group) in listed.iter().enumerate() {
                let made = existing(n, group);
                own.groups.push(made);
            }
        }
        stub
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) fn at(&self, now: i64) {
        self.lock().now = now;
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    /// The world goes on otherwise.
    pub(crate) fn merge(&self, body: &Value) {
        let mut world = self.lock();
        if let (Value::Object(script), Value::Object(body)) = (&mut world.script, body) {
            script.extend(body.clone());
        }
    }
}

fn existing(n: usize, group: &Value) -> Group {
    let capacity = group.get("capacity").cloned();
    let capacity = capacity.unwrap_or_else(|| json!({"min": 1, "max": 1, "desired": 1}));
    let strings = |key: &str| -> Vec<String> {
        let list = group[key].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect()
    };
    let disabled = group["disabled"] == true;
    let mut suspended = strings("suspendedProcesses");
    if disabled && !suspended.iter().any(|p| p == "AddToLoadBalancer") {
        suspended.push("AddToLoadBalancer".to_owned());
    }
    let up = Instance {
        since: 0,
        state: "Up".to_owned(),
    };
    Group {
        name: text(group, "name"),
        region: group["region"].as_str().unwrap_or("us-east-1").to_owned(),
        created: FIRST + HOUR * i64::try_from(n).unwrap(),
        disabled,
        out: if disabled { 100.0 } else { 0.0 },
        image: group["imageId"].clone(),
        image_name: group["imageName"].clone(),
        build: group["buildNumber"].clone(),
        suspended,
        target_groups: group
            .get("targetGroups")
            .cloned()
            .unwrap_or_else(|| json!(["tg-1"])),
        instances: vec![up; size(&capacity)],
        capacity,
    }
}

impl World {
    fn json(&self, group: &Group) -> Value {
        let total = group.instances.len();
        let total_number = f64::from(u32::try_from(total).unwrap());
        let out = (group.out * total_number / 100.0).round();
        let balanced = group
            .target_groups
            .as_array()
            .is_some_and(|t| !t.is_empty());
        let after = self.script["upAfterSeconds"].as_f64().unwrap_or(0.0);
        let mut instances = Vec::new();
        for (n, instance) in group.instances.iter().enumerate() {
            let mut health =
                vec![json!({"type": "Amazon", "healthClass": "platform", "state": "Unknown"})];
            if balanced {
                let age = i32::try_from(self.now - instance.since).unwrap_or(i32::MAX);
                let young = instance.since > 0 && f64::from(age) < after * 1000.0;
                let state = if f64::from(u32::try_from(n).unwrap()) < out {
                    "OutOfService"
                } else if instance.state == "Up" && young {
                    "Starting"
                } else {
                    &instance.state
                };
                health.push(json!({"type": "TargetGroup", "state": state}));
            }
            instances.push(json!({"id": format!("i-{}-{n}", group.name), "health": health}));
        }
        let suspended: Vec<Value> = group
            .suspended
            .iter()
            .map(|p| json!({ "processName": p }))
            .collect();
        let mut json = json!({
            "name": group.name, "region": group.region, "account": ACCOUNT, "type": "aws",
            "createdTime": group.created, "isDisabled": group.disabled,
            "capacity": group.capacity, "imageId": group.image, "imageName": group.image_name,
            "targetGroups": group.target_groups, "loadBalancers": [],
            "asg": {"suspendedProcesses": suspended}, "instances": instances,
        });
        if !group.build.is_null() {
            json["buildInfo"] = json!({"jenkins": {
                "name": "job", "number": group.build, "host": "http://jenkins/",
            }});
        }
        let tags = self.script["entityTags"].as_array().cloned();
        let own = tags
            .unwrap_or_default()
            .into_iter()
            .find(|t| t["entityRef"]["entityId"].as_str() == Some(&group.name));
        if let Some(own) = own {
            json["entityTags"] = own;
        }
        json
    }

    fn members(&self, cluster: &str) -> Vec<&Group> {
        let of = |g: &&Group| cluster_of(&g.name) == cluster;
        self.groups.iter().filter(of).collect()
    }

    fn newcomers(&self, count: usize) -> Vec<Instance> {
        let state = match self.script["newInstances"].as_str() {
            Some("down") => "Down",
            Some("starting") => "Starting",
            _ => "Up",
        };
        let one = Instance {
            since: self.now.max(1),
            state: state.to_owned(),
        };
        vec![one; count]
    }

    fn perform(&mut self, kind: &str, input: &Value) -> Vec<String> {
        match kind {
            "createServerGroup" | "cloneServerGroup" => return self.create(kind, input),
            "destroyServerGroup" => {
                let (name, region) = (text(input, "serverGroupName"), text(input, "region"));
                self.groups.retain(|g| g.name != name || g.region != region);
            }
            _ => self.change(kind, input),
        }
        Vec::new()
    }

    fn change(&mut self, kind: &str, input: &Value) {
        let region = text(input, "region");
        let name = input["serverGroupName"]
            .as_str()
            .or_else(|| input["asgName"].as_str());
        let own = |g: &Group| Some(g.name.as_str()) == name && g.region == region;
        let Some(at) = self.groups.iter().position(own) else {
            return;
        };
        let desired = size(&input["capacity"]);
        let have = self.groups[at].instances.len();
        let more = self.newcomers(desired.saturating_sub(have));
        let group = &mut self.groups[at];
        let processes = input["processes"].as_array().cloned().unwrap_or_default();
        match kind {
            "enableServerGroup" => {
                group.disabled = false;
                group.out = 0.0;
                group.suspended.retain(|p| p != "AddToLoadBalancer");
            }
            "disableServerGroup" => {
                let part = input["desiredPercentage"].as_f64().unwrap_or(100.0);
                group.out = part;
                if part >= 100.0 {
                    group.disabled = true;
                    group.suspended.push("AddToLoadBalancer".to_owned());
                }
            }
            "resizeServerGroup" => {
                for (key, value) in input["capacity"].as_object().into_iter().flatten() {
                    group.capacity[key] = value.clone();
                }
                if input["capacity"].get("desired").is_some() {
                    group.instances.truncate(desired);
                    group.instances.extend(more);
                }
            }
            "resumeAsgProcessesDescription" => {
                group
                    .suspended
                    .retain(|p| !processes.iter().any(|q| q == p));
            }
            "suspendAsgProcessesDescription" => {
                let names = processes.iter().filter_map(Value::as_str);
                group.suspended.extend(names.map(ToOwned::to_owned));
            }
            _ => {}
        }
    }

    fn create(&mut self, kind: &str, input: &Value) -> Vec<String> {
        let regions: Vec<String> = match input["availabilityZones"].as_object() {
            Some(zones) if !zones.is_empty() => zones.keys().cloned().collect(),
            _ => vec![text(input, "region")],
        };
        let source = input["source"]["serverGroupName"].as_str();
        let source = source.and_then(|name| self.groups.iter().find(|g| g.name == name));
        let source = source.cloned();
        let part = |key: &str| {
            let own = input[key].as_str().filter(|t| !t.is_empty());
            own.map(ToOwned::to_owned)
        };
        let (stack, detail) = (part("stack"), part("freeFormDetails"));
        let application = text(input, "application");
        let cluster = match (stack, detail) {
            (None, None) => application,
            (Some(stack), None) => format!("{application}-{stack}"),
            (stack, Some(detail)) => {
                format!("{application}-{}-{detail}", stack.unwrap_or_default())
            }
        };
        let mut capacity = input["capacity"].clone();
        if input["source"]["useSourceCapacity"] == true || capacity.is_null() {
            let fallback = json!({"min": 1, "max": 1, "desired": 1});
            capacity = source.as_ref().map_or(fallback, |s| s.capacity.clone());
        }
        let mut names = Vec::new();
        for region in regions {
            let members = self.members(&cluster);
            let newest = members
                .iter()
                .filter(|g| g.region == region)
                .max_by_key(|g| g.created);
            let next = newest.map_or(0, |g| Moniker::parse(&g.name).sequence.unwrap_or(0) + 1);
            let name = format!("{cluster}-v{next:03}");
            let suspended: Vec<String> = input["suspendedProcesses"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|p| Some(p.as_str()?.to_owned()))
                .collect();
            let disabled = suspended.iter().any(|p| p == "AddToLoadBalancer");
            let inherited = source.as_ref().filter(|_| kind == "cloneServerGroup");
            let target_groups = match inherited {
                Some(source) if input.get("targetGroups").is_none() => source.target_groups.clone(),
                _ => input
                    .get("targetGroups")
                    .cloned()
                    .unwrap_or_else(|| json!([])),
            };
            let group = Group {
                name: name.clone(),
                region: region.clone(),
                created: FIRST
                    + 1_000 * HOUR
                    + self.now
                    + i64::try_from(self.groups.len()).unwrap(),
                disabled,
                out: if disabled { 100.0 } else { 0.0 },
                image: input["imageId"].clone(),
                image_name: input["amiName"].clone(),
                build: Value::Null,
                suspended,
                target_groups,
                instances: self.newcomers(size(&capacity)),
                capacity: capacity.clone(),
            };
            self.groups.push(group);
            names.push(format!("{region}:{name}"));
        }
        names
    }
}

fn parts_of(new: &NewOperation) -> Vec<(String, Value)> {
    if new.kind != SEQUENCE {
        return vec![(new.kind.clone(), new.input.clone())];
    }
    let listed = new.input["operations"].as_array().unwrap();
    let parts = listed.iter().flat_map(|one| one.as_object().unwrap());
    parts.map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[async_trait]
impl CloudDriver for Stub {
    async fn submit(&self, new: NewOperation) -> Result<Operation, Failure> {
        let mut world = self.lock();
        if let Some((_, known)) = world.operations.iter().find(|(id, _)| *id == new.effect_id) {
            return Ok(known.clone());
        }
        let post = world.sent.last().map_or(0, |s| s.post) + 1;
        let parts = parts_of(&new);
        let mut failure = None;
        for (name, description) in &parts {
            failure = failure.or_else(|| {
                world.script["failOperations"][name]
                    .as_str()
                    .map(str::to_owned)
            });
            world.sent.push(Sent {
                post,
                name: name.clone(),
                description: description.clone(),
            });
        }
        let mut names = Vec::new();
        if failure.is_none() {
            for (name, input) in &parts {
                names.extend(world.perform(name, input));
            }
        }
        let operation = Operation {
            id: format!("task-{}", world.operations.len() + 1),
            kind: new.kind,
            state: if failure.is_some() {
                OperationState::Failed
            } else {
                OperationState::Succeeded
            },
            history: Vec::new(),
            result: if names.is_empty() {
                json!({})
            } else {
                json!({ "serverGroupNames": names })
            },
            error: failure.unwrap_or_default(),
            error_details: Vec::new(),
            retryable: false,
            ended_ms: 0,
        };
        world.operations.push((new.effect_id, operation.clone()));
        Ok(operation)
    }

    async fn operation(&self, id: &str) -> Result<Operation, Failure> {
        let world = self.lock();
        let found = world.operations.iter().find(|(_, o)| o.id == id);
        found
            .map(|(_, o)| o.clone())
            .ok_or_else(|| Failure::not_found("no such task"))
    }

    async fn cancel(&self, id: &str) -> Result<Operation, Failure> {
        self.operation(id).await
    }

    async fn accounts(&self) -> Result<Vec<String>, Failure> {
        Ok(vec![ACCOUNT.to_owned()])
    }

    async fn cluster(
        &self,
        _application: &str,
        _account: &str,
        cluster: &str,
        _provider: &str,
    ) -> Result<Option<Value>, Failure> {
        let world = self.lock();
        let members = world.members(cluster);
        let groups: Vec<Value> = members.iter().map(|g| world.json(g)).collect();
        let found = json!({"name": cluster, "serverGroups": groups});
        Ok((!groups.is_empty()).then_some(found))
    }

    async fn server_group(
        &self,
        _account: &str,
        region: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let world = self.lock();
        let own = |g: &&Group| g.name == name && g.region == region;
        Ok(world.groups.iter().find(own).map(|g| world.json(g)))
    }

    async fn target(&self, target: &Target) -> Result<Option<Value>, Failure> {
        let world = self.lock();
        let mut members = world.members(&target.cluster);
        members.retain(|g| g.region == target.region);
        members.sort_by_key(|g| g.created);
        let found = match target.target.as_str() {
            "oldest_asg_dynamic" => members.first(),
            "ancestor_asg_dynamic" => members.iter().rev().nth(1),
            _ => members.last(),
        };
        Ok(found.map(|g| world.json(g)))
    }

    async fn clusters(&self, _application: &str) -> Result<Value, Failure> {
        Ok(json!({}))
    }

    async fn images(&self, _provider: &str, _name: &str) -> Result<Vec<Value>, Failure> {
        let listed = self.lock().script["images"].as_array().cloned();
        Ok(listed.unwrap_or_default())
    }
}
