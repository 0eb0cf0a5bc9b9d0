//! A log that leaves the product: JSON lines.

use orchestrator_core::{Execution, Settings, StageCatalog};
use serde_json::{Value, json};

use super::{Fault, Fold, Verified, verify};
use crate::digest::Digest;

/// The form of an export that this build writes.
pub const FORMAT: u64 = 1;

/// A log on its way: one line says whose it is, and each further one is an entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// The execution.
    pub execution: String,
    /// Its version when this was written: entries that must be there.
    pub version: u64,
    /// Hash of the execution as stored then; none if it was not known.
    pub stored: Option<Digest>,
    /// The entries, oldest first.
    pub entries: Vec<Value>,
}

impl Export {
    /// The first line.
    pub fn head(execution: &str, version: u64, stored: Option<Digest>) -> Value {
        let stored = stored.map(|digest| digest.to_string());
        json!({"execution": execution, "format": FORMAT, "version": version, "hash": stored})
    }

    /// Reads lines.
    ///
    /// # Errors
    /// When they are no export, one of a later form, or one that ends too early.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let head = lines.next().unwrap_or_default();
        let head: Value = serde_json::from_str(head).unwrap_or_default();
        let number = |key: &str| head.get(key).and_then(Value::as_u64);
        let word = |key: &str| head.get(key).and_then(Value::as_str);
        let (Some(execution), Some(format), Some(version)) =
            (word("execution"), number("format"), number("version"))
        else {
            let text = "its first line is no {\"execution\", \"format\", \"version\"}";
            return Err(Fault::Export(text.to_owned()));
        };
        if format != FORMAT {
            let text =
                format!("it has format {format}, this build reads {FORMAT}; use that of its time");
            return Err(Fault::Export(text));
        }
        let stored = word("hash").map(str::parse).transpose();
        let mut export = Self {
            execution: execution.to_owned(),
            version,
            stored: stored.map_err(Fault::Export)?,
            entries: Vec::new(),
        };
        for (number, line) in (1..).zip(lines) {
            let entry = serde_json::from_str(line).map_err(|e| Fault::Damaged {
                entry: number,
                reason: e.to_string(),
            })?;
            export.entries.push(entry);
        }
        let found = u64::try_from(export.entries.len()).unwrap_or(u64::MAX);
        if found < version {
            return Err(Fault::Short {
                found,
                wanted: version,
            });
        }
        Ok(export)
    }

    /// The execution after so many entries.
    ///
    /// # Errors
    /// When there are fewer, or one is damaged.
    pub fn at(&self, entry: u64) -> Result<Execution, Fault> {
        let there = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        if entry == 0 || entry > there {
            let text = format!("there is no entry {entry}; entries are 1 to {there}");
            return Err(Fault::Export(text));
        }
        let mut fold = Fold::default();
        let most = usize::try_from(entry).unwrap_or(usize::MAX);
        for entry in self.entries.iter().take(most) {
            fold.apply(entry)?;
        }
        fold.execution().map_err(|reason| fold.damaged(reason))
    }

    /// Verifies the entries, and that they lead to what was stored.
    ///
    /// # Errors
    /// As [`verify`]; and when what was stored is something else.
    pub fn verify(
        &self,
        stages: &dyn StageCatalog,
        settings: &Settings,
    ) -> Result<Verified, Fault> {
        let found = verify(&self.entries, stages, settings)?;
        let mut fold = Fold::default();
        let most = usize::try_from(self.version).unwrap_or(usize::MAX);
        for entry in self.entries.iter().take(most) {
            fold.apply(entry)?;
        }
        match self.stored {
            Some(stored) if !fold.has(stored) => Err(Fault::Stored {
                entry: fold.entry,
                stored,
                found: fold.digest,
            }),
            _ => Ok(found),
        }
    }
}
