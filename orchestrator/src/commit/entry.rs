//! What a commit changes of an execution, part by part: the entry of its log, and the hash it leads to. Pure.

use orchestrator_core::{Answers, Execution, Stage};
use serde_json::{Map, Value, json};

use super::{ANSWERS, HEADER, Writing};
use crate::difference;
use crate::digest::Digest;
use crate::fields::{Fields, Object};
use crate::large::{self, Form, Putting, Stored};
use crate::record;
use crate::replay;
use crate::size;
use crate::turn::{Loaded, Turn};

/// A part of an execution that a commit changes. A new execution has none before, and `begun` is what its
/// first turn began with.
pub(super) struct Changed<'a> {
    pub(super) name: String,
    pub(super) old: Option<Fields<'a>>,
    pub(super) new: Option<Fields<'a>>,
    begun: Option<Fields<'a>>,
}

pub(super) fn changed<'a>(
    loaded: &Loaded,
    before: &'a Execution,
    after: &'a Execution,
    turn: &Turn,
    writing: &Writing<'_>,
) -> Vec<Changed<'a>> {
    let is_new = loaded.version == 0;
    let of = |name: String, old: Option<Fields<'a>>, new| {
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
        let (old, new) = (record::header(before), record::header(after));
        parts.push(of(HEADER.to_owned(), Some(old), Some(new)));
    }
    let touched = |stage: &&Stage| is_new || turn.touched.contains(&stage.id);
    for stage in after.stages.iter().filter(touched) {
        let old = before.stage(&stage.id).map(record::stage);
        let new = Some(record::stage(stage));
        parts.push(of(Execution::part(&stage.id), old, new));
    }
    for id in &turn.removed {
        let old = before.stage(id).map(record::stage);
        parts.push(of(Execution::part(id), old, None));
    }
    if !writing.answers.is_empty() {
        let mut all = loaded.answers.clone();
        let old = (!all.is_empty()).then(|| record::answers_map(&all).into());
        all.extend(writing.answers.clone());
        let new = Some(record::answers_map(&all).into());
        parts.push(of(ANSWERS.to_owned(), old, new));
    }
    parts
}

/// A commit's changes in their stored form.
pub(super) struct Written {
    /// Of each changed part that stays, in order.
    pub(super) forms: Vec<Option<Form>>,
    /// The hash afterwards: of what changes, the old out and the new in.
    pub(super) digest: Digest,
    /// What is known of the execution afterwards.
    pub(super) stored: Stored,
    /// What it was before and is afterwards, in bytes.
    sizes: (usize, usize),
}

/// Puts the changes into their stored form. Large values that were stored before stay where they are.
pub(super) fn written<'a>(
    loaded: &Loaded,
    before: &Execution,
    changed: &'a [Changed<'_>],
    putting: &mut Putting<'a>,
) -> Written {
    for part in changed {
        if let (Some(old), Some(large)) = (&part.old, loaded.stored.large.get(&part.name)) {
            putting.knows(old, large);
        }
    }
    let mut digest = match loaded.digest {
        _ if loaded.version == 0 => Digest::default(),
        Some(known) => known,
        None => digest_of_state(before, &loaded.answers),
    };
    let bytes = match loaded.stored.bytes {
        _ if loaded.version == 0 => 0,
        Some(known) => known,
        None => bytes_of_state(before, &loaded.answers),
    };
    let mut stored = loaded.stored.clone();
    let (mut gone, mut come) = (0, 0);
    for part in changed {
        if let Some(old) = &part.old {
            let form = putting.form(old);
            digest = form.without(digest, &part.name, old);
            gone += form.part.bytes;
        }
    }
    let mut forms = Vec::with_capacity(changed.len());
    for part in changed {
        stored.large.remove(&part.name);
        let form = part.new.as_ref().map(|new| {
            let form = putting.form(new);
            digest = form.with(digest, &part.name, new);
            come += form.part.bytes;
            if !form.part.large.is_empty() {
                stored
                    .large
                    .insert(part.name.clone(), form.part.large.clone());
            }
            form
        });
        forms.push(form);
    }
    let after = (bytes + come).saturating_sub(gone);
    stored.bytes = Some(after);
    Written {
        forms,
        digest,
        stored,
        sizes: (bytes, after),
    }
}

impl Written {
    /// Whether the execution may become as large as this makes it.
    pub(super) fn check(
        &self,
        after: &Execution,
        changed: &[Changed<'_>],
        limit: usize,
    ) -> Result<(), size::TooLarge> {
        if size::fits(self.sizes, limit) {
            return Ok(());
        }
        let map = |fields: &Option<Fields<'_>>| fields.as_ref().map(Object::to_map);
        let maps: Vec<_> = changed
            .iter()
            .map(|part| (&part.name, map(&part.old), map(&part.new)))
            .collect();
        let changes: Vec<size::Change<'_>> = maps
            .iter()
            .map(|(name, old, new)| size::Change {
                name,
                old: old.as_ref(),
                new: new.as_ref(),
            })
            .collect();
        size::check(after, &changes, self.sizes, limit)
    }
}

/// The hash of a whole state.
pub(crate) fn digest_of_state(execution: &Execution, answers: &Answers) -> Digest {
    let parts = record::parts(execution, answers);
    parts
        .iter()
        .fold(Digest::default(), |sum, (name, content)| {
            large::with(sum, name, content)
        })
}

fn bytes_of_state(execution: &Execution, answers: &Answers) -> usize {
    let parts = record::parts(execution, answers).into_iter();
    parts
        .map(|(_, content)| large::length(&Value::Object(content)))
        .sum()
}

/// What one commit handled, the difference it made, and everything that deciding it again takes.
pub(super) fn log_entry(
    changed: &[Changed<'_>],
    loaded: &Loaded,
    digest: Digest,
    turn: &Turn,
    writing: &Writing<'_>,
) -> Map<String, Value> {
    let is_new = loaded.version == 0;
    let (nothing, mut writes, mut begun) = (Fields::default(), Map::new(), Map::new());
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
    let fields = json!({
        "seq": loaded.version + 1, "at": turn.now, "engine": writing.engine, "given": turn.given, "inputs": null,
        "writes": null, "hash": digest.to_string(),
    });
    let mut entry = record::object(fields);
    // Moved and cloned: written out as values once more they cost three times as much.
    entry.insert("inputs".to_owned(), Value::Array(turn.inputs.clone()));
    entry.insert("writes".to_owned(), Value::Object(writes));
    if !turn.ids.is_empty() {
        entry.insert("ids".to_owned(), json!(turn.ids));
    }
    if is_new {
        entry.insert("begun".to_owned(), begun.into());
    }
    if !writing.answers.is_empty() {
        entry.insert("answers".to_owned(), json!(writing.answers));
    }
    let check = replay::check(&entry);
    entry.insert("check".to_owned(), check.into());
    entry
}
