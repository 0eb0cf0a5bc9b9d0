//! Workers under the suite: real processes under their shims that take jobs from a queue, told by a
//! hook or by a signal.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloud_driver::config::Config;
use cloud_driver::provider::local::shim::Shims;
use cloud_driver::provider::local::worker::Workers;
use cloud_driver::provider::router::Router;
use instance::{EXIT, LAUNCH, Launch};
use rollout::router::{Desired, Drain, Group, Probe, Supply};

use super::faulty::{Fault, Faulty, Memory};
use super::{Harness, Held, SOON, Truth, Verdict, Wanted, cases, targets};
use crate::programs;
use crate::queue::Queue;

/// How the workers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Hook,
    Signal,
}

/// Workers of a folder of their own.
struct Local {
    folder: tempfile::TempDir,
    by: By,
    shims: Shims,
    workers: Workers,
    fault: Option<Fault>,
    memory: Arc<Mutex<Memory>>,
    life: u32,
    queue: Queue,
    ports: BTreeMap<String, u16>,
}

impl Local {
    async fn up(by: By, fault: Option<Fault>) -> Self {
        let folder = tempfile::Builder::new().prefix("gnk-").tempdir().unwrap();
        let config = config(folder.path().to_owned());
        let shims = Shims::open(&config).unwrap();
        Self {
            workers: Workers::new(&config, shims.clone(), Arc::default()),
            folder,
            by,
            shims,
            fault,
            memory: Arc::default(),
            life: 0,
            queue: Queue::start().await,
            ports: BTreeMap::new(),
        }
    }

    fn instance(&self, id: &str) -> PathBuf {
        self.folder.path().join("instances").join(id)
    }

    fn sick_file(&self, id: &str) -> PathBuf {
        self.folder.path().join(format!("{id}.sick"))
    }
}

fn config(data: PathBuf) -> Config {
    Config {
        data,
        programs: Some(programs::folder().clone()),
        ..Config::default()
    }
}

impl Harness for Local {
    type Way = u64;

    fn router(&self) -> Arc<dyn Router> {
        let honest = self.honest();
        match self.fault {
            None => honest,
            Some(fault) => Arc::new(Faulty::new(honest, fault, self.memory.clone(), self.life)),
        }
    }

    fn honest(&self) -> Arc<dyn Router> {
        Arc::new(self.workers.clone())
    }

    async fn start(&mut self, id: &str, well: bool) {
        if self.ports.contains_key(id) {
            return;
        }
        let port = servers::port::free();
        self.ports.insert(id.to_owned(), port);
        self.set_well(id, well);
        let mut environment = BTreeMap::from([
            ("PORT", port.to_string()),
            ("QUEUE", self.queue.address.to_string()),
            ("NAME", id.to_owned()),
            ("CONCURRENCY", "8".to_owned()),
            ("SICK_FILE", self.sick_file(id).display().to_string()),
        ]);
        if self.by == By::Signal {
            environment.insert("DRAIN_SIGNAL", "TERM".to_owned());
            environment.insert("ON_DRAINED", "stay".to_owned());
        }
        let program = programs::folder().join("demo-worker");
        let launch = Launch {
            token: self.shims.token(id),
            command: vec![program.display().to_string()],
            environment: environment
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect(),
            working_folder: None,
            root: None,
            user: None,
            grace_ms: 500,
            restart: false,
            max_files: None,
            time_limit_ms: None,
            log_bytes: None,
        };
        let folder = self.instance(id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(LAUNCH), serde_json::to_vec(&launch).unwrap()).unwrap();
        let shim = Command::new(programs::folder().join("instance"))
            .arg("run")
            .arg(&folder)
            .stdin(Stdio::null())
            .status();
        assert!(shim.unwrap().success(), "{id} is not started");
    }

    async fn stop(&mut self, id: &str) {
        let folder = self.instance(id);
        let end = Instant::now() + SOON;
        while !folder.join(EXIT).exists() {
            stop(&folder, &self.shims.token(id)).await;
            assert!(Instant::now() < end, "{id} does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn runs(&self, id: &str) -> bool {
        self.ports.contains_key(id) && !self.instance(id).join(EXIT).exists()
    }

    fn set_well(&self, id: &str, well: bool) {
        let file = self.sick_file(id);
        if well {
            let _absent = std::fs::remove_file(file);
        } else {
            std::fs::write(file, "").unwrap();
        }
    }

    fn truth(&self, id: &str) -> Truth {
        let (taken, requests) = self.queue.of(id);
        Truth {
            taken,
            requests,
            ..Truth::default()
        }
    }

    fn desired(&self, groups: &[Wanted]) -> Desired {
        let address = |id: &str| {
            let port = self.ports.get(id).copied().unwrap_or(1);
            format!("127.0.0.1:{port}")
        };
        let group = |wanted: &Wanted| Group {
            name: wanted.name.clone(),
            entrances: Vec::new(),
            weight: wanted.weight,
            probe: Probe::Path("/health".to_owned()),
            supply: Supply::Taken(Drain {
                path: Some("/drain".to_owned()),
                signal: (self.by == By::Signal).then(|| "SIGTERM".to_owned()),
                resume: self.by == By::Hook,
            }),
            members: targets(wanted, address),
        };
        Desired {
            entrances: Vec::new(),
            groups: groups.iter().map(group).collect(),
        }
    }

    async fn ask(&self) -> Result<String, String> {
        Ok(self.queue.done(self.queue.push(1)).await)
    }

    async fn hold(&self) -> Result<Held<u64>, String> {
        let job = self.queue.push_held();
        Ok(Held {
            member: self.queue.taken(job).await,
            way: job,
        })
    }

    async fn tunnel(&self) -> Result<Held<u64>, String> {
        Err("workers have no upgraded connections".to_owned())
    }

    async fn release(&self, held: Held<u64>) -> Verdict {
        self.queue.release(held.way);
        self.queue.done(held.way).await;
        Ok(())
    }

    async fn restart_control(&mut self) {
        let config = config(self.folder.path().to_owned());
        self.workers = Workers::new(&config, self.shims.clone(), Arc::default());
        self.life += 1;
    }

    async fn restart_data_plane(&mut self) {
        unreachable!("what workers' router observes lives in the control side");
    }
}

async fn stop(folder: &std::path::Path, token: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = instance::Request::Stop {
        token: token.to_owned(),
        grace_ms: Some(500),
    };
    let line = serde_json::to_string(&request).unwrap();
    // Its shim may be gone already.
    if let Ok(mut stream) = tokio::net::UnixStream::connect(folder.join(instance::SOCKET)).await {
        let _gone = stream.write_all(format!("{line}\n").as_bytes()).await;
        let _gone = stream.read_to_end(&mut Vec::new()).await;
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        super::balancer::end(self.folder.path());
    }
}

/// The case with the real router, and with the one that breaks its rule.
macro_rules! held {
    ($($case:ident, $fault:ident: $rule:literal;)*) => {
        mod hook {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    let verdict = cases::$case(&mut Local::up(By::Hook, None).await).await;
                    assert_eq!(verdict, Ok(()));
                }
            )*
        }
        mod control {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    let mut local = Local::up(By::Hook, Some(Fault::$fault)).await;
                    let verdict = cases::$case(&mut local).await;
                    let found = verdict.expect_err("the fault is not found");
                    assert!(found.starts_with($rule), "{found}");
                }
            )*
        }
    };
}

// Weights and a data plane of its own are not among its abilities.
held! {
    what_is_in_flight_is_counted_exactly, Miscounts: "count";
    a_drain_takes_nothing_new_and_ends_when_nothing_is_left, Leaks: "closed";
    a_drain_is_revoked, Leaks: "drained";
    a_deadline_that_passes_is_told_with_its_count, Hides: "deadline";
    a_rollout_that_goes_by_it_keeps_its_floor, Trusts: "floor";
    an_older_writer_is_refused, Obeys: "fence";
    the_same_configuration_again_changes_nothing, Restless: "same";
    a_control_side_that_begins_anew_finds_what_is, Forgets: "resume";
}

/// What can be said of workers that are told by a signal, which is not taken back: a second one
/// would end them at once with what they have.
mod signal {
    use super::*;

    #[tokio::test]
    async fn a_drain_takes_nothing_new_and_ends_when_nothing_is_left() {
        let mut local = Local::up(By::Signal, None).await;
        let case = cases::a_drain_takes_nothing_new_and_ends_when_nothing_is_left(&mut local);
        assert_eq!(case.await, Ok(()));
    }

    #[tokio::test]
    async fn an_older_writer_is_refused() {
        let mut local = Local::up(By::Signal, None).await;
        assert_eq!(cases::an_older_writer_is_refused(&mut local).await, Ok(()));
    }

    #[tokio::test]
    async fn a_control_side_that_begins_anew_finds_what_is() {
        let mut local = Local::up(By::Signal, None).await;
        let case = cases::a_control_side_that_begins_anew_finds_what_is(&mut local);
        assert_eq!(case.await, Ok(()));
        assert!(local.runs("a0") && local.runs("a1"), "signalled twice");
    }
}
