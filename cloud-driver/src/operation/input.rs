//! What a stage sends with an operation, read field by field.
//!
//! The object is open: stages send their whole context, so unknown fields are
//! left alone. Numbers may come as text, as Orca accepts them. Sources of the
//! names: `orca: CreateServerGroupTask`, `clouddriver: AllowLaunchDescription`
//! and its siblings.

use std::collections::BTreeMap;

use balancer::Listener;
use proto::status::FieldError;
use serde_json::{Map, Value};

use crate::provider::local::document::{Capacity, HealthCheck, Timing};

/// Most entries of a list or map of an input.
const MAX_ENTRIES: usize = 256;

/// Most instances of a server group.
pub(crate) const MAX_INSTANCES: u32 = 1_000;

/// An operation's input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input(Map<String, Value>);

/// One faulty field, on its way into a list of them.
pub type Fault = FieldError;

/// A fault of a field: what is wrong and what to do.
pub(crate) fn fault(path: impl Into<String>, message: impl Into<String>) -> Fault {
    FieldError::new(path, message)
}

impl Input {
    /// Wraps an object.
    ///
    /// # Errors
    /// When it is something else.
    pub fn of(value: Value) -> Result<Self, Fault> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(fault(
                "input",
                format!("is {}; send an object", shape(&other)),
            )),
        }
    }

    /// As JSON.
    pub fn value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The object of a field; empty when absent.
    pub fn nested(&self, field: &str) -> Self {
        match self.0.get(field) {
            Some(Value::Object(fields)) => Self(fields.clone()),
            _ => Self(Map::new()),
        }
    }

    /// A text field, under the first of its names that is there; empty counts as absent.
    pub fn text(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .filter_map(|name| self.0.get(*name)?.as_str())
            .find(|text| !text.is_empty())
    }

    /// A flag: `true` or `"true"`.
    pub fn flag(&self, field: &str) -> bool {
        match self.0.get(field) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }

    /// A whole number that is not negative, also as text.
    ///
    /// # Errors
    /// When it is something else.
    pub fn number(&self, field: &str) -> Result<Option<u64>, Fault> {
        let value = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(value) => value,
        };
        let number = match value {
            Value::Number(number) => number.to_string().parse().ok(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let message = || format!("{value} is no whole number from 0 on; correct it");
        number.map(Some).ok_or_else(|| fault(field, message()))
    }

    /// The account: `account` or `credentials`.
    ///
    /// # Errors
    /// When it is absent, or the two differ.
    pub fn account(&self) -> Result<&str, Fault> {
        match (self.text(&["account"]), self.text(&["credentials"])) {
            (Some(a), Some(c)) if a != c => Err(fault(
                "account",
                format!("\"{a}\" differs from credentials \"{c}\"; set one of them"),
            )),
            (Some(account), _) | (None, Some(account)) => Ok(account),
            (None, None) => Err(fault("account", "is missing; name the account to act in")),
        }
    }

    /// The region: `region`, else the first of `regions` or of `availabilityZones`.
    ///
    /// # Errors
    /// When there is none.
    pub fn region(&self) -> Result<&str, Fault> {
        let first = || match self.0.get("regions")? {
            Value::Array(list) => list.first()?.as_str(),
            _ => None,
        };
        let zone = || match self.0.get("availabilityZones")? {
            Value::Object(zones) => zones.keys().next().map(String::as_str),
            _ => None,
        };
        self.text(&["region", "namespace"])
            .or_else(first)
            .or_else(zone)
            .ok_or_else(|| fault("region", "is missing; name a region of the account"))
    }

    /// The server group: `serverGroupName` or `asgName`.
    ///
    /// # Errors
    /// When it is absent.
    pub fn server_group(&self) -> Result<&str, Fault> {
        self.text(&["serverGroupName", "asgName"])
            .ok_or_else(|| fault("serverGroupName", "is missing; name the server group"))
    }

    /// The source group of a clone or replacement, by name.
    pub fn source(&self) -> Option<String> {
        let source = self.nested("source");
        source
            .text(&["serverGroupName", "asgName"])
            .map(str::to_owned)
    }

    /// The image, under any of the names stages use.
    pub fn image(&self) -> Option<String> {
        let artifact = self.nested("imageArtifact");
        self.text(&["imageId", "image", "amiName"])
            .or_else(|| artifact.text(&["reference"]))
            .map(str::to_owned)
    }

    /// The capacity; a missing bound follows from `desired`, and it from the bounds.
    ///
    /// # Errors
    /// When a number is none, or too large.
    pub fn capacity(&self) -> Result<Option<Capacity>, Fault> {
        let given = match self.0.get("capacity") {
            None | Some(Value::Null) => return Ok(None),
            Some(_) => self.nested("capacity"),
        };
        let read = |field: &str| -> Result<Option<u32>, Fault> {
            let number = given
                .number(field)
                .map_err(|f| fault(format!("capacity.{}", f.path), f.message))?;
            let Some(number) = number else {
                return Ok(None);
            };
            match u32::try_from(number).ok().filter(|n| *n <= MAX_INSTANCES) {
                Some(number) => Ok(Some(number)),
                None => Err(fault(
                    format!("capacity.{field}"),
                    format!("{number} is more than {MAX_INSTANCES}; lower it"),
                )),
            }
        };
        let (min, max, desired) = (read("min")?, read("max")?, read("desired")?);
        if let (Some(least), Some(most)) = (min, max)
            && least > most
        {
            let message = format!("{least} is more than capacity.max, {most}; make it less");
            return Err(fault("capacity.min", message));
        }
        let Some(desired) = desired.or(min).or(max) else {
            return Ok(None);
        };
        let capacity = Capacity {
            min: min.unwrap_or(desired).min(desired),
            max: max.unwrap_or(desired).max(desired),
            desired,
        };
        Ok(Some(capacity))
    }

    /// Names of load balancers; absent when the field is.
    ///
    /// # Errors
    /// When the list holds something else.
    pub fn load_balancers(&self) -> Result<Option<Vec<String>>, Fault> {
        self.names("loadBalancers")
    }

    /// Listeners of a load balancer; absent when the field is.
    ///
    /// # Errors
    /// The first that cannot be, by its field.
    pub fn listeners(&self) -> Result<Option<Vec<Listener>>, Fault> {
        let list = match self.0.get("listeners") {
            None | Some(Value::Null) => return Ok(None),
            Some(list) => list,
        };
        let read = serde_json::from_value::<Vec<Listener>>(list.clone());
        let listeners = read.map_err(|e| {
            fault(
                "listeners",
                format!("cannot be read: {e}; send a list of {{address, tls, proxyProtocol}}"),
            )
        })?;
        let config = balancer::Config {
            listeners,
            ..balancer::Config::default()
        };
        match config.check().faults.into_iter().next() {
            None => Ok(Some(config.listeners)),
            Some(found) => {
                let (path, message) = found.split_once(": ").unwrap_or(("listeners", &found));
                Err(fault(path, message))
            }
        }
    }

    /// A list of texts; absent when the field is.
    ///
    /// # Errors
    /// When it is something else, or too long.
    pub fn names(&self, field: &str) -> Result<Option<Vec<String>>, Fault> {
        let list = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(list)) if list.len() <= MAX_ENTRIES => list,
            Some(other) => {
                let text = format!(
                    "is {}; send a list of at most {MAX_ENTRIES} names",
                    shape(other)
                );
                return Err(fault(field, text));
            }
        };
        let name = |(n, value): (usize, &Value)| {
            value.as_str().map(str::to_owned).ok_or_else(|| {
                fault(
                    format!("{field}[{n}]"),
                    format!("is {}; send a name", shape(value)),
                )
            })
        };
        list.iter()
            .enumerate()
            .map(name)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The variables of the instances: `env` or `environment`; absent when both are.
    ///
    /// # Errors
    /// When it is no map from names to scalars.
    pub fn environment(&self) -> Result<Option<BTreeMap<String, String>>, Fault> {
        let field = if self.0.contains_key("env") {
            "env"
        } else {
            "environment"
        };
        let map = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(map)) if map.len() <= MAX_ENTRIES => map,
            Some(other) => {
                let text = format!(
                    "is {}; send an object of at most {MAX_ENTRIES} variables",
                    shape(other)
                );
                return Err(fault(field, text));
            }
        };
        let mut variables = BTreeMap::new();
        for (name, value) in map {
            let path = || format!("{field}.{name}");
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(plain) || name == "PORT" {
                let text = "is no variable to set: use letters, digits and '_', not PORT";
                return Err(fault(path(), text));
            }
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                other => return Err(fault(path(), format!("is {}; send a text", shape(other)))),
            };
            if text.contains('\0') || text.len() > 64 * 1024 {
                return Err(fault(path(), "holds a NUL or more than 64 KiB; shorten it"));
            }
            variables.insert(name.clone(), text);
        }
        Ok(Some(variables))
    }

    /// The health check; absent when the field is.
    ///
    /// # Errors
    /// When the path does not begin with `/`.
    pub fn health(&self) -> Result<Option<HealthCheck>, Fault> {
        if !self.0.contains_key("healthCheck") {
            return Ok(None);
        }
        let check = self.nested("healthCheck");
        if check
            .text(&["type"])
            .is_some_and(|t| t.eq_ignore_ascii_case("tcp"))
        {
            return Ok(Some(HealthCheck {
                path: None,
                process: false,
            }));
        }
        let process = check
            .text(&["type"])
            .is_some_and(|t| t.eq_ignore_ascii_case("process"));
        // As the read model shows a check that only connects.
        if process || check.0.get("path") == Some(&Value::Null) {
            return Ok(Some(HealthCheck {
                path: None,
                process: process || check.flag("process"),
            }));
        }
        let path = check.text(&["path"]).unwrap_or("/health");
        let plain = |c: char| c.is_ascii_graphic();
        if !path.starts_with('/') || path.len() > 1024 || !path.chars().all(plain) {
            let text = format!("\"{path}\" is no path; begin it with '/', without blanks");
            return Err(fault("healthCheck.path", text));
        }
        Ok(Some(HealthCheck {
            path: Some(path.to_owned()),
            process: false,
        }))
    }

    /// Times of the rollout, in seconds as stages give them.
    ///
    /// # Errors
    /// When one is no number of at most a day.
    pub fn timing(&self) -> Result<Timing, Fault> {
        let ms = |field: &str| -> Result<Option<u64>, Fault> {
            match self.number(field)? {
                Some(seconds) if seconds > 86_400 => Err(fault(
                    field,
                    format!("{seconds} is more than a day; lower it"),
                )),
                seconds => Ok(seconds.map(|s| s * 1000)),
            }
        };
        Ok(Timing {
            settle_ms: ms("settleSeconds")?,
            start_timeout_ms: ms("startTimeoutSeconds")?,
            drain_timeout_ms: ms("drainSeconds")?,
            grace_ms: ms("graceSeconds")?,
        })
    }
}

pub(crate) fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn input(value: Value) -> Input {
        Input::of(value).unwrap()
    }

    #[test]
    fn capacities_are_completed_and_may_be_text() {
        let of = |min, max, desired| Some(Capacity { min, max, desired });
        for (given, expected) in [
            (json!({}), None),
            (json!({"capacity": null}), None),
            (json!({"capacity": {"desired": 3}}), of(3, 3, 3)),
            (
                json!({"capacity": {"min": "1", "max": "4", "desired": "2"}}),
                of(1, 4, 2),
            ),
            (
                json!({"capacity": {"min": 5, "max": 5, "desired": 3}}),
                of(3, 5, 3),
            ),
            (json!({"capacity": {"min": 2}}), of(2, 2, 2)),
        ] {
            assert_eq!(
                input(given.clone()).capacity().unwrap(),
                expected,
                "{given}"
            );
        }
        for (given, path) in [
            (json!({"capacity": {"desired": -1}}), "capacity.desired"),
            (json!({"capacity": {"desired": 1.5}}), "capacity.desired"),
            (json!({"capacity": {"max": 1_000_000}}), "capacity.max"),
            (
                json!({"capacity": {"min": 3, "max": 1, "desired": 2}}),
                "capacity.min",
            ),
        ] {
            assert_eq!(input(given).capacity().unwrap_err().path, path);
        }
    }

    #[test]
    fn faults_name_the_field() {
        let wrong = input(json!({
            "account": "a", "credentials": "b", "loadBalancers": ["x", 1],
            "env": {"PORT": "1"}, "healthCheck": {"path": "health"}, "drainSeconds": "soon",
        }));
        for (path, fault) in [
            ("account", wrong.account().unwrap_err()),
            ("region", wrong.region().unwrap_err()),
            ("serverGroupName", wrong.server_group().unwrap_err()),
            ("loadBalancers[1]", wrong.load_balancers().unwrap_err()),
            ("env.PORT", wrong.environment().unwrap_err()),
            ("healthCheck.path", wrong.health().unwrap_err()),
            ("drainSeconds", wrong.timing().unwrap_err()),
        ] {
            assert_eq!(fault.path, path);
        }
    }

    #[test]
    fn fields_have_the_names_stages_use() {
        let given = input(json!({
            "credentials": "prod", "availabilityZones": {"local": ["a"]}, "asgName": "x-v000",
            "amiName": "r/x:1", "source": {"asgName": "x-v001"}, "env": {"A": 1, "B": true},
            "allowOutage": "true",
        }));
        assert_eq!(given.account().unwrap(), "prod");
        assert_eq!(given.region().unwrap(), "local");
        assert_eq!(given.server_group().unwrap(), "x-v000");
        assert_eq!(given.image().unwrap(), "r/x:1");
        assert_eq!(given.source().unwrap(), "x-v001");
        assert_eq!(given.environment().unwrap().unwrap()["A"], "1");
        assert!(given.flag("allowOutage") && !given.flag("force"));
    }
}
