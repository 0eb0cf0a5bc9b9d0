//! The types of the shim's socket and folder, and nothing else. The shim itself
//! is the binary `instance`.
//!
//! An instance has a folder of its own:
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `launch.json` | whoever launches | [`Launch`] |
//! | `state.json` | the shim | [`Ids`], as soon as the process runs |
//! | `stdout.log`, `.1`, `.2` | the shim | what the instance wrote, 10 MiB each or as the order says |
//! | `exit.json` | the shim | [`Exit`] |
//! | `start.lock` | the shim | nothing; locked while it starts, so that there is one |
//! | `shim.sock` | the shim | answers [`Request`]s, one JSON line each way |
//!
//! `instance run FOLDER` starts the shim and returns when the process runs or
//! cannot; a second call on the same folder finds the first. The socket is
//! versioned by [`VERSION`], which every answer carries, because shims outlive
//! upgrades.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of the socket's protocol.
pub const VERSION: u32 = 1;
/// Name of the launch order.
pub const LAUNCH: &str = "launch.json";
/// Name of the ids file.
pub const STATE: &str = "state.json";
/// Name of the exit record.
pub const EXIT: &str = "exit.json";
/// Name of the socket.
pub const SOCKET: &str = "shim.sock";
/// Name of the file that a shim locks while it starts the instance.
pub const LOCK: &str = "start.lock";
/// Name of the log.
pub const LOG: &str = "stdout.log";

/// How to start an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// Secret of this instance; requests must carry it.
    pub token: String,
    /// Program and arguments; the program is looked for in the root folder first.
    pub command: Vec<String>,
    /// Variables; nothing is inherited.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Working folder, within the root folder if there is one.
    #[serde(default)]
    pub working_folder: Option<String>,
    /// Root folder; entered by chroot where that is allowed, else the program is
    /// started from it plainly.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// User and group ids to run as, where allowed.
    #[serde(default)]
    pub user: Option<(u32, u32)>,
    /// From SIGTERM to SIGKILL when nobody says otherwise, in ms.
    #[serde(default = "grace")]
    pub grace_ms: u64,
    /// Start it again when it dies: for the balancer. One that left with 0 meant to,
    /// since it handed its sockets to a successor.
    #[serde(default)]
    pub restart: bool,
    /// Open files allowed.
    #[serde(default)]
    pub max_files: Option<u64>,
    /// How long it may run before it is ended like by a stop, in ms; kept by the shim,
    /// whoever started it may die. Of one that is started again, the first life only.
    #[serde(default)]
    pub time_limit_ms: Option<u64>,
    /// Bytes of its output that are kept, the last ones; 30 MiB by default.
    #[serde(default)]
    pub log_bytes: Option<u64>,
}

fn grace() -> u64 {
    30_000
}

/// What a running instance can be recognised by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ids {
    /// Process id of the shim.
    pub shim_pid: u32,
    /// Start time of the shim in clock ticks since boot (`/proc/<pid>/stat`, field 22).
    pub shim_start: u64,
    /// Process id of the instance.
    pub pid: u32,
    /// Start time of the instance, likewise.
    pub start: u64,
    /// When it was started, ms since the epoch.
    pub started_ms: i64,
    /// The machine's boot.
    pub boot_id: String,
    /// `chroot`, or `plain` with why.
    pub isolation: String,
}

/// How an instance ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Exit code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it could not even be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it was started, ms since the epoch.
    pub started_ms: i64,
    /// When it ended, ms since the epoch.
    pub ended_ms: i64,
    /// Somebody asked for it.
    pub asked: bool,
    /// It ran longer than it may and was ended.
    #[serde(default)]
    pub timed_out: bool,
}

/// What can be asked of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "ask", rename_all_fields = "camelCase")]
pub enum Request {
    /// How it stands.
    State {
        /// The instance's secret.
        token: String,
        /// Also say whether its own socket listens on this port.
        #[serde(default)]
        port: Option<u16>,
    },
    /// End it: SIGTERM now, SIGKILL after the grace. Kept by the shim, whoever
    /// asked may die.
    Stop {
        /// The instance's secret.
        token: String,
        /// From SIGTERM to SIGKILL, in ms; the launch order's by default.
        #[serde(default)]
        grace_ms: Option<u64>,
    },
    /// Send a signal to the instance.
    Signal {
        /// The instance's secret.
        token: String,
        /// Signal number.
        signal: i32,
        /// Not if it was sent before in this life of the instance: who asks may have died
        /// before it had the answer.
        #[serde(default)]
        once: bool,
    },
}

/// What a shim answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// [`VERSION`] of the shim.
    pub version: u32,
    /// Why the request was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The instance's ids.
    pub ids: Ids,
    /// It runs.
    pub alive: bool,
    /// It was asked to end.
    pub stopping: bool,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// A socket of the instance's process group listens on the port asked for;
    /// absent if none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listens: Option<bool>,
    /// Times it was started again.
    pub restarts: u32,
    /// Signals that were sent on request in this life of the instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<i32>,
    /// Bytes of its output that could not be written.
    pub dropped_bytes: u64,
}
