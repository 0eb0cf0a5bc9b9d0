//! Settings of the orchestrator.

mod stage;
mod task;

use std::sync::Arc;
use std::time::Duration;

use authorization::Policy;
use runtime::config::Span;
use serde::Deserialize;

use crate::archive;
use crate::notification;
use crate::task::Pool;
use task::{PagerDuty, Tasks};

use stage::{Job, MonitoredDeploy, Script, Webhook};

/// Section `orchestrator` of the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Mailboxes handled at the same time, at least 4. Default: 64.
    pub turns: usize,
    /// Tasks at the same time that call addresses of users. Default: 512.
    pub http_tasks: usize,
    /// Tasks at the same time that call cloud-driver. Default: 64.
    pub cloud_driver_tasks: usize,
    /// Tasks at the same time that change definitions. Default: 16.
    pub definition_tasks: usize,
    /// Whether tasks that ask nobody outside are answered inside the turn that reaches them. Default: true. Switched
    /// off, each is a run with a commit of its own, as tasks that ask somebody are: benchmarks measure those.
    pub fold_tasks: bool,
    /// How long a worker that fell silent keeps its work. Default: 3s.
    pub lease: Span,
    /// Deliveries without an end before a message is given up: so many workers must have fallen silent over it, by
    /// its own fault or by a crash loop of another cause. Default: 200, which ten minutes of either do not reach.
    pub max_tries: u32,
    /// How long one run of a task may take. Default: 120s.
    pub task_limit: Span,
    /// How long a finished execution is kept. Default: 90d.
    pub retention: Span,
    /// So many executions of each pipeline are kept however old they are. Default: 20.
    pub keep_per_pipeline: usize,
    /// For so long after an event started an execution it starts no other, and as long as that one runs. Default: 1d.
    pub event_retention: Span,
    /// How large an execution may be as JSON, in bytes: so much of it is in memory with every message that it
    /// handles. What makes it larger fails. Default: 10485760.
    pub execution_limit: usize,
    /// Where finished executions are moved to.
    pub archive: archive::Config,
    /// Base of links to the page of this product. Default: `http://127.0.0.1:8084/ui/`.
    pub page_url: String,
    /// Settings of single tasks.
    pub tasks: Tasks,
    /// How people are paged by the stage `pageApplicationOwner`.
    pub pager_duty: PagerDuty,
    /// How many characters an expression may have. Default: 10000.
    pub longest_expression: usize,
    /// How the expressions of every pipeline that starts are evaluated, `v3` or `v4`, whatever it says itself.
    /// Default: as it says.
    pub spel_version_override: Option<SpelVersion>,
    /// Who sends notifications, and how.
    pub notifications: notification::Config,
    /// Stages that send requests.
    pub webhook: Webhook,
    /// Stages that run jobs.
    pub job: Job,
    /// Stages that run a script by a job of a build server.
    pub script: Script,
    /// Deployments that a service of the operator's watches.
    pub monitored_deploy: MonitoredDeploy,
    /// Who may do what: the settings of the edge, given by whoever assembles the process and
    /// not by a key of its own, so that there is one answer. None: nobody has to authenticate.
    #[serde(skip)]
    pub authorization: Option<Arc<Policy>>,
}

/// A version of evaluating expressions: all texts of a stage at once, or some one by one.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SpelVersion {
    /// At once.
    V3,
    /// When the stage starts, variables one by one.
    V4,
}

impl SpelVersion {
    /// As pipelines write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "v3",
            Self::V4 => "v4",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            turns: 64,
            http_tasks: 512,
            cloud_driver_tasks: 64,
            definition_tasks: 16,
            fold_tasks: true,
            lease: Span(Duration::from_secs(3)),
            max_tries: 200,
            task_limit: Span(Duration::from_secs(120)),
            retention: Span(Duration::from_secs(90 * 24 * 3600)),
            keep_per_pipeline: 20,
            event_retention: Span(Duration::from_secs(24 * 3600)),
            execution_limit: 10 * 1024 * 1024,
            archive: archive::Config::default(),
            page_url: orchestrator_core::Settings::default().page_url,
            tasks: Tasks::default(),
            pager_duty: PagerDuty::default(),
            longest_expression: orchestrator_core::Settings::default().longest_expression,
            spel_version_override: None,
            notifications: notification::Config::default(),
            webhook: Webhook::default(),
            job: Job::default(),
            script: Script::default(),
            monitored_deploy: MonitoredDeploy::default(),
            authorization: None,
        }
    }
}

impl Config {
    /// How many tasks of a pool run at the same time.
    pub fn pool_size(&self, pool: Pool) -> usize {
        match pool {
            Pool::Definitions => self.definition_tasks,
            Pool::CloudDriver => self.cloud_driver_tasks,
            Pool::Http => self.http_tasks,
        }
        .max(1)
    }

    /// Places for what ends with a turn. Three queues share them, and each waits for its next
    /// delivery with a place in its hand; a turn that left its own for a look-up needs one more
    /// to come back to. With fewer they would wait for one another.
    pub(crate) fn places(&self) -> usize {
        self.turns.max(4)
    }

    pub(crate) fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.0.as_millis())
            .unwrap_or(u64::MAX)
            .max(1_000)
    }

    /// How long a finished execution stays in the store at least.
    pub(crate) fn stay_ms(&self) -> u64 {
        let stay = if self.archive.moves() {
            self.archive.after
        } else {
            self.retention
        };
        u64::try_from(stay.0.as_millis()).unwrap_or(u64::MAX)
    }
}
