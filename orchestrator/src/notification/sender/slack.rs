//! `slack`: a bot's `chat.postMessage`, or an incoming webhook.
//! Source: `echo: SlackNotificationAgent`, `SlackService`.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::super::render::{Message, Mood};
use super::{SendError, Sender, Sending, address, post, secret};
use crate::services::HttpResponse;

/// See the module.
#[derive(Debug)]
pub(super) struct Slack;

#[async_trait]
impl Sender for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn check(&self, notification: &Value) -> Result<(), String> {
        address(notification).map(|_| ())
    }

    async fn send(&self, sending: &Sending<'_>) -> Result<(), SendError> {
        let settings = &sending.config.slack;
        let token = secret(
            settings.token.as_ref(),
            "orchestrator.notifications.slack.token",
        )?;
        let channel = channel(address(sending.notification).map_err(SendError::never)?);
        let mut body = layout(sending.message, settings.send_compact_messages);
        body["channel"] = channel.into();
        let json = "application/json; charset=utf-8";
        if settings.force_use_incoming_webhook || token.matches('/').count() >= 2 {
            let default = "https://hooks.slack.com/services";
            let base = settings.base_url.as_deref().unwrap_or(default);
            let url = format!(
                "{}/{}",
                base.trim_end_matches('/'),
                token.trim_start_matches('/')
            );
            let body = body.to_string().into_bytes();
            post(sending, &url, Vec::new(), json, body)
                .await
                .map_err(|error| without(error, &token))?;
            return Ok(());
        }
        let base = settings.base_url.as_deref().unwrap_or("https://slack.com");
        let url = format!("{}/api/chat.postMessage", base.trim_end_matches('/'));
        let headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        let answer = post(sending, &url, headers, json, body.to_string().into_bytes()).await?;
        understood(&answer)
    }
}

/// Slack answers 200 with `ok: false` to what it refuses.
fn understood(answer: &HttpResponse) -> Result<(), SendError> {
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if told.get("ok") != Some(&Value::Bool(false)) {
        return Ok(());
    }
    let error = told
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or("no reason");
    let text = format!("slack refused the message: {error}");
    Err(match error {
        "channel_not_found" | "is_archived" | "msg_too_long" | "no_text" | "invalid_blocks" => {
            SendError::never(text)
        }
        _ => SendError::later(text),
    })
}

/// The path of an incoming webhook is its secret.
fn without(mut error: SendError, token: &str) -> SendError {
    error.message = error.message.replace(token, "…");
    error
}

/// `echo` puts a `#` before a name without one.
fn channel(address: &str) -> String {
    if address.starts_with(['#', '@', 'C', 'D', 'G', 'U']) || address.contains("${") {
        address.to_owned()
    } else {
        format!("#{address}")
    }
}

fn colour(mood: Mood) -> &'static str {
    match mood {
        Mood::Neutral => "#2275B8",
        Mood::Good => "#769D3E",
        Mood::Bad => "#B82525",
        Mood::Ended => "#CCCCCC",
    }
}

/// Slack's three special characters.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn layout(message: &Message, compact: bool) -> Value {
    let summary = format!("<{}|{}>", message.link, escape(&message.summary));
    let lines: Vec<String> = message.lines().iter().map(|l| escape(l)).collect();
    let text = format!("{summary}\n\n{}", lines.join("\n"));
    if compact {
        return json!({"text": text});
    }
    json!({"attachments": [{
        "title": escape(&message.title), "text": text, "fallback": message.summary,
        "color": colour(message.mood), "footer": "Gennaker", "mrkdwn_in": ["text"],
    }]})
}
