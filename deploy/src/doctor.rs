//! `gennaker doctor`: what is missing or wrong, in one list.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use store::Shards;

use crate::cli::Doctor;
use crate::folder;

/// Ports instances get unless the configuration says otherwise.
const INSTANCE_PORTS: (u32, u32) = (20_000, 24_999);

/// Less free space than this stops new work.
const FREE: u64 = 256 * 1024 * 1024;

#[derive(Default)]
struct List {
    faults: usize,
}

impl List {
    fn good(&self, what: &str, detail: impl Display) {
        println!("ok      {what}: {detail}");
    }

    fn note(&self, what: &str, detail: impl Display) {
        println!("note    {what}: {detail}");
    }

    fn bad(&mut self, what: &str, detail: impl Display) {
        self.faults += 1;
        println!("fault   {what}: {detail}");
    }
}

/// Prints the list; failure if something is wrong.
pub(crate) fn run(options: &Doctor) -> anyhow::Result<ExitCode> {
    let mut list = List::default();
    programs(&mut list);
    data(&mut list, &options.data)?;
    ports(&mut list);
    isolation(&list);
    for (program, package) in [("docker-registry", "docker-registry"), ("skopeo", "skopeo")] {
        match on_path(program) {
            true => list.good(program, "installed"),
            false => list.note(
                program,
                format!("not installed; the demonstration needs it: apt-get install {package}"),
            ),
        }
    }
    if let Some(url) = &options.redis {
        redis(&mut list, url)?;
    }
    Ok(if list.faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn programs(list: &mut List) {
    let folder = std::env::current_exe()
        .ok()
        .and_then(|p| p.parent().map(Path::to_owned));
    for name in ["balancer", "instance"] {
        match folder
            .as_ref()
            .map(|f| f.join(name))
            .filter(|p| p.is_file())
        {
            Some(path) => list.good(name, path.display()),
            None => list.bad(
                name,
                "is not beside gennaker; build or install all three programs",
            ),
        }
    }
}

fn data(list: &mut List, data: &Path) -> anyhow::Result<()> {
    let shown = data.display();
    if !data.exists() {
        list.note(
            "data folder",
            format!("{shown} does not exist; gennaker up creates it"),
        );
        return Ok(());
    }
    if folder::is_held(data)? {
        match folder::holder(data) {
            Some(h) => list.good(
                "running",
                format!("process {}, http://127.0.0.1:{}/ui/", h.pid, h.port),
            ),
            None => list.note("running", "somebody holds the data folder"),
        }
    } else {
        list.note("running", "no control plane holds the data folder");
    }
    match rustix::fs::statvfs(data) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let mib = free / 1024 / 1024;
            if free < FREE {
                list.bad(
                    "free space",
                    format!("{mib} MiB on the disk of {shown}; free some"),
                );
            } else {
                list.good("free space", format!("{mib} MiB on the disk of {shown}"));
            }
        }
        Err(error) => list.bad("data folder", format!("{shown}: {error}")),
    }
    Ok(())
}

fn ports(list: &mut List) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range: Vec<u32> = text
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    let (first, last) = INSTANCE_PORTS;
    match range[..] {
        [low, high] if low <= last && first <= high => list.bad(
            "ports",
            format!(
                "instances' ports {first} to {last} overlap those of outgoing connections ({low} \
                 to {high}); set local.first-port and local.last-port outside"
            ),
        ),
        [low, high] => list.good(
            "ports",
            format!("{first} to {last} for instances, outgoing connections use {low} to {high}"),
        ),
        _ => list.note(
            "ports",
            "the range of outgoing connections is not known here",
        ),
    }
}

fn isolation(list: &List) {
    if rustix::process::geteuid().is_root() {
        list.good(
            "isolation",
            "images run in a root folder of their own (chroot)",
        );
    } else {
        list.note(
            "isolation",
            "without root images run plainly and see the machine's files; use trusted images",
        );
    }
}

fn redis(list: &mut List, url: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let info = match store::redis::connect(url, Shards::default()).await {
            Ok(store) => store.info().await,
            Err(error) => Err(error),
        };
        match info {
            Ok(info) => {
                list.good(info.backend, info.durability);
                for warning in info.warnings {
                    list.note(info.backend, warning);
                }
            }
            Err(error) => list.bad("redis", error),
        }
    });
    Ok(())
}
