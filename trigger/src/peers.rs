//! The orchestrator and cloud-driver, as this service sees them.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authorization::MANAGED;
use proto::MAX_MESSAGE_BYTES;
use proto::cloud_driver::v1::registry_service_client::RegistryServiceClient;
use proto::cloud_driver::v1::{ImageQuery, ListRegistriesRequest, Registry, RepositoryQuery};
use proto::common::v1::Json;
use proto::orchestrator::v1::definition_service_client::DefinitionServiceClient;
use proto::orchestrator::v1::execution_service_client::ExecutionServiceClient;
use proto::orchestrator::v1::{
    ApplicationName, ExecutionKind, GetExecutionRequest, ListPipelinesRequest, ObjectKey,
    PipelineKey, StartReply, StartRequest,
};
use proto::status::{Failure, Kind};
use runtime::auth::AuthContext;
use runtime::client::Peer;
use serde_json::{Map, Value, json};
use tonic::{Response, Status};

/// How long a peer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the list of registries is kept: it only changes with the configuration.
const KEEP: Duration = Duration::from_secs(60);

/// The list of registries and when it was read.
type Kept = (Instant, Arc<Vec<Registry>>);

/// Clients; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    definitions: DefinitionServiceClient<Peer>,
    executions: ExecutionServiceClient<Peer>,
    registry: RegistryServiceClient<Peer>,
    registries: Arc<Mutex<Option<Kept>>>,
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(Failure::new(
            Kind::Unavailable,
            format!("no answer of a peer in {} s", TIMEOUT.as_secs()),
        )),
    }
}

fn object(json: &Json) -> Result<Map<String, Value>, Failure> {
    match json.value("answer")? {
        Value::Object(map) => Ok(map),
        _ => Err(Failure::internal("what a peer answered is no object")),
    }
}

impl Peers {
    pub(crate) fn new(orchestrator: Peer, cloud_driver: Peer) -> Self {
        Self {
            definitions: DefinitionServiceClient::new(orchestrator.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            executions: ExecutionServiceClient::new(orchestrator)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            registry: RegistryServiceClient::new(cloud_driver)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            registries: Arc::default(),
        }
    }

    /// The pipelines with an enabled trigger of this type, as they are now.
    pub(crate) async fn pipelines(&self, kind: &str) -> Result<Vec<Map<String, Value>>, Failure> {
        let request = ListPipelinesRequest {
            application: String::new(),
            trigger_type: kind.to_owned(),
            with_secrets: true,
        };
        let list = answer(self.definitions.clone().list_pipelines(request)).await?;
        list.items.iter().map(object).collect()
    }

    /// The pipeline of this name in the application, else the one of this id; what is started
    /// has no business with the secrets of its triggers.
    pub(crate) async fn pipeline(
        &self,
        application: &str,
        name_or_id: &str,
    ) -> Result<Map<String, Value>, Failure> {
        self.found(application, name_or_id, false).await
    }

    /// The same with the secrets of its triggers, to check signatures.
    pub(crate) async fn pipeline_with_secrets(
        &self,
        application: &str,
        name_or_id: &str,
    ) -> Result<Map<String, Value>, Failure> {
        self.found(application, name_or_id, true).await
    }

    async fn found(
        &self,
        application: &str,
        name_or_id: &str,
        with_secrets: bool,
    ) -> Result<Map<String, Value>, Failure> {
        let by_name = PipelineKey {
            id: String::new(),
            application: application.to_lowercase(),
            name: name_or_id.to_owned(),
            with_secrets,
        };
        match answer(self.definitions.clone().get_pipeline(by_name)).await {
            Ok(json) => return object(&json),
            Err(failure) if failure.kind == Kind::NotFound => {}
            Err(failure) => return Err(failure),
        }
        let by_id = PipelineKey {
            id: name_or_id.to_owned(),
            with_secrets,
            ..PipelineKey::default()
        };
        let unknown = || {
            Failure::not_found(format!(
                "there is no pipeline with name or id \"{name_or_id}\" in application {application}"
            ))
        };
        let found = match answer(self.definitions.clone().get_pipeline(by_id)).await {
            Ok(json) => object(&json)?,
            Err(failure) if failure.kind == Kind::NotFound => return Err(unknown()),
            Err(failure) => return Err(failure),
        };
        let owner = found.get("application").and_then(Value::as_str);
        if owner.is_some_and(|owner| owner.eq_ignore_ascii_case(application)) {
            Ok(found)
        } else {
            Err(unknown())
        }
    }

    /// The roles of whoever a trigger of a pipeline runs as: the pipeline's own for its own account.
    pub(crate) async fn roles(
        &self,
        pipeline: &Map<String, Value>,
        user: &str,
    ) -> Result<Vec<String>, Failure> {
        let listed = |object: &Map<String, Value>, field: &str| -> Vec<String> {
            let list = object.get(field).and_then(Value::as_array);
            let names = list.into_iter().flatten().filter_map(Value::as_str);
            names.map(ToOwned::to_owned).collect()
        };
        let mut definitions = self.definitions.clone();
        let (found, field) = match user.strip_suffix(MANAGED) {
            Some(id) if pipeline.get("id").and_then(Value::as_str) == Some(id) => {
                return Ok(listed(pipeline, "roles"));
            }
            Some(id) => {
                let key = PipelineKey {
                    id: id.to_owned(),
                    ..PipelineKey::default()
                };
                (answer(definitions.get_pipeline(key)).await, "roles")
            }
            None => {
                let key = ObjectKey {
                    kind: "serviceAccount".to_owned(),
                    id: user.to_owned(),
                };
                (answer(definitions.get_object(key)).await, "memberOf")
            }
        };
        match found {
            Ok(found) => return Ok(listed(&object(&found)?, field)),
            Err(failure) if failure.kind == Kind::NotFound => {}
            Err(failure) => return Err(failure),
        }
        // No service account: a person, such as the one whose execution ended.
        let key = ObjectKey {
            kind: "user".to_owned(),
            id: user.to_lowercase(),
        };
        match answer(self.definitions.clone().get_object(key)).await {
            Ok(found) => Ok(listed(&object(&found)?, "roles")),
            Err(failure) if failure.kind == Kind::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    /// The permissions stored with an application, empty where it has none; none if it is not stored.
    pub(crate) async fn permissions(&self, application: &str) -> Result<Option<Value>, Failure> {
        let name = ApplicationName {
            name: application.to_lowercase(),
        };
        match answer(self.definitions.clone().get_application(name)).await {
            Ok(found) => {
                let found = object(&found)?;
                let own = found.get("permissions").filter(|own| !own.is_null());
                Ok(Some(own.cloned().unwrap_or_else(|| json!({}))))
            }
            Err(failure) if failure.kind == Kind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// An execution; none if there is none.
    pub(crate) async fn execution(&self, id: &str) -> Result<Option<Value>, Failure> {
        let request = GetExecutionRequest {
            kind: ExecutionKind::Pipeline.into(),
            id: id.to_owned(),
        };
        match answer(self.executions.clone().get(request)).await {
            Ok(json) => Ok(Some(json.value("execution")?)),
            Err(failure) if failure.kind == Kind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Starts a pipeline that carries its trigger, on behalf of the caller.
    pub(crate) async fn start(
        &self,
        caller: &AuthContext,
        pipeline: &Value,
        event_id: &str,
    ) -> Result<StartReply, Failure> {
        let request = StartRequest {
            kind: ExecutionKind::Pipeline.into(),
            body: Some(Json::of(pipeline)),
            event_id: event_id.to_owned(),
        };
        let request = caller.request(request);
        answer(self.executions.clone().start(request)).await
    }

    /// The registry accounts.
    pub(crate) async fn registries(&self) -> Result<Arc<Vec<Registry>>, Failure> {
        let kept = self.registries.lock().ok().and_then(|kept| kept.clone());
        if let Some((at, list)) = kept
            && at.elapsed() < KEEP
        {
            return Ok(list);
        }
        let asked = answer(
            self.registry
                .clone()
                .list_registries(ListRegistriesRequest {}),
        )
        .await?;
        let list = Arc::new(asked.registries);
        if let Ok(mut kept) = self.registries.lock() {
            *kept = Some((Instant::now(), Arc::clone(&list)));
        }
        Ok(list)
    }

    /// The registry account of this name.
    pub(crate) async fn registry(&self, account: &str) -> Result<Registry, Failure> {
        let all = self.registries().await?;
        all.iter()
            .find(|registry| registry.account == account)
            .cloned()
            .ok_or_else(|| {
                let known: Vec<_> = all.iter().map(|r| r.account.as_str()).collect();
                Failure::not_found(format!(
                    "there is no registry account \"{account}\"; known are: {}",
                    known.join(", ")
                ))
            })
    }

    /// The repositories an account lists.
    pub(crate) async fn repositories(&self, account: &str) -> Result<Vec<String>, Failure> {
        let query = RepositoryQuery {
            account: account.to_owned(),
            repository: String::new(),
        };
        Ok(answer(self.registry.clone().list_repositories(query))
            .await?
            .names)
    }

    /// The tags of a repository; none when there is no such repository.
    pub(crate) async fn tags(
        &self,
        account: &str,
        repository: &str,
    ) -> Result<Vec<String>, Failure> {
        let query = RepositoryQuery {
            account: account.to_owned(),
            repository: repository.to_owned(),
        };
        match answer(self.registry.clone().list_tags(query)).await {
            Ok(list) => Ok(list.names),
            Err(failure) if failure.kind == Kind::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    /// The digest of a tag; none when the tag is gone.
    pub(crate) async fn digest(
        &self,
        account: &str,
        repository: &str,
        tag: &str,
    ) -> Result<Option<String>, Failure> {
        let query = ImageQuery {
            account: account.to_owned(),
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        };
        match answer(self.registry.clone().get_digest(query)).await {
            Ok(reply) => Ok(Some(reply.digest)),
            Err(failure) if failure.kind == Kind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
