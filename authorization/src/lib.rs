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

mod judgment;
mod permissions;
mod policy;
mod rule;
mod subject;

pub use judgment::{Judgment, judge};
pub use permissions::{Permission, Permissions, Roles};
pub use policy::{Fallback, Policy, Prefix, Resolution};
pub use rule::{Decision, Rule, refusal};
pub use subject::{Scope, Subject};

/// What follows a pipeline's id in the name of the service account that is its own: one whose
/// roles are the pipeline's `roles` (`orca: SaveServiceAccountTask`).
pub const MANAGED: &str = "@managed-service-account";

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// An application.
    Application {
        /// Its name; case does not count.
        name: &'a str,
        /// Those stored with it; none if nobody declared it, such as one that only has servers.
        permissions: Option<&'a Permissions>,
    },
    /// An account of a provider, or a build service, with its configured permissions.
    Configured(&'a Permissions),
    /// A service account to act as, with the roles it is a member of.
    ServiceAccount(&'a Roles),
    /// The installation itself: users, tokens of others, the audit.
    System,
}

/// Decides whether `subject` may do `permission` to `resource`.
pub fn decide(
    policy: &Policy,
    subject: &Subject,
    resource: Resource<'_>,
    permission: Permission,
) -> Decision {
    // Before everything else: a narrowed token of an administrator stays narrow.
    if let Some(scope) = &subject.scope {
        let reaches = match resource {
            Resource::Application { name, .. } => scope.covers(Some(name), permission),
            Resource::Configured(_) | Resource::ServiceAccount(_) => scope.covers(None, permission),
            Resource::System => !scope.is_narrow(),
        };
        if !reaches {
            return Decision::Denied(Rule::CredentialTooNarrow);
        }
    }
    if subject.admin {
        return Decision::Allowed(Rule::Admin);
    }
    match resource {
        Resource::System => Decision::Denied(Rule::NotAdmin),
        Resource::ServiceAccount(member_of) => service_account(policy, subject, member_of),
        Resource::Configured(permissions) => listed(policy, subject, &[permissions], permission),
        Resource::Application { name, permissions } => match permissions {
            Some(own) => {
                let mut sources = policy.of_prefixes(name);
                sources.push(own);
                listed(policy, subject, &sources, permission)
            }
            None if permission == Permission::Create => {
                if policy.restrict_application_creation {
                    listed(policy, subject, &policy.of_prefixes(name), permission)
                } else {
                    Decision::Allowed(Rule::CreationOpen)
                }
            }
            None if policy.allow_access_to_unknown_applications => {
                Decision::Allowed(Rule::UnknownApplication)
            }
            None => Decision::Denied(Rule::UnknownApplication),
        },
    }
}

/// Whether a pipeline that `subject` saves may run as a service account: the
/// saver may act as it, and it may run the application itself.
pub fn decide_run_as(
    policy: &Policy,
    subject: &Subject,
    member_of: &Roles,
    application: Resource<'_>,
) -> Decision {
    let acts = decide(
        policy,
        subject,
        Resource::ServiceAccount(member_of),
        Permission::Execute,
    );
    if !acts.is_allowed() {
        return acts;
    }
    let account = Subject::user(policy, "service-account", member_of.clone());
    decide(policy, &account, application, Permission::Execute)
}

fn service_account(policy: &Policy, subject: &Subject, member_of: &Roles) -> Decision {
    let member = if policy.role_or_mode {
        subject.roles.meets(member_of)
    } else {
        subject.roles.hold_all_of(member_of)
    };
    if member {
        Decision::Allowed(Rule::MemberOfServiceAccount)
    } else {
        Decision::Denied(Rule::NotMemberOfServiceAccount)
    }
}

/// The union of several sources of permissions decides.
fn listed(
    policy: &Policy,
    subject: &Subject,
    sources: &[&Permissions],
    permission: Permission,
) -> Decision {
    if sources.iter().all(|source| source.is_unrestricted()) {
        return Decision::Allowed(Rule::Unrestricted);
    }
    let any = |permission| sources.iter().any(|s| s.roles(permission).is_some());
    let (effective, rule) = if permission == Permission::Execute && !any(permission) {
        (policy.execute_fallback.permission(), Rule::ExecuteFallback)
    } else {
        (permission, Rule::RoleListed)
    };
    let meets = |source: &&Permissions| {
        source
            .roles(effective)
            .is_some_and(|roles| roles.meets(&subject.roles))
    };
    if sources.iter().any(meets) {
        Decision::Allowed(rule)
    } else {
        Decision::Denied(Rule::NoRoleListed)
    }
}
