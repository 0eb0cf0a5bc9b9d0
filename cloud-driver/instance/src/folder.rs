//! The instance's folder: reading the order, writing records whole or not at all.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Now, ms since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Reads a record; none if it is not there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| format!("{} is damaged: {e}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// Writes a record by rename, so that a reader sees the old one or the new one.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), String> {
    let fail = |e: &dyn std::fmt::Display| format!("cannot write {}: {e}", path.display());
    let bytes = serde_json::to_vec_pretty(record).map_err(|e| fail(&e))?;
    let temporary = path.with_extension("new");
    let mut file = fs::File::create(&temporary).map_err(|e| fail(&e))?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| fail(&e))?;
    fs::rename(&temporary, path).map_err(|e| fail(&e))
}

/// A path for a unix socket: the kernel takes no more than 107 bytes, so a long
/// folder is reached through this process's descriptor of it.
pub(crate) fn socket_path(folder: &Path, open: &fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    let plain = folder.join(instance::SOCKET);
    if plain.as_os_str().len() < 100 {
        plain
    } else {
        PathBuf::from(format!(
            "/proc/self/fd/{}/{}",
            open.as_raw_fd(),
            instance::SOCKET
        ))
    }
}
