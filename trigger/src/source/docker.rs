//! `docker`: an image was pushed to a registry.
//!
//! Comes from the registry's own notifications and from polling; both give the
//! same event. Source of the matching: `echo: DockerEventHandler`.

use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::{Origin, Source, needs, usable};
use crate::event::{self, Event};
use crate::pattern;
use crate::proof::Proof;
use crate::refusal::Refusal;

/// Events one notification may hold; registries send one.
const MAX_EVENTS: usize = 100;

/// The trigger type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Docker;

/// A push, as both ways of learning of it describe it.
///
/// Differs from Spinnaker: a tag that moves back to a digest it had is the same
/// event again, so it starts nothing as long as that event is remembered.
pub fn pushed(origin: &Origin<'_>, via: &str, repository: &str, tag: &str, digest: &str) -> Event {
    let name = format!("{}/{repository}", origin.registry);
    let content = [
        ("account", origin.source),
        ("registry", origin.registry),
        ("repository", repository),
        ("tag", tag),
        ("digest", digest),
    ];
    Event {
        id: event::id("docker", &[origin.source, repository, tag, digest]),
        kind: "docker".to_owned(),
        via: via.to_owned(),
        received_at_ms: origin.received_at_ms,
        happened_at_ms: 0,
        content: content
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect(),
        // By tag although the digest is known: that is what pipelines written
        // for Spinnaker expect to find.
        artifacts: vec![json!({
            "type": "docker/image",
            "name": name,
            "version": tag,
            "reference": format!("{name}:{tag}"),
            "metadata": {"digest": digest},
        })],
        proof: Proof::default(),
    }
}

impl Source for Docker {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn is_of_registry(&self) -> bool {
        true
    }

    /// The envelope of the distribution project: `{"events": [{"action",
    /// "target": {"repository", "tag", "digest"}}]}`.
    ///
    /// Differs from Spinnaker: every manifest type counts, OCI manifests and
    /// indexes too.
    fn parse(&self, origin: &Origin<'_>, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let invalid = |message: String| Failure::new(Kind::Invalid, message);
        let envelope: Value = serde_json::from_slice(body)
            .map_err(|e| invalid(format!("the notification is not JSON: {e}")))?;
        let events = envelope
            .get("events")
            .and_then(Value::as_array)
            .ok_or_else(|| {
                invalid(
                    "events is missing; a registry's notification is {\"events\": [...]}"
                        .to_owned(),
                )
            })?;
        if events.len() > MAX_EVENTS {
            return Err(invalid(format!(
                "events has {} entries, more than the {MAX_EVENTS} allowed",
                events.len()
            )));
        }
        let mut found: Vec<Event> = Vec::new();
        let mut faulty = None;
        for (at, entry) in events.iter().enumerate() {
            if entry.get("action").and_then(Value::as_str) != Some("push") {
                continue;
            }
            let text = |key: &str| {
                let value = entry.pointer(&format!("/target/{key}"));
                value.and_then(Value::as_str).unwrap_or_default()
            };
            // A layer, or a manifest that is part of an index: no tag points to it.
            if text("tag").is_empty() {
                continue;
            }
            if let Some(key) = ["repository", "digest"]
                .into_iter()
                .find(|key| text(key).is_empty())
            {
                // What is beside it is taken all the same: the registry does not send it again.
                let fault = format!("events[{at}].target.{key} is missing");
                tracing::warn!(fault, "an entry of a registry's notification is left out");
                faulty.get_or_insert(fault);
                continue;
            }
            let event = pushed(
                origin,
                "notification",
                text("repository"),
                text("tag"),
                text("digest"),
            );
            if found.iter().all(|known| known.id != event.id) {
                found.push(event);
            }
        }
        if let Some(fault) = faulty.filter(|_| found.is_empty()) {
            return Err(invalid(fault));
        }
        Ok(found)
    }

    fn standing(&self, trigger: &Map<String, Value>) -> Result<(), Refusal> {
        needs(trigger, &["account", "repository"])?;
        usable(trigger, "tag")
    }

    fn matches(&self, trigger: &Map<String, Value>, event: &Event) -> Result<(), Refusal> {
        let wanted = |key: &str| trigger.get(key).and_then(Value::as_str).unwrap_or_default();
        for key in ["account", "repository"] {
            let (wanted, came) = (wanted(key), event.text(key));
            if wanted.is_empty() {
                return Err(Refusal::absent(key));
            }
            if wanted != came {
                return Err(Refusal::differs(key, wanted, came));
            }
        }
        let (pattern, tag) = (wanted("tag").trim(), event.text("tag"));
        if pattern.is_empty() {
            return if tag == "latest" {
                let message = "tag is \"latest\", which a trigger without a tag leaves out";
                let remedy = "set tag to \"latest\" to fire for it";
                Err(Refusal::new(
                    "tag",
                    "any tag but latest",
                    tag,
                    message,
                    remedy,
                ))
            } else {
                Ok(())
            };
        }
        match pattern::whole(pattern, tag) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::pattern("tag", pattern, tag)),
            Err(reason) => Err(Refusal::unusable("tag", pattern, &reason)),
        }
    }

    fn fired(&self, trigger: &Map<String, Value>, event: &Event) -> Map<String, Value> {
        let mut fired = trigger.clone();
        for key in ["tag", "digest"] {
            fired.insert(key.to_owned(), Value::from(event.text(key)));
        }
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin<'static> = Origin {
        source: "r",
        registry: "127.0.0.1:5000",
        headers: &[],
        nonce: "",
        received_at_ms: 7,
    };

    fn parse(value: &Value) -> Result<Vec<Event>, Failure> {
        Docker.parse(&ORIGIN, value.to_string().as_bytes())
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("no object: {other}"),
        }
    }

    #[test]
    fn a_notification_and_a_poll_give_the_same_event() {
        let target =
            json!({"repository": "team/a", "tag": "1", "digest": "sha256:x", "mediaType": "m"});
        let envelope = json!({"events": [
            {"action": "pull", "target": target},
            {"action": "push", "target": {"repository": "team/a", "digest": "sha256:layer"}},
            {"action": "push", "target": target, "id": "1"},
            {"action": "push", "target": target, "id": "2"},
        ]});
        let events = parse(&envelope).unwrap();
        let [event] = events.as_slice() else {
            panic!("{events:?}");
        };
        let polled = pushed(&ORIGIN, "poll", "team/a", "1", "sha256:x");
        assert_eq!((&event.id, &event.content), (&polled.id, &polled.content));
        assert_eq!(event.artifacts[0]["reference"], "127.0.0.1:5000/team/a:1");
        let other = pushed(&ORIGIN, "poll", "team/a", "1", "sha256:y");
        assert_ne!(event.id, other.id);
    }

    #[test]
    fn a_faulty_notification_names_the_place() {
        for (value, fragment) in [
            (json!([]), "events is missing"),
            (json!({"events": {}}), "events is missing"),
            (
                json!({"events": [{"action": "push", "target": {"tag": "1", "repository": "a"}}]}),
                "events[0].target.digest is missing",
            ),
        ] {
            let failure = parse(&value).unwrap_err();
            assert_eq!(failure.kind, Kind::Invalid);
            assert!(failure.message.contains(fragment), "{failure}");
        }
        assert!(Docker.parse(&ORIGIN, b"{").is_err());
        assert!(parse(&json!({"events": []})).unwrap().is_empty());
    }

    #[test]
    fn triggers_match_as_echo_matches_them() {
        let trigger = |extra: Value| {
            let mut base = object(json!({"account": "r", "repository": "team/a"}));
            base.extend(object(extra));
            base
        };
        for (extra, tag, expected) in [
            (json!({}), "1", None),
            (json!({"tag": null}), "1", None),
            (json!({"tag": "  "}), "1", None),
            (json!({}), "latest", Some("leaves out")),
            (json!({"tag": "latest"}), "latest", None),
            (json!({"tag": " v\\d+ "}), "v12", None),
            (json!({"tag": "v"}), "v12", Some("does not match")),
            (json!({"tag": "("}), "v12", Some("cannot be used")),
            (
                json!({"account": "R"}),
                "1",
                Some("account is \"r\", not \"R\""),
            ),
            (json!({"repository": "a"}), "1", Some("repository is")),
            (json!({"account": null}), "1", Some("has no account")),
            (
                json!({"registry": "elsewhere", "organization": "x"}),
                "1",
                None,
            ),
        ] {
            let event = pushed(&ORIGIN, "poll", "team/a", tag, "sha256:x");
            let outcome = Docker.matches(&trigger(extra.clone()), &event);
            match expected {
                None => assert_eq!(outcome, Ok(()), "{extra} {tag}"),
                Some(fragment) => {
                    let reason = outcome.unwrap_err().message;
                    assert!(reason.contains(fragment), "{extra} {tag}: {reason}");
                }
            }
        }
    }

    #[test]
    fn the_fired_trigger_has_the_tag_that_came_and_keeps_every_field() {
        let trigger = object(json!({"tag": "v.*", "unknown": [1.0]}));
        let fired = Docker.fired(&trigger, &pushed(&ORIGIN, "poll", "a", "v1", "sha256:x"));
        assert_eq!(
            Value::Object(fired),
            json!({"tag": "v1", "unknown": [1.0], "digest": "sha256:x"})
        );
    }
}
