//! One job, with the last lines of its log. Source: `gate: JobController`.

use axum::extract::State;
use proto::cloud_driver::v1::JobQuery;

use crate::Gateway;
use crate::answer::{Reply, forward};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller};

/// `GET /applications/{application}/jobs/{account}/{region}/{name}`: while it runs too.
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At((application, account, region, name)): At<(String, String, String, String)>,
) -> Reply {
    let unknown = format!("Job not found (account: {account}, region: {region}, name: {name})");
    let call = caller.request(JobQuery {
        application: application.to_lowercase(),
        account,
        region,
        name,
    });
    let found = answer(gate.clients.query.clone().get_job(call)).await;
    forward(&found.map_err(|error: Error| error.or_not_found(|| unknown))?)
}
