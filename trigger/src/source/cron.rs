//! `cron`: a time has come. Source: `echo: PipelineConfigsPollingJob`.

use proto::status::{Failure, Kind};
use serde_json::{Map, Value};

use super::{Origin, Source};
use crate::event::Event;
use crate::matcher;
use crate::refusal::Refusal;

/// The trigger type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cron;

impl Source for Cron {
    fn kind(&self) -> &'static str {
        "cron"
    }

    fn is_posted(&self) -> bool {
        false
    }

    fn concerns(&self, trigger: &Map<String, Value>, event: &Event) -> bool {
        matcher::trigger_id(trigger) == event.text("triggerId")
    }

    fn parse(&self, _origin: &Origin<'_>, _body: &[u8]) -> Result<Vec<Event>, Failure> {
        let text = "events of type cron come from the schedule; nobody posts them";
        Err(Failure::new(Kind::Invalid, text))
    }

    fn matches(&self, trigger: &Map<String, Value>, event: &Event) -> Result<(), Refusal> {
        let expression = trigger.get("cronExpression").and_then(Value::as_str);
        let (expression, came) = (expression.unwrap_or_default(), event.text("cronExpression"));
        if expression == came {
            Ok(())
        } else {
            Err(Refusal::differs("cronExpression", expression, came))
        }
    }

    fn fired(&self, trigger: &Map<String, Value>, _event: &Event) -> Map<String, Value> {
        trigger.clone()
    }
}
