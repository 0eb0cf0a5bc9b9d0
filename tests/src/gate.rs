//! A client of the gateway's REST interface, as Gate's users know it (`spec`: the paths of `spin`).

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Value, json};

use crate::eventually;
use crate::http::{Client, Response};

/// The statuses in which an execution or a stage has ended.
pub const COMPLETE: [&str; 6] = [
    "SUCCEEDED",
    "FAILED_CONTINUE",
    "TERMINAL",
    "CANCELED",
    "SKIPPED",
    "STOPPED",
];

/// Where whole pipelines are started.
pub const START: &str = "/pipelines/start";

/// A client of one gateway.
#[derive(Debug, Clone)]
pub struct Gate {
    client: Client,
}

impl Gate {
    /// The gateway at a port of 127.0.0.1.
    pub fn port(port: u16) -> Self {
        Self {
            client: Client::port(port),
        }
    }

    /// The same for somebody with a name and a password.
    #[must_use]
    pub fn with_password(&self, name: &str, password: &str) -> Self {
        let encoded = STANDARD.encode(format!("{name}:{password}"));
        Self {
            client: self
                .client
                .clone()
                .header("Authorization", &format!("Basic {encoded}")),
        }
    }

    /// The same for somebody with an API token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            client: self
                .client
                .clone()
                .header("Authorization", &format!("Bearer {token}")),
        }
    }

    /// The HTTP client, for what has no method here.
    pub fn http(&self) -> &Client {
        &self.client
    }

    /// A GET that must be answered with 200 and JSON.
    ///
    /// # Errors
    /// It is answered otherwise.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(path).await?;
        answer
            .expect(200)
            .and_then(|answer| answer.json())
            .with_context(|| format!("GET {path}"))
    }

    /// Creates an application by a task, as `spin application save` does, and waits for it.
    ///
    /// # Errors
    /// The task does not succeed within 10 s.
    pub async fn save_application(&self, name: &str) -> Result<()> {
        let task = json!({
            "application": name,
            "description": format!("Create Application: {name}"),
            "job": [{
                "type": "createApplication",
                "user": "anonymous",
                "application": {
                    "name": name, "email": "team@example.com", "cloudProviders": "local",
                },
            }],
        });
        let id = self.submit(&task).await?;
        let status = self.wait_for_task(&id, Duration::from_secs(10)).await?;
        ensure!(
            status["status"] == "SUCCEEDED",
            "cannot create application {name}: {status:#}"
        );
        Ok(())
    }

    /// Submits a task and returns its id.
    ///
    /// # Errors
    /// It is refused.
    pub async fn submit(&self, task: &Value) -> Result<String> {
        let answer = self
            .client
            .post("/tasks", task)
            .await?
            .expect(200)?
            .json()?;
        id_of(&answer)
    }

    /// Waits until a task has ended and returns it.
    ///
    /// # Errors
    /// It has not ended in time.
    pub async fn wait_for_task(&self, id: &str, deadline: Duration) -> Result<Value> {
        self.wait_until_complete(&format!("/tasks/{id}"), deadline)
            .await
    }

    /// Saves a pipeline, as `spin pipeline save` does; the raw answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn try_save_pipeline(&self, pipeline: &Value) -> Result<Response> {
        self.client.post("/pipelines", pipeline).await
    }

    /// Saves a pipeline and returns what is stored.
    ///
    /// # Errors
    /// It is refused.
    pub async fn save_pipeline(&self, pipeline: &Value) -> Result<Value> {
        let name = pipeline["name"]
            .as_str()
            .context("a pipeline without a name")?;
        let application = pipeline["application"]
            .as_str()
            .context("a pipeline of no application")?;
        self.try_save_pipeline(pipeline)
            .await?
            .expect(200)
            .with_context(|| format!("cannot save pipeline {name}"))?;
        self.get(&format!(
            "/applications/{application}/pipelineConfigs/{}",
            escape(name)
        ))
        .await
    }

    /// Starts a pipeline by name, as `spin pipeline execute` does, and returns the execution's id.
    ///
    /// # Errors
    /// It is refused.
    pub async fn start(&self, application: &str, name: &str, trigger: &Value) -> Result<String> {
        let path = format!("/pipelines/{application}/{}", escape(name));
        let answer = self.client.post(&path, trigger).await?;
        id_of(
            &answer
                .expect(202)
                .with_context(|| format!("POST {path}"))?
                .json()?,
        )
    }

    /// Starts a pipeline that is not stored and returns the execution's id.
    ///
    /// # Errors
    /// It is refused.
    pub async fn start_ad_hoc(&self, pipeline: &Value) -> Result<String> {
        id_of(
            &self
                .client
                .post(START, pipeline)
                .await?
                .expect(200)?
                .json()?,
        )
    }

    /// Posts an event that names itself until it is answered with 200, as senders that repeat do; the time of
    /// the answer, ms since the epoch.
    ///
    /// # Errors
    /// It is refused, or not answered within the deadline.
    pub async fn deliver(
        &self,
        path: &str,
        delivery: &str,
        body: &Value,
        deadline: Duration,
    ) -> Result<i64> {
        let client = self.client.clone().header("Idempotency-Key", delivery);
        let end = tokio::time::Instant::now() + deadline;
        // Not `eventually`: senders run in tasks of their own.
        loop {
            let seen = match client.post(path, body).await {
                Ok(answer) if answer.status.as_u16() < 500 => {
                    answer.expect(200)?;
                    break;
                }
                Ok(answer) => format!("{} {}", answer.status, answer.text()),
                Err(error) => format!("{error:#}"),
            };
            let now = tokio::time::Instant::now();
            ensure!(
                now < end,
                "POST {path} ({delivery}) is not answered: {seen}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Ok(i64::try_from(since.as_millis())?)
    }

    /// One execution.
    ///
    /// # Errors
    /// There is none of this id.
    pub async fn execution(&self, id: &str) -> Result<Value> {
        self.get(&format!("/pipelines/{id}")).await
    }

    /// The latest executions of an application, the newest first, at most 200 of each pipeline.
    ///
    /// # Errors
    /// There is no such application.
    pub async fn executions(&self, application: &str) -> Result<Vec<Value>> {
        let path = format!("/applications/{application}/pipelines?limit=200");
        match self.get(&path).await? {
            Value::Array(mut executions) => {
                // They are served by the time they started.
                executions.sort_by_key(|e| std::cmp::Reverse(e["buildTime"].as_i64()));
                Ok(executions)
            }
            other => bail!("GET {path} answered no list: {other}"),
        }
    }

    /// Waits until an execution has ended and returns it.
    ///
    /// # Errors
    /// It has not ended in time; the error carries its stages.
    pub async fn wait_for_execution(&self, id: &str, deadline: Duration) -> Result<Value> {
        self.wait_until_complete(&format!("/pipelines/{id}"), deadline)
            .await
    }

    /// Waits until a stage (by `refId`) of an execution has this status, and returns the stage.
    ///
    /// # Errors
    /// It does not have it in time, or the execution ended first.
    pub async fn wait_for_stage(
        &self,
        id: &str,
        ref_id: &str,
        status: &str,
        deadline: Duration,
    ) -> Result<Value> {
        let what = format!("stage {ref_id} of {id} is {status}");
        let found = eventually(&what, deadline, async || {
            let execution = match self.execution(id).await {
                Ok(execution) => execution,
                Err(error) => return Err(format!("{error:#}")),
            };
            match stage(&execution, ref_id) {
                Some(stage) if stage["status"] == status => Ok(Ok(stage.clone())),
                _ if is_complete(&execution) => Ok(Err(outline(&execution))),
                _ => Err(outline(&execution)),
            }
        })
        .await?;
        found.map_err(|outline| anyhow::anyhow!("{what}: the execution ended first\n{outline}"))
    }

    /// Answers a manual judgment: `continue` or `stop`.
    ///
    /// # Errors
    /// It is refused.
    pub async fn judge(&self, id: &str, stage: &Value, judgment: &str) -> Result<()> {
        let stage = stage["id"].as_str().context("a stage without an id")?;
        let path = format!("/pipelines/{id}/stages/{stage}");
        let body = json!({ "judgmentStatus": judgment });
        self.client
            .send(Method::PATCH, &path, Some(&body))
            .await?
            .expect(200)?;
        Ok(())
    }

    /// Cancels an execution.
    ///
    /// # Errors
    /// It is refused.
    pub async fn cancel(&self, id: &str) -> Result<()> {
        self.client
            .send(Method::PUT, &format!("/pipelines/{id}/cancel"), None)
            .await?
            .expect(200)?;
        Ok(())
    }

    /// The server groups of an application.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn server_groups(&self, application: &str) -> Result<Vec<Value>> {
        match self
            .get(&format!("/applications/{application}/serverGroups"))
            .await?
        {
            Value::Array(groups) => Ok(groups),
            other => bail!("no list of server groups: {other}"),
        }
    }

    async fn wait_until_complete(&self, path: &str, deadline: Duration) -> Result<Value> {
        eventually(&format!("{path} has ended"), deadline, async || {
            match self.get(path).await {
                Ok(execution) if is_complete(&execution) => Ok(execution),
                Ok(execution) => Err(outline(&execution)),
                // The control plane may be down for a moment: some tests kill it.
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await
    }
}

/// Whether an execution or task has ended.
pub fn is_complete(execution: &Value) -> bool {
    execution["status"]
        .as_str()
        .is_some_and(|status| COMPLETE.contains(&status))
}

/// How often an execution says that its store lost commits.
pub fn store_notices(execution: &Value) -> usize {
    let all = execution["systemNotifications"].as_array();
    let of_store = |notice: &&Value| notice["group"] == "store";
    all.into_iter().flatten().filter(of_store).count()
}

/// The stage of this `refId`, synthetic ones excepted.
pub fn stage<'a>(execution: &'a Value, ref_id: &str) -> Option<&'a Value> {
    execution["stages"]
        .as_array()?
        .iter()
        .find(|stage| stage["refId"] == ref_id && stage["parentStageId"].as_str().is_none())
}

/// Status, type and name of an execution's stages, a line each, with what made them fail.
pub fn outline(execution: &Value) -> String {
    let mut text = format!("{} {}", execution["id"], execution["status"]);
    if let Some(reason) = execution["cancellationReason"].as_str() {
        text.push_str(&format!(" ({reason})"));
    }
    for stage in execution["stages"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "\n  {} {} {}",
            stage["status"], stage["type"], stage["name"]
        ));
        let exception = &stage["context"]["exception"]["details"];
        if !exception.is_null() {
            text.push_str(&format!(" {exception}"));
        }
        for task in stage["tasks"].as_array().into_iter().flatten() {
            if task["status"] == "RUNNING" {
                text.push_str(&format!("\n    {} {}", task["status"], task["name"]));
            }
        }
    }
    text
}

/// The id that a start is answered with.
///
/// # Errors
/// There is none in the answer.
pub fn id_of(answer: &Value) -> Result<String> {
    let reference = answer["ref"]
        .as_str()
        .with_context(|| format!("no ref in {answer}"))?;
    let id = reference.rsplit('/').next().unwrap_or_default();
    ensure!(!id.is_empty(), "no id in {reference}");
    Ok(id.to_owned())
}

/// A path segment: everything but letters, digits and `-._~` percent-encoded.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
