//! Random calls that must be answered as the model answers them.

use std::collections::BTreeSet;

use super::Suite;
use super::model::{Dice, Model, Waiting, group_of};
use crate::embedded::ManualClock;
use crate::{
    Address, Batch, Committed, Delivery, DocumentKey, Guard, IndexChange, Lease, Message, Mode,
    Outgoing, Refused, Reserve, Shard, Shared, Then,
};

const HOUR: u64 = 3_600_000;
const MOST_RUNNING: u64 = 3;
const MAX_TRIES: u32 = 2;
const GROUPS: [&str; 3] = ["a", "b", "c"];

/// `steps` random calls from `seed`. With the store's own clock times are compared
/// exactly and the clock is moved; else what is due is due at once or in an hour.
pub async fn random(
    store: &Shared,
    salt: &str,
    seed: u64,
    steps: usize,
    clock: Option<&ManualClock>,
) {
    let salt = format!("{salt}-{seed}");
    let suite = Suite { store, salt: &salt };
    let mut world = World {
        shard: suite.shard("model"),
        queue: suite.name("model"),
        suite,
        clock,
        dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
        model: Model::default(),
        held: Vec::new(),
        step: 0,
    };
    for step in 0..steps {
        world.step = step;
        world.turn().await;
    }
    world.compare().await;
}

fn leases(deliveries: &[Delivery]) -> Vec<&Lease> {
    deliveries.iter().map(|d| &d.lease).collect()
}

struct World<'a> {
    suite: Suite<'a>,
    shard: Shard,
    queue: String,
    clock: Option<&'a ManualClock>,
    dice: Dice,
    model: Model,
    /// Deliveries that were given out, some of them worthless by now.
    held: Vec<Delivery>,
    step: usize,
}

impl World<'_> {
    /// The model's time: the store's, or one moment that lasts.
    fn now(&self) -> i64 {
        self.clock.map_or(0, crate::embedded::Clock::now_ms)
    }

    fn ms(&mut self) -> u64 {
        match self.clock {
            Some(_) => self.dice.of(&[0, 0, 20, 500, HOUR]),
            None => self.dice.of(&[0, 0, HOUR]),
        }
    }

    async fn turn(&mut self) {
        match self.dice.below(10) {
            0..=4 => self.commit().await,
            5 | 6 => self.reserve().await,
            7 => self.extend().await,
            8 => self.release().await,
            _ => {
                if let Some(clock) = self.clock {
                    clock.advance(self.dice.of(&[1, 20, 600]));
                }
            }
        }
        self.model.forget();
    }

    fn some_subject(&mut self) -> String {
        let group = self.dice.of(&GROUPS);
        format!("{group}{}", self.dice.below(2))
    }

    fn held(&mut self) -> Option<Delivery> {
        let count = self.held.len() as u64;
        (count > 0).then(|| {
            let at = usize::try_from(self.dice.below(count)).unwrap();
            self.held[at].clone()
        })
    }

    fn keep(&mut self, delivery: Delivery) {
        self.held.push(delivery);
        if self.held.len() > 6 {
            self.held.remove(0);
        }
    }

    fn message(&mut self) -> Outgoing {
        let subject = self.some_subject();
        let mode = match self.dice.below(7) {
            0 => Mode::Ensure,
            1 => Mode::Reschedule,
            2 => Mode::Remove,
            3 => Mode::Leased(self.ms()),
            _ => Mode::Push,
        };
        let delay_ms = match mode {
            Mode::Leased(_) => 0,
            _ => self.ms(),
        };
        Outgoing {
            to: Address::new(&self.queue, &subject, group_of(&subject)),
            fingerprint: format!("m{}", self.dice.below(4)),
            mode,
            delay_ms,
            body: format!("body {}", self.step).into(),
        }
    }

    fn batch(&mut self) -> (Batch, Option<(Delivery, Then)>) {
        let mut batch = Batch::new(self.shard, self.suite.name(&format!("step-{}", self.step)));
        let mut acknowledged = None;
        if self.dice.one_in(2) {
            let name = format!("d{}", self.dice.below(3));
            let known = self.model.documents.get(&name).map_or(0, |d| d.0);
            let expected = if self.dice.one_in(6) {
                known + 1
            } else {
                known
            };
            let key = self.suite.key(&name);
            batch = batch
                .document(&key, expected)
                .set("h", format!("{name}@{}", self.step));
            if self.dice.one_in(2) {
                batch = batch.event(&key, "e");
            }
        }
        if self.dice.one_in(2)
            && let Some(delivery) = self.held()
        {
            let then = if self.dice.one_in(2) {
                Then::Continue(self.ms())
            } else {
                Then::Release
            };
            batch = batch.acknowledge(&delivery, then);
            acknowledged = Some((delivery, then));
        }
        let member = format!("x{}", self.dice.below(6));
        let index = self.suite.name("running");
        match self.dice.below(8) {
            0 => {
                let limit = MOST_RUNNING;
                let guard = Guard::FewerThan {
                    index: index.clone(),
                    limit,
                };
                let score = i64::try_from(self.dice.below(5)).unwrap();
                batch = batch.guard(guard).index(IndexChange::Put {
                    index,
                    member,
                    score,
                });
            }
            1 => batch = batch.index(IndexChange::Drop { index, member }),
            2 => {
                let key = self.suite.name(&format!("claim-{}", self.dice.below(3)));
                let value = format!("v{}", self.dice.below(2));
                batch = batch.index(IndexChange::Claim { key, value });
            }
            3 => {
                let key = self.suite.name(&format!("claim-{}", self.dice.below(3)));
                batch = batch.index(IndexChange::Free { key });
            }
            _ => {}
        }
        for _ in 0..self.dice.below(4) {
            let message = self.message();
            let to = &message.to.subject;
            // What a mailbox is told twice at once in one batch is not promised.
            let twice = matches!(message.mode, Mode::Leased(_))
                && (batch.messages.iter().any(|m| m.to.subject == *to)
                    || acknowledged
                        .as_ref()
                        .is_some_and(|(d, _)| d.lease.address.subject == *to));
            if !twice {
                batch = batch.message(message);
            }
        }
        (batch, acknowledged)
    }

    /// What the model says to a batch, without applying it.
    fn refusal(&self, batch: &Batch) -> Option<Refused> {
        for ack in &batch.acknowledge {
            if self.model.token(&ack.lease.address.subject) != ack.lease.token {
                return Some(Refused::Fenced(ack.lease.address.clone()));
            }
        }
        for change in &batch.documents {
            let actual = self.version(&change.key);
            if actual != change.expected {
                let key = change.key.clone();
                return Some(Refused::Conflict { key, actual });
            }
        }
        for guard in &batch.guards {
            if self.model.running.len() as u64 >= MOST_RUNNING {
                return Some(Refused::Guard(guard.name()));
            }
        }
        for change in &batch.indexes {
            if let IndexChange::Claim { key, value } = change
                && let Some(there) = self.model.claims.get(key)
                && there != value
            {
                let (key, value) = (key.clone(), there.clone());
                return Some(Refused::Taken { key, value });
            }
        }
        for message in &batch.messages {
            let key = (message.to.group.clone(), message.to.subject.clone());
            let leased = self
                .model
                .subjects
                .get(&key)
                .is_some_and(|s| s.lease_end.is_some());
            if matches!(message.mode, Mode::Leased(_)) && leased {
                return Some(Refused::Busy(message.to.clone()));
            }
        }
        None
    }

    fn version(&self, key: &DocumentKey) -> u64 {
        let found = self
            .model
            .documents
            .iter()
            .find(|(name, _)| self.suite.key(name) == *key);
        found.map_or(0, |(_, document)| document.0)
    }

    async fn commit(&mut self) {
        let (batch, acknowledged) = self.batch();
        let expected = self.refusal(&batch);
        let answered = self.suite.commit(batch.clone()).await;
        let committed = match (expected, answered) {
            (None, Ok(committed)) => committed,
            (Some(expected), Err(refused)) => {
                assert_eq!(refused, expected, "step {}", self.step);
                return;
            }
            (expected, answered) => {
                panic!(
                    "step {}: {answered:?} instead of {expected:?}: {batch:?}",
                    self.step
                )
            }
        };
        assert!(!committed.duplicate);
        self.apply(&batch, acknowledged, &committed);
        if !batch.documents.is_empty() && self.dice.one_in(3) {
            let again = self
                .suite
                .commit(batch)
                .await
                .expect("a duplicate is no refusal");
            assert!(again.duplicate, "step {}", self.step);
            assert_eq!(again.versions, committed.versions);
            // What a mailbox holds may be more by now; the leases are the same.
            assert_eq!(leases(&again.leased), leases(&committed.leased));
            assert_eq!(leases(&again.next), leases(&committed.next));
        }
    }

    fn apply(
        &mut self,
        batch: &Batch,
        acknowledged: Option<(Delivery, Then)>,
        committed: &Committed,
    ) {
        let now = self.now();
        for (change, version) in batch.documents.iter().zip(&committed.versions) {
            assert_eq!(*version, change.expected + 1);
            let content = change.parts["h"].clone().unwrap();
            let content = String::from_utf8(content.to_vec()).unwrap();
            let name = content.split('@').next().unwrap().to_owned();
            let document = self.model.documents.entry(name).or_default();
            *document = (*version, content, document.2 + batch.events.len());
        }
        for change in &batch.indexes {
            match change {
                IndexChange::Put { member, .. } => {
                    self.model.running.retain(|m| m != member);
                    self.model.running.push(member.clone());
                }
                IndexChange::Drop { member, .. } => self.model.running.retain(|m| m != member),
                IndexChange::Claim { key, value } => {
                    self.model.claims.insert(key.clone(), value.clone());
                }
                IndexChange::Free { key } => {
                    self.model.claims.remove(key);
                }
            }
        }
        if let Some((delivery, _)) = &acknowledged {
            let subject = self.model.subject(&delivery.lease.address.subject);
            let handled = |m: &Waiting| {
                let known =
                    |d: &Message| d.fingerprint == m.print && Some(d.sequence) == m.sequence;
                delivery.messages.iter().any(known)
            };
            subject.messages.retain(|m| !handled(m));
        }
        let mut leased = committed.leased.iter();
        for message in &batch.messages {
            self.model.push(now, message);
            if let Mode::Leased(ms) = message.mode {
                let delivery = leased
                    .next()
                    .expect("a lease for each message pushed leased");
                self.lease(&message.to.subject.clone(), ms, 1, delivery);
            }
        }
        if let Some((delivery, then)) = acknowledged {
            let subject = self.model.subject(&delivery.lease.address.subject);
            subject.tries = 0;
            match then {
                Then::Continue(ms) if !subject.due(now).is_empty() => {
                    subject.lease_end = Some(now + i64::try_from(ms).unwrap());
                    subject.tries = 1;
                    let [next] = &committed.next[..] else {
                        panic!("step {}: the lease goes on", self.step)
                    };
                    assert_eq!(next.lease, delivery.lease);
                    self.told(next);
                    self.keep(next.clone());
                }
                Then::Continue(_) | Then::Release => {
                    subject.lease_end = None;
                    subject.token = 0;
                    assert!(committed.next.is_empty(), "step {}", self.step);
                }
            }
        }
    }

    /// A lease that was given out.
    fn lease(&mut self, name: &str, ms: u64, tries: u32, delivery: &Delivery) {
        let now = self.now();
        let token = delivery.lease.token;
        assert!(token > self.model.highest_token, "tokens grow");
        self.model.highest_token = token;
        let subject = self.model.subject(name);
        subject.token = token;
        subject.tries = tries;
        subject.lease_end = Some(now + i64::try_from(ms).unwrap());
        self.told(delivery);
        self.keep(delivery.clone());
    }

    /// A delivery carries what the model has; its sequences are new to the model.
    fn told(&mut self, delivery: &Delivery) {
        let (now, step) = (self.now(), self.step);
        let subject = self.model.subject(&delivery.lease.address.subject);
        let expected: Vec<_> = subject
            .due(now)
            .into_iter()
            .map(|m| (m.print, m.body))
            .collect();
        let body = |m: &Message| String::from_utf8(m.body.to_vec()).unwrap();
        let got: Vec<_> = delivery
            .messages
            .iter()
            .map(|m| (m.fingerprint.clone(), body(m)))
            .collect();
        assert_eq!(got, expected, "step {step}");
        assert_eq!(delivery.tries, subject.tries, "step {step}");
        for message in &delivery.messages {
            let known = subject.messages.iter_mut();
            for waiting in known.filter(|m| m.print == message.fingerprint) {
                assert!(waiting.sequence.is_none_or(|s| s == message.sequence));
                waiting.sequence = Some(message.sequence);
            }
        }
    }

    async fn reserve(&mut self) {
        let (now, most) = (self.now(), usize::try_from(1 + self.dice.below(3)).unwrap());
        let lease_ms = self.ms();
        let what = Reserve {
            queue: &self.queue,
            most,
            lease_ms,
            max_tries: MAX_TRIES,
        };
        let reserved = self.suite.store.reserve(self.shard, what).await.unwrap();
        for subject in self.model.subjects.values_mut() {
            if subject.lease_end.is_some_and(|end| end <= now) {
                subject.lease_end = None;
            }
        }
        self.model.forget();
        for delivery in &reserved.deliveries {
            self.delivered(lease_ms, delivery);
        }
        if reserved.deliveries.len() < most {
            assert_eq!(self.ready(), Vec::new(), "step {}", self.step);
        }
    }

    /// Ready subjects: group, due time, name.
    fn ready(&self) -> Vec<(String, i64, String)> {
        let now = self.now();
        let free = self
            .model
            .subjects
            .iter()
            .filter(|(_, s)| s.lease_end.is_none());
        free.filter_map(|((group, name), subject)| {
            let due = subject.first_due().filter(|due| *due <= now)?;
            Some((group.clone(), due, name.clone()))
        })
        .collect()
    }

    fn delivered(&mut self, lease_ms: u64, delivery: &Delivery) {
        let (now, step) = (self.now(), self.step);
        let mut ready = self.ready();
        ready.sort();
        let served = self.model.served.clone();
        let group = ready
            .iter()
            .map(|r| &r.0)
            .find(|group| **group > served)
            .or_else(|| ready.first().map(|r| &r.0));
        let group = group.expect("only what is ready is delivered").clone();
        assert_eq!(delivery.lease.address.group, group, "step {step}");
        let name = delivery.lease.address.subject.clone();
        let first = ready.iter().find(|r| r.0 == group).unwrap();
        if self.clock.is_some() {
            assert_eq!(name, first.2, "step {step}: the group's earliest");
        } else {
            assert!(ready.iter().any(|r| r.2 == name), "step {step}");
        }
        self.model.served = group;
        let subject = self.model.subject(&name);
        let mut tries = subject.tries + 1;
        if tries > MAX_TRIES {
            let due = subject.due(now);
            if let Some(first) = due
                .into_iter()
                .find(|m| !m.print.starts_with(Message::DEAD))
            {
                subject.messages.retain(|m| m.print != first.print);
                let notice = format!("{}{}", Message::DEAD, first.print);
                self.model.put(&name, &notice, now, first.body.clone());
                self.model.dead.insert((name.clone(), first.print));
                tries = 1;
            }
        }
        self.model.subject(&name).tries = tries;
        self.lease(&name, lease_ms, tries, delivery);
    }

    async fn extend(&mut self) {
        let Some(delivery) = self.held() else { return };
        let ms = self.ms();
        let expected = self.model.token(&delivery.lease.address.subject) == delivery.lease.token;
        let leases = std::slice::from_ref(&delivery.lease);
        let alive = self.suite.store.extend(leases, ms).await.unwrap();
        assert_eq!(alive, [expected], "step {}", self.step);
        if expected {
            let end = self.now() + i64::try_from(ms).unwrap();
            self.model
                .subject(&delivery.lease.address.subject)
                .lease_end = Some(end);
        }
    }

    async fn release(&mut self) {
        let Some(delivery) = self.held() else { return };
        let ms = self.ms();
        let expected = self.model.token(&delivery.lease.address.subject) == delivery.lease.token;
        let released = self.suite.store.release(&delivery.lease, ms).await.unwrap();
        assert_eq!(released, expected, "step {}", self.step);
        if expected {
            let later = self.now() + i64::try_from(ms).unwrap();
            let subject = self.model.subject(&delivery.lease.address.subject);
            for message in subject.messages.iter_mut().filter(|_| ms > 0) {
                message.due = message.due.max(later);
            }
            subject.lease_end = None;
            subject.token = 0;
            subject.tries = subject.tries.saturating_sub(1);
        }
    }

    /// Everything that can be read is as the model has it.
    async fn compare(&self) {
        let store = self.suite.store;
        for (name, (version, content, events)) in &self.model.documents {
            let key = self.suite.key(name);
            let document = store.load(self.shard, &key).await.unwrap().unwrap();
            assert_eq!(document.version, *version);
            assert_eq!(document.text("h"), Some(content.as_str()));
            assert_eq!(self.suite.events(self.shard, &key).await.len(), *events);
        }
        let index = self.suite.name("running");
        let count = store.cardinality(self.shard, &index).await.unwrap();
        assert_eq!(count, self.model.running.len() as u64);
        for number in 0..3 {
            let key = self.suite.name(&format!("claim-{number}"));
            let found = store.unique(self.shard, &key).await.unwrap();
            assert_eq!(found.as_ref(), self.model.claims.get(&key));
        }
        let dead = store.dead(self.shard, &self.queue).await.unwrap();
        let dead: BTreeSet<_> = dead.into_iter().collect();
        assert_eq!(dead, self.model.dead);
    }
}
