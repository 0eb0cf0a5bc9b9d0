//! What a commit changes of an execution, part by part: the entry of its log, and the hash it leads to. Pure.

use orchestrator_core::{Answers, Execution, Stage};
use serde_json::{Map, Value, json};

use super::{ANSWERS, HEADER, Writing};
use crate::difference;
use crate::digest::Digest;
use crate::record;
use crate::replay;
use crate::turn::{Loaded, Turn};

/// A part of an execution that a commit changes. A new execution has none before, and `begun` is what its
/// first turn began with.
pub(super) struct Changed {
    pub(super) name: String,
    pub(super) old: Option<Map<String, Value>>,
    pub(super) new: Option<Map<String, Value>>,
    begun: Option<Map<String, Value>>,
}

pub(super) fn changed(
    loaded: &Loaded,
    before: &Execution,
    after: &Execution,
    turn: &Turn,
    writing: &Writing<'_>,
) -> Vec<Changed> {
    let is_new = loaded.version == 0;
    let of = |name: String, old: Option<Map<String, Value>>, new| {
        let (old, begun) = if is_new { (None, old) } else { (old, None) };
        Changed {
            name,
            old,
            new,
            begun,
        }
    };
    let mut parts = Vec::new();
    if turn.header || is_new {
        let (old, new) = (record::header_map(before), record::header_map(after));
        parts.push(of(HEADER.to_owned(), Some(old), Some(new)));
    }
    let touched = |stage: &&Stage| is_new || turn.touched.contains(&stage.id);
    for stage in after.stages.iter().filter(touched) {
        let old = before.stage(&stage.id).map(record::stage_map);
        let new = Some(record::stage_map(stage));
        parts.push(of(Execution::part(&stage.id), old, new));
    }
    for id in &turn.removed {
        let old = before.stage(id).map(record::stage_map);
        parts.push(of(Execution::part(id), old, None));
    }
    if !writing.answers.is_empty() {
        let mut all = loaded.answers.clone();
        let old = (!all.is_empty()).then(|| record::answers_map(&all));
        all.extend(writing.answers.clone());
        let new = Some(record::answers_map(&all));
        parts.push(of(ANSWERS.to_owned(), old, new));
    }
    parts
}

/// The hash after a commit: of what it changes, the old out and the new in.
pub(super) fn digest(loaded: &Loaded, before: &Execution, changed: &[Changed]) -> Digest {
    let known = match loaded.digest {
        _ if loaded.version == 0 => Digest::default(),
        Some(known) => known,
        None => digest_of_state(before, &loaded.answers),
    };
    changed.iter().fold(known, |mut digest, part| {
        if let Some(old) = &part.old {
            digest = digest.without(&part.name, old);
        }
        match &part.new {
            Some(new) => digest.with(&part.name, new),
            None => digest,
        }
    })
}

/// The hash of a whole state.
pub(crate) fn digest_of_state(execution: &Execution, answers: &Answers) -> Digest {
    let parts = record::parts(execution, answers);
    parts
        .iter()
        .fold(Digest::default(), |sum, (name, content)| {
            sum.with(name, content)
        })
}

/// What one commit handled, the difference it made, and everything that deciding it again takes.
pub(super) fn log_entry(
    changed: &[Changed],
    loaded: &Loaded,
    digest: Digest,
    turn: &Turn,
    writing: &Writing<'_>,
) -> Value {
    let is_new = loaded.version == 0;
    let (nothing, mut writes, mut begun) = (Map::new(), Map::new(), Map::new());
    for part in changed.iter().filter(|part| part.name != ANSWERS) {
        let name = &part.name;
        let new = part.new.as_ref();
        match new {
            None => {
                writes.insert(name.clone(), Value::Null);
            }
            Some(new) => {
                let old = part.old.as_ref().unwrap_or(&nothing);
                if let Some(difference) = difference::between(old, new) {
                    writes.insert(name.clone(), difference);
                }
            }
        }
        match &part.begun {
            None if is_new => {
                begun.insert(name.clone(), Value::Null);
            }
            None => {}
            Some(first) => {
                if let Some(back) = difference::between(new.unwrap_or(&nothing), first) {
                    begun.insert(name.clone(), back);
                }
            }
        }
    }
    let mut entry = json!({
        "seq": loaded.version + 1, "at": turn.now, "engine": writing.engine, "given": turn.given, "inputs": null,
        "writes": null, "hash": digest.to_string(),
    });
    // Moved and cloned: written out as values once more they cost three times as much.
    entry["inputs"] = Value::Array(turn.inputs.clone());
    entry["writes"] = Value::Object(writes);
    if !turn.ids.is_empty() {
        entry["ids"] = json!(turn.ids);
    }
    if is_new {
        entry["begun"] = begun.into();
    }
    if !writing.answers.is_empty() {
        entry["answers"] = json!(writing.answers);
    }
    if let Some(fields) = entry.as_object_mut() {
        let check = replay::check(fields);
        fields.insert("check".to_owned(), check.into());
    }
    entry
}
