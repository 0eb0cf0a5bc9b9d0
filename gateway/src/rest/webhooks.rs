//! Events from outside, forwarded byte by byte.
//! Source: `gate: WebhookController`.

use axum::extract::State;
use http::HeaderMap;
use proto::trigger::v1::{Header, ReceiveRequest};
use serde_json::json;

use crate::Gateway;
use crate::answer::{Answer, Reply};
use crate::clients::answer;
use crate::request::{At, Caller, MAX_WEBHOOK, Raw};

/// Headers forwarded with an event.
const MAX_HEADERS: usize = 64;

/// `POST /webhooks/{type}/{source}`: answered after the event is durable.
pub(super) async fn receive(
    State(gate): State<Gateway>,
    caller: Caller,
    At((kind, source)): At<(String, String)>,
    headers: HeaderMap,
    body: Raw<MAX_WEBHOOK>,
) -> Reply {
    let headers = headers
        .iter()
        .filter_map(|(name, value)| {
            Some(Header {
                name: name.as_str().to_owned(),
                value: value.to_str().ok()?.to_owned(),
            })
        })
        .take(MAX_HEADERS)
        .collect();
    let call = caller.request(ReceiveRequest {
        r#type: kind,
        source,
        headers,
        body: body.0.to_vec(),
    });
    let received = answer(gate.clients.events.clone().receive(call)).await?;
    let first = received.event_ids.first();
    Ok(Answer::Ok(json!({
        "eventProcessed": first.is_some(),
        "eventId": first,
        "eventIds": received.event_ids,
        "accepted": received.accepted,
    })))
}
