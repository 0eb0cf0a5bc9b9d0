//! Who may do what: decided in one pure function and explained.
//!
//! Knows neither users' sources nor transport; callers bring the subject's
//! roles and the resource's permissions. The truth about the rules is Fiat's
//! model (`fiat: Permissions`, `fiat: FiatPermissionEvaluator`).

#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::float_cmp,
    clippy::cast_possible_truncation
)]

mod permissions;

pub use permissions::{Permission, Permissions};

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Role names; compared without case.
    pub roles: Vec<String>,
    /// Holds a role that the operator made an administrator's.
    pub admin: bool,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource<'a> {
    /// An account or application with its permissions.
    Known(&'a Permissions),
    /// Something nobody declared, such as an application that only has servers.
    Unknown {
        /// Whether the operator lets everybody at such things.
        open: bool,
    },
}

/// The rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The subject is an administrator.
    Admin,
    /// The resource names no role at all, so it is everybody's.
    Unrestricted,
    /// One of the subject's roles is listed.
    RoleListed,
    /// No role of the subject is listed.
    NoRoleListed,
    /// EXECUTE names no role, so those of READ count.
    ExecuteFallsBackToRead,
    /// The resource is unknown and the operator's setting decides.
    UnknownResource,
}

/// A decision with the rule that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed(Rule),
    /// It may not.
    Denied(Rule),
}

impl Decision {
    /// Whether it may.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Decides whether `subject` may do `permission` to `resource`.
pub fn decide(subject: &Subject, resource: &Resource<'_>, permission: Permission) -> Decision {
    if subject.admin {
        return Decision::Allowed(Rule::Admin);
    }
    let permissions = match resource {
        Resource::Known(permissions) => permissions,
        Resource::Unknown { open: true } => return Decision::Allowed(Rule::UnknownResource),
        Resource::Unknown { open: false } => return Decision::Denied(Rule::UnknownResource),
    };
    if permissions.is_unrestricted() {
        return Decision::Allowed(Rule::Unrestricted);
    }
    let (roles, rule) = permissions.effective(permission);
    let listed = subject.roles.iter().any(|role| {
        let role = role.trim().to_lowercase();
        roles.contains(&role)
    });
    if listed {
        Decision::Allowed(rule)
    } else {
        Decision::Denied(Rule::NoRoleListed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restricted() -> Permissions {
        Permissions::new([
            (Permission::Read, vec!["Team-A ".into()]),
            (Permission::Write, vec!["ops".into()]),
        ])
    }

    fn subject(roles: &[&str]) -> Subject {
        Subject {
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            admin: false,
        }
    }

    #[test]
    fn every_rule_decides_as_fiat_does() {
        let restricted = restricted();
        let open = Permissions::default();
        let known = Resource::Known(&restricted);
        use Decision::{Allowed, Denied};
        for (roles, resource, permission, expected) in [
            (
                &["team-a"][..],
                &known,
                Permission::Read,
                Allowed(Rule::RoleListed),
            ),
            (
                &["team-a"],
                &known,
                Permission::Write,
                Denied(Rule::NoRoleListed),
            ),
            (
                &["ops"],
                &known,
                Permission::Read,
                Denied(Rule::NoRoleListed),
            ),
            (
                &["TEAM-A"],
                &known,
                Permission::Execute,
                Allowed(Rule::ExecuteFallsBackToRead),
            ),
            (
                &["ops"],
                &known,
                Permission::Create,
                Denied(Rule::NoRoleListed),
            ),
            (
                &[],
                &Resource::Known(&open),
                Permission::Create,
                Allowed(Rule::Unrestricted),
            ),
            (
                &[],
                &Resource::Unknown { open: false },
                Permission::Read,
                Denied(Rule::UnknownResource),
            ),
            (
                &[],
                &Resource::Unknown { open: true },
                Permission::Read,
                Allowed(Rule::UnknownResource),
            ),
        ] {
            assert_eq!(
                decide(&subject(roles), resource, permission),
                expected,
                "{roles:?}"
            );
        }
        let admin = Subject {
            roles: vec![],
            admin: true,
        };
        assert_eq!(
            decide(&admin, &known, Permission::Write),
            Allowed(Rule::Admin)
        );
    }
}
