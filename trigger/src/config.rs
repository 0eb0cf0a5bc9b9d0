//! Settings of the trigger service.

use std::collections::BTreeMap;
use std::time::Duration;

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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            poll_interval: Span(Duration::from_secs(30)),
            event_retention: Span(Duration::from_secs(30 * 24 * 3600)),
            notification_secrets: BTreeMap::new(),
        }
    }
}
