//! Settings of the trigger service.

use std::collections::BTreeMap;
use std::time::Duration;

use authorization::Permissions;
use runtime::config::{SecretRef, Span};
use serde::Deserialize;

/// Section `trigger` of the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Time between two polls of a registry account. Default: 30s.
    pub poll_interval: Span,
    /// How long an event is remembered, and so recognised when it is repeated. Default: 30d.
    pub event_retention: Span,
    /// By registry account: what the `Authorization` header of its
    /// notifications must be, such as `Bearer …`, by reference. Default: not checked.
    pub notification_secrets: BTreeMap<String, SecretRef>,
    /// Starts of one pipeline by one trigger within a minute; one more and the trigger
    /// is held until it is released by hand. Default: 120; 0: any number.
    pub burst_limit: u32,
    /// Jenkins masters. Default: none.
    pub jenkins: Vec<Master>,
    /// Time between two polls of a Jenkins master. Default: 30s.
    pub jenkins_poll_interval: Span,
}

/// A Jenkins master.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Master {
    /// What triggers and stages call it.
    pub name: String,
    /// Its address, such as `https://jenkins.example.com`.
    pub address: String,
    /// Who polls and builds. Default: nobody, without authentication.
    pub username: Option<String>,
    /// That user's API token, by reference.
    pub password: Option<SecretRef>,
    /// Ask for a crumb before each change. Default: false.
    #[serde(default)]
    pub csrf: bool,
    /// Who may see its jobs and builds (READ), and start and stop builds (WRITE), where people
    /// have to authenticate. Default: everybody.
    #[serde(default)]
    pub permissions: Permissions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            poll_interval: Span(Duration::from_secs(30)),
            event_retention: Span(Duration::from_secs(30 * 24 * 3600)),
            notification_secrets: BTreeMap::new(),
            burst_limit: 120,
            jenkins: Vec::new(),
            jenkins_poll_interval: Span(Duration::from_secs(30)),
        }
    }
}
