//! One instance, and what it wrote.
//! Source: `gate: InstanceController`.

use axum::extract::State;
use proto::cloud_driver::v1::InstanceQuery;

use crate::Gateway;
use crate::answer::{Reply, forward};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller};

fn query((account, region, id): (String, String, String)) -> (InstanceQuery, String) {
    let unknown = format!("Instance not found (account: {account}, region: {region}, id: {id})");
    let query = InstanceQuery {
        account,
        region,
        id,
    };
    (query, unknown)
}

/// `GET /instances/{account}/{region}/{id}`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At(key): At<(String, String, String)>,
) -> Reply {
    let (query, unknown) = query(key);
    let found = answer(
        gate.clients
            .query
            .clone()
            .get_instance(caller.request(query)),
    )
    .await;
    forward(&found.map_err(|error: Error| error.or_not_found(|| unknown))?)
}

/// `GET /instances/{account}/{region}/{id}/console`
pub(super) async fn console(
    State(gate): State<Gateway>,
    caller: Caller,
    At(key): At<(String, String, String)>,
) -> Reply {
    let (query, unknown) = query(key);
    let call = caller.request(query);
    let found = answer(gate.clients.query.clone().get_console_output(call)).await;
    forward(&found.map_err(|error: Error| error.or_not_found(|| unknown))?)
}
