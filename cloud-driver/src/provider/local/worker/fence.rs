//! The largest fencing token that told workers anything, kept in the data folder: workers
//! themselves know nothing of writers, so two control planes on one folder meet here.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file that holds the token, in decimal.
const NAME: &str = "fence";

/// The fence of one data folder.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    folder: PathBuf,
}

impl Fence {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The largest token so far; 0 when there was none.
    ///
    /// # Errors
    /// When it cannot be read: nobody may write then.
    pub(super) fn seen(&self) -> io::Result<u64> {
        match std::fs::read_to_string(self.folder.join(NAME)) {
            Ok(text) => text.trim().parse().map_err(|_| {
                let path = self.folder.join(NAME);
                io::Error::other(format!("{} holds no token: {text:?}", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Takes a token; the largest one seen instead, when that is larger.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub(super) fn accept(&self, token: u64) -> io::Result<Result<(), u64>> {
        std::fs::create_dir_all(&self.folder)?;
        let lock = File::create(self.folder.join("fence.lock"))?;
        lock.lock()?;
        let seen = self.seen()?;
        if token < seen {
            return Ok(Err(seen));
        }
        if token > seen {
            let new = self.folder.join("fence.new");
            let mut file = File::create(&new)?;
            write!(file, "{token}")?;
            file.sync_all()?;
            std::fs::rename(new, self.folder.join(NAME))?;
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_token_is_refused_by_whoever_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workers");
        assert_eq!(Fence::new(&path).seen().unwrap(), 0);
        assert_eq!(Fence::new(&path).accept(7).unwrap(), Ok(()));
        assert_eq!(Fence::new(&path).accept(7).unwrap(), Ok(()));
        assert_eq!(Fence::new(&path).accept(6).unwrap(), Err(7));
        assert_eq!(Fence::new(&path).seen().unwrap(), 7);
        std::fs::write(path.join(NAME), "seven").unwrap();
        let error = Fence::new(&path).accept(9).unwrap_err().to_string();
        assert!(error.contains("seven"), "{error}");
    }
}
