//! Decisions and the names of the rules that made them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Permission;

/// The rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The subject is an administrator.
    Admin,
    /// The resource names no role at all, so it is everybody's.
    Unrestricted,
    /// One of the subject's roles is listed.
    RoleListed,
    /// No role of the subject is listed.
    NoRoleListed,
    /// EXECUTE names no role, so those of READ (or WRITE, if so configured) count.
    ExecuteFallback,
    /// The application is unknown and the operator's setting decides.
    UnknownApplication,
    /// The operator lets everybody create applications.
    CreationOpen,
    /// The credential was narrowed and does not reach this far.
    CredentialTooNarrow,
    /// The subject holds the roles of the service account.
    MemberOfServiceAccount,
    /// The subject lacks a role of the service account.
    NotMemberOfServiceAccount,
    /// Only administrators may, and the subject is none.
    NotAdmin,
    /// A judge of this stage needs one of its roles, with a say in the application.
    NotAJudge,
    /// Who started the execution may not judge it.
    OwnExecution,
    /// Several people have to agree, and those without a login cannot be told apart.
    Indistinguishable,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "administrators may do everything",
            Self::Unrestricted => "it names no roles, so everybody may",
            Self::RoleListed => "a role of the user is listed",
            Self::NoRoleListed => "no role of the user is listed",
            Self::ExecuteFallback => {
                "EXECUTE lists no roles, and a role of the user is listed where it falls back to"
            }
            Self::UnknownApplication => {
                "the application is not stored, and allow-access-to-unknown-applications decides"
            }
            Self::CreationOpen => "restrict-application-creation is off, so everybody may create",
            Self::CredentialTooNarrow => "the token used was narrowed and does not reach this far",
            Self::MemberOfServiceAccount => "the user holds the roles of the service account",
            Self::NotMemberOfServiceAccount => "the user lacks a role of the service account",
            Self::NotAdmin => "only administrators may",
            Self::NotAJudge => {
                "a judge needs one of selectedStageRoles, with WRITE, EXECUTE or CREATE on the application"
            }
            Self::OwnExecution => "who started the execution may not judge it",
            Self::Indistinguishable => {
                "several people have to agree, and nobody is told apart without a login"
            }
        })
    }
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

    /// The rule by name.
    pub fn rule(self) -> Rule {
        match self {
            Self::Allowed(rule) | Self::Denied(rule) => rule,
        }
    }
}

/// A refusal in Fiat's words, with the rule by name and in words; `user` where it is not who asks.
/// Source: `fiat: FiatAccessDeniedExceptionHandler`.
pub fn refusal(what: &str, permission: Permission, user: Option<&str>, rule: Rule) -> String {
    let permission = format!("{permission:?}").to_uppercase();
    let user = user.map(|user| format!(" for {user}")).unwrap_or_default();
    let name = format!("{rule:?}");
    // As it is serialized: the first letter is small.
    let mut name = name.chars();
    let first = name.next().map(|c| c.to_ascii_lowercase());
    let name: String = first.into_iter().chain(name).collect();
    format!(
        "Access denied to {what} - required authorization: {permission}{user}; rule {name}: {rule}"
    )
}
