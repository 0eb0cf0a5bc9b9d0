//! The [`Store`] over Redis: each call is one script or one read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Pipeline, Value, cmd};
use tokio::sync::watch;

use super::fault::Fault;
use super::request::{self, Request, part};
use super::{Redis, durability, reply};
use crate::{
    Batch, Committed, Document, DocumentKey, Epoch, Error, FeedPage, IndexEntry, Info, Lease,
    NamedLease, Order, Refused, Reserve, Reserved, Shard, Shards, Store, Version, blob,
};

/// Entries that one read answers at the most.
const MOST: usize = 500;
/// Subjects that one reservation gives out at the most.
const MOST_SUBJECTS: usize = 64;

#[async_trait]
impl Store for Redis {
    fn shards(&self) -> Shards {
        self.core.shards
    }

    async fn commit(&self, batch: Batch) -> Result<Result<Committed, Refused>, Error> {
        batch.check()?;
        let core = &self.core;
        let messages = request::messages(&batch)?;
        let request = request::commit(&core.names, &batch, &messages, &core.call_name());
        let script = if batch.new_work {
            &core.scripts.commit
        } else {
            &core.scripts.commit_running
        };
        let called = core
            .call(batch.shard, script, &request, !batch.new_work)
            .await?;
        match called {
            Ok(answered) => {
                let committed = reply::committed(answered, &batch, &messages);
                if matches!(committed, Ok(Ok(_))) {
                    tracing::debug!(shard = batch.shard.number(), "committed");
                }
                committed
            }
            Err(failure)
                if batch.new_work && matches!(failure.fault, Fault::Full | Fault::DiskFull) =>
            {
                Ok(Err(Refused::Full(failure.reason)))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn load(&self, shard: Shard, key: &DocumentKey) -> Result<Option<Document>, Error> {
        let mut command = cmd("HGETALL");
        command.arg(self.core.names.document(shard, key));
        let pairs: Vec<(Value, Value)> = match self.core.send(&command).await? {
            Value::Map(pairs) => pairs,
            flat => {
                let mut values = reply::list(flat)?;
                let mut pairs = Vec::new();
                while let Some(field) = values.next() {
                    pairs.push((field, reply::next(&mut values)?));
                }
                pairs
            }
        };
        let mut document = Document::default();
        for (field, value) in pairs {
            let field = reply::text(field)?;
            if let Some(name) = field.strip_prefix("p:") {
                document.parts.insert(name.to_owned(), reply::bytes(value)?);
            } else if field == "v" {
                document.version = reply::number(value)?;
            }
        }
        Ok((document.version > 0).then_some(document))
    }

    async fn load_part(
        &self,
        shard: Shard,
        keys: &[DocumentKey],
        name: &str,
    ) -> Result<Vec<Option<(Version, Bytes)>>, Error> {
        if keys.len() > MOST {
            return Err(Error::Limit {
                what: "a read of parts".to_owned(),
                actual: keys.len(),
                limit: MOST,
            });
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(keys.len());
        let field = part(name);
        for key in keys {
            commands
                .cmd("HMGET")
                .arg(self.core.names.document(shard, key))
                .arg("v")
                .arg(&field);
        }
        let answers = self.core.send_all(&commands).await?;
        let one = |answer: Value| {
            let mut values = reply::list(answer)?;
            Ok(
                match (reply::next(&mut values)?, reply::next(&mut values)?) {
                    (Value::Nil, _) | (_, Value::Nil) => None,
                    (version, content) => Some((reply::number(version)?, reply::bytes(content)?)),
                },
            )
        };
        answers.into_iter().map(one).collect()
    }

    async fn reserve(&self, shard: Shard, what: Reserve<'_>) -> Result<Reserved, Error> {
        let core = &self.core;
        core.wakes.expect(what.queue);
        let most = what.most.min(MOST_SUBJECTS);
        let mut request = Request::new(&core.names, shard, &[what.queue]);
        request.number(most as u64);
        request.ms(what.lease_ms);
        request.number(u64::from(what.max_tries));
        request.text(&core.call_name());
        // A repeat gets what a first try had leased before its answer was lost.
        let mut again = request.clone();
        request.number(0);
        again.number(1);
        let called = core.call_or(shard, &core.scripts.reserve, &request, &again, true);
        let mut answered = called.await??;
        let deliveries = reply::deliveries(answered.next()?, shard, what.queue)?;
        let next_ms = u64::try_from(reply::int(answered.next()?)?).ok();
        if next_ms == Some(0) && most > 0 && deliveries.len() == most {
            // More is due than was asked for: another consumer here may go on.
            core.wakes.wake(what.queue, shard);
        }
        Ok(Reserved {
            deliveries,
            next_ms,
        })
    }

    async fn extend(&self, leases: &[Lease], lease_ms: u64) -> Result<Vec<bool>, Error> {
        let core = &self.core;
        let mut by_shard: BTreeMap<Shard, Vec<usize>> = BTreeMap::new();
        for (position, lease) in leases.iter().enumerate() {
            by_shard.entry(lease.shard).or_default().push(position);
        }
        let mut alive = vec![false; leases.len()];
        for (shard, positions) in by_shard {
            for positions in positions.chunks(MOST) {
                let ours: Vec<&Lease> = positions.iter().map(|at| &leases[*at]).collect();
                let names: BTreeSet<&str> = ours.iter().map(|l| l.address.queue.as_str()).collect();
                let queues: Vec<&str> = names.into_iter().collect();
                let mut request = Request::new(&core.names, shard, &queues);
                request.ms(lease_ms);
                request.number(ours.len() as u64);
                for lease in ours {
                    let number = queues.iter().position(|q| *q == lease.address.queue);
                    request.number(number.map_or(0, |at| at as u64 + 1));
                    request.text(&lease.address.subject);
                    request.number(lease.token);
                }
                let called = core.call(shard, &core.scripts.extend, &request, true);
                let flags = reply::list(called.await??.next()?)?;
                for (at, flag) in positions.iter().zip(flags) {
                    alive[*at] = reply::int(flag)? == 1;
                }
            }
        }
        Ok(alive)
    }

    async fn release(&self, lease: &Lease, delay_ms: u64) -> Result<bool, Error> {
        let core = &self.core;
        let (shard, to) = (lease.shard, &lease.address);
        let mut request = Request::new(&core.names, shard, &[to.queue.as_str()]);
        request.text(&to.subject);
        request.number(lease.token);
        request.ms(delay_ms);
        let called = core.call(shard, &core.scripts.release, &request, true);
        Ok(reply::int(called.await??.next()?)? == 1)
    }

    async fn wait(&self, queue: &str, most: Duration) -> Result<Vec<Shard>, Error> {
        Ok(self.core.wakes.wait(queue, most).await)
    }

    async fn page(
        &self,
        shard: Shard,
        index: &str,
        after: Option<&IndexEntry>,
        order: Order,
        most: usize,
    ) -> Result<Vec<IndexEntry>, Error> {
        let mut request = Request::default();
        request.keys.push(self.core.names.index(shard, index));
        request.text(match order {
            Order::Ascending => "up",
            Order::Descending => "down",
        });
        request.number(most.min(MOST) as u64);
        if let Some(after) = after {
            request.text(&after.score.to_string());
            request.text(&after.member);
        }
        let answer = self.core.plain(&self.core.scripts.page, &request).await?;
        let mut values = reply::list(answer)?;
        let mut page = Vec::new();
        while let Some(member) = values.next() {
            page.push(IndexEntry {
                member: reply::text(member)?,
                score: reply::int(reply::next(&mut values)?)?,
            });
        }
        Ok(page)
    }

    async fn cardinality(&self, shard: Shard, index: &str) -> Result<u64, Error> {
        let mut command = cmd("ZCARD");
        command.arg(self.core.names.index(shard, index));
        reply::number(self.core.send(&command).await?)
    }

    async fn unique(&self, shard: Shard, key: &str) -> Result<Option<String>, Error> {
        let mut command = cmd("GET");
        command.arg(self.core.names.unique(shard, key));
        match self.core.send(&command).await? {
            Value::Nil => Ok(None),
            value => reply::text(value).map(Some),
        }
    }

    async fn feed(&self, shard: Shard, after: u64, most: usize) -> Result<FeedPage, Error> {
        let core = &self.core;
        let mut request = Request::new(&core.names, shard, &[]);
        request.keys.push(core.names.feed(shard));
        request.number(after);
        request.number(most.min(MOST) as u64);
        let called = core.call(shard, &core.scripts.feed, &request, true);
        let mut answered = called.await??;
        let last = reply::number(answered.next()?)?;
        let mut entries = Vec::new();
        for entry in reply::list(answered.next()?)? {
            let events = reply::feed_entry(entry)?;
            // Who read some of a commit's events reads the others.
            entries.extend(events.into_iter().filter(|e| e.position > after));
        }
        let gap = match entries.first() {
            Some(first) => first.position != after + 1,
            // The feed jumped when commits were lost, and nothing came since.
            None => most > 0 && after < last,
        };
        Ok(FeedPage {
            shard,
            entries,
            reset: gap || after > last,
            last,
        })
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.core.wakes.news()
    }

    async fn take(
        &self,
        shard: Shard,
        name: &str,
        holder: &str,
        lease_ms: u64,
    ) -> Result<Option<NamedLease>, Error> {
        let core = &self.core;
        let mut request = Request::new(&core.names, shard, &[]);
        request.keys.push(core.names.lease(shard, name));
        request.text(holder);
        request.ms(lease_ms);
        let called = core.call(shard, &core.scripts.take, &request, true);
        let token = reply::int(called.await??.next()?)?;
        Ok(u64::try_from(token).ok().map(|token| NamedLease {
            name: name.to_owned(),
            token,
        }))
    }

    async fn put_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        content: Bytes,
    ) -> Result<String, Error> {
        let hash = blob::hash(&content)?;
        let names = &self.core.names;
        let mut request = Request::default();
        request.keys.push(names.blobs(shard, owner));
        request.keys.push(names.document(shard, owner));
        request.text(&hash);
        request.bytes(content);
        request.ms(u64::try_from(blob::UNOWNED.as_millis()).unwrap_or(u64::MAX));
        self.core.plain(&self.core.scripts.blob, &request).await?;
        Ok(hash)
    }

    async fn get_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        hash: &str,
    ) -> Result<Option<Bytes>, Error> {
        let names = &self.core.names;
        let mut own = cmd("HGET");
        own.arg(names.blobs(shard, owner)).arg(hash);
        let mut found = self.core.send(&own).await?;
        if found == Value::Nil {
            let mut shared = cmd("GET");
            shared.arg(names.shared_blob(shard, hash));
            found = self.core.send(&shared).await?;
        }
        match found {
            Value::Nil => Ok(None),
            value => reply::bytes(value).map(Some),
        }
    }

    async fn dead(&self, shard: Shard, queue: &str) -> Result<Vec<(String, String)>, Error> {
        let mut command = cmd("XREVRANGE");
        command
            .arg(self.core.names.dead(shard, queue))
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(MOST);
        let one = |entry: Value| {
            let mut values = reply::list(entry)?;
            reply::next(&mut values)?;
            let mut fields = reply::list(reply::next(&mut values)?)?;
            let mut value = || {
                reply::next(&mut fields)?;
                reply::text(reply::next(&mut fields)?)
            };
            Ok((value()?, value()?))
        };
        reply::list(self.core.send(&command).await?)?
            .map(one)
            .collect()
    }

    async fn now_ms(&self) -> Result<i64, Error> {
        // Through a key, so that a cluster always asks the same server.
        let mut request = Request::default();
        let first = self.core.shards.numbered(0);
        request.keys.push(self.core.names.meta(first));
        request.text(self.core.names.store());
        let now = reply::int(self.core.plain(&self.core.scripts.now, &request).await?)?;
        self.core.is_ours(now >= 0)?;
        Ok(now)
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.core.tracker.watch()
    }

    fn losses(&self, shard: Shard) -> u64 {
        self.core.tracker.seen(shard).map_or(0, |seen| seen.epoch)
    }

    async fn lost_at(&self, shard: Shard) -> Result<Option<i64>, Error> {
        let mut command = cmd("HGET");
        command.arg(self.core.names.meta(shard)).arg("lost");
        match self.core.send(&command).await? {
            Value::Nil => Ok(None),
            value => reply::int(value).map(Some),
        }
    }

    async fn info(&self) -> Result<Info, Error> {
        durability::info(&self.core.link).await
    }
}
