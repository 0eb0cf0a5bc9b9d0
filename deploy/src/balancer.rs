//! `gennaker balancer`: the load balancer of a data folder.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use cloud_driver::Config;
use cloud_driver::provider::local::upgrade::upgrade_balancer;

/// Replaces it by this installation's, and says which process serves now.
pub(crate) fn upgrade(data: &Path) -> anyhow::Result<ExitCode> {
    let data = data
        .canonicalize()
        .with_context(|| format!("there is no folder {}", data.display()))?;
    let config = Config {
        data,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let upgraded = runtime.block_on(upgrade_balancer(&config))?;
    println!(
        "process {} serves; process {} ends when its last connection does",
        upgraded.now, upgraded.before
    );
    Ok(ExitCode::SUCCESS)
}
