//! The orchestrator of the fake.

use proto::common::v1::{Empty, Json};
use proto::orchestrator::v1 as orca;
use proto::orchestrator::v1::definition_service_server::DefinitionService;
use proto::orchestrator::v1::execution_service_server::ExecutionService;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request as Call, Response, Status};

use super::{Peers, json_reply, missing};

pub(super) fn execution(id: &str) -> Value {
    json!({"id": id, "type": "PIPELINE", "application": "a", "name": "n", "status": "SUCCEEDED",
           "pipelineConfigId": "p1", "buildTime": 1, "trigger": {"type": "manual", "user": "u"},
           "stages": [{"refId": "1", "context": {"z": 1.0, "b": {"y": 1, "a": 2}}, "tasks": []}]})
}

/// An execution whose stage failed: one that started another, or waited for an operation.
fn failed(id: &str, kind: &str, child: &str) -> Value {
    let context = json!({"executionId": child, "kato.tasks": [{"id": "op1", "history": []}],
        "exception": {"details": {"errors": ["exit code 1"]}}});
    json!({"id": id, "application": "a", "name": "n", "status": "TERMINAL", "stages": [
        {"id": "s", "refId": "1", "type": kind, "name": kind, "status": "TERMINAL",
         "context": context}]})
}

fn pipeline() -> Value {
    json!({"id": "p1", "application": "a", "name": "n", "stages": [], "triggers": []})
}

fn strategy() -> Value {
    json!({"id": "s1", "application": "a", "name": "s", "type": "strategy"})
}

#[tonic::async_trait]
impl ExecutionService for Peers {
    type WatchStream = ReceiverStream<Result<orca::WatchEvent, Status>>;

    async fn start(
        &self,
        call: Call<orca::StartRequest>,
    ) -> Result<Response<orca::StartReply>, Status> {
        self.note("start", call.get_ref())?;
        let kind = if call.get_ref().kind == 1 {
            "pipelines"
        } else {
            "tasks"
        };
        Ok(Response::new(orca::StartReply {
            id: "01ABC".into(),
            r#ref: format!("/{kind}/01ABC"),
        }))
    }

    async fn fail(
        &self,
        call: Call<orca::FailRequest>,
    ) -> Result<Response<orca::StartReply>, Status> {
        self.note("fail", call.get_ref())?;
        Ok(Response::new(orca::StartReply {
            id: "01ABC".into(),
            r#ref: "/pipelines/01ABC".into(),
        }))
    }

    async fn get(&self, call: Call<orca::GetExecutionRequest>) -> Result<Response<Json>, Status> {
        self.note("get", call.get_ref())?;
        match call.get_ref().id.as_str() {
            "E1" | "01ABC" => json_reply(&execution(&call.get_ref().id)),
            "FAILED" => json_reply(&failed("FAILED", "pipeline", "CHILD")),
            "CHILD" => json_reply(&failed("CHILD", "runJob", "")),
            _ => Err(missing("execution")),
        }
    }

    async fn get_log(
        &self,
        call: Call<orca::GetLogRequest>,
    ) -> Result<Response<orca::GetLogReply>, Status> {
        self.note("get_log", call.get_ref())?;
        let head = json!({"execution": call.get_ref().id, "format": 1, "version": 3});
        // Entries come one by one, as they are stored.
        let entries = [r#"{"b": 1, "a": 1}"#, r#"{"b": 2}"#, r#"{"b": 3}"#];
        let (entries, after) = match call.get_ref().id.as_str() {
            "E1" => (&entries[..], usize::try_from(call.get_ref().after).unwrap()),
            "01ABC" => (&[][..], 0),
            _ => return Err(missing("execution")),
        };
        let next = entries.iter().skip(after).take(1);
        Ok(Response::new(orca::GetLogReply {
            head: Some(Json::of(&head)),
            entries: next
                .map(|e| Json {
                    text: (*e).to_owned(),
                })
                .collect(),
            more: after + 1 < entries.len(),
        }))
    }

    async fn list(
        &self,
        call: Call<orca::ListExecutionsRequest>,
    ) -> Result<Response<orca::ListExecutionsReply>, Status> {
        self.note("list", call.get_ref())?;
        let executions = self.0.lock().unwrap().executions.clone();
        // Two pages, whatever was asked for.
        let second = !call.get_ref().page.as_ref().unwrap().cursor.is_empty();
        let half = executions.len().div_ceil(2);
        let page = if second {
            &executions[half..]
        } else {
            &executions[..half]
        };
        let more = !second && half < executions.len();
        Ok(Response::new(orca::ListExecutionsReply {
            executions: page.iter().map(Json::of).collect(),
            next_cursor: if more { "2".into() } else { String::new() },
        }))
    }

    async fn cancel(&self, call: Call<orca::CancelRequest>) -> Result<Response<Empty>, Status> {
        self.note("cancel", call.get_ref())?;
        match call.get_ref().id.as_str() {
            "E1" | "01ABC" => Ok(Response::new(Empty {})),
            _ => Err(missing("execution")),
        }
    }

    async fn hydrate(&self, call: Call<orca::HydrateRequest>) -> Result<Response<Json>, Status> {
        self.note("hydrate", call.get_ref())?;
        match call.get_ref() {
            asked if asked.id == "E1" => {
                let found = json!({"startTime": 1, "canApply": false, "actions": []});
                json_reply(&json!({"dryRun": asked.dry_run, "executions": {"E1": found}}))
            }
            _ => Err(missing("execution")),
        }
    }

    async fn pause(&self, call: Call<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        self.note("pause", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn resume(&self, call: Call<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        self.note("resume", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn delete(&self, call: Call<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        self.note("delete", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn update_stage(
        &self,
        call: Call<orca::UpdateStageRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("update_stage", call.get_ref())?;
        json_reply(&execution("E1"))
    }

    async fn restart_stage(
        &self,
        call: Call<orca::UpdateStageRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("restart_stage", call.get_ref())?;
        json_reply(&execution("E1"))
    }

    async fn plan(&self, call: Call<orca::StartRequest>) -> Result<Response<Json>, Status> {
        self.note("plan", call.get_ref())?;
        json_reply(&json!({"name": "planned"}))
    }

    async fn evaluate(&self, call: Call<orca::EvaluateRequest>) -> Result<Response<Json>, Status> {
        self.note("evaluate", call.get_ref())?;
        let asked = call.get_ref();
        let result = match &asked.variables {
            Some(variables) => variables.value("variables").unwrap(),
            None => asked.expression.clone().into(),
        };
        json_reply(&json!({"result": result, "detail": {}}))
    }

    async fn watch(
        &self,
        call: Call<orca::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.note("watch", call.get_ref())?;
        let (sender, receiver) = mpsc::channel(1_000);
        self.0.lock().unwrap().watchers.push(sender);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl DefinitionService for Peers {
    async fn list_applications(
        &self,
        call: Call<orca::ListApplicationsRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_applications", call.get_ref())?;
        let permissions = self.kept(|kept| kept.application.clone());
        let a = json!({"name": "A", "email": "e@x", "permissions": permissions});
        let items = vec![Json::of(&a)];
        Ok(Response::new(orca::DefinitionList { items }))
    }

    async fn get_application(
        &self,
        call: Call<orca::ApplicationName>,
    ) -> Result<Response<Json>, Status> {
        self.note("get_application", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "a" => {
                let permissions = self.kept(|kept| kept.application.clone());
                json_reply(&json!({"name": "A", "email": "e@x", "permissions": permissions}))
            }
            _ => Err(missing("application")),
        }
    }

    async fn save_application(
        &self,
        call: Call<orca::SaveApplicationRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("save_application", call.get_ref())?;
        json_reply(&json!({}))
    }

    async fn delete_application(
        &self,
        call: Call<orca::ApplicationName>,
    ) -> Result<Response<Empty>, Status> {
        self.note("delete_application", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn application_history(
        &self,
        call: Call<orca::ApplicationHistoryRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("application_history", call.get_ref())?;
        if call.get_ref().name != "a" {
            return Err(missing("application"));
        }
        let items = vec![Json::of(&json!({"name": "A", "email": "e@x"}))];
        Ok(Response::new(orca::DefinitionList { items }))
    }

    async fn list_pipelines(
        &self,
        call: Call<orca::ListPipelinesRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_pipelines", call.get_ref())?;
        Ok(Response::new(orca::DefinitionList {
            items: vec![Json::of(&pipeline()), Json::of(&strategy())],
        }))
    }

    async fn get_pipeline(&self, call: Call<orca::PipelineKey>) -> Result<Response<Json>, Status> {
        self.note("get_pipeline", call.get_ref())?;
        let key = call.get_ref();
        if key.application == "a" && key.name == "s" || key.id == "s1" {
            return json_reply(&strategy());
        }
        let named = key.application == "a" && ["n", "my pipe", "x/y"].contains(&key.name.as_str());
        if named || key.id == "p1" {
            json_reply(&pipeline())
        } else {
            Err(missing("pipeline"))
        }
    }

    async fn plan_pipeline(&self, call: Call<Json>) -> Result<Response<Json>, Status> {
        self.note("plan_pipeline", call.get_ref())?;
        json_reply(&json!({"application": "a", "name": "p", "stages": []}))
    }

    async fn save_pipeline(
        &self,
        call: Call<orca::SavePipelineRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("save_pipeline", call.get_ref())?;
        json_reply(&pipeline())
    }

    async fn delete_pipeline(
        &self,
        call: Call<orca::PipelineKey>,
    ) -> Result<Response<Empty>, Status> {
        self.note("delete_pipeline", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "n" | "s" => Ok(Response::new(Empty {})),
            _ => Err(missing("pipeline")),
        }
    }

    async fn pipeline_history(
        &self,
        call: Call<orca::PipelineHistoryRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("pipeline_history", call.get_ref())?;
        Ok(Response::new(orca::DefinitionList {
            items: vec![Json::of(&pipeline())],
        }))
    }

    async fn list_objects(
        &self,
        call: Call<orca::ObjectKey>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_objects", call.get_ref())?;
        if let Some(items) = self.kept(|kept| kept.list(&call.get_ref().kind)) {
            return Ok(Response::new(orca::DefinitionList { items }));
        }
        let item = match call.get_ref().kind.as_str() {
            "environment" => json!({"id": "prod", "name": "prod", "order": 1, "accounts": ["k8s"]}),
            _ => json!({"id": "o1", "name": "p", "tag": "latest"}),
        };
        let items = vec![Json::of(&item)];
        Ok(Response::new(orca::DefinitionList { items }))
    }

    async fn get_object(&self, call: Call<orca::ObjectKey>) -> Result<Response<Json>, Status> {
        self.note("get_object", call.get_ref())?;
        let key = call.get_ref();
        if let Some(found) = self.kept(|kept| kept.get(&key.kind, &key.id)) {
            return found.map(Response::new).ok_or_else(|| missing("object"));
        }
        let id = call.into_inner().id;
        if id == "none" {
            return Err(Status::not_found("project none does not exist"));
        }
        Ok(Response::new(Json::of(&json!({
            "id": id, "name": id, "config": {"applications": ["a"]}, "accounts": ["k8s"],
        }))))
    }

    async fn save_object(
        &self,
        call: Call<orca::SaveObjectRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("save_object", call.get_ref())?;
        let request = call.into_inner();
        let object = request.object.unwrap_or_default();
        if request.create && self.kept(|kept| kept.has(&request.kind, &object)) {
            return Err(Failure::new(Kind::Conflict, "it exists already").into());
        }
        self.kept(|kept| kept.save(&request.kind, &object));
        Ok(Response::new(object))
    }

    async fn delete_object(&self, call: Call<orca::ObjectKey>) -> Result<Response<Empty>, Status> {
        self.note("delete_object", call.get_ref())?;
        self.kept(|kept| kept.delete(&call.get_ref().kind, &call.get_ref().id));
        Ok(Response::new(Empty {}))
    }

    async fn object_versions(
        &self,
        call: Call<orca::ObjectVersionsKey>,
    ) -> Result<Response<Json>, Status> {
        self.note("object_versions", call.get_ref())?;
        Ok(Response::new(Json::of(&json!([]))))
    }

    async fn list_stage_types(
        &self,
        call: Call<Empty>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_stage_types", call.get_ref())?;
        Ok(Response::new(orca::DefinitionList::default()))
    }

    async fn list_configured(
        &self,
        call: Call<orca::ConfiguredRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_configured", call.get_ref())?;
        let entry = json!({"type": call.get_ref().kind, "label": "A"});
        Ok(Response::new(orca::DefinitionList {
            items: vec![Json::of(&entry)],
        }))
    }
}
