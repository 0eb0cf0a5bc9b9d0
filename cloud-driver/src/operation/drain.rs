//! Workers: how instances that take their own work are told to take no more. Read from an input,
//! checked together with the rest of the group, and turned into the limits of a rollout.

use rollout::{OnDrainTimeout, Present, Role, Settings};
use serde_json::Value;

use super::input::{fault, shape};
use super::{Fault, Input, Planning};
use crate::provider::local::document::{Drain, HealthCheck, OnDeadline, SIGNALS, ServerGroup};

/// What a drain may hold.
const KEYS: [&str; 5] = ["path", "signal", "resume", "timeoutMs", "onDeadline"];

/// Time for the work that an instance has when nobody says otherwise, in ms.
const TIMEOUT_MS: u64 = 60_000;

/// Longest such time: a day.
const MOST_MS: u64 = 86_400_000;

/// The fields of an input about draining fit.
///
/// # Errors
/// The first that does not.
pub(crate) fn check_drain(input: &Input) -> Result<(), Fault> {
    on_drain_timeout(input)?;
    if input.drain()?.is_some() && input.timing()?.drain_timeout_ms.is_some() {
        let text = "and drain.timeoutMs are the same thing of a worker; leave drainSeconds out";
        return Err(fault("drainSeconds", text));
    }
    Ok(())
}

/// What becomes of what a drain leaves in its time; absent when the field is.
///
/// # Errors
/// When it is no word that is known.
pub(crate) fn on_drain_timeout(input: &Input) -> Result<Option<OnDrainTimeout>, Fault> {
    match input.text(&["onDrainTimeout"]) {
        None => Ok(None),
        Some("wait") => Ok(Some(OnDrainTimeout::Wait)),
        Some("fail") => Ok(Some(OnDrainTimeout::Fail)),
        Some("cut") => Ok(Some(OnDrainTimeout::Cut)),
        Some(other) => Err(fault(
            "onDrainTimeout",
            format!("\"{other}\" is not known; use wait, fail or cut"),
        )),
    }
}

impl Input {
    /// How the instances are told to take no more work; absent when the field is.
    ///
    /// # Errors
    /// When a field of it does not fit, or it names neither a path nor a signal.
    pub fn drain(&self) -> Result<Option<Drain>, Fault> {
        let value = self.value();
        let given = match value.get("drain") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(given)) => given,
            Some(other) => {
                let text = format!("is {}; send {{path}} or {{signal}}", shape(other));
                return Err(fault("drain", text));
            }
        };
        if let Some(unknown) = given.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let text = format!("is not known; a drain has {}", KEYS.join(", "));
            return Err(fault(format!("drain.{unknown}"), text));
        }
        let fields = self.nested("drain");
        let path = path(&fields)?;
        let signal = signal(&fields)?;
        if path.is_none() && signal.is_none() {
            let text = "names neither path nor signal; say how an instance is told to take no more";
            return Err(fault("drain", text));
        }
        let resumes = given.get("resume").map(|_| fields.flag("resume"));
        if resumes == Some(true) && signal.is_some() {
            let text = "is true, and a signal cannot be taken back; leave out resume or signal";
            return Err(fault("drain.resume", text));
        }
        let timeout_ms = match fields.number("timeoutMs") {
            Ok(None) => TIMEOUT_MS,
            Ok(Some(ms)) if (1..=MOST_MS).contains(&ms) => ms,
            Ok(Some(ms)) => {
                let text = format!("{ms} is not 1 to {MOST_MS}; correct it");
                return Err(fault("drain.timeoutMs", text));
            }
            Err(wrong) => return Err(fault("drain.timeoutMs", wrong.message)),
        };
        Ok(Some(Drain {
            resume: resumes.unwrap_or_else(|| signal.is_none()),
            path,
            signal,
            timeout_ms,
            on_deadline: on_deadline(&fields)?,
        }))
    }
}

fn path(fields: &Input) -> Result<Option<String>, Fault> {
    let Some(path) = text(fields, "path")? else {
        return Ok(None);
    };
    let plain = path.chars().all(|c| c.is_ascii_graphic());
    if !path.starts_with('/') || path.len() > 1024 || !plain {
        let text = format!("\"{path}\" is no path; begin it with '/', without blanks");
        return Err(fault("drain.path", text));
    }
    Ok(Some(path))
}

fn signal(fields: &Input) -> Result<Option<String>, Fault> {
    let Some(given) = text(fields, "signal")? else {
        return Ok(None);
    };
    let upper = given.to_ascii_uppercase();
    let whole = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    if SIGNALS.iter().any(|(name, _)| *name == whole) {
        return Ok(Some(whole));
    }
    let known: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
    let text = format!(
        "\"{given}\" is not allowed; use one of {}",
        known.join(", ")
    );
    Err(fault("drain.signal", text))
}

fn on_deadline(fields: &Input) -> Result<OnDeadline, Fault> {
    match text(fields, "onDeadline")?.as_deref() {
        None => Ok(OnDeadline::default()),
        Some("wait") => Ok(OnDeadline::Wait),
        Some("fail") => Ok(OnDeadline::Fail),
        Some("stop") => Ok(OnDeadline::Stop),
        Some(other) => Err(fault(
            "drain.onDeadline",
            format!("\"{other}\" is not known; use wait, fail or stop"),
        )),
    }
}

/// A text of a drain; empty counts as absent.
fn text(fields: &Input, field: &str) -> Result<Option<String>, Fault> {
    match fields.value().get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(fault(
            format!("drain.{field}"),
            format!("is {}; send a text", shape(other)),
        )),
    }
}

/// The health check of a group for which nobody named one: of a worker that its port accepts
/// connections if it has a hook there, else that it runs.
pub(crate) fn health(drain: Option<&Drain>) -> HealthCheck {
    match drain {
        None => HealthCheck::default(),
        Some(drain) => HealthCheck {
            path: None,
            process: drain.path.is_none(),
        },
    }
}

/// What a group's fields must be together.
///
/// # Errors
/// The first that does not fit.
pub(crate) fn fits(group: &ServerGroup) -> Result<(), Fault> {
    let Some(drain) = &group.drain else {
        if group.health.process {
            let text =
                "process is for workers, which nothing is sent to; set drain, or use path or tcp";
            return Err(fault("healthCheck.type", text));
        }
        return Ok(());
    };
    if let Some(name) = group.load_balancers.first() {
        let text = format!(
            "is for groups behind no load balancer, and this one is behind \"{name}\", which drains \
             it; leave out drain or set loadBalancers: []"
        );
        return Err(fault("drain", text));
    }
    if !group.enabled && !drain.pauses() {
        let text = "cannot be kept: without drain.path and resume a worker takes work as soon as it \
                    runs; leave startDisabled out, or drain it by a path that takes DELETE";
        return Err(fault("startDisabled", text));
    }
    Ok(())
}

/// Whether an instance was drained for good: it runs perhaps, and takes no work again.
pub(crate) fn is_spent(group: &ServerGroup, role: Role) -> bool {
    role == Role::Drain && group.drain.as_ref().is_some_and(|d| !d.pauses())
}

/// Whether instances of a group can be there without taking work.
pub(crate) fn can_idle(group: &ServerGroup) -> bool {
    group.enabled || group.drain.as_ref().is_none_or(Drain::pauses)
}

impl Planning<'_> {
    /// The limits of a rollout that takes work from instances of `leaving`.
    pub(crate) fn limited(&self, mut settings: Settings, leaving: &ServerGroup) -> Settings {
        if let Some(drain) = &leaving.drain {
            settings.drain_timeout_ms = drain.timeout_ms;
            settings.on_drain_timeout = match drain.on_deadline {
                OnDeadline::Wait => OnDrainTimeout::Wait,
                OnDeadline::Fail => OnDrainTimeout::Fail,
                OnDeadline::Stop => OnDrainTimeout::Cut,
            };
            settings.eager = true;
            settings.drain_is_final = !drain.pauses();
        }
        if let Ok(Some(then)) = on_drain_timeout(self.input) {
            settings.on_drain_timeout = then;
        }
        settings
    }

    /// The limits of a rollout in which one group takes the place of another: the times of the new
    /// one, the drain of the old one.
    pub(crate) fn settings_between(&self, new: &ServerGroup, old: &ServerGroup) -> Settings {
        let sent = ServerGroup {
            drain: None,
            ..new.clone()
        };
        let settings = self.limited(self.settings(&sent, 0), old);
        Settings {
            eager: settings.eager || new.drain.is_some(),
            ..settings
        }
    }
}

/// Whether two groups of a cluster do the same work: they share a load balancer, or both take
/// their work themselves.
pub(crate) fn share_work(a: &ServerGroup, b: &ServerGroup) -> bool {
    let mut names = a.load_balancers.iter();
    names.any(|name| b.load_balancers.contains(name)) || a.drain.is_some() && b.drain.is_some()
}

/// An instance of a group as a rollout takes it.
pub(crate) fn present(
    group: &ServerGroup,
    instance: &crate::provider::local::document::Instance,
    dead: bool,
) -> Present {
    Present {
        id: instance.id.clone(),
        group: instance.group.clone(),
        slot: instance.slot.clone(),
        role: instance.role,
        dead: dead || is_spent(group, instance.role),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(drain: Value) -> Result<Option<Drain>, Fault> {
        Input::of(json!({ "drain": drain })).unwrap().drain()
    }

    #[test]
    fn a_drain_is_read_with_its_defaults() {
        assert_eq!(read(Value::Null).unwrap(), None);
        let hook = read(json!({"path": "/drain"})).unwrap().unwrap();
        assert_eq!(
            hook,
            Drain {
                path: Some("/drain".to_owned()),
                signal: None,
                resume: true,
                timeout_ms: 60_000,
                on_deadline: OnDeadline::Fail,
            }
        );
        assert!(hook.pauses());
        let signal = json!({"signal": "term", "timeoutMs": "500", "onDeadline": "stop"});
        let signal = read(signal).unwrap().unwrap();
        assert_eq!(signal.signal.as_deref(), Some("SIGTERM"));
        assert_eq!(
            (signal.timeout_ms, signal.on_deadline, signal.pauses()),
            (500, OnDeadline::Stop, false)
        );
        let once = read(json!({"path": "/quiet", "resume": false})).unwrap();
        assert!(!once.unwrap().pauses());
        // As the document and the read model hold it.
        let text = serde_json::to_value(&hook).unwrap();
        assert_eq!(read(text).unwrap(), Some(hook));
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_value_and_the_remedy() {
        for (drain, path, named, remedy) in [
            (json!("/drain"), "drain", "a text", "send {path}"),
            (json!({}), "drain", "neither", "say how"),
            (
                json!({"timeout": 5}),
                "drain.timeout",
                "not known",
                "timeoutMs",
            ),
            (
                json!({"path": "drain"}),
                "drain.path",
                "\"drain\"",
                "begin it with '/'",
            ),
            (json!({"path": 7}), "drain.path", "a number", "send a text"),
            (
                json!({"signal": "KILL"}),
                "drain.signal",
                "\"KILL\"",
                "SIGTERM",
            ),
            (
                json!({"signal": "SIGSTOP"}),
                "drain.signal",
                "\"SIGSTOP\"",
                "use one of",
            ),
            (
                json!({"signal": "TERM", "resume": true}),
                "drain.resume",
                "true",
                "leave out",
            ),
            (
                json!({"path": "/d", "timeoutMs": 0}),
                "drain.timeoutMs",
                "0 is not",
                "correct it",
            ),
            (
                json!({"path": "/d", "timeoutMs": "soon"}),
                "drain.timeoutMs",
                "\"soon\"",
                "correct it",
            ),
            (
                json!({"path": "/d", "onDeadline": "cut"}),
                "drain.onDeadline",
                "\"cut\"",
                "wait, fail or stop",
            ),
        ] {
            let fault = read(drain.clone()).unwrap_err();
            assert_eq!(fault.path, path, "{drain}");
            let text = &fault.message;
            assert!(
                text.contains(named) && text.contains(remedy),
                "{path}: {text}"
            );
        }
    }

    #[test]
    fn the_words_of_an_operation_are_checked_too() {
        let input = |value| Input::of(value).unwrap();
        let wrong = check_drain(&input(json!({"onDrainTimeout": "kill"}))).unwrap_err();
        assert_eq!(wrong.path, "onDrainTimeout");
        assert!(wrong.message.contains("\"kill\"") && wrong.message.contains("wait, fail or cut"));
        let both = json!({"drain": {"path": "/d"}, "drainSeconds": 5});
        assert_eq!(check_drain(&input(both)).unwrap_err().path, "drainSeconds");
        assert_eq!(
            on_drain_timeout(&input(json!({"onDrainTimeout": "wait"}))).unwrap(),
            Some(OnDrainTimeout::Wait)
        );
    }
}
