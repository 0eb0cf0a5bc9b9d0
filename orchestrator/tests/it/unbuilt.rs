//! Types that are known and not built: they are saved, and refused in one sentence.

use std::collections::BTreeSet;

use orchestrator::definition::{Accounts, check_pipeline};
use orchestrator::services::fake::Fake;
use orchestrator::stage::STAGES;
use orchestrator::stage::unbuilt::{UNBUILT, find};
use orchestrator_core::Status;
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::make;

/// What each type has at least, as users write it.
fn written(kind: &str) -> Value {
    let object = json!({"account": "k8s", "location": "web", "manifestName": "deployment web"});
    let place = json!({"credentials": "aws", "region": "us-east-1"});
    let group = json!({"serverGroupName": "app-v001"});
    let joined = |parts: &[&Value]| -> Value {
        let maps = parts.iter().filter_map(|part| part.as_object());
        Value::Object(maps.flat_map(|map| map.clone()).collect())
    };
    let build = json!({"account": "builds"});
    match kind {
        "deployManifest" => json!({"account": "k8s", "manifests": [{"kind": "Pod"}]}),
        "runJobManifest" => {
            json!({"account": "k8s", "source": "text", "manifest": {"kind": "Job"}})
        }
        "patchManifest" => joined(&[&object, &json!({"patchBody": {"a": 1}})]),
        "scaleManifest" => joined(&[&object, &json!({"replicas": 0})]),
        "undoRolloutManifest" => joined(&[&object, &json!({"numRevisionsBack": 1})]),
        "findArtifactFromResource" | "findArtifactsFromResource" => {
            joined(&[&object, &json!({"expectedArtifacts": [{"id": "a"}]})])
        }
        "deleteManifest"
        | "enableManifest"
        | "disableManifest"
        | "pauseRolloutManifest"
        | "resumeRolloutManifest"
        | "rollingRestartManifest" => object,
        "bakeManifest" => json!({"templateRenderer": "HELM3", "outputName": "web",
            "inputArtifacts": [{"id": "a"}], "expectedArtifacts": [{"id": "b"}]}),
        "bake" => json!({"package": "web", "regions": ["us-east-1"], "baseOs": "bionic"}),
        "travis" => json!({"master": "travis-ci", "job": "org/web"}),
        "googleCloudBuild" => joined(&[&build, &json!({"triggerId": "t"})]),
        "awsCodeBuild" => joined(&[&build, &json!({"projectName": "web"})]),
        "upsertImageTags" => json!({"imageNames": ["a"], "tags": {"a": "b"}, "regions": ["r"]}),
        "deleteImage" => joined(&[&place, &json!({"imageIds": ["ami-1"]})]),
        "deleteLoadBalancer" => joined(&[&place, &json!({"loadBalancerName": "lb"})]),
        "upsertSecurityGroup" => joined(&[&place, &json!({"name": "sg"})]),
        "deleteSecurityGroup" => joined(&[&place, &json!({"securityGroupName": "sg"})]),
        "registerInstancesWithLoadBalancer" | "deregisterInstancesFromLoadBalancer" => joined(&[
            &place,
            &json!({"instanceIds": ["i-1"], "loadBalancerNames": ["lb"]}),
        ]),
        "rebootInstances" => joined(&[&place, &json!({"instanceIds": ["i-1"]})]),
        "upsertScalingPolicy" | "updateLaunchTemplate" => joined(&[&place, &group]),
        "deleteScalingPolicy" => joined(&[&place, &group, &json!({"policyName": "p"})]),
        "updateSecurityGroupsForServerGroup" => {
            joined(&[&place, &group, &json!({"securityGroups": ["sg"]})])
        }
        "deployCloudFormation" => joined(&[
            &place,
            &json!({"stackName": "s", "templateBody": {"Resources": {}}}),
        ]),
        "deleteCloudFormation" => joined(&[&place, &json!({"stackName": "s"})]),
        other => panic!("{other} has no sample"),
    }
}

fn faults(stage: Value) -> Vec<String> {
    let pipeline = json!({"application": "app", "name": "p", "stages": [stage]});
    let known = Accounts::Known(vec!["prod".to_owned()]);
    let found = check_pipeline(pipeline.as_object().unwrap(), &known);
    let lines = found.iter().map(|f| format!("{}: {}", f.path, f.message));
    lines.collect()
}

/// How a stage ends, with the first line of its error.
async fn ended(stage: &Value) -> (Status, String) {
    let mut bench = Bench::new(Fake::new(), json!([stage]));
    bench.drive(|_, _| Act::Run).await;
    assert!(bench.fake.operations().is_empty() && bench.fake.requests().is_empty());
    // A stage that failed looks for an operation of its own to turn back, and has none.
    bench.ran.retain(|task| task != "cancelOperation");
    assert!(bench.ran.is_empty(), "{:?}", bench.ran);
    let stages = &bench.execution().stages;
    assert_eq!(stages.len(), 1);
    let errors = json!(stages[0].context)
        .pointer("/exception/details/errors")
        .cloned();
    let errors = errors.unwrap_or_default();
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "{errors}");
    (stages[0].status, errors[0].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_is_not_built_is_saved_and_refused_when_it_begins() {
    assert_eq!(UNBUILT.len(), 31);
    for known in UNBUILT {
        for name in known.aliases.iter().chain([&known.kind]) {
            let stage = make(name, "1", &[], written(name));
            assert_eq!(faults(stage.clone()), [""; 0], "{name}");
            let sentence = format!(
                "stage type \"{}\" needs {}, which this version does not have; remove the stage, \
                 or disable it to keep it in the pipeline",
                known.kind, known.needs
            );
            assert_eq!(ended(&stage).await, (Status::Terminal, sentence), "{name}");
        }
    }
}

#[test]
fn a_type_is_built_or_it_is_not() {
    let built: BTreeSet<_> = STAGES.iter().map(|s| s.kind()).collect();
    let both: Vec<_> = built.iter().filter(|kind| find(kind).is_some()).collect();
    assert!(both.is_empty(), "{both:?}");
}

#[test]
fn what_a_type_must_have_is_named_when_it_is_saved() {
    for known in UNBUILT {
        let told = faults(make(known.kind, "1", &[], json!({})));
        assert!(!told.is_empty(), "{} needs nothing", known.kind);
        for line in &told {
            let whole = line.starts_with("stages[0].") && line.contains("; ");
            assert!(whole, "{line}");
        }
        // Each of its keys matters; every stage has a name.
        for key in written(known.kind).as_object().unwrap().keys() {
            let mut fields = written(known.kind);
            fields.as_object_mut().unwrap().shift_remove(key);
            let told = faults(make(known.kind, "1", &[], fields));
            assert!(
                !told.is_empty() || ["source", "name"].contains(&key.as_str()),
                "{} {key}",
                known.kind
            );
        }
    }
}

#[test]
fn other_ways_to_write_them_are_known() {
    let base = |more: Value| {
        let mut all = json!({"account": "k8s", "location": "web"});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let picked = json!({"kind": "deployment", "cluster": "c", "app": "a", "criteria": "newest",
        "replicas": "${n}"});
    for (kind, fields, expected) in [
        ("scaleManifest", base(picked), ""),
        (
            "scaleManifest",
            base(json!({"kind": "deployment", "replicas": 1})),
            "stages[0].manifestName: it is missing; name the object",
        ),
        (
            "deleteManifest",
            base(json!({"kinds": ["pod"], "labelSelectors": {"selectors": [{"key": "a"}]}})),
            "",
        ),
        (
            "deleteManifest",
            base(json!({"kinds": ["pod"]})),
            "stages[0].manifestName: it is missing",
        ),
        (
            "deleteManifest",
            base(json!({"kind": "a", "cluster": "c", "app": "a", "criteria": "any"})),
            "stages[0].criteria: \"any\" is unknown; use one of oldest, smallest",
        ),
        (
            "deployManifest",
            json!({"account": "k", "source": "artifact", "manifestArtifactId": "a"}),
            "",
        ),
        (
            "deployManifest",
            json!({"account": "k", "source": "artifact"}),
            "stages[0].manifestArtifactId: none of manifestArtifactId and manifestArtifact is set",
        ),
        (
            "deployManifest",
            json!({"account": "k", "manifests": "${all}", "trafficManagement":
                {"enabled": true, "options": {"strategy": "canary"}}}),
            "stages[0].trafficManagement.options.strategy: \"canary\" is unknown",
        ),
        (
            "bakeManifest",
            json!({"templateRenderer": "KUSTOMIZE", "inputArtifact": {"id": "a"},
                "expectedArtifacts": [{}, {}]}),
            "stages[0].expectedArtifacts: it has 2 entries; it must have exactly one",
        ),
    ] {
        let told = faults(make(kind, "1", &[], fields));
        match expected {
            "" => assert_eq!(told, [""; 0], "{kind}"),
            line => assert!(told[0].starts_with(line), "{told:?}"),
        }
    }
}

#[tokio::test]
async fn a_job_of_a_manifest_is_refused_for_its_provider_not_for_its_image() {
    let manifest = json!({"account": "k8s", "manifest": {"kind": "Job"}});
    for mut stage in [
        make("runJobManifest", "1", &[], manifest.clone()),
        make("runJob", "1", &[], manifest),
    ] {
        let alias = stage["type"] == "runJobManifest";
        stage[if alias { "alias" } else { "cloudProvider" }] =
            json!(if alias { "runJob" } else { "kubernetes" });
        assert_eq!(faults(stage.clone()), [""; 0]);
        let (status, sentence) = ended(&stage).await;
        assert_eq!(status, Status::Terminal);
        assert!(
            sentence.contains("needs the provider kubernetes"),
            "{sentence}"
        );
    }
}

#[tokio::test]
async fn stages_on_server_groups_are_refused_under_a_provider_that_is_not_there() {
    let place = json!({"account": "prod", "region": "r", "cloudProvider": "titus",
        "cluster": "app-main", "serverGroupName": "app-main-v000", "imageId": "r/a:1"});
    for kind in [
        "deploy",
        "createServerGroup",
        "cloneServerGroup",
        "runJob",
        "findImage",
        "resizeServerGroup",
        "enableServerGroup",
        "disableServerGroup",
        "destroyServerGroup",
        "rollbackServerGroup",
        "rollbackCluster",
        "shrinkCluster",
        "scaleDownCluster",
        "disableCluster",
    ] {
        let mut stage = make(kind, "1", &[], place.clone());
        if kind == "deploy" {
            stage = make(kind, "1", &[], json!({"clusters": [place]}));
        }
        let sentence = format!(
            "stage type \"{kind}\" needs the provider titus, which this version does not have; \
             remove the stage, or disable it to keep it in the pipeline"
        );
        assert_eq!(ended(&stage).await, (Status::Terminal, sentence));
    }
}
