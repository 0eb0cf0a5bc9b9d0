//! `gennaker expression`: expressions tried on an execution in a file, without a running installation.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use expression::Offline;
use serde_json::{Map, Value, json};

use crate::cli::{EvalExpression, Expression};
use crate::jsonl::{self, Answer};

/// The longest line, and the largest execution, in bytes.
const MAX: u64 = 10 * 1024 * 1024;

/// Runs the command.
pub(crate) fn run(order: &Expression) -> anyhow::Result<ExitCode> {
    let Expression::Eval(options) = order;
    let shown = options.execution.display();
    let file = std::fs::File::open(&options.execution);
    let file = file.with_context(|| format!("cannot read {shown}"))?;
    let mut text = String::new();
    let read = file.take(MAX + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {shown}"))?;
    if text.len() as u64 > MAX {
        bail!("{shown} is larger than {MAX} bytes");
    }
    let execution: Value =
        serde_json::from_str(&text).with_context(|| format!("{shown} is no JSON"))?;
    let offline = Offline::new(&execution, &options.stage);
    let offline = offline.map_err(|reason| anyhow!("{shown}: {reason}"))?;
    let output = std::io::stdout().lock();
    match options {
        EvalExpression {
            expression: Some(text),
            ..
        } => one(&offline, text, output),
        _ => lines(&offline, std::io::stdin().lock(), output),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// What is written of one expression: its result, and what failed.
fn answer(offline: &Offline, text: &str) -> Map<String, Value> {
    let (result, detail) = offline.ask(text, now_ms());
    let mut told = Map::from_iter([("result".to_owned(), result)]);
    if !detail.is_empty() {
        told.insert("detail".to_owned(), Value::Object(detail));
    }
    told
}

/// One expression; 1 when it failed.
fn one(offline: &Offline, text: &str, output: impl Write) -> anyhow::Result<ExitCode> {
    let told = answer(offline, text);
    jsonl::one(&told, told.contains_key("detail"), output)
}

/// A line for each line, in order; 65 when one was no question.
fn lines(offline: &Offline, input: impl BufRead, output: impl Write) -> anyhow::Result<ExitCode> {
    jsonl::each(input, output, MAX, |number, line| {
        let asked: Value = serde_json::from_slice(line).unwrap_or_default();
        let id = asked.get("id").cloned().unwrap_or_default();
        let mut told = Map::from_iter([("id".to_owned(), id)]);
        let mut unread = None;
        if let Some(text) = asked.get("expression").and_then(Value::as_str) {
            told.extend(answer(offline, text));
        } else {
            let message = format!("line {number} is no {{\"id\": …, \"expression\": \"…\"}}");
            told.insert("error".to_owned(), json!({ "message": message }));
            unread = Some(message);
        }
        Answer { told, unread }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline() -> Offline {
        let execution = json!({"id": "E", "application": "a", "trigger": {}, "stages": [
            {"id": "S", "refId": "1", "context": {"x": 20}, "requisiteStageRefIds": []}]});
        Offline::new(&execution, "S").unwrap()
    }

    #[test]
    fn each_line_is_answered_in_order() {
        let input = b"{\"id\": \"a\", \"expression\": \"${x * 2 + 2}\"}\n\n\
            {\"id\": 7, \"expression\": \"${nonsense(}\"}\nno\n{\"id\": \"c\", \"expression\": \"plain\"}";
        let mut output = Vec::new();
        let code = lines(&offline(), &input[..], &mut output).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(65)));
        let told: Vec<Value> = String::from_utf8(output)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(told[0], json!({"id": "a", "result": 42}));
        assert_eq!(
            (&told[1]["id"], &told[1]["result"]),
            (&json!(7), &json!("${nonsense(}"))
        );
        assert!(told[1]["detail"].is_object());
        assert!(
            told[2]["error"]["message"]
                .as_str()
                .unwrap()
                .contains("line 4")
        );
        assert_eq!(told[3], json!({"id": "c", "result": "plain"}));
    }
}
