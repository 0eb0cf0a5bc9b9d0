//! Settings of notifications: senders and their secrets, by reference.

use std::time::Duration;

use runtime::config::{SecretRef, Span};
use serde::Deserialize;

/// Section `orchestrator.notifications` of the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Notifications sent at the same time. Default: 16.
    pub at_once: usize,
    /// How long sending one is tried. Default: 24h.
    pub give_up_after: Span,
    /// Pause after the first failure; it doubles up to 10 min. Default: 1s.
    pub first_pause: Span,
    /// How long one try may take. Default: 15s.
    pub timeout: Span,
    /// Slack, or what understands its interface.
    pub slack: Slack,
    /// SMTP.
    pub email: Email,
    /// Signed requests to addresses of users.
    pub webhook: Webhook,
    /// Commit statuses on GitHub.
    pub github_status: GithubStatus,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            at_once: 16,
            give_up_after: Span(Duration::from_secs(24 * 3600)),
            first_pause: Span(Duration::from_secs(1)),
            timeout: Span(Duration::from_secs(15)),
            slack: Slack::default(),
            email: Email::default(),
            webhook: Webhook::default(),
            github_status: GithubStatus::default(),
        }
    }
}

/// Settings of the sender `slack`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Slack {
    /// A bot's token, or the path `T…/B…/…` of an incoming webhook, by reference.
    pub token: Option<SecretRef>,
    /// Default: `https://slack.com`, or `https://hooks.slack.com/services` for an incoming webhook.
    pub base_url: Option<String>,
    /// The token is an incoming webhook's although it has fewer than two `/`. Default: false.
    pub force_use_incoming_webhook: bool,
    /// Short messages: text without attachment. Default: false.
    pub send_compact_messages: bool,
}

/// How a connection to the mail server is protected.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// From the first byte.
    Wrapper,
    /// By `STARTTLS`, or not at all sent.
    #[default]
    Starttls,
    /// Not at all; for a server on this machine.
    None,
}

/// Settings of the sender `email`.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Email {
    /// The server; without one nothing is sent.
    pub host: Option<String>,
    /// Default: 465 with `wrapper`, 587 with `starttls`, 25 with `none`.
    pub port: Option<u16>,
    /// Sender's address. Default: `gennaker@localhost`.
    pub from: String,
    /// Default: `starttls`.
    pub tls: Tls,
    /// Whom to log in as; nobody by default.
    pub username: Option<String>,
    /// That user's password, by reference.
    pub password: Option<SecretRef>,
}

impl Default for Email {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            from: "gennaker@localhost".to_owned(),
            tls: Tls::default(),
            username: None,
            password: None,
        }
    }
}

/// Settings of the sender `webhook`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Webhook {
    /// Key of the signature in `X-Signature-256`, by reference; without one requests are not signed.
    pub secret: Option<SecretRef>,
}

/// Settings of the sender `githubStatus`.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GithubStatus {
    /// A token that may set commit statuses, by reference.
    pub token: Option<SecretRef>,
    /// Default: `https://api.github.com`.
    pub endpoint: String,
}

impl Default for GithubStatus {
    fn default() -> Self {
        Self {
            token: None,
            endpoint: "https://api.github.com".to_owned(),
        }
    }
}
