//! Java's enumerations: their names in order.

use crate::time::{DAYS, UNITS};
use crate::value::{Text, Val};

/// Enumerations, equal to their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnumKind {
    Status,
    DayOfWeek,
    ChronoUnit,
}

/// Statuses in the order Java has them.
const STATUSES: &[&str] = &[
    "NOT_STARTED",
    "RUNNING",
    "PAUSED",
    "SUSPENDED",
    "SUCCEEDED",
    "FAILED_CONTINUE",
    "TERMINAL",
    "CANCELED",
    "REDIRECT",
    "STOPPED",
    "SKIPPED",
    "BUFFERED",
];

impl EnumKind {
    /// All of its names, in Java's order.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Status => STATUSES,
            Self::DayOfWeek => DAYS,
            Self::ChronoUnit => UNITS,
        }
    }

    pub(crate) fn ordinal(self, name: &str) -> usize {
        let found = self.names().iter().position(|known| *known == name);
        found.unwrap_or_default()
    }

    /// The constant of a name.
    pub(crate) fn named<'a>(self, name: &str) -> Option<Val<'a>> {
        let found = self.names().iter().find(|known| **known == name)?;
        Some(Val::Enum(self, Text::Ref(found)))
    }
}
