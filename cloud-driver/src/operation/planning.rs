//! What a kind decides on: the input, the journal, and who is alive, with the
//! questions several kinds ask of them.

use std::collections::{BTreeMap, BTreeSet};

use proto::moniker::{self, Moniker};
use rollout::{Newcomer, Present, Role, Settings};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Input, Memory, Refused, drain, input::fault};
use crate::config::Config;
use crate::provider::local::document::{Capacity, ImageRef, ServerGroup, Timing, WEIGHT};
use crate::provider::local::journal::{Everything, Stored};
use crate::provider::local::traffic::Traffic;

/// One decision's circumstances.
#[derive(Debug)]
pub struct Planning<'a> {
    /// The operation's id; new instances are named after it.
    pub operation: &'a str,
    /// Its input.
    pub input: &'a Input,
    /// The settings.
    pub config: &'a Config,
    /// The journal.
    pub everything: &'a Everything,
    /// Instances whose process has ended.
    pub dead: &'a BTreeSet<String>,
    /// Instances the balancer sees serving.
    pub serving: &'a BTreeSet<String>,
    /// What the operation remembers.
    pub memory: &'a Memory,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

impl<'a> Planning<'a> {
    /// Account and region of the input, which exist.
    ///
    /// # Errors
    /// When they do not.
    pub fn place(&self) -> Result<(&'a str, &'a str), Refused> {
        let (account, region) = (self.input.account()?, self.input.region()?);
        check_place(self.input, self.config)?;
        Ok((account, region))
    }

    /// The server group the input names.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn target(&self) -> Result<&'a Stored<ServerGroup>, Refused> {
        let name = self.input.server_group()?;
        self.group(name)
            .ok_or_else(|| unknown(self, "serverGroupName", name))
    }

    /// A server group of the input's account and region.
    pub fn group(&self, name: &str) -> Option<&'a Stored<ServerGroup>> {
        let account = self.input.account().ok()?;
        let region = self.input.region().ok()?;
        self.everything.group(account, region, name)
    }

    /// The group an earlier phase remembered under this key.
    pub fn remembered(&self, key: &str) -> Option<&'a Stored<ServerGroup>> {
        self.group(self.memory.get(key)?.as_str()?)
    }

    /// A group's instances as the rollout machine takes them, oldest first.
    pub fn present(&self, group: &ServerGroup) -> Vec<Present> {
        self.everything
            .instances_of(group)
            .map(|i| drain::present(group, i, self.dead.contains(&i.id)))
            .collect()
    }

    /// Instances of the cluster's other groups that do this group's work too and
    /// are meant to serve.
    pub fn peers(&self, group: &ServerGroup) -> Vec<Present> {
        self.everything
            .cluster(&group.account, &group.region, &group.cluster)
            .filter(|other| other.name != group.name && drain::share_work(other, group))
            .flat_map(|other| self.present(other))
            .filter(|p| p.role == Role::Serve)
            .collect()
    }

    /// The floor of a removal: what others can hold, at most what is wanted.
    pub fn floor(&self, desired: u32, stay: &[Present]) -> usize {
        let stay = stay.iter().filter(|p| p.role == Role::Serve).count();
        usize::try_from(desired).unwrap_or(usize::MAX).min(stay)
    }

    /// New instances of a group on free slots of its region, hosts with the
    /// fewest instances of the cluster first.
    ///
    /// # Errors
    /// When there are too few slots, with the remedies.
    pub fn newcomers(
        &self,
        group: &ServerGroup,
        count: usize,
        phase: u32,
    ) -> Result<Vec<Newcomer>, Refused> {
        let region = self
            .config
            .account(&group.account)
            .and_then(|a| a.regions.get(&group.region));
        let Some(region) = region else {
            return Err(Refused::State(format!(
                "region {} of account {} is not configured any more",
                group.region, group.account
            )));
        };
        let taken: BTreeSet<&str> = self
            .everything
            .instances
            .iter()
            .filter(|i| {
                i.account == group.account && i.region == group.region && i.cluster == group.cluster
            })
            .map(|i| i.slot.as_str())
            .collect();
        let mut free: Vec<(u32, usize, String)> = Vec::new();
        for (order, host) in region.hosts.iter().enumerate() {
            let mut used = 0;
            let mut open = Vec::new();
            for index in 0..region.slots_per_host {
                let slot = slot_name(host, index);
                if taken.contains(slot.as_str()) {
                    used += 1;
                } else {
                    open.push(slot);
                }
            }
            for (n, slot) in (0..).zip(open) {
                free.push((used + n, order, slot));
            }
        }
        free.sort();
        if free.len() < count {
            return Err(Refused::State(format!(
                "cluster {} needs {count} free host slots in region {} of account {} and there are {}; \
                 replace the running instances in place (strategy inplacedrain), raise \
                 accounts.{}.regions.{}.slots-per-host, or destroy server groups that are not needed",
                group.cluster,
                group.region,
                group.account,
                free.len(),
                group.account,
                group.region,
            )));
        }
        let slots = free.into_iter().take(count);
        Ok(slots
            .map(|(_, _, slot)| self.newcomer(group, slot, phase))
            .collect())
    }

    /// One new instance on a given slot.
    pub fn newcomer(&self, group: &ServerGroup, slot: String, phase: u32) -> Newcomer {
        let seed = format!("{}/{phase}/{}/{slot}", self.operation, group.name);
        let digest = hex::encode(Sha256::digest(seed.as_bytes()));
        let short = digest.get(..8).unwrap_or_default();
        Newcomer {
            id: format!("{}-{short}", group.name),
            slot,
        }
    }

    /// Times and limits of a rollout of this group.
    pub fn settings(&self, group: &ServerGroup, floor: usize) -> Settings {
        let local = &self.config.local;
        let ms =
            |span: &runtime::config::Span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX);
        let timing = &group.timing;
        let settings = Settings {
            floor,
            settle_ms: timing.settle_ms.unwrap_or_else(|| ms(&local.settle)),
            start_timeout_ms: timing
                .start_timeout_ms
                .unwrap_or_else(|| ms(&local.start_timeout)),
            drain_timeout_ms: timing
                .drain_timeout_ms
                .unwrap_or_else(|| ms(&local.drain_timeout)),
            grace_ms: timing.grace_ms.unwrap_or_else(|| ms(&local.grace)),
            ..Settings::default()
        };
        self.config.control.apply(self.limited(settings, group))
    }

    /// The next server group of the input's cluster; the fields absent from the
    /// input are those of `base`.
    ///
    /// # Errors
    /// When a field does not fit, or no image is named.
    pub fn next_group(&self, base: Option<&ServerGroup>) -> Result<Stored<ServerGroup>, Refused> {
        let (account, region) = self.place()?;
        let (application, cluster) = match (self.input.text(&["application"]), base) {
            (None, Some(base)) => (base.application.clone(), base.cluster.clone()),
            _ => cluster_of(self.input)?,
        };
        let members: Vec<_> = self.everything.cluster(account, region, &cluster).collect();
        let taken: Vec<u32> = members.iter().filter_map(|g| g.moniker.sequence).collect();
        let newest = members.last();
        let next = newest.and_then(|g| g.moniker.sequence);
        let ancestor = newest.map(|g| g.name.clone());
        let sequence = moniker::next_sequence(&cluster, next, &taken)
            .map_err(|e| Refused::State(e.to_string()))?;
        let name = moniker::server_group_name(&cluster, sequence);
        let image = match self.input.image() {
            Some(id) => ImageRef {
                id,
                ..ImageRef::default()
            },
            None => base.map(|b| b.image.clone()).ok_or_else(|| {
                fault(
                    "imageId",
                    "is missing; name an image such as registry/repository:tag",
                )
            })?,
        };
        let load_balancers = match self.input.load_balancers()? {
            Some(names) => names,
            None => base.map(|b| b.load_balancers.clone()).unwrap_or_default(),
        };
        self.check_balancers(account, &load_balancers)?;
        let environment = match self.input.environment()? {
            Some(variables) => variables,
            None => base.map(|b| b.environment.clone()).unwrap_or_default(),
        };
        self.check_secrets(account, &environment)?;
        let drain = match self.input.drain()? {
            Some(drain) => Some(drain),
            // What is behind a load balancer from now on is drained by it.
            None if !load_balancers.is_empty() => None,
            None => base.and_then(|b| b.drain.clone()),
        };
        let health = match (self.input.health()?, base) {
            (Some(health), _) => health,
            (None, Some(base)) if base.drain == drain => base.health.clone(),
            (None, Some(base)) if !base.health.process => base.health.clone(),
            (None, Some(_) | None) => drain::health(drain.as_ref()),
        };
        let given = self.input.timing()?;
        let timing = base.filter(|_| given == Timing::default());
        let source = self.input.nested("source").flag("useSourceCapacity")
            || self.input.flag("useSourceCapacity");
        let capacity = match (self.input.capacity()?, base, source) {
            (_, Some(base), true) | (None, Some(base), false) => base.capacity,
            (Some(capacity), _, _) => capacity,
            (None, None, _) => Capacity::of(1),
        };
        let group = Stored {
            version: 0,
            value: ServerGroup {
                account: account.to_owned(),
                region: region.to_owned(),
                moniker: Moniker::parse(&name),
                name,
                application,
                cluster,
                image,
                capacity,
                load_balancers,
                enabled: !self.input.flag("startDisabled"),
                weight: super::resize_server_group::weight(self.input)?.unwrap_or(WEIGHT),
                environment,
                health,
                timing: timing.map_or(given, |b| b.timing.clone()),
                drain,
                created_ms: self.now_ms,
                operation: self.operation.to_owned(),
                ancestor,
            },
        };
        drain::fits(&group)?;
        Ok(group)
    }

    /// What a load balancer of any account says of its requests; none when it is not there.
    pub fn traffic(&self, name: &str) -> Option<&Traffic> {
        let configured = self.config.accounts.iter().flat_map(|a| &a.load_balancers);
        let made = self.everything.balancers.iter();
        configured
            .map(|b| (&b.name, &b.traffic))
            .chain(made.map(|b| (&b.name, &b.traffic)))
            .find(|(other, _)| *other == name)
            .map(|(_, traffic)| traffic)
    }

    /// Whether every load balancer of a group holds requests while nothing serves.
    pub fn holds_requests(&self, group: &ServerGroup) -> bool {
        let mut names = group.load_balancers.iter();
        let holds = |name: &String| {
            self.traffic(name)
                .is_some_and(|t| t.hold_requests.is_some())
        };
        !group.load_balancers.is_empty() && names.all(holds)
    }

    fn check_balancers(&self, account: &str, names: &[String]) -> Result<(), Refused> {
        for (n, name) in names.iter().enumerate() {
            let configured = self
                .config
                .account(account)
                .is_some_and(|a| a.load_balancers.iter().any(|b| b.name == *name));
            let made = self
                .everything
                .balancers
                .iter()
                .any(|b| b.account == account && b.name == *name);
            if !configured && !made {
                return Err(fault(
                    format!("loadBalancers[{n}]"),
                    format!(
                        "\"{name}\" does not exist in account {account}; add it to accounts.{account}.load-balancers or create it by upsertLoadBalancer"
                    ),
                )
                .into());
            }
        }
        Ok(())
    }

    fn check_secrets(
        &self,
        account: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), Refused> {
        let known = self.config.account(account).map(|a| &a.secrets);
        for (variable, value) in environment {
            let Some(secret) = value.strip_prefix("secret:") else {
                continue;
            };
            if !known.is_some_and(|secrets| secrets.contains_key(secret)) {
                return Err(fault(
                    format!("env.{variable}"),
                    format!(
                        "refers to secret \"{secret}\", which account {account} does not have; declare it in accounts.{account}.secrets"
                    ),
                )
                .into());
            }
        }
        Ok(())
    }

    /// What a stage gets when a server group was deployed.
    pub fn deployed(&self, group: &ServerGroup) -> Map<String, Value> {
        let ancestor = match &group.ancestor {
            Some(name) => json!({ group.region.as_str(): name }),
            None => json!({}),
        };
        let result = json!({
            "serverGroupNames": [format!("{}:{}", group.region, group.name)],
            "serverGroupNameByRegion": { group.region.as_str(): group.name },
            "ancestorServerGroupNameByRegion": ancestor,
            "deployments": [{
                "cloudProvider": "local",
                "account": group.account,
                "location": group.region,
                "serverGroupName": group.name,
                "capacity": group.capacity,
            }],
        });
        match result {
            Value::Object(result) => result,
            _ => Map::new(),
        }
    }
}

/// The name of a host's slot: the host alone for its first one.
pub(crate) fn slot_name(host: &str, index: u32) -> String {
    if index == 0 {
        host.to_owned()
    } else {
        format!("{host}/{index}")
    }
}

/// Application and cluster name of an input.
///
/// # Errors
/// When a part does not fit Frigga's grammar.
pub fn cluster_of(input: &Input) -> Result<(String, String), Refused> {
    let moniker = input.nested("moniker");
    let application = input
        .text(&["application"])
        .or_else(|| moniker.text(&["app"]));
    let application =
        application.ok_or_else(|| fault("application", "is missing; name the application"))?;
    let stack = input.text(&["stack"]).or_else(|| moniker.text(&["stack"]));
    let detail = input
        .text(&["freeFormDetails", "detail"])
        .or_else(|| moniker.text(&["detail"]));
    let cluster = moniker::cluster_name(application, stack, detail).map_err(|error| {
        let field = match &error {
            moniker::Error::Characters { field: "stack", .. } => "stack",
            moniker::Error::Characters {
                field: "detail", ..
            } => "freeFormDetails",
            _ => "application",
        };
        fault(field, error.to_string())
    })?;
    Ok((application.to_owned(), cluster))
}

/// Account and region exist.
pub(crate) fn check_place(input: &Input, config: &Config) -> Result<(), super::Fault> {
    let name = input.account()?;
    let Some(account) = config.account(name) else {
        let known: Vec<&str> = config.accounts.iter().map(|a| a.name.as_str()).collect();
        return Err(fault(
            "account",
            format!("\"{name}\" is not configured; known are {}", list(&known)),
        ));
    };
    let region = input.region()?;
    if !account.regions.contains_key(region) {
        let known: Vec<&str> = account.regions.keys().map(String::as_str).collect();
        return Err(fault(
            "region",
            format!(
                "\"{region}\" is no region of account {name}; known are {}",
                list(&known)
            ),
        ));
    }
    if let Some(provider) = input.text(&["cloudProvider"])
        && provider != account.provider
    {
        return Err(fault(
            "cloudProvider",
            format!(
                "\"{provider}\" is not that of account {name}; use {}",
                account.provider
            ),
        ));
    }
    Ok(())
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// A server group that is not there.
pub(crate) fn unknown(planning: &Planning<'_>, field: &str, name: &str) -> Refused {
    let place = planning.place().unwrap_or_default();
    fault(
        field,
        format!(
            "\"{name}\" does not exist in region {} of account {}; look at the cluster's server groups",
            place.1, place.0
        ),
    )
    .into()
}
