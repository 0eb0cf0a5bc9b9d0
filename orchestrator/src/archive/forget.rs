//! What is known of events ends: for some time after one started an execution it starts no other, and as long as
//! that runs.

use futures_util::future::try_join_all;
use proto::status::Failure;
use store::{Batch, IndexChange, Order, Shard};

use super::mover::millis;
use crate::commit::{EVENT, EVENTS};
use crate::definition::{refused, unavailable};
use crate::engine::Engine;
use crate::ids;

/// Events looked at with one commit.
const PAGE: usize = 100;

impl Engine {
    /// Forgets events that came long enough ago; answers in how many ms to look again, none if no event is left.
    pub(super) async fn forget_events(&self, shard: Shard) -> Result<Option<u64>, Failure> {
        let store = &self.inner.store;
        let keep = millis(self.inner.config.event_retention.0);
        loop {
            let page = store.page(shard, EVENTS, None, Order::Ascending, PAGE);
            let page = page.await.map_err(unavailable)?;
            let now = self.now();
            let due = page.partition_point(|entry| entry.score <= now.saturating_sub(keep));
            if due == 0 {
                let pause = page.first().map(|first| first.score + keep - now);
                return Ok(pause.map(|pause| u64::try_from(pause.max(1_000)).unwrap_or(0)));
            }
            let looks = page[..due].iter().map(|entry| async {
                let key = format!("{EVENT}{}", entry.member);
                let started = store.unique(shard, &key).await.map_err(unavailable)?;
                let runs = match &started {
                    Some(id) => self.executions().is_under_way(id).await?,
                    None => false,
                };
                Ok::<_, Failure>((key, entry.member.clone(), runs))
            });
            let mut batch = Batch::new(shard, ids::commit());
            for (key, member, runs) in try_join_all(looks).await? {
                let index = EVENTS.to_owned();
                batch = if runs {
                    let score = now;
                    batch.index(IndexChange::Put {
                        index,
                        member,
                        score,
                    })
                } else {
                    let batch = batch.index(IndexChange::Drop { index, member });
                    batch.index(IndexChange::Free { key })
                };
            }
            let done = store.commit(batch).await.map_err(unavailable)?;
            done.map_err(|other| refused(&other))?;
        }
    }
}
