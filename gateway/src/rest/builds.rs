//! Build servers: their names, jobs and builds, for the pickers of triggers and
//! stages. Source: `gate: BuildController`, and its version 3 with the job as a
//! parameter, which may hold `/` either way.

use axum::extract::State;
use proto::common::v1::Empty;
use proto::trigger::v1::BuildKey;
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, forward};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Query};

/// The one kind of build server there is.
const JENKINS: &str = "jenkins";

fn number(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        Error::field(
            "buildNumber",
            format!("\"{text}\" is no number; name a build such as 12"),
        )
    })
}

/// `GET /v2/builds?type=`, `GET /v3/builds?type=`: names of build servers.
pub(super) async fn masters(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let kind = query.text("type");
    if !kind.is_empty() && !kind.eq_ignore_ascii_case(JENKINS) {
        return Ok(Answer::Ok(json!([])));
    }
    let call = caller.request(Empty {});
    let found = answer(gate.clients.builds.clone().list_masters(call)).await?;
    Ok(Answer::Ok(Value::from(found.names)))
}

/// `GET /v{2,3}/builds/{master}/jobs`: full names, folders and all.
pub(super) async fn jobs(
    State(gate): State<Gateway>,
    caller: Caller,
    At(master): At<String>,
) -> Reply {
    let call = caller.request(BuildKey {
        master,
        ..BuildKey::default()
    });
    let found = answer(gate.clients.builds.clone().list_jobs(call)).await?;
    Ok(Answer::Ok(Value::from(found.names)))
}

async fn list(gate: &Gateway, caller: &Caller, master: String, job: String) -> Reply {
    let call = caller.request(BuildKey {
        master,
        job,
        ..BuildKey::default()
    });
    forward(&answer(gate.clients.builds.clone().list_builds(call)).await?)
}

async fn one(gate: &Gateway, caller: &Caller, at: (String, String), job: String) -> Reply {
    let call = caller.request(BuildKey {
        number: number(&at.1)?,
        master: at.0,
        job,
        item: String::new(),
    });
    forward(&answer(gate.clients.builds.clone().get_build(call)).await?)
}

/// `GET /v2/builds/{master}/builds/{*job}`
pub(super) async fn list_by_path(
    State(gate): State<Gateway>,
    caller: Caller,
    At((master, job)): At<(String, String)>,
) -> Reply {
    list(&gate, &caller, master, job).await
}

/// `GET /v3/builds/{master}/builds?job=`
pub(super) async fn list_by_query(
    State(gate): State<Gateway>,
    caller: Caller,
    At(master): At<String>,
    query: Query,
) -> Reply {
    list(&gate, &caller, master, query.required("job")?).await
}

/// `GET /v2/builds/{master}/build/{number}/{*job}`
pub(super) async fn get_by_path(
    State(gate): State<Gateway>,
    caller: Caller,
    At((master, number, job)): At<(String, String, String)>,
) -> Reply {
    one(&gate, &caller, (master, number), job).await
}

/// `GET /v3/builds/{master}/build/{number}?job=`
pub(super) async fn get_by_query(
    State(gate): State<Gateway>,
    caller: Caller,
    At(at): At<(String, String)>,
    query: Query,
) -> Reply {
    one(&gate, &caller, at, query.required("job")?).await
}

async fn job_of(gate: &Gateway, caller: &Caller, master: String, job: String) -> Reply {
    let call = caller.request(BuildKey {
        master,
        job,
        ..BuildKey::default()
    });
    forward(&answer(gate.clients.builds.clone().get_job(call)).await?)
}

/// `GET /v2/builds/{master}/jobs/{*job}`
pub(super) async fn job_by_path(
    State(gate): State<Gateway>,
    caller: Caller,
    At((master, job)): At<(String, String)>,
) -> Reply {
    job_of(&gate, &caller, master, job).await
}

/// `GET /v3/builds/{master}/job?job=`
pub(super) async fn job_by_query(
    State(gate): State<Gateway>,
    caller: Caller,
    At(master): At<String>,
    query: Query,
) -> Reply {
    job_of(&gate, &caller, master, query.required("job")?).await
}
