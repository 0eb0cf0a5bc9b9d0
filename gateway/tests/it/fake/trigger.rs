//! The trigger service of the fake.

use proto::common::v1::{Empty, Json};
use proto::trigger::v1 as events;
use proto::trigger::v1::event_service_server::EventService;
use serde_json::json;
use tonic::{Request as Call, Response, Status};

use super::{Peers, missing};

#[tonic::async_trait]
impl EventService for Peers {
    async fn receive(
        &self,
        call: Call<events::ReceiveRequest>,
    ) -> Result<Response<events::ReceiveReply>, Status> {
        self.note("receive", call.get_ref())?;
        Ok(Response::new(events::ReceiveReply {
            event_ids: vec!["ev1".into()],
            accepted: 1,
        }))
    }

    async fn fire_manual(
        &self,
        call: Call<events::FireManualRequest>,
    ) -> Result<Response<events::FireManualReply>, Status> {
        self.note("fire_manual", call.get_ref())?;
        match call.get_ref().pipeline.as_str() {
            // A pipeline that need not be stored has no name to be found by.
            "" if call.get_ref().body.is_none() => Err(missing("pipeline")),
            "" | "n" | "p1" | "x/y" => Ok(Response::new(events::FireManualReply {
                r#ref: "/pipelines/01ABC".into(),
                execution_id: "01ABC".into(),
                event_id: "ev1".into(),
            })),
            _ => Err(missing("pipeline")),
        }
    }

    async fn test(
        &self,
        call: Call<events::TestRequest>,
    ) -> Result<Response<events::DecisionsReply>, Status> {
        self.note("test", call.get_ref())?;
        Ok(Response::new(events::DecisionsReply {
            decisions: vec![Json::of(&json!({"outcome": "ready", "next": [1]}))],
        }))
    }

    async fn list_decisions(
        &self,
        call: Call<events::DecisionsRequest>,
    ) -> Result<Response<events::DecisionsReply>, Status> {
        self.note("list_decisions", call.get_ref())?;
        Ok(Response::new(events::DecisionsReply {
            decisions: vec![Json::of(&json!({"outcome": "started"}))],
        }))
    }

    async fn release_trigger(
        &self,
        call: Call<events::TriggerKey>,
    ) -> Result<Response<Empty>, Status> {
        self.note("release_trigger", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }
}
