//! The balancer against nginx: the same instances behind both, the same number of workers, alternating runs
//! of the same client. Ratios count, not absolutes: client, proxy and instances share the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use servers::port;
use tests::census::{self, Role};
use tests::http::Client;
use tests::program::{self, Program, installed};
use tests::{Setup, World, balancer, eventually, measure, world};

use crate::Row;

const RUNS: usize = 3;
const SECONDS: u32 = 8;
const CONNECTIONS: u32 = 64;
const ACCOUNT: &str = "prod";

/// What one run of the client and one proxy came to.
#[derive(Debug, Clone, Copy)]
struct Run {
    requests_per_second: f64,
    p99_ms: f64,
    cpu_us_per_request: f64,
}

pub(crate) async fn measure() -> Result<Vec<Row>> {
    for package in ["nginx", "wrk"] {
        ensure!(
            installed(package) || Path::new("/usr/sbin/nginx").exists(),
            "{package} is missing"
        );
    }
    let world = World::up(Setup::default()).await?;
    let image = world.push(&tests::image::Image::version("1")).await?;
    world
        .deploy(ACCOUNT, &world.reference(&image), "none", "SUCCEEDED")
        .await?;
    world.require_version(ACCOUNT, "1").await?;
    let state = balancer::state(&world.stack.data).await?;
    let instances = state["instances"]
        .as_array()
        .context("the state has no instances")?;
    let addresses = instances
        .iter()
        .filter_map(|instance| instance["address"].as_str().map(str::to_owned))
        .collect::<Vec<_>>();
    ensure!(!addresses.is_empty(), "no addresses in {state}");
    let workers = workers(&state);

    let nginx = Nginx::start(&world.folder()?, &addresses, workers).await?;
    let ours: Vec<i32> = census::of(&world.stack.data)
        .into_iter()
        .filter(|process| process.role == Role::Balancer)
        .map(|process| process.pid)
        .collect();
    let (mut of_nginx, mut of_balancer) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let theirs = run_once(nginx.port, &nginx.processes()?).await?;
        let own = run_once(world.stack.balancer_port, &ours).await?;
        // The first pair warms up.
        if run > 0 {
            of_nginx.push(theirs);
            of_balancer.push(own);
        }
    }
    let compare = |name: &str, promised, unit: &str, of: fn(&Run) -> f64| {
        let ratios: Vec<String> = of_balancer
            .iter()
            .zip(&of_nginx)
            .map(|(own, theirs)| format!("{:.2}", of(own) / of(theirs)))
            .collect();
        let values = |runs: &[Run]| {
            runs.iter()
                .map(|run| format!("{:.1}", of(run)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        Row::new(
            format!("balancer ÷ nginx, {name}, {workers} workers, keep-alive, {RUNS} pairs"),
            promised,
            format!(
                "{} ({} to {} {unit})",
                ratios.join(", "),
                values(&of_balancer),
                values(&of_nginx)
            ),
        )
    };
    Ok(vec![
        compare("processor per request", "≤ 1.4", "µs", |run| {
            run.cpu_us_per_request
        }),
        compare("requests per second", "≥ 0.7", "/s", |run| {
            run.requests_per_second
        }),
        compare("p99", "≤ 2", "ms", |run| run.p99_ms),
    ])
}

/// The balancer's own word on its workers; as many as processors if it says none.
fn workers(state: &serde_json::Value) -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    state["workers"].as_u64().unwrap_or(processors as u64)
}

async fn run_once(port: u16, processes: &[i32]) -> Result<Run> {
    let used = || -> Result<Duration> { processes.iter().map(|pid| measure::cpu(*pid)).sum() };
    let before = used()?;
    let (host, url) = (
        format!("Host: {}", world::host(ACCOUNT)),
        format!("http://127.0.0.1:{port}/"),
    );
    let (seconds, connections) = (format!("{SECONDS}s"), CONNECTIONS.to_string());
    let arguments = [
        "-t1",
        "-c",
        &connections,
        "-d",
        &seconds,
        "--latency",
        "-H",
        &host,
        &url,
    ];
    let printed = program::run(Path::new("wrk"), arguments).await?;
    let spent = used()?.saturating_sub(before);
    ensure!(
        !printed.contains("Non-2xx"),
        "answers were no 2xx:\n{printed}"
    );
    let requests = number(&printed, " requests in", true)?;
    Ok(Run {
        requests_per_second: number(&printed, "Requests/sec:", false)?,
        p99_ms: latency(&printed)?,
        cpu_us_per_request: spent.as_secs_f64() * 1e6 / requests.max(1.0),
    })
}

/// The number before or after a mark in what `wrk` printed.
fn number(printed: &str, mark: &str, before: bool) -> Result<f64> {
    let line = printed
        .lines()
        .find(|line| line.contains(mark))
        .context("wrk printed no figures")?;
    let (left, right) = line.split_once(mark).context("wrk printed no figures")?;
    let text = if before { left } else { right };
    text.trim()
        .parse()
        .with_context(|| format!("no number in {line:?}"))
}

fn latency(printed: &str) -> Result<f64> {
    let line = printed
        .lines()
        .find(|line| line.trim().starts_with("99%"))
        .context("no 99%")?;
    let text = line.trim().trim_start_matches("99%").trim();
    let (unit, factor) = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)]
        .into_iter()
        .find(|(unit, _)| text.ends_with(unit))
        .context("a latency without a unit")?;
    let number: f64 = text
        .trim_end_matches(unit)
        .parse()
        .with_context(|| format!("no number in {line:?}"))?;
    Ok(number * factor)
}

/// A throwaway nginx. It ends when this is dropped.
struct Nginx {
    port: u16,
    program: Program,
}

impl Nginx {
    async fn start(folder: &Path, addresses: &[String], workers: u64) -> Result<Self> {
        let folder: PathBuf = folder.join("nginx");
        std::fs::create_dir_all(&folder).context("cannot create nginx's folder")?;
        let port = port::free();
        let servers: String = addresses
            .iter()
            .map(|address| format!("server {address}; "))
            .collect();
        let f = folder.display();
        let configuration = format!(
            "daemon off; worker_processes {workers}; pid {f}/pid; error_log {f}/error;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; client_body_temp_path {f}/body; proxy_temp_path {f}/proxy;\n\
             fastcgi_temp_path {f}/fastcgi; uwsgi_temp_path {f}/uwsgi; scgi_temp_path {f}/scgi;\n\
             keepalive_requests 1000000000;\n\
             upstream instances {{ {servers} keepalive 256; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://instances;\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }} }}\n"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration).context("cannot write nginx's configuration")?;
        let program = Program::start(
            Path::new("/usr/sbin/nginx"),
            [
                "-p".as_ref(),
                folder.as_os_str(),
                "-c".as_ref(),
                file.as_os_str(),
            ],
            &[],
            &folder.join("log"),
        )?;
        let client = Client::port(port);
        eventually(
            "nginx answers",
            Duration::from_secs(10),
            async || match client.get("/").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.text()),
                Err(error) => Err(format!("{error:#}\n{}", program.tail())),
            },
        )
        .await?;
        Ok(Self { port, program })
    }

    /// The master and its workers.
    fn processes(&self) -> Result<Vec<i32>> {
        let master = self.program.pid()?.as_raw_nonzero().get();
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))
            .context("cannot read nginx's workers")?;
        let workers = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        Ok(std::iter::once(master).chain(workers).collect())
    }
}

impl Drop for Nginx {
    /// A killed master would leave its workers behind.
    fn drop(&mut self) {
        for pid in self.processes().unwrap_or_default().into_iter().rev() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
