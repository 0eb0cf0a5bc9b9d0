//! `email`: SMTP to the operator's mail server.
//! Source: `echo: EmailNotificationAgent`.
//!
//! `Message-ID` follows from the notification's id, so a repeat is the same message
//! to every mail program.

use async_trait::async_trait;
use lettre::message::{Mailbox, MultiPart, SinglePart, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::address::text;
use super::super::config::{self, Tls};
use super::super::render::Message;
use super::{SendError, Sender, Sending, address, secret};

/// Receivers of one mail.
const MOST: usize = 50;

/// See the module.
#[derive(Debug)]
pub(super) struct Email;

#[async_trait]
impl Sender for Email {
    fn kind(&self) -> &'static str {
        "email"
    }

    fn check(&self, notification: &Value) -> Result<(), String> {
        if address(notification)?.contains("${") {
            return Ok(());
        }
        receivers(notification, "address").map(|_| ())?;
        receivers(notification, "cc").map(|_| ())
    }

    async fn send(&self, sending: &Sending<'_>) -> Result<(), SendError> {
        let settings = &sending.config.email;
        let Some(host) = settings.host.as_deref() else {
            let text =
                "orchestrator.notifications.email.host is not set; set it in the configuration";
            return Err(SendError::later(text));
        };
        let mail = mail(sending, &settings.from)?;
        let transport = transport(settings, host, sending)?;
        transport.send(mail).await.map(|_| ()).map_err(|error| {
            let text = format!("mail server {host}: {}", reason(&error));
            if error.is_permanent() {
                SendError::never(text)
            } else {
                SendError::later(text)
            }
        })
    }
}

/// The innermost cause: what the server said.
fn reason(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    at.to_string()
}

fn transport(
    settings: &config::Email,
    host: &str,
    sending: &Sending<'_>,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, SendError> {
    let setup = |error: lettre::transport::smtp::Error| {
        SendError::later(format!("mail server {host}: {error}"))
    };
    let builder = match settings.tls {
        Tls::Wrapper => AsyncSmtpTransport::<Tokio1Executor>::relay(host).map_err(setup)?,
        Tls::Starttls => {
            AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host).map_err(setup)?
        }
        Tls::None => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host),
    };
    let mut builder = builder.timeout(Some(sending.config.timeout.0));
    if let Some(port) = settings.port {
        builder = builder.port(port);
    }
    if let Some(user) = &settings.username {
        if settings.tls == Tls::None {
            let text = "orchestrator.notifications.email.tls is none, and a password is not sent in the \
                        open; set it to starttls or wrapper, or remove username";
            return Err(SendError::later(text));
        }
        let setting = "orchestrator.notifications.email.password";
        let password = secret(settings.password.as_ref(), setting)?;
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

/// Addresses, split on space, comma and semicolon.
fn receivers(notification: &Value, key: &str) -> Result<Vec<Address>, String> {
    let written = text(notification, key).unwrap_or_default();
    let words = written.split([' ', ',', ';']).filter(|w| !w.is_empty());
    let all = words
        .map(|word| {
            word.parse()
                .map_err(|_| format!("\"{word}\" is no mail address; write name@host"))
        })
        .collect::<Result<Vec<Address>, String>>()?;
    if all.len() > MOST {
        return Err(format!(
            "{} receivers are more than the {MOST} allowed; use a list",
            all.len()
        ));
    }
    Ok(all)
}

fn mail(sending: &Sending<'_>, from: &str) -> Result<Mail, SendError> {
    let (notification, message) = (sending.notification, sending.message);
    let from: Mailbox = from.parse().map_err(|_| {
        SendError::later(format!(
            "orchestrator.notifications.email.from \"{from}\" is no mail address"
        ))
    })?;
    let hash = hex::encode(Sha256::digest(sending.id.as_bytes()));
    let host = from.email.domain().to_owned();
    let subject = text(notification, "customSubject").unwrap_or(&message.summary);
    // A subject is one line.
    let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut builder = Mail::builder()
        .from(from)
        .subject(subject)
        .message_id(Some(format!("<{}@{host}>", &hash[..40])))
        .raw_header(header::HeaderValue::new(
            header::HeaderName::new_from_ascii_str("Idempotency-Key"),
            sending.id.to_owned(),
        ));
    for to in receivers(notification, "address").map_err(SendError::never)? {
        builder = builder.to(Mailbox::new(None, to));
    }
    for cc in receivers(notification, "cc").map_err(SendError::never)? {
        builder = builder.cc(Mailbox::new(None, cc));
    }
    let plain = body(message, text(notification, "customBody"));
    let html = html(message, &plain);
    let parts = MultiPart::alternative()
        .singlepart(SinglePart::plain(plain))
        .singlepart(SinglePart::html(html));
    builder
        .multipart(parts)
        .map_err(|error| SendError::never(format!("the mail cannot be made: {error}")))
}

fn body(message: &Message, custom: Option<&str>) -> String {
    let mut lines = vec![format!("{}.", message.summary), String::new()];
    lines.extend(custom.map(ToOwned::to_owned));
    lines.extend(message.lines());
    lines.push(String::new());
    lines.push(format!(
        "To see more details, please visit: {}",
        message.link
    ));
    lines.join("\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn html(message: &Message, plain: &str) -> String {
    let link = escape(&message.link);
    let text = escape(plain).replace(&link, &format!("<a href=\"{link}\">{link}</a>"));
    format!("<html><body><pre style=\"font-family: sans-serif\">{text}</pre></body></html>")
}
