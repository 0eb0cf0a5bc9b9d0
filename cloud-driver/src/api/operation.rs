//! `OperationService`: submit, get, cancel.

use std::sync::Arc;

use authorization::{Permission, Policy, Resource, Subject, decide, refusal};
use proto::cloud_driver::v1::operation_service_server::OperationService;
use proto::cloud_driver::v1::{
    GetOperationRequest, Operation, OperationState, Phase, SubmitRequest,
};
use proto::common::v1::Json;
use proto::json;
use proto::moniker::Moniker;
use proto::status::{Failure, Kind as FailureKind};
use runtime::auth::AuthContext;
use serde_json::Value;
use tonic::{Request, Response, Status};

use super::{of_journal, of_ledger};
use crate::config::Config;
use crate::operation::ledger::{self, Ledger, State, Submission, Waiter};
use crate::operation::{self, Input};
use crate::provider::local::journal::Journal;

/// Longest effect id.
const MAX_EFFECT_ID: usize = 1024;

/// The service.
#[derive(Debug, Clone)]
pub struct Operations {
    config: Arc<Config>,
    ledger: Ledger,
    journal: Journal,
    policy: Option<Arc<Policy>>,
}

impl Operations {
    /// The service over a ledger; without a policy everybody may do everything.
    pub fn new(
        config: Arc<Config>,
        ledger: Ledger,
        journal: Journal,
        policy: Option<Arc<Policy>>,
    ) -> Self {
        Self {
            config,
            ledger,
            journal,
            policy,
        }
    }

    /// Who acts one after another: the operations of one cluster.
    async fn subject(&self, input: &Input) -> Result<String, Status> {
        let first = operation::first_of(input);
        let input = first.as_ref().unwrap_or(input);
        let account = input.account().unwrap_or_default();
        let region = input.region().unwrap_or_default();
        let cluster = self.cluster(input).await?;
        let name = cluster.unwrap_or_else(|| {
            let name = input.text(&["name", "loadBalancerName"]);
            name.unwrap_or("-").to_owned()
        });
        Ok(format!("{account}/{region}/{name}"))
    }

    /// The cluster an operation acts on: it names it, a server group or instances of it.
    async fn cluster(&self, input: &Input) -> Result<Option<String>, Status> {
        let named = [
            input
                .text(&["serverGroupName", "asgName"])
                .map(str::to_owned),
            input.source(),
            operation::weighed(input),
        ];
        if let Some(name) = named.into_iter().flatten().next() {
            let moniker = Moniker::parse(&name);
            return Ok(Some(moniker.cluster.unwrap_or(name)));
        }
        if let Ok((_, cluster)) = operation::cluster_of(input) {
            return Ok(Some(cluster));
        }
        if let Ok(Some(ids)) = input.names("instanceIds")
            && let Some(id) = ids.first()
        {
            let found = self.journal.instance(id).await;
            let found = found.map_err(|e| of_journal(&e))?;
            return Ok(found.map(|instance| instance.cluster.clone()));
        }
        Ok(None)
    }

    /// Whether the caller may do this: WRITE on each account, and on the application of what
    /// each operation really acts on, whatever its input says.
    ///
    /// Source: `clouddriver: FiatPermissionEvaluator` over `OperationsController`.
    async fn permitted(
        &self,
        policy: &Policy,
        subject: &Subject,
        applications: &[String],
        input: &Input,
    ) -> Result<(), Status> {
        let user = subject.name.as_deref().unwrap_or(AuthContext::ANONYMOUS);
        let denied = |message: String| Status::from(Failure::new(FailureKind::Denied, message));
        for part in operation::each_of(input) {
            let name = part.account().unwrap_or_default();
            if let Some(account) = self.config.account(name) {
                let resource = Resource::Configured(&account.permissions);
                let decision = decide(policy, subject, resource, Permission::Write);
                if !decision.is_allowed() {
                    let what = format!("account {name}");
                    let rule = decision.rule();
                    return Err(denied(refusal(&what, Permission::Write, Some(user), rule)));
                }
            }
            // What it says it belongs to, as a job may, and what it really acts on.
            let said = part.text(&["application"]).map(str::to_owned);
            let acted = self.cluster(&part).await?;
            let acted = acted.map(|cluster| Moniker::parse(&cluster).app.unwrap_or(cluster));
            for application in said.into_iter().chain(acted) {
                if !applications
                    .iter()
                    .any(|a| a.eq_ignore_ascii_case(&application))
                {
                    return Err(denied(format!(
                        "Access denied to application {application} - required authorization: \
                         WRITE for {user}: the operation was not asked for on its behalf"
                    )));
                }
            }
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl OperationService for Operations {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Operation>, Status> {
        let caller = AuthContext::from_metadata(request.metadata());
        let request = request.into_inner();
        if request.effect_id.is_empty() || request.effect_id.len() > MAX_EFFECT_ID {
            let text = format!("effectId must have 1 to {MAX_EFFECT_ID} characters");
            return Err(Failure::invalid(text, Vec::new()).into());
        }
        let Some(kind) = operation::kind(&request.kind) else {
            let known: Vec<&str> = operation::KINDS.iter().map(|k| k.name()).collect();
            let text = format!(
                "kind \"{}\" is unknown; use one of {}",
                request.kind.chars().take(64).collect::<String>(),
                known.join(", ")
            );
            return Err(Failure::invalid(text, Vec::new()).into());
        };
        let input = json::required(request.input.as_ref(), "input")?;
        let invalid = |fields| Status::from(Failure::invalid("", fields));
        let input = Input::of(input).map_err(|fault| invalid(vec![fault]))?;
        let faults = kind.check(&input, &self.config);
        if !faults.is_empty() {
            return Err(invalid(faults));
        }
        let user = if request.user.is_empty() {
            caller.user
        } else {
            request.user
        };
        if let Some(policy) = &self.policy {
            let subject = match user.as_str() {
                AuthContext::ANONYMOUS => Subject::default(),
                user => Subject::user(policy, user, caller.roles.into_iter().collect()),
            };
            self.permitted(policy, &subject, &request.applications, &input)
                .await?;
        }
        let subject = if kind.job(&input).is_some() {
            // Nobody waits for a job but who asked for it.
            format!("job/{}", ledger::id_of(&request.effect_id))
        } else {
            self.subject(&input).await?
        };
        let submission = Submission {
            effect_id: request.effect_id,
            kind: request.kind,
            input,
            user,
            waiter: request.waiter.map(|w| Waiter {
                execution_id: w.execution_id,
                stage_id: w.stage_id,
                task_id: w.task_id,
            }),
            subject,
        };
        let accepted = self.ledger.submit(submission).await;
        Ok(Response::new(answer(accepted.map_err(|e| of_ledger(&e))?)))
    }

    async fn get(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let found = self.ledger.load(&request.into_inner().id).await;
        Ok(Response::new(answer(found.map_err(|e| of_ledger(&e))?)))
    }

    async fn cancel(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let caller = AuthContext::from_metadata(request.metadata());
        let reason = format!("by {}", caller.user);
        let canceled = self.ledger.cancel(&request.into_inner().id, &reason).await;
        Ok(Response::new(answer(canceled.map_err(|e| of_ledger(&e))?)))
    }
}

fn answer(operation: operation::ledger::Operation) -> Operation {
    let head = operation.head;
    let state = match head.state {
        State::Running => OperationState::Running,
        State::Succeeded => OperationState::Succeeded,
        State::Failed => OperationState::Failed,
    };
    let phases = operation.history.into_iter().map(|line| Phase {
        phase: line.phase,
        status: line.status,
        at_ms: line.at_ms,
    });
    let result = if head.state == State::Running {
        Json::default()
    } else {
        Json::of(&Value::Object(operation.result))
    };
    Operation {
        id: head.id,
        kind: head.kind,
        state: state.into(),
        history: phases.collect(),
        result: Some(result),
        error: head.error.unwrap_or_default(),
        error_details: head.details,
        retryable: head.retryable,
        finished_at_ms: head.finished_ms,
        started_at_ms: head.started_ms,
    }
}
