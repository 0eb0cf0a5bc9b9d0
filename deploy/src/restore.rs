//! `gennaker restore`: what the archive holds, back into a store that was lost.
//!
//! Definitions with their versions, the catalogue of archived executions, and the events that started
//! them, so that one sent again starts nothing. Schedules and what polls know begin anew at the next start, from
//! then on; so nothing runs that is not due.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use orchestrator::archive::Catalogued;
use orchestrator::definition::Restored;
use store::{Opening, Presence};

use crate::cli::Restore;
use crate::folder;
use crate::ground::{self, Place};
use crate::up::config;

/// Runs the command.
pub(crate) fn run(options: &Restore) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(restore(options))
}

async fn restore(options: &Restore) -> anyhow::Result<ExitCode> {
    let data = &options.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let data = &data.canonicalize()?;
    // Nobody starts on it meanwhile.
    let Some(held) = folder::wait_free(data, Duration::ZERO)? else {
        bail!(
            "a control plane runs on data folder {}; end it first (Ctrl-C or SIGTERM: what it deployed goes on serving)",
            data.display()
        );
    };
    let (orchestrator, trigger) = config::restoring(options.config.as_deref(), data)?;
    let archive = orchestrator
        .archive
        .open()
        .context("no archive is configured")?;
    if ground::is_empty(archive.as_ref()).await? {
        bail!(
            "the archive {} holds nothing: nothing was changed",
            archive.place()
        );
    }
    let place = Place::of(options.redis.as_ref(), data);
    if place.look().await?.0 == Presence::Whole && !options.merge {
        bail!(
            "the store {place} is not empty: nothing was changed; --merge brings back what is missing there and leaves \
             what is there as it is"
        );
    }
    let opened = place.open(Opening::Restore).await?;
    let store = opened.shared();
    let definitions = orchestrator::definition::restore(&store, &archive).await?;
    let retention = orchestrator.retention.0;
    let executions = orchestrator::archive::catalogue(&store, &archive, retention).await?;
    let past = executions
        .events
        .iter()
        .map(|event| trigger::restore::Past {
            id: event.id.clone(),
            kind: event.kind.clone(),
            at: event.at,
        });
    let retention = trigger.event_retention.0;
    let events = trigger::restore::restore(&store, retention, past.collect()).await?;
    opened.restored().await?;
    drop(held);
    println!("{}", told(&definitions, &executions, events));
    let refused: Vec<&String> = definitions
        .refused
        .iter()
        .chain(&executions.refused)
        .collect();
    for reason in &refused {
        eprintln!("gennaker: not restored: {reason}");
    }
    if !refused.is_empty() {
        eprintln!("gennaker: put them back from a backup of the archive and repeat with --merge");
    }
    Ok(ExitCode::from(u8::from(!refused.is_empty())))
}

/// How many of what are back.
fn told(definitions: &Restored, executions: &Catalogued, events: usize) -> String {
    let kinds = definitions.definitions.iter();
    let kinds: Vec<String> = kinds
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let all: usize = definitions.definitions.values().sum();
    let mut text = format!("definitions  {all} with {} versions", definitions.versions);
    if !kinds.is_empty() {
        text.push_str(&format!(" ({})", kinds.join(", ")));
    }
    text.push_str(&format!(
        "\nexecutions   {} in {} segments of the archive\nevents       {events} known again",
        executions.executions, executions.segments
    ));
    if definitions.there + executions.there > 0 {
        text.push_str(&format!(
            "\nthere before {} definitions, {} segments",
            definitions.there, executions.there
        ));
    }
    text
}
