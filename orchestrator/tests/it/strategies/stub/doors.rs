//! The other doors of the stub: what no record needs is refused.

use async_trait::async_trait;
use orchestrator::services::{
    BuildOf, Builds, CloudDriver, Definitions, Executions, Http, HttpError, HttpRequest,
    HttpResponse, Object, Services,
};
use orchestrator_core::Status;
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::{Stub, children};

fn none() -> Failure {
    Failure::new(Kind::Unimplemented, "no record needs it")
}

#[async_trait]
impl Http for Stub {
    async fn send(&self, _request: HttpRequest) -> Result<HttpResponse, HttpError> {
        Err(HttpError {
            message: none().message,
            transient: false,
            unsent: true,
        })
    }
}

#[async_trait]
impl Definitions for Stub {
    async fn application(&self, name: &str) -> Result<Option<Value>, Failure> {
        let mut application = json!({ "name": name });
        let world = self.lock();
        let own = world.script["applicationAttributes"].as_object().cloned();
        application
            .as_object_mut()
            .unwrap()
            .extend(own.unwrap_or_default());
        Ok(Some(application))
    }

    async fn save_application(&self, _: Value, _: &str) -> Result<Value, Failure> {
        Err(none())
    }

    async fn delete_application(&self, _: &str) -> Result<(), Failure> {
        Err(none())
    }

    async fn pipeline(&self, id: &str, application: &str) -> Result<Option<Value>, Failure> {
        Ok(children::definition(id).filter(|_| application == "golden"))
    }

    async fn pipeline_by_name(&self, _: &str, _: &str) -> Result<Option<Value>, Failure> {
        Ok(None)
    }

    async fn save_pipeline(&self, _: Value, _: &str, _: bool) -> Result<Value, Failure> {
        Err(none())
    }

    async fn delete_pipeline(&self, _: &str, _: &str) -> Result<(), Failure> {
        Err(none())
    }

    async fn objects(&self, _: Object) -> Result<Vec<Value>, Failure> {
        Ok(Vec::new())
    }

    async fn save_object(&self, _: Object, object: Value, _: &str) -> Result<Value, Failure> {
        Ok(object)
    }

    async fn delete_object(&self, _: Object, _: &str) -> Result<(), Failure> {
        Err(none())
    }
}

#[async_trait]
impl Executions for Stub {
    async fn start(&self, body: Value, _: &str, event: &str, _: i64) -> Result<String, Failure> {
        Ok(children::start(self, body, event).await)
    }

    async fn get(&self, id: &str) -> Result<Option<Value>, Failure> {
        Ok(self.child(id))
    }

    async fn newest(
        &self,
        _: &str,
        _: &str,
        _: &[Status],
        _: &str,
    ) -> Result<Option<Value>, Failure> {
        Err(none())
    }

    async fn cancel(&self, _: &str, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl Builds for Stub {
    async fn start(&self, _: &BuildOf, _: &Map<String, Value>, _: &str) -> Result<String, Failure> {
        Err(none())
    }

    async fn queued(&self, _: &BuildOf) -> Result<Option<u64>, Failure> {
        Err(none())
    }

    async fn build(&self, _: &BuildOf) -> Result<Option<Value>, Failure> {
        Err(none())
    }

    async fn properties(&self, _: &BuildOf, _: &str) -> Result<Option<Value>, Failure> {
        Err(none())
    }

    async fn stop(&self, _: &BuildOf) -> Result<(), Failure> {
        Err(none())
    }
}

impl Services for Stub {
    fn cloud_driver(&self) -> &dyn CloudDriver {
        self
    }

    fn http(&self) -> &dyn Http {
        self
    }

    fn definitions(&self) -> &dyn Definitions {
        self
    }

    fn executions(&self) -> &dyn Executions {
        self
    }

    fn builds(&self) -> &dyn Builds {
        self
    }
}
