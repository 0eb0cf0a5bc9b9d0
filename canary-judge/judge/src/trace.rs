//! The values on the way to a classification, in the form of the recorded judgements.

use serde_json::{Map, Value, json};

use crate::classify::Comparison;
use crate::error::AllTied;
use crate::number;

/// How one pair was compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// Name of the metric.
    pub name: String,
    /// Values of the experiment after transformation.
    pub experiment_count: usize,
    /// Values of control after transformation.
    pub control_count: usize,
    /// The test.
    pub test: Test,
}

/// Whether a test was made, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// A side is empty.
    SkippedEmpty,
    /// Both sides are equal when sorted.
    SkippedIdentical,
    /// It was made. Also of samples that are one single value, which the judge passes without it.
    Made(Result<Comparison, AllTied>),
}

impl Traced {
    /// As recorded judgements have it.
    pub fn to_json(&self) -> Value {
        let mut entry = Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("experimentCount".to_owned(), json!(self.experiment_count)),
            ("controlCount".to_owned(), json!(self.control_count)),
        ]);
        let mut set = |name: &str, value: Value| {
            entry.insert(name.to_owned(), value);
        };
        match &self.test {
            Test::SkippedEmpty => set("test", json!("skipped-empty")),
            Test::SkippedIdentical => set("test", json!("skipped-identical")),
            Test::Made(Ok(comparison)) => {
                set("lowerConfidence", number::to_json(comparison.shift.lower));
                set("upperConfidence", number::to_json(comparison.shift.upper));
                set("estimate", number::to_json(comparison.shift.estimate));
                set("deviation", number::to_json(comparison.deviation));
                set("effectSize", number::to_json(comparison.effect));
            }
            Test::Made(Err(error)) => {
                // What the original throws here, so that records compare.
                let class = "java.lang.IllegalArgumentException";
                set(
                    "error",
                    json!({"class": class, "message": error.to_string()}),
                );
            }
        }
        Value::Object(entry)
    }
}
