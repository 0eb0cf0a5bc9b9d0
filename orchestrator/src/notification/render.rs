//! What a notification says: what changed where, who started it, and why it failed,
//! root cause first. A pure function over the execution.

use orchestrator_core::{Execution, Stage};
use serde_json::{Map, Value, json};

use super::address::text;
use super::cause::{self, Cause};
use super::plan::Planned;

/// Deployments named in one message.
const MOST_CHANGES: usize = 10;

/// How a message is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It began, or waits.
    Neutral,
    /// It went well.
    Good,
    /// It failed, or was stopped.
    Bad,
    /// It was cancelled.
    Ended,
}

/// One deployment: what runs where instead of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Account: the environment.
    pub account: String,
    /// Region.
    pub region: String,
    /// Server group or image before; empty if there was none.
    pub from: String,
    /// Server group or image after; empty if it is not known yet.
    pub to: String,
}

impl Deployed {
    /// `prod/r1: shop:1 → shop:2`
    pub fn line(&self) -> String {
        let from = if self.from.is_empty() {
            "nothing"
        } else {
            &self.from
        };
        let to = if self.to.is_empty() { "?" } else { &self.to };
        format!("{}/{}: {from} → {to}", self.account, self.region)
    }
}

/// A message in words, for any sender to lay out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Id of the notification.
    pub id: String,
    /// What happened, `pipeline.failed`, …
    pub when: String,
    /// Colour.
    pub mood: Mood,
    /// `pipeline`, `stage`, `orchestration`.
    pub level: &'static str,
    /// `Pipeline failed for SHOP`
    pub title: String,
    /// `shop's Deploy pipeline has failed`
    pub summary: String,
    /// Application.
    pub application: String,
    /// Pipeline, or the description of an orchestration.
    pub pipeline: String,
    /// The stage it is about.
    pub stage: Option<String>,
    /// Status of execution or stage.
    pub status: String,
    /// Who or what started it.
    pub started_by: String,
    /// Deployments of the execution, or of the stage.
    pub changes: Vec<Deployed>,
    /// Why it failed.
    pub cause: Option<Cause>,
    /// What the author wants said too.
    pub custom: Option<String>,
    /// Instructions of a judgment.
    pub instructions: Option<String>,
    /// Where to look.
    pub link: String,
}

impl Message {
    /// Plain text, one fact a line; the summary is not repeated in it.
    pub fn lines(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(cause) = &self.cause {
            let mut lines = cause.lines().into_iter();
            if let Some(first) = lines.next() {
                all.push(format!("Cause: {first}"));
            }
            all.extend(lines);
        }
        all.extend(self.changes.iter().map(Deployed::line));
        all.extend(self.instructions.clone());
        all.extend(self.custom.clone());
        all.push(format!("Started by {}", self.started_by));
        all
    }

    /// As a receiver of `webhook` gets it.
    pub fn to_json(&self, execution: &Execution) -> Value {
        let changes: Vec<Value> = self
            .changes
            .iter()
            .map(|c| json!({"account": c.account, "region": c.region, "from": c.from, "to": c.to}))
            .collect();
        let cause = self
            .cause
            .as_ref()
            .map(|c| json!({"message": c.first, "place": c.place, "more": c.more}));
        json!({
            "id": self.id, "type": self.when, "title": self.title, "summary": self.summary,
            "application": self.application, "pipeline": self.pipeline, "stage": self.stage,
            "status": self.status, "startedBy": self.started_by, "changes": changes,
            "cause": cause, "message": self.custom, "link": self.link,
            "execution": {
                "id": execution.id, "type": execution.kind,
                "pipelineConfigId": execution.pipeline_config_id,
                "buildTime": execution.build_time, "startTime": execution.start_time,
                "endTime": execution.end_time,
            },
        })
    }
}

/// The message of a planned notification; `notification` is evaluated, `page_url` the base of links.
pub fn render(
    planned: &Planned,
    notification: &Value,
    execution: &Execution,
    page_url: &str,
) -> Message {
    let stage = planned
        .stage_id
        .as_deref()
        .and_then(|id| execution.stages.iter().find(|s| s.id.as_str() == id));
    let (level, what) = match planned.when.split_once('.') {
        Some(("stage", what)) => ("stage", what),
        Some(("orchestration", what)) => ("orchestration", what),
        Some((_, what)) => ("pipeline", what),
        None => ("stage", planned.when.as_str()),
    };
    let application = execution.application.clone();
    let pipeline = execution
        .name
        .clone()
        .or_else(|| execution.description.clone())
        .unwrap_or_else(|| execution.id.to_string());
    let thing = match (level, stage) {
        ("stage", Some(stage)) => format!("Stage {} for {application}'s {pipeline}", stage.name),
        _ => format!("{application}'s {pipeline}"),
    };
    let noun = if level == "orchestration" {
        "task"
    } else {
        "pipeline"
    };
    let judge = stage
        .and_then(judged_by)
        .unwrap_or_else(|| "somebody".to_owned());
    let build = build(execution);
    let (mood, verb, said) = match what {
        "starting" => (Mood::Neutral, "starting", "is starting".to_owned()),
        "complete" => (
            Mood::Good,
            "complete",
            "has completed successfully".to_owned(),
        ),
        "canceled" => (Mood::Ended, "canceled", "was canceled".to_owned()),
        "skipped" => (Mood::Neutral, "skipped", "was skipped".to_owned()),
        "manualJudgment" => (
            Mood::Neutral,
            "waiting",
            "is awaiting manual judgment".to_owned(),
        ),
        "manualJudgmentContinue" => (
            Mood::Good,
            "continued",
            format!("was judged to continue by {judge}"),
        ),
        "manualJudgmentStop" => (
            Mood::Bad,
            "stopped",
            format!("was judged to stop by {judge}"),
        ),
        _ => (Mood::Bad, "failed", "has failed".to_owned()),
    };
    let capital = match level {
        "stage" => "Stage",
        "orchestration" => "Task",
        _ => "Pipeline",
    };
    let cause = match (mood, stage) {
        (Mood::Bad | Mood::Ended, Some(stage)) => cause::of_stage(execution, stage),
        (Mood::Bad | Mood::Ended, None) => cause::of_execution(execution),
        _ => None,
    };
    let reference = stage
        .map(|s| format!("?refId={}", s.ref_id))
        .unwrap_or_default();
    let folder = if level == "orchestration" {
        "tasks"
    } else {
        "executions/details"
    };
    let link = format!(
        "{}/#/applications/{application}/{folder}/{}{reference}",
        page_url.trim_end_matches('/'),
        execution.id
    );
    Message {
        id: planned.id.clone(),
        when: planned.when.clone(),
        mood,
        level,
        title: format!("{capital} {verb} for {}", application.to_uppercase()),
        summary: format!("{thing} {noun}{build} {said}"),
        application,
        pipeline,
        status: stage.map_or(execution.status, |s| s.status).to_string(),
        stage: stage.map(|s| s.name.clone()),
        started_by: started_by(execution),
        changes: changes(execution, stage),
        cause,
        custom: custom(notification, &planned.when, execution, &link),
        instructions: stage
            .filter(|_| what == "manualJudgment")
            .and_then(|s| s.context.get("instructions")?.as_str())
            .map(|text| format!("Instructions: {text}")),
        link,
    }
}

fn judged_by(stage: &Stage) -> Option<String> {
    let user = stage
        .last_modified
        .as_ref()
        .and_then(|m| m.get("user")?.as_str());
    let user = user.or_else(|| stage.context.get("lastModifiedBy")?.as_str());
    user.map(ToOwned::to_owned)
}

fn build(execution: &Execution) -> String {
    let info = execution.trigger.get("buildInfo");
    let number = info.and_then(|b| b.get("number")).and_then(Value::as_i64);
    number.map_or(String::new(), |n| format!(" build #{n}"))
}

/// `message[<when>].text`, or `customMessage` with its two placeholders.
fn custom(notification: &Value, when: &str, execution: &Execution, link: &str) -> Option<String> {
    let own = notification
        .get("message")
        .and_then(|m| m.get(when))
        .and_then(|m| text(m, "text"));
    let found = own.or_else(|| text(notification, "customMessage"))?;
    Some(
        found
            .replace("{{executionId}}", execution.id.as_str())
            .replace("{{link}}", link),
    )
}

/// Who, or which event, started it: `ann`, `docker push of registry/shop:2`, `git push 0a1b2c3 to shop/main`.
pub fn started_by(execution: &Execution) -> String {
    let trigger = &execution.trigger;
    let field = |key: &str| {
        trigger
            .get(key)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    let user = field("user").unwrap_or_else(|| execution.user());
    let parent = trigger.get("parentExecution");
    match field("type").unwrap_or("manual") {
        "manual" => user.to_owned(),
        "docker" => {
            let tag = field("tag").map_or(String::new(), |t| format!(":{t}"));
            let repository = field("repository").unwrap_or("an image");
            format!("docker push of {repository}{tag}")
        }
        "git" => {
            let hash: String = field("hash")
                .unwrap_or("a commit")
                .chars()
                .take(8)
                .collect();
            let place = [field("project"), field("slug")];
            let place: Vec<&str> = place.into_iter().flatten().collect();
            let branch = field("branch").map_or(String::new(), |b| format!(" ({b})"));
            format!("git push of {hash} to {}{branch}", place.join("/"))
        }
        "pipeline" => {
            let name = parent.and_then(|p| p.get("name")).and_then(Value::as_str);
            format!("pipeline {}", name.unwrap_or("of another execution"))
        }
        "jenkins" => {
            let number = trigger.get("buildNumber").and_then(Value::as_i64);
            let number = number.map_or(String::new(), |n| format!(" #{n}"));
            format!("jenkins build {}{number}", field("job").unwrap_or_default())
        }
        "cron" => format!("cron {}", field("cronExpression").unwrap_or_default())
            .trim()
            .to_owned(),
        "webhook" => format!("webhook {}", field("source").unwrap_or_default())
            .trim()
            .to_owned(),
        other => format!("{other} trigger"),
    }
}

/// What deploy stages put in place of what.
fn changes(execution: &Execution, only: Option<&Stage>) -> Vec<Deployed> {
    let within = only.map(|stage| {
        let mut ids = execution.descendants(&stage.id);
        ids.push(stage.id.clone());
        ids
    });
    let mut found: Vec<Deployed> = Vec::new();
    for stage in &execution.stages {
        if within.as_ref().is_some_and(|ids| !ids.contains(&stage.id)) {
            continue;
        }
        let deploys = matches!(
            stage.kind.as_str(),
            "createServerGroup" | "cloneServerGroup" | "replaceInPlace" | "deploy"
        );
        if !deploys
            || execution
                .synthetics(&stage.id, None)
                .any(|s| s.kind == "createServerGroup")
        {
            continue;
        }
        if let Some(change) = change(&stage.context)
            && !found.contains(&change)
        {
            found.push(change);
        }
    }
    found.truncate(MOST_CHANGES);
    found
}

fn change(context: &Map<String, Value>) -> Option<Deployed> {
    let word = |key: &str| {
        context
            .get(key)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    let account = word("account").or_else(|| word("credentials"))?;
    let made = context
        .get("deploy.server.groups")
        .and_then(Value::as_object);
    let group = made
        .and_then(|regions| regions.values().next())
        .and_then(|names| names.get(0)?.as_str());
    let region = word("region")
        .or_else(|| made?.keys().next().map(String::as_str))
        .unwrap_or("?");
    let inner = |outer: &str, key: &str| {
        let text = context.get(outer)?.get(key)?.as_str()?;
        (!text.is_empty()).then_some(text)
    };
    let old_image = inner("sourceServerGroup", "imageId");
    let new_image = word("imageId")
        .or_else(|| word("image"))
        .or_else(|| word("amiName"));
    let old_group = inner("sourceServerGroup", "serverGroupName")
        .or_else(|| inner("source", "serverGroupName"));
    // Versions are what people know; group names tell the rest.
    let named = |group: Option<&str>, image: Option<&str>| match (image, group) {
        (Some(image), Some(group)) => format!("{image} ({group})"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => String::new(),
    };
    let (from, to) = (named(old_group, old_image), named(group, new_image));
    if from.is_empty() && to.is_empty() {
        return None;
    }
    Some(Deployed {
        account: account.to_owned(),
        region: region.to_owned(),
        from,
        to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(when: &str, stage: Option<&str>) -> Planned {
        Planned {
            id: format!("E/{when}/0"),
            execution_id: "E".to_owned(),
            stage_id: stage.map(ToOwned::to_owned),
            when: when.to_owned(),
            notification: Value::Null,
            at: 1,
            failures: 0,
            last_error: None,
        }
    }

    fn execution() -> Execution {
        serde_json::from_value(json!({
            "id": "E", "type": "PIPELINE", "application": "shop", "name": "Deploy", "status": "TERMINAL",
            "trigger": {"type": "docker", "repository": "shop", "tag": "2", "user": "x"},
            "stages": [{
                "id": "S", "refId": "1", "type": "createServerGroup", "name": "To prod", "status": "TERMINAL",
                "context": {
                    "account": "prod", "region": "r1", "imageId": "shop:2",
                    "sourceServerGroup": {"serverGroupName": "shop-v001", "imageId": "shop:1"},
                    "deploy.server.groups": {"r1": ["shop-v002"]},
                    "exception": {"details": {"errors": ["image shop:2 cannot be pulled"]}},
                },
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_message_says_what_changed_who_started_it_and_why_it_failed() {
        let notification = json!({"message": {"pipeline.failed": {"text": "see {{link}}"}}});
        let m = render(
            &planned("pipeline.failed", None),
            &notification,
            &execution(),
            "http://ui/ui/",
        );
        let link = "http://ui/ui/#/applications/shop/executions/details/E";
        assert_eq!(
            (m.title.as_str(), m.mood),
            ("Pipeline failed for SHOP", Mood::Bad)
        );
        assert_eq!(m.summary, "shop's Deploy pipeline has failed");
        assert_eq!(m.link, link);
        assert_eq!(
            m.lines(),
            [
                "Cause: image shop:2 cannot be pulled".to_owned(),
                "in stage To prod".to_owned(),
                "prod/r1: shop:1 (shop-v001) → shop:2 (shop-v002)".to_owned(),
                format!("see {link}"),
                "Started by docker push of shop:2".to_owned(),
            ]
        );
    }

    #[test]
    fn each_state_has_its_words() {
        for (when, stage, title, summary) in [
            (
                "pipeline.starting",
                None,
                "Pipeline starting for SHOP",
                "shop's Deploy pipeline is starting",
            ),
            (
                "pipeline.complete",
                None,
                "Pipeline complete for SHOP",
                "shop's Deploy pipeline has completed successfully",
            ),
            (
                "pipeline.canceled",
                None,
                "Pipeline canceled for SHOP",
                "shop's Deploy pipeline was canceled",
            ),
            (
                "stage.failed",
                Some("S"),
                "Stage failed for SHOP",
                "Stage To prod for shop's Deploy pipeline has failed",
            ),
            (
                "manualJudgment",
                Some("S"),
                "Stage waiting for SHOP",
                "Stage To prod for shop's Deploy pipeline is awaiting manual judgment",
            ),
            (
                "manualJudgmentStop",
                Some("S"),
                "Stage stopped for SHOP",
                "Stage To prod for shop's Deploy pipeline was judged to stop by somebody",
            ),
        ] {
            let m = render(&planned(when, stage), &json!({}), &execution(), "http://ui");
            assert_eq!((m.title.as_str(), m.summary.as_str()), (title, summary));
        }
    }

    #[test]
    fn each_trigger_is_named() {
        for (trigger, expected) in [
            (json!({"type": "manual", "user": "ann"}), "ann"),
            (
                json!({"type": "docker", "repository": "shop", "tag": "2"}),
                "docker push of shop:2",
            ),
            (
                json!({"type": "git", "project": "acme", "slug": "shop", "hash": "0123456789", "branch": "main"}),
                "git push of 01234567 to acme/shop (main)",
            ),
            (
                json!({"type": "pipeline", "parentExecution": {"name": "Build"}}),
                "pipeline Build",
            ),
            (
                json!({"type": "jenkins", "job": "shop", "buildNumber": 7}),
                "jenkins build shop #7",
            ),
            (
                json!({"type": "cron", "cronExpression": "0 0 * * *"}),
                "cron 0 0 * * *",
            ),
            (json!({"type": "webhook", "source": "ci"}), "webhook ci"),
            (json!({"type": "helm"}), "helm trigger"),
        ] {
            let e: Execution = serde_json::from_value(json!({"trigger": trigger})).unwrap();
            assert_eq!(started_by(&e), expected);
        }
    }
}
