//! The hour of history on disk, so that it outlives the process: one line a second, in two files of a
//! bounded size, the one that is written and the one before it.
//!
//! A line says for itself whether it is whole: `<checksum> <JSON>`. What is not is left out and told;
//! it never keeps the process from beginning. Lines are appended whole, since a process that hands over
//! and its successor may write at the same time. They are not forced to the disk: a killed process
//! loses none of what it wrote, a machine without power the last seconds.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use balancer::Second;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{HOUR_S, Row};

/// The file that is written; the number is that of its form.
const FILE: &str = "history-1.jsonl";
/// The one before it.
const BEFORE: &str = "history-1.before.jsonl";

/// Bytes of one file, one line more at the most: more than the seconds that are kept in memory.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Lines waiting to be written.
const MOST_WAITING: usize = 64;

/// Characters of a checksum.
const CHECKSUM: usize = 8;

/// How often the same trouble is told.
const TOLD: Duration = Duration::from_secs(60);

/// A second of one process.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// Seconds since the epoch.
    at: i64,
    /// Epoch of the process that counted.
    by: String,
    /// Load balancer, server group, and the numbers of [`numbers`].
    of: Vec<(String, String, Vec<u32>)>,
}

/// A second as numbers; new ones are added at the end.
fn numbers(second: &Second) -> Vec<u32> {
    vec![
        second.sent,
        second.ok,
        second.client_error,
        second.server_error,
        second.own_error,
        second.retries,
        second.p50_us,
        second.p99_us,
        second.in_flight,
    ]
}

fn second(numbers: &[u32]) -> Second {
    let at = |at: usize| numbers.get(at).copied().unwrap_or(0);
    Second {
        sent: at(0),
        share: 0,
        ok: at(1),
        client_error: at(2),
        server_error: at(3),
        own_error: at(4),
        retries: at(5),
        p50_us: at(6),
        p99_us: at(7),
        in_flight: at(8),
    }
}

fn checksum(json: &[u8]) -> String {
    let mut text = hex::encode(Sha256::digest(json));
    text.truncate(CHECKSUM);
    text
}

fn write_line(at_s: i64, epoch: &str, rows: &[Row]) -> Vec<u8> {
    let line = Line {
        at: at_s,
        by: epoch.to_owned(),
        of: rows
            .iter()
            .map(|((balancer, group), second)| (balancer.clone(), group.clone(), numbers(second)))
            .collect(),
    };
    // Made of strings and whole numbers; all of them can be written.
    let json = serde_json::to_vec(&line).unwrap_or_default();
    let mut text = checksum(&json).into_bytes();
    text.push(b' ');
    text.extend(json);
    text.push(b'\n');
    text
}

fn read_line(line: &[u8]) -> Result<Past, String> {
    let (sum, json) = line
        .split_at_checked(CHECKSUM)
        .and_then(|(sum, rest)| Some((sum, rest.strip_prefix(b" ")?)))
        .ok_or("it is too short")?;
    if sum != checksum(json).as_bytes() {
        return Err("its checksum is another".to_owned());
    }
    let line: Line = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    let rows = line.of.into_iter();
    Ok(Past {
        at_s: line.at,
        epoch: line.by,
        rows: rows
            .map(|(balancer, group, numbers)| ((balancer, group), second(&numbers)))
            .collect(),
    })
}

/// A second that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) at_s: i64,
    pub(crate) epoch: String,
    pub(crate) rows: Vec<Row>,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Seconds of the last hour, in the order in which they were written.
    pub(crate) seconds: Vec<Past>,
    /// Lines that are not what was written.
    pub(crate) damaged: u64,
    /// What is wrong, in words, one a file.
    pub(crate) faults: Vec<String>,
}

/// Reads the last hour; what cannot be read is told and left where it is.
pub(crate) fn load(folder: &Path, now_s: i64) -> Loaded {
    let mut loaded = Loaded::default();
    for name in [BEFORE, FILE] {
        let path = folder.join(name);
        match File::open(&path) {
            Ok(file) => {
                if let Err(error) = load_file(&file, &path, now_s, &mut loaded) {
                    loaded.faults.push(format!("{}: {error}", path.display()));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => loaded.faults.push(format!("{}: {error}", path.display())),
        }
    }
    loaded
}

fn load_file(mut file: &File, path: &Path, now_s: i64, loaded: &mut Loaded) -> io::Result<()> {
    let skipped = file.metadata()?.len().saturating_sub(2 * MOST_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut reader = BufReader::new(file.take(2 * MOST_BYTES));
    let (mut number, mut damaged, mut first) = (0_u64, 0_u64, None);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        let read = match line.strip_suffix(b"\n") {
            // Written between the end of a line that was torn and the next one.
            Some([]) => continue,
            Some(line) => read_line(line),
            // Torn off, unless only its end is missing.
            None => read_line(&line),
        };
        match read {
            Ok(past) if past.at_s > now_s => {
                damaged += 1;
                first.get_or_insert_with(|| (number, "it is of the future".to_owned()));
            }
            Ok(past) if past.at_s > now_s - HOUR_S => loaded.seconds.push(past),
            Ok(_) => {}
            Err(why) => {
                damaged += 1;
                first.get_or_insert((number, why));
            }
        }
    }
    if let Some((number, why)) = first {
        loaded.damaged += damaged;
        loaded.faults.push(format!(
            "{}: {damaged} of {number} lines are not what was written and are left out; \
             the first is line {number}: {why}",
            path.display()
        ));
    }
    Ok(())
}

/// Where seconds are written; a thread of its own does it, since a disk may be slow.
#[derive(Debug)]
pub(crate) struct Archive {
    lines: Option<SyncSender<(i64, Vec<u8>)>>,
    lost: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Archive {
    /// Begins.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        let (lines, receiver) = sync_channel(MOST_WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            folder: folder.to_owned(),
            lost: lost.clone(),
            open: None,
            told: None,
        };
        let thread = std::thread::Builder::new().name("history".to_owned());
        Ok(Self {
            lines: Some(lines),
            lost,
            thread: Some(thread.spawn(move || writer.run(&receiver))?),
        })
    }

    /// Writes a second of a process.
    pub(crate) fn keep(&self, at_s: i64, epoch: &str, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        let Some(lines) = &self.lines else { return };
        match lines.try_send((at_s, write_line(at_s, epoch, rows))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Lines that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes what is left; what returns ends when that is done.
    pub(crate) fn finish(&mut self) -> Option<std::thread::JoinHandle<()>> {
        self.lines = None;
        self.thread.take()
    }
}

struct Writer {
    folder: PathBuf,
    lost: Arc<AtomicU64>,
    open: Option<Open>,
    told: Option<Instant>,
}

/// The file that is written.
struct Open {
    file: File,
    bytes: u64,
    /// Second of its first line; none: it has none.
    since_s: Option<i64>,
    /// The last line is not whole.
    torn: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<(i64, Vec<u8>)>) {
        while let Ok((at_s, line)) = lines.recv() {
            if let Err(error) = self.write(at_s, &line) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                if self.told.is_none_or(|at| at.elapsed() > TOLD) {
                    self.told = Some(Instant::now());
                    let path = self.folder.join(FILE);
                    eprintln!("history is not written to {}: {error}", path.display());
                }
            }
        }
    }

    fn write(&mut self, at_s: i64, line: &[u8]) -> io::Result<()> {
        let path = self.folder.join(FILE);
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&path)?,
        };
        let open = if open.is_full(at_s) {
            std::fs::rename(&path, self.folder.join(BEFORE))?;
            Open::new(&path)?
        } else {
            open
        };
        self.open.insert(open).append(at_s, line)
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(path)?;
        let bytes = file.metadata()?.len();
        let mut last = [b'\n'];
        if bytes > 0 {
            file.seek(SeekFrom::Start(bytes - 1))?;
            file.read_exact(&mut last)?;
        }
        file.seek(SeekFrom::Start(0))?;
        let mut first = Vec::new();
        BufReader::new((&file).take(MOST_BYTES)).read_until(b'\n', &mut first)?;
        let since_s = read_line(first.trim_ascii_end()).ok().map(|p| p.at_s);
        Ok(Self {
            file,
            bytes,
            since_s,
            torn: last != [b'\n'],
        })
    }

    fn is_full(&self, at_s: i64) -> bool {
        let hour = self.since_s.is_some_and(|since| at_s - since >= HOUR_S);
        hour || self.bytes >= MOST_BYTES
    }

    fn append(&mut self, at_s: i64, line: &[u8]) -> io::Result<()> {
        let mut text = Vec::new();
        if self.torn {
            text.push(b'\n');
        }
        text.extend_from_slice(line);
        self.torn = true;
        self.file.write_all(&text)?;
        self.torn = false;
        self.bytes += text.len() as u64;
        self.since_s.get_or_insert(at_s);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sent: u32) -> Vec<Row> {
        let second = Second {
            sent,
            ok: 2,
            client_error: 3,
            server_error: 4,
            own_error: 5,
            retries: 6,
            p50_us: 7,
            p99_us: 8,
            in_flight: 9,
            share: 0,
        };
        vec![(("lb \"x\"".to_owned(), "g\nh".to_owned()), second)]
    }

    fn write(folder: &Path, seconds: impl IntoIterator<Item = (i64, u32)>) {
        let mut archive = Archive::start(folder).unwrap();
        for (at, sent) in seconds {
            // The channel is short on purpose; here nothing may be lost.
            let lines = archive.lines.as_ref().unwrap();
            lines.send((at, write_line(at, "e", &rows(sent)))).unwrap();
        }
        archive.finish().unwrap().join().unwrap();
        assert_eq!(archive.lost(), 0);
    }

    fn sent(loaded: &Loaded) -> Vec<u32> {
        loaded.seconds.iter().map(|s| s.rows[0].1.sent).collect()
    }

    #[test]
    fn what_was_written_is_read_and_what_is_older_than_an_hour_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path(), 9).seconds.is_empty());
        write(folder.path(), [(100, 1), (101, 2)]);
        write(folder.path(), [(102, 3)]);
        let loaded = load(folder.path(), 102);
        assert_eq!(sent(&loaded), [1, 2, 3]);
        assert_eq!(loaded.seconds[2].rows, rows(3));
        assert_eq!(loaded.seconds[2].epoch, "e");
        assert_eq!((loaded.damaged, loaded.faults.len()), (0, 0));
        assert_eq!(sent(&load(folder.path(), 101 + HOUR_S)), [3]);
    }

    #[test]
    fn damage_is_left_out_and_told_and_what_follows_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        write(folder.path(), [(1, 1), (2, 2), (3, 3)]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(sent(&load(folder.path(), 9)), [1, 2, 3], "only its end");
        for (damage, left) in [
            (whole[..whole.len() - 9].to_vec(), vec![1, 2]),
            ([&whole[..], b"\0\0\0\0"].concat(), vec![1, 2, 3]),
            ([&whole[..], b"\xff\n"].concat(), vec![1, 2, 3]),
            ([b"x", &whole[..]].concat(), vec![2, 3]),
        ] {
            std::fs::write(&path, damage).unwrap();
            let loaded = load(folder.path(), 9);
            assert_eq!((sent(&loaded), loaded.damaged), (left.clone(), 1));
            assert!(loaded.faults[0].contains("lines are not what was written"));
            // What is written next does not hang on to what was torn off.
            write(folder.path(), [(4, 4)]);
            let loaded = load(folder.path(), 9);
            let with_next = [&left[..], &[4]].concat();
            assert_eq!((sent(&loaded), loaded.damaged), (with_next, 1));
        }
        let text = String::from_utf8(whole).unwrap();
        let changed = text.replacen("[2,2,3", "[9,2,3", 1);
        assert_ne!(text, changed);
        std::fs::write(&path, changed).unwrap();
        let loaded = load(folder.path(), 9);
        assert_eq!((sent(&loaded), loaded.damaged), (vec![1, 3], 1));
        assert!(
            loaded.faults[0].contains("line 2: its checksum"),
            "{loaded:?}"
        );
    }

    #[test]
    fn a_file_that_holds_an_hour_makes_room_and_there_are_never_more_than_two() {
        let folder = tempfile::tempdir().unwrap();
        for hour in 0..4 {
            let begin = hour * HOUR_S;
            write(folder.path(), [(begin, 1), (begin + HOUR_S - 1, 2)]);
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [BEFORE, FILE]);
        let now = 4 * HOUR_S - 1;
        assert_eq!(sent(&load(folder.path(), now)), [1, 2]);
        assert_eq!(sent(&load(folder.path(), now - HOUR_S)), [1, 2], "before");
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        let mut archive = Archive::start(folder.path()).unwrap();
        archive.keep(1, "e", &rows(1));
        archive.keep(2, "e", &[]);
        archive.finish().unwrap().join().unwrap();
        assert_eq!(archive.lost(), 1);
        let loaded = load(folder.path(), 9);
        assert_eq!((loaded.seconds.len(), loaded.faults.len()), (0, 1));
    }
}
