//! `gennaker execution`: the event log of an execution, written out, folded and checked.
//!
//! It is read from whoever holds it: a running installation over its REST interface, a Redis, the data folder of
//! one that was stopped, or a file that was written before.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use orchestrator::executions::Executions;
use orchestrator::record::ENGINE;
use orchestrator::replay::{Export, Verified};
use orchestrator::stage::Catalog;
use store::{Opening, Shared};

use crate::cli::{Execution, LogSource, ReplayExecution};
use crate::folder;
use crate::ground::Place;
use crate::up::config;

/// The variable with an API token, where people have to authenticate.
const TOKEN: &str = "GENNAKER_TOKEN";

/// Runs the command.
pub(crate) fn run(order: &Execution) -> anyhow::Result<ExitCode> {
    match order {
        Execution::Export(options) => {
            let text = log(&options.id, &options.source)?;
            std::io::stdout().lock().write_all(text.as_bytes())?;
        }
        Execution::Replay(options) => replay(options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn replay(options: &ReplayExecution) -> anyhow::Result<()> {
    let id = options.id.as_deref();
    let text = match (&options.file, id) {
        (Some(file), _) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?,
        (None, Some(id)) => log(id, &options.source)?,
        (None, None) => bail!("name an execution, or --file"),
    };
    let export = Export::read(&text)?;
    if let Some(id) = id {
        let found = &export.execution;
        ensure!(
            found == id,
            "this is the log of execution {found}, not of {id}"
        );
    }
    let settings = orchestrator::settings(&config::orchestrator(&options.source.data)?);
    let mut output = std::io::stdout().lock();
    if options.verify {
        writeln!(
            output,
            "{}",
            told(&export.execution, &export.verify(&Catalog, &settings)?)
        )?;
    }
    let last = u64::try_from(export.entries.len()).unwrap_or(u64::MAX);
    if !options.verify || options.to.is_some() {
        let execution = export.at(options.to.unwrap_or(last))?;
        serde_json::to_writer_pretty(&mut output, &execution.to_json())?;
        writeln!(output)?;
    }
    Ok(())
}

/// What was found of a log that is whole.
fn told(id: &str, found: &Verified) -> String {
    let mut text = format!(
        "execution {id}: {} entries are whole, {} hashes are equal, {} entries were decided again by engine {ENGINE} \
         with the same result",
        found.entries, found.hashed, found.again
    );
    for (engine, entries) in &found.others {
        text.push_str(&format!(
            "\n{entries} entries were decided by another engine or by other settings ({engine}) and not again: use that \
             build, and --data with its gennaker.yml, to do so"
        ));
    }
    text
}

/// The log as JSON lines.
fn log(id: &str, source: &LogSource) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        if let Some(url) = &source.redis {
            let opened = Place::Redis(url.clone()).open(Opening::Find).await?;
            return stored(opened.shared(), &source.data, id).await;
        }
        if let Some(url) = &source.url {
            return served(url, id).await;
        }
        let data = &source.data;
        if data.exists() && folder::is_held(data)? {
            let port = folder::holder(data).map(|holder| holder.port);
            let port =
                port.with_context(|| format!("who holds {} does not say where", data.display()))?;
            return served(&format!("http://127.0.0.1:{port}"), id).await;
        }
        of_folder(data, id).await
    })
}

/// From the store of an installation that was stopped.
async fn of_folder(data: &Path, id: &str) -> anyhow::Result<String> {
    let file = data.join("store.redb");
    if !file.is_file() {
        bail!(
            "nothing runs on data folder {}, and no store is in it; name --url, --redis, --file or another --data",
            data.display()
        );
    }
    // Nobody starts on it meanwhile.
    let held = folder::wait_free(data, Duration::ZERO)?;
    let held = held.with_context(|| format!("data folder {} is held; repeat", data.display()))?;
    let opened = Place::File(file).open(Opening::Find).await?;
    let text = stored(opened.shared(), data, id).await;
    drop(held);
    text
}

async fn stored(store: Shared, data: &Path, id: &str) -> anyhow::Result<String> {
    let archive = config::orchestrator(data)?.archive.open();
    let (head, entries) = Executions::with_archive(store, archive).export(id).await?;
    let mut text = format!("{head}\n");
    for entry in entries {
        text.push_str(&entry);
        text.push('\n');
    }
    Ok(text)
}

/// From the REST interface of a running installation.
async fn served(url: &str, id: &str) -> anyhow::Result<String> {
    let url = format!("{}/executions/{id}/log", url.trim_end_matches('/'));
    let mut request = runtime::egress::operator_client()?.get(&url);
    if let Ok(token) = std::env::var(TOKEN) {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let failed = || format!("cannot read {url}; another installation is named by --url");
    let answer = request.send().await.with_context(failed)?;
    let status = answer.status();
    let text = answer.text().await.with_context(failed)?;
    match status.as_u16() {
        200 => Ok(text),
        401 | 403 => bail!(
            "{url} answered {status}: put an API token with READ on the application into {TOKEN}"
        ),
        _ => bail!("{url} answered {status}: {}", text.trim()),
    }
}
