//! What is told of a job that has ended: in `clouddriver: KubernetesJobStatus`'s shape, with
//! the properties it printed, bounded, and without the values of secrets.

use ::instance::Exit;
use serde_json::{Map, Value, json};

use super::{End, Order};
use crate::operation::ledger::{Operation, State};
use crate::provider::local::{Local, now_ms};

/// Lines of the log that are told, and bytes of them.
const LINES: usize = 200;
const BYTES: usize = 16 * 1024;

/// Characters of the last line in the failure's first sentence.
const LAST: usize = 300;

/// Lines that are searched for properties, and bytes of all properties together.
const SEARCHED: usize = 10_000;
const PROPERTIES: usize = 64 * 1024;

/// Values shorter than this are no secrets worth hiding: they would blank out words.
const SHORTEST_SECRET: usize = 4;

const PROPERTY: &str = "SPINNAKER_PROPERTY_";
const CONFIG: &str = "SPINNAKER_CONFIG_JSON=";

/// How a job's process ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// As the shim wrote down.
    Exit(Exit),
    /// Nobody knows.
    Lost,
}

impl Local {
    /// What is to be told of a job's end.
    pub(super) async fn report(
        &self,
        operation: &Operation,
        order: &Order,
        ending: &Ending,
    ) -> End {
        let id = &operation.head.id;
        let lines = self.lines(id, order).await;
        let properties = properties(&lines);
        let told = last(&lines);
        let canceled = operation.head.cancel.as_deref();
        let error = why(ending, canceled, order, &lines);
        let (started, ended, code, signal) = match ending {
            Ending::Exit(exit) => (exit.started_ms, exit.ended_ms, exit.code, exit.signal),
            Ending::Lost => (operation.head.started_ms, now_ms(), None, None),
        };
        let state = if error.is_none() {
            "Succeeded"
        } else {
            "Failed"
        };
        let mut status = status(id, order, started, &told);
        for (key, value) in [
            ("completedTime", json!(ended)),
            ("jobState", json!(state)),
            ("exitCode", json!(code)),
            ("signal", json!(signal)),
            ("message", json!(error)),
            (
                "completionDetails",
                json!({"exitCode": code, "signal": signal, "message": error}),
            ),
        ] {
            status[key] = value;
        }
        let mut result = Map::new();
        let names = json!({ order.region.as_str(): [id] });
        result.insert("deployedNamesByLocation".to_owned(), names);
        result.insert("jobStatus".to_owned(), status);
        if !properties.is_empty() {
            result.insert("properties".to_owned(), properties.into());
        }
        End {
            retryable: matches!(ending, Ending::Lost),
            details: if error.is_some() { told } else { Vec::new() },
            error,
            result,
        }
    }

    /// How a job is: as it was told when it ended, else as it is now.
    pub(crate) async fn job_status(&self, operation: &Operation, order: &Order) -> Value {
        if let Some(told) = operation.result.get("jobStatus") {
            return told.clone();
        }
        let head = &operation.head;
        let told = last(&self.lines(&head.id, order).await);
        let mut status = status(&head.id, order, head.started_ms, &told);
        if head.state != State::Running {
            // It never began.
            status["jobState"] = "Failed".into();
            status["completedTime"] = head.finished_ms.into();
            status["message"] = json!(head.error);
        }
        status
    }

    /// What a job wrote last, without the values of secrets.
    async fn lines(&self, id: &str, order: &Order) -> Vec<String> {
        let mut lines = self.shims.job_tail(id, SEARCHED).await;
        let secrets = self.secrets_of(&order.account, &order.environment);
        for line in &mut lines {
            for secret in secrets.iter().filter(|s| s.len() >= SHORTEST_SECRET) {
                if line.contains(secret.as_str()) {
                    *line = line.replace(secret.as_str(), "********");
                }
            }
        }
        lines
    }
}

/// A job of which nothing is known but that it runs.
fn status(id: &str, order: &Order, started: i64, told: &[String]) -> Value {
    json!({
        "name": id,
        "id": id,
        "account": order.account,
        "application": order.application,
        "location": order.region,
        "provider": "local",
        "createdTime": started,
        "jobState": "Running",
        "logs": told.join("\n"),
    })
}

/// The last lines that fit.
fn last(lines: &[String]) -> Vec<String> {
    let mut room = BYTES;
    let fits = |line: &&String| {
        let needs = line.len() + 1;
        let fits = needs <= room;
        room = room.saturating_sub(needs);
        fits
    };
    let newest = lines.iter().rev().take(LINES).take_while(fits);
    let mut told: Vec<String> = newest.cloned().collect();
    told.reverse();
    told
}

/// Why it did not succeed, exit code and last line first; none if it did.
fn why(ending: &Ending, canceled: Option<&str>, order: &Order, lines: &[String]) -> Option<String> {
    let what = match ending {
        Ending::Lost => {
            let text = "it and its shim were killed, so its exit code is not known; run it again";
            return Some(
                canceled.map_or_else(|| text.to_owned(), |reason| format!("canceled: {reason}")),
            );
        }
        // One that had ended by itself before the cancellation is told as it was.
        Ending::Exit(exit) => match (exit, canceled) {
            (exit, Some(reason)) if exit.asked => return Some(format!("canceled: {reason}")),
            (
                Exit {
                    failure: Some(failure),
                    ..
                },
                _,
            ) => return Some(failure.clone()),
            (exit, _) if exit.timed_out => {
                format!("it did not end within {} s", order.time_limit.as_secs())
            }
            (exit, _) if exit.asked => "it was stopped by somebody else".to_owned(),
            (Exit { code: Some(0), .. }, _) => return None,
            (
                Exit {
                    code: Some(code), ..
                },
                _,
            ) => format!("exit code {code}"),
            (
                Exit {
                    signal: Some(signal),
                    ..
                },
                _,
            ) => format!("signal {signal}"),
            (_, _) => "it ended".to_owned(),
        },
    };
    let mut newest = lines.iter().rev().map(|line| line.trim());
    let line = newest.find(|line| !line.is_empty());
    Some(match line {
        Some(line) => format!("{what}: {}", line.chars().take(LAST).collect::<String>()),
        None => format!("{what}, without output"),
    })
}

/// What the lines say as properties; a key is said last by who is right.
fn properties(lines: &[String]) -> Map<String, Value> {
    let mut found = Map::new();
    let mut room = PROPERTIES;
    for line in lines {
        if line.len() > room {
            continue;
        }
        if let Some(text) = line.trim_start().strip_prefix(CONFIG) {
            if let Ok(Value::Object(object)) = serde_json::from_str(text) {
                room -= line.len();
                found.extend(object);
            }
        } else if let Some((_, text)) = line.split_once(PROPERTY)
            && let Some((key, value)) = text.split_once('=')
            && !key.is_empty()
        {
            room -= line.len();
            found.insert(key.to_lowercase(), value.into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn order() -> Order {
        Order {
            account: "prod".into(),
            region: "local".into(),
            application: "shop".into(),
            image: "r/smoke:1".into(),
            command: None,
            args: None,
            environment: [].into(),
            time_limit: Duration::from_secs(30),
            grace: None,
            log_bytes: 4_096,
        }
    }

    #[test]
    fn the_first_sentence_has_exit_code_and_last_line() {
        let exit = |code, signal| Exit {
            code,
            signal,
            ..Exit::default()
        };
        let timed_out = Exit {
            timed_out: true,
            ..exit(None, Some(15))
        };
        let asked = Exit {
            asked: true,
            ..exit(Some(0), None)
        };
        let said = |exit: &Exit, canceled: Option<&str>, lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            why(&Ending::Exit(exit.clone()), canceled, &order(), &lines)
        };
        for (exit, lines, text) in [
            (exit(Some(0), None), &["x"][..], None),
            (
                exit(Some(1), None),
                &["a", " no answer ", ""],
                Some("exit code 1: no answer"),
            ),
            (
                exit(Some(7), None),
                &[],
                Some("exit code 7, without output"),
            ),
            (exit(None, Some(9)), &["a"], Some("signal 9: a")),
            (timed_out, &["a"], Some("it did not end within 30 s: a")),
            (
                asked.clone(),
                &["a"],
                Some("it was stopped by somebody else: a"),
            ),
        ] {
            assert_eq!(said(&exit, None, lines).as_deref(), text);
        }
        let canceled = said(&asked, Some("by ann"), &[]);
        assert_eq!(canceled.as_deref(), Some("canceled: by ann"));
        let before = said(&exit(Some(0), None), Some("by ann"), &[]);
        assert_eq!(before, None, "it had ended before");
        assert!(why(&Ending::Lost, None, &order(), &[]).is_some());
    }

    #[test]
    fn properties_are_what_the_lines_say_within_bounds() {
        let lines = [
            "SPINNAKER_PROPERTY_URL=http://x/?a=b",
            "12:00 INFO SPINNAKER_PROPERTY_Count=3",
            "SPINNAKER_PROPERTY_=none",
            "SPINNAKER_PROPERTY_nothing",
            "  SPINNAKER_CONFIG_JSON={\"deep\": {\"a\": 1}}",
            "SPINNAKER_CONFIG_JSON={broken",
        ];
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let expected = json!({"url": "http://x/?a=b", "count": "3", "deep": {"a": 1}});
        assert_eq!(Value::Object(properties(&lines)), expected);
        let long = format!("SPINNAKER_PROPERTY_A={}", "x".repeat(PROPERTIES));
        assert!(properties(&[long]).is_empty());
    }

    #[test]
    fn only_so_much_of_the_log_is_told_and_it_is_the_end() {
        let lines: Vec<String> = (0..1_000).map(|n| format!("line {n}")).collect();
        let told = last(&lines);
        assert_eq!((told.len(), told.last()), (LINES, lines.last()));
        let wide: Vec<String> = (0..100)
            .map(|n| format!("{n}{}", "x".repeat(1_000)))
            .collect();
        let told = last(&wide);
        assert!(told.iter().map(String::len).sum::<usize>() <= BYTES);
        assert_eq!(told.last(), wide.last());
    }
}
