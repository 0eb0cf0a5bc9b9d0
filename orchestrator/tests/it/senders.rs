//! Each sender against a server on a socket: what it sends, and what it makes of answers.

use orchestrator::notification::plan::Planned;
use orchestrator::notification::render::render;
use orchestrator::notification::sender::{self, SendError, Sending};
use orchestrator::notification::{Config, Tls};
use orchestrator::services::EgressHttp;
use orchestrator_core::Execution;
use runtime::config::SecretRef;
use runtime::egress::{Egress, Settings};
use serde_json::{Value, json};

use crate::sink::{Answer, Received, Sink};

/// A secret in a file.
struct Secret {
    file: tempfile::NamedTempFile,
}

impl Secret {
    fn new(text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{text}\n")).unwrap();
        Self { file }
    }

    fn reference(&self) -> Option<SecretRef> {
        Some(
            format!("file:{}", self.file.path().display())
                .parse()
                .unwrap(),
        )
    }
}

fn egress(allow: &[&str]) -> EgressHttp {
    let allow = allow.iter().map(|a| a.parse().unwrap()).collect();
    let settings = Settings {
        allow,
        ..Settings::default()
    };
    EgressHttp(Egress::new(settings).unwrap())
}

fn execution() -> Execution {
    serde_json::from_value(json!({
        "id": "E", "type": "PIPELINE", "application": "shop", "name": "Deploy <1>", "status": "TERMINAL",
        "trigger": {"type": "git", "project": "acme", "slug": "shop", "hash": "0a1b2c3d4e", "branch": "main"},
        "stages": [{"id": "S", "refId": "1", "type": "wait", "name": "Wait", "status": "TERMINAL",
            "context": {"exception": {"details": {"errors": ["disk full"]}}}}],
    }))
    .unwrap()
}

async fn sent(
    notification: &Value,
    when: &str,
    config: &Config,
    allow: &[&str],
) -> Result<(), SendError> {
    let execution = execution();
    let planned = Planned {
        id: format!("E/{when}/0"),
        execution_id: "E".to_owned(),
        stage_id: None,
        when: when.to_owned(),
        notification: notification.clone(),
        at: 1,
        failures: 0,
        last_error: None,
    };
    let message = render(&planned, notification, &execution, "http://ui.test/ui/");
    let http = egress(allow);
    let sending = Sending {
        id: &planned.id,
        notification,
        message: &message,
        execution: &execution,
        config,
        http: &http,
    };
    let kind = notification["type"].as_str().unwrap();
    sender::find(kind).unwrap().send(&sending).await
}

const HERE: &[&str] = &["127.0.0.1"];
const LINK: &str = "http://ui.test/ui/#/applications/shop/executions/details/E";

async fn one(notification: &Value, config: &Config, sink: &Sink) -> Received {
    sent(notification, "pipeline.failed", config, HERE)
        .await
        .unwrap();
    sink.received().pop().unwrap()
}

fn slack(sink: &Sink, token: &Secret) -> Config {
    let mut config = Config::default();
    config.slack.token = token.reference();
    config.slack.base_url = Some(sink.url(""));
    config
}

#[tokio::test]
async fn slack_gets_a_message_by_the_bots_token() {
    let (sink, token) = (Sink::http(&[]).await, Secret::new("xoxb-1"));
    let config = slack(&sink, &token);
    let to = json!({"type": "slack", "address": "builds"});
    let got = one(&to, &config, &sink).await;
    assert!(
        got.line.starts_with("POST /api/chat.postMessage "),
        "{got:?}"
    );
    assert_eq!(got.headers["authorization"], "Bearer xoxb-1");
    assert_eq!(got.key(), "E/pipeline.failed/0");
    let body = got.json();
    assert_eq!(body["channel"], "#builds");
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["color"], "#B82525");
    let text = attachment["text"].as_str().unwrap();
    assert!(
        text.starts_with(&format!(
            "<{LINK}|shop's Deploy &lt;1&gt; pipeline has failed>\n\nCause: disk full\n"
        )),
        "{text}"
    );
}

#[tokio::test]
async fn slack_gets_a_message_by_an_incoming_webhook() {
    let (sink, token) = (
        Sink::http(&[Answer::With(500, "no")]).await,
        Secret::new("T1/B2/s3"),
    );
    let config = slack(&sink, &token);
    let to = json!({"type": "slack", "address": "#builds"});
    let failed = sent(&to, "pipeline.failed", &config, HERE)
        .await
        .unwrap_err();
    assert!(
        !failed.permanent && !failed.message.contains("s3"),
        "{failed:?}"
    );
    let got = one(&to, &config, &sink).await;
    assert!(got.line.starts_with("POST /T1/B2/s3 "), "{got:?}");
    assert!(!got.headers.contains_key("authorization"));
}

#[tokio::test]
async fn what_slack_refuses_is_an_error() {
    for (answer, permanent) in [
        ("{\"ok\":false,\"error\":\"channel_not_found\"}", true),
        ("{\"ok\":false,\"error\":\"ratelimited\"}", false),
    ] {
        let (sink, token) = (
            Sink::http(&[Answer::With(200, answer)]).await,
            Secret::new("x"),
        );
        let config = slack(&sink, &token);
        let to = json!({"type": "slack", "address": "#c"});
        let failed = sent(&to, "pipeline.failed", &config, HERE)
            .await
            .unwrap_err();
        assert_eq!(failed.permanent, permanent, "{failed:?}");
    }
}

#[tokio::test]
async fn a_webhook_is_signed() {
    let (sink, key) = (Sink::http(&[]).await, Secret::new("k"));
    let mut config = Config::default();
    config.webhook.secret = key.reference();
    let to = json!({"type": "webhook", "address": sink.url("/in")});
    let got = one(&to, &config, &sink).await;
    assert!(got.headers["x-signature-256"].starts_with("sha256="));
    assert_eq!(got.headers["x-signature-256"].len(), 7 + 64);
    let body = got.json();
    assert_eq!(
        (&body["id"], &body["type"]),
        (&json!("E/pipeline.failed/0"), &json!("pipeline.failed"))
    );
    assert_eq!(
        (&body["cause"]["message"], &body["link"]),
        (&json!("disk full"), &json!(LINK))
    );
    assert_eq!(
        body["startedBy"],
        "git push of 0a1b2c3d to acme/shop (main)"
    );
}

#[tokio::test]
async fn addresses_of_users_pass_the_egress_guard() {
    let sink = Sink::http(&[]).await;
    for kind in ["webhook", "microsoftteams"] {
        let to = json!({"type": kind, "address": sink.url("/")});
        let refused = sent(&to, "pipeline.failed", &Config::default(), &[])
            .await
            .unwrap_err();
        assert!(
            refused.permanent && refused.message.contains("loopback"),
            "{refused:?}"
        );
    }
    assert!(sink.received().is_empty());
}

#[tokio::test]
async fn answers_say_whether_trying_again_can_help() {
    for (status, permanent) in [
        (400, true),
        (404, true),
        (410, true),
        (401, false),
        (429, false),
        (503, false),
    ] {
        let sink = Sink::http(&[Answer::With(status, "because")]).await;
        let to = json!({"type": "webhook", "address": sink.url("/secret-path")});
        let failed = sent(&to, "pipeline.failed", &Config::default(), HERE)
            .await
            .unwrap_err();
        assert_eq!(failed.permanent, permanent, "{failed:?}");
        assert!(
            failed.message.contains(&status.to_string()) && !failed.message.contains("secret-path")
        );
    }
}

#[tokio::test]
async fn teams_gets_an_adaptive_card() {
    let sink = Sink::http(&[]).await;
    let to = json!({"type": "microsoftteams", "address": sink.url("/teams")});
    let body = one(&to, &Config::default(), &sink).await.json();
    let card = &body["attachments"][0]["content"];
    assert_eq!(
        (&card["type"], &card["body"][0]["style"]),
        (&json!("AdaptiveCard"), &json!("attention"))
    );
    assert_eq!(
        card["body"][0]["items"][0]["text"],
        "Pipeline failed for SHOP"
    );
    assert_eq!(card["body"][2]["text"], "Cause: disk full");
    assert_eq!(card["actions"][0]["url"], LINK);
}

#[tokio::test]
async fn github_gets_the_state_of_the_commit() {
    let (sink, token) = (Sink::http(&[]).await, Secret::new("ghp"));
    let mut config = Config::default();
    config.github_status.token = token.reference();
    config.github_status.endpoint = sink.url("");
    let to = json!({"type": "githubStatus"});
    for (when, state) in [
        ("pipeline.starting", "pending"),
        ("pipeline.complete", "success"),
        ("pipeline.failed", "failure"),
        ("pipeline.canceled", "error"),
    ] {
        sent(&to, when, &config, HERE).await.unwrap();
        let got = sink.received().pop().unwrap();
        assert!(
            got.line
                .starts_with("POST /repos/acme/shop/statuses/0a1b2c3d4e "),
            "{got:?}"
        );
        assert_eq!(got.headers["authorization"], "token ghp");
        let body = got.json();
        assert_eq!(
            (&body["state"], &body["target_url"]),
            (&json!(state), &json!(LINK)),
            "{when}"
        );
        assert_eq!(body["context"], "pipeline/Deploy <1>");
    }
    let forced = json!({"type": "githubStatus", "repo": "a/../b", "commit": "1"});
    let refused = sent(&forced, "pipeline.failed", &config, HERE)
        .await
        .unwrap_err();
    assert!(refused.permanent, "{refused:?}");
}

fn email(sink: &Sink) -> Config {
    let mut config = Config::default();
    config.email.host = Some("127.0.0.1".to_owned());
    config.email.port = Some(sink.address.port());
    config.email.from = "Gennaker <cd@shop.test>".to_owned();
    config.email.tls = Tls::None;
    config
}

#[tokio::test]
async fn mail_goes_to_every_address_and_a_repeat_is_the_same_mail() {
    let sink = Sink::smtp(&[]).await;
    let config = email(&sink);
    let to = json!({"type": "email", "address": "ann@a.test; bob@b.test", "cc": "team@c.test"});
    let first = one(&to, &config, &sink).await;
    for receiver in ["ann@a.test", "bob@b.test", "team@c.test"] {
        assert!(
            first.line.contains(&format!("RCPT TO:<{receiver}>")),
            "{first:?}"
        );
    }
    assert!(first.line.contains("MAIL FROM:<cd@shop.test>"), "{first:?}");
    assert_eq!(
        first.headers["subject"],
        "shop's Deploy <1> pipeline has failed"
    );
    assert_eq!(first.key(), "E/pipeline.failed/0");
    assert!(
        first.body.contains("Cause: disk full") && first.body.contains("&lt;1&gt;"),
        "{}",
        first.body
    );
    let again = one(&to, &config, &sink).await;
    assert_eq!(first.headers["message-id"], again.headers["message-id"]);
}

#[tokio::test]
async fn what_a_mail_server_refuses_is_an_error() {
    for (status, permanent) in [(554, true), (451, false)] {
        let sink = Sink::smtp(&[Answer::With(status, "no such luck")]).await;
        let to = json!({"type": "email", "address": "ann@a.test"});
        let failed = sent(&to, "pipeline.failed", &email(&sink), HERE)
            .await
            .unwrap_err();
        assert_eq!(failed.permanent, permanent, "{failed:?}");
    }
}

#[tokio::test]
async fn a_password_is_not_sent_in_the_open() {
    let (sink, password) = (Sink::smtp(&[]).await, Secret::new("hunter2"));
    let mut config = email(&sink);
    config.email.username = Some("cd".to_owned());
    config.email.password = password.reference();
    let to = json!({"type": "email", "address": "ann@a.test"});
    let refused = sent(&to, "pipeline.failed", &config, HERE)
        .await
        .unwrap_err();
    assert!(refused.message.contains("email.tls") && !refused.message.contains("hunter2"));
    assert!(sink.received().is_empty());
    // A server that offers no TLS gets no mail when TLS is asked for.
    config.email.tls = Tls::Starttls;
    sent(&to, "pipeline.failed", &config, HERE)
        .await
        .unwrap_err();
    assert!(sink.received().is_empty());
}

#[tokio::test]
async fn a_sender_that_is_not_configured_names_the_setting() {
    for (kind, setting) in [
        ("slack", "orchestrator.notifications.slack.token"),
        ("email", "orchestrator.notifications.email.host"),
        (
            "githubStatus",
            "orchestrator.notifications.github-status.token",
        ),
    ] {
        let to = json!({"type": kind, "address": "a@b.test"});
        let failed = sent(&to, "pipeline.failed", &Config::default(), HERE)
            .await
            .unwrap_err();
        assert!(
            failed.message.contains(setting) && !failed.permanent,
            "{failed:?}"
        );
    }
}
