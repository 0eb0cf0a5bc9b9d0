//! Accounts: places instances can run in, as the operator configured them.
//!
//! Owns names, regions, host slots, routes and what every instance of an
//! account gets in its environment. Never holds a secret: only where it is.
//! Its truth is the configuration.

use std::collections::BTreeMap;

use authorization::Permissions;
use runtime::config::SecretRef;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::provider::local::traffic::Traffic;

/// Most hosts of one region.
const MAX_HOSTS: u32 = 256;

/// Most slots of one host.
const MAX_SLOTS: u32 = 16;

/// One entry of `accounts` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Account {
    /// Name that stages use.
    pub name: String,
    /// `local`, the only provider there is. Default: `local`.
    #[serde(default = "local")]
    pub provider: String,
    /// `prod`, `staging`, … shown to users; default: the name.
    #[serde(default)]
    pub environment_name: Option<String>,
    /// Regions by name: how many hosts, or which.
    pub regions: BTreeMap<String, Region>,
    /// Load balancers of the account and what they answer to.
    #[serde(default, alias = "loadBalancers")]
    pub load_balancers: Vec<LoadBalancer>,
    /// Variables of every instance; `secret:NAME` is replaced by a secret of `secrets`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Secrets by name: `file:/…` or `env:…`, read when an instance starts.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Who may do what, `{READ: [roles], WRITE: [roles]}`; default: everybody.
    #[serde(default)]
    pub permissions: Permissions,
}

/// A region: named hosts with slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Host names.
    pub hosts: Vec<String>,
    /// Instances of one cluster that a host may run at the same time; default 1.
    pub slots_per_host: u32,
}

/// A load balancer and its routes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoadBalancer {
    /// Name that stages use; unique over all accounts.
    pub name: String,
    /// Host of the requests it answers; absent: any.
    #[serde(default)]
    pub host: Option<String>,
    /// Path prefix of the requests it answers. Default: `/`.
    #[serde(default = "root")]
    pub path: String,
    /// How it passes requests on, in the words of the operation `upsertLoadBalancer`. Default: as
    /// without it.
    #[serde(default)]
    pub traffic: Traffic,
    /// Where clients reach it, beside the balancer's own port. Load balancers may share an address,
    /// each with certificates of its own.
    #[serde(default)]
    pub listeners: Vec<balancer::Listener>,
}

/// Why the accounts cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// Two accounts or load balancers of one name.
    #[error("accounts: {what} \"{name}\" is there twice; choose another name")]
    Twice {
        /// `account` or `load balancer`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A provider nobody built.
    #[error("accounts.{account}.provider \"{provider}\" is not built in; use local")]
    Provider {
        /// The account.
        account: String,
        /// What it asks for.
        provider: String,
    },
    /// A name that cannot be part of an address or a path.
    #[error("accounts: {what} \"{name}\" may hold letters, digits, '.', '_' and '-' only")]
    Name {
        /// What is named so.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A route that can never match.
    #[error("accounts: path \"{path}\" of load balancer {name} does not begin with '/'")]
    Path {
        /// The load balancer.
        name: String,
        /// Its path.
        path: String,
    },
    /// Requests that cannot be passed on so.
    #[error("accounts: load balancer {name}: traffic.{field}: {why}")]
    Traffic {
        /// The load balancer.
        name: String,
        /// The field.
        field: String,
        /// Value and remedy.
        why: String,
    },
    /// A listener that cannot be.
    #[error("accounts: load balancer {name}: {fault}")]
    Listener {
        /// The load balancer.
        name: String,
        /// Field, value, remedy.
        fault: String,
    },
    /// A secret nobody declared.
    #[error(
        "accounts.{account}.environment.{variable} refers to secret \"{secret}\", which is not in accounts.{account}.secrets"
    )]
    Secret {
        /// The account.
        account: String,
        /// The variable.
        variable: String,
        /// The name it refers to.
        secret: String,
    },
}

fn local() -> String {
    "local".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

impl<'de> Deserialize<'de> for Region {
    /// A number of hosts (`3` is `host-1` to `host-3`), or
    /// `{hosts: 3 | [names], slots-per-host: 2}`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut region = Self {
            hosts: Vec::new(),
            slots_per_host: 1,
        };
        deserializer
            .deserialize_any(RegionVisitor)?
            .fill(&mut region);
        if region.hosts.is_empty() {
            let text = "a region needs at least one host: a number, or a list of names";
            return Err(serde::de::Error::custom(text));
        }
        if region.slots_per_host == 0 || region.slots_per_host > MAX_SLOTS {
            let text = format!("slots-per-host must be 1 to {MAX_SLOTS}");
            return Err(serde::de::Error::custom(text));
        }
        Ok(region)
    }
}

enum Hosts {
    Count(u64),
    Names(Vec<String>),
}

struct Shape {
    hosts: Hosts,
    slots: Option<u32>,
}

impl Shape {
    fn fill(self, region: &mut Region) {
        region.hosts = match self.hosts {
            Hosts::Count(count) => (1..=count).map(|n| format!("host-{n}")).collect(),
            Hosts::Names(names) => names,
        };
        if let Some(slots) = self.slots {
            region.slots_per_host = slots;
        }
    }
}

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HostsVisitor)
    }
}

struct HostsVisitor;

impl<'de> serde::de::Visitor<'de> for HostsVisitor {
    type Value = Hosts;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a number of hosts from 1 to {MAX_HOSTS}, or a list of host names"
        )
    }

    fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Hosts, E> {
        if count == 0 || count > u64::from(MAX_HOSTS) {
            return Err(E::invalid_value(
                serde::de::Unexpected::Unsigned(count),
                &self,
            ));
        }
        Ok(Hosts::Count(count))
    }

    fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Hosts, E> {
        let unsigned = u64::try_from(count);
        let count =
            unsigned.map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(count), &self))?;
        self.visit_u64(count)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Hosts, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element::<String>()? {
            if names.contains(&name) {
                let text = format!("host \"{name}\" is there twice");
                return Err(serde::de::Error::custom(text));
            }
            names.push(name);
        }
        Ok(Hosts::Names(names))
    }
}

struct RegionVisitor;

impl<'de> serde::de::Visitor<'de> for RegionVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number of hosts, a list of host names, or {hosts, slots-per-host}")
    }

    fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Shape, E> {
        let hosts = HostsVisitor.visit_u64(count)?;
        Ok(Shape { hosts, slots: None })
    }

    fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Shape, E> {
        let hosts = HostsVisitor.visit_i64(count)?;
        Ok(Shape { hosts, slots: None })
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Shape, A::Error> {
        let hosts = HostsVisitor.visit_seq(list)?;
        Ok(Shape { hosts, slots: None })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let (mut hosts, mut slots) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "hosts" => hosts = Some(map.next_value::<Hosts>()?),
                "slots-per-host" | "slotsPerHost" => slots = Some(map.next_value::<u32>()?),
                other => {
                    let known = &["hosts", "slots-per-host"];
                    return Err(serde::de::Error::unknown_field(other, known));
                }
            }
        }
        let hosts = hosts.ok_or_else(|| serde::de::Error::missing_field("hosts"))?;
        Ok(Shape { hosts, slots })
    }
}

/// Whether a name can stand in paths, addresses and claims.
pub(crate) fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 128 && name.chars().all(plain)
}

/// Checks all accounts together.
///
/// # Errors
/// The first thing that does not fit, with the field to correct.
pub fn check(accounts: &[Account]) -> Result<(), Error> {
    let (mut names, mut balancers) = (Vec::new(), Vec::new());
    for account in accounts {
        let once = |seen: &mut Vec<String>, what, name: &str| {
            if !is_plain(name) {
                let name = name.to_owned();
                return Err(Error::Name { what, name });
            }
            if seen.iter().any(|s| s == name) {
                let name = name.to_owned();
                return Err(Error::Twice { what, name });
            }
            seen.push(name.to_owned());
            Ok(())
        };
        once(&mut names, "account", &account.name)?;
        if account.provider != "local" {
            return Err(Error::Provider {
                account: account.name.clone(),
                provider: account.provider.clone(),
            });
        }
        for (region, content) in &account.regions {
            once(&mut Vec::new(), "region", region)?;
            for host in &content.hosts {
                once(&mut Vec::new(), "host", host)?;
            }
        }
        for balancer in &account.load_balancers {
            once(&mut balancers, "load balancer", &balancer.name)?;
            if !balancer.path.starts_with('/') {
                return Err(Error::Path {
                    name: balancer.name.clone(),
                    path: balancer.path.clone(),
                });
            }
            if let Some(flaw) = balancer.traffic.flaws().into_iter().next() {
                return Err(Error::Traffic {
                    name: balancer.name.clone(),
                    field: flaw.field,
                    why: flaw.why,
                });
            }
            let alone = balancer::Config {
                listeners: balancer.listeners.clone(),
                ..balancer::Config::default()
            };
            if let Some(fault) = alone.check().faults.into_iter().next() {
                let name = balancer.name.clone();
                return Err(Error::Listener { name, fault });
            }
        }
        for (variable, value) in &account.environment {
            let Some(secret) = value.strip_prefix("secret:") else {
                continue;
            };
            if !account.secrets.contains_key(secret) {
                return Err(Error::Secret {
                    account: account.name.clone(),
                    variable: variable.clone(),
                    secret: secret.to_owned(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Account, String> {
        serde_yaml_ng::from_str(yaml).map_err(|e| e.to_string())
    }

    #[test]
    fn regions_are_a_count_a_list_or_both_with_slots() {
        for (yaml, hosts, slots) in [
            ("3", vec!["host-1", "host-2", "host-3"], 1),
            ("[a, b]", vec!["a", "b"], 1),
            ("{hosts: 2, slots-per-host: 2}", vec!["host-1", "host-2"], 2),
            ("{hosts: [x], slotsPerHost: 3}", vec!["x"], 3),
        ] {
            let account = read(&format!("{{name: p, regions: {{r: {yaml}}}}}")).unwrap();
            assert_eq!(account.regions["r"].hosts, hosts);
            assert_eq!(account.regions["r"].slots_per_host, slots);
        }
        for yaml in [
            "0",
            "-1",
            "[]",
            "[a, a]",
            "{hosts: 1, slots-per-host: 0}",
            "{slot: 1}",
        ] {
            assert!(
                read(&format!("{{name: p, regions: {{r: {yaml}}}}}")).is_err(),
                "{yaml}"
            );
        }
    }

    #[test]
    fn accounts_are_checked_together() {
        let account = |name: &str, more: &str| {
            read(&format!("{{name: {name}, regions: {{local: 1}}{more}}}")).unwrap()
        };
        check(&[account("a", ""), account("b", "")]).unwrap();
        for (accounts, word) in [
            (vec![account("a", ""), account("a", "")], "twice"),
            (vec![account("a", ", provider: aws")], "not built in"),
            (
                vec![account("a", ", loadBalancers: [{name: x, path: y}]")],
                "begin with",
            ),
            (
                vec![account("a", ", environment: {A: \"secret:s\"}")],
                "\"s\"",
            ),
            (vec![account("\"a/b\"", "")], "letters"),
        ] {
            let text = check(&accounts).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
