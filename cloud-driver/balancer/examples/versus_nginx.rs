//! The balancer against nginx: same backend, same number of workers, keep-alive on both sides, logs
//! off, alternating runs. Prints a table and ends with 1 when a bound is not held.
//!
//! Needs the Debian packages `nginx-light` and `wrk`, and a release build of the balancer beside this
//! program (`cargo build --release -p balancer`), or its path in `BALANCER_BIN`. `RUN_SECONDS`, `ROUNDS`,
//! `CONNECTIONS` and `WORKERS` change the defaults 5, 3, 64 and 2.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Clock ticks a second in `/proc/<pid>/stat`; fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// A process that ends, with its workers, when this is dropped.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(child.map_err(|e| format!("{command:?}: {e}"))?))
    }

    /// The process and its children.
    fn pids(&self) -> Vec<u32> {
        let pid = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }

    /// Seconds of processor time so far, user and system.
    fn cpu(&self) -> f64 {
        let ticks = self.pids().into_iter().filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
            let user: f64 = fields.next()?.parse().ok()?;
            let system: f64 = fields.next()?.parse().ok()?;
            Some(user + system)
        });
        ticks.sum::<f64>() / TICKS
    }

    fn resident_kib(&self) -> u64 {
        let resident = self.pids().into_iter().filter_map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        resident.sum()
    }
}

impl Drop for Program {
    /// Asked first: a killed nginx would leave its workers behind.
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        let _asked = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::yield_now();
        }
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// One run of wrk.
#[derive(Clone, Copy)]
struct Run {
    per_second: f64,
    cpu_per_million: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
    given.unwrap_or(default)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err(format!("nobody listens on port {port}").into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

fn nginx(folder: &Path, name: &str, workers: u64, http: &str, port: u16) -> Result<Program> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    let f = folder.display();
    let text = format!(
        "daemon off; worker_processes {workers}; pid {f}/pid; error_log {f}/error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {f}/body;\n\
         proxy_temp_path {f}/proxy; fastcgi_temp_path {f}/fastcgi; uwsgi_temp_path {f}/uwsgi;\n\
         scgi_temp_path {f}/scgi;\n{http} }}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text)?;
    let program = Program::start(
        Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file),
    )?;
    wait_for(port)?;
    Ok(program)
}

fn balancer(folder: &Path, workers: u64, backend: u16) -> Result<(Program, u16)> {
    let beside = std::env::current_exe()?;
    let beside = beside
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("balancer"));
    let given = std::env::var_os("BALANCER_BIN").map(PathBuf::from);
    let path = given.or(beside).ok_or("no path of the balancer")?;
    let port = free_port()?;
    let data = folder.join("balancer");
    let program = Program::start(
        Command::new(path)
            .arg("--data")
            .arg(&data)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--workers", &workers.to_string()]),
    )?;
    wait_for(port)?;
    let config = serde_json::json!({
        "routes": [{"path": "/", "loadBalancer": "all"}],
        "loadBalancers": [{"name": "all", "groups": [{
            "name": "only", "weight": 1,
            "instances": [{"id": "one", "address": format!("127.0.0.1:{backend}"), "role": "serve"}],
        }]}],
    });
    let socket = data.join(balancer::ADMIN_SOCKET);
    let begun = Instant::now();
    loop {
        let answer = admin(&socket, "PUT", "/v1/config", &config.to_string());
        if answer
            .as_ref()
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        {
            break;
        }
        if begun.elapsed() > Duration::from_secs(5) {
            return Err(format!("balancer does not take its configuration: {answer:?}").into());
        }
        std::thread::yield_now();
    }
    while !admin(&socket, "GET", "/v1/state", "")?.contains("\"state\":\"serving\"") {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err("the backend never served".into());
        }
        std::thread::yield_now();
    }
    Ok((program, port))
}

fn admin(socket: &Path, method: &str, path: &str, body: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: b\r\nif-match: \"*\"\r\nx-fence: 1\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn wrk(program: &Program, port: u16, seconds: u64, connections: u64) -> Result<Run> {
    let before = program.cpu();
    let output = Command::new("wrk")
        .args([
            "-t1",
            "-c",
            &connections.to_string(),
            "-d",
            &format!("{seconds}s"),
            "--latency",
        ])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .map_err(|e| format!("wrk: {e}; install the package wrk"))?;
    let used = program.cpu() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("requests failed:\n{text}").into());
    }
    let after = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        let word = line.and_then(|line| line.split_whitespace().last());
        word.map(str::to_owned)
            .ok_or_else(|| format!("no {name} in\n{text}"))
    };
    let requests = text.lines().find(|line| line.contains(" requests in "));
    let requests: f64 = requests
        .and_then(|line| line.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .ok_or("no number of requests")?;
    Ok(Run {
        per_second: after("Requests/sec:")?.parse()?,
        cpu_per_million: used / requests * 1e6,
        p50_ms: milliseconds(&after("50%")?)?,
        p99_ms: milliseconds(&after("99%")?)?,
    })
}

fn milliseconds(text: &str) -> Result<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    Err(format!("no time: {text}").into())
}

fn median(runs: &[Run], of: fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn compare() -> Result<bool> {
    let (seconds, rounds) = (number("RUN_SECONDS", 5), number("ROUNDS", 3));
    let (connections, workers) = (number("CONNECTIONS", 64), number("WORKERS", 2));
    let folder = std::env::temp_dir().join(format!("versus-nginx-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let backend_port = free_port()?;
    let answer = "a".repeat(128);
    let backend_http = format!(
        "server {{ listen 127.0.0.1:{backend_port}; location / {{ return 200 \"{answer}\"; }} }}"
    );
    let _backend = nginx(&folder, "backend", 1, &backend_http, backend_port)?;
    let nginx_port = free_port()?;
    let proxy_http = format!(
        "upstream backend {{ server 127.0.0.1:{backend_port}; keepalive 256;\n\
         keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{nginx_port}; location / {{ proxy_pass http://backend;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}"
    );
    let nginx = nginx(&folder, "proxy", workers, &proxy_http, nginx_port)?;
    let (ours, our_port) = balancer(&folder, workers, backend_port)?;

    println!("{connections} connections kept alive, {workers} workers, {seconds} s a run");
    println!(
        "{:>10} {:>12} {:>16} {:>9} {:>9}",
        "", "requests/s", "CPU s/million", "p50 ms", "p99 ms"
    );
    let (mut theirs_runs, mut our_runs) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        for (name, program, port, runs) in [
            ("nginx", &nginx, nginx_port, &mut theirs_runs),
            ("balancer", &ours, our_port, &mut our_runs),
        ] {
            // The first round warms both up and is not counted.
            let run = wrk(
                program,
                port,
                if round == 0 { 1 } else { seconds },
                connections,
            )?;
            if round > 0 {
                println!(
                    "{name:>10} {:>12.0} {:>16.1} {:>9.2} {:>9.2}",
                    run.per_second, run.cpu_per_million, run.p50_ms, run.p99_ms
                );
                runs.push(run);
            }
        }
    }
    let ratio = |of: fn(&Run) -> f64| median(&our_runs, of) / median(&theirs_runs, of);
    let (rate, cpu) = (ratio(|r| r.per_second), ratio(|r| r.cpu_per_million));
    let p99 = ratio(|r| r.p99_ms);
    println!(
        "balancer ÷ nginx, medians: requests/s {rate:.2} (≥ 0.7), CPU {cpu:.2} (≤ 1.4), p99 {p99:.2} (≤ 2)"
    );
    println!(
        "resident: nginx {} KiB, balancer {} KiB",
        nginx.resident_kib(),
        ours.resident_kib()
    );
    drop((nginx, ours, _backend));
    std::fs::remove_dir_all(&folder)?;
    Ok(rate >= 0.7 && cpu <= 1.4 && p99 <= 2.0)
}

fn main() -> ExitCode {
    for needed in ["/usr/sbin/nginx", "/usr/bin/wrk"] {
        if !Path::new(needed).exists() {
            println!("skipped: {needed} is missing; install nginx-light and wrk");
            return ExitCode::SUCCESS;
        }
    }
    match compare() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("a bound is not held");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("versus_nginx: {error}");
            ExitCode::FAILURE
        }
    }
}
