//! The permissions of one resource: which roles may do which of four things.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Rule;

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

/// Roles by permission, as stored with applications and accounts:
/// `{"READ": ["team-a"], "WRITE": ["ops"]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Permission, Vec<String>>")]
pub struct Permissions(BTreeMap<Permission, BTreeSet<String>>);

impl From<BTreeMap<Permission, Vec<String>>> for Permissions {
    fn from(map: BTreeMap<Permission, Vec<String>>) -> Self {
        Self::new(map)
    }
}

impl Permissions {
    /// Trims and lower-cases role names and drops empty lists.
    pub fn new(entries: impl IntoIterator<Item = (Permission, Vec<String>)>) -> Self {
        let mut map: BTreeMap<Permission, BTreeSet<String>> = BTreeMap::new();
        for (permission, roles) in entries {
            let roles = roles
                .iter()
                .map(|r| r.trim().to_lowercase())
                .filter(|r| !r.is_empty());
            map.entry(permission).or_default().extend(roles);
        }
        map.retain(|_, roles| !roles.is_empty());
        Self(map)
    }

    /// No role is named anywhere: everybody has everything.
    pub fn is_unrestricted(&self) -> bool {
        self.0.is_empty()
    }

    /// The roles that count for a permission, and by which rule.
    pub(crate) fn effective(&self, permission: Permission) -> (BTreeSet<String>, Rule) {
        let of = |p| self.0.get(&p).cloned().unwrap_or_default();
        let roles = of(permission);
        if permission == Permission::Execute && roles.is_empty() {
            return (of(Permission::Read), Rule::ExecuteFallsBackToRead);
        }
        (roles, Rule::RoleListed)
    }
}
