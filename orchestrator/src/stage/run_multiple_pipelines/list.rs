//! The list of pipelines to run, and the levels in which they are. Pure.

use serde_json::{Map, Value, json};

use crate::task::child::MOST;

/// One pipeline to run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// What the list calls it.
    pub(super) id: String,
    /// Its name in the application.
    pub(super) pipeline: String,
    /// Its parameters.
    pub(super) arguments: Map<String, Value>,
    /// Those that go first, by what the list calls them.
    pub(super) after: Vec<String>,
}

const DUPLICATED: &str = "Detected two or more duplicated arguments and calling the same \
                          child_pipeline. You would have the same execution";

impl Entry {
    fn of(id: &str, written: &Value) -> Result<Self, String> {
        let fault = |field: &str, text: &str| format!("{id}.{field}: {text}");
        let pipeline = written.get("child_pipeline").and_then(Value::as_str);
        let pipeline = pipeline.map(str::trim).filter(|name| !name.is_empty());
        let pipeline = pipeline
            .ok_or_else(|| fault("child_pipeline", "it is missing; name the pipeline to run"))?;
        let arguments = match written.get("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments.clone(),
            Some(_) => return Err(fault("arguments", "it is no object; send name: value")),
        };
        let after = match written.get("depends_on") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(list)) => {
                let names = list.iter().filter_map(Value::as_str);
                names.map(ToOwned::to_owned).collect()
            }
            Some(_) => {
                return Err(fault(
                    "depends_on",
                    "it is no list; send names of this list",
                ));
            }
        };
        Ok(Self {
            id: id.to_owned(),
            pipeline: pipeline.to_owned(),
            arguments,
            after,
        })
    }

    /// As it is kept in the stage.
    fn to_json(&self) -> Value {
        json!({
            "yamlIdentifier": self.id, "child_pipeline": self.pipeline,
            "arguments": self.arguments, "depends_on": self.after,
        })
    }
}

/// The entries of a list as written: `[{bundle_web: {<id>: {…}}}]`.
fn entries(written: &Value) -> Result<Vec<Entry>, String> {
    let first = match written {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    };
    let bundle = first.get("bundle_web").and_then(Value::as_object);
    let bundle = bundle.filter(|bundle| !bundle.is_empty()).ok_or(
        "it lists no pipelines; send [{\"bundle_web\": {\"<name>\": {\"child_pipeline\": \"…\"}}}]",
    )?;
    if bundle.len() > MOST {
        let count = bundle.len();
        return Err(format!(
            "it lists {count} pipelines, more than the {MOST} allowed"
        ));
    }
    bundle.iter().map(|(id, one)| Entry::of(id, one)).collect()
}

/// The levels of a list: an entry is in the one after the last of those it depends on.
pub(super) fn levels(written: &Value, check: bool) -> Result<Vec<Vec<Entry>>, String> {
    let mut left = entries(written)?;
    for (i, entry) in left.iter().enumerate() {
        let same =
            |other: &Entry| other.pipeline == entry.pipeline && other.arguments == entry.arguments;
        if check && left.iter().skip(i + 1).any(same) {
            return Err(DUPLICATED.to_owned());
        }
        let unknown = |id: &&String| !left.iter().any(|other| other.id == **id);
        if let Some(unknown) = entry.after.iter().find(unknown) {
            return Err(format!(
                "{}.depends_on: \"{unknown}\" is not in the list; correct it",
                entry.id
            ));
        }
    }
    let mut levels: Vec<Vec<Entry>> = Vec::new();
    while !left.is_empty() {
        let done = |id: &String| levels.iter().flatten().any(|entry| entry.id == *id);
        let (ready, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|entry| entry.after.iter().all(done));
        if ready.is_empty() {
            let names: Vec<_> = rest.into_iter().map(|entry| entry.id).collect();
            return Err(format!(
                "{} wait for each other; take one depends_on away",
                names.join(", ")
            ));
        }
        levels.push(ready);
        left = rest;
    }
    Ok(levels)
}

/// Levels as they are kept in the stage.
pub(super) fn to_json(levels: &[Vec<Entry>]) -> Value {
    let level = |level: &Vec<Entry>| level.iter().map(Entry::to_json).collect::<Value>();
    levels.iter().map(level).collect()
}

/// The entries of a kept level.
pub(super) fn level(kept: Option<&Value>, number: usize) -> Vec<Entry> {
    let level = kept.and_then(|levels| levels.get(number)?.as_array());
    let entry = |one: &Value| {
        let id = one.get("yamlIdentifier")?.as_str()?;
        Entry::of(id, one).ok()
    };
    level.into_iter().flatten().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: Value) -> Value {
        json!([{"bundle_web": entries}])
    }

    #[test]
    fn an_entry_is_in_the_level_after_the_last_that_it_depends_on() {
        let one = |pipeline: &str, after: &[&str]| json!({"child_pipeline": pipeline, "arguments": {"a": pipeline}, "depends_on": after});
        let written = list(json!({
            "d": one("D", &["a", "c"]), "a": one("A", &[]), "b": one("B", &["a"]),
            "c": one("C", &["b"]), "e": {"child_pipeline": "A", "arguments": {"a": 2}, "depends_on": null},
        }));
        let found = levels(&written, true).unwrap();
        let names: Vec<Vec<&str>> = found
            .iter()
            .map(|level| level.iter().map(|entry| entry.id.as_str()).collect())
            .collect();
        assert_eq!(names, [vec!["a", "e"], vec!["b"], vec!["c"], vec!["d"]]);
        // What is kept is read as it was.
        for (number, entries) in found.iter().enumerate() {
            assert_eq!(&level(Some(&to_json(&found)), number), entries);
        }
        assert!(level(Some(&to_json(&found)), 4).is_empty());
    }

    #[test]
    fn what_cannot_be_run_is_told_in_a_sentence() {
        let same = json!({"child_pipeline": "A", "arguments": {"a": 1}});
        for (written, expected) in [
            (Value::Null, "it lists no pipelines"),
            (json!([]), "it lists no pipelines"),
            (list(json!({})), "it lists no pipelines"),
            (list(json!({"a": {}})), "a.child_pipeline: it is missing"),
            (
                list(json!({"a": {"child_pipeline": "A", "arguments": 1}})),
                "a.arguments: it is no object",
            ),
            (
                list(json!({"a": {"child_pipeline": "A", "depends_on": ["z"]}})),
                "a.depends_on: \"z\" is not in the list",
            ),
            (list(json!({"a": same, "b": same})), DUPLICATED),
            (
                list(json!({"a": {"child_pipeline": "A", "depends_on": ["b"]},
                    "b": {"child_pipeline": "B", "depends_on": ["a"]}})),
                "a, b wait for each other",
            ),
        ] {
            let fault = levels(&written, true).unwrap_err();
            assert!(fault.starts_with(expected), "{written}: {fault}");
        }
        let twice = list(json!({"a": same, "b": same}));
        assert_eq!(levels(&twice, false).unwrap().len(), 1);
    }
}
