//! The demonstration server: `PORT=8000 VERSION=1 demo-server`. The settings are those of
//! `demo::server::Settings`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use demo::server::{Settings, run};

fn main() -> Result<ExitCode> {
    let program = std::env::args_os()
        .next()
        .map(PathBuf::from)
        .unwrap_or_default();
    let settings = Settings::read(|name| std::env::var(name).ok(), &program)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(settings))
}
