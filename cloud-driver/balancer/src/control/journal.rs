//! The last accepted configuration on disk: written before anybody hears that it was accepted.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use balancer::{Config, JOURNAL};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version of the file.
const VERSION: u32 = 1;

/// What the journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    version: u32,
    /// Generation of the configuration.
    pub(crate) generation: u64,
    /// Largest fencing token seen.
    pub(crate) fence: u64,
    /// Of the configuration's JSON.
    sha256: String,
    /// The configuration.
    pub(crate) config: Config,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is not what was written.
    #[error("{path} is not a journal of this version: {reason}; it is kept as it is")]
    Damaged { path: PathBuf, reason: String },
}

/// The journal in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    folder: PathBuf,
}

fn hash(config: &Config) -> String {
    // A configuration is made of strings and whole numbers; all of them can be written.
    let text = serde_json::to_vec(config).unwrap_or_default();
    hex::encode(Sha256::digest(text))
}

impl Journal {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// What was kept last; none when nothing ever was.
    pub(crate) fn load(&self) -> Result<Option<Kept>, JournalError> {
        let path = self.path();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(JournalError::Io { path, source }),
        };
        let damaged = |reason: String| JournalError::Damaged {
            path: path.clone(),
            reason,
        };
        let kept: Kept = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if kept.version != VERSION {
            return Err(damaged(format!("version {}", kept.version)));
        }
        if kept.sha256 != hash(&kept.config) {
            return Err(damaged("its hash is another".to_owned()));
        }
        let faults = kept.config.check().faults;
        if !faults.is_empty() {
            return Err(damaged(faults.join("; ")));
        }
        Ok(Some(kept))
    }

    /// Keeps a configuration; durable when this returns.
    pub(crate) fn keep(
        &self,
        config: Config,
        generation: u64,
        fence: u64,
    ) -> Result<(), JournalError> {
        let kept = Kept {
            version: VERSION,
            generation,
            fence,
            sha256: hash(&config),
            config,
        };
        let new = self.folder.join(format!("{JOURNAL}.new"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { path, source }
        };
        let text = serde_json::to_vec(&kept).map_err(|e| failed(&new)(e.into()))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(failed(&new))?;
        file.write_all(&text).map_err(failed(&new))?;
        file.sync_all().map_err(failed(&new))?;
        std::fs::rename(&new, self.path()).map_err(failed(&new))?;
        let folder = File::open(&self.folder).map_err(failed(&self.folder))?;
        folder.sync_all().map_err(failed(&self.folder))
    }

    /// Puts a file that cannot be read aside, so that it is not overwritten.
    pub(crate) fn put_aside(&self, now_ms: i64) -> Result<(), JournalError> {
        let path = self.path();
        let aside = self.folder.join(format!("{JOURNAL}.damaged-{now_ms}"));
        match std::fs::rename(&path, aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            moved => moved.map_err(|source| JournalError::Io { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_loaded_and_damage_is_noticed_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        assert_eq!(journal.load().unwrap(), None);
        let config = Config {
            load_balancers: vec![balancer::LoadBalancer {
                name: "a".into(),
                ..balancer::LoadBalancer::default()
            }],
            ..Config::default()
        };
        journal.keep(config.clone(), 3, 7).unwrap();
        let kept = journal.load().unwrap().unwrap();
        assert_eq!((kept.config, kept.generation, kept.fence), (config, 3, 7));
        let path = folder.path().join(JOURNAL);
        let text = std::fs::read_to_string(&path).unwrap();
        for damage in [
            text.replace("\"a\"", "\"b\""),
            text[..20].to_owned(),
            String::new(),
        ] {
            std::fs::write(&path, &damage).unwrap();
            assert!(matches!(journal.load(), Err(JournalError::Damaged { .. })));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damage);
        }
        journal.put_aside(1).unwrap();
        assert_eq!(journal.load().unwrap(), None);
    }
}
