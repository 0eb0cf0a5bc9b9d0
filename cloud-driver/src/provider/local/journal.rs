//! The local provider's documents in the store.
//!
//! Owns the keys, indexes and claims of server groups, instances and load
//! balancers. All of them lie in one shard: ports, host slots and the balancer's
//! one configuration span applications, and a step of an operation writes
//! several of them in one commit.

use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Batch, DocumentKey, IndexChange, Order, Shard, Shared, Version};
use thiserror::Error;

use super::document::{Instance, LoadBalancer, ServerGroup};

/// Documents read at the most for one answer.
const MAX_DOCUMENTS: usize = 10_000;

const BODY: &str = "body";
const GROUPS: &str = "local-server-groups";
const INSTANCES: &str = "local-instances";
const BALANCERS: &str = "local-load-balancers";

/// Why the journal could not be read or written.
#[derive(Debug, Error)]
pub enum Error {
    /// The store failed; the same may be repeated.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A document is not what this version writes.
    #[error("{key} cannot be read: {source}")]
    Malformed {
        /// The document.
        key: String,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
}

/// A document with the version it was read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// Version; 0 for one that is not stored yet.
    pub version: Version,
    /// Content.
    pub value: T,
}

impl<T> std::ops::Deref for Stored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Everything the journal holds, as of about one moment.
#[derive(Debug, Clone, Default)]
pub struct Everything {
    /// Server groups, oldest first.
    pub groups: Vec<Stored<ServerGroup>>,
    /// Instances, oldest first.
    pub instances: Vec<Stored<Instance>>,
    /// Load balancers made by operations.
    pub balancers: Vec<Stored<LoadBalancer>>,
}

impl Everything {
    /// One server group.
    pub fn group(&self, account: &str, region: &str, name: &str) -> Option<&Stored<ServerGroup>> {
        self.groups
            .iter()
            .find(|g| g.account == account && g.region == region && g.name == name)
    }

    /// The groups of a cluster, oldest first.
    pub fn cluster<'a>(
        &'a self,
        account: &'a str,
        region: &'a str,
        cluster: &'a str,
    ) -> impl Iterator<Item = &'a Stored<ServerGroup>> {
        self.groups
            .iter()
            .filter(move |g| g.account == account && g.region == region && g.cluster == cluster)
    }

    /// The instances of a server group, oldest first.
    pub fn instances_of<'a>(
        &'a self,
        group: &'a ServerGroup,
    ) -> impl Iterator<Item = &'a Stored<Instance>> {
        self.instances.iter().filter(move |i| {
            i.account == group.account && i.region == group.region && i.group == group.name
        })
    }
}

/// Access to the documents.
#[derive(Debug, Clone)]
pub struct Journal {
    store: Shared,
    shard: Shard,
}

/// The key of a server group's document.
pub fn group_key(account: &str, region: &str, name: &str) -> DocumentKey {
    DocumentKey::new("server-group", &format!("{account}/{region}/{name}"))
}

/// The key of an instance's document.
pub fn instance_key(id: &str) -> DocumentKey {
    DocumentKey::new("instance", id)
}

fn balancer_key(name: &str) -> DocumentKey {
    DocumentKey::new("load-balancer", name)
}

/// The unique key of a port.
pub fn port_claim(port: u16) -> String {
    format!("local-port:{port}")
}

/// The unique key of a cluster's place on a host slot.
pub fn slot_claim(account: &str, region: &str, cluster: &str, slot: &str) -> String {
    format!("local-slot:{account}/{region}/{cluster}/{slot}")
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Maps with string keys and plain fields always serialise.
    serde_json::to_vec(value).unwrap_or_default()
}

impl Journal {
    /// The journal of the local provider.
    pub fn new(store: Shared) -> Self {
        let shard = store.shards().of_name("cloud-driver/local");
        Self { store, shard }
    }

    /// Where everything of it lies.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// The store behind it.
    pub fn store(&self) -> &Shared {
        &self.store
    }

    /// Reads everything.
    ///
    /// # Errors
    /// When the store fails or a document is malformed.
    pub async fn everything(&self) -> Result<Everything, Error> {
        // Instances first: a group without its newest instance is seen, an
        // instance without its group is not.
        let instances = self.all(INSTANCES).await?;
        let groups = self.all(GROUPS).await?;
        let balancers = self.all(BALANCERS).await?;
        Ok(Everything {
            groups,
            instances,
            balancers,
        })
    }

    async fn all<T: DeserializeOwned>(&self, index: &str) -> Result<Vec<Stored<T>>, Error> {
        let mut found = Vec::new();
        let mut after = None;
        while found.len() < MAX_DOCUMENTS {
            let page = self
                .store
                .page(self.shard, index, after.as_ref(), Order::Ascending, 500)
                .await?;
            let Some(last) = page.last().cloned() else {
                break;
            };
            let keys: Vec<DocumentKey> = page
                .iter()
                .filter_map(|e| e.member.split_once(':'))
                .map(|(collection, id)| DocumentKey::new(collection, id))
                .collect();
            let parts = self.store.load_part(self.shard, &keys, BODY).await?;
            for (key, part) in keys.iter().zip(parts) {
                let Some((version, body)) = part else {
                    continue;
                };
                found.push(Stored {
                    version,
                    value: read(key, &body)?,
                });
            }
            if page.len() < 500 {
                break;
            }
            after = Some(last);
        }
        Ok(found)
    }

    /// One instance.
    ///
    /// # Errors
    /// When the store fails or the document is malformed.
    pub async fn instance(&self, id: &str) -> Result<Option<Stored<Instance>>, Error> {
        self.one(&instance_key(id)).await
    }

    /// One server group.
    ///
    /// # Errors
    /// When the store fails or the document is malformed.
    pub async fn group(
        &self,
        account: &str,
        region: &str,
        name: &str,
    ) -> Result<Option<Stored<ServerGroup>>, Error> {
        self.one(&group_key(account, region, name)).await
    }

    async fn one<T: DeserializeOwned>(
        &self,
        key: &DocumentKey,
    ) -> Result<Option<Stored<T>>, Error> {
        let Some(document) = self.store.load(self.shard, key).await? else {
            return Ok(None);
        };
        let Some(body) = document.parts.get(BODY) else {
            return Ok(None);
        };
        Ok(Some(Stored {
            version: document.version,
            value: read(key, body)?,
        }))
    }
}

fn read<T: DeserializeOwned>(key: &DocumentKey, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Malformed {
        key: key.to_string(),
        source,
    })
}

/// Adds a server group, written at the version it was read at.
pub fn put_group(batch: Batch, group: &Stored<ServerGroup>) -> Batch {
    let g = &group.value;
    let key = group_key(&g.account, &g.region, &g.name);
    batch
        .document(&key, group.version)
        .set(BODY, json(g))
        .index(IndexChange::Put {
            index: GROUPS.to_owned(),
            member: key.to_string(),
            score: g.created_ms,
        })
}

/// Removes a server group.
pub fn drop_group(batch: Batch, group: &Stored<ServerGroup>) -> Batch {
    let g = &group.value;
    let key = group_key(&g.account, &g.region, &g.name);
    batch
        .document(&key, group.version)
        .delete()
        .index(IndexChange::Drop {
            index: GROUPS.to_owned(),
            member: key.to_string(),
        })
}

/// Adds an instance; a new one claims its port and its slot.
pub fn put_instance(batch: Batch, instance: &Stored<Instance>) -> Batch {
    let i = &instance.value;
    let key = instance_key(&i.id);
    let mut batch = batch
        .document(&key, instance.version)
        .set(BODY, json(i))
        .index(IndexChange::Put {
            index: INSTANCES.to_owned(),
            member: key.to_string(),
            score: i.created_ms,
        });
    if instance.version == 0 {
        batch = batch
            .index(IndexChange::Claim {
                key: port_claim(i.port),
                value: i.id.clone(),
            })
            .index(IndexChange::Claim {
                key: slot_claim(&i.account, &i.region, &i.cluster, &i.slot),
                value: i.id.clone(),
            });
    }
    batch
}

/// Writes an instance that exchanged `old_port` for another one.
pub fn move_instance(batch: Batch, instance: &Stored<Instance>, old_port: u16) -> Batch {
    put_instance(batch, instance)
        .index(IndexChange::Free {
            key: port_claim(old_port),
        })
        .index(IndexChange::Claim {
            key: port_claim(instance.port),
            value: instance.id.clone(),
        })
}

/// Removes an instance and gives its port and slot back.
pub fn drop_instance(batch: Batch, instance: &Stored<Instance>) -> Batch {
    let i = &instance.value;
    let key = instance_key(&i.id);
    batch
        .document(&key, instance.version)
        .delete()
        .index(IndexChange::Drop {
            index: INSTANCES.to_owned(),
            member: key.to_string(),
        })
        .index(IndexChange::Free {
            key: port_claim(i.port),
        })
        .index(IndexChange::Free {
            key: slot_claim(&i.account, &i.region, &i.cluster, &i.slot),
        })
}

/// Adds a load balancer.
pub fn put_balancer(batch: Batch, balancer: &Stored<LoadBalancer>) -> Batch {
    let key = balancer_key(&balancer.value.name);
    batch
        .document(&key, balancer.version)
        .set(BODY, json(&balancer.value))
        .index(IndexChange::Put {
            index: BALANCERS.to_owned(),
            member: key.to_string(),
            score: 0,
        })
}
