//! Logs of a process: one subscriber, a filter that can be changed while it
//! runs, and panics as events.

use std::sync::OnceLock;

use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// For people, on one line.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why telemetry could not be set up or changed.
#[derive(Debug, Error)]
pub enum Error {
    /// The filter does not parse.
    #[error(
        "log filter \"{filter}\" is not understood: {reason}; write for example info,store=debug"
    )]
    Filter {
        /// The offending text.
        filter: String,
        /// What the parser says.
        reason: String,
    },
    /// Somebody else installed a subscriber first.
    #[error("a log subscriber is installed already")]
    Installed,
    /// [`init`] has not been called.
    #[error("telemetry is not set up")]
    NotSetUp,
}

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter).map_err(|e| Error::Filter {
        filter: filter.to_owned(),
        reason: e.to_string(),
    })
}

/// Sends events to stderr from now on; `filter` as in `info,store=debug`.
///
/// # Errors
/// When the filter does not parse or a subscriber is installed already.
pub fn init(filter: &str, format: Format) -> Result<(), Error> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(true);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => registry.with(lines.with_ansi(false)).try_init(),
        Format::Json => registry.with(lines.json()).try_init(),
    }
    .map_err(|_| Error::Installed)?;
    FILTER.set(handle).map_err(|_| Error::Installed)?;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let text = panic
            .payload()
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        tracing::error!(place, panic = text, "a thread panicked");
        before(panic);
    }));
    Ok(())
}

/// Changes the filter of the running process.
///
/// # Errors
/// When it does not parse, or before [`init`].
pub fn set_filter(filter: &str) -> Result<(), Error> {
    let parsed = parse(filter)?;
    FILTER
        .get()
        .ok_or(Error::NotSetUp)?
        .reload(parsed)
        .map_err(|_| Error::NotSetUp)
}
