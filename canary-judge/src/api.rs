//! The gRPC service: translation.

use std::sync::Arc;

use judge::{JUDGES, run::Plan as Timed};
use proto::MAX_MESSAGE_BYTES;
use proto::canary_judge::v1::canary_service_server::{CanaryService, CanaryServiceServer};
use proto::canary_judge::v1::{
    CancelRunRequest, ConfigKey, ConfigQuery, MetricSetPairsKey, MetricsQuery, Plan, QueryRequest,
    RunKey, RunQuery, SaveConfigRequest, StartRunRequest,
};
use proto::common::v1::{Empty, Json};
use proto::status::Failure;
use runtime::auth::AuthContext;
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use crate::configs::Configs;
use crate::failure::{failed, kind};
use crate::query::{Question, Scope};
use crate::run::{Runs, Start, Waiter, Wanted};
use crate::source::SourceError;
use crate::{short, source};

/// Runs of one list, if nobody says.
const LIMIT: usize = 20;
/// Names of metrics in one answer.
const MOST_METRICS: usize = 1_000;

/// Serves [`CanaryService`].
#[derive(Debug, Clone)]
pub(crate) struct Api {
    runs: Runs,
    configs: Configs,
}

fn caller<T>(request: &Request<T>) -> AuthContext {
    AuthContext::from_metadata(request.metadata())
}

fn value(json: Option<&Json>, field: &'static str) -> Result<Value, Failure> {
    match json {
        Some(json) => Ok(json.value(field)?),
        None => Ok(Value::Null),
    }
}

fn told(value: &Value) -> Result<Response<Json>, Status> {
    Ok(Response::new(Json::of(value)))
}

fn said(error: &SourceError) -> Failure {
    Failure::new(kind(error.class), error.to_string())
}

fn plan(plan: &Plan) -> Timed {
    Timed {
        start_ms: plan.start_ms,
        begin_after_ms: plan.begin_after_ms,
        lifetime_ms: plan.lifetime_ms,
        interval_ms: plan.interval_ms,
        lookback_ms: plan.lookback_ms,
        baseline_offset_ms: plan.baseline_offset_ms,
        stop_at_marginal: plan.stop_at_marginal,
    }
}

impl Api {
    pub(crate) fn new(runs: Runs, configs: Configs) -> Self {
        Self { runs, configs }
    }

    pub(crate) fn into_server(self) -> CanaryServiceServer<Self> {
        CanaryServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn now(&self) -> Result<i64, Failure> {
        self.runs.store.now_ms().await.map_err(failed)
    }

    /// What is to be run, with the config that it names or brings.
    async fn asked(&self, request: Request<StartRunRequest>) -> Result<Start, Failure> {
        let caller = caller(&request);
        let asked = request.into_inner();
        let given = value(asked.config.as_ref(), "config")?;
        let execution = value(asked.request.as_ref(), "request")?;
        let (config, execution) = match asked.config_id.as_str() {
            "" => {
                // The short form stands where the config does.
                let whole = short::written_out(given.clone(), self.now().await?)?;
                match (whole.get("canaryConfig"), whole.get("executionRequest")) {
                    (Some(config), Some(request)) if execution.is_null() => {
                        (config.clone(), request.clone())
                    }
                    _ => (given, execution),
                }
            }
            id => (self.configs.get(&caller, id, 0).await?, execution),
        };
        if config.is_null() {
            let message = "neither a config nor the id of one is given: give one of them";
            return Err(Failure::field("canaryConfig", message));
        }
        Ok(Start {
            effect_id: asked.effect_id,
            application: asked.application,
            config_id: asked.config_id,
            config,
            request: execution,
            metrics_account: asked.metrics_account,
            configuration_account: asked.configuration_account,
            storage_account: asked.storage_account,
            parent_execution_id: asked.parent_execution_id,
            waiter: asked.waiter.map(|waiter| Waiter {
                execution_id: waiter.execution_id,
                stage_id: waiter.stage_id,
                task_id: waiter.task_id,
            }),
            caller,
            plan: asked.plan.as_ref().map(plan),
        })
    }

    async fn queried(&self, request: Request<QueryRequest>) -> Result<Value, Failure> {
        let caller = caller(&request);
        let asked = request.into_inner();
        let Value::Object(query) = value(asked.query.as_ref(), "query")? else {
            return Err(Failure::field(
                "query",
                "it is no object: give one with a type",
            ));
        };
        let scope = value(asked.scope.as_ref(), "scope")?;
        let scope = Scope::read(&scope, "scope")
            .map_err(|fault| Failure::invalid(fault.to_string(), Vec::new()))?;
        let templates = value(asked.templates.as_ref(), "templates")?;
        let kind = query
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let stores = &self.runs.stores;
        stores.may_use(&caller, &asked.account, kind)?;
        stores.may_tell(&asked.application, (&asked.account, kind), &scope.scope)?;
        let source: Arc<dyn source::Source> = stores.store(&asked.account, kind)?;
        let question = Question {
            metric: "query".to_owned(),
            templates: templates.as_object().cloned().unwrap_or_default(),
            query,
            scope,
        };
        let text = source.text(&question).map_err(|error| said(&error))?;
        if asked.plan {
            return Ok(json!({ "query": text }));
        }
        let sets = source
            .fetch(&question)
            .await
            .map_err(|error| said(&error))?;
        Ok(json!({"query": text, "metricSets": sets}))
    }
}

#[tonic::async_trait]
impl CanaryService for Api {
    async fn list_configs(&self, request: Request<ConfigQuery>) -> Result<Response<Json>, Status> {
        let applications = request.get_ref().applications.clone();
        let found = self.configs.list(&caller(&request), &applications).await?;
        told(&Value::Array(found))
    }

    async fn get_config(&self, request: Request<ConfigKey>) -> Result<Response<Json>, Status> {
        let (caller, key) = (caller(&request), request.into_inner());
        told(&self.configs.get(&caller, &key.id, key.version).await?)
    }

    async fn list_config_versions(
        &self,
        request: Request<ConfigKey>,
    ) -> Result<Response<Json>, Status> {
        let caller = caller(&request);
        let found = self.configs.versions(&caller, &request.get_ref().id);
        told(&Value::Array(found.await?))
    }

    async fn save_config(
        &self,
        request: Request<SaveConfigRequest>,
    ) -> Result<Response<ConfigKey>, Status> {
        let caller = caller(&request);
        let asked = request.into_inner();
        let document = value(asked.document.as_ref(), "canaryConfig")?;
        let now = self.now().await?;
        let id = self.configs.save(&caller, document, &asked.id, now).await?;
        Ok(Response::new(ConfigKey { id, version: 0 }))
    }

    async fn delete_config(&self, request: Request<ConfigKey>) -> Result<Response<Empty>, Status> {
        let caller = caller(&request);
        self.configs.delete(&caller, &request.get_ref().id).await?;
        Ok(Response::new(Empty {}))
    }

    async fn start_run(
        &self,
        request: Request<StartRunRequest>,
    ) -> Result<Response<RunKey>, Status> {
        let asked = request.get_ref();
        let begun = self.runs.begun(&asked.application, &asked.effect_id);
        if let Some(id) = begun.await? {
            return Ok(Response::new(RunKey { id }));
        }
        let start = self.asked(request).await?;
        let id = self.runs.start(start).await?;
        Ok(Response::new(RunKey { id }))
    }

    async fn get_run(&self, request: Request<RunKey>) -> Result<Response<Json>, Status> {
        let id = request.into_inner().id;
        let found = self.runs.get(&id).await?;
        let missing = || Failure::not_found(format!("canary run {id} does not exist"));
        told(&found.ok_or_else(missing)?)
    }

    async fn list_runs(&self, request: Request<RunQuery>) -> Result<Response<Json>, Status> {
        let asked = request.into_inner();
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let wanted = Wanted {
            application: asked.application,
            limit: if asked.limit == 0 {
                LIMIT
            } else {
                size(asked.limit)
            },
            page: size(asked.page),
            statuses: asked.statuses.iter().map(|s| s.to_lowercase()).collect(),
        };
        told(&Value::Array(self.runs.list(&wanted).await?))
    }

    async fn cancel_run(
        &self,
        request: Request<CancelRunRequest>,
    ) -> Result<Response<Empty>, Status> {
        let asked = request.into_inner();
        self.runs.cancel(&asked.id, &asked.reason).await?;
        Ok(Response::new(Empty {}))
    }

    async fn dry_run(&self, request: Request<StartRunRequest>) -> Result<Response<Json>, Status> {
        let start = self.asked(request).await?;
        told(&self.runs.try_out(start).await?)
    }

    async fn get_metric_set_pairs(
        &self,
        request: Request<MetricSetPairsKey>,
    ) -> Result<Response<Json>, Status> {
        let key = request.into_inner();
        let missing =
            || Failure::not_found(format!("metric set pair list {} does not exist", key.id));
        let pairs = self.runs.pairs_of_list(&key.id).await?;
        let pairs = pairs.ok_or_else(missing)?;
        if key.pair_id.is_empty() {
            return told(&pairs);
        }
        let list = pairs.as_array();
        let is = |pair: &&Value| pair.get("id").and_then(Value::as_str) == Some(&key.pair_id);
        let pair = list.and_then(|list| list.iter().find(is));
        let missing = || Failure::not_found(format!("{} has no pair {}", key.id, key.pair_id));
        told(pair.ok_or_else(missing)?)
    }

    async fn list_judges(&self, _: Request<Empty>) -> Result<Response<Json>, Status> {
        let judges = JUDGES.iter();
        let judges =
            judges.map(|judge| json!({"name": judge.name(), "visible": judge.is_visible()}));
        told(&judges.collect())
    }

    async fn list_accounts(&self, request: Request<Empty>) -> Result<Response<Json>, Status> {
        told(&Value::Array(self.runs.stores.list(&caller(&request))))
    }

    async fn list_metrics(&self, request: Request<MetricsQuery>) -> Result<Response<Json>, Status> {
        let caller = caller(&request);
        let asked = request.into_inner();
        self.runs.stores.may_use(&caller, &asked.account, "")?;
        let source = self.runs.stores.any(&asked.account)?;
        let names = source.metrics(&asked.filter).await;
        let names = names.map_err(|error| said(&error))?.into_iter();
        let names = names.take(MOST_METRICS);
        told(&names.map(|name| json!({ "name": name })).collect())
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<Json>, Status> {
        told(&self.queried(request).await?)
    }
}
