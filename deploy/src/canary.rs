//! `gennaker canary`: canary judgements tried on metrics in a file, without a running installation. The judging is the
//! crate `judge`'s.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use judge::offline;
use serde_json::{Map, Value, json};

use crate::cli::{Canary, JudgeCanary};
use crate::jsonl::{self, Answer};

/// The longest line, in bytes: two sides of a hundred metrics with ten thousand values each.
const MAX: u64 = 32 * 1024 * 1024;

/// What answers a question.
type Answerer = fn(Value) -> Map<String, Value>;

/// Runs the command.
pub(crate) fn run(order: &Canary) -> anyhow::Result<ExitCode> {
    let (jsonl, answerer): (bool, Answerer) = match order {
        Canary::Judge(options) => (options.jsonl, answerer(options)),
        Canary::Calibrate(options) => (options.jsonl, offline::calibrate),
    };
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    if jsonl {
        lines(answerer, input, output)
    } else {
        one(answerer, input, output)
    }
}

fn answerer(options: &JudgeCanary) -> Answerer {
    match (options.review, options.trace) {
        (true, _) => offline::review,
        (false, true) => |question| offline::answer(question, true),
        (false, false) => |question| offline::answer(question, false),
    }
}

/// The whole input is one judgement; 1 when it failed.
fn one(answerer: Answerer, input: impl Read, output: impl Write) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    input.take(MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX {
        bail!("standard input is larger than {MAX} bytes");
    }
    let question: Value = serde_json::from_slice(&text).context("standard input is no JSON")?;
    let told = answerer(question);
    jsonl::one(&told, told.contains_key("error"), output)
}

/// A line for each line, in order; 65 when one was no JSON.
fn lines(answerer: Answerer, input: impl BufRead, output: impl Write) -> anyhow::Result<ExitCode> {
    jsonl::each(input, output, MAX, |number, line| {
        let unread = match serde_json::from_slice(line) {
            Ok(question) => {
                return Answer {
                    told: answerer(question),
                    unread: None,
                };
            }
            Err(error) => format!("line {number} is no JSON: {error}"),
        };
        let error = ("error".to_owned(), json!({ "message": unread }));
        Answer {
            told: Map::from_iter([("id".to_owned(), Value::Null), error]),
            unread: Some(unread),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: &str, seed: Option<i64>) -> Value {
        let mut question = json!({
            "id": id,
            "canaryConfig": {
                "metrics": [{"name": "m", "groups": ["g"], "analysisConfigurations": {"canary": {}}}],
                "classifier": {"groupWeights": {"g": 100.0}},
            },
            "scoreThresholds": {"pass": 95, "marginal": 75},
            "metricSetPairList": [{"name": "m", "id": "p", "values": {
                "control": [3.0, 3.0, 3.0], "experiment": [9.0, 9.0, 9.0, "NaN"]}}],
        });
        if let Some(seed) = seed {
            question["rngSeed"] = json!(seed);
        }
        question
    }

    fn told(input: &str, trace: bool) -> (Vec<Value>, ExitCode) {
        let mut output = Vec::new();
        let options = JudgeCanary {
            jsonl: true,
            trace,
            review: false,
        };
        let code = lines(answerer(&options), input.as_bytes(), &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        let told = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (told.collect(), code)
    }

    #[test]
    fn each_line_is_answered_in_order() {
        let input = format!("{}\n\nno\n{}\n", question("a", None), json!({"id": 7}));
        let (told, code) = told(&input, false);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(65)));
        assert_eq!(told.len(), 3);
        assert_eq!(told[0]["id"], "a");
        assert_eq!(
            told[0]["result"]["results"][0]["experimentMetadata"]["stats"]["count"],
            3
        );
        assert!(told[0].get("trace").is_none());
        let refused = |value: &Value| value["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(told[1]["id"], Value::Null);
        let no_json = refused(&told[1]);
        assert!(no_json.starts_with("line 3 is no JSON: "), "{no_json}");
        assert_eq!(told[2]["id"], 7);
        assert_eq!(refused(&told[2]), "canaryConfig is missing: give it");
    }

    #[test]
    fn a_seed_begins_anew_for_result_and_trace() {
        let input = format!("{}\n{}\n", question("a", Some(42)), question("b", Some(43)));
        let (first, code) = told(&input, true);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        let ratio =
            |value: &Value| value["result"]["results"][0]["resultMetadata"]["ratio"].clone();
        assert_eq!(first[0]["trace"][0]["deviation"], ratio(&first[0]));
        assert_ne!(ratio(&first[0]), ratio(&first[1]));
        assert_eq!(told(&input, true).0, first);
    }

    #[test]
    fn one_judgement_is_printed_for_people() {
        let options = JudgeCanary {
            jsonl: false,
            trace: false,
            review: false,
        };
        let mut output = Vec::new();
        let text = question("a", None).to_string();
        let code = one(answerer(&options), text.as_bytes(), &mut output).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        let told: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(told["result"]["score"]["classification"], "Fail");
        assert!(one(answerer(&options), &b"no"[..], Vec::new()).is_err());
    }

    #[test]
    fn a_review_names_the_decision_and_a_calibration_the_block() {
        let mut asked = question("a", None);
        asked["canaryConfig"]["judge"] = json!({"name": "SequentialJudge-v1.0"});
        let options = JudgeCanary {
            jsonl: false,
            trace: false,
            review: true,
        };
        let mut output = Vec::new();
        one(
            answerer(&options),
            asked.to_string().as_bytes(),
            &mut output,
        )
        .unwrap();
        let told: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(told["result"]["decision"], "INCONCLUSIVE");
        let mut output = Vec::new();
        one(
            offline::calibrate,
            asked.to_string().as_bytes(),
            &mut output,
        )
        .unwrap();
        let told: Value = serde_json::from_slice(&output).unwrap();
        let refused = told["calibration"][0]["refused"].as_str().unwrap();
        assert!(refused.contains("too few to calibrate"), "{refused}");
    }
}
