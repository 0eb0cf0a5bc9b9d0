//! What the data plane measured. Not one of Gate's: Spinnaker has no data plane.

use axum::extract::State;
use proto::cloud_driver::v1::TrafficQuery;

use crate::Gateway;
use crate::answer::{Reply, forward};
use crate::clients::answer;
use crate::request::{Caller, Query};

/// `GET /traffic?application=&seconds=60`
pub(super) async fn get(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let seconds = query.number("seconds", 60)?.min(3_600);
    let call = caller.request(TrafficQuery {
        application: query.text("application").to_lowercase(),
        seconds: u32::try_from(seconds).unwrap_or(3_600),
    });
    forward(&answer(gate.clients.query.clone().get_traffic(call)).await?)
}
