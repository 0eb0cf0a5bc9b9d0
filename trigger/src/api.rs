//! The gRPC service: translation, and the identity of who notifies.

use std::sync::Arc;

use proto::MAX_MESSAGE_BYTES;
use proto::common::v1::{Empty, Json};
use proto::status::{Failure, Kind};
use proto::trigger::v1::event_service_server::{EventService, EventServiceServer};
use proto::trigger::v1::{
    DecisionsReply, DecisionsRequest, FireManualReply, FireManualRequest, ReceiveReply,
    ReceiveRequest, TestRequest, TriggerKey,
};
use runtime::auth::AuthContext;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use crate::event::Event;
use crate::intake::{Intake, now_ms};
use crate::jenkins;
use crate::source::{self, Origin, manual};
use crate::{breaker, decisions, event, trial};

/// The largest notification, in bytes.
const MAX_BODY: usize = 5 * 1024 * 1024;

/// Serves [`EventService`].
#[derive(Debug, Clone)]
pub(crate) struct Api {
    intake: Arc<Intake>,
}

impl Api {
    pub(crate) fn new(intake: Arc<Intake>) -> Self {
        Self { intake }
    }

    pub(crate) fn into_server(self) -> EventServiceServer<Self> {
        EventServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Compares digests, so that the time taken says nothing about the secret.
    fn authenticate(&self, request: &ReceiveRequest) -> Result<(), Failure> {
        let Some(secret) = self.intake.config.notification_secrets.get(&request.source) else {
            return Ok(());
        };
        let wanted = secret
            .read()
            .map_err(|e| Failure::internal(e.to_string()))?;
        let given = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("authorization"))
            .map(|header| header.value.as_str())
            .unwrap_or_default();
        if Sha256::digest(given) == Sha256::digest(wanted) {
            Ok(())
        } else {
            Err(Failure::new(
                Kind::Unauthenticated,
                format!(
                    "events from {} need the configured Authorization header",
                    request.source
                ),
            ))
        }
    }

    async fn received(&self, request: ReceiveRequest) -> Result<ReceiveReply, Failure> {
        if request.body.len() > MAX_BODY {
            return Err(Failure::new(
                Kind::Exhausted,
                format!("the body is larger than the {MAX_BODY} bytes allowed"),
            ));
        }
        self.authenticate(&request)?;
        let events = self.events(&request).await?;
        let mut reply = ReceiveReply::default();
        for event in events {
            if self.intake.take_in(&event).await? {
                reply.accepted += 1;
            }
            reply.event_ids.push(event.id);
        }
        Ok(reply)
    }

    /// The events in a request.
    pub(crate) async fn events(&self, request: &ReceiveRequest) -> Result<Vec<Event>, Failure> {
        let source = source::of_kind(&request.r#type)?;
        let registry = if source.is_of_registry() {
            self.intake.peers.registry(&request.source).await?.address
        } else {
            String::new()
        };
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect();
        let nonce = self.intake.unique();
        let origin = Origin {
            source: &request.source,
            registry: &registry,
            headers: &headers,
            nonce: &nonce,
            received_at_ms: now_ms(),
        };
        source.parse(&origin, &request.body)
    }

    /// Starts a pipeline that need not be stored: what cannot run becomes an execution that
    /// says so.
    async fn fired_ad_hoc(
        &self,
        caller: &AuthContext,
        body: &Json,
    ) -> Result<FireManualReply, Failure> {
        let peers = &self.intake.peers;
        let mut prepared = body.value("body")?;
        let text = |key: &str| {
            prepared
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (application, id) = (text("application"), text("id"));
        if !id.is_empty() {
            let stored = peers.pipeline(application, id).await;
            if stored.is_ok_and(|stored| manual::is_disabled(&stored)) {
                return Err(manual::disabled());
            }
        }
        if let Some(Value::Object(trigger)) = prepared.get_mut("trigger") {
            jenkins::with_build(&self.intake, caller, trigger).await?;
        }
        let started = peers.start(caller, &prepared, "").await?;
        Ok(FireManualReply {
            r#ref: started.r#ref,
            execution_id: started.id,
            event_id: String::new(),
        })
    }

    async fn fired(
        &self,
        caller: &AuthContext,
        request: FireManualRequest,
    ) -> Result<FireManualReply, Failure> {
        if let Some(body) = &request.body {
            return self.fired_ad_hoc(caller, body).await;
        }
        let mut trigger = match &request.trigger {
            Some(json) => json.value("trigger")?,
            None => serde_json::Value::Null,
        };
        if let serde_json::Value::Object(fields) = &mut trigger {
            jenkins::with_build(&self.intake, caller, fields).await?;
        }
        let peers = &self.intake.peers;
        let pipeline = peers
            .pipeline(&request.application, &request.pipeline)
            .await?;
        let id = pipeline
            .get("id")
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned();
        // Each call is an event of its own.
        let event_id = event::id("manual", &[&id, &self.intake.unique()]);
        let user = if request.user.is_empty() {
            "anonymous"
        } else {
            &request.user
        };
        let prepared = manual::prepare(pipeline, &trigger, user, &event_id)?;
        let started = peers.start(caller, &prepared, &event_id).await?;
        Ok(FireManualReply {
            r#ref: started.r#ref,
            execution_id: started.id,
            event_id,
        })
    }
}

#[tonic::async_trait]
impl EventService for Api {
    async fn receive(
        &self,
        request: Request<ReceiveRequest>,
    ) -> Result<Response<ReceiveReply>, Status> {
        Ok(Response::new(self.received(request.into_inner()).await?))
    }

    async fn fire_manual(
        &self,
        request: Request<FireManualRequest>,
    ) -> Result<Response<FireManualReply>, Status> {
        let caller = AuthContext::from_metadata(request.metadata());
        let fired = self.fired(&caller, request.into_inner()).await?;
        Ok(Response::new(fired))
    }

    async fn test(
        &self,
        request: Request<TestRequest>,
    ) -> Result<Response<DecisionsReply>, Status> {
        let decisions = trial::run(self, &self.intake, request.into_inner()).await?;
        Ok(Response::new(DecisionsReply {
            decisions: decisions.iter().map(Json::of).collect(),
        }))
    }

    async fn list_decisions(
        &self,
        request: Request<DecisionsRequest>,
    ) -> Result<Response<DecisionsReply>, Status> {
        let id = request.into_inner().pipeline_id;
        let found = decisions::of_pipeline(&self.intake.store, &id).await?;
        Ok(Response::new(DecisionsReply {
            decisions: found.iter().map(Json::of).collect(),
        }))
    }
    async fn release_trigger(
        &self,
        request: Request<TriggerKey>,
    ) -> Result<Response<Empty>, Status> {
        let key = request.into_inner();
        breaker::release(&self.intake, &key.pipeline_id, &key.trigger_id).await?;
        Ok(Response::new(Empty {}))
    }
}
