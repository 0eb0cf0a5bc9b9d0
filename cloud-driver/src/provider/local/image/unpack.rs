//! Layers, lowest first, become one folder.
//!
//! Each layer is read twice: first its names are checked and what it hides of
//! the layers below is removed, then its own entries are written. So a
//! whiteout acts on lower layers only, wherever it stands in the archive, and
//! a layer that is refused is refused before its first entry is written.
//! The folder is a temporary one until the caller renames it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Error;
use super::archive::{self, Budget, Entry, Kind, Limits};
use super::tree::{Fault, Tree};

/// One layer to unpack.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Digest of the blob.
    pub(super) blob: String,
    /// Where the blob lies.
    pub(super) path: std::path::PathBuf,
    /// Digest of its uncompressed bytes, as the image's configuration says.
    pub(super) content: String,
}

/// Unpacks all layers into an empty folder.
///
/// # Errors
/// The first entry, layer or limit that is refused, or what the disk said. The
/// folder then holds a part of the image and must be removed.
pub(super) fn unpack(
    image: &str,
    layers: &[Layer],
    folder: &Path,
    limits: Limits,
) -> Result<(), Error> {
    let io = |error| Error::io("unpack into", folder)(error);
    let mut tree = Tree::open(folder).map_err(io)?;
    let mut budget = Budget {
        image: image.to_owned(),
        limits,
        bytes: 0,
        entries: 0,
    };
    for layer in layers {
        let before = (budget.bytes, budget.entries);
        let found = archive::read(&layer.blob, open(layer)?, &mut budget, &mut |entry, _| {
            hide(&mut tree, &entry).map_err(|fault| place(fault, &entry, layer, folder))
        })?;
        if found != layer.content {
            return Err(Error::Blob {
                digest: layer.blob.clone(),
                reason: format!("unpacked it has digest {found}, not {}", layer.content),
            });
        }
        let mut second = Budget {
            image: image.to_owned(),
            limits,
            bytes: before.0,
            entries: before.1,
        };
        archive::read(
            &layer.blob,
            open(layer)?,
            &mut second,
            &mut |entry, content| {
                write(&mut tree, &entry, content)
                    .map_err(|fault| place(fault, &entry, layer, folder))
            },
        )?;
    }
    tree.sync().map_err(io)
}

fn open(layer: &Layer) -> Result<File, Error> {
    File::open(&layer.path).map_err(Error::io("read", &layer.path))
}

fn hide(tree: &mut Tree, entry: &Entry) -> Result<(), Fault> {
    match entry.kind {
        Kind::Whiteout => tree.remove(&entry.path),
        Kind::Opaque => tree.empty(&entry.path),
        Kind::Directory | Kind::File | Kind::Symlink(_) | Kind::Hardlink(_) | Kind::Special => {
            Ok(())
        }
    }
}

fn write(tree: &mut Tree, entry: &Entry, content: &mut dyn Read) -> Result<(), Fault> {
    match &entry.kind {
        Kind::Whiteout | Kind::Opaque | Kind::Special => return Ok(()),
        // A second name has the owner of the first.
        Kind::Hardlink(target) => return tree.hardlink(&entry.path, target),
        Kind::Directory => tree.folder(&entry.path, entry.mode)?,
        Kind::Symlink(target) => tree.symlink(&entry.path, target)?,
        Kind::File => tree.file(&entry.path, entry.mode, content)?,
    }
    tree.own(&entry.path, entry.uid, entry.gid)
}

fn place(fault: Fault, entry: &Entry, layer: &Layer, folder: &Path) -> Error {
    match fault {
        Fault::Refused(reason) => Error::Entry {
            layer: layer.blob.clone(),
            entry: entry.display(),
            reason: reason.to_owned(),
        },
        Fault::Io(source) => Error::Io {
            action: "unpack",
            path: folder.join(entry.display()),
            source,
        },
    }
}

#[cfg(test)]
mod tests;
