//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use balancer::{Endpoint, EndpointError, MAX_OTLP_INTERVAL_MS};

/// How to use it.
pub(crate) const USAGE: &str = "balancer --data FOLDER [options]

  --data FOLDER             folder of journal and admin socket; made if absent
  --listen IP:PORT          where clients connect; may be given more than once; default:
                            127.0.0.1:8080
  --workers N               worker threads; default: one per processor, at most 2
  --max-connections N       connections of clients at a time; default: 16384
  --handover                take the sockets over from the balancer that runs in this folder;
                            when none does, begin as usual
  --drain-timeout-ms N      how long tunnels may go on after a successor took over; default: 60000
  --metrics-listen IP:PORT  answer GET /metrics there too, on loopback only
  --otlp-endpoint URL       send the figures to URL/v1/metrics as OTLP in JSON, over HTTP
  --otlp-interval-ms N      how often; default: 10000
  --version, --help";

/// Port on loopback when nothing else is asked for.
const DEFAULT_PORT: u16 = 8080;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) data: PathBuf,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) workers: usize,
    pub(crate) most_connections: usize,
    pub(crate) handover: bool,
    pub(crate) drain_timeout_ms: u64,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) otlp: Option<Endpoint>,
    pub(crate) otlp_interval: Duration,
}

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ArgumentError {
    /// Unknown.
    #[error("{0} is not known; see --help")]
    Unknown(String),
    /// Its value is missing.
    #[error("{0} needs a value")]
    NoValue(String),
    /// Its value is none of its kind.
    #[error("{name}: \"{value}\" is not {expected}")]
    Value {
        name: String,
        value: String,
        expected: String,
    },
    /// Figures cannot be sent there.
    #[error("{name}: {source}")]
    Endpoint {
        name: String,
        #[source]
        source: EndpointError,
    },
    /// A part that has no default.
    #[error("{0} is missing; see --help")]
    Missing(&'static str),
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Run(Arguments),
    Help,
    Version,
}

/// Reads the command line, without the program's name.
pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Asked, ArgumentError> {
    let mut arguments = arguments;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut data = None;
    let mut read = Arguments {
        data: PathBuf::new(),
        listen: Vec::new(),
        workers: processors.clamp(1, 2),
        most_connections: 16_384,
        handover: false,
        drain_timeout_ms: 60_000,
        metrics_listen: None,
        otlp: None,
        otlp_interval: Duration::from_secs(10),
    };
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| ArgumentError::NoValue(name.clone()))
        };
        match name.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--version" | "-V" => return Ok(Asked::Version),
            "--handover" => read.handover = true,
            "--data" => data = Some(PathBuf::from(value()?)),
            "--listen" => read.listen.push(parse(&name, &value()?, "IP:PORT")?),
            "--workers" => read.workers = count(&name, &value()?, 64)?,
            "--max-connections" => read.most_connections = count(&name, &value()?, 1 << 20)?,
            "--drain-timeout-ms" => {
                read.drain_timeout_ms = parse(&name, &value()?, "a whole number")?;
            }
            "--metrics-listen" => {
                let text = value()?;
                let address: SocketAddr = parse(&name, &text, "IP:PORT")?;
                if !address.ip().is_loopback() {
                    return Err(no_value(&name, &text, "an address of loopback"));
                }
                read.metrics_listen = Some(address);
            }
            "--otlp-endpoint" => {
                let endpoint = value()?.parse();
                let wrong = |source| ArgumentError::Endpoint {
                    name: name.clone(),
                    source,
                };
                read.otlp = Some(endpoint.map_err(wrong)?);
            }
            "--otlp-interval-ms" => {
                let ms = count(&name, &value()?, MAX_OTLP_INTERVAL_MS as usize)?;
                read.otlp_interval = Duration::from_millis(ms as u64);
            }
            _ => return Err(ArgumentError::Unknown(name)),
        }
    }
    read.data = data.ok_or(ArgumentError::Missing("--data"))?;
    if read.listen.is_empty() {
        read.listen
            .push(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)));
    }
    Ok(Asked::Run(read))
}

fn parse<T: std::str::FromStr>(
    name: &str,
    value: &str,
    expected: &'static str,
) -> Result<T, ArgumentError> {
    value.parse().map_err(|_| no_value(name, value, expected))
}

fn no_value(name: &str, value: &str, expected: &str) -> ArgumentError {
    ArgumentError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

fn count(name: &str, value: &str, most: usize) -> Result<usize, ArgumentError> {
    let count = parse(name, value, "a number from 1 on")?;
    if (1..=most).contains(&count) {
        return Ok(count);
    }
    Err(no_value(name, value, "within its bounds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Asked, ArgumentError> {
        read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_command_line_says_what_is_wrong_with_it() {
        for (line, error) in [
            ("--listen 127.0.0.1:1", "--data is missing; see --help"),
            ("--data", "--data needs a value"),
            ("--data d --listen x", "--listen: \"x\" is not IP:PORT"),
            (
                "--data d --workers 0",
                "--workers: \"0\" is not within its bounds",
            ),
            (
                "--data d --metrics-listen 0.0.0.0:1",
                "--metrics-listen: \"0.0.0.0:1\" is not an address of loopback",
            ),
            (
                "--data d --otlp-endpoint http://u:secret@h:1",
                "--otlp-endpoint: \"http://…@h:1\" is not http://HOST:PORT without user, query and \
                 TLS; a collector on this machine may add TLS",
            ),
            (
                "--data d --otlp-interval-ms 0",
                "--otlp-interval-ms: \"0\" is not within its bounds",
            ),
            ("--nonsense", "--nonsense is not known; see --help"),
        ] {
            assert_eq!(words(line).unwrap_err().to_string(), error);
        }
        let Ok(Asked::Run(run)) = words("--data d") else {
            panic!("not read");
        };
        assert_eq!(run.listen, [SocketAddr::from(([127, 0, 0, 1], 8080))]);
        let Ok(Asked::Run(run)) = words("--data d --listen 127.0.0.1:1 --workers 3 --handover")
        else {
            panic!("not read");
        };
        assert_eq!((run.workers, run.handover, run.listen.len()), (3, true, 1));
    }
}
