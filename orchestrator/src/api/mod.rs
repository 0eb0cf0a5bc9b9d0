//! The gRPC services: translation only. What a call means is decided in
//! [`crate::executions`], [`crate::definition`] and the engine.

mod audit;
mod caller;
mod definition;
mod evaluation;
mod execution;
mod watch;

pub use definition::DefinitionApi;
pub use execution::ExecutionApi;

use proto::common::v1::Json;
use proto::orchestrator::v1::DefinitionList;
use runtime::auth::AuthContext;
use serde_json::Value;

/// Who calls, by name: the request's own field, else what the edge established.
fn user_of<T>(request: &tonic::Request<T>, named: &str) -> String {
    if named.is_empty() {
        AuthContext::from_metadata(request.metadata()).user
    } else {
        named.to_owned()
    }
}

fn list<'a>(values: impl IntoIterator<Item = &'a Value>) -> DefinitionList {
    DefinitionList {
        items: values.into_iter().map(Json::of).collect(),
    }
}
