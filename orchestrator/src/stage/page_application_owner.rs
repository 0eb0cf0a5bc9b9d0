//! `pageApplicationOwner`: pages whoever is on call for applications.
//! Source: `orca: PageApplicationOwnerStage`, `echo: PagerDutyNotificationService`.

use std::str::FromStr;

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use runtime::config::SecretRef;
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::services::HttpRequest;
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: PageApplicationOwner = PageApplicationOwner;

const TASK: &str = "pageApplicationOwner";
/// The section of the operator's settings.
const SETTINGS: &str = "pagerDuty";
/// Whom an application's attribute says to page.
const KEY: &str = "pdApiKey";
/// Who can be paged by one stage.
const MOST: usize = 50;
const TIMEOUT_MS: u64 = 20_000;

/// See the module.
#[derive(Debug)]
pub(super) struct PageApplicationOwner;

impl StageDefinition for PageApplicationOwner {
    fn kind(&self) -> &'static str {
        "pageApplicationOwner"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Page application owner",
            text: "Pages whoever is on call for applications.",
            category: "integration",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(TASK, TASK)])
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let given = |key: &str| match context.get(key) {
            Some(Value::Array(list)) => !list.is_empty(),
            // An expression that yields a list.
            Some(Value::String(text)) => !text.is_empty(),
            _ => false,
        };
        if given("applications") || given("keys") {
            return Vec::new();
        }
        let message = "it is missing, and so is keys; name the applications whose owners to page";
        vec![Fault::new(format!("{path}.applications"), message)]
    }

    fn schema(&self) -> Value {
        let texts =
            |title: &str| json!({"type": "array", "title": title, "items": {"type": "string"}});
        schema(
            &json!({
                "applications": texts("Applications"),
                "keys": texts("Service keys"),
                "message": {"type": "string", "title": "Message"},
                "details": {"type": "object", "title": "Details"},
            }),
            &["message"],
        )
    }
}

impl StageType for PageApplicationOwner {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&PageApplicationOwnerTask]
    }
}

fn texts(ctx: &TaskContext<'_>, key: &str) -> Vec<String> {
    let list = ctx.own(key).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// Which applications have no key, in a sentence.
fn without_key(applications: &[String]) -> String {
    let verb = if applications.len() == 1 {
        "does"
    } else {
        "do"
    };
    format!(
        "{} {verb} not have a pager duty service key.",
        applications.join(", ")
    )
}

/// Address and token of who pages.
fn pager(ctx: &TaskContext<'_>) -> Result<(String, String), TaskError> {
    let section = ctx.services.settings().stages.get(SETTINGS);
    let text = |key: &str| section.and_then(|section| section.get(key)?.as_str());
    let (Some(token), Some(base)) = (text("token"), text("baseUrl")) else {
        return Err(TaskError::user(
            "nobody can be paged: orchestrator.pager-duty.token is not set; set it in the \
             configuration",
        ));
    };
    let token = SecretRef::from_str(token).map_err(TaskError::permanent)?;
    let token = token
        .read()
        .map_err(|error| TaskError::transient(error.to_string()))?;
    let url = format!(
        "{}/generic/2010-04-15/create_event.json",
        base.trim_end_matches('/')
    );
    Ok((url, token))
}

#[derive(Debug)]
struct PageApplicationOwnerTask;

#[async_trait]
impl Task for PageApplicationOwnerTask {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(15_000, 300_000)
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let (url, token) = pager(ctx)?;
        let mut keys = texts(ctx, "keys");
        let mut without = Vec::new();
        for name in texts(ctx, "applications") {
            access::require(ctx, &name, Permission::Read).await?;
            let found = ctx.services.definitions().application(&name).await;
            let key = found.map_err(failed)?.and_then(|application| {
                let key = application.get(KEY)?.as_str()?.trim().to_owned();
                (!key.is_empty()).then_some(key)
            });
            match key {
                Some(key) => keys.push(key),
                None => without.push(name),
            }
        }
        if !without.is_empty() {
            return Err(TaskError::user(without_key(&without)));
        }
        if keys.is_empty() || keys.len() > MOST {
            return Err(TaskError::user(format!(
                "applications and keys name {} to page; name from 1 to {MOST}",
                keys.len()
            )));
        }
        let (mut later, mut never) = (Vec::new(), Vec::new());
        for (i, key) in keys.iter().enumerate() {
            let id = ctx.effect(&i.to_string());
            match page(ctx, &url, &token, key, &id).await {
                Ok(()) => {}
                Err((message, true)) => later.push(message),
                Err((message, false)) => never.push(message),
            }
        }
        let failures = later.len() + never.len();
        if failures == 0 {
            return Ok(TaskResult::succeeded());
        }
        let some = if failures < keys.len() {
            "Some notifications succeeded, but "
        } else {
            ""
        };
        let told = format!(
            "{some}{failures} of {} failed: {}",
            keys.len(),
            never
                .iter()
                .chain(&later)
                .cloned()
                .collect::<Vec<_>>()
                .join("; ")
        );
        // Those that arrived are told under the same key again, which changes nothing.
        Err(if never.is_empty() {
            TaskError::transient(told)
        } else {
            TaskError::permanent(told)
        })
    }
}

/// Pages one; otherwise why not, and whether it may work later.
async fn page(
    ctx: &TaskContext<'_>,
    url: &str,
    token: &str,
    key: &str,
    id: &str,
) -> Result<(), (String, bool)> {
    let user = ctx.user();
    let mut details = match ctx.own("details") {
        Some(Value::Object(details)) => details.clone(),
        _ => Map::new(),
    };
    details.entry("from").or_insert_with(|| user.into());
    // The incident key makes one page of a request that is repeated.
    let body = json!({
        "event_type": "trigger", "service_key": key, "incident_key": id,
        "client": format!("Gennaker ({user})"),
        "description": ctx.own("message").cloned().unwrap_or_default(), "details": details,
    });
    let header = |name: &str, value: String| (name.to_owned(), value);
    let request = HttpRequest {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: vec![
            header("authorization", format!("Token token={token}")),
            header("content-type", "application/json".to_owned()),
        ],
        body: body.to_string().into_bytes(),
        effect_id: id.to_owned(),
        timeout_ms: TIMEOUT_MS,
        follow_redirects: true,
    };
    let answer = ctx.services.http().send(request).await;
    match answer
        .map_err(|error| (error.message, error.transient))?
        .status
    {
        200..=299 => Ok(()),
        status => Err((
            format!("the pager answered {status}"),
            status == 429 || status >= 500,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_that_cannot_be_paged_are_named() {
        let one = ["a".to_owned()];
        assert_eq!(
            without_key(&one),
            "a does not have a pager duty service key."
        );
        let two = ["a".to_owned(), "b".to_owned()];
        assert_eq!(
            without_key(&two),
            "a, b do not have a pager duty service key."
        );
    }
}
