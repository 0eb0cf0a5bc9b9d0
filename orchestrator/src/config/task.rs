//! Settings of single tasks, and the form in which they see them.

use jiff::tz::TimeZone;
use runtime::config::SecretRef;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::Config;
use crate::stage::restrict_execution_during_time_window::ZONE;

/// Section `orchestrator.tasks` of the configuration.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tasks {
    /// The wait for a stage's execution window.
    pub execution_window: ExecutionWindow,
}

/// Section `orchestrator.tasks.execution-window` of the configuration.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExecutionWindow {
    /// Zone whose local time days and hours of execution windows are in. Default:
    /// `America/Los_Angeles`.
    pub timezone: Zone,
}

/// The name of a time zone, such as `Europe/Berlin`; one that is unknown ends the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(String);

impl Default for Zone {
    fn default() -> Self {
        Self(ZONE.to_owned())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match TimeZone::get(&name) {
            Ok(_) => Ok(Self(name)),
            Err(_) => Err(serde::de::Error::custom(format!(
                "\"{name}\" is no time zone; use a name such as Europe/Berlin"
            ))),
        }
    }
}

/// Section `orchestrator.pager-duty` of the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PagerDuty {
    /// A token of its interface, by reference; without one nobody can be paged.
    pub token: Option<SecretRef>,
    /// Default: `https://events.pagerduty.com`.
    pub base_url: String,
}

impl Default for PagerDuty {
    fn default() -> Self {
        Self {
            token: None,
            base_url: "https://events.pagerduty.com".to_owned(),
        }
    }
}

impl Config {
    /// The sections of single tasks.
    pub(super) fn add_tasks(&self, sections: &mut Map<String, Value>) {
        let zone = &self.tasks.execution_window.timezone.0;
        sections.insert("executionWindow".to_owned(), json!({"timezone": zone}));
        let pager = &self.pager_duty;
        // Where the token is; never itself.
        let pager = json!({"token": pager.token, "baseUrl": pager.base_url});
        sections.insert("pagerDuty".to_owned(), pager);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_known_by_its_name_or_refused() {
        let zone = |name: &str| serde_json::from_value::<Zone>(name.into());
        assert_eq!(zone("America/Los_Angeles").unwrap(), Zone::default());
        let refused = zone("Moon/Tycho").unwrap_err().to_string();
        assert!(
            refused.contains("\"Moon/Tycho\" is no time zone"),
            "{refused}"
        );
    }
}
