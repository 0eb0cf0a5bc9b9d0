//! Who follows `GET /live` for ever, over as many connections as it takes.

use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::Value;

use crate::http::Client;

/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// One server-sent event as it is being read.
#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: String,
}

impl Event {
    /// Takes a line; true with the empty one that ends the event.
    fn line(&mut self, line: &str) -> bool {
        match line.split_once(": ") {
            Some(("event", name)) => name.clone_into(&mut self.name),
            Some(("id", id)) => id.clone_into(&mut self.id),
            Some(("data", data)) => self.data.push_str(data),
            _ => return line.is_empty() && !self.data.is_empty(),
        }
        false
    }
}

/// Shows `see` the name and the data of each event, until this is dropped. What a connection misses that
/// was cut is shown by the next one.
pub async fn follow(client: &Client, path: &str, mut see: impl FnMut(&str, &Value)) {
    let mut last = String::new();
    loop {
        let client = match last.as_str() {
            "" => client.clone(),
            last => client.clone().header("Last-Event-ID", last),
        };
        let mut event = Event::default();
        // However it ends, it is opened again.
        let _cut = client
            .follow(path, |line| {
                if event.line(line) {
                    let event = std::mem::take(&mut event);
                    let data = serde_json::from_str(&event.data).unwrap_or_default();
                    see(&event.name, &data);
                    if !event.id.is_empty() {
                        last = event.id;
                    }
                }
                ControlFlow::Continue(())
            })
            .await;
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line_and_comments_are_none() {
        let mut event = Event::default();
        let lines = [
            ": still here",
            "",
            "event: execution",
            "id: 1@c",
            "data: {}",
        ];
        assert!(!lines.iter().any(|line| event.line(line)));
        assert!(event.line(""));
        let told = (event.name.as_str(), event.id.as_str(), event.data.as_str());
        assert_eq!(told, ("execution", "1@c", "{}"));
    }
}
