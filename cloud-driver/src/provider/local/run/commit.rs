//! The commit of one step: the operation with its rollout, and the documents
//! that the step's journal changes.

use std::collections::{BTreeMap, BTreeSet};

use rollout::{Journal as Line, Step};
use store::{Batch, Refused};

use super::Run;
use crate::operation::worker::{Stopped, keep, step_batch};
use crate::provider::local::document::{Instance, ServerGroup};
use crate::provider::local::journal::{self, Stored};
use crate::provider::local::{Error, now_ms};

/// A port that turns out to be taken is exchanged this often.
const PORT_TRIES: u32 = 5;

impl Run<'_> {
    /// Commits one step: the operation with its rollout, and the documents the
    /// journal's lines change.
    pub(super) async fn commit(&mut self, step: &Step) -> Result<(), Stopped> {
        for _ in 0..PORT_TRIES {
            let draft = self.draft(&step.journal)?;
            let (batch, written) = self.batch(&draft);
            let batch = batch.fenced_by(&self.right.lease, keep());
            match self.local.journal().store().commit(batch).await? {
                Ok(committed) => {
                    tracing::debug!(operation.id = self.operation.head.id, "operation step");
                    self.adopt(draft, &written, &committed.versions);
                    return Ok(());
                }
                Err(Refused::Fenced(_)) => return Err(Stopped::HandedOver),
                // Another operation took the port meanwhile.
                Err(Refused::Taken { key, .. }) if key.starts_with("local-port:") => {}
                // Somebody asked for a cancellation. A version that went back means that the store
                // lost commits: what is in memory is not to be built on then.
                Err(Refused::Conflict { key, actual })
                    if key.as_str().starts_with("operation:")
                        && actual > self.operation.version =>
                {
                    self.operation.version = actual;
                    self.operation.head.cancel =
                        self.ledger.canceled(&self.operation.head.id).await?;
                }
                Err(other) => return Err(Stopped::Refused(other.to_string())),
            }
        }
        Err(Stopped::Refused("no port could be reserved".to_owned()))
    }

    /// Gives an instance that was not started yet another port, because somebody
    /// took its own since it was reserved.
    pub(super) async fn exchange_port(&mut self, id: &str) -> Result<(), Error> {
        let Some(mut instance) = self.instances.get(id).cloned() else {
            return Ok(());
        };
        let old = instance.port;
        let taken: BTreeSet<u16> = self.instances.values().map(|i| i.port).collect();
        instance.value.port = self.local.ports().free(&taken)?;
        let name = format!("port:{id}:{}:{}", instance.port, self.right.lease.token);
        let batch =
            Batch::new(self.local.journal().shard(), name).fenced_by(&self.right.lease, keep());
        let batch = journal::move_instance(batch, &instance, old);
        match self.local.journal().store().commit(batch).await? {
            Ok(committed) => {
                instance.version = committed.versions.first().copied().unwrap_or_default();
                self.instances.insert(id.to_owned(), instance);
                Ok(())
            }
            // Fenced, or taken once more: the next try decides.
            Err(refused) => Err(Error::Shim {
                instance: id.to_owned(),
                reason: format!("port {old} is taken and was not exchanged: {refused}"),
            }),
        }
    }

    fn draft(&self, lines: &[Line]) -> Result<Draft, Stopped> {
        let mut draft = Draft::default();
        for line in lines {
            match line {
                Line::Reserve {
                    member,
                    group,
                    slot,
                } => {
                    let instance = self.reserve(member, group, slot, &draft)?;
                    draft.instances.insert(member.clone(), instance);
                }
                Line::Role { member, role } => {
                    if let Some(instance) = self.changing(member, &mut draft) {
                        instance.value.role = *role;
                    }
                }
                Line::Stop { member } => {
                    if let Some(instance) = self.changing(member, &mut draft) {
                        instance.value.stopping = true;
                    }
                }
                Line::Release { member } => {
                    draft.released.insert(member.clone());
                }
                Line::Weight { group, weight } => {
                    let there = draft.groups.get(group).or_else(|| self.groups.get(group));
                    if let Some(there) = there {
                        let mut changed = there.clone();
                        changed.value.weight = *weight;
                        draft.groups.insert(group.clone(), changed);
                    }
                }
            }
        }
        Ok(draft)
    }

    fn changing<'d>(&self, id: &str, draft: &'d mut Draft) -> Option<&'d mut Stored<Instance>> {
        if !draft.instances.contains_key(id) {
            let there = self.instances.get(id)?.clone();
            draft.instances.insert(id.to_owned(), there);
        }
        draft.instances.get_mut(id)
    }

    fn reserve(
        &self,
        id: &str,
        group: &str,
        slot: &str,
        draft: &Draft,
    ) -> Result<Stored<Instance>, Stopped> {
        let group = self.groups.get(group).ok_or_else(|| {
            Stopped::Refused(format!("server group {group} is not in the journal"))
        })?;
        let all = self.instances.values().chain(draft.instances.values());
        let taken: BTreeSet<u16> = all.map(|i| i.port).collect();
        // A process that was started before a commit was lost keeps its port.
        let port = match self.local.shims().launched_port(id) {
            Some(port) if !taken.contains(&port) => port,
            _ => self.local.ports().free(&taken)?,
        };
        Ok(Stored {
            version: 0,
            value: Instance {
                id: id.to_owned(),
                account: group.account.clone(),
                region: group.region.clone(),
                group: group.name.clone(),
                application: group.application.clone(),
                cluster: group.cluster.clone(),
                slot: slot.to_owned(),
                port,
                role: rollout::Role::Absent,
                stopping: false,
                token: self.local.shims().token(id),
                created_ms: now_ms(),
            },
        })
    }

    /// The batch, and whose versions it writes after the operation's.
    fn batch(&self, draft: &Draft) -> (Batch, Vec<String>) {
        let mut batch = step_batch(self.local.journal().shard(), &self.operation, &self.right);
        let mut written = Vec::new();
        for (id, instance) in &draft.instances {
            if !draft.released.contains(id) {
                batch = journal::put_instance(batch, instance);
                written.push(id.clone());
            }
        }
        for (name, group) in &draft.groups {
            batch = journal::put_group(batch, group);
            written.push(name.clone());
        }
        for id in &draft.released {
            if let Some(instance) = self.instances.get(id) {
                batch = journal::drop_instance(batch, instance);
                written.push(id.clone());
            }
        }
        (batch, written)
    }

    fn adopt(&mut self, draft: Draft, written: &[String], versions: &[u64]) {
        let mut versions = versions.iter().copied();
        self.operation.version = versions.next().unwrap_or_default();
        let new: BTreeMap<&String, u64> = written.iter().zip(versions).collect();
        for (id, mut instance) in draft.instances {
            if let Some(version) = new.get(&id) {
                instance.version = *version;
            }
            self.instances.insert(id, instance);
        }
        for (name, mut group) in draft.groups {
            if let Some(version) = new.get(&name) {
                group.version = *version;
            }
            self.groups.insert(name, group);
        }
        for id in draft.released {
            if let Some(instance) = self.instances.remove(&id) {
                self.local.shims().forget(&instance);
            }
        }
    }
}

/// Documents as a step leaves them.
#[derive(Debug, Default)]
struct Draft {
    instances: BTreeMap<String, Stored<Instance>>,
    groups: BTreeMap<String, Stored<ServerGroup>>,
    released: BTreeSet<String>,
}
