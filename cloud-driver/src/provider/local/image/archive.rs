//! Reading a layer: decompression, the archive's entries, and the limits.
//!
//! Hands out entries whose names were checked: relative, without `..`, bounded
//! in length and depth. It touches no file. Extended headers are read here and
//! not by the `tar` crate, so that a name of a gigabyte is refused, not read.

use std::ffi::OsString;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStringExt;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType, PaxExtensions};

use super::Error;

/// What one image may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of all layers as they are sent, in bytes.
    pub blob_bytes: u64,
    /// Size of all layers unpacked, in bytes.
    pub unpacked_bytes: u64,
    /// Entries of all layers together.
    pub entries: u64,
    /// Layers.
    pub layers: u64,
}

impl Default for Limits {
    /// 4 GiB sent, 8 GiB unpacked, 500,000 entries, 128 layers.
    fn default() -> Self {
        Self {
            blob_bytes: 4 << 30,
            unpacked_bytes: 8 << 30,
            entries: 500_000,
            layers: 128,
        }
    }
}

/// Longest path in a layer, in bytes.
const MAX_PATH: usize = 4096;
/// Longest name of one entry, in bytes.
const MAX_NAME: usize = 255;
/// Deepest path in a layer.
const MAX_DEPTH: usize = 128;
/// Largest extended header, in bytes.
const MAX_EXTENSION: u64 = 64 * 1024;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    /// To any text: it is only followed inside the image.
    Symlink(OsString),
    /// To another entry of the image.
    Hardlink(Vec<OsString>),
    /// `.wh.NAME`: NAME of lower layers is gone.
    Whiteout,
    /// `.wh..wh..opq`: all of the folder in lower layers is gone.
    Opaque,
    /// A device, pipe or other special file: left out.
    Special,
}

/// One entry, its name checked.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its path; for [`Kind::Whiteout`] the path that is gone, for [`Kind::Opaque`] the folder.
    pub(super) path: Vec<OsString>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
}

impl Entry {
    /// The path as text, for errors.
    pub(super) fn display(&self) -> String {
        display(&self.path)
    }
}

pub(super) fn display(path: &[OsString]) -> String {
    let parts: Vec<_> = path.iter().map(|p| p.to_string_lossy()).collect();
    parts.join("/")
}

/// Counts what is left of the limits over all layers of an image.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) image: String,
    pub(super) limits: Limits,
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// Reads a whole layer, entry by entry, and returns the digest of its uncompressed bytes.
///
/// # Errors
/// When it is no archive, breaks a limit or names a path that is refused; what
/// `visit` fails with.
pub(super) fn read<R: Read>(
    layer: &str,
    source: R,
    budget: &mut Budget,
    visit: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), Error>,
) -> Result<String, Error> {
    let fault = |reason: String| Error::Layer {
        layer: layer.to_owned(),
        reason,
    };
    let mut source = BufReader::with_capacity(64 * 1024, source);
    let mut magic = [0; 4];
    let seen = peek(&mut source, &mut magic).map_err(|e| fault(e.to_string()))?;
    let plain: Box<dyn Read + '_> = match &magic[..seen] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            return Err(fault(
                "it is compressed with zstd, which is not supported; push the image with gzip"
                    .into(),
            ));
        }
        _ => Box::new(source),
    };
    let left = budget.limits.unpacked_bytes - budget.bytes;
    let mut counted = Counted {
        inner: plain,
        hash: Sha256::new(),
        read: 0,
        limit: left,
    };
    let outcome = entries(layer, &mut counted, budget, visit);
    // What stands behind the end of the archive counts for the digest.
    let rest = outcome
        .and_then(|()| io::copy(&mut counted, &mut io::sink()).map_err(|e| fault(e.to_string())));
    budget.bytes += counted.read.min(left);
    if counted.read > left {
        return Err(Error::TooLarge {
            digest: budget.image.clone(),
            limit: budget.limits.unpacked_bytes,
            what: "bytes",
        });
    }
    rest?;
    Ok(format!("sha256:{}", hex::encode(counted.hash.finalize())))
}

fn peek<R: Read>(source: &mut BufReader<R>, magic: &mut [u8; 4]) -> io::Result<usize> {
    use std::io::BufRead;
    let buffer = source.fill_buf()?;
    let seen = buffer.len().min(4);
    magic[..seen].copy_from_slice(&buffer[..seen]);
    Ok(seen)
}

struct Counted<'a> {
    inner: Box<dyn Read + 'a>,
    hash: Sha256,
    read: u64,
    limit: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        if self.read > self.limit {
            return Err(io::Error::other("larger than allowed"));
        }
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// Names that an extended header gives to the entry after it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
}

fn entries(
    layer: &str,
    source: &mut dyn Read,
    budget: &mut Budget,
    visit: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    let fault = |reason: String| Error::Layer {
        layer: layer.to_owned(),
        reason,
    };
    let mut archive = Archive::new(source);
    let mut extension = Extension::default();
    let all = archive.entries().map_err(|e| fault(e.to_string()))?;
    for raw in all.raw(true) {
        let mut raw = raw.map_err(|e| fault(e.to_string()))?;
        budget.entries += 1;
        if budget.entries > budget.limits.entries {
            return Err(Error::TooLarge {
                digest: budget.image.clone(),
                limit: budget.limits.entries,
                what: "entries",
            });
        }
        let header = raw.header().clone();
        let kind = header.entry_type();
        if matches!(
            kind,
            EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink
        ) {
            if raw.size() > MAX_EXTENSION {
                return Err(fault(format!(
                    "an extended header has more than {MAX_EXTENSION} bytes"
                )));
            }
            let mut body = Vec::new();
            raw.read_to_end(&mut body)
                .map_err(|e| fault(e.to_string()))?;
            extend(&mut extension, kind, body).map_err(fault)?;
            continue;
        }
        let given = std::mem::take(&mut extension);
        let path = given.path.unwrap_or_else(|| raw.path_bytes().into_owned());
        let refuse = |reason: &str| Error::Entry {
            layer: layer.to_owned(),
            entry: String::from_utf8_lossy(&path[..path.len().min(300)]).into_owned(),
            reason: reason.to_owned(),
        };
        let parts = clean(&path).map_err(refuse)?;
        let link = given
            .link
            .or_else(|| raw.link_name_bytes().map(|l| l.into_owned()));
        let special = match kind {
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => {
                let target = link.unwrap_or_default();
                if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
                    return Err(refuse("is a link without a usable target"));
                }
                Kind::Symlink(OsString::from_vec(target))
            }
            EntryType::Link => {
                let target = link.unwrap_or_default();
                let target = clean(&target)
                    .map_err(|r| refuse(&format!("is a hard link whose target {r}")))?;
                if target.is_empty() {
                    return Err(refuse("is a hard link to the image's root"));
                }
                Kind::Hardlink(target)
            }
            // The oldest archives mark a folder by its last character alone.
            EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::GNUSparse => return Err(refuse("is a sparse file, which is not supported")),
            _ => Kind::Special,
        };
        let number = |n: io::Result<u64>| n.unwrap_or(0);
        let mut entry = Entry {
            path: parts,
            kind: special,
            mode: header.mode().unwrap_or(0o644),
            uid: given.uid.unwrap_or_else(|| number(header.uid())),
            gid: given.gid.unwrap_or_else(|| number(header.gid())),
        };
        if !whiteout(&mut entry).map_err(refuse)? {
            continue;
        }
        visit(entry, &mut raw)?;
    }
    Ok(())
}

fn extend(extension: &mut Extension, kind: EntryType, mut body: Vec<u8>) -> Result<(), String> {
    match kind {
        EntryType::GNULongName | EntryType::GNULongLink => {
            while body.last() == Some(&0) {
                body.pop();
            }
            if kind == EntryType::GNULongName {
                extension.path = Some(body);
            } else {
                extension.link = Some(body);
            }
        }
        EntryType::XHeader => {
            for record in PaxExtensions::new(&body) {
                let record = record.map_err(|e| e.to_string())?;
                let number = || record.value().ok().and_then(|v| v.parse().ok());
                match record.key_bytes() {
                    b"path" => extension.path = Some(record.value_bytes().to_vec()),
                    b"linkpath" => extension.link = Some(record.value_bytes().to_vec()),
                    b"uid" => extension.uid = number(),
                    b"gid" => extension.gid = number(),
                    b"size" => return Err("a file of more than 8 GiB is not supported".into()),
                    key if key.starts_with(b"GNU.sparse") => {
                        return Err("sparse files are not supported".into());
                    }
                    _ => {}
                }
            }
        }
        // A comment for the whole archive.
        _ => {}
    }
    Ok(())
}

/// Splits a path into names, refusing what could lead elsewhere.
fn clean(path: &[u8]) -> Result<Vec<OsString>, &'static str> {
    if path.starts_with(b"/") {
        return Err("is absolute; names in a layer are relative");
    }
    if path.len() > MAX_PATH {
        return Err("is longer than the 4096 bytes allowed");
    }
    if path.contains(&0) {
        return Err("holds a zero byte");
    }
    let mut parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("holds \"..\""),
            _ if part.len() > MAX_NAME => return Err("has a name longer than 255 bytes"),
            _ => parts.push(OsString::from_vec(part.to_vec())),
        }
    }
    if parts.len() > MAX_DEPTH {
        return Err("is deeper than the 128 folders allowed");
    }
    Ok(parts)
}

/// Turns `.wh.` names into what they mean; false: to be left out.
fn whiteout(entry: &mut Entry) -> Result<bool, &'static str> {
    let Some(name) = entry.path.last() else {
        return Ok(true);
    };
    let Some(hidden) = name.as_encoded_bytes().strip_prefix(b".wh.") else {
        return Ok(true);
    };
    if hidden == b".wh..opq" {
        entry.kind = Kind::Opaque;
        entry.path.pop();
        return Ok(true);
    }
    if hidden.starts_with(b".wh.") {
        // Book-keeping of an old union file system.
        return Ok(false);
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return Err("is a whiteout of no name");
    }
    let hidden = OsString::from_vec(hidden.to_vec());
    entry.kind = Kind::Whiteout;
    entry.path.pop();
    entry.path.push(hidden);
    Ok(true)
}
