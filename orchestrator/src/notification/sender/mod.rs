//! The senders: one file each, and two lines in [`SENDERS`].
//!
//! A sender lays a rendered message out and delivers it once; repeating is the
//! worker's. Every request to an address that a user chose passes the egress guard
//! and carries the notification's id as `Idempotency-Key`.

mod email;
mod github_status;
mod microsoftteams;
mod slack;
mod webhook;

use std::fmt::Debug;

use async_trait::async_trait;
use orchestrator_core::Execution;
use serde_json::Value;

use super::address::text;
use super::config::Config;
use super::render::Message;
use crate::services::{Http, HttpRequest, HttpResponse};

/// Every sender, by name.
static SENDERS: &[&dyn Sender] = &[
    &email::Email,
    &github_status::GithubStatus,
    &microsoftteams::MicrosoftTeams,
    &slack::Slack,
    &webhook::Webhook,
];

/// Characters of an answer that are told.
const TOLD: usize = 200;

/// What a sender is given.
pub struct Sending<'a> {
    /// Id of the notification.
    pub id: &'a str,
    /// As authored, expressions evaluated.
    pub notification: &'a Value,
    /// In words.
    pub message: &'a Message,
    /// The execution.
    pub execution: &'a Execution,
    /// Settings of the senders.
    pub config: &'a Config,
    /// HTTP through the egress guard.
    pub http: &'a dyn Http,
}

/// Why a notification was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// One sentence; never a secret.
    pub message: String,
    /// Nothing but a change of the notification helps.
    pub permanent: bool,
}

impl SendError {
    /// It may work later.
    pub fn later(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            permanent: false,
        }
    }

    /// It will not work.
    pub fn never(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            permanent: true,
        }
    }
}

/// A way to tell people.
#[async_trait]
pub trait Sender: Debug + Send + Sync {
    /// What `type` says, as shown; compared without regard to case.
    fn kind(&self) -> &'static str;

    /// Whether the address is one, as authored; one with an expression is not looked at.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, notification: &Value) -> Result<(), String>;

    /// Delivers.
    ///
    /// # Errors
    /// Why not, and whether trying again can help.
    async fn send(&self, sending: &Sending<'_>) -> Result<(), SendError>;
}

/// The sender of a type.
pub fn find(kind: &str) -> Option<&'static dyn Sender> {
    SENDERS
        .iter()
        .copied()
        .find(|sender| sender.kind().eq_ignore_ascii_case(kind))
}

/// The types there are, for people.
pub fn known_types() -> String {
    let all: Vec<&str> = SENDERS.iter().map(|sender| sender.kind()).collect();
    all.join(", ")
}

/// The address, which must be there.
fn address(notification: &Value) -> Result<&str, String> {
    text(notification, "address").ok_or_else(|| "it is missing; say where to send it".to_owned())
}

/// An address that is a URL, or becomes one.
fn check_url(notification: &Value) -> Result<(), String> {
    let address = address(notification)?;
    if address.contains("${") {
        return Ok(());
    }
    match url::Url::parse(address) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        // The address may hold a secret, so it is not repeated.
        _ => Err("it is no URL; write https://host/path".to_owned()),
    }
}

/// Sends JSON; an answer of 2xx is a delivery.
async fn post(
    sending: &Sending<'_>,
    url: &str,
    mut headers: Vec<(String, String)>,
    content_type: &str,
    body: Vec<u8>,
) -> Result<HttpResponse, SendError> {
    headers.push(("content-type".to_owned(), content_type.to_owned()));
    let timeout = sending.config.timeout.0.as_millis();
    let request = HttpRequest {
        follow_redirects: true,
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers,
        body,
        effect_id: sending.id.to_owned(),
        timeout_ms: u64::try_from(timeout).unwrap_or(u64::MAX),
    };
    let answer = sending
        .http
        .send(request)
        .await
        .map_err(|error| SendError {
            message: error.message,
            permanent: !error.transient,
        })?;
    match answer.status {
        200..=299 => Ok(answer),
        // The address or what is sent to it is wrong, now and later.
        status @ (400 | 404 | 405 | 410 | 413 | 422) => {
            Err(SendError::never(answered(url, status, &answer.body)))
        }
        status => Err(SendError::later(answered(url, status, &answer.body))),
    }
}

/// `<host> answered <status>: <its first words>`; the path may be a secret.
fn answered(url: &str, status: u16, body: &[u8]) -> String {
    let parsed = url::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(url::Url::host_str).unwrap_or("it");
    let said: String = String::from_utf8_lossy(body).chars().take(TOLD).collect();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if said.is_empty() {
        format!("{host} answered {status}")
    } else {
        format!("{host} answered {status}: {said}")
    }
}

/// A secret of the configuration; its reference is told, never itself.
fn secret(
    reference: Option<&runtime::config::SecretRef>,
    setting: &str,
) -> Result<String, SendError> {
    let Some(reference) = reference else {
        let text = format!("{setting} is not set; set it in the configuration");
        return Err(SendError::later(text));
    };
    reference
        .read()
        .map_err(|error| SendError::later(error.to_string()))
}
