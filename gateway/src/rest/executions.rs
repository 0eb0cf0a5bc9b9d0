//! Lists of executions, and searching in them.
//! Source: `gate: ExecutionsController, ApplicationController`, `orca: TaskController`.

use axum::extract::State;
use proto::orchestrator::v1::{ExecutionKind, ListExecutionsRequest};
use serde_json::Value;

use super::{applications, pipeline_configs};
use crate::Gateway;
use crate::answer::{Answer, Reply};
use crate::error::{Error, now_ms};
use crate::request::{At, Caller, Query};
use crate::{history, listing, trigger_subset};

/// Ids one request may name.
const MAX_IDS: usize = 100;

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// `GET /applications/{application}/pipelines?limit=10&statuses=&expand=true&pipelineNameFilter=&pipelineLimit=`
pub(super) async fn of_application(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let mut configs = query.list("pipelineConfigIds");
    let most = query.number("pipelineLimit", 0)?;
    if query.get("pipelineNameFilter").is_some() || most > 0 {
        // Which pipelines are meant is found out first, so that the limits count only them.
        let mut named = Vec::new();
        for strategies in [false, true] {
            let listed = pipeline_configs::listed(&gate, &caller, &application, &query, strategies);
            named.extend(listed.await?);
        }
        let named = named.iter().map(|pipeline| text(pipeline, "id").to_owned());
        let named: Vec<String> = named
            .filter(|id| configs.is_empty() || configs.contains(id))
            .collect();
        configs = match most {
            0 => named,
            most => {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                named.into_iter().take(most).collect()
            }
        };
        if configs.is_empty() {
            applications::require(&gate, &caller, &application).await?;
            return Ok(Answer::Ok(Value::Array(Vec::new())));
        }
    }
    let request = ListExecutionsRequest {
        kind: ExecutionKind::Pipeline.into(),
        application: application.to_lowercase(),
        pipeline_config_ids: configs,
        statuses: query.list("statuses"),
        per_pipeline: count(query.number("limit", 10)?),
        expand: query.flag("expand", true)?,
        ..ListExecutionsRequest::default()
    };
    let found = listing::executions(&gate, &caller, request).await?;
    if found.is_empty() {
        applications::require(&gate, &caller, &application).await?;
    }
    Ok(Answer::Ok(history::shown(found, now_ms()).into()))
}

/// `GET /executions?pipelineConfigIds=|executionIds=&limit=1&statuses=&expand=true`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let (configs, ids) = (query.list("pipelineConfigIds"), query.list("executionIds"));
    if configs.is_empty() && ids.is_empty() {
        return Ok(Answer::Ok(Value::Array(Vec::new())));
    }
    if !configs.is_empty() && !ids.is_empty() {
        let message = "and executionIds were both given; give one of them";
        return Err(Error::field("pipelineConfigIds", message));
    }
    if configs.len().max(ids.len()) > MAX_IDS {
        let field = if ids.is_empty() {
            "pipelineConfigIds"
        } else {
            "executionIds"
        };
        return Err(Error::field(
            field,
            format!("names more than {MAX_IDS} ids"),
        ));
    }
    let request = ListExecutionsRequest {
        kind: ExecutionKind::Pipeline.into(),
        per_pipeline: if ids.is_empty() {
            count(query.number("limit", 1)?)
        } else {
            0
        },
        pipeline_config_ids: configs,
        execution_ids: ids,
        statuses: query.list("statuses"),
        expand: query.flag("expand", true)?,
        ..ListExecutionsRequest::default()
    };
    let found = listing::executions(&gate, &caller, request).await?;
    Ok(Answer::Ok(Value::Array(found)))
}

/// What `executions/search` asks for.
struct Wanted {
    trigger_types: Vec<String>,
    pipeline_name: Option<String>,
    event_id: Option<String>,
    /// Fields the trigger must have.
    trigger: Option<Value>,
    from_ms: u64,
    to_ms: u64,
}

impl Wanted {
    /// Types of triggers; empty: all.
    fn types(&self) -> &[String] {
        if self.trigger_types.iter().any(|t| t == "*") {
            return &[];
        }
        &self.trigger_types
    }

    fn fits(&self, execution: &Value) -> bool {
        let trigger = execution.get("trigger").unwrap_or(&Value::Null);
        let kind = text(trigger, "type");
        let types = self.types();
        let built = execution
            .get("buildTime")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        (types.is_empty() || types.iter().any(|t| t == kind))
            && is(&self.pipeline_name, text(execution, "name"))
            && is(&self.event_id, text(trigger, "eventId"))
            && self
                .trigger
                .as_ref()
                .is_none_or(|wanted| trigger_subset::has(trigger, wanted))
            && (self.from_ms..=self.to_ms).contains(&built)
    }
}

/// `GET /applications/{application}/executions/search`
///
/// `image` finds those that used one of these images, each with its tag or without.
///
/// Differs from Spinnaker: later pages are not empty when `startIndex` is
/// beyond the first `size` matches.
pub(super) async fn search(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let wanted = Wanted {
        trigger_types: query.list("triggerTypes"),
        pipeline_name: query.get("pipelineName").map(ToOwned::to_owned),
        event_id: query.get("eventId").map(ToOwned::to_owned),
        trigger: query
            .get("trigger")
            .map(trigger_subset::parse)
            .transpose()?,
        from_ms: query.number("triggerTimeStartBoundary", 0)?,
        to_ms: query.number("triggerTimeEndBoundary", u64::MAX)?,
    };
    let start = usize::try_from(query.number("startIndex", 0)?).unwrap_or(usize::MAX);
    let size = usize::try_from(query.number("size", 10)?)
        .unwrap_or(usize::MAX)
        .min(500);
    let reverse = query.flag("reverse", false)?;
    let request = ListExecutionsRequest {
        kind: ExecutionKind::Pipeline.into(),
        application: if application == "*" {
            String::new()
        } else {
            application.to_lowercase()
        },
        statuses: query.list("statuses"),
        names: wanted.pipeline_name.iter().cloned().collect(),
        trigger_types: wanted.types().to_vec(),
        event_ids: wanted.event_id.iter().cloned().collect(),
        images: query.list("image"),
        from_ms: i64::try_from(wanted.from_ms).ok(),
        to_ms: i64::try_from(wanted.to_ms).ok(),
        expand: query.flag("expand", false)?,
        ..ListExecutionsRequest::default()
    };
    let enough = if reverse {
        usize::MAX
    } else {
        start.saturating_add(size)
    };
    let mut found = Vec::new();
    listing::search(
        &gate,
        &caller,
        request,
        listing::MAX_SEARCHED,
        |execution| {
            if wanted.fits(&execution) {
                found.push(execution);
            }
            found.len() < enough
        },
    )
    .await?;
    if reverse {
        found.reverse();
    }
    let page = found.into_iter().skip(start).take(size).collect();
    Ok(Answer::Ok(Value::Array(page)))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_search_looks_at_type_name_event_and_time() {
        let execution = json!({"name": "p", "buildTime": 5,
                               "trigger": {"type": "docker", "eventId": "e"}});
        let wanted = |types: &[&str], name: Option<&str>, event: Option<&str>, from, to| Wanted {
            trigger_types: types.iter().map(|t| (*t).to_owned()).collect(),
            pipeline_name: name.map(ToOwned::to_owned),
            event_id: event.map(ToOwned::to_owned),
            trigger: None,
            from_ms: from,
            to_ms: to,
        };
        for (wanted, expected) in [
            (wanted(&[], None, None, 0, 9), true),
            (wanted(&["*"], Some("p"), Some("e"), 5, 5), true),
            (wanted(&["cron", "docker"], None, None, 0, 9), true),
            (wanted(&["cron"], None, None, 0, 9), false),
            (wanted(&[], Some("q"), None, 0, 9), false),
            (wanted(&[], None, Some("f"), 0, 9), false),
            (wanted(&[], None, None, 6, 9), false),
            (wanted(&[], None, None, 0, 4), false),
        ] {
            assert_eq!(wanted.fits(&execution), expected);
        }
    }
}
