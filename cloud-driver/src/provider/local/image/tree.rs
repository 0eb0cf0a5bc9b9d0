//! A folder that is written to name by name, beneath its own descriptor.
//!
//! Every folder on the way is opened by itself and without following links, so
//! nothing an image holds can lead a later write outside of the image. It
//! knows nothing about archives.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, linkat, mkdirat, openat,
    statat, symlinkat, syncfs, unlinkat,
};
use rustix::io::Errno;

/// Why an entry could not be written.
#[derive(Debug)]
pub(super) enum Fault {
    /// A rule: what the entry does that is not allowed.
    Refused(&'static str),
    /// The machine: disk full, permissions.
    Io(io::Error),
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The folder; keeps the descriptor of the last folder written to.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    last: Option<(Vec<OsString>, OwnedFd)>,
    /// Owners are set only by root; anybody else owns what they unpack.
    set_owner: bool,
}

impl Tree {
    /// Opens an existing folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            root: openat(CWD, path, FOLDER, Mode::empty())?,
            last: None,
            set_owner: rustix::process::geteuid().is_root(),
        })
    }

    /// Makes a folder, or keeps the one that is there.
    pub(super) fn folder(&mut self, path: &[OsString], mode: u32) -> Result<(), Fault> {
        let Some((name, parent)) = path.split_last() else {
            return Ok(());
        };
        let here = self.enter(parent)?;
        match kind(here, name)? {
            Some(FileType::Directory) => {}
            Some(_) => {
                unlinkat(here, name, AtFlags::empty())?;
                mkdirat(here, name, Mode::from_raw_mode(0o755))?;
            }
            None => mkdirat(here, name, Mode::from_raw_mode(0o755))?,
        }
        let opened = openat(here, name, FOLDER, Mode::empty())?;
        // Whoever unpacks must be able to go on writing into it.
        fchmod(&opened, Mode::from_raw_mode(mode & 0o1777 | 0o700))?;
        Ok(())
    }

    /// Makes a file with the content; whatever had the name is gone.
    pub(super) fn file(
        &mut self,
        path: &[OsString],
        mode: u32,
        content: &mut dyn Read,
    ) -> Result<(), Fault> {
        let (name, here) = self.clear(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(here, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(opened);
        io::copy(content, &mut file)?;
        // Without setuid and setgid: nothing an image brings gains rights.
        fchmod(&file, Mode::from_raw_mode(mode & 0o777 | 0o400))?;
        Ok(())
    }

    /// Makes a symbolic link with any target.
    pub(super) fn symlink(&mut self, path: &[OsString], target: &OsStr) -> Result<(), Fault> {
        let (name, here) = self.clear(path)?;
        symlinkat(target, here, name)?;
        Ok(())
    }

    /// Makes a second name for a file of this tree.
    pub(super) fn hardlink(&mut self, path: &[OsString], target: &[OsString]) -> Result<(), Fault> {
        if path == target {
            return Ok(());
        }
        let Some((target_name, target_parent)) = target.split_last() else {
            return Err(Fault::Refused("is a hard link to the image's root"));
        };
        let from = match self.walk(target_parent, false)? {
            Some(folder) => folder,
            None => return Err(Fault::Refused("is a hard link to a file that is not there")),
        };
        match kind(&from, target_name)? {
            Some(FileType::RegularFile | FileType::Symlink) => {}
            Some(_) => {
                return Err(Fault::Refused(
                    "is a hard link to something else than a file",
                ));
            }
            None => return Err(Fault::Refused("is a hard link to a file that is not there")),
        }
        let (name, here) = self.clear(path)?;
        linkat(&from, target_name, here, name, AtFlags::empty())?;
        Ok(())
    }

    /// Sets the owner of what has this name, if we may; never through a link.
    pub(super) fn own(&mut self, path: &[OsString], uid: u64, gid: u64) -> Result<(), Fault> {
        let (Some((name, parent)), true) = (path.split_last(), self.set_owner) else {
            return Ok(());
        };
        let (Ok(uid), Ok(gid)) = (u32::try_from(uid), u32::try_from(gid)) else {
            return Err(Fault::Refused("has an owner that is no user id"));
        };
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Fault::Refused("has an owner that is no user id"));
        }
        let here = self.enter(parent)?;
        chownat(
            here,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        Ok(())
    }

    /// Removes what has this name, with all below it; nothing there is fine.
    pub(super) fn remove(&mut self, path: &[OsString]) -> Result<(), Fault> {
        let Some((name, parent)) = path.split_last() else {
            return Err(Fault::Refused("removes the image's root"));
        };
        self.last = None;
        if let Some(folder) = self.walk(parent, false)? {
            remove_all(&folder, name)?;
        }
        Ok(())
    }

    /// Removes all that is in a folder; no folder there is fine.
    pub(super) fn empty(&mut self, path: &[OsString]) -> Result<(), Fault> {
        self.last = None;
        if let Some(folder) = self.walk(path, false)? {
            for name in names(&folder)? {
                remove_all(&folder, &name)?;
            }
        }
        Ok(())
    }

    /// Waits until all of it is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(syncfs(&self.root)?)
    }

    /// The folder a new name goes to, with whatever had the name removed.
    fn clear<'a>(&mut self, path: &'a [OsString]) -> Result<(&'a OsStr, &OwnedFd), Fault> {
        let Some((name, parent)) = path.split_last() else {
            return Err(Fault::Refused("replaces the image's root"));
        };
        let here = self.enter(parent)?;
        if let Some(found) = kind(here, name)? {
            remove_all(here, name)?;
            if found == FileType::Directory {
                // The remembered folder may have been below it.
                self.last = None;
            }
        }
        Ok((name, self.enter(parent)?))
    }

    /// The descriptor of a folder, made when it is missing.
    fn enter(&mut self, path: &[OsString]) -> Result<&OwnedFd, Fault> {
        let known = self.last.as_ref().is_some_and(|(last, _)| last == path);
        if !known {
            let folder = self
                .walk(path, true)?
                .ok_or(Fault::Refused("has no folder"))?;
            self.last = Some((path.to_vec(), folder));
        }
        match &self.last {
            Some((_, folder)) => Ok(folder),
            None => Ok(&self.root),
        }
    }

    /// Walks down from the root; none when a folder is missing and must not be made.
    fn walk(&self, path: &[OsString], create: bool) -> Result<Option<OwnedFd>, Fault> {
        let mut here = openat(&self.root, c".", FOLDER, Mode::empty())?;
        for name in path {
            if create && kind(&here, name)?.is_none() {
                mkdirat(&here, name, Mode::from_raw_mode(0o755))?;
            }
            here = match openat(&here, name, FOLDER, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(match kind(&here, name)? {
                        Some(FileType::Symlink) => {
                            Fault::Refused("goes through a symbolic link, which is never followed")
                        }
                        _ => Fault::Refused("goes through something that is no folder"),
                    });
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Some(here))
    }
}

fn kind(folder: &OwnedFd, name: &OsStr) -> Result<Option<FileType>, Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn names(folder: &OwnedFd) -> Result<Vec<OsString>, Fault> {
    use std::os::unix::ffi::OsStringExt;
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            found.push(OsString::from_vec(name.to_bytes().to_vec()));
        }
    }
    Ok(found)
}

/// Depth is bounded by that of the paths which were written.
fn remove_all(folder: &OwnedFd, name: &OsStr) -> Result<(), Fault> {
    match kind(folder, name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            let inner = openat(folder, name, FOLDER, Mode::empty())?;
            for below in names(&inner)? {
                remove_all(&inner, &below)?;
            }
            Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
        }
        Some(_) => Ok(unlinkat(folder, name, AtFlags::empty())?),
    }
}
