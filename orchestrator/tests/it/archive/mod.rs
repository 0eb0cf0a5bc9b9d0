//! Finished executions in the archive: moved once whatever crashes, read as if they had stayed, put
//! back to be restarted, ended when they were kept long enough.

mod crash;
pub(crate) mod dying;
mod expiry;
mod leftovers;
mod ratio;
mod through;

use std::path::Path;
use std::time::Duration;

use orchestrator::Config;
use orchestrator::archive;
use orchestrator::commit::{DONE, RETENTION};
use orchestrator::executions::{Executions, Listing};
use orchestrator_core::NOBODYS;
use runtime::config::Span;
use store::{Address, Batch, Mode, Outgoing, Shared};

use crate::rig::quick;

/// Moves what ended at once.
pub(crate) fn moving(folder: &Path) -> Config {
    Config {
        archive: archive::Config {
            folder: Some(folder.to_owned()),
            after: Span(Duration::ZERO),
            within: Span(Duration::ZERO),
            ..archive::Config::default()
        },
        ..quick()
    }
}

/// Executions as a reader with the archive sees them.
pub(crate) fn reader(store: &Shared, config: &Config) -> Executions {
    Executions::with_archive(store.clone(), config.archive.open())
}

/// All pipelines' executions, newest first, in pages of three.
pub(crate) async fn listed(executions: &Executions, asked: Listing) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let asked = Listing {
            size: 3,
            cursor,
            ..asked.clone()
        };
        let (page, next) = executions.list(&asked).await.unwrap();
        ids.extend(page.iter().map(|execution| execution.id.to_string()));
        if next.is_empty() {
            return ids;
        }
        cursor = next;
    }
}

/// Asks for a look at the finished executions of the application now.
pub(crate) async fn look(store: &Shared) {
    let shard = store.shards().of_application("app");
    let message = Outgoing {
        to: Address::new(RETENTION, DONE, NOBODYS),
        fingerprint: "end".to_owned(),
        mode: Mode::Push,
        delay_ms: 0,
        body: bytes::Bytes::new(),
    };
    let id = format!("{:032x}", rand::random::<u128>());
    let batch = Batch::new(shard, id).message(message);
    store.commit(batch).await.unwrap().unwrap();
}

/// How many finished executions of the application are in the store.
pub(crate) async fn staying(store: &Shared) -> u64 {
    let shard = store.shards().of_application("app");
    store.cardinality(shard, DONE).await.unwrap_or(u64::MAX)
}
