//! `runJob`: one process of an image, to its end, which must be 0.
//!
//! Input: `imageId`; `command` and `args` in place of the image's own; `env`;
//! `timeLimitSeconds`, `graceSeconds`, `maxOutputBytes`. What it prints as
//! `SPINNAKER_PROPERTY_<KEY>=<value>` or `SPINNAKER_CONFIG_JSON={…}` are its properties.
//! Result as `clouddriver: KubernetesJobStatus` shows a job, under `jobStatus`.

use std::time::Duration;

use super::planning::check_place;
use super::{Fault, Input, Kind, Phase, Planning, Refused, faults, input};
use crate::config::Config;
use crate::provider::local::job::Order;

/// The kind.
#[derive(Debug)]
pub(crate) struct RunJob;

/// How long a job may run when nobody says, in seconds; as long as Orca waits for one.
const TIME_LIMIT: u64 = 7_200;

/// How long one may run at the most, in seconds.
const LONGEST: u64 = 86_400;

/// Bytes of output kept when nobody says, and at the most.
const OUTPUT: u64 = 3 * 1024 * 1024;
const MOST_OUTPUT: u64 = 30 * 1024 * 1024;

/// Bytes of all arguments together.
const MAX_COMMAND: usize = 128 * 1024;

fn image(input: &Input) -> Result<String, Fault> {
    input.image().ok_or_else(|| {
        let text = "is missing; name an image such as registry/repository:tag";
        input::fault("imageId", text)
    })
}

/// A list of texts, or one text as a list of one.
fn words(input: &Input, field: &str) -> Result<Option<Vec<String>>, Fault> {
    let words = match input.text(&[field]) {
        Some(one) => Some(vec![one.to_owned()]),
        None => input.names(field)?,
    };
    let words = words.filter(|words| !words.is_empty());
    let length: usize = words.iter().flatten().map(String::len).sum();
    if length > MAX_COMMAND || words.iter().flatten().any(|word| word.contains('\0')) {
        let text = format!("holds a NUL or more than {MAX_COMMAND} bytes; shorten it");
        return Err(input::fault(field, text));
    }
    Ok(words)
}

fn within(input: &Input, field: &str, usual: u64, from: u64, to: u64) -> Result<u64, Fault> {
    match input.number(field)?.unwrap_or(usual) {
        number if (from..=to).contains(&number) => Ok(number),
        number => Err(input::fault(
            field,
            format!("{number} is not from {from} to {to}; correct it"),
        )),
    }
}

fn time_limit(input: &Input) -> Result<Duration, Fault> {
    within(input, "timeLimitSeconds", TIME_LIMIT, 1, LONGEST).map(Duration::from_secs)
}

fn output(input: &Input) -> Result<u64, Fault> {
    within(input, "maxOutputBytes", OUTPUT, 4_096, MOST_OUTPUT)
}

/// What an input asks for.
///
/// # Errors
/// The first field that does not fit.
pub(crate) fn order(input: &Input) -> Result<Order, Fault> {
    Ok(Order {
        account: input.account()?.to_owned(),
        region: input.region()?.to_owned(),
        application: input.text(&["application"]).unwrap_or_default().to_owned(),
        image: image(input)?,
        command: words(input, "command")?,
        args: words(input, "args")?,
        environment: input.environment()?.unwrap_or_default(),
        time_limit: time_limit(input)?,
        grace: input.timing()?.grace_ms.map(Duration::from_millis),
        log_bytes: output(input)?,
    })
}

impl Kind for RunJob {
    fn name(&self) -> &'static str {
        "runJob"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        faults([
            check_place(input, config),
            image(input).map(drop),
            words(input, "command").map(drop),
            words(input, "args").map(drop),
            input.environment().map(drop),
            time_limit(input).map(drop),
            input.timing().map(drop),
            output(input).map(drop),
        ])
    }

    fn phase(&self, _number: u32, _planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        // It moves no groups: the worker runs its process instead.
        Ok(None)
    }

    fn complete(&self, _planning: &Planning<'_>) -> super::Completion {
        super::Completion::default()
    }

    fn job(&self, input: &Input) -> Option<Result<Order, Fault>> {
        Some(order(input))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_there_without_a_word_and_are_checked() {
        let config = Config {
            accounts: vec![serde_yaml_ng::from_str("{name: prod, regions: {local: 1}}").unwrap()],
            ..Config::default()
        };
        let with = |more: serde_json::Value| {
            let mut all = json!({"account": "prod", "region": "local", "imageId": "r/smoke:1"});
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            Input::of(all).unwrap()
        };
        let plain = order(&with(json!({"command": "check", "args": ["-v", "x"]}))).unwrap();
        assert_eq!(plain.time_limit, Duration::from_secs(7_200));
        assert_eq!(plain.log_bytes, 3 * 1024 * 1024);
        assert_eq!(plain.command, Some(vec!["check".to_owned()]));
        assert_eq!(plain.args.map(|a| a.len()), Some(2));
        for (input, path) in [
            (json!({"imageId": ""}), "imageId"),
            (json!({"timeLimitSeconds": 0}), "timeLimitSeconds"),
            (json!({"timeLimitSeconds": "90000"}), "timeLimitSeconds"),
            (json!({"maxOutputBytes": 1}), "maxOutputBytes"),
            (json!({"command": [1]}), "command[0]"),
            (json!({"args": "a\u{0}b"}), "args"),
            (json!({"env": {"A B": "1"}}), "env.A B"),
            (json!({"region": "moon"}), "region"),
        ] {
            let faults = RunJob.check(&with(input.clone()), &config);
            let paths: Vec<_> = faults.iter().map(|f| f.path.as_str()).collect();
            assert_eq!(paths, [path], "{input}");
        }
        assert!(RunJob.check(&with(json!({})), &config).is_empty());
    }
}
