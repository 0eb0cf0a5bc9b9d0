//! Large values of an execution: in its stored form a reference stands in the place of each.
//!
//! A value above [`THRESHOLD`] becomes `{"_blob": "sha256:…", "_bytes": n}`, the innermost first: so a large text is
//! the same blob whatever it lies in, in a stage, in the stage after, in the log. What is still large without its
//! large values is put aside in its turn, with references in it. The top of a part, and of a blob, is never a
//! reference; a value of a user's that looks like one is put aside too, so that none is taken for ours.
//!
//! Nobody but the store's reader and writer knows: an execution in memory, in the archive, in an export or served
//! has its values in their places. Pure.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use store::blob::THRESHOLD;

use crate::digest::Digest;
use crate::fields::{Node, Object};

/// Field of a reference: the content hash.
const BLOB: &str = "_blob";
/// Field of a reference: how long the value is as JSON, in its place.
const BYTES: &str = "_bytes";
/// What begins a stored text with references. Whoever does not know of them cannot read it, and leaves it to who
/// does, in place of taking a reference for a value.
const PREFIX: &[u8] = b"refs:";

/// What stands for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Content hash of the blob.
    pub hash: String,
    /// Length of the value as JSON, in its place.
    pub bytes: usize,
}

impl Reference {
    fn value(&self) -> Value {
        json!({BLOB: self.hash, BYTES: self.bytes})
    }

    /// Reads one; none for any other value.
    fn of(value: &Value) -> Option<Self> {
        value.as_object().and_then(Self::of_map)
    }

    fn of_map(map: &Map<String, Value>) -> Option<Self> {
        if map.len() != 2 {
            return None;
        }
        let mut fields = map.iter();
        let (Some((blob, hash)), Some((length, bytes))) = (fields.next(), fields.next()) else {
            return None;
        };
        let hash = hash.as_str().filter(|hash| hash.starts_with("sha256:"))?;
        let bytes = usize::try_from(bytes.as_u64()?).ok()?;
        (blob == BLOB && length == BYTES).then(|| Self {
            hash: hash.to_owned(),
            bytes,
        })
    }
}

/// Large values by JSON pointer.
pub type Large = Vec<(String, Reference)>;

/// What is known of a part as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Its length as JSON, values in their places.
    pub bytes: usize,
    /// Its large values.
    pub large: Large,
}

/// What is known of an execution as it is stored. What is not known is made out, and costs time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Length of its parts as JSON, values in their places; none if it is not known.
    pub bytes: Option<usize>,
    /// Large values of those parts that have such.
    pub large: BTreeMap<String, Large>,
}

impl Stored {
    /// Notes a part that was read.
    pub fn read(&mut self, name: &str, part: Part) {
        self.bytes = Some(self.bytes.unwrap_or_default() + part.bytes);
        if !part.large.is_empty() {
            self.large.insert(name.to_owned(), part.large);
        }
    }
}

/// A part as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// With references; none if it has no large values.
    pub map: Option<Map<String, Value>>,
    /// What is known of it from now on.
    pub part: Part,
}

impl Form {
    /// The hash with this part, of this content.
    pub fn with(&self, digest: Digest, part: &str, content: &impl Object) -> Digest {
        match &self.map {
            Some(map) => digest.with(part, map),
            None => digest.with(part, content),
        }
    }

    /// The same, the part out.
    pub fn without(&self, digest: Digest, part: &str, content: &impl Object) -> Digest {
        match &self.map {
            Some(map) => digest.without(part, map),
            None => digest.without(part, content),
        }
    }
}

/// Puts large values aside. One that is known already is neither hashed nor sent again.
#[derive(Debug, Default)]
pub struct Putting<'a> {
    known: Vec<(Node<'a>, Reference)>,
    aside: BTreeMap<String, Bytes>,
}

/// A value that was walked: in its stored form, if that is another, and its lengths as JSON.
struct Walked {
    changed: Option<Value>,
    stored: usize,
    full: usize,
}

impl<'a> Putting<'a> {
    /// Large values of a part that is stored already.
    pub fn knows(&mut self, content: &'a impl Object, large: &Large) {
        for (pointer, reference) in large {
            if let Some(node) = at(content, pointer) {
                self.known.push((node, reference.clone()));
            }
        }
    }

    /// The stored form of a part; its large values are known from now on.
    pub fn form(&mut self, content: &'a impl Object) -> Form {
        let mut large = Vec::new();
        let (map, _, bytes) = self.map(content, &mut Vec::new(), &mut large);
        Form {
            map,
            part: Part { bytes, large },
        }
    }

    /// What is to be put before the stored form is written, by content hash.
    pub fn aside(self) -> BTreeMap<String, Bytes> {
        self.aside
    }

    fn map(
        &mut self,
        content: &'a impl Object,
        path: &mut Vec<Step<'a>>,
        large: &mut Large,
    ) -> (Option<Map<String, Value>>, usize, usize) {
        let mut changed: Option<Map<String, Value>> = None;
        let braces = 2 + content.count().saturating_sub(1);
        let (mut stored, mut full) = (braces, braces);
        for (key, node) in content.nodes() {
            path.push(Step::Key(key));
            let walked = self.walk(node, path, large);
            path.pop();
            let name = text_length(key) + 1;
            stored += name + walked.stored;
            full += name + walked.full;
            if let Some(new) = walked.changed {
                let map = changed.get_or_insert_with(|| content.to_map());
                map.insert(key.to_owned(), new);
            }
        }
        (changed, stored, full)
    }

    fn walk(&mut self, node: Node<'a>, path: &mut Vec<Step<'a>>, large: &mut Large) -> Walked {
        let known = self.known.iter().find(|(known, _)| same(*known, node));
        if let Some((_, reference)) = known {
            let reference = reference.clone();
            return stands(path, large, reference);
        }
        let (changed, stored, full) = match node {
            Node::Value(Value::Array(items)) => self.items(items, path, large),
            Node::Map(map) => {
                let (changed, stored, full) = self.map(map, path, large);
                (changed.map(Value::Object), stored, full)
            }
            Node::Text(_) | Node::Value(_) => {
                let length = length_of(node);
                (None, length, length)
            }
        };
        let looks_like_one = match node {
            Node::Map(map) => Reference::of_map(map).is_some(),
            Node::Text(_) | Node::Value(_) => false,
        };
        if stored <= THRESHOLD && !looks_like_one {
            return Walked {
                changed,
                stored,
                full,
            };
        }
        let content = Bytes::from(match &changed {
            Some(value) => value.to_string(),
            None => node.to_text(),
        });
        let Ok(hash) = store::blob::hash(&content) else {
            // Larger than any blob: the store refuses it and names the limit.
            return Walked {
                changed,
                stored,
                full,
            };
        };
        let reference = Reference { hash, bytes: full };
        self.aside.insert(reference.hash.clone(), content);
        self.known.push((node, reference.clone()));
        stands(path, large, reference)
    }

    fn items(
        &mut self,
        items: &'a [Value],
        path: &mut Vec<Step<'a>>,
        large: &mut Large,
    ) -> (Option<Value>, usize, usize) {
        let mut changed: Option<Vec<Value>> = None;
        let brackets = 2 + items.len().saturating_sub(1);
        let (mut stored, mut full) = (brackets, brackets);
        for (position, item) in items.iter().enumerate() {
            path.push(Step::Item(position));
            let walked = self.walk(item.into(), path, large);
            path.pop();
            stored += walked.stored;
            full += walked.full;
            if let Some(new) = walked.changed
                && let Some(place) = changed
                    .get_or_insert_with(|| items.to_vec())
                    .get_mut(position)
            {
                *place = new;
            }
        }
        (changed.map(Value::Array), stored, full)
    }
}

/// One step of the way to a value.
enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

/// The steps as a JSON pointer.
fn pointer(path: &[Step<'_>]) -> String {
    let mut pointer = String::new();
    for step in path {
        match step {
            Step::Key(key) => push_key(&mut pointer, key),
            Step::Item(position) => push_item(&mut pointer, *position),
        }
    }
    pointer
}

fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
}

fn push_item(pointer: &mut String, position: usize) {
    pointer.push('/');
    pointer.push_str(&position.to_string());
}

fn stands(path: &[Step<'_>], large: &mut Large, reference: Reference) -> Walked {
    let stands = reference.value();
    let stored = stands.to_string().len();
    let full = reference.bytes;
    large.push((pointer(path), reference));
    Walked {
        changed: Some(stands),
        stored,
        full,
    }
}

/// The value at a JSON pointer that begins with a key.
fn at<'a>(content: &'a impl Object, pointer: &str) -> Option<Node<'a>> {
    let rest = pointer.strip_prefix('/')?;
    let (key, rest) = match rest.find('/') {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    let node = content.node(&key)?;
    match node {
        _ if rest.is_empty() => Some(node),
        Node::Map(map) => at(map, rest),
        Node::Value(value) => value.pointer(rest).map(Node::from),
        Node::Text(_) => None,
    }
}

/// Whether two values are written the same: people see the order of keys.
fn same(a: Node<'_>, b: Node<'_>) -> bool {
    match (a, b) {
        (Node::Map(a), Node::Map(b)) => {
            std::ptr::eq(a, b)
                || a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|((a_key, a), (b_key, b))| a_key == b_key && same(a.into(), b.into()))
        }
        (Node::Value(Value::Array(a)), Node::Value(Value::Array(b))) => {
            std::ptr::eq(a, b)
                || a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a.into(), b.into()))
        }
        _ => a == b,
    }
}

/// Length of a text as JSON.
fn text_length(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    2 + text.len() + text.bytes().map(escaped).sum::<usize>()
}

fn length_of(node: Node<'_>) -> usize {
    match node {
        Node::Text(text) => text_length(text),
        Node::Value(value) => length(value),
        Node::Map(map) => length_of_map(map),
    }
}

fn length_of_map(map: &Map<String, Value>) -> usize {
    let fields = map
        .iter()
        .map(|(key, value)| text_length(key) + 1 + length(value));
    2 + map.len().saturating_sub(1) + fields.sum::<usize>()
}

/// Length of a value as JSON.
pub fn length(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(flag) => {
            if *flag {
                4
            } else {
                5
            }
        }
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text_length(text),
        Value::Array(items) => {
            2 + items.len().saturating_sub(1) + items.iter().map(length).sum::<usize>()
        }
        Value::Object(map) => length_of_map(map),
    }
}

/// The hash with a part of this content, which has its values in their places.
pub(crate) fn with(digest: Digest, part: &str, content: &impl Object) -> Digest {
    let form = Putting::default().form(content);
    form.with(digest, part, content)
}

/// The same, the part out.
pub(crate) fn without(digest: Digest, part: &str, content: &impl Object) -> Digest {
    let form = Putting::default().form(content);
    form.without(digest, part, content)
}

/// A part's text as it is stored, and what is put aside for it. One that is still large without its large values
/// is put aside whole.
pub fn text(form: &Form, content: &impl Object, aside: &mut BTreeMap<String, Bytes>) -> Bytes {
    let mut text = Vec::with_capacity(form.part.bytes.min(THRESHOLD));
    // Into memory, and of plain fields: that does not fail.
    let _ = match &form.map {
        Some(map) => {
            text.extend_from_slice(PREFIX);
            serde_json::to_writer(&mut text, map)
        }
        None => serde_json::to_writer(&mut text, content),
    };
    whole(text.into(), aside)
}

fn whole(text: Bytes, aside: &mut BTreeMap<String, Bytes>) -> Bytes {
    let Some(put) = store::blob::outsource(&text) else {
        return text;
    };
    aside.insert(put.hash, put.content);
    put.stands
}

/// A part's text as it is stored, of its text with its values in their places.
pub fn of_text(text: Bytes, aside: &mut BTreeMap<String, Bytes>) -> Bytes {
    if text.len() <= THRESHOLD {
        return text;
    }
    let Ok(content) = serde_json::from_slice::<Map<String, Value>>(&text) else {
        return whole(text, aside);
    };
    let mut putting = Putting::default();
    let form = putting.form(&content);
    aside.extend(putting.aside());
    self::text(&form, &content, aside)
}

/// The JSON of a stored text, and whether it has references.
pub fn json_of(text: &Bytes) -> (Bytes, bool) {
    match text.strip_prefix(PREFIX) {
        Some(json) => (text.slice_ref(json), true),
        None => (text.clone(), false),
    }
}

/// Hashes of the blobs that a stored value refers to.
pub fn wanted(stored: &Value) -> Vec<&str> {
    fn inside<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| below(item, found)),
            Value::Object(map) => map.values().for_each(|value| below(value, found)),
            _ => {}
        }
    }
    fn below<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match Reference::of(value) {
            Some(_) => found.extend(value.get(BLOB).and_then(Value::as_str)),
            None => inside(value, found),
        }
    }
    let mut found = Vec::new();
    inside(stored, &mut found);
    found
}

/// Puts large values back into their places; answers the references that stood there, by JSON pointer.
///
/// # Errors
/// The hash of a blob that is not among the contents.
pub fn restore(stored: &mut Value, contents: &BTreeMap<String, Value>) -> Result<Large, String> {
    let mut found = Vec::new();
    inside(stored, contents, &mut String::new(), &mut found)?;
    Ok(found)
}

fn inside(
    value: &mut Value,
    contents: &BTreeMap<String, Value>,
    pointer: &mut String,
    found: &mut Large,
) -> Result<(), String> {
    let length = pointer.len();
    match value {
        Value::Array(items) => {
            for (position, item) in items.iter_mut().enumerate() {
                push_item(pointer, position);
                below(item, contents, pointer, found)?;
                pointer.truncate(length);
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                push_key(pointer, key);
                below(value, contents, pointer, found)?;
                pointer.truncate(length);
            }
        }
        _ => {}
    }
    Ok(())
}

fn below(
    value: &mut Value,
    contents: &BTreeMap<String, Value>,
    pointer: &mut String,
    found: &mut Large,
) -> Result<(), String> {
    if let Some(reference) = Reference::of(value) {
        let content = contents.get(&reference.hash);
        *value = content.ok_or_else(|| reference.hash.clone())?.clone();
        found.push((pointer.clone(), reference));
    }
    inside(value, contents, pointer, found)
}
