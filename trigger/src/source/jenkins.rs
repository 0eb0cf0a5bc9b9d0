//! `jenkins`: a build succeeded. Source: `echo: BuildEventHandler`.

use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::{Origin, Source, needs};
use crate::constraint;
use crate::event::Event;
use crate::refusal::Refusal;

/// The trigger type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jenkins;

/// The property file a trigger names.
fn property_file(trigger: &Map<String, Value>) -> &str {
    let file = trigger.get("propertyFile").and_then(Value::as_str);
    file.unwrap_or_default()
}

fn properties(trigger: &Map<String, Value>, event: &Event) -> Option<Value> {
    let all = event.content.get("properties")?;
    all.get(property_file(trigger)).cloned()
}

impl Source for Jenkins {
    fn kind(&self) -> &'static str {
        "jenkins"
    }

    fn is_posted(&self) -> bool {
        false
    }

    fn parse(&self, _origin: &Origin<'_>, _body: &[u8]) -> Result<Vec<Event>, Failure> {
        let text = "events of type jenkins come from polling the masters; nobody posts them";
        Err(Failure::new(Kind::Invalid, text))
    }

    fn standing(&self, trigger: &Map<String, Value>) -> Result<(), Refusal> {
        needs(trigger, &["master", "job"])?;
        constraint::readable(trigger, "payloadConstraints")
    }

    fn matches(&self, trigger: &Map<String, Value>, event: &Event) -> Result<(), Refusal> {
        for key in ["master", "job"] {
            let wanted = trigger.get(key).and_then(Value::as_str).unwrap_or_default();
            if wanted.is_empty() {
                return Err(Refusal::absent(key));
            }
            if wanted != event.text(key) {
                return Err(Refusal::differs(key, wanted, event.text(key)));
            }
        }
        if event.text("result") != "SUCCESS" {
            let result = event.text("result");
            let message = format!("the build's result is {result}, not SUCCESS");
            let remedy = "repair the build; only successful ones fire";
            return Err(Refusal::new("result", "SUCCESS", result, &message, remedy));
        }
        let found = properties(trigger, event).unwrap_or_else(|| json!({}));
        constraint::check(trigger, "payloadConstraints", &found)
    }

    fn fired(&self, trigger: &Map<String, Value>, event: &Event) -> Map<String, Value> {
        let mut fired = trigger.clone();
        for (key, from) in [
            ("buildNumber", "number"),
            ("link", "url"),
            ("buildInfo", "buildInfo"),
        ] {
            let value = event.content.get(from).cloned().unwrap_or_default();
            fired.insert(key.to_owned(), value);
        }
        let found = properties(trigger, event).unwrap_or_else(|| json!({}));
        fired.insert("propertyFileContents".to_owned(), found.clone());
        fired.insert("properties".to_owned(), found);
        fired
    }
}
