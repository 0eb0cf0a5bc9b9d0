//! The canary judge over gRPC.

use async_trait::async_trait;
use proto::canary_judge::v1 as wire;
use proto::canary_judge::v1::canary_service_client::CanaryServiceClient;
use proto::common::v1::Json;
use proto::status::{Failure, Kind};
use runtime::auth::AuthContext;
use runtime::client::Peer;
use serde_json::Value;

use super::{CanaryJudge, CanaryPlan, MetricQuestion, NewRun, OnBehalf};

/// The canary judge behind a channel.
#[derive(Debug, Clone)]
pub struct GrpcCanaryJudge(CanaryServiceClient<Peer>);

impl GrpcCanaryJudge {
    /// Uses this channel; it connects when first used.
    pub fn new(channel: Peer) -> Self {
        let limit = proto::MAX_MESSAGE_BYTES;
        Self(
            CanaryServiceClient::new(channel)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        )
    }
}

/// A service without a canary judge: what needs one says so.
#[derive(Debug, Clone, Copy)]
pub struct NoJudge;

fn failure(status: tonic::Status) -> Failure {
    // Without a source the judge answered: that a metric store, or its own, is away.
    let unanswered = std::error::Error::source(&status).is_some();
    let mut failure = Failure::from(status);
    if failure.kind == Kind::Unavailable && unanswered {
        failure.message = format!("the canary judge cannot be reached: {}", failure.message);
    }
    failure
}

fn value(answer: Result<tonic::Response<Json>, tonic::Status>) -> Result<Value, Failure> {
    Ok(answer.map_err(failure)?.into_inner().value("answer")?)
}

/// `NOT_FOUND` is an answer here, not a failure.
fn found(answer: Result<tonic::Response<Json>, tonic::Status>) -> Result<Option<Value>, Failure> {
    match answer {
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        answer => value(answer).map(Some),
    }
}

fn call<T>(by: &OnBehalf, message: T) -> tonic::Request<T> {
    let context = AuthContext {
        user: by.user.clone(),
        roles: by.roles.clone(),
        ..AuthContext::default()
    };
    context.request(message)
}

fn plan(plan: CanaryPlan) -> wire::Plan {
    wire::Plan {
        lifetime_ms: plan.lifetime_ms,
        interval_ms: plan.interval_ms,
        begin_after_ms: plan.begin_after_ms,
        lookback_ms: plan.lookback_ms,
        baseline_offset_ms: plan.baseline_offset_ms,
        start_ms: plan.start_ms,
        stop_at_marginal: plan.stop_at_marginal,
    }
}

#[async_trait]
impl CanaryJudge for GrpcCanaryJudge {
    async fn configs(&self, by: &OnBehalf, application: &str) -> Result<Vec<Value>, Failure> {
        let query = wire::ConfigQuery {
            applications: vec![application.to_owned()],
        };
        let answer = self.0.clone().list_configs(call(by, query)).await;
        match value(answer)? {
            Value::Array(list) => Ok(list),
            _ => Ok(Vec::new()),
        }
    }

    async fn config(&self, by: &OnBehalf, id: &str) -> Result<Option<Value>, Failure> {
        let key = wire::ConfigKey {
            id: id.to_owned(),
            version: 0,
        };
        found(self.0.clone().get_config(call(by, key)).await)
    }

    async fn start(&self, by: &OnBehalf, run: NewRun) -> Result<String, Failure> {
        let request = wire::StartRunRequest {
            effect_id: run.effect_id,
            application: run.application,
            config_id: run.config_id,
            config: None,
            request: Some(Json::of(&run.request)),
            metrics_account: run.metrics_account,
            configuration_account: run.configuration_account,
            storage_account: run.storage_account,
            parent_execution_id: run.execution_id,
            plan: run.plan.map(plan),
            waiter: run.waiter.map(|w| wire::Waiter {
                execution_id: w.execution_id,
                stage_id: w.stage_id,
                task_id: w.task_id,
            }),
        };
        let answer = self.0.clone().start_run(call(by, request)).await;
        Ok(answer.map_err(failure)?.into_inner().id)
    }

    async fn run(&self, by: &OnBehalf, id: &str) -> Result<Option<Value>, Failure> {
        let key = wire::RunKey { id: id.to_owned() };
        found(self.0.clone().get_run(call(by, key)).await)
    }

    async fn cancel(&self, by: &OnBehalf, id: &str, reason: &str) -> Result<(), Failure> {
        let request = wire::CancelRunRequest {
            id: id.to_owned(),
            reason: reason.to_owned(),
        };
        match self.0.clone().cancel_run(call(by, request)).await {
            Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
            answer => answer.map(|_| ()).map_err(failure),
        }
    }

    async fn query(&self, by: &OnBehalf, question: MetricQuestion) -> Result<Value, Failure> {
        let request = wire::QueryRequest {
            account: question.account,
            query: Some(Json::of(&question.query)),
            scope: Some(Json::of(&question.scope)),
            templates: Some(Json::of(&question.templates)),
            plan: false,
            application: question.application,
        };
        value(self.0.clone().query(call(by, request)).await)
    }
}

fn absent<T>() -> Result<T, Failure> {
    Err(Failure::new(
        Kind::Unimplemented,
        "there is no canary judge in this installation; start it with a canary judge",
    ))
}

#[async_trait]
impl CanaryJudge for NoJudge {
    async fn configs(&self, _by: &OnBehalf, _application: &str) -> Result<Vec<Value>, Failure> {
        absent()
    }

    async fn config(&self, _by: &OnBehalf, _id: &str) -> Result<Option<Value>, Failure> {
        absent()
    }

    async fn start(&self, _by: &OnBehalf, _run: NewRun) -> Result<String, Failure> {
        absent()
    }

    async fn run(&self, _by: &OnBehalf, _id: &str) -> Result<Option<Value>, Failure> {
        absent()
    }

    async fn cancel(&self, _by: &OnBehalf, _id: &str, _reason: &str) -> Result<(), Failure> {
        absent()
    }

    async fn query(&self, _by: &OnBehalf, _question: MetricQuestion) -> Result<Value, Failure> {
        absent()
    }
}

#[cfg(test)]
mod tests {
    use runtime::auth::Key;
    use runtime::client::{Link, tcp};

    use super::*;

    #[tokio::test]
    async fn only_a_judge_that_does_not_answer_cannot_be_reached() {
        // Nobody listens on this port.
        let nobody = tcp("http://127.0.0.1:1").unwrap();
        let judge = GrpcCanaryJudge::new(Link::new(nobody, Key::from([7; 32])).of("test"));
        let by = OnBehalf {
            user: "ann".to_owned(),
            roles: Vec::new(),
        };
        let away = judge.run(&by, "r").await.unwrap_err();
        assert_eq!(away.kind, Kind::Unavailable);
        let begin = "the canary judge cannot be reached: ";
        assert!(away.message.starts_with(begin), "{away:?}");
        // As it comes over the wire.
        let said = failure(tonic::Status::unavailable("prometheus answers 503"));
        assert_eq!(
            (said.kind, said.message.as_str()),
            (Kind::Unavailable, "prometheus answers 503")
        );
    }
}
