//! The values of the language: JSON that is borrowed, what expressions build, and
//! the few Java objects they may hold.
//!
//! JSON stays as written until an operation needs it otherwise, so a number or a map
//! that only passes through keeps its digits and the order of its keys.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use indexmap::{Equivalent, IndexMap};
use serde_json::{Map, Value};

use crate::bean::Bean;
pub(crate) use crate::enums::EnumKind;
use crate::number::Num;
use crate::time::{Time, unit_text};
use crate::types::JavaType;

/// A text, borrowed from JSON or built.
#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    Ref(&'a str),
    Own(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Ref(text) => text,
            Self::Own(text) => text,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Own(text.into())
    }
}

/// The key of a map: a text, or a value of another class, which no text is equal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    Text(Text<'a>),
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    /// Anything else, by how it is printed.
    Other(Rc<str>),
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Text(text) => (**text).hash(state),
            Self::Null => 0u8.hash(state),
            Self::Bool(truth) => truth.hash(state),
            Self::Int(number) => number.hash(state),
            Self::Long(number) => number.hash(state),
            Self::Other(text) => text.hash(state),
        }
    }
}

impl Equivalent<Key<'_>> for str {
    fn equivalent(&self, key: &Key<'_>) -> bool {
        matches!(key, Key::Text(text) if **text == *self)
    }
}

impl From<String> for Key<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> Key<'a> {
    pub(crate) fn of(value: &Val<'a>) -> Self {
        let number = value.as_num();
        if let Val::Text(text) = value {
            Self::Text(text.clone())
        } else if value.is_null() {
            Self::Null
        } else if let Val::Bool(truth) = value {
            Self::Bool(*truth)
        } else if let Some(Num::Int(number)) = number {
            Self::Int(number)
        } else if let Some(Num::Long(number)) = number {
            Self::Long(number)
        } else {
            Self::Other(value.printed().into())
        }
    }

    pub(crate) fn value(&self) -> Val<'a> {
        match self {
            Self::Text(text) => Val::Text(text.clone()),
            Self::Null => Val::Null,
            Self::Bool(truth) => Val::Bool(*truth),
            Self::Int(number) => Val::int(*number),
            Self::Long(number) => Val::long(*number),
            Self::Other(text) => Val::text(&**text),
        }
    }

    pub(crate) fn printed(&self) -> String {
        self.value().printed()
    }
}

/// What a list is to Java: a selection from an array is an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeqKind {
    List,
    /// A list of constants, which nothing can be added to.
    Constant,
    Array,
    /// An array of numbers, characters and so on rather than of objects.
    Primitive,
    Set,
    /// The values of a map.
    Values,
}

impl SeqKind {
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::List | Self::Constant)
    }

    pub(crate) fn is_array(self) -> bool {
        matches!(self, Self::Array | Self::Primitive)
    }

    /// What a selection or projection of it is.
    pub(crate) fn chosen(self) -> Self {
        if self.is_array() {
            Self::Array
        } else {
            Self::List
        }
    }
}

#[derive(Debug, Clone)]
enum Items<'a> {
    Json(&'a [Value]),
    Own(Rc<[Val<'a>]>),
}

/// A list, array or set.
#[derive(Debug, Clone)]
pub(crate) struct Seq<'a> {
    pub(crate) kind: SeqKind,
    items: Items<'a>,
}

impl<'a> Seq<'a> {
    pub(crate) fn new(kind: SeqKind, items: Vec<Val<'a>>) -> Self {
        let items = Items::Own(items.into());
        Self { kind, items }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.items {
            Items::Json(items) => items.len(),
            Items::Own(items) => items.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Val<'a>> {
        match &self.items {
            Items::Json(items) => items.get(index).map(Val::from_json),
            Items::Own(items) => items.get(index).cloned(),
        }
    }

    /// What an array of bytes holds; none of an empty one or one of anything else.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let byte = |item: Val<'a>| {
            if let Some(Num::Byte(byte)) = item.as_num() {
                Some(byte.cast_unsigned())
            } else {
                None
            }
        };
        let bytes: Option<Vec<u8>> = self.iter().map(byte).collect();
        bytes.filter(|bytes| !bytes.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }
}

#[derive(Debug, Clone)]
enum Entries<'a> {
    Json(&'a Map<String, Value>),
    Own(Rc<IndexMap<Key<'a>, Val<'a>>>),
}

/// The stage whose ancestors' outputs a context falls back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heir<'a> {
    pub(crate) stage: &'a Map<String, Value>,
    pub(crate) execution: &'a Map<String, Value>,
}

/// A map; of a stage's context, the part that is its own.
#[derive(Debug, Clone)]
pub(crate) struct MapVal<'a> {
    entries: Entries<'a>,
    pub(crate) heir: Option<Heir<'a>>,
}

impl<'a> MapVal<'a> {
    pub(crate) fn json(map: &'a Map<String, Value>) -> Self {
        let entries = Entries::Json(map);
        Self {
            entries,
            heir: None,
        }
    }

    pub(crate) fn own<K: Into<Key<'a>>>(entries: impl IntoIterator<Item = (K, Val<'a>)>) -> Self {
        let map = entries.into_iter().map(|(key, value)| (key.into(), value));
        let entries = Entries::Own(Rc::new(map.collect()));
        Self {
            entries,
            heir: None,
        }
    }

    pub(crate) fn with_heir(mut self, heir: Option<Heir<'a>>) -> Self {
        self.heir = heir;
        self
    }

    /// Whether both are one and the same map, not merely equal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.entries, &other.entries) {
            (Entries::Own(a), Entries::Own(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.entries {
            Entries::Json(map) => map.len(),
            Entries::Own(map) => map.len(),
        }
    }

    /// Its own value under a key.
    pub(crate) fn get(&self, key: &str) -> Option<Val<'a>> {
        match &self.entries {
            Entries::Json(map) => map.get(key).map(Val::from_json),
            Entries::Own(map) => map.get(key).cloned(),
        }
    }

    /// Its own value under a key of any class.
    pub(crate) fn at(&self, key: &Val<'a>) -> Option<Val<'a>> {
        match (&self.entries, key) {
            (_, Val::Text(text)) => self.get(text),
            (Entries::Own(map), key) => map.get(&Key::of(key)).cloned(),
            (Entries::Json(_), _) => None,
        }
    }

    /// Its own entries in order.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (Key<'a>, Val<'a>)> + '_> {
        match &self.entries {
            Entries::Json(map) => {
                let map: &'a Map<String, Value> = map;
                let entry =
                    |(k, v): (&'a String, &'a Value)| (Key::Text(Text::Ref(k)), Val::from_json(v));
                Box::new(map.iter().map(entry))
            }
            Entries::Own(map) => Box::new(map.iter().map(|(k, v)| (k.clone(), v.clone()))),
        }
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Num(Num<'a>),
    Char(char),
    Text(Text<'a>),
    Seq(Seq<'a>),
    Map(MapVal<'a>),
    /// An entry of a map, which may be printed and nothing else.
    Entry(Rc<(Key<'a>, Val<'a>)>),
    Bean(Bean<'a>),
    Enum(EnumKind, Text<'a>),
    Type(JavaType),
    Time(Time),
    Uuid(u128),
    /// A `SimpleDateFormat` by its pattern.
    DateFormat(Rc<str>),
    /// A `java.util.Random` by its state.
    Random(Rc<Cell<u64>>),
    /// What `#doNotEval` marks.
    NotEval(Rc<Val<'a>>),
}

impl<'a> Val<'a> {
    pub(crate) fn from_json(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Num(Num::from_json(number)),
            Value::String(text) => Self::Text(Text::Ref(text)),
            Value::Array(items) => {
                let items = Items::Json(items);
                Self::Seq(Seq {
                    kind: SeqKind::List,
                    items,
                })
            }
            Value::Object(map) => Self::Map(MapVal::json(map)),
        }
    }

    /// A value out of JSON that nobody keeps.
    pub(crate) fn from_owned(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Num(Num::from_json(&number).plain()),
            Value::String(text) => Self::text(text),
            Value::Array(items) => Self::list(items.into_iter().map(Self::from_owned).collect()),
            Value::Object(map) => Self::Map(MapVal::own(
                map.into_iter().map(|(k, v)| (k, Self::from_owned(v))),
            )),
        }
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Text::from(text.into()))
    }

    pub(crate) fn int(value: i32) -> Self {
        Self::Num(Num::Int(value))
    }

    /// A length or position; Java's are 32 bits wide, ours have limits far below.
    pub(crate) fn count(value: usize) -> Self {
        Self::int(i32::try_from(value).unwrap_or(i32::MAX))
    }

    pub(crate) fn long(value: i64) -> Self {
        Self::Num(Num::Long(value))
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::Seq(Seq::new(SeqKind::List, items))
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(crate) fn as_num(&self) -> Option<Num<'static>> {
        if let Self::Num(num) = self {
            Some(num.plain())
        } else {
            None
        }
    }

    pub(crate) fn as_map(&self) -> Option<&MapVal<'a>> {
        if let Self::Map(map) = self {
            Some(map)
        } else {
            None
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The Java class, for messages.
    pub(crate) fn class(&self) -> String {
        let name = match self {
            Self::Null => "null",
            Self::Bool(_) => "java.lang.Boolean",
            Self::Num(num) => num.class(),
            Self::Char(_) => "java.lang.Character",
            Self::Text(_) => "java.lang.String",
            Self::Seq(seq) => match seq.kind {
                SeqKind::List => "java.util.ArrayList",
                SeqKind::Constant => "java.util.Collections$UnmodifiableRandomAccessList",
                SeqKind::Array | SeqKind::Primitive => "java.lang.Object[]",
                SeqKind::Set => "java.util.LinkedHashSet",
                SeqKind::Values => "java.util.LinkedHashMap$LinkedValues",
            },
            Self::Map(map) if map.heir.is_some() => {
                "com.netflix.spinnaker.orca.pipeline.model.StageContext"
            }
            Self::Map(_) => "java.util.LinkedHashMap",
            Self::Entry(_) => "java.util.LinkedHashMap$Entry",
            Self::Bean(bean) => bean.kind.class(),
            Self::Enum(kind, _) => match kind {
                EnumKind::Status => {
                    "com.netflix.spinnaker.orca.api.pipeline.models.ExecutionStatus"
                }
                EnumKind::DayOfWeek => "java.time.DayOfWeek",
                EnumKind::ChronoUnit => "java.time.temporal.ChronoUnit",
            },
            Self::Type(_) => "java.lang.Class",
            Self::Time(time) => time.class(),
            Self::Uuid(_) => "java.util.UUID",
            Self::DateFormat(_) => "java.text.SimpleDateFormat",
            Self::Random(_) => "java.util.Random",
            Self::NotEval(_) => "com.netflix.spinnaker.kork.expressions.NotEvaluableExpression",
        };
        name.to_owned()
    }

    /// The class of a property that exists and may not be read, since its class is not
    /// on the list of what methods and getters may give.
    pub(crate) fn rejects(&self, property: &str) -> Option<&'static str> {
        match (self, property) {
            (Self::Entry(_), "key" | "value") => Some("java.lang.Object"),
            (Self::Null | Self::Map(_) | Self::Type(_), _) => None,
            (_, "class" | "getClass") => Some("java.lang.Class"),
            (Self::Bean(bean), _) => bean.kind.rejects(property),
            _ => None,
        }
    }

    /// Java's `equals`: an int is no long, a text no enum.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Num(a), Self::Num(b)) => a.plain().same(&b.plain()),
            (Self::Char(a), Self::Char(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => **a == **b,
            (Self::Seq(a), Self::Seq(b)) => {
                let sets = (a.kind == SeqKind::Set, b.kind == SeqKind::Set);
                let alike = a.kind.is_list() && b.kind.is_list()
                    || a.kind.is_array() && b.kind.is_array()
                    || sets == (true, true);
                alike && a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.same(&b))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(k, v)| b.at(&k.value()).is_some_and(|other| v.same(&other)))
            }
            (Self::Entry(a), Self::Entry(b)) => a.0 == b.0 && a.1.same(&b.1),
            (Self::Bean(a), Self::Bean(b)) => a.kind == b.kind && a.fields == b.fields,
            (Self::Enum(kind, a), Self::Enum(other, b)) => kind == other && **a == **b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Time(a), Self::Time(b)) => a == b,
            (Self::Uuid(a), Self::Uuid(b)) => a == b,
            _ => false,
        }
    }

    /// As `toString()` prints it: `{a=1, b=[x, y]}`.
    pub(crate) fn printed(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Num(num) => num.plain().printed(),
            Self::Char(c) => c.to_string(),
            Self::Enum(EnumKind::ChronoUnit, name) => unit_text(name),
            Self::Text(text) | Self::Enum(_, text) => text.to_string(),
            Self::Seq(seq) => {
                let items: Vec<String> = seq.iter().map(|v| v.printed()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(map) => {
                let entries: Vec<String> = map
                    .iter()
                    .map(|(k, v)| format!("{}={}", k.printed(), v.printed()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
            Self::Entry(entry) => format!("{}={}", entry.0.printed(), entry.1.printed()),
            Self::Bean(bean) => bean.printed(),
            Self::Type(java) => format!("class {}", java.name()),
            Self::Time(time) => time.printed(),
            Self::Uuid(bits) => uuid_text(*bits),
            Self::DateFormat(pattern) => pattern.to_string(),
            Self::Random(_) => "java.util.Random".to_owned(),
            Self::NotEval(inner) => inner.printed(),
        }
    }

    /// How deep it is nested, and how much it holds, for the limits.
    pub(crate) fn extent(&self, budget: usize, depth: usize) -> Option<usize> {
        let mut left = budget.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        match self {
            Self::Seq(Seq {
                items: Items::Own(items),
                ..
            }) => {
                for item in items.iter() {
                    left = item.extent(left, depth)?;
                }
            }
            Self::Map(MapVal {
                entries: Entries::Own(map),
                ..
            }) => {
                for item in map.values() {
                    left = item.extent(left, depth)?;
                }
            }
            Self::NotEval(inner) => left = inner.extent(left, depth)?,
            Self::Entry(entry) => left = entry.1.extent(left, depth)?,
            Self::Text(text) => left = left.checked_sub(text.len() / 16)?,
            Self::Seq(seq) => left = left.checked_sub(seq.len())?,
            Self::Map(map) => left = left.checked_sub(map.len())?,
            Self::Null
            | Self::Bool(_)
            | Self::Num(_)
            | Self::Char(_)
            | Self::Bean(_)
            | Self::Enum(..)
            | Self::Type(_)
            | Self::Time(_)
            | Self::Uuid(_)
            | Self::DateFormat(_)
            | Self::Random(_) => {}
        }
        Some(left)
    }
}

/// A UUID as people write it.
pub(crate) fn uuid_text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    let parts = [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ];
    parts.join("-")
}
