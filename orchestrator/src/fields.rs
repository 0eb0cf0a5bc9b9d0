//! JSON objects by their fields, with the values where they lie: a part of an execution is compared, hashed,
//! measured and written with every commit, and a copy of it each time would cost more than all of that. Pure.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// A value: each in one form only, whoever holds it, so that equal ones are equal here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node<'a> {
    /// Anything but a text and an object.
    Value(&'a Value),
    /// A text.
    Text(&'a str),
    /// An object.
    Map(&'a Map<String, Value>),
}

impl<'a> From<&'a Value> for Node<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            Value::Object(map) => Self::Map(map),
            other => Self::Value(other),
        }
    }
}

impl<'a> From<&'a str> for Node<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Map<String, Value>> for Node<'a> {
    fn from(map: &'a Map<String, Value>) -> Self {
        Self::Map(map)
    }
}

impl Node<'_> {
    /// A copy.
    pub fn to_value(self) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Text(text) => text.into(),
            Self::Map(map) => Value::Object(map.clone()),
        }
    }

    /// As JSON.
    pub fn to_text(self) -> String {
        // Of plain values in memory: that does not fail.
        serde_json::to_string(&self).unwrap_or_default()
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

/// An object.
pub trait Object: Serialize {
    /// Its fields, in order.
    fn nodes(&self) -> impl Iterator<Item = (&str, Node<'_>)>;

    /// A field.
    fn node(&self, key: &str) -> Option<Node<'_>>;

    /// How many fields it has.
    fn count(&self) -> usize;

    /// A copy.
    fn to_map(&self) -> Map<String, Value> {
        let copied = self.nodes();
        copied
            .map(|(key, node)| (key.to_owned(), node.to_value()))
            .collect()
    }
}

impl Object for Map<String, Value> {
    fn nodes(&self) -> impl Iterator<Item = (&str, Node<'_>)> {
        self.iter().map(|(key, value)| (key.as_str(), value.into()))
    }

    fn node(&self, key: &str) -> Option<Node<'_>> {
        self.get(key).map(Node::from)
    }

    fn count(&self) -> usize {
        self.len()
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Field<'a> {
    Own(Value),
    Lies(Node<'a>),
}

/// An object put together of what others hold. No key is in it twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Field<'a>)>);

impl<'a> Fields<'a> {
    /// With a value of its own behind the others.
    pub fn own(&mut self, key: &'a str, value: impl Into<Value>) {
        self.0.push((key.into(), Field::Own(value.into())));
    }

    /// With such a value, if there is one.
    pub fn own_some(&mut self, key: &'a str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.own(key, value);
        }
    }

    /// With a value that another holds.
    pub fn lend(&mut self, key: &'a str, value: impl Into<Node<'a>>) {
        self.0.push((key.into(), Field::Lies(value.into())));
    }

    /// With all fields of an object that another holds.
    pub fn lend_all(&mut self, map: &'a Map<String, Value>) {
        for (key, value) in map {
            self.lend(key, value);
        }
    }
}

impl From<Map<String, Value>> for Fields<'_> {
    fn from(map: Map<String, Value>) -> Self {
        let fields = map.into_iter();
        Self(
            fields
                .map(|(key, value)| (Cow::Owned(key), Field::Own(value)))
                .collect(),
        )
    }
}

impl Field<'_> {
    fn node(&self) -> Node<'_> {
        match self {
            Self::Own(value) => value.into(),
            Self::Lies(node) => *node,
        }
    }
}

impl Object for Fields<'_> {
    fn nodes(&self) -> impl Iterator<Item = (&str, Node<'_>)> {
        self.0.iter().map(|(key, field)| (&**key, field.node()))
    }

    fn node(&self, key: &str) -> Option<Node<'_>> {
        let found = self.0.iter().find(|(other, _)| other == key);
        found.map(|(_, field)| field.node())
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.count()))?;
        for (key, node) in self.nodes() {
            map.serialize_entry(key, &node)?;
        }
        map.end()
    }
}
