//! Load, and what came of it: as much as goes, for the processor time of a request; and at a fixed rate,
//! far from what any of the servers can do, for the time it takes.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::cases::{Case, Kind};
use crate::fresh;
use crate::servers::Server;

/// Who makes requests as fast as they are answered.
pub(crate) const WRK: &str = "/usr/bin/wrk";
/// Who makes them at a rate, and in HTTP/2.
pub(crate) const H2LOAD: &str = "/usr/bin/h2load";

/// Requests that one HTTP/2 connection has under way at the same time.
const STREAMS: u64 = 10;

/// How much load is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Seconds it lasts.
    pub(crate) seconds: u64,
    /// Connections; HTTP/2 has a fourth of them, with several requests each.
    pub(crate) connections: u64,
    /// Requests a second at a fixed rate.
    pub(crate) rate: u64,
}

/// What a server spent on as many requests as it could answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// Seconds of processor time.
    pub(crate) cpu: f64,
    /// For so many requests.
    pub(crate) requests: f64,
    /// In so many seconds.
    pub(crate) seconds: f64,
}

impl Load {
    /// As many requests as go.
    ///
    /// # Errors
    /// When a request fails or the client does.
    pub(crate) fn most(&self, case: Case, server: &Server) -> Result<Spent> {
        let before = server.program.cpu();
        let requests = if case.kind.is_http2() {
            self.h2load_most(case, server)?
        } else {
            self.wrk(case, server)?
        };
        Ok(Spent {
            cpu: server.program.cpu() - before,
            requests,
            seconds: as_f64(self.seconds),
        })
    }

    /// How long requests at the fixed rate took, µs.
    ///
    /// # Errors
    /// When a request fails or the client does.
    pub(crate) fn times(&self, case: Case, server: &Server, folder: &Path) -> Result<Vec<u64>> {
        match case.kind {
            Kind::New => fresh::times(server.plain, case.path(), self),
            Kind::Kept | Kind::Http2 | Kind::Tls | Kind::TlsHttp2 => {
                self.h2load_paced(case, server, folder)
            }
        }
    }

    fn wrk(&self, case: Case, server: &Server) -> Result<f64> {
        let mut command = Command::new(WRK);
        command
            .args(["-t1", "-c", &self.connections.to_string()])
            .args(["-d", &format!("{}s", self.seconds)]);
        if case.kind == Kind::New {
            command.args(["-H", "Connection: close"]);
        }
        let text = printed(command.arg(case.url(server)))?;
        if text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(format!("requests to {} failed:\n{text}", server.name).into());
        }
        let line = text.lines().find(|line| line.contains(" requests in "));
        let requests = line.and_then(|line| line.split_whitespace().next());
        Ok(requests
            .ok_or_else(|| format!("no number of requests in\n{text}"))?
            .parse()?)
    }

    fn h2load(&self, case: Case, server: &Server) -> (Command, u64) {
        let mut command = Command::new(H2LOAD);
        let clients = if case.kind.is_http2() {
            command.args(["-m", &STREAMS.to_string()]);
            (self.connections / 4).max(1)
        } else {
            command.arg("--h1");
            self.connections
        };
        command
            .args(["-t1", "-c", &clients.to_string()])
            .args(["-D", &self.seconds.to_string()])
            .arg(case.url(server));
        (command, clients)
    }

    fn h2load_most(&self, case: Case, server: &Server) -> Result<f64> {
        let (mut command, _) = self.h2load(case, server);
        let text = printed(&mut command)?;
        // "requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout"
        let line = text.lines().find(|line| line.starts_with("requests:"));
        let count = |what: &str| {
            let mut parts = line?.split([',', ':']);
            let part = parts.find_map(|part| part.trim().strip_suffix(what))?;
            part.trim().parse::<f64>().ok()
        };
        match (count(" succeeded"), count(" failed"), count(" errored")) {
            (Some(done), Some(0.0), Some(0.0)) if done > 0.0 => Ok(done),
            _ => Err(format!("requests to {} failed:\n{text}", server.name).into()),
        }
    }

    /// Microseconds of each request.
    fn h2load_paced(&self, case: Case, server: &Server, folder: &Path) -> Result<Vec<u64>> {
        let log = folder.join("times");
        let (mut command, clients) = self.h2load(case, server);
        let each = as_f64(self.rate) / as_f64(clients);
        command.args(["--rps", &each.to_string()]);
        command.arg(format!("--log-file={}", log.display()));
        let text = printed(&mut command)?;
        let lines = std::fs::read_to_string(&log)?;
        std::fs::remove_file(&log)?;
        let mut times = Vec::new();
        for line in lines.lines() {
            let mut columns = line.split('\t');
            let (_, status, us) = (columns.next(), columns.next(), columns.next());
            match (status, us.map(str::parse)) {
                (Some("200"), Some(Ok(us))) => times.push(us),
                _ => {
                    let why = format!("a request to {} failed: {line}\n{text}", server.name);
                    return Err(why.into());
                }
            }
        }
        // A rate that cannot be kept says nothing of times.
        let wanted = as_f64(self.rate * self.seconds);
        if as_f64(times.len() as u64) < wanted * 0.9 {
            let count = times.len();
            let why = format!(
                "{} answered {count} requests instead of {wanted}; make the rate smaller",
                server.name
            );
            return Err(why.into());
        }
        Ok(times)
    }
}

fn printed(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{text}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The time within which 99 % were answered, ms.
///
/// # Errors
/// When there are none.
pub(crate) fn p99_ms(times: &[Vec<u64>]) -> Result<f64> {
    let mut times = times.concat();
    times.sort_unstable();
    let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
    let us = times.get(at).ok_or("no request was made")?;
    Ok(as_f64(*us) / 1e3)
}

/// A count as a number to be divided; none here has more than 52 bits.
pub(crate) fn as_f64(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let number = count as f64;
    number
}
