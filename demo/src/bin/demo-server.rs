//! The demonstration server: `PORT=8000 VERSION=1 demo-server`. The settings are those of
//! `demo::server::Settings`. `demo-server check URL [HOST]` is its smoke test instead.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use demo::server::{Settings, check, run};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().map(PathBuf::from).unwrap_or_default();
    let words: Vec<String> = arguments
        .filter_map(|word| word.into_string().ok())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match words.as_slice() {
        [] => {
            let settings = Settings::read(|name| std::env::var(name).ok(), &program)?;
            runtime.block_on(run(settings))
        }
        ["check", url] => runtime.block_on(check(url, None)),
        ["check", url, host] => runtime.block_on(check(url, Some(host))),
        _ => anyhow::bail!("{words:?} is not understood: write check URL [HOST], or nothing"),
    }
}
