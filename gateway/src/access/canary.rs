//! Who may see, change and run canaries: by the applications of a config, and the one of a run.

use authorization::Permission;
use http::StatusCode;
use proto::canary_judge::v1::{ConfigKey, RunKey};
use serde_json::Value;

use super::{Access, text};
use crate::answer::value;
use crate::clients::answer;
use crate::error::Error;

/// The application of a run that names none.
const AD_HOC: &str = "ad-hoc";
/// Characters of a run's id; the id of a list of its pairs goes on with a number.
const RUN_ID: usize = 26;

/// The applications of a config, read as canary-judge reads them: numbers are texts.
fn applications(config: &Value) -> Vec<String> {
    let list = config.get("applications").and_then(Value::as_array);
    let name = |value: &Value| match value {
        Value::String(name) => name.clone(),
        other => other.to_string(),
    };
    list.into_iter().flatten().map(name).collect()
}

/// What is stored; none if there is none, which is the handler's to say.
async fn stored(access: Access<'_>, id: &str) -> Result<Option<Value>, Error> {
    if id.is_empty() {
        return Ok(None);
    }
    let call = access.caller.request(ConfigKey {
        id: id.to_owned(),
        version: 0,
    });
    match answer(access.gate.clients.canaries.clone().get_config(call)).await {
        Ok(found) => value(&found).map(Some),
        Err(error) if error.status() == StatusCode::NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}

async fn readable(access: Access<'_>, config: &Value) -> Result<(), Error> {
    let mut refused = None;
    for application in applications(config) {
        match access.application(&application, Permission::Read).await {
            Ok(()) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    // One without applications was saved by nobody; it is an administrator's.
    refused.map_or_else(|| access.admin(), Err)
}

/// READ on one application of a config; any other permission on all of it, and on all of the body's.
pub(super) async fn config(
    access: Access<'_>,
    id: &str,
    body: &Value,
    permission: Permission,
) -> Result<(), Error> {
    if access.limited().is_none() {
        return Ok(());
    }
    let stored = stored(access, id).await?;
    if permission == Permission::Read {
        return match &stored {
            Some(stored) => readable(access, stored).await,
            None => Ok(()),
        };
    }
    for config in stored.iter().chain([body]) {
        for application in applications(config) {
            access.application(&application, permission).await?;
        }
    }
    Ok(())
}

/// EXECUTE on the application of a run: the query's, else that of a short body, else the config's first.
pub(super) async fn start(
    access: Access<'_>,
    id: &str,
    body: &Value,
    given: Option<&str>,
) -> Result<(), Error> {
    if access.limited().is_none() {
        return Ok(());
    }
    let stored = stored(access, id).await?;
    if let Some(stored) = &stored {
        readable(access, stored).await?;
    }
    // As the handler reads it: of any other body the application counts for nothing.
    let is_short = id.is_empty() && body.get("query").is_some_and(Value::is_string);
    let short = Some(text(body, "application")).filter(|name| is_short && !name.is_empty());
    let config = stored.as_ref().or_else(|| body.get("canaryConfig"));
    let first = config.and_then(|config| applications(config).into_iter().find(|n| !n.is_empty()));
    let name = given.or(short).or(first.as_deref()).unwrap_or(AD_HOC);
    access.application(name, Permission::Execute).await
}

/// A permission on the application of a run.
pub(super) async fn run(access: Access<'_>, id: &str, permission: Permission) -> Result<(), Error> {
    if access.limited().is_none() {
        return Ok(());
    }
    let run = match id.rsplit_once('-') {
        Some((run, _)) if run.len() == RUN_ID => run,
        _ => id,
    };
    let call = access.caller.request(RunKey { id: run.to_owned() });
    match answer(access.gate.clients.canaries.clone().get_run(call)).await {
        Ok(found) => {
            let found = value(&found)?;
            access
                .application(text(&found, "application"), permission)
                .await
        }
        Err(error) if error.status() == StatusCode::NOT_FOUND => Ok(()),
        Err(error) => Err(error),
    }
}
