//! Stages to try, one or more of each type, with the worlds they run in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orchestrator::services::Object;
use orchestrator::services::fake::{Fake, ok};
use orchestrator_core::Status;
use serde_json::{Value, json};

use crate::flow::pager;
use crate::rig::make;

/// A stage to try, the world it runs in, and how it ends.
pub(crate) struct Sample {
    pub(crate) stage: Value,
    pub(crate) world: fn(&Fake),
    pub(crate) ends: Status,
    /// How it ends when it is restarted after it was cancelled.
    pub(crate) again: Status,
}

pub(crate) fn sample(kind: &str, fields: Value, world: fn(&Fake)) -> Sample {
    let stage = make(kind, "1", &[], fields);
    Sample {
        stage,
        world,
        ends: Status::Succeeded,
        again: Status::Succeeded,
    }
}

/// A deployment that a service is asked about.
fn asking() -> Value {
    on(json!({"newServerGroup": "app-main-v001", "deploymentMonitor": {"id": "m"}}))
}

/// A service that has nothing against it.
fn watched(fake: &Fake) {
    configured(fake);
    for path in ["starting", "evaluateHealth"] {
        let url = format!("http://monitor.test/deployment/{path}");
        for _ in 0..100 {
            let step = json!({"nextStep": {"directive": "CONTINUE"}});
            fake.answer(&url, Ok(ok(&step)));
        }
    }
}

/// One that ends with an error.
fn ended(sample: Sample) -> Sample {
    Sample {
        ends: Status::Terminal,
        again: Status::Terminal,
        ..sample
    }
}

pub(crate) fn group(name: &str, created: u64, size: u64, disabled: bool) -> Value {
    let state = if disabled { "OutOfService" } else { "Up" };
    let instances: Vec<Value> = (0..size)
        .map(|n| json!({"id": format!("{name}-{n}"), "health": [{"type": "LoadBalancer", "state": state}]}))
        .collect();
    json!({
        "name": name, "account": "prod", "region": "local", "cluster": "app-main",
        "createdTime": created, "isDisabled": disabled, "imageId": format!("registry/app:{created}"),
        "capacity": {"min": size, "max": size, "desired": size}, "loadBalancers": ["lb"],
        "instances": instances,
    })
}

pub(crate) fn nothing(_: &Fake) {}

pub(crate) fn one_group(fake: &Fake) {
    fake.server_group(group("app-main-v000", 1, 3, false));
}

pub(crate) fn two_groups(fake: &Fake) {
    one_group(fake);
    fake.server_group(group("app-main-v001", 2, 2, true));
}

/// An artifact that holds this.
pub(crate) fn embedded(content: &Value) -> Value {
    let reference = STANDARD.encode(content.to_string());
    json!({"type": "embedded/base64", "reference": reference})
}

/// Staging runs what prod does not.
pub(crate) fn two_environments(fake: &Fake) {
    for (name, account) in [("staging", "test"), ("prod", "prod")] {
        let environment = json!({"id": name, "name": name, "accounts": [account]});
        fake.object(Object::Environment, environment);
    }
    let mut staged = group("app-main-v007", 9, 1, false);
    staged["account"] = json!("test");
    fake.server_group(staged);
    one_group(fake);
}

/// Version 2 took over from version 1, by execution `x`.
pub(crate) fn deployed(fake: &Fake) {
    let environment = json!({"id": "prod", "name": "prod", "accounts": ["prod"]});
    fake.object(Object::Environment, environment);
    fake.server_group(group("app-main-v000", 1, 3, true));
    fake.server_group(group("app-main-v001", 2, 3, false));
    let context = json!({
        "account": "prod", "source": {"serverGroupName": "app-main-v000"},
        "deploy.server.groups": {"local": ["app-main-v001"]},
    });
    fake.execution(json!({
        "id": "x", "application": "app", "status": "SUCCEEDED",
        "stages": [{"type": "createServerGroup", "context": context}],
    }));
}

fn replaced(fake: &Fake) {
    fake.server_group(group("app-main-v000", 1, 0, true));
    fake.server_group(group("app-main-v001", 2, 3, false));
}

fn polled(fake: &Fake) {
    for _ in 0..100 {
        fake.answer("http://hook.test/start", Ok(ok(&json!({"at": "/status"}))));
    }
    fake.answer(
        "http://hook.test/status",
        Ok(ok(&json!({"state": "RUNNING"}))),
    );
    for _ in 0..100 {
        fake.answer("http://hook.test/status", Ok(ok(&json!({"state": "done"}))));
    }
}

/// What an operator set.
pub(crate) fn configured(fake: &Fake) {
    let set = json!({
        "script": {"master": "ci", "job": "run-script"},
        "preconfiguredWebhook": [
            {"type": "off", "enabled": false, "url": "http://hook.test/off"},
            {"type": "hook", "label": "Hook", "url": "http://hook.test/${parameterValues['who']}",
                "method": "PUT", "customHeaders": null, "payload": "{\"for\": \"${parameterValues['why']}\"}",
                "parameters": [{"name": "who"}, {"name": "why", "defaultValue": "fun"}]},
            {"type": "ops", "label": "Ops", "url": "http://hook.test/ops",
                "permissions": {"READ": ["dev"], "WRITE": ["ops"]}},
        ],
        "preconfiguredJob": [
            {"type": "smoke", "label": "Smoke", "account": "prod", "region": "local",
                "imageId": "registry/smoke:1", "jobRuntimeLimit": "PT5M", "env": {"A": "1"},
                "parameters": [
                    {"name": "version", "mapping": "env.VERSION"},
                    {"name": "mode", "mapping": "env.MODE", "defaultValue": "fast"},
                ]},
        ],
        "deploymentMonitor": [{"id": "m", "name": "Watch", "baseUrl": "http://monitor.test",
            "supportContact": "ops", "maxAnalysisMinutes": 30, "failOnError": true, "stable": true}],
    });
    fake.configure(set.as_object().cloned().unwrap());
}

pub(crate) fn on(fields: Value) -> Value {
    let mut all = json!({"account": "prod", "region": "local", "cloudProvider": "local"});
    if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
        all.extend(fields);
    }
    all
}

pub(crate) fn cluster(strategy: &str) -> Value {
    on(json!({
        "application": "app", "stack": "main", "strategy": strategy, "imageId": "registry/app:2",
        "capacity": {"min": 3, "max": 3, "desired": 3}, "loadBalancers": ["lb"],
        "rollback": {"onFailure": true},
    }))
}

pub(crate) fn samples() -> Vec<Sample> {
    let named = |name: &str| on(json!({"serverGroupName": name}));
    let pipeline = json!({"application": "app", "name": "Q", "id": "q", "stages": []});
    let application = json!({"application": {"name": "shop", "email": "e"}});
    let rollback = json!({
        "rollbackType": "EXPLICIT",
        "rollbackContext": {
            "rollbackServerGroupName": "app-main-v001", "restoreServerGroupName": "app-main-v000",
        },
    });
    let mut judged = sample(
        "manualJudgment",
        json!({"judgmentStatus": "continue"}),
        nothing,
    );
    // A restart asks anew, and here nobody answers.
    judged.again = Status::Terminal;
    vec![
        judged,
        sample("wait", json!({"waitTime": "30"}), nothing),
        sample(
            "evaluateArtifacts",
            json!({
                "artifactContents": [{"name": "a", "contents": "x: ${1 + 1}", "id": "1"}],
                "expectedArtifacts": [{"id": "e", "matchArtifact": {"name": "a"}}],
            }),
            nothing,
        ),
        sample(
            "findArtifactFromExecution",
            json!({
                "application": "app", "pipeline": "q", "executionOptions": {"succeeded": true},
                "expectedArtifacts": [{"id": "e", "matchArtifact": {"name": "a"}}],
            }),
            |fake| {
                fake.execution(json!({"id": "x", "pipelineConfigId": "q", "application": "app",
                    "status": "SUCCEEDED", "startTime": 1, "trigger": {"artifacts": [{"name": "a"}]}}));
            },
        ),
        sample(
            "monitorPipeline",
            json!({"executionIds": ["x", "y"], "monitorBehavior": "FailFast"}),
            nothing,
        ),
        sample(
            "runMultiplePipelines",
            json!({"yamlConfig": [{"bundle_web": {
                "one": {"child_pipeline": "Q", "arguments": {"a": 1}},
                "two": {"child_pipeline": "Q", "arguments": {"a": 2}, "depends_on": ["one"]},
            }}]}),
            |fake| fake.pipeline(json!({"application": "app", "name": "Q", "id": "q", "stages": []})),
        ),
        sample("waitUntil", json!({"epochMillis": 60_000}), nothing),
        sample("noop", json!({}), nothing),
        sample(
            "dependsOnExecution",
            json!({"executionType": "pipeline", "executionId": "x"}),
            |fake| {
                fake.execution(json!({"id": "x", "type": "PIPELINE", "application": "app",
                    "status": "SUCCEEDED", "stages": []}));
            },
        ),
        sample(
            "reorderPipelines",
            json!({"application": "app", "idsToIndices": {"q": 3}}),
            |fake| fake.pipeline(json!({"application": "app", "name": "Q", "id": "q"})),
        ),
        sample(
            "pageApplicationOwner",
            json!({"keys": ["k"], "message": "help"}),
            pager,
        ),
        sample(
            "restrictExecutionDuringTimeWindow",
            json!({"restrictedExecutionWindow": {"days": [2, 4], "whitelist": [
                {"startHour": 22, "startMin": 30, "endHour": 5, "endMin": 0}],
                "jitter": {"enabled": true, "minDelay": 5, "maxDelay": 10}}}),
            nothing,
        ),
        sample(
            "checkPreconditions",
            json!({"preconditions": [
                {"type": "stageStatus", "context": {"stageName": "checkPreconditions 1", "stageStatus": "RUNNING"}},
                {"type": "clusterSize", "context": {"cluster": "app-main", "credentials": "prod",
                    "regions": ["local"], "comparison": "==", "expected": 1}},
            ]}),
            one_group,
        ),
        sample(
            "evaluateVariables",
            json!({"variables": [{"key": "a", "value": 1}]}),
            nothing,
        ),
        sample(
            "webhook",
            json!({"url": "http://hook.test/x", "method": "put", "payload": {"a": 1}}),
            nothing,
        ),
        sample(
            "webhook",
            json!({
                "url": "http://hook.test/start", "waitForCompletion": true, "waitBeforeMonitor": 5,
                "statusUrlResolution": "webhookResponse", "statusUrlJsonPath": "$.at",
                "statusJsonPath": "$.state", "successStatuses": "done, DONE", "signalCancellation": true,
                "cancelEndpoint": "http://hook.test/cancel",
            }),
            polled,
        ),
        sample("createApplication", application.clone(), nothing),
        sample("updateApplication", application.clone(), nothing),
        sample("upsertApplication", application.clone(), nothing),
        sample("deleteApplication", application, nothing),
        sample("savePipeline", json!({"pipeline": pipeline}), nothing),
        sample("updatePipeline", json!({"pipeline": pipeline}), nothing),
        sample("deletePipeline", json!({"pipeline": pipeline}), nothing),
        sample(
            "deploy",
            json!({"clusters": [cluster("none"), cluster("")]}),
            nothing,
        ),
        sample(
            "deploy",
            json!({"clusters": [cluster("inplacedrain")]}),
            one_group,
        ),
        sample("createServerGroup", cluster("none"), one_group),
        sample(
            "promoteEnvironment",
            json!({"application": "app", "from": "staging", "to": "prod"}),
            two_environments,
        ),
        sample(
            "savePipelinesFromArtifact",
            json!({"pipelinesArtifact": embedded(&json!({"app": [{"name": "A", "stages": []}]}))}),
            nothing,
        ),
        sample("deployPreviousVersion", json!({"environment": "prod"}), deployed),
        sample("undoDeployment", json!({"executionId": "x"}), deployed),
        sample("cloneServerGroup", cluster("none"), one_group),
        sample(
            "replaceInPlace",
            on(
                json!({"application": "app", "stack": "main", "source": {"serverGroupName": "app-main-v000"}}),
            ),
            one_group,
        ),
        sample(
            "resizeServerGroup",
            on(
                json!({"target": "current_asg_dynamic", "cluster": "app-main",
            "action": "scale_up", "scaleNum": 2}),
            ),
            one_group,
        ),
        sample(
            "resizeServerGroup",
            on(json!({"serverGroupName": "app-main-v000", "capacity": {"desired": 1}})),
            one_group,
        ),
        sample("enableServerGroup", named("app-main-v001"), two_groups),
        sample("disableServerGroup", named("app-main-v000"), two_groups),
        sample(
            "destroyServerGroup",
            on(json!({"target": "oldest_asg_dynamic", "cluster": "app-main"})),
            two_groups,
        ),
        sample(
            "determineTargetServerGroup",
            on(json!({"target": "current_asg_dynamic", "cluster": "app-main"})),
            two_groups,
        ),
        sample("rollbackServerGroup", on(rollback.clone()), replaced),
        sample("rollbackServerGroup", on(rollback), |fake| {
            fake.server_group(group("app-main-v000", 1, 1, true));
            fake.server_group(group("app-main-v001", 2, 3, false));
        }),
        sample(
            "rollbackServerGroup",
            on(json!({
                "rollbackType": "PREVIOUS_IMAGE", "application": "app", "stack": "main",
                "rollbackContext": {"rollbackServerGroupName": "app-main-v000", "imageId": "registry/app:0"},
            })),
            one_group,
        ),
        sample(
            "restoreServerGroup",
            on(json!({
                "application": "app", "stack": "main",
                "before": {"serverGroupName": "app-main-v009", "imageId": "registry/app:1",
                    "capacity": {"min": 2, "max": 2, "desired": 2}, "loadBalancers": ["lb"]},
            })),
            nothing,
        ),
    ]
    .into_iter()
    .chain(cluster_samples())
    .chain(crate::canary::samples())
    .collect()
}

/// Strategies, and stages on whole clusters.
fn cluster_samples() -> Vec<Sample> {
    let deploy = |strategy: &str, more: Value| {
        let mut one = cluster(strategy);
        one.as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap());
        json!({"clusters": [one]})
    };
    let wide = |more: Value| {
        let mut all = json!({"credentials": "prod", "regions": ["local"], "cluster": "app-main"});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap());
        all
    };
    let moved = json!({"serverGroupName": "app-main-v000", "action": "scale_to_server_group",
        "source": {"serverGroupName": "app-main-v000"}, "pinMinimumCapacity": true});
    let both = |fake: &Fake| {
        fake.server_group(group("app-main-v000", 1, 3, false));
        fake.server_group(group("app-main-v001", 2, 3, false));
    };
    vec![
        sample("deploy", deploy("redblack", json!({})), nothing),
        sample(
            "deploy",
            deploy(
                "redblack",
                json!({"maxRemainingAsgs": 2, "delayBeforeDisableSec": 5, "scaleDown": true,
                    "delayBeforeScaleDownSec": "5"}),
            ),
            one_group,
        ),
        sample("deploy", deploy("highlander", json!({})), one_group),
        sample(
            "deploy",
            deploy(
                "rollingredblack",
                json!({"targetPercentages": [50], "maxInitialAsgs": -1}),
            ),
            one_group,
        ),
        sample(
            "deploy",
            deploy(
                "rollingredblack",
                json!({"targetPercentages": [50, 100], "maxInitialAsgs": "-1"}),
            ),
            nothing,
        ),
        sample(
            "deploy",
            deploy(
                "canary",
                json!({"trafficPercentages": [10, 50], "delayBeforeCleanup": 30}),
            ),
            one_group,
        ),
        sample("disableCluster", wide(json!({})), both),
        sample(
            "shrinkCluster",
            wide(json!({"allowDeleteActive": true})),
            both,
        ),
        sample("scaleDownCluster", wide(json!({})), two_groups),
        sample(
            "shiftTraffic",
            on(json!({"weights": {"app-main-v000": 30}})),
            both,
        ),
        sample("pinServerGroup", on(moved), one_group),
        sample(
            "applySourceServerGroupCapacity",
            on(json!({"serverGroupName": "app-main-v000",
                "sourceServerGroupCapacitySnapshot": {"min": 1, "max": 3, "desired": 3}})),
            one_group,
        ),
        sample(
            "captureSourceServerGroupCapacity",
            on(json!({"source": {"serverGroupName": "app-main-v000"}})),
            one_group,
        ),
        sample(
            "modifyAwsScalingProcess",
            on(
                json!({"serverGroupName": "app-main-v000", "action": "suspend",
                "processes": ["Launch"]}),
            ),
            |fake| {
                let mut group = group("app-main-v000", 1, 3, false);
                group["asg"] = json!({"suspendedProcesses": [{"processName": "Launch"}]});
                fake.server_group(group);
            },
        ),
        sample(
            "createV2PipelineTemplate",
            json!({"pipelineTemplate": {"id": "t", "metadata": {"name": "T", "scopes": ["global"]}}}),
            nothing,
        ),
        sample(
            "updateV2PipelineTemplate",
            json!({"id": "t", "pipelineTemplate": {"metadata": {"name": "T", "scopes": ["global"]}}}),
            nothing,
        ),
        sample(
            "deleteV2PipelineTemplate",
            json!({"pipelineTemplateId": "t", "tag": "v1"}),
            nothing,
        ),
        sample(
            "upsertProject",
            json!({"project": {"name": "P", "email": "e"}}),
            nothing,
        ),
        sample("deleteProject", json!({"project": {"name": "P"}}), nothing),
        sample("rollbackCluster", wide(json!({})), both),
        sample(
            "jenkins",
            json!({"master": "ci", "job": "shop/main", "parameters": {"A": "1"},
                "propertyFile": "build.properties"}),
            nothing,
        ),
        sample(
            "jenkins",
            json!({"master": "ci", "job": "shop/main", "waitForCompletion": false}),
            nothing,
        ),
        sample(
            "terminateInstances",
            on(json!({"serverGroupName": "app-main-v000", "instanceIds": ["app-main-v000-1"]})),
            one_group,
        ),
        sample(
            "terminateInstanceAndDecrementServerGroup",
            on(json!({"serverGroupName": "app-main-v000", "instance": "app-main-v000-0"})),
            one_group,
        ),
        sample(
            "upsertLoadBalancer",
            on(json!({"loadBalancerName": "extra", "path": "/"})),
            nothing,
        ),
        sample(
            "upsertLoadBalancers",
            on(json!({"loadBalancers": [{"name": "a"}, {"name": "b", "host": "b.test"}]})),
            nothing,
        ),
        Sample {
            // What is gone cannot be named again.
            again: Status::Terminal,
            ..sample(
                "bulkDestroyServerGroup",
                on(json!({"serverGroupNames": ["app-main-v000", "app-main-v001"]})),
                two_groups,
            )
        },
        sample("notifyDeployStarting", asking(), watched),
        sample("evaluateDeploymentHealth", asking(), watched),
        sample("notifyDeployCompleted", asking(), watched),
        ended(sample(
            "destroyJob",
            on(json!({"jobName": "none"})),
            nothing,
        )),
        sample(
            "getProperties",
            json!({"master": "ci", "job": "shop/main", "buildNumber": 3, "propertyFile": "p"}),
            nothing,
        ),
        sample(
            "script",
            json!({"command": "echo", "propertyFile": "p"}),
            configured,
        ),
        sample(
            "hook",
            json!({"alias": "preconfiguredWebhook", "parameterValues": {"who": "me"}}),
            configured,
        ),
        sample(
            "smoke",
            json!({"alias": "preconfiguredJob", "parameters": {"version": "2"}}),
            configured,
        ),
        sample(
            "runJob",
            on(
                json!({"imageId": "registry/smoke:1", "command": ["check", "all"],
                "jobRuntimeLimit": "PT5M", "propertyFile": "job"}),
            ),
            nothing,
        ),
        sample(
            "runJob",
            json!({"credentials": "prod", "waitForCompletion": false,
                "cluster": {"imageId": "registry/smoke:1", "region": "local"}}),
            nothing,
        ),
        sample(
            "findImage",
            wide(json!({"imageNamePattern": "registry/.*"})),
            both,
        ),
        sample(
            "findImageFromTags",
            json!({"packageName": "app", "cloudProvider": "local"}),
            |fake| {
                for tag in ["9", "10"] {
                    fake.image(json!({"repository": "team/app", "tag": tag, "artifact": {
                        "name": "r/team/app", "reference": format!("r/team/app:{tag}")}}));
                }
            },
        ),
        sample(
            "pipeline",
            json!({"application": "app", "pipeline": "q", "pipelineParameters": {"a": 1}}),
            |fake| {
                fake.pipeline(json!({"application": "app", "name": "Q", "id": "q", "stages": []}))
            },
        ),
    ]
}
