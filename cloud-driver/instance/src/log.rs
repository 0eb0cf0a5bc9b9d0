//! The instance's output: read from its pipe, written to a file that is rotated,
//! never blocking the instance.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes kept when the order does not say.
const KEPT: u64 = 30 * 1024 * 1024;
/// Files kept, the current one included.
const FILES: u32 = 3;

/// The file that is written, and its size in bytes.
type Current = Option<(File, u64)>;

/// Where output goes, and what of it could not be kept.
#[derive(Clone)]
pub(crate) struct Log {
    path: PathBuf,
    /// A file is rotated at this size, in bytes.
    max_file: u64,
    current: Arc<Mutex<Current>>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// A log of at most so many bytes over all its files.
    pub(crate) fn new(path: PathBuf, kept: Option<u64>) -> Self {
        Self {
            path,
            max_file: (kept.unwrap_or(KEPT) / u64::from(FILES)).max(1),
            current: Arc::default(),
            dropped: Arc::default(),
        }
    }

    /// Bytes that could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Copies a pipe until its other end is closed. A full disk loses output and
    /// counts it; the instance never waits.
    pub(crate) fn copy(&self, mut from: impl Read) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let most = usize::try_from(self.max_file).unwrap_or(usize::MAX);
                    for piece in buffer[..count].chunks(most) {
                        self.write(piece);
                    }
                }
            }
        }
    }

    /// A line of the shim's own.
    pub(crate) fn note(&self, line: &str) {
        self.write(line.as_bytes());
    }

    /// Both pipes write here, one piece after the other; a piece is never larger than a
    /// file may be.
    fn write(&self, bytes: &[u8]) {
        let size = u64::try_from(bytes.len()).unwrap_or(0);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_some_and(|(_, written)| written + size > self.max_file)
        {
            *current = None;
            rotate(&self.path);
        }
        if current.is_none() {
            *current = open(&self.path);
        }
        let written = match &mut *current {
            Some((file, written)) => {
                *written += size;
                file.write_all(bytes).is_ok()
            }
            None => false,
        };
        if !written {
            self.dropped.fetch_add(size, Ordering::Relaxed);
        }
    }
}

fn open(path: &Path) -> Option<(File, u64)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .ok()?;
    let size = file.metadata().map_or(0, |m| m.len());
    Some((file, size))
}

fn rotate(path: &Path) {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        if n > 0 {
            name.push(format!(".{n}"));
        }
        PathBuf::from(name)
    };
    for n in (0..FILES - 1).rev() {
        // The oldest is written over; one that is not there is none to keep.
        let _absent = fs::rename(numbered(n), numbered(n + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_rotated_and_three_files_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(folder.path().join("stdout.log"), None);
        let data = vec![b'x'; 45 * 1024 * 1024];
        log.copy(&data[..]);
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["stdout.log", "stdout.log.1", "stdout.log.2"]);
        for name in names {
            assert!(fs::metadata(folder.path().join(name)).unwrap().len() <= KEPT / 3);
        }
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn no_more_is_kept_than_the_order_says() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(folder.path().join("stdout.log"), Some(3_000));
        log.copy(&vec![b'x'; 100_000][..]);
        let sizes = fs::read_dir(folder.path()).unwrap();
        let kept: u64 = sizes.map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!((1_000..=3_000).contains(&kept), "{kept}");
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let log = Log::new(PathBuf::from("/proc/nowhere/stdout.log"), None);
        log.copy(&b"hello"[..]);
        assert_eq!(log.dropped(), 5);
    }
}
