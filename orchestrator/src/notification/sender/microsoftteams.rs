//! `microsoftteams`: an adaptive card to the webhook of a channel.
//! Source: `echo: MicrosoftTeamsNotificationAgent`.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::super::render::{Message, Mood};
use super::{SendError, Sender, Sending, address, check_url, post};

/// See the module.
#[derive(Debug)]
pub(super) struct MicrosoftTeams;

#[async_trait]
impl Sender for MicrosoftTeams {
    fn kind(&self) -> &'static str {
        "microsoftteams"
    }

    fn check(&self, notification: &Value) -> Result<(), String> {
        check_url(notification)
    }

    async fn send(&self, sending: &Sending<'_>) -> Result<(), SendError> {
        let url = address(sending.notification).map_err(SendError::never)?;
        let body = card(sending.message).to_string().into_bytes();
        post(sending, url, Vec::new(), "application/json", body).await?;
        Ok(())
    }
}

fn card(message: &Message) -> Value {
    let style = match message.mood {
        Mood::Bad => "attention",
        Mood::Good => "good",
        Mood::Neutral | Mood::Ended => "emphasis",
    };
    let text = |text: &str| json!({"type": "TextBlock", "text": text, "wrap": true});
    let fact = |title: &str, value: &str| json!({"title": title, "value": value});
    let mut facts = vec![
        fact("Application", &message.application),
        fact("Pipeline Name", &message.pipeline),
        fact("Status", &message.status),
    ];
    if let Some(stage) = &message.stage {
        facts.push(fact("Stage Name", stage));
    }
    let mut body = vec![
        json!({"type": "Container", "style": style, "bleed": true, "items": [
            {"type": "TextBlock", "text": message.title, "weight": "bolder", "size": "large", "wrap": true},
        ]}),
        text(&message.summary),
    ];
    body.extend(message.lines().iter().map(|line| text(line)));
    body.push(json!({"type": "FactSet", "facts": facts}));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard", "version": "1.4", "body": body,
                "actions": [{"type": "Action.OpenUrl", "title": "View", "url": message.link}],
                "msteams": {"width": "Full"},
            },
        }],
    })
}
