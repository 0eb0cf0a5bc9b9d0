//! An archive that is a folder: one file an object, written beside its place, synced, and moved there.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Objects, checked};
use crate::error::Error;

/// A folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The archive in this folder, which is made with the first object.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Does work on files where it may block.
    async fn work<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(PathBuf) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let path = self.root.join(checked(name)?);
        let shown = path.display().to_string();
        let done = tokio::task::spawn_blocking(move || work(path)).await;
        let fault = |reason: String| Error::Unavailable(format!("archive file {shown}: {reason}"));
        done.map_err(|e| fault(e.to_string()))?
            .map_err(|e| fault(e.to_string()))
    }
}

#[async_trait]
impl Objects for Folder {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        self.work(name, move |path| store(&path, &content)).await
    }

    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Option<Bytes>, Error> {
        self.work(name, move |path| {
            let Some(mut file) = there(fs::File::open(path))? else {
                return Ok(None);
            };
            file.seek(SeekFrom::Start(from))?;
            let mut content = Vec::new();
            file.take(length).read_to_end(&mut content)?;
            Ok(Some(content.into()))
        })
        .await
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        self.work(name, |path| Ok(there(fs::metadata(path))?.map(|m| m.len())))
            .await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.work(name, |path| there(fs::remove_file(path)).map(|_| ()))
            .await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let root = self.root.clone();
        self.work(folder, move |path| {
            let mut found = Vec::new();
            walk(&root, &path, &mut found)?;
            found.sort();
            Ok(found)
        })
        .await
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }
}

/// None for what is not there.
fn there<T>(found: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is being written begins so: a crash leaves it, and no reader takes it for an object.
const UNFINISHED: &str = ".writing-";

fn store(path: &Path, content: &[u8]) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(path);
    make(folder)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = folder.join(format!("{UNFINISHED}{}-{count}", std::process::id()));
    let mut file = fs::File::create(&aside)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, path));
    if let Err(error) = written {
        // A full disk: what was begun must not stay.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    fs::File::open(folder)?.sync_all()
}

/// Makes a folder and what is above it, durably.
fn make(folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(folder);
    make(above)?;
    match fs::create_dir(folder) {
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made?,
    }
    if above.as_os_str().is_empty() {
        return Ok(());
    }
    fs::File::open(above)?.sync_all()
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) -> std::io::Result<()> {
    let Some(entries) = there(fs::read_dir(folder))? else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && checked(name).is_ok()
        {
            found.push(name.to_owned());
        }
    }
    Ok(())
}
