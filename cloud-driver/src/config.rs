//! Every setting of the service.

use std::path::PathBuf;

use runtime::config::{Document, Span};
use serde::Deserialize;

use crate::account::{self, Account};
use crate::registry;

mod figures;

pub use figures::AccessLog;

/// What the service is built from.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where instances run: section `accounts`.
    pub accounts: Vec<Account>,
    /// Where images come from: section `registries`.
    pub registries: Vec<registry::Account>,
    /// How the local provider works: section `local`.
    pub local: Local,
    /// Folder of everything that is kept on disk.
    pub data: PathBuf,
    /// Port of the load balancer on loopback.
    pub balancer_port: u16,
    /// Folder of the programs `balancer` and `instance`; default: that of the
    /// running program.
    pub programs: Option<PathBuf>,
    /// What is broken on purpose; nothing in a product build.
    pub control: Control,
}

/// A rule that is broken so that the gate can show it would notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Control {
    /// None.
    #[default]
    Off,
    /// Instances are stopped without waiting for their requests.
    #[cfg(feature = "controls")]
    DrainOff,
    /// The old is removed when the configuration was written, not when the new
    /// was seen serving.
    #[cfg(feature = "controls")]
    TrustDesiredState,
    /// Processes are exchanged in their slots without a word to the balancer,
    /// whose health check notices too late.
    #[cfg(feature = "controls")]
    SlowHealthCheck,
}

impl Control {
    /// What `GENNAKER_CONTROL` asks for, in a build that can.
    pub fn from_environment() -> Self {
        #[cfg(feature = "controls")]
        match std::env::var("GENNAKER_CONTROL").as_deref() {
            Ok("drain-off") => return Self::DrainOff,
            Ok("trust-desired-state") => return Self::TrustDesiredState,
            Ok("slow-health-check") => return Self::SlowHealthCheck,
            Ok(_) | Err(_) => {}
        }
        Self::Off
    }

    /// Breaks the rule.
    pub(crate) fn apply(self, settings: rollout::Settings) -> rollout::Settings {
        match self {
            Self::Off => settings,
            #[cfg(feature = "controls")]
            Self::DrainOff => rollout::Settings {
                drain_off: true,
                ..settings
            },
            #[cfg(feature = "controls")]
            Self::TrustDesiredState => rollout::Settings {
                observe_off: true,
                ..settings
            },
            #[cfg(feature = "controls")]
            Self::SlowHealthCheck => rollout::Settings {
                exchange: true,
                ..settings
            },
        }
    }
}

/// Section `local`: the local provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Local {
    /// First port instances may get. Default: 20000.
    pub first_port: u16,
    /// Last port instances may get. Default: 24999.
    pub last_port: u16,
    /// How long new instances stay ready before they get traffic. Default: 2 s.
    pub settle: Span,
    /// How long an instance may take to become healthy. Default: 60 s.
    pub start_timeout: Span,
    /// How long requests in flight may take to end. Default: 60 s.
    pub drain_timeout: Span,
    /// From SIGTERM to SIGKILL. Default: 30 s.
    pub grace: Span,
    /// Worker threads of the load balancer; 0: one per processor, at most 2. Default: 0.
    pub balancer_workers: u16,
    /// What the load balancer writes of each request. Default: nothing.
    pub access_log: Option<AccessLog>,
    /// Where the load balancer answers `GET /metrics` beside its admin socket, `127.0.0.1:9090` or another
    /// address of loopback. Default: nowhere. This and the two below are given to a load balancer when it starts: one that runs goes on
    /// as before until it is replaced (`gennaker balancer upgrade`).
    pub metrics_listen: Option<String>,
    /// Where the load balancer sends its figures as OTLP: `http://HOST:PORT`. Default: nowhere.
    pub otlp_endpoint: Option<String>,
    /// How often it sends them, 1 ms to 1 h. Default: 10 s.
    pub otlp_interval: Span,
}

impl Default for Local {
    fn default() -> Self {
        let seconds = |s| Span(std::time::Duration::from_secs(s));
        Self {
            first_port: 20_000,
            last_port: 24_999,
            settle: seconds(2),
            start_timeout: seconds(60),
            drain_timeout: seconds(60),
            grace: seconds(30),
            balancer_workers: 0,
            access_log: None,
            metrics_listen: None,
            otlp_endpoint: None,
            otlp_interval: seconds(10),
        }
    }
}

impl Config {
    /// Takes this service's sections out of a configuration; faults are
    /// reported by `document.finish()`. Folder and ports are the caller's.
    pub fn from_document(document: &mut Document) -> Self {
        Self {
            accounts: document.section("accounts"),
            registries: document.section("registries"),
            local: document.section("local"),
            control: Control::from_environment(),
            ..Self::default()
        }
    }

    /// Checks what one section alone cannot say.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn check(&self) -> Result<(), String> {
        account::check(&self.accounts).map_err(|e| e.to_string())?;
        let (first, last) = (self.local.first_port, self.local.last_port);
        if first < 1024 || first > last {
            return Err(format!(
                "local.first-port {first} and local.last-port {last} are no range above 1023"
            ));
        }
        self.local.check_figures(&self.data, self.balancer_port)
    }

    /// The account of this name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|a| a.name == name)
    }
}
