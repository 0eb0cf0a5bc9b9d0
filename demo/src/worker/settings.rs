//! What the environment may ask of the demonstration's worker.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::SignalKind;

/// The worker's behaviour.
#[derive(Debug)]
pub struct Settings {
    /// `QUEUE`: `address:port` of the queue.
    pub queue: String,
    /// `GENNAKER_INSTANCE`, else `NAME`, else its process id: who it is to the queue.
    pub name: String,
    /// `VERSION`: shown; default `0`.
    pub version: String,
    /// `PORT`, unless `LISTEN=0`: where its hook and `/health` are, on 127.0.0.1.
    pub port: Option<u16>,
    /// `CONCURRENCY`: jobs at a time; default 1.
    pub concurrency: usize,
    /// `GENNAKER_PAUSED=true`: takes nothing before it is let.
    pub paused: bool,
    /// `DRAIN_SIGNAL`: TERM, INT, HUP, QUIT, USR1 or USR2, which tells it to take no more; default none.
    pub drain_signal: Option<SignalKind>,
    /// `ON_DRAINED`: `exit` (default) when a signal told it and nothing is left, or `stay`.
    pub exits: bool,
    /// `SICK_FILE`: while this file exists `/health` answers 503.
    pub sick_file: Option<PathBuf>,
}

impl Settings {
    /// Reads every setting through `variable`.
    ///
    /// # Errors
    /// Names the variable, its value and what is accepted.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let listens = variable("LISTEN").as_deref() != Some("0");
        let port = match variable("PORT").filter(|_| listens) {
            None => None,
            Some(text) => Some(
                text.parse()
                    .with_context(|| format!("PORT is {text:?}: use a port number"))?,
            ),
        };
        let concurrency = match variable("CONCURRENCY") {
            None => 1,
            Some(text) => match text.parse() {
                Ok(number) if (1..=64).contains(&number) => number,
                _ => bail!("CONCURRENCY is {text:?}: use 1 to 64"),
            },
        };
        let drain_signal = match variable("DRAIN_SIGNAL").as_deref() {
            None => None,
            Some("TERM") => Some(SignalKind::terminate()),
            Some("INT") => Some(SignalKind::interrupt()),
            Some("HUP") => Some(SignalKind::hangup()),
            Some("QUIT") => Some(SignalKind::quit()),
            Some("USR1") => Some(SignalKind::user_defined1()),
            Some("USR2") => Some(SignalKind::user_defined2()),
            Some(other) => {
                bail!("DRAIN_SIGNAL is {other:?}: use TERM, INT, HUP, QUIT, USR1 or USR2")
            }
        };
        let exits = match variable("ON_DRAINED").as_deref() {
            None | Some("exit") => true,
            Some("stay") => false,
            Some(other) => bail!("ON_DRAINED is {other:?}: use exit or stay"),
        };
        Ok(Self {
            queue: variable("QUEUE").context("QUEUE is not set: give the queue's address:port")?,
            name: variable("GENNAKER_INSTANCE")
                .or_else(|| variable("NAME"))
                .unwrap_or_else(|| std::process::id().to_string()),
            version: variable("VERSION").unwrap_or_else(|| "0".to_owned()),
            port,
            concurrency,
            paused: variable("GENNAKER_PAUSED").as_deref() == Some("true"),
            drain_signal,
            exits,
            sick_file: variable("SICK_FILE").map(PathBuf::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings> {
        let all: Vec<_> = [("QUEUE", "127.0.0.1:1")].iter().chain(pairs).collect();
        Settings::read(|name| {
            let found = all.iter().rev().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_bad_value_is_refused_by_name() {
        for (name, value) in [
            ("PORT", "http"),
            ("CONCURRENCY", "0"),
            ("DRAIN_SIGNAL", "KILL"),
            ("ON_DRAINED", "perhaps"),
        ] {
            let message = format!("{:#}", read(&[(name, value)]).unwrap_err());
            assert!(
                message.contains(name) && message.contains(value),
                "{message}"
            );
        }
        assert!(Settings::read(|_| None).is_err());
        let settings = read(&[("PORT", "80"), ("LISTEN", "0"), ("NAME", "n")]).unwrap();
        assert_eq!((settings.port, settings.name.as_str()), (None, "n"));
    }
}
