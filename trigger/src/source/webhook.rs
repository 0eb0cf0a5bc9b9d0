//! `webhook`: somebody posted JSON. Source: `echo: WebhookEventHandler`,
//! `WebhooksController`.

use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::{Origin, Source, needs};
use crate::constraint;
use crate::event::{self, Event};
use crate::refusal::Refusal;

/// The trigger type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Webhook;

/// The body as an object; an empty one is `{}`.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    let invalid = |message: String| Failure::new(Kind::Invalid, message);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(payload)) => Ok(payload),
        Ok(_) => Err(invalid(
            "the body is JSON but no object; send {...}".to_owned(),
        )),
        Err(error) => Err(invalid(format!("the body is not JSON: {error}"))),
    }
}

fn image(name: &str, version: &str) -> Value {
    json!({
        "type": "docker/image", "name": name, "version": version,
        "reference": format!("{name}:{version}"),
    })
}

/// The artifacts that a body brings, or that its sender is known to mean.
fn artifacts(source: &str, payload: &Map<String, Value>) -> Vec<Value> {
    if let Some(Value::Array(listed)) = payload.get("artifacts")
        && !listed.is_empty()
    {
        return listed.clone();
    }
    let body = Value::Object(payload.clone());
    let text = |path: &str| body.pointer(path).and_then(Value::as_str);
    match source {
        "dockerhub" => {
            let (name, tag) = (text("/repository/repo_name"), text("/push_data/tag"));
            let found = name
                .zip(tag)
                .map(|(name, tag)| image(&format!("index.docker.io/{name}"), tag));
            found.into_iter().collect()
        }
        "quay" => {
            let tags = payload.get("updated_tags").and_then(Value::as_array);
            let tags = tags.into_iter().flatten().filter_map(Value::as_str);
            let name = text("/docker_url").unwrap_or_default();
            tags.map(|tag| image(name, tag)).collect()
        }
        "dockerregistry" => {
            let pushes = payload.get("events").and_then(Value::as_array);
            let pushes = pushes.into_iter().flatten();
            let pushes = pushes.filter(|e| e.get("action").and_then(Value::as_str) == Some("push"));
            let image = |event: &Value| {
                let text = |path: &str| event.pointer(path).and_then(Value::as_str);
                let name = format!("{}/{}", text("/request/host")?, text("/target/repository")?);
                Some(match (text("/target/tag"), text("/target/digest")) {
                    (Some(tag), _) => image(&name, tag),
                    (None, digest) => json!({
                        "type": "docker/image", "name": name, "version": digest?,
                        "reference": format!("{name}@{}", digest?),
                    }),
                })
            };
            pushes.filter_map(image).collect()
        }
        "harbor" => {
            let resources = body
                .pointer("/event_data/resources")
                .and_then(Value::as_array);
            let resources = resources.into_iter().flatten();
            let url = resources.filter_map(|r| r.get("resource_url")?.as_str());
            url.filter_map(|url| url.rsplit_once(':'))
                .map(|(name, tag)| image(name, tag))
                .collect()
        }
        _ => Vec::new(),
    }
}

impl Source for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    /// Differs from Spinnaker: a delivery that names itself and comes again is the
    /// same event; without a name each is one of its own.
    fn parse(&self, origin: &Origin<'_>, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let payload = object(body)?;
        let parameters = match payload.get("parameters") {
            Some(Value::Object(parameters)) => parameters.clone(),
            _ => Map::new(),
        };
        let artifacts = artifacts(origin.source, &payload);
        let content = json!({
            "source": origin.source, "parameters": parameters, "payload": payload,
        });
        Ok(vec![Event {
            id: event::id("webhook", &[origin.source, &origin.delivery()]),
            kind: "webhook".to_owned(),
            via: "notification".to_owned(),
            received_at_ms: origin.received_at_ms,
            happened_at_ms: 0,
            content: content.as_object().cloned().unwrap_or_default(),
            artifacts,
            proof: origin.proof(body),
        }])
    }

    fn standing(&self, trigger: &Map<String, Value>) -> Result<(), Refusal> {
        needs(trigger, &["source"])?;
        constraint::readable(trigger, "payloadConstraints")
    }

    fn matches(&self, trigger: &Map<String, Value>, event: &Event) -> Result<(), Refusal> {
        let wanted = trigger
            .get("source")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if wanted.is_empty() {
            return Err(Refusal::absent("source"));
        }
        if wanted != event.text("source") {
            return Err(Refusal::differs("source", wanted, event.text("source")));
        }
        let secret = trigger.get("secret").and_then(Value::as_str);
        event.proof.check(secret.unwrap_or_default())?;
        let nothing = Value::Null;
        let payload = event.content.get("payload").unwrap_or(&nothing);
        constraint::check(trigger, "payloadConstraints", payload)
    }

    fn fired(&self, trigger: &Map<String, Value>, event: &Event) -> Map<String, Value> {
        let mut fired = trigger.clone();
        fired.shift_remove("secret");
        for key in ["parameters", "payload"] {
            let value = event.content.get(key).cloned().unwrap_or_default();
            fired.insert(key.to_owned(), value);
        }
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin<'a>(source: &'a str, headers: &'a [(String, String)]) -> Origin<'a> {
        Origin {
            source,
            registry: "",
            headers,
            nonce: "n1",
            received_at_ms: 7,
        }
    }

    fn parse(source: &str, body: &Value) -> Event {
        let events = Webhook.parse(&origin(source, &[]), body.to_string().as_bytes());
        events.unwrap().remove(0)
    }

    #[test]
    fn a_body_fires_the_triggers_of_its_source_with_its_parameters() {
        let event = parse(
            "ci",
            &json!({"parameters": {"v": "1"}, "branch": "main",
            "artifacts": [{"type": "x"}]}),
        );
        let trigger =
            json!({"source": "ci", "secret": "", "payloadConstraints": {"branch": "^main$"}});
        let trigger = trigger.as_object().unwrap();
        assert_eq!(Webhook.matches(trigger, &event), Ok(()));
        let fired = Webhook.fired(trigger, &event);
        assert_eq!(fired["parameters"], json!({"v": "1"}));
        assert_eq!(fired["payload"]["branch"], "main");
        assert!(!fired.contains_key("secret"));
        assert_eq!(event.artifacts, [json!({"type": "x"})]);
        let other = json!({"source": "CI"});
        let refusal = Webhook
            .matches(other.as_object().unwrap(), &event)
            .unwrap_err();
        assert_eq!((&*refusal.field, &*refusal.actual), ("source", "ci"));
    }

    #[test]
    fn registries_that_post_here_bring_their_images() {
        for (source, body, reference) in [
            (
                "dockerhub",
                json!({"push_data": {"tag": "1"}, "repository": {"repo_name": "o/r"}}),
                "index.docker.io/o/r:1",
            ),
            (
                "quay",
                json!({"docker_url": "quay.io/o/r", "updated_tags": ["2"]}),
                "quay.io/o/r:2",
            ),
            (
                "harbor",
                json!({"event_data": {"resources": [{"resource_url": "h/p/r:3"}]}}),
                "h/p/r:3",
            ),
        ] {
            assert_eq!(parse(source, &body).artifacts[0]["reference"], reference);
        }
    }

    #[test]
    fn a_delivery_that_names_itself_is_one_event() {
        let headers = [("X-GitHub-Delivery".to_owned(), "d1".to_owned())];
        let once = Webhook.parse(&origin("a", &headers), b"{}").unwrap();
        let mut again = origin("a", &headers);
        again.nonce = "n2";
        let again = Webhook.parse(&again, b"").unwrap();
        assert_eq!(once[0].id, again[0].id);
        let unnamed = |nonce| {
            let mut origin = origin("a", &[]);
            origin.nonce = nonce;
            Webhook.parse(&origin, b"{}").unwrap().remove(0).id
        };
        assert_ne!(unnamed("n1"), unnamed("n2"));
        assert!(Webhook.parse(&origin("a", &[]), b"[1]").is_err());
        assert!(Webhook.parse(&origin("a", &[]), b"{").is_err());
    }
}
