//! `gennaker balancer`: the load balancer of a data folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use cloud_driver::Config;
use cloud_driver::provider::local::upgrade::{Told, upgrade_balancer};

use crate::cli::Upgrade;
use crate::{folder, up};

/// Replaces it by this installation's, and says which process serves now.
pub(crate) fn upgrade(options: &Upgrade) -> anyhow::Result<ExitCode> {
    let data = &options.data;
    let data = data
        .canonicalize()
        .with_context(|| format!("there is no folder {}", data.display()))?;
    let (config, told) = match configuration(options.config.as_deref(), &data) {
        Ok(Some(config)) => (config, Told::Configured),
        Ok(None) => {
            let config = Config {
                data,
                ..Config::default()
            };
            (config, Told::Again)
        }
        Err(error) => {
            eprintln!("gennaker: {error:#}");
            // As `up` says it; the balancer serves on.
            return Ok(ExitCode::from(64));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let upgraded = runtime.block_on(upgrade_balancer(&config, told))?;
    println!(
        "process {} serves; process {} ends when its last connection does",
        upgraded.now, upgraded.before
    );
    for change in upgraded.changes {
        println!("{change}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration of an installation: the file that was named, else the one that `up` was given, else
/// that of the data folder; none when nobody wrote one.
fn configuration(named: Option<&Path>, data: &Path) -> anyhow::Result<Option<Config>> {
    let last = folder::holder(data);
    let port = last.as_ref().map(|holder| holder.balancer_port);
    let given = last.and_then(|holder| holder.config);
    let file = match (named, given) {
        (Some(file), _) => known(file.to_owned(), "--config")?,
        (None, Some(file)) => known(file, "gennaker up --config")?,
        (None, None) => {
            let file = data.join("gennaker.yml");
            if !file.exists() {
                return Ok(None);
            }
            file
        }
    };
    up::config::cloud_driver(&file, data, port.unwrap_or_default()).map(Some)
}

/// `up` takes a file that is not there for an empty one; here that would take settings away.
fn known(file: PathBuf, by: &str) -> anyhow::Result<PathBuf> {
    if !file.exists() {
        bail!(
            "there is no configuration {}, as given by {by}; name the one that is used with --config",
            file.display()
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{Holder, hold};

    #[test]
    fn an_upgrade_reads_what_up_reads() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().canonicalize().unwrap();
        let endpoint = |named: Option<&Path>| {
            configuration(named, &data).map(|config| config.and_then(|c| c.local.otlp_endpoint))
        };
        assert!(configuration(None, &data).unwrap().is_none());
        let write = |name: &str, host: &str| {
            let text = format!("local: {{otlp-endpoint: 'http://{host}:4318'}}\ngateway: {{}}\n");
            std::fs::write(data.join(name), text).unwrap();
            data.join(name)
        };
        write("gennaker.yml", "folder");
        let host = |host: &str| Some(format!("http://{host}:4318"));
        assert_eq!(endpoint(None).unwrap(), host("folder"));
        let given = write("given.yml", "given");
        let holder = Holder {
            config: Some(given.clone()),
            ..Holder::this(8084, 8080)
        };
        drop(hold(&data, &holder).unwrap());
        assert_eq!(endpoint(None).unwrap(), host("given"));
        let named = write("named.yml", "named");
        assert_eq!(endpoint(Some(&named)).unwrap(), host("named"));
        // One that is gone is not an empty one.
        std::fs::remove_file(&given).unwrap();
        let error = endpoint(None).unwrap_err().to_string();
        assert!(
            error.contains("given.yml") && error.contains("--config"),
            "{error}"
        );
        std::fs::write(&named, "local: {otlp-endpoint: 'https://a'}").unwrap();
        let error = format!("{:#}", endpoint(Some(&named)).unwrap_err());
        assert!(
            error.contains("named.yml") && error.contains("local.otlp-endpoint"),
            "{error}"
        );
        std::fs::write(&named, "local: {metrics: 1}").unwrap();
        let error = format!("{:#}", endpoint(Some(&named)).unwrap_err());
        assert!(error.contains("metrics"), "{error}");
    }
}
