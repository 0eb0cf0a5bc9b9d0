//! The twelve statuses of executions, stages and tasks (`orca: ExecutionStatus`).
//! Nothing else knows which of them are complete or halt.

use serde::{Deserialize, Serialize};

/// Where something stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Initial.
    #[default]
    NotStarted,
    /// Under way.
    Running,
    /// Held by a person.
    Paused,
    /// Never set by the engine; read from imported executions.
    Suspended,
    /// Reached its goal.
    Succeeded,
    /// Failed, and what follows runs all the same.
    FailedContinue,
    /// Failed.
    Terminal,
    /// Stopped by a person.
    Canceled,
    /// A task's result: repeat its loop.
    Redirect,
    /// Failed or stopped, and only its branch ends.
    Stopped,
    /// Passed over.
    Skipped,
    /// Held back before it starts.
    Buffered,
}

impl Status {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::NotStarted,
        Self::Running,
        Self::Paused,
        Self::Suspended,
        Self::Succeeded,
        Self::FailedContinue,
        Self::Terminal,
        Self::Canceled,
        Self::Redirect,
        Self::Stopped,
        Self::Skipped,
        Self::Buffered,
    ];

    /// Nothing follows in the thing itself.
    pub fn is_complete(self) -> bool {
        match self {
            Self::Succeeded
            | Self::FailedContinue
            | Self::Terminal
            | Self::Canceled
            | Self::Stopped
            | Self::Skipped => true,
            Self::NotStarted
            | Self::Running
            | Self::Paused
            | Self::Suspended
            | Self::Redirect
            | Self::Buffered => false,
        }
    }

    /// Complete, and what is downstream does not run.
    pub fn is_halt(self) -> bool {
        matches!(self, Self::Terminal | Self::Canceled | Self::Stopped)
    }

    /// Lets what is downstream run.
    pub fn lets_downstream_run(self) -> bool {
        matches!(self, Self::Succeeded | Self::FailedContinue | Self::Skipped)
    }

    /// Counts as a failure; STOPPED does too, as in Orca.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::FailedContinue | Self::Terminal | Self::Stopped)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NOT_STARTED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Suspended => "SUSPENDED",
            Self::Succeeded => "SUCCEEDED",
            Self::FailedContinue => "FAILED_CONTINUE",
            Self::Terminal => "TERMINAL",
            Self::Canceled => "CANCELED",
            Self::Redirect => "REDIRECT",
            Self::Stopped => "STOPPED",
            Self::Skipped => "SKIPPED",
            Self::Buffered => "BUFFERED",
        }
    }

    /// The status of a name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
