//! Which notifications a turn causes: a pure function of what happened and what
//! execution and stages ask for.
//!
//! | event | `when` |
//! |---|---|
//! | execution began | `pipeline.starting` |
//! | execution ended | `pipeline.complete`, `pipeline.failed`, `pipeline.canceled` |
//! | stage began, ended | `stage.starting`, `stage.complete`, `stage.failed`, `stage.skipped`, `stage.canceled` |
//! | judgment waited for, waited for still, made | `manualJudgment` twice, `manualJudgmentContinue`, `manualJudgmentStop` |
//!
//! Differs from Spinnaker: a cancelled execution tells whoever asks for
//! `pipeline.canceled`, because nobody heard of it before. Ad-hoc executions use
//! `orchestration.…` instead of `pipeline.…`.

use bytes::Bytes;
use orchestrator_core::{Event, Execution, ExecutionType, Stage, StageId, Status};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::Address;

use super::QUEUE;
use super::address::{text, whens};

/// Notifications of one pipeline at the most; more are refused when it is saved.
pub const MOST: usize = 50;
/// Notifications of one stage at the most: one commit may end many stages.
pub const MOST_OF_STAGE: usize = 10;

/// The state of a judgment that waits for an answer.
pub const AWAITED: &str = "manualJudgment";
/// When a notification was last sent, by state; called as in Orca.
pub const LAST_TOLD: &str = "lastNotifiedByNotificationState";

/// A notification to send, as its message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// `<execution>[/<stage>]/<when>/<position>[/<attempt>]`: the same for every try.
    pub id: String,
    /// The execution.
    pub execution_id: String,
    /// The stage it is about; none: the execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    /// What happened, `pipeline.failed`, …
    pub when: String,
    /// As authored.
    pub notification: Value,
    /// When it was planned, ms since the epoch.
    pub at: i64,
    /// Tries that failed.
    #[serde(default)]
    pub failures: u32,
    /// Why the last one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Planned {
    /// Its place in the queue.
    pub fn address(&self, application: &str) -> Address {
        Address::new(QUEUE, &self.id, application)
    }

    /// Its message, not before `delay_ms`.
    pub fn message(&self, application: &str, delay_ms: u64) -> store::Outgoing {
        store::Outgoing {
            to: self.address(application),
            fingerprint: "notify".to_owned(),
            mode: store::Mode::Push,
            delay_ms,
            // A struct of texts and JSON always serialises.
            body: Bytes::from(serde_json::to_vec(self).unwrap_or_default()),
        }
    }
}

/// The notifications of these events; `execution` is as it is after them.
pub fn plan(execution: &Execution, events: &[Event], now: i64) -> Vec<Planned> {
    let mut all = Vec::new();
    for event in events {
        let detail = |key: &str| event.detail.get(key).and_then(Value::as_str);
        let status = detail("status").and_then(Status::parse);
        let stage = detail("stageId")
            .and_then(|id| execution.stage(&StageId::new(id)))
            .filter(|stage| !stage.is_synthetic());
        match (event.kind.as_str(), stage) {
            ("execution:started", _) => of_execution(&mut all, execution, "starting", now),
            ("execution:complete", _) => {
                if let Some(what) = status.and_then(ended) {
                    of_execution(&mut all, execution, what, now);
                }
            }
            ("stage:started", Some(stage)) => of_stage(&mut all, execution, stage, "starting", now),
            ("stage:complete", Some(stage)) => {
                judged(&mut all, execution, stage, now);
                if let Some(what) = status.and_then(stage_ended) {
                    of_stage(&mut all, execution, stage, what, now);
                }
            }
            ("task:started", Some(stage)) if stage.kind == "manualJudgment" => {
                judgment(&mut all, execution, stage, AWAITED, now);
            }
            ("task:waiting", Some(stage)) => awaited_still(&mut all, execution, stage, now),
            _ => {}
        }
    }
    all
}

fn ended(status: Status) -> Option<&'static str> {
    match status {
        Status::Succeeded => Some("complete"),
        Status::Canceled => Some("canceled"),
        Status::Terminal | Status::Stopped | Status::FailedContinue | Status::Skipped => {
            Some("failed")
        }
        Status::NotStarted
        | Status::Running
        | Status::Paused
        | Status::Suspended
        | Status::Redirect
        | Status::Buffered => None,
    }
}

fn stage_ended(status: Status) -> Option<&'static str> {
    match status {
        Status::Skipped => Some("skipped"),
        other => ended(other),
    }
}

fn of_execution(all: &mut Vec<Planned>, execution: &Execution, what: &str, now: i64) {
    let level = match execution.kind {
        ExecutionType::Pipeline => "pipeline",
        ExecutionType::Orchestration => "orchestration",
    };
    let when = format!("{level}.{what}");
    // A restarted execution starts and ends anew.
    let attempt = execution.top_level().map(|s| s.attempt).sum();
    for (i, notification) in execution.notifications.iter().enumerate().take(MOST) {
        if whens(notification).contains(&when.as_str()) {
            all.push(planned(
                execution,
                None,
                &when,
                (i, attempt),
                notification,
                now,
            ));
        }
    }
}

fn notifications(stage: &Stage) -> impl Iterator<Item = (usize, &Value)> {
    let list = stage.context.get("notifications").and_then(Value::as_array);
    list.into_iter().flatten().enumerate().take(MOST_OF_STAGE)
}

fn of_stage(all: &mut Vec<Planned>, execution: &Execution, stage: &Stage, what: &str, now: i64) {
    if stage.flag("sendNotifications") != Some(true) {
        return;
    }
    let when = format!("stage.{what}");
    for (i, notification) in notifications(stage) {
        if whens(notification).contains(&when.as_str()) {
            let place = (i, stage.attempt);
            all.push(planned(
                execution,
                Some(stage),
                &when,
                place,
                notification,
                now,
            ));
        }
    }
}

/// A judgment was made (`orca: ManualJudgmentStage`): told only if the stage sends notifications.
fn judged(all: &mut Vec<Planned>, execution: &Execution, stage: &Stage, now: i64) {
    if stage.kind != "manualJudgment" || stage.flag("sendNotifications") != Some(true) {
        return;
    }
    let made = stage.context.get("judgmentStatus").and_then(Value::as_str);
    match made.unwrap_or_default().to_lowercase().as_str() {
        "continue" => judgment(all, execution, stage, "manualJudgmentContinue", now),
        "stop" => judgment(all, execution, stage, "manualJudgmentStop", now),
        _ => {}
    }
}

/// Whether a notification is to tell of a judgment's state. One that says nothing of `when`
/// is told of every state.
pub(crate) fn wants(notification: &Value, state: &str) -> bool {
    // Both spellings are in use: `manualJudgmentStop` and `manualJudgment.stop`.
    let dotted = state
        .strip_prefix(AWAITED)
        .filter(|rest| !rest.is_empty())
        .map(|rest| format!("{AWAITED}.{}", rest.to_lowercase()));
    let asked = whens(notification);
    let wanted = asked.is_empty()
        || asked.contains(&state)
        || dotted.as_deref().is_some_and(|d| asked.contains(&d));
    wanted && text(notification, "type").is_some()
}

/// A judgment still waits: those are told again that were due, which is when they were told
/// last.
fn awaited_still(all: &mut Vec<Planned>, execution: &Execution, stage: &Stage, now: i64) {
    let last = |notification: &Value| notification.get(LAST_TOLD)?.get(AWAITED)?.as_i64();
    let asking = || notifications(stage).filter(|(_, n)| wants(n, AWAITED));
    let Some(newest) = asking().filter_map(|(_, n)| last(n)).max() else {
        return;
    };
    for (i, notification) in asking().filter(|(_, n)| last(n) == Some(newest)) {
        let place = (i, stage.attempt);
        let mut again = planned(execution, Some(stage), AWAITED, place, notification, now);
        again.id.push_str(&format!("/{newest}"));
        all.push(again);
    }
}

fn judgment(all: &mut Vec<Planned>, execution: &Execution, stage: &Stage, state: &str, now: i64) {
    for (i, notification) in notifications(stage).filter(|(_, n)| wants(n, state)) {
        let place = (i, stage.attempt);
        all.push(planned(
            execution,
            Some(stage),
            state,
            place,
            notification,
            now,
        ));
    }
}

fn planned(
    execution: &Execution,
    stage: Option<&Stage>,
    when: &str,
    (position, attempt): (usize, u32),
    notification: &Value,
    now: i64,
) -> Planned {
    let mut id = execution.id.to_string();
    if let Some(stage) = stage {
        id.push_str(&format!("/{}", stage.id));
    }
    id.push_str(&format!("/{when}/{position}"));
    if attempt > 0 {
        id.push_str(&format!("/{attempt}"));
    }
    Planned {
        id,
        execution_id: execution.id.to_string(),
        stage_id: stage.map(|s| s.id.to_string()),
        when: when.to_owned(),
        notification: notification.clone(),
        at: now,
        failures: 0,
        last_error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, detail: Value) -> Event {
        Event {
            kind: kind.to_owned(),
            detail,
        }
    }

    fn execution(stage: Value) -> Execution {
        let all = [
            "pipeline.starting",
            "pipeline.complete",
            "pipeline.failed",
            "pipeline.canceled",
        ];
        serde_json::from_value(json!({
            "id": "E", "type": "PIPELINE", "application": "app", "stages": [stage],
            "notifications": [
                {"type": "slack", "address": "#failed", "when": ["pipeline.failed"]},
                {"type": "slack", "address": "#all", "when": all},
            ],
        }))
        .unwrap()
    }

    fn stage(kind: &str, context: Value) -> Value {
        json!({"id": "S", "refId": "1", "type": kind, "context": context})
    }

    fn ids(execution: &Execution, event: Event) -> Vec<String> {
        plan(execution, &[event], 7)
            .into_iter()
            .map(|p| p.id)
            .collect()
    }

    #[test]
    fn every_end_of_an_execution_is_told_once_to_each_who_asks() {
        let e = execution(stage("wait", json!({})));
        for (status, expected) in [
            ("SUCCEEDED", vec!["E/pipeline.complete/1"]),
            (
                "TERMINAL",
                vec!["E/pipeline.failed/0", "E/pipeline.failed/1"],
            ),
            (
                "STOPPED",
                vec!["E/pipeline.failed/0", "E/pipeline.failed/1"],
            ),
            ("CANCELED", vec!["E/pipeline.canceled/1"]),
            ("RUNNING", vec![]),
        ] {
            let found = ids(&e, event("execution:complete", json!({"status": status})));
            assert_eq!(found, expected, "{status}");
        }
        let began = event("execution:started", json!({"status": "RUNNING"}));
        assert_eq!(ids(&e, began), ["E/pipeline.starting/1"]);
        assert_eq!(
            ids(&e, event("execution:paused", json!({"status": "PAUSED"}))),
            [""; 0]
        );
    }

    #[test]
    fn a_restart_is_told_anew() {
        let mut e = execution(stage("wait", json!({})));
        e.stages[0].attempt = 2;
        let ended = event("execution:complete", json!({"status": "CANCELED"}));
        assert_eq!(ids(&e, ended), ["E/pipeline.canceled/1/2"]);
    }

    #[test]
    fn a_stage_tells_only_if_it_sends_notifications() {
        let when = [
            "stage.starting",
            "stage.complete",
            "stage.failed",
            "stage.skipped",
        ];
        let asked = json!([{"type": "slack", "address": "#s", "when": when}]);
        for (sends, kind, status, expected) in [
            (
                true,
                "stage:started",
                "RUNNING",
                vec!["E/S/stage.starting/0"],
            ),
            (
                true,
                "stage:complete",
                "SUCCEEDED",
                vec!["E/S/stage.complete/0"],
            ),
            (
                true,
                "stage:complete",
                "FAILED_CONTINUE",
                vec!["E/S/stage.failed/0"],
            ),
            (
                true,
                "stage:complete",
                "TERMINAL",
                vec!["E/S/stage.failed/0"],
            ),
            (
                true,
                "stage:complete",
                "SKIPPED",
                vec!["E/S/stage.skipped/0"],
            ),
            (true, "stage:complete", "CANCELED", vec![]),
            (false, "stage:complete", "TERMINAL", vec![]),
        ] {
            let context = json!({"sendNotifications": sends, "notifications": asked});
            let e = execution(stage("wait", context));
            let found = ids(&e, event(kind, json!({"stageId": "S", "status": status})));
            assert_eq!(found, expected, "{kind} {status}");
        }
    }

    #[test]
    fn a_synthetic_stage_tells_nobody() {
        let asked = json!([{"type": "slack", "address": "#s", "when": ["stage.failed"]}]);
        let mut e = execution(stage(
            "wait",
            json!({"sendNotifications": true, "notifications": asked}),
        ));
        e.stages[0].parent_stage_id = Some(StageId::new("P"));
        let ended = event(
            "stage:complete",
            json!({"stageId": "S", "status": "TERMINAL"}),
        );
        assert_eq!(ids(&e, ended), [""; 0]);
    }

    #[test]
    fn who_is_due_is_told_again_under_another_id() {
        let told = |at: i64, when: Value| {
            json!({"type": "slack", "address": "#s", "when": when,
                "lastNotifiedByNotificationState": {"manualJudgment": at}})
        };
        let notifications = json!([
            told(500, json!([])), told(900, json!(["manualJudgment"])), {"type": "slack"},
            told(900, json!(["manualJudgmentStop"])), told(900, json!([])),
        ]);
        let mut e = execution(stage(
            "manualJudgment",
            json!({"notifications": notifications}),
        ));
        let waits = event("task:waiting", json!({"stageId": "S", "status": "RUNNING"}));
        assert_eq!(
            ids(&e, waits.clone()),
            ["E/S/manualJudgment/1/900", "E/S/manualJudgment/4/900"]
        );
        e.stages[0].context.clear();
        assert_eq!(ids(&e, waits), [""; 0]);
    }

    #[test]
    fn a_judgment_is_told_when_it_is_awaited_and_when_it_is_made() {
        let waits = event("task:started", json!({"stageId": "S", "status": "RUNNING"}));
        let ends =
            |status: &str| event("stage:complete", json!({"stageId": "S", "status": status}));
        for (when, sends, judgment, event, expected) in [
            (
                json!(["manualJudgment"]),
                false,
                "",
                waits.clone(),
                vec!["E/S/manualJudgment/0"],
            ),
            (
                json!([]),
                false,
                "",
                waits.clone(),
                vec!["E/S/manualJudgment/0"],
            ),
            (json!(["manualJudgmentStop"]), true, "", waits, vec![]),
            (
                json!(["manualJudgmentStop"]),
                true,
                "stop",
                ends("TERMINAL"),
                vec!["E/S/manualJudgmentStop/0"],
            ),
            (
                json!(["manualJudgment.stop"]),
                true,
                "Stop",
                ends("TERMINAL"),
                vec!["E/S/manualJudgmentStop/0"],
            ),
            (
                json!(["manualJudgmentStop"]),
                false,
                "stop",
                ends("TERMINAL"),
                vec![],
            ),
            (
                json!(["manualJudgmentContinue"]),
                true,
                "continue",
                ends("SUCCEEDED"),
                vec!["E/S/manualJudgmentContinue/0"],
            ),
            (
                json!(["manualJudgment.continue"]),
                true,
                "continue",
                ends("SUCCEEDED"),
                vec!["E/S/manualJudgmentContinue/0"],
            ),
            (
                json!(["manualJudgment"]),
                true,
                "continue",
                ends("SUCCEEDED"),
                vec![],
            ),
        ] {
            let context = json!({
                "sendNotifications": sends, "judgmentStatus": judgment,
                "notifications": [{"type": "slack", "address": "#s", "when": when}],
            });
            let e = execution(stage("manualJudgment", context));
            assert_eq!(ids(&e, event), expected, "{when} {judgment}");
        }
    }
}
