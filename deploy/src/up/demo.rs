//! The demonstration: two environments of three hosts, an application, a pipeline
//! from the registry's push to prod.
//!
//! Everything is made through the same interfaces that users have, and only what
//! is not there yet: a second start changes nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use proto::cloud_driver::v1::ClusterQuery;
use proto::cloud_driver::v1::query_service_client::QueryServiceClient;
use proto::common::v1::Json;
use proto::orchestrator::v1::definition_service_client::DefinitionServiceClient;
use proto::orchestrator::v1::execution_service_client::ExecutionServiceClient;
use proto::orchestrator::v1::{
    ApplicationName, ExecutionKind, GetExecutionRequest, PipelineKey, SaveApplicationRequest,
    SaveObjectRequest, SavePipelineRequest, StartRequest,
};
use runtime::client::Peer;
use serde_json::{Value, json};
use tonic::Code;

use super::wire::Peers;

mod canary;

const APPLICATION: &str = "demo";
const USER: &str = "demo";
const REGISTRY: &str = "demo-registry";
const HOSTS: u32 = 3;
const ACCOUNTS: [&str; 2] = ["staging", "prod"];
/// Starts that find the first deployment failed, at the most.
const MOST_ATTEMPTS: usize = 100;

/// The variable in which `make up` says where the registry is.
const REGISTRY_VARIABLE: &str = "GENNAKER_DEMO_REGISTRY";

/// Writes the demonstration's configuration, which a reader may change.
pub(super) fn write_config(file: &Path) -> anyhow::Result<()> {
    let registry = std::env::var(REGISTRY_VARIABLE).with_context(|| {
        format!("--demo needs a registry: set {REGISTRY_VARIABLE}=HOST:PORT, or use make up")
    })?;
    let text = format!(
        "# Where images come from.
registries:
  - name: {REGISTRY}
    address: {registry}
    repositories: [demo]

# Where instances run: two environments of three hosts each. What is under
# `environment` is given to every instance of the account.
accounts:
  - name: staging
    regions: {{local: {HOSTS}}}
    load-balancers:
      - {{name: demo-staging, path: /staging}}
    environment: {{LATENCY_MS: \"5\", BASE_PATH: /staging}}
  - name: prod
    regions: {{local: {HOSTS}}}
    load-balancers:
      - {{name: demo-prod, path: /}}
    environment: {{LATENCY_MS: \"20\"}}

trigger:
  poll-interval: 30s
"
    );
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Makes application, environments, pipeline and a first deployment of version 1, if they are not there.
pub(crate) async fn set_up(peers: Peers, ports: (u16, u16)) -> anyhow::Result<()> {
    let registry = std::env::var(REGISTRY_VARIABLE).context(REGISTRY_VARIABLE)?;
    let mut definitions = DefinitionServiceClient::new(peers.orchestrator.of("deploy"));
    let name = APPLICATION.to_owned();
    match definitions.get_application(ApplicationName { name }).await {
        Ok(_) => {}
        Err(status) if status.code() == Code::NotFound => {
            let application = json!({
                "name": APPLICATION, "email": "demo@example.com",
                "description": "the demonstration",
            });
            let request = SaveApplicationRequest {
                application: Some(Json::of(&application)),
                user: USER.into(),
            };
            definitions.save_application(request).await?;
        }
        Err(status) => return Err(status.into()),
    }
    for (order, account) in ACCOUNTS.into_iter().enumerate() {
        let environment = json!({"name": account, "order": order + 1, "accounts": [account]});
        let request = SaveObjectRequest {
            kind: "environment".into(),
            object: Some(Json::of(&environment)),
            user: USER.into(),
            create: true,
        };
        match definitions.save_object(request).await {
            Ok(_) => {}
            // It is there, maybe changed by somebody since.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(status) => return Err(status.into()),
        }
    }
    canary::save_config(&peers)
        .await
        .context("the canary's config")?;
    save_pipeline(&mut definitions, promote(&registry, ports.1)).await?;
    save_pipeline(&mut definitions, canary::pipeline(&registry)).await?;
    deploy_first(&peers, &registry).await?;
    println!("staging    http://127.0.0.1:{}/staging", ports.1);
    println!("prod       http://127.0.0.1:{}/", ports.1);
    println!(
        "next       make push VERSION=2, then judge at http://127.0.0.1:{}/ui/",
        ports.0
    );
    Ok(())
}

/// Saves a pipeline, if there is none of its name.
async fn save_pipeline(
    definitions: &mut DefinitionServiceClient<Peer>,
    pipeline: Value,
) -> anyhow::Result<()> {
    let key = PipelineKey {
        application: APPLICATION.into(),
        name: pipeline["name"].as_str().unwrap_or_default().into(),
        ..PipelineKey::default()
    };
    match definitions.get_pipeline(key).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::NotFound => {
            let request = SavePipelineRequest {
                pipeline: Some(Json::of(&pipeline)),
                user: USER.into(),
                stale_check: false,
            };
            definitions.save_pipeline(request).await?;
            Ok(())
        }
        Err(status) => Err(status.into()),
    }
}

async fn is_running(peers: &Peers, account: &str) -> anyhow::Result<bool> {
    let query = ClusterQuery {
        application: APPLICATION.into(),
        account: account.into(),
        cluster: format!("{APPLICATION}-{account}"),
        cloud_provider: String::new(),
    };
    match QueryServiceClient::new(peers.cloud_driver.of("deploy"))
        .get_cluster(query)
        .await
    {
        Ok(found) => {
            let cluster = found.into_inner().value("cluster")?;
            Ok(cluster["serverGroups"]
                .as_array()
                .is_some_and(|groups| !groups.is_empty()))
        }
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(status.into()),
    }
}

/// Deploys version 1 to the accounts that run nothing. A start that was interrupted is gone on
/// with, one that failed is tried again.
async fn deploy_first(peers: &Peers, registry: &str) -> anyhow::Result<()> {
    for attempt in 0..MOST_ATTEMPTS {
        let mut missing = Vec::new();
        for account in ACCOUNTS {
            if !is_running(peers, account).await? {
                missing.push(account);
            }
        }
        let stages = match missing.as_slice() {
            // Whatever an earlier attempt did, there is something to see.
            [] => return Ok(()),
            missing => bootstrap(registry, missing),
        };
        tracing::info!(accounts = missing.join(", "), "deploying version 1");
        let (execution, is_new) = run(peers, &stages, attempt).await?;
        match execution["status"].as_str().unwrap_or_default() {
            "SUCCEEDED" => return Ok(()),
            status if is_new => bail!(
                "the first deployment ended as {status}; see it at /ui/ under execution {}",
                execution["id"].as_str().unwrap_or_default()
            ),
            _ => {}
        }
    }
    bail!(
        "the first deployment failed {MOST_ATTEMPTS} times; make up on an empty folder begins anew"
    )
}

/// Starts an attempt, or finds it, and waits for its end; whether it was this start's.
async fn run(peers: &Peers, pipeline: &Value, attempt: usize) -> anyhow::Result<(Value, bool)> {
    let mut executions = ExecutionServiceClient::new(peers.orchestrator.of("deploy"));
    let request = StartRequest {
        kind: ExecutionKind::Pipeline.into(),
        body: Some(Json::of(pipeline)),
        event_id: format!("demonstration/{attempt}"),
    };
    let id = executions.start(request).await?.into_inner().id;
    let mut is_new = None;
    loop {
        let request = GetExecutionRequest {
            kind: ExecutionKind::Pipeline.into(),
            id: id.clone(),
        };
        let execution = executions.get(request).await?.into_inner();
        let execution = execution.value("execution")?;
        let status = execution["status"].as_str().unwrap_or_default();
        let is_over = matches!(status, "SUCCEEDED" | "TERMINAL" | "CANCELED" | "STOPPED");
        // An attempt of an earlier start may be over at the first look.
        let is_new = *is_new.get_or_insert(!is_over);
        if is_over {
            return Ok((execution, is_new));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn cluster(account: &str, image: &str, strategy: &str) -> Value {
    let path = if account == "staging" {
        "/staging/health"
    } else {
        "/health"
    };
    json!({
        "application": APPLICATION, "stack": account, "account": account,
        "cloudProvider": "local", "region": "local", "strategy": strategy,
        "capacity": {"min": HOSTS, "max": HOSTS, "desired": HOSTS},
        "loadBalancers": [format!("demo-{account}")],
        "imageId": image, "healthCheck": {"path": path},
        "rollback": {"onFailure": true},
    })
}

fn deploy(account: &str, image: &str, strategy: &str, ref_id: &str, after: &[&str]) -> Value {
    json!({
        "type": "deploy", "name": format!("Deploy to {account}"), "refId": ref_id,
        "requisiteStageRefIds": after, "clusters": [cluster(account, image, strategy)],
    })
}

fn bootstrap(registry: &str, accounts: &[&str]) -> Value {
    let image = format!("{registry}/demo:1");
    let numbered = accounts.iter().zip(1..);
    let stages: Vec<Value> = numbered
        .map(|(account, n)| deploy(account, &image, "none", &n.to_string(), &[]))
        .collect();
    json!({"application": APPLICATION, "name": "first deployment", "stages": stages})
}

/// Asks a deployed version through the balancer whether it is the one that was pushed.
fn verify(name: &str, url: &str, ref_id: &str, after: &str) -> Value {
    json!({
        "type": "webhook", "name": name, "refId": ref_id, "requisiteStageRefIds": [after],
        "url": url, "method": "GET", "waitForCompletion": true,
        "statusUrlResolution": "getMethod", "statusJsonPath": "$.version",
        "successStatuses": "${trigger['tag']}", "retryStatusCodes": [],
        "stageTimeoutMs": 30_000,
    })
}

fn promote(registry: &str, balancer_port: u16) -> Value {
    let image = format!("{registry}/demo:${{trigger['tag']}}");
    let base = format!("http://127.0.0.1:{balancer_port}");
    json!({
        "application": APPLICATION, "name": "promote", "limitConcurrent": true,
        "keepWaitingPipelines": false, "spelEvaluator": "v4",
        "triggers": [{
            "type": "docker", "enabled": true, "account": REGISTRY,
            "registry": registry, "repository": "demo", "tag": "",
        }],
        "stages": [
            deploy("staging", &image, "inplacedrain", "1", &[]),
            verify("Smoke test", &format!("{base}/staging/version.json"), "2", "1"),
            {
                "type": "manualJudgment", "name": "Promote to prod?", "refId": "3",
                "requisiteStageRefIds": ["2"], "instructions": "Staging runs the new version.",
                "judgmentInputs": [], "failPipeline": true,
            },
            deploy("prod", &image, "inplacedrain", "4", &["3"]),
            verify("Verify", &format!("{base}/version.json"), "5", "4"),
        ],
    })
}
