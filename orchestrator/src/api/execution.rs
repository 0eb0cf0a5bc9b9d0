//! `ExecutionService`: starting, reading and steering executions.

use std::pin::Pin;

use orchestrator_core::command;
use orchestrator_core::{Execution, ExecutionType, StageId};
use proto::common::v1::{Empty, Json};
use proto::json::required;
use proto::orchestrator::v1::execution_service_server::ExecutionService;
use proto::orchestrator::v1::{
    CancelRequest, EvaluateRequest, ExecutionAction, ExecutionKind, FailRequest,
    GetExecutionRequest, GetLogReply, GetLogRequest, HydrateRequest, ListExecutionsReply,
    ListExecutionsRequest, StartReply, StartRequest, UpdateStageRequest, WatchEvent, WatchRequest,
};
use proto::status::{Failure, FieldError, Kind};
use runtime::auth::AuthContext;
use serde_json::{Map, Value};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::caller::subject;
use super::evaluation::{self, Variables};
use super::{user_of, watch};
use crate::command::or_nothing;
use crate::engine::Engine;
use crate::executions::{Listing, distinct, unexpanded};
use crate::stage::strategy::custom;
use crate::start::Start;

/// Executions asked for by id in one call.
const MOST_IDS: usize = 500;
/// Bytes of a log in one answer.
const LOG_PAGE: usize = 4 * 1024 * 1024;

/// `ExecutionService` over an engine.
#[derive(Clone)]
pub struct ExecutionApi {
    engine: Engine,
}

impl ExecutionApi {
    /// Serves this engine's executions.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

fn kind_of(kind: i32) -> Option<ExecutionType> {
    match ExecutionKind::try_from(kind) {
        Ok(ExecutionKind::Pipeline) => Some(ExecutionType::Pipeline),
        Ok(ExecutionKind::Orchestration) => Some(ExecutionType::Orchestration),
        Ok(ExecutionKind::Unspecified) | Err(_) => None,
    }
}

fn object(json: Option<&Json>) -> Result<Map<String, Value>, Failure> {
    match json.map(|json| json.value("context")).transpose()? {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => {
            let text = format!("context is {other}; send a JSON object");
            Err(Failure::invalid(text, Vec::new()))
        }
    }
}

/// Brings who asks to a body that somebody outside sent.
fn started_by(body: &mut Value, user: &str) {
    let Some(trigger) = body.get_mut("trigger") else {
        return;
    };
    custom::without_deployment(trigger);
    // Who is known by name started it, whatever the body says: a judgment may exclude them.
    if user != AuthContext::ANONYMOUS
        && let Value::Object(trigger) = trigger
    {
        trigger.insert("user".to_owned(), user.into());
    }
}

fn reply(kind: ExecutionType, id: String) -> StartReply {
    let reference = format!("/{}/{id}", kind.plural());
    StartReply {
        id,
        r#ref: reference,
    }
}

impl ExecutionApi {
    async fn served(&self, execution: &Execution) -> Result<Response<Json>, Status> {
        let json = self.engine.executions().served(execution).await?;
        Ok(Response::new(Json::of(&json)))
    }
}

#[tonic::async_trait]
impl ExecutionService for ExecutionApi {
    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartReply>, Status> {
        let user = user_of(&request, "");
        let asked = request.into_inner();
        let mut body = required(asked.body.as_ref(), "body")?;
        let kind = kind_of(asked.kind).unwrap_or_else(|| {
            if body.get("job").is_some() {
                ExecutionType::Orchestration
            } else {
                ExecutionType::Pipeline
            }
        });
        started_by(&mut body, &user);
        let start = Start {
            kind,
            body,
            event_id: asked.event_id,
            user,
            by_stage: None,
            failure: None,
        };
        let started = self.engine.start(&start).await?;
        if let Some(refused) = started.refused {
            return Err(refused.into());
        }
        Ok(Response::new(reply(kind, started.id)))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<StartReply>, Status> {
        let user = user_of(&request, "");
        let asked = request.into_inner();
        let mut body = required(asked.body.as_ref(), "body")?;
        if asked.error_message.trim().is_empty() {
            let text = "is missing; say why it could not begin";
            let fields = vec![FieldError::new("errorMessage", text)];
            return Err(Failure::invalid(format!("errorMessage {text}"), fields).into());
        }
        started_by(&mut body, &user);
        let kind = ExecutionType::Pipeline;
        let start = Start {
            kind,
            body,
            event_id: String::new(),
            user,
            by_stage: None,
            failure: Some(asked.error_message),
        };
        let started = self.engine.start(&start).await?;
        Ok(Response::new(reply(kind, started.id)))
    }

    async fn plan(&self, request: Request<StartRequest>) -> Result<Response<Json>, Status> {
        let user = user_of(&request, "");
        let body = required(request.into_inner().body.as_ref(), "body")?;
        let planned = self.engine.plan(body, &user).await?;
        Ok(Response::new(Json::of(&planned)))
    }

    async fn get(&self, request: Request<GetExecutionRequest>) -> Result<Response<Json>, Status> {
        let asked = request.into_inner();
        let found = self
            .engine
            .executions()
            .get(&asked.id, kind_of(asked.kind))
            .await?;
        self.served(&found).await
    }

    async fn get_log(
        &self,
        request: Request<GetLogRequest>,
    ) -> Result<Response<GetLogReply>, Status> {
        let asked = request.into_inner();
        let (head, entries) = self.engine.executions().export(&asked.id).await?;
        let after = usize::try_from(asked.after).unwrap_or(usize::MAX);
        let mut left = entries.into_iter().skip(after).peekable();
        let (mut page, mut bytes) = (Vec::new(), 0);
        // At least one, so that a reader gets to the end.
        while let Some(text) =
            left.next_if(|text| page.is_empty() || bytes + text.len() <= LOG_PAGE)
        {
            bytes += text.len();
            page.push(Json { text });
        }
        Ok(Response::new(GetLogReply {
            head: Some(Json::of(&head)),
            entries: page,
            more: left.next().is_some(),
        }))
    }

    async fn list(
        &self,
        request: Request<ListExecutionsRequest>,
    ) -> Result<Response<ListExecutionsReply>, Status> {
        let asked = request.into_inner();
        let expand = asked.expand;
        let (found, next_cursor) = if asked.execution_ids.is_empty() {
            let page = asked.page.unwrap_or_default();
            let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
            let listing = Listing {
                kind: kind_of(asked.kind),
                application: asked.application,
                configs: asked.pipeline_config_ids,
                statuses: asked.statuses,
                names: asked.names,
                triggers: asked.trigger_types,
                events: asked.event_ids,
                images: asked.images,
                from: asked.from_ms,
                to: asked.to_ms,
                per_pipeline: size(asked.per_pipeline),
                size: size(page.size),
                cursor: page.cursor,
            };
            self.engine.executions().list(&listing).await?
        } else {
            let mut found = Vec::new();
            for id in distinct(&asked.execution_ids).into_iter().take(MOST_IDS) {
                match self.engine.executions().get(id, kind_of(asked.kind)).await {
                    Ok(execution) => found.push(execution),
                    Err(failure) if failure.kind == Kind::NotFound => {}
                    Err(failure) => return Err(failure.into()),
                }
            }
            (found, String::new())
        };
        let mut executions = Vec::new();
        for execution in &found {
            executions.push(Json::of(&if expand {
                self.engine.executions().served(execution).await?
            } else {
                unexpanded(execution.to_json())
            }));
        }
        Ok(Response::new(ListExecutionsReply {
            executions,
            next_cursor,
        }))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<Empty>, Status> {
        let user = user_of(&request, "");
        let asked = request.into_inner();
        let reason = Some(asked.reason.as_str()).filter(|reason| !reason.is_empty());
        self.engine
            .command(kind_of(asked.kind), &asked.id, |execution, now| {
                or_nothing(if asked.force {
                    command::force_cancel(execution, &user, reason, now)
                } else {
                    command::cancel(execution, &user, reason)
                })
            })
            .await?;
        Ok(Response::new(Empty {}))
    }

    async fn hydrate(&self, request: Request<HydrateRequest>) -> Result<Response<Json>, Status> {
        let asked = request.into_inner();
        let told = self.engine.hydrate(&asked.id, asked.dry_run).await?;
        Ok(Response::new(Json::of(&told)))
    }

    async fn pause(&self, request: Request<ExecutionAction>) -> Result<Response<Empty>, Status> {
        let user = user_of(&request, "");
        let asked = request.into_inner();
        self.engine
            .command(kind_of(asked.kind), &asked.id, |execution, now| {
                command::pause(execution, &user, now)
            })
            .await?;
        Ok(Response::new(Empty {}))
    }

    async fn resume(&self, request: Request<ExecutionAction>) -> Result<Response<Empty>, Status> {
        let user = user_of(&request, "");
        let asked = request.into_inner();
        self.engine
            .command(kind_of(asked.kind), &asked.id, |execution, _| {
                command::resume(execution, &user)
            })
            .await?;
        Ok(Response::new(Empty {}))
    }

    async fn delete(&self, request: Request<ExecutionAction>) -> Result<Response<Empty>, Status> {
        let asked = request.into_inner();
        self.engine
            .executions()
            .get(&asked.id, kind_of(asked.kind))
            .await?;
        self.engine.executions().delete(&asked.id).await?;
        Ok(Response::new(Empty {}))
    }

    async fn update_stage(
        &self,
        request: Request<UpdateStageRequest>,
    ) -> Result<Response<Json>, Status> {
        let subject = subject(&request, self.engine.policy());
        let asked = request.into_inner();
        let context = object(asked.context.as_ref())?;
        let (kind, stage) = (kind_of(asked.kind), StageId::new(asked.stage_id));
        let updated =
            self.engine
                .update_stage(kind, &asked.execution_id, &stage, context, &subject);
        self.served(&updated.await?).await
    }

    async fn restart_stage(
        &self,
        request: Request<UpdateStageRequest>,
    ) -> Result<Response<Json>, Status> {
        let user = user_of(&request, "");
        let asked = request.into_inner();
        let definition = object(asked.context.as_ref())?;
        let stage = StageId::new(asked.stage_id);
        let (kind, id) = (kind_of(asked.kind), &asked.execution_id);
        let execution = self
            .engine
            .restart_stage(kind, id, &stage, &user, &definition)
            .await?;
        self.served(&execution).await
    }

    async fn evaluate(&self, request: Request<EvaluateRequest>) -> Result<Response<Json>, Status> {
        let user = user_of(&request, "");
        let asked = request.into_inner();
        let execution = self
            .engine
            .executions()
            .get(&asked.execution_id, None)
            .await?;
        let shown = match &asked.variables {
            Some(variables) => {
                let Value::Array(list) = variables.value("variables").map_err(Failure::from)?
                else {
                    let text = "variables is no list; send [{\"key\": …, \"value\": …}]";
                    return Err(Failure::invalid(text, Vec::new()).into());
                };
                let after = asked.requisite_stage_ref_ids.iter();
                let tried = Variables {
                    list,
                    after: after.map(String::as_str).collect(),
                    version: &asked.spel_version,
                    user: &user,
                };
                evaluation::variables(&self.engine, execution, tried).await?
            }
            None => {
                let text = &asked.expression;
                evaluation::expression(&self.engine, &execution, &asked.stage_id, text, &user)
                    .await?
            }
        };
        Ok(Response::new(Json::of(&shown)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let asked = request.into_inner();
        let stream = watch::open(self.engine.clone(), asked.cursor, asked.application).await?;
        Ok(Response::new(Box::pin(stream)))
    }
}
