//! Who asks, and how far the credential used reaches.

use serde::{Deserialize, Serialize};

use crate::{Permission, Policy, Roles};

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Subject {
    /// The user's name; none when nobody is logged in.
    pub name: Option<String>,
    /// What the user belongs to.
    pub roles: Roles,
    /// Holds a role that the operator made an administrator's.
    pub admin: bool,
    /// What the credential was narrowed to; none when it stands for the whole user.
    pub scope: Option<Scope>,
}

/// What an API token was narrowed to; an empty list narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scope {
    /// Names of applications; compared without case.
    pub applications: Vec<String>,
    /// What may be done.
    pub permissions: Vec<Permission>,
}

impl Subject {
    /// A user with a full credential; whether it is an administrator follows from its roles.
    pub fn user(policy: &Policy, name: &str, roles: Roles) -> Self {
        Self {
            name: Some(name.to_owned()),
            admin: roles.meets(&policy.admin_roles),
            roles,
            scope: None,
        }
    }
}

impl Scope {
    /// Whether a narrowed credential reaches this far.
    pub(crate) fn covers(&self, application: Option<&str>, permission: Permission) -> bool {
        let permitted = self.permissions.is_empty() || self.permissions.contains(&permission);
        let named = |name: &str| {
            let name = name.to_lowercase();
            self.applications.iter().any(|a| a.to_lowercase() == name)
        };
        permitted && (self.applications.is_empty() || application.is_none_or(named))
    }

    /// Whether anything is left out.
    pub(crate) fn is_narrow(&self) -> bool {
        !self.applications.is_empty() || !self.permissions.is_empty()
    }
}
