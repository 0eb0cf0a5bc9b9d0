//! Notifications of an application: what every pipeline of it tells too.
//! Source: `gate: NotificationController`, `front50: NotificationController`.

use axum::extract::State;
use http::StatusCode;
use proto::common::v1::Json;
use proto::orchestrator::v1::{ObjectKey, SaveObjectRequest};
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, value};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Definition};

const KIND: &str = "notification";

/// Differs from Spinnaker: Front50 stores global notifications and nothing ever sends
/// them, so they are refused instead.
fn of_application(kind: &str) -> Result<(), Error> {
    if kind == "application" {
        return Ok(());
    }
    let message = format!("\"{kind}\" has no notifications; use application");
    Err(Error::new(StatusCode::BAD_REQUEST, message))
}

fn key(application: String) -> ObjectKey {
    ObjectKey {
        kind: KIND.to_owned(),
        id: application,
    }
}

/// `GET /notifications/{type}/{application}`; one without notifications has an empty document.
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At((kind, application)): At<(String, String)>,
) -> Reply {
    of_application(&kind)?;
    let call = caller.request(key(application.clone()));
    let found = answer(gate.clients.definitions.clone().get_object(call)).await;
    match found {
        Ok(found) => Ok(Answer::Ok(value(&found)?)),
        Err(error) if error.status() == StatusCode::NOT_FOUND => {
            Ok(Answer::Ok(json!({"application": application})))
        }
        Err(error) => Err(error),
    }
}

/// `POST /notifications/{type}/{application}`: replaces the document.
pub(super) async fn save(
    State(gate): State<Gateway>,
    caller: Caller,
    At((kind, application)): At<(String, String)>,
    body: Definition,
) -> Reply {
    of_application(&kind)?;
    let mut document = body.object("the notifications")?;
    document.insert("application".to_owned(), application.into());
    let call = caller.request(SaveObjectRequest {
        kind: KIND.to_owned(),
        object: Some(Json::of(&Value::Object(document))),
        user: String::new(),
        create: false,
    });
    answer(gate.clients.definitions.clone().save_object(call)).await?;
    Ok(Answer::Empty)
}

/// `DELETE /notifications/{type}/{application}`
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At((kind, application)): At<(String, String)>,
) -> Reply {
    of_application(&kind)?;
    let call = caller.request(key(application));
    answer(gate.clients.definitions.clone().delete_object(call)).await?;
    Ok(Answer::Empty)
}

/// `GET /notifications/metadata`: senders beside those every client knows, with their fields.
pub(super) async fn metadata() -> Reply {
    let address = json!({
        "name": "address", "label": "URL", "type": "string", "defaultValue": "",
        "description": "Where the notification is posted, as JSON signed with HMAC-SHA256",
    });
    Ok(Answer::Ok(json!([
        {"notificationType": "webhook", "parameters": [address], "uiType": "BASIC"},
    ])))
}
