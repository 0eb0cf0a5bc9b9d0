//! The demonstration's worker: `PORT=8000 QUEUE=127.0.0.1:9000 demo-worker`. The settings are those
//! of `demo::worker::Settings`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use demo::worker::{Settings, run};

fn main() -> Result<ExitCode> {
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(settings))
}
