//! The processes of `gennaker up --processes`: which there are, and somebody who kills them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The services, in the order they are started in.
pub const SERVICES: [&str; 5] = [
    "cloud-driver",
    "orchestrator",
    "trigger",
    "canary-judge",
    "gateway",
];

/// Replicas of a supervisor by service, oldest first.
pub fn of(supervisor: i32) -> BTreeMap<&'static str, Vec<i32>> {
    let mut found: BTreeMap<&'static str, Vec<(u64, i32)>> = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some((service, began)) = look(&entry.path(), supervisor) {
            found.entry(service).or_default().push((began, pid));
        }
    }
    let pids = |mut all: Vec<(u64, i32)>| {
        all.sort_unstable();
        all.into_iter().map(|(_, pid)| pid).collect()
    };
    let by_service = found.into_iter().map(|(name, all)| (name, pids(all)));
    by_service.collect()
}

/// The service and the start of a process, if it is a living replica of this supervisor.
fn look(process: &Path, supervisor: i32) -> Option<(&'static str, u64)> {
    let read = |file: &str| std::fs::read_to_string(process.join(file)).ok();
    let stat = read("stat")?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let is_child = fields.get(1)?.parse() == Ok(supervisor);
    if !is_child || fields.first() == Some(&"Z") {
        return None;
    }
    let began = fields.get(19)?.parse().ok()?;
    let command = read("cmdline")?;
    let name = command.split('\0').nth(1)?;
    let service = SERVICES.iter().find(|service| **service == name)?;
    Some((service, began))
}

/// `kill -9`; one that has ended meanwhile is no fault.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = kill_process(pid, Signal::KILL);
    }
}

/// Kills one process after another, until it is told to end.
pub struct Killer {
    stop: watch::Sender<bool>,
    task: JoinHandle<usize>,
}

impl Killer {
    /// Every `pause` one process is killed: of these services in turn, each time its oldest replica, so that
    /// all replicas have their turn too (and of cloud-driver always the one that serves).
    pub fn alternately(
        supervisor: i32,
        services: &'static [&'static str],
        pause: Duration,
    ) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(pause);
            let (mut turns, mut killed) = (services.iter().cycle(), 0);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = stopped.changed() => return killed,
                }
                let found = of(supervisor);
                let service = turns.next().and_then(|service| found.get(service));
                if let Some(oldest) = service.and_then(|replicas| replicas.first()) {
                    kill(*oldest);
                    killed += 1;
                }
            }
        });
        Self { stop, task }
    }

    /// Ends it; answers how many were killed.
    ///
    /// # Errors
    /// It failed.
    pub async fn stop(self) -> Result<usize> {
        self.stop.send_replace(true);
        self.task.await.context("the killer failed")
    }
}
