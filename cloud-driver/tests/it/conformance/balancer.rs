//! The load balancer of this machine under the suite: the real program, and instances on sockets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloud_driver::config::Config;
use cloud_driver::provider::local::balancer::Control;
use cloud_driver::provider::local::shim::Shims;
use cloud_driver::provider::router::Router;
use rollout::router::{Desired, Entrance, Group, Probe, Supply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backend::{Backend, Hub};
use super::faulty::{Fault, Faulty, Memory};
use super::{Harness, Held, SOON, Truth, Verdict, Wanted, cases, targets};
use crate::programs;

/// A balancer with a folder of its own.
struct Local {
    folder: tempfile::TempDir,
    port: u16,
    control: Arc<Control>,
    fault: Option<Fault>,
    memory: Arc<Mutex<Memory>>,
    life: u32,
    hub: Arc<Hub>,
    backends: BTreeMap<String, Backend>,
    /// What ended instances had taken.
    ended: BTreeMap<String, Truth>,
    numbers: AtomicU64,
}

fn control(folder: &std::path::Path, port: u16) -> Arc<Control> {
    let config = Arc::new(Config {
        data: folder.to_owned(),
        balancer_port: port,
        programs: Some(programs::folder().clone()),
        ..Config::default()
    });
    let shims = Shims::open(&config).unwrap();
    Arc::new(Control::new(config, shims, Arc::default()))
}

impl Local {
    async fn up(fault: Option<Fault>) -> Self {
        let folder = tempfile::Builder::new().prefix("gnk-").tempdir().unwrap();
        let port = servers::port::free();
        let control = control(folder.path(), port);
        control.start().await.unwrap();
        Self {
            folder,
            port,
            control,
            fault,
            memory: Arc::default(),
            life: 0,
            hub: Arc::default(),
            backends: BTreeMap::new(),
            ended: BTreeMap::new(),
            numbers: AtomicU64::new(0),
        }
    }

    /// A request on a connection of its own.
    async fn send(&self, path: &str, more: &str) -> Result<TcpStream, String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        let mut stream = stream.map_err(|e| e.to_string())?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: suite.test\r\n{more}\r\n");
        let sent = stream.write_all(head.as_bytes()).await;
        sent.map_err(|e| e.to_string())?;
        Ok(stream)
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    async fn begun(&self, number: u64, stream: TcpStream, tunnel: bool) -> Held<Way> {
        Held {
            member: self.hub.begun(number).await,
            way: Way {
                number,
                stream,
                tunnel,
            },
        }
    }
}

/// A request or an upgraded connection that is held.
struct Way {
    number: u64,
    stream: TcpStream,
    tunnel: bool,
}

/// Status and body of an answer that ends with its connection.
async fn answer(mut stream: TcpStream) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match (read, text.split_once("\r\n\r\n")) {
        (Ok(_), Some((head, body))) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        (read, _) => Err(format!("{read:?}: {text}")),
    }
}

const CLOSE: &str = "connection: close\r\n";

impl Harness for Local {
    type Way = Way;

    fn router(&self) -> Arc<dyn Router> {
        match self.fault {
            None => self.control.clone(),
            Some(fault) => Arc::new(Faulty::new(
                self.control.clone(),
                fault,
                self.memory.clone(),
                self.life,
            )),
        }
    }

    fn honest(&self) -> Arc<dyn Router> {
        self.control.clone()
    }

    async fn start(&mut self, id: &str, well: bool) {
        if !self.backends.contains_key(id) {
            let backend = Backend::start(id, self.hub.clone(), well).await;
            self.backends.insert(id.to_owned(), backend);
        }
    }

    async fn stop(&mut self, id: &str) {
        if let Some(backend) = self.backends.remove(id) {
            self.ended.insert(id.to_owned(), backend.truth());
        }
    }

    fn runs(&self, id: &str) -> bool {
        self.backends.contains_key(id)
    }

    fn set_well(&self, id: &str, well: bool) {
        self.backends[id].set_well(well);
    }

    fn truth(&self, id: &str) -> Truth {
        match self.backends.get(id) {
            Some(backend) => backend.truth(),
            None => self.ended[id],
        }
    }

    fn desired(&self, groups: &[Wanted]) -> Desired {
        let address = |id: &str| {
            let there = self.backends.get(id).map(|b| b.address.to_string());
            there.unwrap_or_else(|| "127.0.0.1:1".to_owned())
        };
        let group = |wanted: &Wanted| Group {
            name: wanted.name.clone(),
            entrances: vec!["suite".to_owned()],
            weight: wanted.weight,
            probe: Probe::Path("/health".to_owned()),
            supply: Supply::Sent,
            members: targets(wanted, address),
        };
        Desired {
            entrances: vec![Entrance {
                name: "suite".to_owned(),
                host: None,
                path: "/".to_owned(),
            }],
            groups: groups.iter().map(group).collect(),
        }
    }

    async fn ask(&self) -> Result<String, String> {
        answer(self.send("/", CLOSE).await?).await
    }

    async fn hold(&self) -> Result<Held<Self::Way>, String> {
        let number = self.number();
        let stream = self.send(&format!("/hold/{number}"), CLOSE).await?;
        Ok(self.begun(number, stream, false).await)
    }

    async fn tunnel(&self) -> Result<Held<Self::Way>, String> {
        let number = self.number();
        let upgrade = "connection: upgrade\r\nupgrade: echo\r\n";
        let stream = self.send(&format!("/tunnel/{number}"), upgrade).await?;
        Ok(self.begun(number, stream, true).await)
    }

    async fn release(&self, held: Held<Self::Way>) -> Verdict {
        let Way {
            number,
            mut stream,
            tunnel,
        } = held.way;
        self.hub.release(number);
        if tunnel {
            stream.shutdown().await.map_err(|e| e.to_string())?;
        }
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let well = text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.1 101");
        if read.is_ok() && well {
            Ok(())
        } else {
            Err(format!("held work ended {read:?}: {text}"))
        }
    }

    async fn restart_control(&mut self) {
        self.control = control(self.folder.path(), self.port);
        self.life += 1;
    }

    async fn restart_data_plane(&mut self) {
        let before = self.control.observe().await.unwrap().epoch;
        let admin = self.folder.path().join("balancer");
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let Ok(pid) = name.parse::<i32>() else {
                continue;
            };
            let exe = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let ours = String::from_utf8_lossy(&line).contains(&admin.display().to_string());
            if ours && exe.file_name().is_some_and(|n| n == "balancer") {
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        }
        let end = Instant::now() + SOON;
        while self
            .control
            .observe()
            .await
            .map(|v| v.epoch)
            .unwrap_or(before)
            == before
        {
            assert!(Instant::now() < end, "the balancer does not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        end(self.folder.path());
    }
}

/// Ends every process of a folder.
pub(super) fn end(folder: &std::path::Path) {
    let data = folder.to_owned();
    // A test's own runtime may not be blocked on.
    let ended = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stop = cloud_driver::provider::local::stop::stop_all;
        let stopped = runtime.block_on(stop(&data, Duration::from_millis(500)));
        stopped.left
    });
    let left = ended.join().unwrap_or_default();
    if !std::thread::panicking() {
        assert_eq!(left, Vec::<String>::new(), "processes outlive the test");
    }
}

/// The case with the real router, and with the one that breaks its rule.
macro_rules! held {
    ($($case:ident, $fault:ident: $rule:literal;)*) => {
        mod real {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    let verdict = cases::$case(&mut Local::up(None).await).await;
                    assert_eq!(verdict, Ok(()));
                }
            )*
        }
        mod control {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    let verdict = cases::$case(&mut Local::up(Some(Fault::$fault)).await).await;
                    let found = verdict.expect_err("the fault is not found");
                    assert!(found.starts_with($rule), "{found}");
                }
            )*
        }
    };
}

held! {
    weights_set_are_seen_in_effect, Echoes: "weight";
    a_group_without_a_serving_member_has_no_share, Echoes: "weight";
    what_is_in_flight_is_counted_exactly, Miscounts: "count";
    a_drain_takes_nothing_new_and_ends_when_nothing_is_left, Leaks: "closed";
    a_drain_is_revoked, Leaks: "drained";
    a_deadline_that_passes_is_told_with_its_count, Hides: "deadline";
    a_rollout_that_goes_by_it_keeps_its_floor, Trusts: "floor";
    an_older_writer_is_refused, Obeys: "fence";
    the_same_configuration_again_changes_nothing, Restless: "same";
    a_control_side_that_begins_anew_finds_what_is, Forgets: "resume";
    a_lost_data_plane_is_told_by_another_epoch, Ageless: "epoch";
}

#[tokio::test]
async fn control_a_drain_that_ends_too_early_is_found() {
    let mut local = Local::up(Some(Fault::Hurries)).await;
    let case = cases::a_drain_takes_nothing_new_and_ends_when_nothing_is_left(&mut local).await;
    let found = case.expect_err("the fault is not found");
    assert!(found.starts_with("drained"), "{found}");
}
