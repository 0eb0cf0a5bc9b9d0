//! A log read again: the execution at every entry, whether the log is whole, and whether this build decides
//! what it says was decided. Pure.

mod export;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use orchestrator_core::{
    Answers, Execution, IdSource, Settings, Stage, StageCatalog, Subject, TaskError, TaskResult,
    TaskRun,
};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::commit::{self, ANSWERS, HEADER};
use crate::difference;
use crate::digest::Digest;
use crate::large;
use crate::record;
use crate::turn::{self, Around, Limits, Loaded, Turn};

pub use export::{Export, FORMAT};

/// What is wrong with a log. Entries are counted from 1, as versions of the execution are.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The export is none.
    #[error("the export cannot be read: {0}")]
    Export(String),
    /// An entry cannot be read.
    #[error("entry {entry} is damaged: {reason}")]
    Damaged {
        /// Which.
        entry: u64,
        /// What is wrong.
        reason: String,
    },
    /// An entry is not what was written.
    #[error("entry {entry} was changed: it says check {kept}, its content has {found}")]
    Changed {
        /// Which.
        entry: u64,
        /// As the entry says.
        kept: String,
        /// As it is.
        found: String,
    },
    /// An entry is missing, or comes twice.
    #[error("entry {found} follows entry {}", .wanted - 1)]
    Order {
        /// Which must follow.
        wanted: u64,
        /// Which does.
        found: u64,
    },
    /// The log does not lead to the state that was committed.
    #[error("entry {entry}: the state was committed with hash {kept}, the log leads to {found}")]
    Hash {
        /// Which.
        entry: u64,
        /// As the entry says.
        kept: Digest,
        /// As it is.
        found: Digest,
    },
    /// The same engine decides something else.
    #[error(
        "entry {entry}: the state was committed with hash {kept}, its inputs handled again give {found} \
         (other in {parts})"
    )]
    Decided {
        /// Which.
        entry: u64,
        /// As the entry says.
        kept: Digest,
        /// As it is.
        found: Digest,
        /// Parts that differ.
        parts: String,
    },
    /// The inputs cannot be handled again.
    #[error("entry {entry} cannot be handled again: {reason}")]
    Stuck {
        /// Which.
        entry: u64,
        /// Why.
        reason: String,
    },
    /// The log ends before the execution does.
    #[error("the log ends with entry {found} of {wanted}")]
    Short {
        /// Entries that are there.
        found: u64,
        /// Entries that must be there.
        wanted: u64,
    },
    /// What is stored is not what the log leads to.
    #[error(
        "the execution is stored with hash {stored}, entry {entry} of its log leads to {found}"
    )]
    Stored {
        /// The last entry.
        entry: u64,
        /// What is stored.
        stored: Digest,
        /// Where the log leads.
        found: Digest,
    },
}

/// An execution as the entries so far made it.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    entry: u64,
    parts: BTreeMap<String, Map<String, Value>>,
    digest: Digest,
}

impl Fold {
    /// Applies the next entry.
    ///
    /// # Errors
    /// When it has no differences.
    pub fn apply(&mut self, entry: &Value) -> Result<(), Fault> {
        self.entry += 1;
        let writes = entry.get("writes").and_then(Value::as_object);
        let writes = writes.ok_or_else(|| self.damaged("it has no writes"))?;
        for (part, difference) in writes {
            if difference.is_null() {
                self.take(part);
            } else {
                let mut content = self.take(part);
                difference::apply(&mut content, difference);
                self.put(part, content);
            }
        }
        if let Some(Value::Object(answers)) = entry.get("answers") {
            let mut all = self.take(ANSWERS);
            all.extend(answers.clone());
            self.put(ANSWERS, all);
        }
        Ok(())
    }

    fn take(&mut self, part: &str) -> Map<String, Value> {
        let old = self.parts.remove(part);
        if let Some(old) = &old {
            self.digest = large::without(self.digest, part, old);
        }
        old.unwrap_or_default()
    }

    fn put(&mut self, part: &str, content: Map<String, Value>) {
        self.digest = large::with(self.digest, part, &content);
        self.parts.insert(part.to_owned(), content);
    }

    fn damaged(&self, reason: impl Into<String>) -> Fault {
        Fault::Damaged {
            entry: self.entry,
            reason: reason.into(),
        }
    }

    /// Entries applied: the execution's version.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// The hash of the state.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether this hash is the state's, by what is hashed now or by what was hashed before large values had
    /// references.
    fn has(&self, digest: Digest) -> bool {
        let in_place = || {
            let parts = self.parts.iter();
            parts.fold(Digest::default(), |sum, (name, content)| {
                sum.with(name, content)
            })
        };
        self.digest == digest || in_place() == digest
    }

    /// The execution.
    ///
    /// # Errors
    /// When the parts are none.
    pub fn execution(&self) -> Result<Execution, String> {
        execution(&self.parts)
    }

    fn loaded(&self) -> Result<Loaded, String> {
        let answers: Answers = match self.parts.get(ANSWERS) {
            None => Answers::new(),
            Some(answers) => {
                let answers = Value::Object(answers.clone());
                serde_json::from_value(answers).map_err(|e| format!("answers: {e}"))?
            }
        };
        let execution = self.execution()?;
        Ok(Loaded {
            application: execution.application.clone(),
            subject: Subject::Execution(Box::new(execution)),
            version: self.entry,
            answers,
            digest: Some(self.digest),
            stored: large::Stored::default(),
        })
    }
}

fn execution(parts: &BTreeMap<String, Map<String, Value>>) -> Result<Execution, String> {
    let header = parts.get(HEADER).ok_or("the log has no header")?;
    let stages = parts
        .iter()
        .filter(|(part, _)| part.starts_with("s:"))
        .map(|(part, stage)| {
            serde_json::from_value(Value::Object(stage.clone())).map_err(|e| format!("{part}: {e}"))
        })
        .collect::<Result<Vec<Stage>, String>>()?;
    let header = serde_json::to_string(header).map_err(|e| e.to_string())?;
    Execution::from_parts(&header, stages)
}

/// What was found of a log that is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries.
    pub entries: u64,
    /// Of these, with a hash that was compared.
    pub hashed: u64,
    /// Of these, handled again with the same result.
    pub again: u64,
    /// Engines that are not this one, and how many entries each decided.
    pub others: BTreeMap<String, u64>,
}

/// Compares the hash of every entry, and handles the inputs again where this engine had decided by these settings.
///
/// # Errors
/// The first entry that is not as it was written or decided, with both hashes.
pub fn verify(
    entries: &[Value],
    stages: &dyn StageCatalog,
    settings: &Settings,
) -> Result<Verified, Fault> {
    let own = record::engine(settings);
    let mut found = Verified::default();
    let mut fold = Fold::default();
    for entry in entries {
        let before = fold.clone();
        whole(entry, fold.entry + 1)?;
        fold.apply(entry)?;
        found.entries += 1;
        let Some(kept) = entry.get("hash").and_then(Value::as_str) else {
            let engine = "one that kept no hash".to_owned();
            *found.others.entry(engine).or_default() += 1;
            continue;
        };
        let kept: Digest = kept
            .parse()
            .map_err(|reason: String| fold.damaged(reason))?;
        if !fold.has(kept) {
            return Err(Fault::Hash {
                entry: fold.entry,
                kept,
                found: fold.digest,
            });
        }
        found.hashed += 1;
        match entry.get("engine").and_then(Value::as_str) {
            Some(of) if of == own => {
                again(&before, &fold, entry, (stages, settings))?;
                found.again += 1;
            }
            other => {
                let engine = other.unwrap_or("unknown").to_owned();
                *found.others.entry(engine).or_default() += 1;
            }
        }
    }
    Ok(found)
}

/// What tells whether an entry is as it was written, state or not.
pub(crate) fn check(entry: &Map<String, Value>) -> String {
    let sum = Digest::default().with("entry", entry).to_string();
    sum.get(..8).unwrap_or_default().to_owned()
}

fn whole(entry: &Value, number: u64) -> Result<(), Fault> {
    let Some(fields) = entry.as_object() else {
        let reason = "it is no object".to_owned();
        return Err(Fault::Damaged {
            entry: number,
            reason,
        });
    };
    let Some(kept) = fields.get("check").and_then(Value::as_str) else {
        // Only who kept no hash either wrote none.
        return match fields.get("hash") {
            None => Ok(()),
            Some(_) => Err(Fault::Damaged {
                entry: number,
                reason: "it has no check".to_owned(),
            }),
        };
    };
    let mut rest = fields.clone();
    rest.shift_remove("check");
    let found = check(&rest);
    if found == kept {
        return match fields.get("seq").and_then(Value::as_u64) {
            Some(seq) if seq != number => Err(Fault::Order {
                wanted: number,
                found: seq,
            }),
            _ => Ok(()),
        };
    }
    Err(Fault::Changed {
        entry: number,
        kept: kept.to_owned(),
        found,
    })
}

/// Handles an entry's inputs again and compares what comes of it.
fn again(
    before: &Fold,
    after: &Fold,
    entry: &Value,
    by: (&dyn StageCatalog, &Settings),
) -> Result<(), Fault> {
    let stuck = |reason: String| Fault::Stuck {
        entry: after.entry,
        reason,
    };
    let turn = loaded(before, after, entry)
        .and_then(|loaded| rerun(&loaded, entry, by))
        .map_err(stuck)?;
    let Subject::Execution(execution) = &turn.subject else {
        return Err(stuck("it is not of an execution".to_owned()));
    };
    let mut parts: BTreeMap<_, _> = record::parts(execution, &Answers::new())
        .into_iter()
        .collect();
    if let Some(answers) = after.parts.get(ANSWERS) {
        parts.insert(ANSWERS.to_owned(), answers.clone());
    }
    let found = parts
        .iter()
        .fold(Digest::default(), |sum, (name, content)| {
            large::with(sum, name, content)
        });
    if found != after.digest {
        let names = parts.keys().chain(after.parts.keys());
        let mut other: Vec<&str> = names
            .filter(|name| parts.get(*name) != after.parts.get(*name))
            .map(String::as_str)
            .collect();
        other.sort_unstable();
        other.dedup();
        return Err(Fault::Decided {
            entry: after.entry,
            kept: after.digest,
            found,
            parts: other.join(", "),
        });
    }
    let inputs = entry.get("inputs").and_then(Value::as_array);
    if inputs != Some(&turn.inputs) {
        let kinds = |inputs: &[Value]| {
            let kind = |i: &Value| i.get("kind").and_then(Value::as_str).map(str::to_owned);
            let kinds: Vec<String> = inputs.iter().filter_map(kind).collect();
            kinds.join(", ")
        };
        let (was, is) = (inputs.map_or(&[][..], Vec::as_slice), &turn.inputs[..]);
        return Err(stuck(format!(
            "it handled {}, this build handles {}",
            kinds(was),
            kinds(is)
        )));
    }
    Ok(())
}

/// What the turn of an entry began with.
fn loaded(before: &Fold, after: &Fold, entry: &Value) -> Result<Loaded, String> {
    let mut loaded = match entry.get("begun").and_then(Value::as_object) {
        None => before.loaded()?,
        Some(begun) => {
            let mut first = after.clone();
            first.entry = 0;
            for (part, back) in begun {
                let mut content = first.parts.remove(part).unwrap_or_default();
                if !back.is_null() {
                    difference::apply(&mut content, back);
                    first.parts.insert(part.clone(), content);
                }
            }
            first.loaded()?
        }
    };
    if let Some(answers) = entry.get("answers") {
        let answers: Answers =
            serde_json::from_value(answers.clone()).map_err(|e| format!("answers: {e}"))?;
        loaded.answers.extend(answers);
    }
    Ok(loaded)
}

/// Ids in the order they were given out.
struct Kept(VecDeque<String>, usize);

impl IdSource for Kept {
    fn next_id(&mut self) -> String {
        self.1 += 1;
        let kept = self.0.pop_front();
        kept.unwrap_or_else(|| format!("no-id-{}", self.1))
    }

    fn derived_id(&mut self, _at: i64, _purpose: &str) -> String {
        self.next_id()
    }
}

/// Takes the turn of an entry again.
fn rerun(
    loaded: &Loaded,
    entry: &Value,
    (stages, settings): (&dyn StageCatalog, &Settings),
) -> Result<Turn, String> {
    let execution = loaded.execution().ok_or("it is not of an execution")?;
    let list = |key: &str| entry.get(key).and_then(Value::as_array);
    let number = |key: &str| entry.get(key).and_then(Value::as_u64);
    let inputs = list("inputs").ok_or("it has no inputs")?;
    let (folded, handled): (Vec<&Value>, Vec<&Value>) =
        inputs.iter().partition(|input| record::is_folded(input));
    let given = number("given").ok_or("it does not say what was given")?;
    let given = usize::try_from(given).unwrap_or(usize::MAX);
    let first = handled.iter().take(given);
    let steps = first
        .map(|input| record::step(input, execution))
        .collect::<Result<Vec<_>, String>>()?;
    let folded = folded
        .into_iter()
        .map(record::read_finished)
        .collect::<Result<VecDeque<_>, String>>()?;
    let folded: RefCell<VecDeque<(TaskRun, Result<TaskResult, TaskError>)>> = RefCell::new(folded);
    let decide = |run: &TaskRun, _: &Execution| {
        let mut folded = folded.borrow_mut();
        let next = folded.pop_front_if(|(of, _)| of == run);
        next.map(|(_, result)| result)
    };
    let ids = list("ids").into_iter().flatten();
    let ids = ids.filter_map(|id| id.as_str().map(str::to_owned));
    let mut ids = Kept(ids.collect(), 0);
    let mut around = Around {
        now: entry
            .get("at")
            .and_then(Value::as_i64)
            .ok_or("it does not say when")?,
        ids: &mut ids,
        stages,
        settings,
        decide: &decide,
        // It went as far as it says, whatever ended it.
        limits: Limits {
            steps: handled.len(),
            bytes: usize::MAX,
            entries: usize::MAX,
        },
        in_time: &|| true,
    };
    turn::take(loaded, steps, &mut around).map_err(|lookups| {
        format!(
            "it asks for {} look-ups that are not recorded",
            lookups.len()
        )
    })
}

/// The hash of an execution as it is stored.
pub fn digest_of(loaded: &Loaded) -> Option<Digest> {
    let execution = loaded.execution()?;
    Some(commit::digest_of_state(execution, &loaded.answers))
}
