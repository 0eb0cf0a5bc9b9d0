//! What the operator decided once for all resources.

use serde::{Deserialize, Serialize};

use crate::{Permission, Permissions, Roles};

/// The operator's settings; the defaults are Fiat's (`fiat: FiatServerConfigurationProperties`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Whoever holds one of these may do everything. Default: none.
    pub admin_roles: Roles,
    /// What EXECUTE means where no role is listed for it. Default: READ.
    pub execute_fallback: Fallback,
    /// Whether everybody may do everything to applications nobody declared. Default: no.
    pub allow_access_to_unknown_applications: bool,
    /// Whether creating an application needs CREATE of a matching prefix. Default: no.
    pub restrict_application_creation: bool,
    /// Whether one role of a service account suffices to act as it, instead of all. Default: no.
    pub role_or_mode: bool,
    /// Permissions of all applications whose names begin alike. Default: none.
    pub prefixes: Vec<Prefix>,
    /// Which of several matching prefixes count. Default: all of them.
    pub resolution: Resolution,
}

/// Whose roles count when EXECUTE names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Fallback {
    /// Those of READ.
    #[default]
    Read,
    /// Those of WRITE.
    Write,
}

impl Fallback {
    pub(crate) fn permission(self) -> Permission {
        match self {
            Self::Read => Permission::Read,
            Self::Write => Permission::Write,
        }
    }
}

/// Which of several matching prefixes count (`fiat: ResourcePrefixPermissionSource`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// The union of all restricted ones.
    #[default]
    Aggregate,
    /// The exact name, else the longest prefix.
    MostSpecific,
}

/// Permissions of the applications that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// A full name, or the beginning of one followed by `*`; case does not count.
    pub prefix: String,
    /// What it grants.
    pub permissions: Permissions,
}

impl Prefix {
    /// How specific the match is: characters that agree, a full name above every prefix.
    fn matches(&self, name: &str) -> Option<usize> {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        match self.prefix.strip_suffix('*') {
            Some(start) => {
                let head = name.get(..start.len())?;
                same(head, start).then_some(start.len())
            }
            None => same(name, &self.prefix).then_some(usize::MAX),
        }
    }
}

impl Policy {
    /// The restricted permissions that prefixes give to an application.
    pub(crate) fn of_prefixes<'a>(&'a self, name: &str) -> Vec<&'a Permissions> {
        let matching = self
            .prefixes
            .iter()
            .filter_map(|entry| Some((entry.matches(name)?, &entry.permissions)));
        let mut found: Vec<&Permissions> = match self.resolution {
            Resolution::Aggregate => matching.map(|(_, permissions)| permissions).collect(),
            Resolution::MostSpecific => matching
                .max_by_key(|(length, _)| *length)
                .map(|(_, permissions)| permissions)
                .into_iter()
                .collect(),
        };
        found.retain(|permissions| !permissions.is_unrestricted());
        found
    }
}
