//! Which versions of this service are alive, and what each of them can handle.
//!
//! Several versions work on one store while one replaces the other. What only another one knows (a message, a
//! type of stage or of task) is left to that one for as long as one of its processes is alive, and fails its
//! owner when there is none. So everybody says what they know, before they handle anything:
//!
//! | where, in the shard of `consumers` | content |
//! |---|---|
//! | index `consumers` | the processes, by the time until which they are taken for alive |
//! | document `consumer:<process>` | part `h`: which engine it is, and what it knows |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrator_core::{Message, stage_type, task_type};
use runtime::Shutdown;
use serde::{Deserialize, Serialize};
use store::{Batch, DocumentKey, IndexChange, IndexEntry, Order, Shard, Shared};
use tokio::sync::SetOnce;

use crate::record::{ENGINE, FINISHED};
use crate::{ids, stage, task};

/// How often a process says that it is alive.
const RENEW: Duration = Duration::from_secs(20);
/// How long it is taken for alive then, ms: a restart of the only one of a version fails nothing.
const ALIVE_MS: i64 = 60_000;
/// What was said is forgotten after this time, ms.
const FORGET_MS: i64 = 3_600_000;
/// After the store could not be reached.
const AGAIN: Duration = Duration::from_secs(1);
/// Processes looked at.
const MOST: usize = 200;
/// Deliveries whose pauses are remembered; beyond, all begin anew.
const MOST_PAUSES: usize = 10_000;
/// The first pause of what is left to others, ms; each further one is twice as long.
const FIRST_PAUSE_MS: u64 = 1_000;
/// The longest, ms.
const LONGEST_PAUSE_MS: u64 = 30_000;

const INDEX: &str = "consumers";
const PART: &str = "h";

/// A task run as such, whatever its type.
pub(crate) const RUN: &str = "run";
/// A start that was asked for.
pub(crate) const START: &str = "start";
/// The end of an operation.
pub(crate) const OPERATION: &str = "operation";

/// What a process says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    engine: String,
    knows: BTreeSet<String>,
}

impl Said {
    fn own() -> Self {
        let kinds = Message::KINDS.iter().chain(std::iter::once(&FINISHED));
        let messages = kinds.map(|kind| message_kind(kind));
        let stages = stage::STAGES.iter().map(|s| stage_type(s.kind()));
        let own_tasks = stage::STAGES.iter().flat_map(|s| s.own_tasks());
        let tasks = task::TASKS.iter().chain(own_tasks);
        let tasks = tasks.map(|t| task_type(t.kind()));
        let others = [RUN, START, OPERATION].map(ToOwned::to_owned);
        let knows = messages.chain(stages).chain(tasks).chain(others);
        Self {
            engine: ENGINE.to_owned(),
            knows: knows.collect(),
        }
    }
}

/// How a kind of message is named among all that a version knows.
pub(crate) fn message_kind(kind: &str) -> String {
    format!("message {kind}")
}

/// The processes of this service, this one among them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Consumers {
    store: Shared,
    process: String,
    own: Arc<Said>,
    /// Wakes who waits in the order they came, so that a seed tells the same story each time.
    said: Arc<SetOnce<()>>,
    pauses: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Consumers {
    pub(crate) fn new(store: Shared) -> Self {
        Self {
            store,
            process: ids::commit(),
            own: Arc::new(Said::own()),
            said: Arc::default(),
            pauses: Arc::default(),
        }
    }

    /// Says that this process is alive, until the shutdown begins. It is believed for some time after its end.
    pub(crate) async fn keep(self, shutdown: Shutdown) -> Result<(), store::Error> {
        loop {
            let pause = match self.say().await {
                Ok(()) => {
                    // Not the first time.
                    let _ = self.said.set(());
                    RENEW
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the store cannot be told which version this is");
                    AGAIN
                }
            };
            if !shutdown.sleep(pause).await {
                return Ok(());
            }
        }
    }

    /// Waits until the others can know what this process handles.
    pub(crate) async fn said(&self) {
        self.said.wait().await;
    }

    /// Whether a process of another version is alive that may handle this: one that knows it; or any, when we
    /// know it too and only cannot read what it says.
    pub(crate) async fn another_knows(&self, what: &str) -> Result<bool, store::Error> {
        // A type that is meant for our own provider is known by the name before that.
        let what = what.strip_suffix(stage::OWN_PROVIDER).unwrap_or(what);
        let now = self.store.now_ms().await?;
        let mut alive = self.page(Order::Descending).await?;
        alive.retain(|entry| entry.score > now);
        for entry in alive {
            let Some(found) = self.store.load(self.shard(), &key(&entry.member)).await? else {
                continue;
            };
            let said = found
                .parts
                .get(PART)
                .map(|said| serde_json::from_slice(said));
            let Some(Ok(said)) = said else { continue };
            let said: Said = said;
            if said.engine != self.own.engine
                && (said.knows.contains(what) || self.own.knows.contains(what))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How long something is left to others now, ms: longer each time.
    pub(crate) fn pause_ms(&self, subject: &str) -> u64 {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        if pauses.len() > MOST_PAUSES {
            pauses.clear();
        }
        let count = pauses.entry(subject.to_owned()).or_default();
        let pause = FIRST_PAUSE_MS << (*count).min(10);
        *count += 1;
        pause.min(LONGEST_PAUSE_MS)
    }

    fn shard(&self) -> Shard {
        self.store.shards().of_name(INDEX)
    }

    async fn page(&self, order: Order) -> Result<Vec<IndexEntry>, store::Error> {
        self.store
            .page(self.shard(), INDEX, None, order, MOST)
            .await
    }

    async fn say(&self) -> Result<(), store::Error> {
        let now = self.store.now_ms().await?;
        let mut batch = self.batch().index(IndexChange::Put {
            index: INDEX.to_owned(),
            member: self.process.clone(),
            score: now.saturating_add(ALIVE_MS),
        });
        let key_of_own = key(&self.process);
        // It goes with a store that was emptied.
        if self.store.load(self.shard(), &key_of_own).await?.is_none() {
            let said = serde_json::to_vec(&*self.own).unwrap_or_default();
            batch = batch.document(&key_of_own, 0).set(PART, said);
        }
        // Only this process writes these, so a refusal says that they are written.
        let _ = self.store.commit(batch).await?;
        for gone in self.page(Order::Ascending).await? {
            if gone.score.saturating_add(FORGET_MS) > now {
                break;
            }
            let batch = self.batch().index(IndexChange::Drop {
                index: INDEX.to_owned(),
                member: gone.member.clone(),
            });
            // Refused when somebody else was faster.
            let batch = batch.document(&key(&gone.member), 1).delete();
            let _ = self.store.commit(batch).await?;
        }
        Ok(())
    }

    fn batch(&self) -> Batch {
        Batch::new(self.shard(), ids::commit())
    }
}

fn key(process: &str) -> DocumentKey {
    DocumentKey::new("consumer", process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_built_is_known_and_nothing_else() {
        let own = Said::own();
        for name in [
            stage_type("wait"),
            message_kind("startStage"),
            RUN.to_owned(),
        ] {
            assert!(own.knows.contains(&name), "{name}");
        }
        let unbuilt = stage::unbuilt::UNBUILT.iter().map(|u| stage_type(u.kind));
        assert!(unbuilt.into_iter().all(|name| !own.knows.contains(&name)));
    }
}
