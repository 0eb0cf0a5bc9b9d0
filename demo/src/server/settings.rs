//! What the environment may ask of the demonstration server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::watch;

/// What the server does when it receives SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSigterm {
    /// Stop accepting, finish what is in flight, exit with 0. The default, and what a good server does.
    Drain,
    /// Exit at once: whoever is still being answered is cut.
    Exit,
    /// Do nothing: only SIGKILL ends it.
    Ignore,
}

/// The server's behaviour. Durations are milliseconds in the environment.
#[derive(Debug)]
pub struct Settings {
    /// `PORT`: the port to listen on at 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// `VERSION`: shown on the page and sent as `x-version`; default `0`.
    pub version: String,
    /// `BASE_PATH`: what paths begin with when it is reached under one, such as `/staging`; paths
    /// without it are answered too. Default: nothing.
    pub base_path: String,
    /// `CONTENT_FILE`: what `/content` serves; default `srv/content` in the image's root, which is
    /// taken to be the folder above the program's own (so it is found without a chroot too).
    pub content: PathBuf,
    /// `LATENCY_MS`: added to every answer but `/health`; default 0.
    pub latency: Duration,
    /// `ERROR_RATE`: share of answers, 0 to 1, that are 500 (`/health`, `/version` excepted), spread
    /// evenly; default 0. Held as errors per million.
    pub errors_per_million: u64,
    /// `START_DELAY_MS`: wait before listening; default 0.
    pub start_delay: Duration,
    /// `REFUSE_HEALTH=1`: `/health` answers 503 for ever.
    pub refuse_health: bool,
    /// `ON_SIGTERM`: `drain` (default), `exit` or `ignore`.
    pub on_sigterm: OnSigterm,
    /// `EXIT_AFTER_MS`: die after this time, 0 at once; unset: live.
    pub exit_after: Option<Duration>,
    /// `EXIT_CODE`: the code to die with; default 1.
    pub exit_code: u8,
    /// `ANNOUNCE`: `address:port` of an HTTP server that is told of each start, so that somebody
    /// outside can count them; unset: nobody.
    pub announce: Option<String>,
    draining: watch::Sender<bool>,
}

impl Settings {
    /// Reads every setting through `variable`; `program` is the path the server was started by.
    ///
    /// # Errors
    /// Names the variable, its value and what is accepted.
    pub fn read(variable: impl Fn(&str) -> Option<String>, program: &Path) -> Result<Self> {
        let root = program
            .parent()
            .and_then(Path::parent)
            .unwrap_or_else(|| Path::new("/"));
        let content =
            variable("CONTENT_FILE").map_or_else(|| root.join("srv/content"), PathBuf::from);
        let on_sigterm = match variable("ON_SIGTERM").as_deref() {
            None | Some("drain") => OnSigterm::Drain,
            Some("exit") => OnSigterm::Exit,
            Some("ignore") => OnSigterm::Ignore,
            Some(other) => bail!("ON_SIGTERM is {other:?}: use drain, exit or ignore"),
        };
        Ok(Self {
            port: number(&variable, "PORT")?.context("PORT is not set: give a port number")?,
            version: variable("VERSION").unwrap_or_else(|| "0".to_owned()),
            content,
            base_path: match variable("BASE_PATH") {
                Some(path) if !path.starts_with('/') => {
                    bail!("BASE_PATH is {path:?}: begin it with '/'")
                }
                path => path.unwrap_or_default().trim_end_matches('/').to_owned(),
            },
            latency: milliseconds(&variable, "LATENCY_MS")?.unwrap_or_default(),
            errors_per_million: match variable("ERROR_RATE") {
                None => 0,
                Some(text) => per_million(&text)
                    .with_context(|| format!("ERROR_RATE is {text:?}: use a number from 0 to 1"))?,
            },
            start_delay: milliseconds(&variable, "START_DELAY_MS")?.unwrap_or_default(),
            refuse_health: variable("REFUSE_HEALTH").is_some_and(|value| value == "1"),
            on_sigterm,
            exit_after: milliseconds(&variable, "EXIT_AFTER_MS")?,
            exit_code: number(&variable, "EXIT_CODE")?.unwrap_or(1),
            announce: variable("ANNOUNCE"),
            draining: watch::Sender::new(false),
        })
    }

    /// Begins the drain; a second call changes nothing.
    pub(crate) fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Tells when the drain begins.
    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}

fn number<N: std::str::FromStr>(
    variable: impl Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<N>> {
    match variable(name) {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => bail!("{name} is {text:?}: use a whole number in range"),
        },
    }
}

fn milliseconds(variable: impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<Duration>> {
    Ok(number(variable, name)?.map(Duration::from_millis))
}

/// Reads a decimal between 0 and 1 as millionths, without going through a float.
fn per_million(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let millionths: u64 = format!("{fraction:0<6}").parse().ok()?;
    let total = whole.checked_mul(1_000_000)?.checked_add(millionths)?;
    (total <= 1_000_000).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings> {
        let find = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Settings::read(find, Path::new("/rootfs/bin/demo-server"))
    }

    #[test]
    fn the_defaults_are_a_well_behaved_server() {
        let settings = read(&[("PORT", "8000")]).unwrap();
        assert_eq!(settings.port, 8000);
        assert_eq!(settings.content, Path::new("/rootfs/srv/content"));
        assert_eq!(settings.on_sigterm, OnSigterm::Drain);
        assert_eq!(
            (settings.errors_per_million, settings.exit_after),
            (0, None)
        );
    }

    #[test]
    fn a_bad_value_is_refused_by_name() {
        for (name, value) in [
            ("PORT", "http"),
            ("PORT", "70000"),
            ("ERROR_RATE", "1.5"),
            ("ERROR_RATE", "half"),
            ("ON_SIGTERM", "maybe"),
            ("LATENCY_MS", "-1"),
            ("EXIT_CODE", "300"),
            ("BASE_PATH", "shop"),
        ] {
            let message = format!(
                "{:#}",
                read(&[("PORT", "1"), (name, value)][usize::from(name == "PORT")..]).unwrap_err()
            );
            assert!(
                message.contains(name) && message.contains(value),
                "{message}"
            );
        }
    }

    #[test]
    fn an_error_rate_is_read_exactly() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1_000_000)),
            ("0.25", Some(250_000)),
            ("1.0", Some(1_000_000)),
            ("0.0000001", None),
            ("", None),
        ] {
            assert_eq!(per_million(text), expected, "{text:?}");
        }
    }
}
