//! What a server promises, by its own settings.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{Cmd, Value};

use super::address::Wait;
use super::link::Link;
use super::reply;
use crate::Info;
use crate::error::Error;

/// What one server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Server {
    version: String,
    eviction: String,
    appends: bool,
    /// `always`, `everysec`, `no`, or none if it does not tell.
    fsync: Option<String>,
    /// Replicas that follow it now.
    replicas: u32,
    /// How long it runs, s.
    uptime: u64,
}

/// What all masters promise together: the least of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Durability {
    pub(super) promise: String,
    pub(super) warnings: Vec<String>,
    /// Why the store must not be used as it is, with the remedy.
    pub(super) refusal: Option<String>,
    /// How long the youngest server runs, s, if it may have lost commits when it was started; else none.
    begun: Option<u64>,
}

/// So long a server runs before who did not know it begins to work on it: time for the others to come back.
const SETTLED: Duration = Duration::from_secs(3);

impl Durability {
    /// How much longer others may need to notice what a server lost that was started a moment ago; none where that is
    /// over, or where nothing can be lost.
    pub(super) fn unsettled(&self) -> Option<Duration> {
        let age = Duration::from_secs(self.begun?);
        SETTLED.checked_sub(age).filter(|left| !left.is_zero())
    }
}

fn fields(info: &str) -> BTreeMap<&str, &str> {
    info.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .collect()
}

fn server(info: &str, fsync: Option<String>) -> Server {
    let fields = fields(info);
    let of = |name: &str| (*fields.get(name).unwrap_or(&"")).to_owned();
    Server {
        version: of("redis_version"),
        eviction: of("maxmemory_policy"),
        appends: of("aof_enabled") == "1",
        fsync,
        replicas: of("connected_slaves").parse().unwrap_or(0),
        uptime: of("uptime_in_seconds").parse().unwrap_or(u64::MAX),
    }
}

/// What the servers are and promise.
pub(super) async fn info(link: &Link) -> Result<Info, Error> {
    let asked = ask(link).await?;
    let mut warnings = asked.warnings;
    warnings.extend(asked.refusal);
    Ok(Info {
        backend: if link.is_cluster() {
            "redis-cluster"
        } else if link.is_watched() {
            "redis-sentinel"
        } else {
            "redis"
        },
        durability: asked.promise,
        warnings,
    })
}

/// Asks every master.
pub(super) async fn ask(link: &Link) -> Result<Durability, Error> {
    let failed = |error: redis::RedisError| Error::Unavailable(error.to_string());
    let infos = link.everywhere(&redis::cmd("INFO")).await.map_err(failed)?;
    // Some operators forbid CONFIG; then the mode is not known.
    let mut config = Cmd::new();
    config.arg("CONFIG").arg("GET").arg("appendfsync");
    let fsyncs = link.everywhere(&config).await.unwrap_or_default();
    let least = fsyncs.into_iter().filter_map(setting).max_by_key(|mode| {
        ["always", "everysec", "no"]
            .iter()
            .position(|known| known == mode)
    });
    let servers = infos
        .into_iter()
        .map(|info| Ok(server(&reply::text(info)?, least.clone())))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut durability = judge(&servers);
    durability
        .promise
        .push_str(&on_failover(link.is_watched(), link.wait()));
    if let Some(warning) = followed(&servers, link.wait()) {
        durability.warnings.push(warning);
    }
    Ok(durability)
}

/// What is wrong with the replicas, if they are to take the place of their master.
fn followed(servers: &[Server], wait: Option<Wait>) -> Option<String> {
    let fewest = servers.iter().map(|server| server.replicas).min()?;
    match (servers, wait) {
        (_, Some(wait)) if fewest < wait.replicas => Some(format!(
            "wait is {}, but {fewest} replicas follow the master: no commit is acknowledged before more do",
            wait.replicas
        )),
        ([_], None) if fewest > 0 => Some(format!(
            "{fewest} replicas follow the master, but commits do not wait for them: add wait=1 to the address"
        )),
        _ => None,
    }
}

/// What a replica that becomes the master has.
fn on_failover(watched: bool, wait: Option<Wait>) -> String {
    match (watched, wait) {
        (_, Some(wait)) => format!(
            "; WAIT {}: a commit counts when {} of the replicas have it, so the loss of the master loses nothing \
             acknowledged",
            wait.replicas, wait.replicas
        ),
        (true, None) => {
            "; without wait: a failover may undo the last acknowledged commits; it is noticed"
                .to_owned()
        }
        (false, None) => String::new(),
    }
}

/// The value of the one setting asked for.
fn setting(value: Value) -> Option<String> {
    match value {
        Value::Array(mut pair) => reply::text(pair.pop()?).ok(),
        Value::Map(mut pairs) => reply::text(pairs.pop()?.1).ok(),
        _ => None,
    }
}

fn judge(servers: &[Server]) -> Durability {
    let mut warnings = Vec::new();
    let refusal = servers.iter().find_map(|server| {
        let major = server.version.split('.').next()?.parse::<u32>().ok()?;
        if major < 7 {
            return Some(format!(
                "it is Redis {}; Redis 7.0 or Valkey 7.2 is the oldest that works",
                server.version
            ));
        }
        (server.eviction != "noeviction").then(|| {
            format!(
                "its maxmemory-policy is {}, so messages would vanish; set it to noeviction",
                server.eviction
            )
        })
    });
    let appends = servers.iter().all(|server| server.appends);
    let fsync = servers.iter().find_map(|server| server.fsync.as_deref());
    let promise = match (appends, fsync) {
        (false, _) => {
            warnings.push("appendonly is off: set it to yes, and appendfsync to always".to_owned());
            "nothing is kept over a restart of Redis"
        }
        (true, Some("always")) => {
            "appendfsync always: kill -9 and power loss lose nothing acknowledged"
        }
        (true, Some("everysec")) => {
            warnings.push("appendfsync is everysec: always loses nothing".to_owned());
            "appendfsync everysec: kill -9 of Redis or power loss may undo up to 2 s of \
             acknowledged commits, always whole ones and always the last; it is noticed"
        }
        (true, Some(_)) => {
            warnings.push("appendfsync is no: set it to always".to_owned());
            "appendfsync no: power loss may undo acknowledged commits, always the last; it is \
             noticed"
        }
        (true, None) => {
            warnings.push("CONFIG is forbidden, so appendfsync is not known".to_owned());
            "append-only file, appendfsync not known"
        }
    };
    let keeps_all = appends && fsync == Some("always");
    let youngest = servers.iter().map(|server| server.uptime).min();
    Durability {
        promise: promise.to_owned(),
        warnings,
        refusal,
        begun: youngest.filter(|_| !keeps_all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_have_lost_commits_says_how_long_it_runs() {
        let of = |appends: u8, fsync: &str| {
            let info = format!("aof_enabled:{appends}\nuptime_in_seconds:2");
            judge(&[server(&info, Some(fsync.to_owned()))])
        };
        assert_eq!(of(1, "always").begun, None);
        assert_eq!(of(1, "always").unsettled(), None);
        for mut young in [of(1, "everysec"), of(0, "always")] {
            assert_eq!(young.begun, Some(2));
            assert_eq!(young.unsettled(), Some(Duration::from_secs(1)));
            young.begun = Some(3);
            assert_eq!(young.unsettled(), None);
        }
    }

    #[test]
    fn replicas_that_are_missing_or_not_waited_for_are_told() {
        let of = |replicas: &[u32]| -> Vec<Server> {
            let one = |replicas: &u32| server(&format!("connected_slaves:{replicas}"), None);
            replicas.iter().map(one).collect()
        };
        let wait = |replicas| {
            Some(Wait {
                replicas,
                timeout_ms: 1,
            })
        };
        assert_eq!(followed(&of(&[0]), None), None);
        assert_eq!(followed(&of(&[2]), wait(1)), None);
        // A cluster cannot be waited for.
        assert_eq!(followed(&of(&[1, 1, 1]), None), None);
        let told = followed(&of(&[1]), wait(2)).unwrap();
        assert!(told.contains("wait is 2, but 1 replicas"), "{told}");
        let told = followed(&of(&[1]), None).unwrap();
        assert!(told.contains("add wait=1"), "{told}");
    }

    fn told(version: &str, eviction: &str, appends: u8) -> Server {
        let info = format!(
            "# Server\r\nredis_version:{version}\r\nmaxmemory_policy:{eviction}\r\naof_enabled:{appends}\r\n"
        );
        server(&info, Some("always".to_owned()))
    }

    #[test]
    fn what_evicts_or_is_too_old_is_refused() {
        let cases = [
            (told("7.0.15", "noeviction", 1), None),
            (told("7.0.15", "allkeys-lru", 1), Some("noeviction")),
            (told("6.2.1", "noeviction", 1), Some("7.0")),
        ];
        for (server, expected) in cases {
            let refusal = judge(&[told("7.2.4", "noeviction", 1), server]).refusal;
            match expected {
                None => assert_eq!(refusal, None),
                Some(word) => assert!(refusal.as_ref().is_some_and(|r| r.contains(word))),
            }
        }
    }

    #[test]
    fn the_weakest_master_counts() {
        let all = [
            told("7.0.15", "noeviction", 1),
            told("7.0.15", "noeviction", 0),
        ];
        let durability = judge(&all);
        assert!(durability.promise.starts_with("nothing"));
        assert_eq!(durability.warnings.len(), 1);
    }
}
