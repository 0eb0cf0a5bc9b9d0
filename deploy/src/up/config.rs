//! The configuration of all services: one file, its sections and the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use authorization::Policy;
use runtime::config::{Document, Span};
use runtime::egress;
use serde::Deserialize;

use super::demo;
use crate::cli::Up;

/// Section `egress`: what pipelines may reach.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Egress {
    /// `HOST[:PORT]` that may be reached although its address is loopback,
    /// link-local or this machine's own.
    allow: Vec<String>,
    /// How long an answer may take. Default: 30s.
    timeout: Option<Span>,
}

/// What every service is built from.
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) egress: egress::Settings,
    pub(crate) cloud_driver: cloud_driver::Config,
    pub(crate) trigger: trigger::Config,
    pub(crate) canary_judge: canary_judge::Config,
    pub(crate) gateway: gateway::Config,
    /// The rules of who may do what.
    pub(crate) policy: Arc<Policy>,
    pub(crate) orchestrator: orchestrator::Config,
}

impl Settings {
    /// The rules, where people have to authenticate.
    pub(crate) fn enforced(&self) -> Option<Arc<Policy>> {
        let enforced = self.gateway.authentication.is_enabled();
        enforced.then(|| Arc::clone(&self.policy))
    }
}

/// Reads and checks everything before a port is bound.
pub(crate) fn read(options: &Up, data: &Path) -> anyhow::Result<Settings> {
    let file = options
        .config
        .clone()
        .unwrap_or_else(|| data.join("gennaker.yml"));
    if options.demo && options.config.is_none() && !file.exists() {
        demo::write_config(&file)?;
    }
    let mut document = Document::load(&file)?;
    document.override_from(std::env::vars().filter(|(name, _)| name != "GENNAKER_LOG"));
    let mut cloud_driver = cloud_driver::Config::from_document(&mut document);
    cloud_driver.data = data.to_owned();
    cloud_driver.balancer_port = options.balancer_port;
    let trigger = document.section("trigger");
    let canary_judge: canary_judge::Config = document.section("canary-judge");
    let mut gateway: gateway::Config = document.section("gateway");
    let mut orchestrator: orchestrator::Config = document.section("orchestrator");
    let policy = Arc::new(document.section::<Policy>("authorization"));
    let section: Egress = document.section("egress");
    document
        .finish()
        .with_context(|| file.display().to_string())?;
    cloud_driver
        .check()
        .map_err(anyhow::Error::msg)
        .with_context(|| file.display().to_string())?;
    canary_judge
        .check()
        .map_err(anyhow::Error::msg)
        .with_context(|| file.display().to_string())?;
    place_archive(&mut orchestrator, data);
    orchestrator
        .archive
        .check()
        .map_err(anyhow::Error::msg)
        .with_context(|| file.display().to_string())?;
    gateway::acceptor(&gateway)
        .map_err(anyhow::Error::msg)
        .with_context(|| file.display().to_string())?;
    if !options.bind.is_loopback() && !gateway.authentication.is_enabled() {
        bail!(
            "--bind {} lets other machines in, but nobody has to authenticate: set \
             gateway.authentication in {} (gennaker user add makes a users file), or bind loopback",
            options.bind,
            file.display()
        );
    }
    let figures = cloud_driver.local.metrics_listen.as_ref();
    if let Some(figures) = figures.and_then(|text| text.parse::<SocketAddr>().ok())
        && figures.port() == options.port
        && (options.bind.is_unspecified() || options.bind == figures.ip())
    {
        bail!(
            "local.metrics-listen: {figures} is where REST interface and page are; choose another port in {}",
            file.display()
        );
    }
    if !options.bind.is_unspecified() {
        // What is listened on is a name browsers may use.
        gateway.hosts.push(options.bind.to_string());
    }
    let mut allow = options.egress_allow.clone();
    for text in &section.allow {
        allow.push(
            text.parse()
                .map_err(anyhow::Error::msg)
                .context("egress.allow")?,
        );
    }
    if options.demo {
        // The demonstration's pipeline tests what it deployed, through the balancer.
        let own = format!("127.0.0.1:{}", options.balancer_port);
        allow.push(own.parse().map_err(anyhow::Error::msg)?);
    }
    let mut egress = egress::Settings {
        allow,
        ..egress::Settings::default()
    };
    if let Some(Span(timeout)) = section.timeout {
        egress.timeout = timeout;
    }
    Ok(Settings {
        data: data.to_owned(),
        egress,
        cloud_driver,
        trigger,
        canary_judge,
        gateway,
        policy,
        orchestrator,
    })
}

/// Every process of this installation has the same data folder.
fn place_archive(orchestrator: &mut orchestrator::Config, data: &Path) {
    if orchestrator.archive.s3.is_none() {
        let folder = orchestrator.archive.folder.take();
        let folder = data.join(folder.unwrap_or_else(|| PathBuf::from("archive")));
        orchestrator.archive.folder = Some(folder);
    }
}

/// The orchestrator's part alone, for tools that read what it wrote.
pub(crate) fn orchestrator(data: &Path) -> anyhow::Result<orchestrator::Config> {
    Ok(restoring(None, data)?.0)
}

/// The cloud driver's part alone and checked, as `up` would read it from this file; its port is not in it.
pub(crate) fn cloud_driver(
    file: &Path,
    data: &Path,
    balancer_port: u16,
) -> anyhow::Result<cloud_driver::Config> {
    let mut document = Document::load(file)?;
    document.override_from(std::env::vars().filter(|(name, _)| name != "GENNAKER_LOG"));
    let mut config = cloud_driver::Config::from_document(&mut document);
    config.data = data.to_owned();
    config.balancer_port = balancer_port;
    let checked = document.finish_some().map_err(anyhow::Error::from);
    let checked = checked.and_then(|()| config.check().map_err(anyhow::Error::msg));
    checked.with_context(|| file.display().to_string())?;
    Ok(config)
}

/// The parts that say where the archive is and how long what is known again.
pub(crate) fn restoring(
    file: Option<&Path>,
    data: &Path,
) -> anyhow::Result<(orchestrator::Config, trigger::Config)> {
    let file = file.map_or_else(|| data.join("gennaker.yml"), Path::to_owned);
    let mut document = Document::load(&file)?;
    document.override_from(std::env::vars().filter(|(name, _)| name != "GENNAKER_LOG"));
    let mut orchestrator: orchestrator::Config = document.section("orchestrator");
    let trigger = document.section("trigger");
    place_archive(&mut orchestrator, data);
    Ok((orchestrator, trigger))
}
