//! `gennaker doctor`: what is missing or wrong, in one list.

use std::fmt::Display;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::ExitCode;

use cloud_driver::provider::local::upgrade::pending;
use store::redis::RedisSettings;
use store::{Presence, Shards};

use crate::cli::Up;
use crate::{folder, up};

/// Less free space than this stops new work.
const FREE: u64 = 256 * 1024 * 1024;

/// One line; nobody has to read to the end.
fn say(kind: &str, what: &str, detail: impl Display) {
    let _gone = writeln!(std::io::stdout(), "{kind:<8}{what}: {detail}");
}

#[derive(Default)]
struct List {
    faults: usize,
}

impl List {
    fn good(&self, what: &str, detail: impl Display) {
        say("ok", what, detail);
    }

    fn note(&self, what: &str, detail: impl Display) {
        say("note", what, detail);
    }

    fn bad(&mut self, what: &str, detail: impl Display) {
        self.faults += 1;
        say("fault", what, detail);
    }
}

/// Prints the list; failure if something is wrong.
pub(crate) fn run(options: &Up) -> anyhow::Result<ExitCode> {
    let mut list = List::default();
    programs(&mut list);
    let runs = data(&mut list, &options.data)?;
    if !runs {
        own_ports(&mut list, options);
    }
    match up::settings(options) {
        Ok(settings) => {
            list.good("configuration", "can be read");
            let local = &settings.cloud_driver.local;
            ports(
                &mut list,
                u32::from(local.first_port),
                u32::from(local.last_port),
            );
            balancer(&list, &settings.cloud_driver)?;
        }
        Err(error) => list.bad("configuration", format!("{error:#}")),
    }
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

/// Whether somebody runs on the data folder.
fn data(list: &mut List, data: &Path) -> anyhow::Result<bool> {
    let shown = data.display();
    if !data.exists() {
        list.note(
            "data folder",
            format!("{shown} does not exist; gennaker up creates it"),
        );
        return Ok(false);
    }
    let runs = folder::is_held(data)?;
    if runs {
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
    Ok(runs)
}

/// Whether the two ports that `up` listens on can be had.
fn own_ports(list: &mut List, options: &Up) {
    // A load balancer that outlived its control plane has its port already.
    let balancer = folder::holder(&options.data).map(|first| first.balancer_port);
    for (port, option) in [
        (options.port, "--port"),
        (options.balancer_port, "--balancer-port"),
    ] {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => list.good("port", format!("{port} is free")),
            Err(_) if option == "--balancer-port" && balancer == Some(port) => {
                list.note(
                    "port",
                    format!("{port} is taken, as by the load balancer that still serves"),
                );
            }
            Err(error) => list.bad(
                "port",
                format!("{port}: {error}; choose another with {option}"),
            ),
        }
    }
}

fn ports(list: &mut List, first: u32, last: u32) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range: Vec<u32> = text
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
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

/// Whether the load balancer that runs has the settings that are configured.
fn balancer(list: &List, config: &cloud_driver::Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for change in runtime.block_on(pending(config)) {
        list.note(
            "balancer",
            format!("gennaker balancer upgrade would tell it {change}"),
        );
    }
    Ok(())
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
        match store::redis::look(&RedisSettings::new(url), Shards::default()).await {
            Ok((presence, info)) => {
                list.good(info.backend, info.durability);
                for warning in info.warnings {
                    list.note(info.backend, warning);
                }
                match presence {
                    Presence::Whole => {}
                    Presence::Absent => {
                        list.note(info.backend, "it holds no store yet, or was emptied")
                    }
                    Presence::Unfinished => list.bad(
                        info.backend,
                        "its store is half filled; run `gennaker restore` again",
                    ),
                }
            }
            Err(error) => list.bad("redis", error),
        }
    });
    Ok(())
}
