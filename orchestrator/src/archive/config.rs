//! Settings of the archive.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::config::Span;
use serde::Deserialize;
use store::archive::{self, Folder};

/// Section `orchestrator.archive` of the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Whether finished executions are moved to the archive. Those that were moved are read
    /// in any case. Default: true.
    pub enabled: bool,
    /// A folder that every orchestrator sees. Default: `archive` in the data folder.
    pub folder: Option<PathBuf>,
    /// How long a finished execution stays in the store at least. Default: 10m.
    pub after: Span,
    /// How long it waits at the most for so many others that a segment is full. Default: 1d.
    pub within: Span,
    /// The archive itself, given by whoever assembles the process and not by a key.
    #[serde(skip)]
    pub objects: Given,
}

/// An archive that is there already, or none.
#[derive(Debug, Clone, Default)]
pub struct Given(pub Option<archive::Shared>);

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Eq for Given {}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            folder: None,
            after: Span(Duration::from_secs(600)),
            within: Span(Duration::from_secs(24 * 3600)),
            objects: Given::default(),
        }
    }
}

impl Config {
    /// The archive it names; none if it names none.
    pub fn open(&self) -> Option<archive::Shared> {
        if let Some(given) = &self.objects.0 {
            return Some(Arc::clone(given));
        }
        let folder = self.folder.as_ref()?;
        Some(Arc::new(Folder::new(folder)))
    }

    /// Whether executions are moved.
    pub(crate) fn moves(&self) -> bool {
        self.enabled && (self.folder.is_some() || self.objects.0.is_some())
    }
}
