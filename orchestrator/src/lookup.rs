//! Fetches what expressions ask for and the state does not hold. Answers are
//! recorded with the turn that needed them and never fetched twice.

use orchestrator_core::{Answers, Lookup, LookupRequest};
use proto::status::Kind;
use serde_json::Value;

use crate::services::{HttpRequest, OnBehalf, Services};
use crate::task::access::readable_canary_config;

/// An answer is no longer, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// Look-ups of one turn.
pub(crate) const MOST: usize = 20;
/// An execution is no longer, in bytes.
const MAX_EXECUTION: usize = 4 * 1024 * 1024;
const TIMEOUT_MS: u64 = 10_000;

/// Fetches each for this user; one that fails is answered with the reason.
pub(crate) async fn fetch(services: &dyn Services, lookups: &[Lookup], user: &str) -> Answers {
    let mut answers = Answers::new();
    for lookup in lookups {
        let (name, answer, most) = match &lookup.request {
            LookupRequest::Url(url) => {
                (url, one(services, &lookup.key, url, user).await, MAX_ANSWER)
            }
            LookupRequest::Execution(id) => (id, execution(services, id).await, MAX_EXECUTION),
        };
        let answer = answer.and_then(|text| {
            if text.len() > most {
                let length = text.len();
                return Err(format!(
                    "{name} has {length} bytes, more than the {most} allowed"
                ));
            }
            Ok(text)
        });
        answers.insert(lookup.key.clone(), answer);
    }
    answers
}

/// An execution; one that is gone is an answer too.
async fn execution(services: &dyn Services, id: &str) -> Result<String, String> {
    match services.executions().get(id).await {
        Ok(Some(found)) => Ok(found.to_string()),
        Ok(None) => Err(format!("execution {id} does not exist any more")),
        Err(failure) => Err(failure.to_string()),
    }
}

async fn one(services: &dyn Services, key: &str, url: &str, user: &str) -> Result<String, String> {
    if let Some(name) = url.strip_prefix("application:") {
        let found = services.definitions().application(&decoded(name)).await;
        return json(found);
    }
    if let Some(path) = url.strip_prefix("pipeline-id:") {
        let (application, name) = path.split_once('/').unwrap_or((path, ""));
        let (application, name) = (decoded(application), decoded(name));
        let found = services
            .definitions()
            .pipeline_by_name(&application, &name)
            .await;
        return json(found.map(|found| found.and_then(|p| p.get("id").cloned())));
    }
    if let Some(path) = url.strip_prefix("canary-config-id:") {
        let (application, name) = path.split_once('/').unwrap_or((path, ""));
        return canary_config_id(services, &decoded(application), &decoded(name), user).await;
    }
    // Without a store of artifacts a reference stands for itself.
    if url.starts_with("ref://") {
        return Ok(url.to_owned());
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!("{url} is nothing this version can look up"));
    }
    let request = HttpRequest {
        follow_redirects: true,
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        effect_id: key.to_owned(),
        timeout_ms: TIMEOUT_MS,
    };
    let answer = services
        .http()
        .send(request)
        .await
        .map_err(|e| e.to_string())?;
    if answer.status >= 400 {
        return Err(format!("{url} answered {}", answer.status));
    }
    String::from_utf8(answer.body).map_err(|_| format!("the answer of {url} is not text"))
}

/// The id of an application's canary config; `null` if there is none of the name that the user may READ, or several.
async fn canary_config_id(
    services: &dyn Services,
    application: &str,
    name: &str,
    user: &str,
) -> Result<String, String> {
    let access = services.access();
    let by = OnBehalf {
        user: user.to_owned(),
        roles: access.roles(user).await.map_err(|e| e.to_string())?,
    };
    let configs = services.canary_judge().configs(&by, application).await;
    let configs = configs.map_err(|failure| failure.to_string())?;
    let mut named = configs
        .iter()
        .filter(|c| c.get("name") == Some(&name.into()));
    let only = named.next().filter(|_| named.next().is_none());
    let Some(config) = only else {
        return Ok(Value::Null.to_string());
    };
    match readable_canary_config(access, user, config).await {
        Ok(()) => Ok(config.get("id").cloned().unwrap_or_default().to_string()),
        Err(failure) if failure.kind == Kind::Denied => Ok(Value::Null.to_string()),
        Err(failure) => Err(failure.to_string()),
    }
}

fn json(found: Result<Option<Value>, proto::status::Failure>) -> Result<String, String> {
    found
        .map(|found| found.unwrap_or_default().to_string())
        .map_err(|failure| failure.to_string())
}

fn decoded(text: &str) -> String {
    let pair = format!("x={text}");
    let plus = pair.replace('+', "%2B");
    let decoded = url::form_urlencoded::parse(plus.as_bytes()).next();
    decoded
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded() {
        assert_eq!(decoded("a%20b%2Fc+d"), "a b/c+d");
    }
}
