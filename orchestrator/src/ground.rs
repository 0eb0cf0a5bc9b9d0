//! What an engine stands on and cannot decide for itself: the time, chance, and the types of
//! stages and tasks there are. One value, so that whoever gives another one has the same story
//! twice.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use orchestrator_core::StageCatalog;

use crate::ids;
use crate::stage::Catalog;
use crate::task::{self, Task};

/// Tells the time, ms since the epoch.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The process's own clock.
pub fn system_clock() -> Now {
    Arc::new(|| {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// See the module. Spans of time are measured by tokio's clock, which a test may hold.
#[derive(Clone)]
pub struct Ground {
    /// The time.
    pub now: Now,
    /// Draws a number that nobody can guess or repeat.
    pub chance: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// The types of stages.
    pub stages: &'static (dyn StageCatalog + Send + Sync),
    /// A task by its type.
    pub task: fn(&str) -> Option<&'static dyn Task>,
}

impl Ground {
    /// The process's own clock and chance, and everything this version knows.
    pub fn system() -> Self {
        Self {
            now: system_clock(),
            chance: Arc::new(rand::random),
            stages: &Catalog,
            task: task::find,
        }
    }

    /// An id of a commit, or the seed of another id: no two are alike.
    pub(crate) fn fresh_id(&self) -> String {
        ids::text((self.chance)())
    }
}

impl Debug for Ground {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").finish_non_exhaustive()
    }
}
