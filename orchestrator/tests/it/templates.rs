//! Templated pipelines: planned as they would run, and run as they were planned.

use proto::common::v1::{Json, PageRequest};
use proto::orchestrator::v1::{ListExecutionsRequest, SaveObjectRequest};
use serde_json::{Value, json};

use crate::rig::{Rig, as_user, make, stage};

/// A service with a template of a webhook whose address is a variable, in two versions.
async fn rig() -> Rig {
    let rig = Rig::up().await;
    for (tag, path) in [("old", "old"), ("latest", "new")] {
        let hook = format!("http://hook.test/${{templateVariables.host}}/{path}");
        let fields = json!({"url": hook, "method": "POST"});
        let template = json!({
            "schema": "v2", "id": "t", "tag": tag, "protect": false,
            "metadata": {"name": "n", "description": "d", "owner": "o", "scopes": ["global"]},
            "variables": [{"name": "host", "type": "string"},
                {"name": "who", "type": "string", "defaultValue": "nobody"}],
            "pipeline": {"description": "for ${templateVariables.who}",
                "parameterConfig": [{"name": "p", "default": "of the template"}],
                "stages": [make("webhook", "1", &[], fields)]},
        });
        let call = as_user(SaveObjectRequest {
            kind: "pipelineTemplate".into(),
            object: Some(Json::of(&template)),
            user: String::new(),
            create: tag == "old",
        });
        rig.definitions.clone().save_object(call).await.unwrap();
    }
    rig
}

fn configuration(reference: &str, variables: Value) -> Value {
    json!({"schema": "v2", "type": "templatedPipeline", "application": "app", "name": "mine", "id": "c",
        "template": {"artifactAccount": "front50ArtifactCredentials", "type": "front50/pipelineTemplate",
            "reference": format!("spinnaker://{reference}")},
        "variables": variables})
}

async fn plan(rig: &Rig, configuration: &Value) -> Result<Value, tonic::Status> {
    let call = as_user(Json::of(configuration));
    let planned = rig.definitions.clone().plan_pipeline(call).await?;
    Ok(planned.into_inner().value("planned").unwrap())
}

#[tokio::test]
async fn a_configuration_is_planned_and_runs_as_it_was_planned() {
    let rig = rig().await;
    for (reference, path) in [("t", "new"), ("t:latest", "new"), ("t:old", "old")] {
        let mut configuration = configuration(reference, json!({"host": "h"}));
        configuration["spelEvaluator"] = json!("v4");
        let planned = plan(&rig, &configuration).await.unwrap();
        assert_eq!(planned["description"], "for nobody");
        assert_eq!(
            planned["templateVariables"],
            json!({"host": "h", "who": "nobody"})
        );
        let url = planned["stages"][0]["url"].as_str().unwrap();
        assert!(
            url.contains("${templateVariables.host}"),
            "stages wait: {url}"
        );

        let before = rig.fake.requests().len();
        let id = rig.start(&configuration).await;
        let execution = rig.ends(&id, "SUCCEEDED").await;
        assert_eq!(stage(&execution, "1")["status"], "SUCCEEDED");
        assert_eq!(execution["trigger"]["parameters"]["p"], "of the template");
        let sent = rig.fake.requests();
        assert_eq!(sent[before].url, format!("http://hook.test/h/{path}"));
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_when_planned_and_ends_what_is_started() {
    let rig = rig().await;
    for (configuration, says) in [
        (
            configuration("t", json!({})),
            "Missing variable values for: host",
        ),
        (
            configuration("t", json!({"host": 1})),
            "variable host is 1, which is no string",
        ),
        (
            configuration("none", json!({})),
            "there is no pipeline template none",
        ),
    ] {
        let refused = plan(&rig, &configuration).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains(says), "{refused}");
        let told = rig.try_start(&configuration, "").await.unwrap_err();
        assert!(
            told.message.contains("Pipeline template is invalid"),
            "{told}"
        );
        // It is kept all the same.
        let request = ListExecutionsRequest {
            application: "app".to_owned(),
            page: Some(PageRequest {
                size: 1,
                cursor: String::new(),
            }),
            ..ListExecutionsRequest::default()
        };
        let kept = rig.executions.clone().list(request).await.unwrap();
        let kept = kept.into_inner().executions.remove(0);
        let kept = kept.value("execution").unwrap();
        let kept = rig.ends(kept["id"].as_str().unwrap(), "TERMINAL").await;
        assert!(kept.to_string().contains(says), "{kept:#}");
    }
    let plain = json!({"application": "app", "name": "n", "stages": []});
    let refused = plan(&rig, &plain).await.unwrap_err();
    assert!(
        refused.message().contains("no configuration of a template"),
        "{refused}"
    );
}
