//! The canary judge of the fake: the config `c1` of application `a`, the run `X1` of it.

use proto::canary_judge::v1 as canary;
use proto::canary_judge::v1::canary_service_server::CanaryService;
use proto::common::v1::{Empty, Json};
use serde_json::json;
use tonic::{Request as Call, Response, Status};

use super::{Peers, json_reply, missing};

type Told = Result<Response<Json>, Status>;

#[tonic::async_trait]
impl CanaryService for Peers {
    async fn list_configs(&self, call: Call<canary::ConfigQuery>) -> Told {
        self.note("list_configs", call.get_ref())?;
        json_reply(&json!([{"id": "c1", "name": "cc", "applications": ["a"]}]))
    }

    async fn get_config(&self, call: Call<canary::ConfigKey>) -> Told {
        self.note("get_config", call.get_ref())?;
        match call.get_ref().id.as_str() {
            "c1" => json_reply(&json!({"id": "c1", "name": "cc", "applications": ["a"]})),
            _ => Err(missing("canary config")),
        }
    }

    async fn list_config_versions(&self, call: Call<canary::ConfigKey>) -> Told {
        self.note("list_config_versions", call.get_ref())?;
        json_reply(&json!([{"version": 1, "user": "ann"}]))
    }

    async fn save_config(
        &self,
        call: Call<canary::SaveConfigRequest>,
    ) -> Result<Response<canary::ConfigKey>, Status> {
        self.note("save_config", call.get_ref())?;
        Ok(Response::new(canary::ConfigKey {
            id: "c1".into(),
            version: 0,
        }))
    }

    async fn delete_config(
        &self,
        call: Call<canary::ConfigKey>,
    ) -> Result<Response<Empty>, Status> {
        self.note("delete_config", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn start_run(
        &self,
        call: Call<canary::StartRunRequest>,
    ) -> Result<Response<canary::RunKey>, Status> {
        self.note("start_run", call.get_ref())?;
        Ok(Response::new(canary::RunKey { id: "X1".into() }))
    }

    async fn get_run(&self, call: Call<canary::RunKey>) -> Told {
        self.note("get_run", call.get_ref())?;
        match call.get_ref().id.as_str() {
            "X1" => json_reply(&json!({
                "pipelineId": "X1", "application": "a", "complete": true, "status": "succeeded",
                "result": {"judgeResult": {"score": {"score": 100, "classification": "Pass"}}},
            })),
            _ => Err(missing("canary run")),
        }
    }

    async fn list_runs(&self, call: Call<canary::RunQuery>) -> Told {
        self.note("list_runs", call.get_ref())?;
        json_reply(&json!([{"pipelineId": "X1", "application": "a"}]))
    }

    async fn cancel_run(
        &self,
        call: Call<canary::CancelRunRequest>,
    ) -> Result<Response<Empty>, Status> {
        self.note("cancel_run", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn dry_run(&self, call: Call<canary::StartRunRequest>) -> Told {
        self.note("dry_run", call.get_ref())?;
        json_reply(&json!({"queries": [], "result": {"judgeResult": {}}}))
    }

    async fn get_metric_set_pairs(&self, call: Call<canary::MetricSetPairsKey>) -> Told {
        self.note("get_metric_set_pairs", call.get_ref())?;
        json_reply(&json!([{"name": "m"}]))
    }

    async fn list_judges(&self, call: Call<Empty>) -> Told {
        self.note("list_judges", call.get_ref())?;
        json_reply(&json!([{"name": "NetflixACAJudge-v1.0", "visible": true}]))
    }

    async fn list_accounts(&self, call: Call<Empty>) -> Told {
        self.note("canary_accounts", call.get_ref())?;
        json_reply(&json!([{"name": "prometheus", "type": "prometheus"}]))
    }

    async fn list_metrics(&self, call: Call<canary::MetricsQuery>) -> Told {
        self.note("list_metrics", call.get_ref())?;
        json_reply(&json!([{"name": "errors"}]))
    }

    async fn query(&self, call: Call<canary::QueryRequest>) -> Told {
        self.note("query", call.get_ref())?;
        json_reply(&json!({"query": "up"}))
    }
}
