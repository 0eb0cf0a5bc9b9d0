//! A segment: up to 256 entries of one shard in one object.
//!
//! Entries repeat one another, so several are compressed together: a *frame* holds
//! about 512 KiB of them. Rows, that is what entries are searched by, are kept apart,
//! so that a search reads no content.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `GNSEGM01` |
//! | … | frames, each compressed alone |
//! | … | the table: rows, with the place of each content; frames, with their checksums |
//! | 8 + 8 + 16 + 8 | the tail: where the table begins, its length, its checksum, `GNSEGEND` |

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::Objects;
use crate::error::Error;

const HEAD: &[u8; 8] = b"GNSEGM01";
const END: &[u8; 8] = b"GNSEGEND";
const TAIL: u64 = 40;
/// A frame is closed when it has so many bytes.
const FRAME: usize = 512 * 1024;
const LEVEL: i32 = 9;
/// Nothing is unpacked to more: a damaged length must not take the memory.
const MOST_UNPACKED: usize = 256 * 1024 * 1024;

/// Entries of a segment at the most.
pub const MOST_ROWS: usize = 256;
/// A segment is closed when its entries have so many bytes.
pub const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What an entry is found and ordered by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// Its place in lists, ms since the epoch; ties go by id.
    pub at: i64,
    /// From when on its age counts, ms since the epoch.
    pub ended: i64,
    /// Values by the field they are searched by.
    pub fields: BTreeMap<String, Vec<String>>,
}

impl Row {
    /// The first value of a field; empty if it has none.
    pub fn text(&self, field: &str) -> &str {
        let values = self.fields.get(field);
        values.and_then(|v| v.first()).map_or("", String::as_str)
    }
}

/// Sizes that save a reader from looking them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Of the whole object.
    pub size: u64,
    /// Where the table begins.
    pub table: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Placed {
    #[serde(flatten)]
    row: Row,
    /// Its frame.
    f: usize,
    /// Where it begins in the frame.
    b: usize,
    /// Its length.
    l: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Frame {
    from: u64,
    length: u64,
    sum: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Table {
    rows: Vec<Placed>,
    frames: Vec<Frame>,
}

/// A segment whose table was read.
#[derive(Debug)]
pub struct Segment {
    name: String,
    layout: Layout,
    rows: Vec<Placed>,
    frames: Vec<Frame>,
    /// The frame that was read last: a list reads many entries of one.
    last: Mutex<Option<(usize, Bytes)>>,
}

/// The object of these entries, and its layout.
///
/// # Errors
/// When there are more than [`MOST_ROWS`], or compressing fails.
pub fn write(entries: &[(Row, Bytes)]) -> Result<(Bytes, Layout), Error> {
    if entries.len() > MOST_ROWS {
        return Err(Error::Limit {
            what: "a segment".to_owned(),
            actual: entries.len(),
            limit: MOST_ROWS,
        });
    }
    let mut object = HEAD.to_vec();
    let (mut rows, mut frames) = (Vec::new(), Vec::new());
    let mut open: Vec<u8> = Vec::new();
    for (row, content) in entries {
        if !open.is_empty() && open.len() + content.len() > FRAME {
            frames.push(close(&mut object, &mut open)?);
        }
        rows.push(Placed {
            row: row.clone(),
            f: frames.len(),
            b: open.len(),
            l: content.len(),
        });
        open.extend_from_slice(content);
    }
    // A frame that no row refers to would be read by nobody, nor its damage seen.
    if !entries.is_empty() {
        frames.push(close(&mut object, &mut open)?);
    }
    let table = object.len() as u64;
    let written = serde_json::to_vec(&Table { rows, frames });
    let written = written.map_err(|e| Error::Damaged(format!("the table of a segment: {e}")))?;
    let packed = pack(&written)?;
    object.extend_from_slice(&packed);
    object.extend_from_slice(&table.to_be_bytes());
    object.extend_from_slice(&(packed.len() as u64).to_be_bytes());
    object.extend_from_slice(&checksum(&packed));
    object.extend_from_slice(END);
    let layout = Layout {
        size: object.len() as u64,
        table,
    };
    Ok((object.into(), layout))
}

fn close(object: &mut Vec<u8>, open: &mut Vec<u8>) -> Result<Frame, Error> {
    let packed = pack(open)?;
    let frame = Frame {
        from: object.len() as u64,
        length: packed.len() as u64,
        sum: hex::encode(checksum(&packed)),
    };
    object.extend_from_slice(&packed);
    open.clear();
    Ok(frame)
}

fn pack(content: &[u8]) -> Result<Vec<u8>, Error> {
    zstd::bulk::compress(content, LEVEL)
        .map_err(|e| Error::Damaged(format!("{} bytes cannot be compressed: {e}", content.len())))
}

fn checksum(content: &[u8]) -> [u8; 16] {
    let mut sum = [0; 16];
    sum.copy_from_slice(&Sha256::digest(content)[..16]);
    sum
}

impl Segment {
    /// Reads the table of a segment. `layout` saves looking for it.
    ///
    /// # Errors
    /// `Damaged`, with the object's name, when it is not there or was cut or changed.
    pub async fn open(
        objects: &dyn Objects,
        name: &str,
        layout: Option<Layout>,
    ) -> Result<Self, Error> {
        let damaged = |reason: &str| damaged(objects, name, reason);
        let size = match layout {
            Some(layout) => layout.size,
            None => objects.size(name).await?.ok_or_else(|| damaged("gone"))?,
        };
        let begin = match layout {
            Some(layout) => layout.table.min(size),
            None => size.saturating_sub(TAIL),
        };
        let end = objects.read(name, begin, size - begin).await?;
        let end = end.ok_or_else(|| damaged("gone"))?;
        let cut = || damaged("cut off at its end");
        if end.len() as u64 != size - begin {
            return Err(cut());
        }
        let at = end.len().checked_sub(40).ok_or_else(cut)?;
        let (before, tail) = end.split_at(at);
        let number = |from: usize| {
            let bytes: Option<[u8; 8]> = tail.get(from..from + 8)?.try_into().ok();
            bytes.map(u64::from_be_bytes)
        };
        let (Some(table), Some(length)) = (number(0), number(8)) else {
            return Err(cut());
        };
        if tail.get(32..) != Some(END) {
            return Err(cut());
        }
        if table.checked_add(length).and_then(|l| l.checked_add(TAIL)) != Some(size) {
            return Err(damaged("of another length than it says"));
        }
        let packed = if table == begin {
            Bytes::copy_from_slice(before)
        } else {
            let found = objects.read(name, table, length).await?;
            found.ok_or_else(|| damaged("gone"))?
        };
        if tail.get(16..32) != Some(checksum(&packed).as_slice()) {
            return Err(damaged("changed: its table has another checksum"));
        }
        let layout = Layout { size, table };
        let table: Table = serde_json::from_slice(&unpack(&packed).map_err(|e| damaged(&e))?)
            .map_err(|e| damaged(&e.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            layout,
            rows: table.rows,
            frames: table.frames,
            last: Mutex::default(),
        })
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sizes.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its rows in their order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> + Clone {
        self.rows.iter().map(|placed| &placed.row)
    }

    /// One of them.
    pub fn row(&self, number: usize) -> Option<&Row> {
        self.rows.get(number).map(|placed| &placed.row)
    }

    /// The content of an entry.
    ///
    /// # Errors
    /// `Damaged`, with the object's name.
    pub async fn content(&self, objects: &dyn Objects, number: usize) -> Result<Bytes, Error> {
        let damaged = |reason: &str| damaged(objects, &self.name, reason);
        let missing = || damaged(&format!("without its entry {number}"));
        let placed = self.rows.get(number).ok_or_else(missing)?;
        let content = self.frame(objects, placed.f).await?;
        let end = placed.b.saturating_add(placed.l);
        if end > content.len() || placed.b > end {
            return Err(missing());
        }
        Ok(content.slice(placed.b..end))
    }

    /// The entries of a frame. Who asks for one that is being read waits for it.
    async fn frame(&self, objects: &dyn Objects, number: usize) -> Result<Bytes, Error> {
        let damaged = |reason: &str| damaged(objects, &self.name, reason);
        let mut last = self.last.lock().await;
        if let Some((_, content)) = last.as_ref().filter(|(kept, _)| *kept == number) {
            return Ok(content.clone());
        }
        let missing = || damaged(&format!("without its frame {number}"));
        let frame = self.frames.get(number).ok_or_else(missing)?;
        let found = objects.read(&self.name, frame.from, frame.length).await?;
        let packed = found.ok_or_else(|| damaged("gone"))?;
        if hex::encode(checksum(&packed)) != frame.sum {
            let reason = format!("cut or changed: frame {number} has another checksum");
            return Err(damaged(&reason));
        }
        let content = Bytes::from(unpack(&packed).map_err(|e| damaged(&e))?);
        *last = Some((number, content.clone()));
        Ok(content)
    }
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    zstd::bulk::decompress(packed, MOST_UNPACKED).map_err(|e| e.to_string())
}

fn damaged(objects: &dyn Objects, name: &str, reason: &str) -> Error {
    Error::Damaged(format!(
        "the segment {name} in the archive {} is {reason}; put the object back from a backup",
        objects.place()
    ))
}
