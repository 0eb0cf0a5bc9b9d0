//! Bytes in a redb file, written by one thread that commits what is waiting as
//! one group.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition,
    TableError,
};
use tokio::sync::oneshot;

use super::Work;
use crate::error::Error;
use crate::kv::{Kv, KvRead, Rows, blob, reserve};
use crate::presence::{Opening, Presence};
use crate::shard::Shards;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("store");
const LAYOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("layout");

/// Number of the layout; a file with another one is refused.
const FORMAT: u64 = 1;
/// What of the layout says that the file is being filled from an archive.
const RESTORING: &str = "restoring";

/// Most works committed together.
const GROUP: usize = 256;

/// Below this much free space on the file's disk new work is refused, so that
/// running work can end. In bytes.
const RESERVE: u64 = 24 * 1024 * 1024;

/// Where the file is and how large it may get.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// The file; created if absent, its folder must exist.
    pub path: PathBuf,
    /// Bytes of cache.
    pub cache_bytes: usize,
    /// New work is refused once the file is this large; none: only by free space.
    pub max_bytes: Option<u64>,
    /// What to do where there is no store; default: make one.
    pub opening: Opening,
}

impl FileSettings {
    /// 16 MiB of cache, no limit of its own.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            cache_bytes: 16 * 1024 * 1024,
            max_bytes: None,
            opening: Opening::default(),
        }
    }
}

pub(super) fn system_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A work that puts its answer aside and sends it once its group is committed.
type Job = Box<dyn FnOnce(&mut Rw<'_>, i64) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), String>) + Send>;

pub(super) struct FileBackend {
    pub(super) path: PathBuf,
    settings: FileSettings,
    database: Arc<RwLock<Database>>,
    jobs: Mutex<Sender<(bool, Job)>>,
}

fn open_error(path: &Path, reason: impl ToString) -> Error {
    Error::Open {
        place: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Unavailable(error.to_string())
}

impl FileBackend {
    pub(super) fn open(settings: FileSettings, shards: Shards) -> Result<Self, Error> {
        let path = settings.path.clone();
        let (opening, found) = (settings.opening, look(&path)?);
        if let Some(reason) = opening.refuses(found) {
            return Err(open_error(&path, reason));
        }
        let database = Self::database(&settings)?;
        Self::layout(&database, shards, opening).map_err(|reason| open_error(&path, reason))?;
        let database = Arc::new(RwLock::new(database));
        let (jobs, waiting) = channel();
        let writer = Writer {
            database: database.clone(),
            settings: settings.clone(),
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| open_error(&path, error))?;
        Ok(Self {
            path,
            settings,
            database,
            jobs: Mutex::new(jobs),
        })
    }

    fn database(settings: &FileSettings) -> Result<Database, Error> {
        let path = &settings.path;
        Database::builder()
            .set_cache_size(settings.cache_bytes)
            .create(path)
            .map_err(|error| taken(path, error))
    }

    /// Writes or compares what the file was made with, ends the leases of the process
    /// that had it open before, and removes values that it left without an owner.
    fn layout(database: &Database, shards: Shards, opening: Opening) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let transaction = database.begin_write().map_err(|e| text(&e))?;
        {
            let mut layout = transaction.open_table(LAYOUT).map_err(|e| text(&e))?;
            for (name, wanted) in [("format", FORMAT), ("shards", u64::from(shards.count()))] {
                let there = layout.get(name).map_err(|e| text(&e))?.map(|v| v.value());
                match there {
                    Some(there) if there != wanted => {
                        return Err(format!("it was made with {name} {there}, not {wanted}"));
                    }
                    Some(_) => {}
                    None => {
                        layout.insert(name, wanted).map_err(|e| text(&e))?;
                    }
                }
            }
            if opening == Opening::Restore {
                layout.insert(RESTORING, 1).map_err(|e| text(&e))?;
            }
            let mut table = Rw(transaction.open_table(TABLE).map_err(|e| text(&e))?);
            for shard in shards.all() {
                reserve::expire_all(&mut table, shard).map_err(|e| text(&e))?;
                let now = system_ms();
                blob::forget_unowned(&mut table, now, shard).map_err(|e| text(&e))?;
            }
        }
        transaction.commit().map_err(|e| text(&e))
    }

    /// Says that what was to be restored is there.
    pub(super) fn restored(&self) -> Result<(), Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.begin_write().map_err(failed)?;
        {
            let mut layout = transaction.open_table(LAYOUT).map_err(failed)?;
            layout.remove(RESTORING).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// Why new work is refused, if it is.
    pub(super) fn full(&self) -> Option<String> {
        if let Some(max) = self.settings.max_bytes {
            let size = std::fs::metadata(&self.path).map_or(0, |m| m.len());
            if size >= max {
                return Some(format!("the store's file has {size} of {max} bytes"));
            }
        }
        let free = rustix::fs::statvfs(&self.path).map_or(u64::MAX, |s| s.f_bavail * s.f_frsize);
        (free < RESERVE).then(|| format!("{free} bytes are free on the disk of the data folder"))
    }

    pub(super) async fn write<R: Send + 'static>(
        &self,
        durable: bool,
        work: Work<R>,
    ) -> Result<R, Error> {
        let (sender, receiver) = oneshot::channel::<Result<R, Error>>();
        let job: Job = Box::new(move |kv, now| {
            let result = work(kv, now);
            Box::new(move |committed: Result<(), String>| {
                let answer = committed.map_err(Error::Unavailable).and(result);
                // The caller may have given up; the commit stands all the same.
                let _ = sender.send(answer);
            })
        });
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send((durable, job))
            .map_err(|_| Error::Unavailable("the store's writer has ended".to_owned()))?;
        receiver
            .await
            .map_err(|_| Error::Unavailable("the store's writer has ended".to_owned()))?
    }

    pub(super) fn read<R>(
        &self,
        read: impl FnOnce(&dyn KvRead) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.begin_read().map_err(failed)?;
        match transaction.open_table(TABLE) {
            Ok(table) => read(&Ro(table)),
            Err(TableError::TableDoesNotExist(_)) => Err(Error::Damaged("no table".to_owned())),
            Err(error) => Err(failed(error)),
        }
    }
}

/// What a file holds; it is not changed.
pub(super) fn look(path: &Path) -> Result<Presence, Error> {
    // An empty file is one whose making was cut off at once.
    if !std::fs::metadata(path).is_ok_and(|about| about.len() > 0) {
        return Ok(Presence::Absent);
    }
    let database = Database::open(path).map_err(|error| taken(path, error))?;
    let fault = |error: &dyn std::fmt::Display| open_error(path, error);
    let transaction = database.begin_read().map_err(|e| fault(&e))?;
    let layout = match transaction.open_table(LAYOUT) {
        Ok(layout) => layout,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Presence::Absent),
        Err(error) => return Err(fault(&error)),
    };
    let has = |name: &str| {
        let value = layout.get(name).map_err(|e| fault(&e))?;
        Ok::<_, Error>(value.is_some())
    };
    Ok(match (has("format")?, has(RESTORING)?) {
        (false, _) => Presence::Absent,
        (true, false) => Presence::Whole,
        (true, true) => Presence::Unfinished,
    })
}

fn taken(path: &Path, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => open_error(
            path,
            "another process has it open; stop that one or choose another data folder",
        ),
        other => open_error(path, other),
    }
}

struct Writer {
    database: Arc<RwLock<Database>>,
    settings: FileSettings,
}

impl Writer {
    /// Runs until every handle is gone. A lone work goes at once; what has come
    /// in meanwhile makes the next group.
    fn run(self, waiting: &Receiver<(bool, Job)>) {
        while let Ok(first) = waiting.recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(more) = waiting.try_recv()
            {
                group.push(more);
            }
            let durable = group.iter().any(|(durable, _)| *durable);
            let mut answers = Vec::with_capacity(group.len());
            let outcome = self
                .commit(durable, group, &mut answers)
                .map_err(|e| e.to_string());
            for answer in answers {
                answer(outcome.clone());
            }
            if outcome.is_err() {
                self.reopen();
            }
        }
    }

    fn commit(
        &self,
        durable: bool,
        group: Vec<(bool, Job)>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let mut transaction = database.begin_write()?;
        // Handing out leases needs no disk: they end with this process anyway.
        transaction.set_durability(if durable {
            Durability::Immediate
        } else {
            Durability::None
        })?;
        {
            let mut table = Rw(transaction.open_table(TABLE)?);
            let now = system_ms();
            answers.extend(group.into_iter().map(|(_, job)| job(&mut table, now)));
        }
        transaction.commit()?;
        Ok(())
    }

    /// After a failed write the engine refuses to go on with the open file; what
    /// is on disk is whole, so it is opened again.
    fn reopen(&self) {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Ok(placeholder) = Database::builder()
            .set_cache_size(0)
            .create_with_backend(redb::backends::InMemoryBackend::new())
        else {
            return;
        };
        // The old handle must be closed before the file's lock can be had again.
        drop(std::mem::replace(&mut *database, placeholder));
        match FileBackend::database(&self.settings) {
            Ok(reopened) => *database = reopened,
            Err(error) => tracing::error!(%error, "the store's file cannot be opened again"),
        }
    }
}

struct Rw<'a>(Table<'a, &'static [u8], &'static [u8]>);
struct Ro(redb::ReadOnlyTable<&'static [u8], &'static [u8]>);

fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    Ok(table
        .get(key)
        .map_err(failed)?
        .map(|value| value.value().to_vec()))
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    to: &[u8],
    reverse: bool,
    most: usize,
) -> Result<Rows, Error> {
    if from >= to {
        return Ok(Vec::new());
    }
    let mut range = table.range(from..to).map_err(failed)?;
    let mut rows = Vec::new();
    while rows.len() < most {
        let row = if reverse {
            range.next_back()
        } else {
            range.next()
        };
        let Some(row) = row else { break };
        let (key, value) = row.map_err(failed)?;
        rows.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(rows)
}

impl KvRead for Rw<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        get(&self.0, key)
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, most: usize) -> Result<Rows, Error> {
        scan(&self.0, from, to, reverse, most)
    }
}

impl KvRead for Ro {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        get(&self.0, key)
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, most: usize) -> Result<Rows, Error> {
        scan(&self.0, from, to, reverse, most)
    }
}

impl Kv for Rw<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.0.insert(key, value).map(|_| ()).map_err(failed)
    }
    fn del(&mut self, key: &[u8]) -> Result<(), Error> {
        self.0.remove(key).map(|_| ()).map_err(failed)
    }
}
