//! `gennaker up --processes`: each service in processes of its own, several replicas
//! of each, under one supervisor.
//!
//! The supervisor binds every listener once and hands it to the replicas of its
//! service as their standard input: they accept from one queue, so a replica that
//! ends or is killed leaves nothing unaccepted behind, and clients know one address a
//! service. Work in progress is in the store, leased: another replica takes it over.
//!
//! cloud-driver's local provider acts on the processes of this host, and one process
//! at a time may do that: its replicas hold a lock of the kernel on the data folder
//! while they serve; the others stand by and follow at once when the holder ends.

pub(crate) mod replica;
pub(crate) mod restart;
mod slot;
mod supervisor;

use std::path::{Path, PathBuf};

pub(crate) use supervisor::run;

/// The services that are processes, in the order they are started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What runs, operations, registries.
    CloudDriver,
    /// Executions and definitions.
    Orchestrator,
    /// Events.
    Trigger,
    /// Canary configs and runs.
    CanaryJudge,
    /// The REST interface.
    Gateway,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::CloudDriver,
        Self::Orchestrator,
        Self::Trigger,
        Self::CanaryJudge,
        Self::Gateway,
    ];

    /// Its subcommand, and the name of its socket.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CloudDriver => "cloud-driver",
            Self::Orchestrator => "orchestrator",
            Self::Trigger => "trigger",
            Self::CanaryJudge => "canary-judge",
            Self::Gateway => "gateway",
        }
    }
}

/// Where sockets and notes of the processes are.
fn folder(data: &Path) -> PathBuf {
    data.join("run")
}

/// The socket of a service.
fn socket(data: &Path, kind: Kind) -> PathBuf {
    folder(data).join(format!("{}.sock", kind.name()))
}

/// What an operator asks one replica: its metrics, its health, its log level.
fn admin_socket(data: &Path, kind: Kind, number: u32) -> PathBuf {
    folder(data).join(format!("{}-{number}.admin.sock", kind.name()))
}

/// What a replica prints when it is ready to serve.
const READY: &str = "ready";
