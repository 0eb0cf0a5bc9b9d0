//! The access log's writer: a thread of its own, so that a slow disk or reader delays no request.
//!
//! A file is replaced at 64 MiB, and two before it are kept. Lines are appended whole, and whoever
//! finds that the file was moved opens it anew: so a process that hands over and its successor may
//! write at the same time, and anybody may move the file away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use balancer::STDOUT;
use rustix::fs::{FlockOperation, flock};

use super::plane::Plane;
use crate::proxy::access::{Message, Order};

/// Lines waiting to be written.
const MOST_WAITING: usize = 4_096;
/// Bytes written at a time, one line more at the most.
const CHUNK: usize = 64 * 1024;
/// Bytes of one file, one chunk more at the most.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// Files, with the one that is written.
const FILES: u32 = 3;
/// How often an idle writer looks whether it is to open its file anew.
const LOOK: Duration = Duration::from_secs(1);
/// How often the same trouble is told.
const TOLD: Duration = Duration::from_secs(60);
/// How long a process that ends waits for its last lines.
const LAST: Duration = Duration::from_secs(2);

/// What the writer did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    lines: AtomicU64,
    lost: AtomicU64,
}

/// What became of lines since the process began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(Arc<Written>);

impl Counts {
    /// Lines that were written.
    pub(crate) fn lines(&self) -> u64 {
        self.0.lines.load(Ordering::Relaxed)
    }

    /// Lines that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

/// A running writer. It ends when nobody can send it anything any more.
#[derive(Debug)]
pub(crate) struct Access {
    path: String,
    lines: SyncSender<Message>,
    reopen: Arc<AtomicBool>,
}

impl Access {
    /// Begins to write.
    ///
    /// # Errors
    /// When there can be no thread.
    fn start(path: &str, counts: Counts) -> io::Result<Self> {
        let (lines, receiver) = sync_channel(MOST_WAITING);
        let reopen = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            output: Output::new(path),
            counts,
            reopen: reopen.clone(),
            told: None,
        };
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        drop(thread.spawn(move || writer.run(&receiver))?);
        Ok(Self {
            path: path.to_owned(),
            lines,
            reopen,
        })
    }
}

/// Whether a log could be written there; the file is made.
///
/// # Errors
/// In words.
pub(crate) fn try_path(path: &str) -> Result<(), String> {
    if path == STDOUT {
        return Ok(());
    }
    open(Path::new(path)).map(drop).map_err(|e| e.to_string())
}

/// A file to append to, and whether its last line has no end.
fn open(path: &Path) -> io::Result<(File, bool)> {
    // A pipe would wait for its reader, and whatever else is there was not meant.
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("it is there and no file"));
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let file = options.open(path)?;
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok((file, last != [b'\n']))
}

struct Writer {
    output: Output,
    counts: Counts,
    reopen: Arc<AtomicBool>,
    told: Option<Instant>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut text = Vec::with_capacity(CHUNK);
        loop {
            let first = match messages.recv_timeout(LOOK) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    if self.reopen.swap(false, Ordering::Relaxed) {
                        self.output.reopen();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (mut lines, mut waiting, mut next) = (0, Vec::new(), Some(first));
            text.clear();
            while let Some(message) = next {
                match message {
                    Message::Line(entry) => {
                        lines += 1;
                        // Made of text and whole numbers; all of them can be written.
                        let _never = serde_json::to_writer(&mut text, &entry);
                        text.push(b'\n');
                    }
                    Message::Flush(done) => waiting.push(done),
                }
                next = if text.len() < CHUNK {
                    messages.try_recv().ok()
                } else {
                    None
                };
            }
            if self.reopen.swap(false, Ordering::Relaxed) {
                self.output.reopen();
            }
            self.write(&text, lines);
            for done in waiting {
                // Whoever asked may not have waited.
                let _gone = done.try_send(());
            }
        }
    }

    fn write(&mut self, text: &[u8], lines: u64) {
        if lines == 0 {
            return;
        }
        match self.output.write(text) {
            Ok(()) => self.counts.0.lines.fetch_add(lines, Ordering::Relaxed),
            Err(error) => {
                if self.told.is_none_or(|at| at.elapsed() > TOLD) {
                    self.told = Some(Instant::now());
                    eprintln!("access log is not written to {}: {error}", self.output);
                }
                self.counts.0.lost.fetch_add(lines, Ordering::Relaxed)
            }
        };
    }
}

/// Where lines go.
enum Output {
    Stdout,
    File {
        path: PathBuf,
        open: Option<File>,
        /// The last line is not whole.
        torn: bool,
    },
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str(STDOUT),
            Self::File { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

impl Output {
    fn new(path: &str) -> Self {
        match path {
            STDOUT => Self::Stdout,
            path => Self::File {
                path: path.into(),
                open: None,
                torn: false,
            },
        }
    }

    fn reopen(&mut self) {
        if let Self::File { open, .. } = self {
            *open = None;
        }
        // Now, so that the new file is there; should it fail, that is told with the next line.
        let _later = self.write(b"");
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text)?;
                out.flush()
            }
            Self::File {
                path,
                open: file,
                torn,
            } => {
                let there = file.as_ref().map(|file| is_at(file, path)).transpose()?;
                if there != Some(true) {
                    let (new, is_torn) = open(path)?;
                    (*file, *torn) = (Some(new), is_torn);
                }
                let full = match &*file {
                    Some(file) => make_room(path, file, text.len() as u64)?,
                    None => false,
                };
                if full {
                    let (new, is_torn) = open(path)?;
                    (*file, *torn) = (Some(new), is_torn);
                }
                let Some(mut to) = file.as_ref() else {
                    return Ok(());
                };
                if text.is_empty() {
                    return Ok(());
                }
                if std::mem::replace(torn, true) {
                    to.write_all(b"\n")?;
                }
                to.write_all(text)?;
                *torn = false;
                Ok(())
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    let there = std::fs::metadata(path);
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())))
}

/// Moves a file that has no room for so much away; whether it was moved, by whomever.
fn make_room(path: &Path, file: &File, more: u64) -> io::Result<bool> {
    let bytes = file.metadata()?.len();
    if bytes == 0 || bytes + more <= MOST_BYTES {
        return Ok(false);
    }
    // One process at a time; who comes second finds that it was moved.
    flock(file, FlockOperation::LockExclusive)?;
    if is_at(file, path)? {
        let name = |number: u32| match number {
            0 => path.to_owned(),
            number => {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{number}"));
                PathBuf::from(name)
            }
        };
        for number in (1..FILES).rev() {
            match std::fs::rename(name(number - 1), name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    flock(file, FlockOperation::Unlock)?;
    Ok(true)
}

impl Plane {
    /// What workers are told to write under the present configuration.
    pub(crate) fn order(&self) -> Option<Order> {
        let mut inner = self.inner.borrow_mut();
        let Some(settings) = inner.config.settings.access_log.clone() else {
            inner.access = None;
            return None;
        };
        if inner
            .access
            .as_ref()
            .is_none_or(|a| a.path != settings.path)
        {
            match Access::start(&settings.path, self.lines.clone()) {
                Ok(access) => inner.access = Some(access),
                Err(error) => {
                    eprintln!("there is no access log: {error}");
                    inner.access = None;
                }
            }
        }
        let lines = inner.access.as_ref()?.lines.clone();
        Some(Order {
            settings: Arc::new(settings),
            lines,
        })
    }

    /// Opens the access log's file anew at each SIGHUP.
    pub(crate) fn reopen_access_log(&self) {
        if let Some(access) = &self.inner.borrow().access {
            access.reopen.store(true, Ordering::Relaxed);
        }
    }

    /// Waits, not for long, until what requests have left is written.
    pub(crate) async fn flush_access_log(&self) {
        let lines = self.inner.borrow().access.as_ref().map(|a| a.lines.clone());
        let Some(lines) = lines else { return };
        let end = tokio::time::Instant::now() + LAST;
        let (done, is_done) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(error) = lines.try_send(message) {
            let (std::sync::mpsc::TrySendError::Full(back)
            | std::sync::mpsc::TrySendError::Disconnected(back)) = error;
            message = back;
            if tokio::time::Instant::now() >= end {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while is_done.try_recv().is_err() && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_makes_room_and_no_more_than_three_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut output = Output::new(path.to_str().unwrap());
        for number in 0..5_u8 {
            output.write(&[b'0' + number]).unwrap();
            // Full without as many bytes.
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(MOST_BYTES).unwrap();
        }
        assert_eq!(names(folder.path()), ["a.log", "a.log.1", "a.log.2"]);
        let first = |name: &str| {
            let mut byte = [0];
            let mut file = File::open(folder.path().join(name)).unwrap();
            io::Read::read_exact(&mut file, &mut byte).unwrap();
            byte[0]
        };
        assert_eq!(["a.log", "a.log.1", "a.log.2"].map(first), *b"432");
    }

    #[test]
    fn two_writers_of_one_file_lose_nothing_and_make_room_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let (mut one, mut other) = (
            Output::new(path.to_str().unwrap()),
            Output::new(path.to_str().unwrap()),
        );
        one.write(b"1\n").unwrap();
        other.write(b"2\n").unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(MOST_BYTES).unwrap();
        one.write(b"3\n").unwrap();
        other.write(b"4\n").unwrap();
        assert_eq!(names(folder.path()), ["a.log", "a.log.1"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"3\n4\n");
        let before = std::fs::read(folder.path().join("a.log.1")).unwrap();
        assert_eq!(&before[..4], b"1\n2\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut output = Output::new(path.to_str().unwrap());
        output.write(b"1\n").unwrap();
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        output.write(b"2\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"2\n");
        std::fs::remove_file(&path).unwrap();
        output.reopen();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_next_ones_begin_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::create_dir(&path).unwrap();
        assert!(
            try_path(path.to_str().unwrap())
                .unwrap_err()
                .contains("no file")
        );
        let counts = Counts::default();
        let access = Access::start(path.to_str().unwrap(), counts.clone()).unwrap();
        let flush = |lines: &SyncSender<Message>| {
            let (done, is_done) = sync_channel(1);
            lines.send(Message::Flush(done)).unwrap();
            is_done.recv_timeout(Duration::from_secs(20)).unwrap();
        };
        for _ in 0..3 {
            access.lines.send(Message::Line(Box::default())).unwrap();
        }
        flush(&access.lines);
        assert_eq!((counts.lines(), counts.lost()), (0, 3));
        std::fs::remove_dir(&path).unwrap();
        access.lines.send(Message::Line(Box::default())).unwrap();
        flush(&access.lines);
        assert_eq!((counts.lines(), counts.lost()), (1, 3));
        let text = std::fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(value["bytesIn"], 0);

        // As a process leaves it that was killed while it wrote.
        std::fs::write(&path, "{\"time").unwrap();
        Output::new(path.to_str().unwrap())
            .write(b"next\n")
            .unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"time\nnext\n");
    }
}
