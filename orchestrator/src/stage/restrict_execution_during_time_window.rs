//! `restrictExecutionDuringTimeWindow`: planned before a stage that may begin only at
//! certain times; waits until it is time. Source: `orca: RestrictExecutionDuringTimeWindow`.
//!
//! Stages that were held up together would begin together: with a jitter each waits some
//! seconds more, drawn from the execution's ids so that whoever computes it again draws the
//! same.
//!
//! Differs from Spinnaker: the jitter counts from the opening of the window and is the
//! window's own. There it counts from the beginning of the wait for the window, which
//! swallows it, and before a `wait` stage it is that stage's `waitTime`.

use async_trait::async_trait;
use jiff::tz::TimeZone;
use orchestrator_core::context::has_template;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, Status, TaskError, TaskPolicy, TaskResult,
    TaskSpec, WINDOW,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{StageType, schema};
use crate::task::{Task, TaskContext, number};
use window::{Faults, Opens, Windows};

mod window;

/// The type.
pub(super) static STAGE: Restrict = Restrict;

/// Where the author says when.
const TIMES: &str = "restrictedExecutionWindow";
/// The section of the operator's settings.
const SETTINGS: &str = "executionWindow";
/// The zone without a setting.
pub(crate) const ZONE: &str = "America/Los_Angeles";
/// The longest jitter: a day, in seconds.
const LONGEST_JITTER: i64 = 24 * 3600;

/// See the module.
#[derive(Debug)]
pub(super) struct Restrict;

impl StageDefinition for Restrict {
    fn kind(&self) -> &'static str {
        WINDOW
    }

    fn describe(&self) -> Description {
        Description {
            label: "Execution window",
            text: "Waits until the stage after it may begin.",
            category: "flow",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let mut tasks = vec![TaskSpec::new(Suspend.kind(), Suspend.kind())];
        let times = stage.stage.context.get(TIMES);
        let jitter = Jitter::of(times.unwrap_or(&Value::Null)).map_err(|faults| told(&faults))?;
        let manual = stage.execution.trigger.get("type") == Some(&json!("manual"));
        if jitter.is_some_and(|jitter| !(jitter.skip_manual && manual)) {
            tasks.push(TaskSpec::new(Wait.kind(), Wait.kind()));
        }
        Ok(tasks)
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        faults(context, path)
    }

    fn schema(&self) -> Value {
        let part = |title: &str, most: u32| json!({"type": "integer", "title": title, "minimum": 0, "maximum": most});
        let span = json!({"type": "object", "properties": {
            "startHour": part("From", 23), "startMin": part("minute", 59),
            "endHour": part("To", 23), "endMin": part("minute", 59),
        }});
        let day =
            json!({"type": "integer", "minimum": 1, "maximum": 7, "description": "1 = Sunday"});
        let jitter = json!({"type": "object", "properties": {
            "enabled": {"type": "boolean"}, "skipManual": {"type": "boolean"},
            "minDelay": {"type": "integer", "description": "in seconds"},
            "maxDelay": {"type": "integer", "description": "in seconds"},
        }});
        schema(
            &json!({TIMES: {"type": "object", "properties": {
                "days": {"type": "array", "items": day},
                "whitelist": {"type": "array", "items": span},
                "jitter": jitter,
            }}}),
            &[TIMES],
        )
    }
}

impl StageType for Restrict {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Suspend, &Wait]
    }
}

/// What is wrong with the window of a stage as written; what expressions yield is known only
/// when it starts.
pub(crate) fn faults(stage: &Map<String, Value>, path: &str) -> Vec<Fault> {
    let times = stage.get(TIMES).unwrap_or(&Value::Null);
    if has_template(times) {
        return Vec::new();
    }
    let windows = Windows::of(times).err().into_iter().flatten();
    let jitter = Jitter::of(times).err().into_iter().flatten();
    let at = |field: String| match field.as_str() {
        "" => format!("{path}.{TIMES}"),
        field => format!("{path}.{TIMES}.{field}"),
    };
    let found = windows.chain(jitter);
    found
        .map(|(field, message)| Fault::new(at(field), message))
        .collect()
}

/// Faults in one sentence.
fn told(faults: &Faults) -> String {
    let each = faults.iter().map(|(field, message)| match field.as_str() {
        "" => message.clone(),
        field => format!("{TIMES}.{field}: {message}"),
    });
    each.collect::<Vec<_>>().join("; ")
}

/// A whole number, written as such or as text.
fn whole(value: &Value) -> Option<i64> {
    let number = number(value).filter(|n| n.fract() == 0.0 && n.abs() < 1e15)?;
    // Without a fraction it is printed as a whole number.
    format!("{number:.0}").parse().ok()
}

/// How long to wait once the window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Jitter {
    min: i64,
    max: i64,
    skip_manual: bool,
}

impl Jitter {
    /// The jitter of a `restrictedExecutionWindow`; none if it asks for none.
    fn of(times: &Value) -> Result<Option<Self>, Faults> {
        let Some(Value::Object(written)) = times.get("jitter") else {
            return Ok(None);
        };
        let flag = |key: &str| match written.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            _ => false,
        };
        if !flag("enabled") {
            return Ok(None);
        }
        let mut faults = Faults::new();
        let mut seconds = |key: &str| match written.get(key).filter(|value| !value.is_null()) {
            None => 0,
            Some(value) => {
                let seconds = whole(value).filter(|n| (0..=LONGEST_JITTER).contains(n));
                seconds.unwrap_or_else(|| {
                    let message = format!(
                        "{value} is no number of seconds; use a whole number from 0 to \
                         {LONGEST_JITTER}"
                    );
                    faults.push((format!("jitter.{key}"), message));
                    0
                })
            }
        };
        let (min, max) = (seconds("minDelay"), seconds("maxDelay"));
        if faults.is_empty() && max > 0 && min > max {
            let message = format!("{min} is more than maxDelay, which is {max}; exchange them");
            faults.push(("jitter.minDelay".to_owned(), message));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let skip_manual = flag("skipManual");
        Ok((max > 0).then_some(Self {
            min,
            max,
            skip_manual,
        }))
    }

    /// Seconds between both bounds, the same for the same seed.
    fn draw(self, seed: &str) -> i64 {
        let hash = Sha256::digest(format!("jitter/{seed}"));
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        let choices = u64::try_from(self.max - self.min + 1).unwrap_or(1).max(1);
        let drawn = u64::from_be_bytes(first) % choices;
        self.min + i64::try_from(drawn).unwrap_or(0)
    }
}

/// Waits for the window.
#[derive(Debug)]
struct Suspend;

#[async_trait]
impl Task for Suspend {
    fn kind(&self) -> &'static str {
        "suspendExecutionDuringTimeWindow"
    }

    /// The engine keeps no limit of this type of stage.
    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(30_000, 7 * 24 * 3_600_000)
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(Ok(suspend(ctx)))
    }
}

/// Whose local time it is; that of Orca if nothing is set.
fn zone(settings: &Map<String, Value>) -> TimeZone {
    let section = settings.get(SETTINGS);
    let name = section.and_then(|section| section.get("timezone")?.as_str());
    TimeZone::get(name.unwrap_or(ZONE)).unwrap_or(TimeZone::UTC)
}

fn suspend(ctx: &TaskContext<'_>) -> TaskResult {
    let times = ctx.own(TIMES).unwrap_or(&Value::Null);
    let zone = zone(&ctx.services.settings().stages);
    let opens = Windows::of(times)
        .map_err(|faults| told(&faults))
        .and_then(|windows| {
            let opens = windows.opens(ctx.now, &zone);
            opens.ok_or_else(|| "no window opens within two weeks; correct the days".to_owned())
        });
    match opens {
        Err(fault) => {
            let reason = format!("Exception occurred while calculating time window: {fault}");
            TaskResult::status(Status::Terminal).with_context("failureReason", reason)
        }
        Ok(Opens::Now) => TaskResult::succeeded(),
        Ok(Opens::At(_)) if ctx.flag("skipRemainingWait") => TaskResult::succeeded(),
        Ok(Opens::At(at)) => TaskResult {
            // Nothing changes before; who changes the context wakes it.
            backoff_ms: u64::try_from(at - ctx.now).ok(),
            scheduled_time: Some(at),
            ..TaskResult::running()
        },
    }
}

/// Waits for the jitter.
#[derive(Debug)]
struct Wait;

#[async_trait]
impl Task for Wait {
    fn kind(&self) -> &'static str {
        "waitForJitter"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(wait(ctx))
    }
}

fn wait(ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
    if ctx.flag("skipRemainingWait") {
        return Ok(TaskResult::succeeded());
    }
    let times = ctx.own(TIMES).unwrap_or(&Value::Null);
    let jitter = Jitter::of(times).map_err(|faults| TaskError::user(told(&faults)))?;
    let Some(jitter) = jitter else {
        return Ok(TaskResult::succeeded());
    };
    let seconds = jitter.draw(ctx.effect_id);
    let began = ctx.task().and_then(|task| task.start_time);
    let left = began.unwrap_or(ctx.now) + seconds * 1_000 - ctx.now;
    let result = match u64::try_from(left) {
        Ok(left @ 1..) => TaskResult {
            backoff_ms: Some(left),
            ..TaskResult::running()
        },
        _ => TaskResult::succeeded(),
    };
    Ok(result.with_context("waitTime", seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jitter_lies_between_its_bounds_and_the_same_seed_draws_the_same() {
        let jitter = Jitter {
            min: 60,
            max: 62,
            skip_manual: false,
        };
        let drawn: Vec<i64> = (0..100)
            .map(|n| jitter.draw(&format!("E/S{n}/0/2")))
            .collect();
        for seconds in 60..=62 {
            assert!(drawn.contains(&seconds), "{seconds}: {drawn:?}");
        }
        assert!(drawn.iter().all(|seconds| (60..=62).contains(seconds)));
        assert_eq!(jitter.draw("E/S1/0/2"), jitter.draw("E/S1/0/2"));
    }

    #[test]
    fn a_jitter_is_wanted_if_enabled_and_longer_than_nothing() {
        let of = |written: Value| Jitter::of(&json!({"jitter": written}));
        let some = |min, max| {
            Ok(Some(Jitter {
                min,
                max,
                skip_manual: false,
            }))
        };
        for (written, expected) in [
            (
                json!({"enabled": true, "minDelay": 60, "maxDelay": 600}),
                some(60, 600),
            ),
            (json!({"enabled": "true", "maxDelay": "600"}), some(0, 600)),
            (
                json!({"enabled": true, "minDelay": 60, "maxDelay": 0}),
                Ok(None),
            ),
            (json!({"enabled": false, "maxDelay": 600}), Ok(None)),
            (json!({"maxDelay": 600}), Ok(None)),
            (Value::Null, Ok(None)),
        ] {
            assert_eq!(of(written.clone()), expected, "{written}");
        }
        for (written, field) in [
            (json!({"enabled": true, "maxDelay": -1}), "jitter.maxDelay"),
            (json!({"enabled": true, "maxDelay": 1.5}), "jitter.maxDelay"),
            (
                json!({"enabled": true, "minDelay": "x", "maxDelay": 1}),
                "jitter.minDelay",
            ),
            (
                json!({"enabled": true, "minDelay": 9, "maxDelay": 1}),
                "jitter.minDelay",
            ),
        ] {
            assert_eq!(of(written.clone()).unwrap_err()[0].0, field, "{written}");
        }
    }
}
