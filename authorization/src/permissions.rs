//! The permissions of one resource: which roles may do which of four things.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What one may do. Nothing implies anything else: WRITE does not imply READ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Permission {
    /// See it.
    Read,
    /// Change it.
    Write,
    /// Run it.
    Execute,
    /// Make one of it.
    Create,
}

/// Role names, trimmed and in lower case, none empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>")]
pub struct Roles(BTreeSet<String>);

impl From<Vec<String>> for Roles {
    fn from(names: Vec<String>) -> Self {
        names.into_iter().collect()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Roles {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut roles = Self::default();
        roles.extend(names);
        roles
    }
}

impl<S: AsRef<str>> Extend<S> for Roles {
    fn extend<I: IntoIterator<Item = S>>(&mut self, names: I) {
        let names = names.into_iter().map(|n| n.as_ref().trim().to_lowercase());
        self.0.extend(names.filter(|name| !name.is_empty()));
    }
}

impl Roles {
    /// Whether no role is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether both name at least one common role.
    pub fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() < other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        few.0.iter().any(|role| many.0.contains(role))
    }

    /// Whether every role of `other` is named here.
    pub fn hold_all_of(&self, other: &Self) -> bool {
        other.0.is_subset(&self.0)
    }

    /// The roles named by both.
    pub fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }
}

/// Roles by permission, as stored with applications and accounts:
/// `{"READ": ["team-a"], "WRITE": ["ops"]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Permission, Vec<String>>")]
pub struct Permissions(BTreeMap<Permission, Roles>);

impl From<BTreeMap<Permission, Vec<String>>> for Permissions {
    fn from(map: BTreeMap<Permission, Vec<String>>) -> Self {
        Self::new(map)
    }
}

impl Permissions {
    /// Trims and lower-cases role names and drops empty lists.
    pub fn new(entries: impl IntoIterator<Item = (Permission, Vec<String>)>) -> Self {
        let mut map: BTreeMap<Permission, Roles> = BTreeMap::new();
        for (permission, roles) in entries {
            map.entry(permission).or_default().extend(roles);
        }
        map.retain(|_, roles| !roles.is_empty());
        Self(map)
    }

    /// No role is named anywhere: everybody has everything.
    pub fn is_unrestricted(&self) -> bool {
        self.0.is_empty()
    }

    /// The roles listed under a permission; none if there is no list.
    pub fn roles(&self, permission: Permission) -> Option<&Roles> {
        self.0.get(&permission)
    }
}
