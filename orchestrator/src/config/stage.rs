//! Settings of types of stages, and the form in which the hooks that plan see them.

use std::time::Duration;

use runtime::config::Span;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Config;

/// Section `orchestrator.webhook`: stages that send requests.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Webhook {
    /// Longest time to an answer. Default: 20s.
    pub timeout: Span,
    /// Codes beside 5xx for which a request is sent again. Default: [429].
    pub default_retry_status_codes: Vec<u16>,
    /// Most bytes of a request's body; 0 for no limit. Default: 0.
    pub max_request_bytes: usize,
    /// Most bytes of an answer's body; 0 for no limit but that of `egress`. Default: 0.
    pub max_response_bytes: usize,
    /// A stage must name an account. Default: false.
    pub require_account: bool,
    /// Only requests that `allowed-requests` lists are sent. Default: false.
    pub allowed_requests_enabled: bool,
    /// What may be sent; an empty list allows nothing. Default: none.
    pub allowed_requests: Vec<Allowed>,
    /// Stages with fields that the operator set. Default: none.
    pub preconfigured: Vec<PreconfiguredWebhook>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            timeout: Span(Duration::from_secs(20)),
            default_retry_status_codes: vec![429],
            max_request_bytes: 0,
            max_response_bytes: 0,
            require_account: false,
            allowed_requests_enabled: false,
            allowed_requests: Vec::new(),
            preconfigured: Vec::new(),
        }
    }
}

/// How an address is compared.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// It begins with `url-prefix`.
    #[default]
    StartsWith,
    /// All of it matches the expression `url-pattern`.
    PatternMatches,
}

/// Requests that may be sent.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all(deserialize = "kebab-case", serialize = "camelCase")
)]
pub struct Allowed {
    /// Methods such as GET; none for all. Default: none.
    pub http_methods: Vec<String>,
    /// How the address is compared. Default: starts-with.
    pub match_strategy: Match,
    /// Beginning of the address.
    pub url_prefix: Option<String>,
    /// Regular expression of the whole address.
    pub url_pattern: Option<String>,
    /// A request whose answer was lost may be sent again. Default: false.
    pub safe_to_retry: bool,
}

/// What a user of a configured stage fills in.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all(deserialize = "kebab-case", serialize = "camelCase")
)]
pub struct Parameter {
    /// Its key in the stage.
    pub name: String,
    /// For people.
    pub label: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What it is without a value of the user's.
    pub default_value: Option<String>,
    /// `string` or `boolean`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its place in forms.
    pub order: Option<i64>,
    /// Of a job: the field that takes the value, such as `env.VERSION`.
    pub mapping: Option<String>,
}

const fn yes() -> bool {
    true
}

/// A stage `webhook` whose fields the operator set: what is not null cannot be changed by users.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(
    deny_unknown_fields,
    rename_all(deserialize = "kebab-case", serialize = "camelCase")
)]
pub struct PreconfiguredWebhook {
    /// Whether it can be used. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The type that stages name.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub label: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What users fill in; `${parameterValues['name']}` in the fields below.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Roles under READ, who see it, and WRITE, who run it. Default: everybody.
    #[serde(default)]
    pub permissions: Map<String, Value>,
    /// See the stage's field of the same name; so are all below.
    pub url: Option<String>,
    /// As of the stage.
    pub custom_headers: Option<Map<String, Value>>,
    /// As of the stage.
    pub method: Option<String>,
    /// As of the stage; a text that is JSON is sent as that.
    pub payload: Option<Value>,
    /// Values of parameters that users cannot change.
    pub parameter_values: Option<Map<String, Value>>,
    /// What forms need to fill in parameters.
    pub parameter_data: Option<Value>,
    /// As of the stage.
    pub fail_fast_status_codes: Option<Vec<u16>>,
    /// As of the stage.
    pub wait_for_completion: Option<bool>,
    /// As of the stage.
    pub wait_before_monitor: Option<u64>,
    /// As of the stage.
    pub status_url_resolution: Option<String>,
    /// As of the stage.
    pub status_url_json_path: Option<String>,
    /// As of the stage.
    pub status_json_path: Option<String>,
    /// As of the stage.
    pub progress_json_path: Option<String>,
    /// As of the stage.
    pub success_statuses: Option<String>,
    /// As of the stage.
    pub canceled_statuses: Option<String>,
    /// As of the stage.
    pub terminal_statuses: Option<String>,
    /// As of the stage.
    pub signal_cancellation: Option<bool>,
    /// As of the stage.
    pub cancel_endpoint: Option<String>,
    /// As of the stage.
    pub cancel_method: Option<String>,
    /// As of the stage.
    pub cancel_payload: Option<Value>,
}

/// Section `orchestrator.job`: stages that run jobs.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Job {
    /// Stages with fields that the operator set. Default: none.
    pub preconfigured: Vec<PreconfiguredJob>,
}

/// A stage `runJob` whose fields the operator set.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(
    deny_unknown_fields,
    rename_all(deserialize = "kebab-case", serialize = "camelCase")
)]
pub struct PreconfiguredJob {
    /// Whether it can be used. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The type that stages name.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub label: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What users fill in, and where it goes.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Roles under READ, who see it, and WRITE, who run it. Default: everybody.
    #[serde(default)]
    pub permissions: Map<String, Value>,
    /// See the stage's field of the same name; so are all below.
    pub cloud_provider: Option<String>,
    /// As of the stage.
    pub account: Option<String>,
    /// As of the stage.
    pub region: Option<String>,
    /// As of the stage.
    pub image_id: Option<String>,
    /// As of the stage.
    pub command: Option<Value>,
    /// As of the stage.
    pub args: Option<Value>,
    /// As of the stage.
    pub env: Option<Map<String, Value>>,
    /// As of the stage.
    pub job_runtime_limit: Option<String>,
    /// As of the stage.
    pub max_output_bytes: Option<u64>,
    /// As of the stage.
    pub property_file: Option<String>,
    /// As of the stage.
    pub wait_for_completion: Option<bool>,
}

/// Section `orchestrator.script`: the job that runs scripts.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// The build server. Default: none; stages of the type are refused.
    pub master: Option<String>,
    /// Its job, for stages that name none. Default: none.
    pub job: Option<String>,
}

/// Section `orchestrator.monitored-deploy`: deployments that a service of the operator's watches.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MonitoredDeploy {
    /// Services that judge deployments. Default: none.
    pub monitors: Vec<Monitor>,
}

/// A service that judges deployments.
#[derive(Debug, Clone, Deserialize, Serialize, PartialEq, Eq)]
#[serde(
    deny_unknown_fields,
    rename_all(deserialize = "kebab-case", serialize = "camelCase")
)]
pub struct Monitor {
    /// What deployments name it by.
    pub id: String,
    /// For people.
    pub name: String,
    /// Its address, before `/deployment/starting` and its like.
    pub base_url: String,
    /// Whom to ask, for people.
    #[serde(default)]
    pub support_contact: String,
    /// Longest time to a judgment, in minutes. Default: 30.
    #[serde(default = "half_an_hour")]
    pub max_analysis_minutes: u32,
    /// A deployment fails when it cannot be judged. Default: true.
    #[serde(default = "yes")]
    pub fail_on_error: bool,
    /// It is no trial. Default: false.
    #[serde(default)]
    pub stable: bool,
}

const fn half_an_hour() -> u32 {
    30
}

/// A setting as JSON; its fields are those of stages.
fn json_of<T: Serialize>(settings: &T) -> Value {
    serde_json::to_value(settings).unwrap_or_default()
}

impl Config {
    /// What types of stages are told, by section.
    pub fn stages(&self) -> Map<String, Value> {
        let webhook = &self.webhook;
        let sections = json!({
            "webhook": {
                "timeoutMs": u64::try_from(webhook.timeout.0.as_millis()).unwrap_or(u64::MAX),
                "defaultRetryStatusCodes": webhook.default_retry_status_codes,
                "maxRequestBytes": webhook.max_request_bytes,
                "maxResponseBytes": webhook.max_response_bytes,
                "requireAccount": webhook.require_account,
                "allowedRequestsEnabled": webhook.allowed_requests_enabled,
                "allowedRequests": json_of(&webhook.allowed_requests),
            },
            "preconfiguredWebhook": json_of(&webhook.preconfigured),
            "preconfiguredJob": json_of(&self.job.preconfigured),
            "script": {"master": self.script.master, "job": self.script.job},
            "deploymentMonitor": json_of(&self.monitored_deploy.monitors),
        });
        let mut sections = sections.as_object().cloned().unwrap_or_default();
        self.add_tasks(&mut sections);
        sections
    }
}

#[cfg(test)]
mod tests {
    use runtime::config::Document;

    use super::*;

    #[test]
    fn settings_in_our_style_are_fields_of_stages() {
        let read = |text: &str| {
            let mut document = Document::parse(text).unwrap();
            let config: Config = document.section("orchestrator");
            document.finish().map(|()| config)
        };
        let text = "
orchestrator:
  webhook:
    preconfigured:
      - type: notifyTeam
        label: Notify the team
        url: https://team.example/hook
        wait-for-completion: false
        fail-fast-status-codes: [500]
        permissions: {WRITE: [ops]}
        parameters: [{name: who, default-value: all}]
  job:
    preconfigured:
      - {type: smoke, label: Smoke, image-id: 'r/smoke:1', job-runtime-limit: PT5M}
  monitored-deploy:
    monitors: [{id: m, name: M, base-url: 'http://monitor.test'}]
";
        let stages = read(text).unwrap().stages();
        let webhook = &stages["preconfiguredWebhook"][0];
        assert_eq!(webhook["waitForCompletion"], false);
        assert_eq!(webhook["failFastStatusCodes"], json!([500]));
        assert_eq!(webhook["parameters"][0]["defaultValue"], "all");
        assert_eq!(stages["preconfiguredJob"][0]["jobRuntimeLimit"], "PT5M");
        assert_eq!(stages["deploymentMonitor"][0]["maxAnalysisMinutes"], 30);
        assert_eq!(stages["webhook"]["defaultRetryStatusCodes"], json!([429]));
        let wrong = "orchestrator: {webhook: {preconfigured: [{type: a, label: A, urll: x}]}}";
        assert!(read(wrong).is_err());
    }
}
