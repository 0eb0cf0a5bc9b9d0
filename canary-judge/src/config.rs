//! Settings of the canary judge.

use std::time::Duration;

use runtime::config::Span;
use serde::Deserialize;

use crate::account::{Account, Accounts};
use crate::remote::Remote;

/// Section `canary-judge` of the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Metric stores. Default: none but `local`, what this installation's balancer measured.
    pub accounts: Vec<Account>,
    /// Address of `RemoteJudge-v1.0`, such as `http://judge:8080`; `/judge` under it is asked. Default: none, and
    /// configs that name it cannot be run.
    pub remote_judge: Option<String>,
    /// How long a run that has ended is kept, with its metric sets and results. Default: 90d.
    pub run_retention: Span,
    /// Runs that one process looks after at the same time; most of it is waiting for metric stores. Default: 256.
    pub judgements_at_once: usize,
}

impl Config {
    /// Whether the service can be built with it.
    ///
    /// # Errors
    /// The setting that is wrong, and the remedy.
    pub fn check(&self) -> Result<(), String> {
        self.remote()?;
        Accounts::new(self.accounts.clone())
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
}

impl Config {
    /// The judge behind an address, if there is one.
    pub(crate) fn remote(&self) -> Result<Option<Remote>, String> {
        self.remote_judge.as_deref().map(Remote::new).transpose()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accounts: Vec::new(),
            remote_judge: None,
            run_retention: Span(Duration::from_secs(90 * 24 * 3600)),
            judgements_at_once: 256,
        }
    }
}
