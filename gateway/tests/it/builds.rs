//! Build servers through Gate's two versions of the same routes.

use proto::common::v1::{Empty, Json};
use proto::trigger::v1 as events;
use proto::trigger::v1::build_service_server::BuildService;
use runtime::auth::AuthContext;
use serde_json::{Value, json};
use tonic::{Request as Call, Response, Status};

use crate::fake::Gate;

/// One master `m` with one job in a folder, which has one build.
pub(crate) struct Masters;

const JOB: &str = "team/job/shop";

fn known(key: &events::BuildKey) -> Result<(), Status> {
    if key.master == "m" && (key.job.is_empty() || key.job == JOB) {
        return Ok(());
    }
    Err(Status::not_found("no such master or job"))
}

fn build() -> Value {
    json!({"name": JOB, "number": 7, "result": "SUCCESS"})
}

#[tonic::async_trait]
impl BuildService for Masters {
    async fn list_masters(&self, _: Call<Empty>) -> Result<Response<events::MasterList>, Status> {
        let names = vec!["m".to_owned()];
        Ok(Response::new(events::MasterList { names }))
    }

    async fn explain(
        &self,
        call: Call<events::ExplainMasterRequest>,
    ) -> Result<Response<Json>, Status> {
        let by = AuthContext::from_metadata(call.metadata());
        let asked = call.into_inner();
        let told = json!({"allowed": asked.permission == "READ", "rule": "roleListed",
            "because": format!("{} {}", by.user, by.roles.join(","))});
        Ok(Response::new(Json::of(&told)))
    }

    async fn list_jobs(
        &self,
        call: Call<events::BuildKey>,
    ) -> Result<Response<events::MasterList>, Status> {
        known(call.get_ref())?;
        let names = vec![JOB.to_owned()];
        Ok(Response::new(events::MasterList { names }))
    }

    async fn get_job(&self, call: Call<events::BuildKey>) -> Result<Response<Json>, Status> {
        known(call.get_ref())?;
        let job = json!({"name": JOB, "parameterDefinitionList": [{"name": "where"}]});
        Ok(Response::new(Json::of(&job)))
    }

    async fn list_builds(&self, call: Call<events::BuildKey>) -> Result<Response<Json>, Status> {
        known(call.get_ref())?;
        Ok(Response::new(Json::of(&json!([build()]))))
    }

    async fn get_build(&self, call: Call<events::BuildKey>) -> Result<Response<Json>, Status> {
        known(call.get_ref())?;
        match call.get_ref().number {
            7 => Ok(Response::new(Json::of(&build()))),
            _ => Err(Status::not_found("no such build")),
        }
    }

    async fn get_properties(
        &self,
        _: Call<events::PropertiesRequest>,
    ) -> Result<Response<Json>, Status> {
        Err(Status::unimplemented("the gateway does not ask for it"))
    }

    async fn start_build(
        &self,
        _: Call<events::StartBuildRequest>,
    ) -> Result<Response<events::QueueReply>, Status> {
        Err(Status::unimplemented("the gateway does not ask for it"))
    }

    async fn get_queued(
        &self,
        _: Call<events::BuildKey>,
    ) -> Result<Response<events::QueueReply>, Status> {
        Err(Status::unimplemented("the gateway does not ask for it"))
    }

    async fn stop_build(
        &self,
        _: Call<events::StopBuildRequest>,
    ) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("the gateway does not ask for it"))
    }
}

#[tokio::test]
async fn both_versions_answer_for_masters_jobs_and_builds() {
    let gate = Gate::up();
    let (list, one) = (json!([build()]), build());
    let job = json!({"name": JOB, "parameterDefinitionList": [{"name": "where"}]});
    for (path, status, wanted) in [
        ("/v2/builds", 200, json!(["m"])),
        ("/v2/builds?type=JENKINS", 200, json!(["m"])),
        ("/v2/builds?type=travis", 200, json!([])),
        ("/v2/builds/m/jobs", 200, json!([JOB])),
        ("/v2/builds/m/builds/team/job/shop", 200, list.clone()),
        ("/v2/builds/m/build/7/team/job/shop", 200, one.clone()),
        ("/v3/builds", 200, json!(["m"])),
        ("/v3/builds/m/jobs", 200, json!([JOB])),
        ("/v3/builds/m/builds?job=team/job/shop", 200, list.clone()),
        ("/v3/builds/m/builds?job=team%2Fjob%2Fshop", 200, list),
        ("/v3/builds/m/build/7?job=team/job/shop", 200, one),
        ("/v3/builds/none/jobs", 404, Value::Null),
        ("/v3/builds/m/builds?job=none", 404, Value::Null),
        ("/v3/builds/m/build/8?job=team/job/shop", 404, Value::Null),
        ("/v3/builds/m/build/x?job=team/job/shop", 400, Value::Null),
        ("/v3/builds/m/builds", 400, Value::Null),
        ("/v3/builds/m/job?job=team/job/shop", 200, job.clone()),
        ("/v2/builds/m/jobs/team/job/shop", 200, job),
        ("/v3/builds/m/job", 400, Value::Null),
        ("/v3/builds/m/job?job=none", 404, Value::Null),
    ] {
        let answer = gate.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
        if !wanted.is_null() {
            assert_eq!(answer.json(), wanted, "{path}");
        }
    }
}
