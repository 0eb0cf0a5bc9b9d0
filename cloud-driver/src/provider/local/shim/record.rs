//! Files of a shim's folder, and the secret tokens are made from.

use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ::instance::LOG;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::provider::local::Error;

/// Bytes read from the end of a log.
const TAIL_BYTES: u64 = 256 * 1024;

/// Longest line of a log that is shown.
const MAX_LINE: usize = 4_096;

pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a record that nobody else may read, whole or not at all.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), Error> {
    let new = path.with_extension("new");
    let text = serde_json::to_vec_pretty(record).unwrap_or_default();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).map_err(io(&new))?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(io(&new))?;
    std::fs::rename(&new, path).map_err(io(path))
}

/// The folder's secret; made at the first start.
pub(super) fn secret(data: &Path) -> Result<String, Error> {
    let path = data.join("instances.key");
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io(&path)(error)),
    }
    let text = hex::encode(rand::random::<[u8; 32]>());
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).map_err(io(&new))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(io(&new))?;
    std::fs::rename(&new, &path).map_err(io(&path))?;
    Ok(text)
}

/// The last lines of a folder's log.
pub(super) async fn tail(folder: PathBuf, lines: usize) -> Vec<String> {
    let work = move || {
        let mut text = String::new();
        for name in [format!("{LOG}.1"), LOG.to_owned()] {
            let Ok(mut file) = std::fs::File::open(folder.join(name)) else {
                continue;
            };
            let length = file.metadata().map_or(0, |m| m.len());
            let from = SeekFrom::Start(length.saturating_sub(TAIL_BYTES));
            let mut bytes = Vec::new();
            if file.seek(from).is_ok() && file.take(TAIL_BYTES).read_to_end(&mut bytes).is_ok() {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        let all: Vec<&str> = text.lines().collect();
        let from = all.len().saturating_sub(lines);
        all.into_iter()
            .skip(from)
            .map(|line| line.chars().take(MAX_LINE).collect())
            .collect()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}
