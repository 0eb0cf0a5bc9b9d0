//! What section `local` says of the load balancer's access log and figures.
//!
//! Owns the names that an operator writes and the faults that are told before anything starts. What a
//! value may be is the balancer's to say.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use balancer::{Endpoint, LoadBalancer, MAX_OTLP_INTERVAL_MS, STDOUT};
use serde::Deserialize;

use super::Local;

/// The access log: a line of JSON for each request, in the balancer's words. Absent: there is none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AccessLog {
    /// File, from the folder `balancer` in the data folder on, its name ending in `.log` or `.jsonl`; or
    /// `stdout`. Default: `access.log`.
    pub path: String,
    /// One request of so many is written. Default: 1, each of them.
    pub sample: u32,
    /// Whether what follows the `?` of a path is written too; it often holds secrets. Default: no.
    pub query: bool,
    /// Load balancers whose requests are written; none given: all, and what no route fits. One that is
    /// not there is passed over until it is.
    pub load_balancers: Vec<String>,
}

impl Default for AccessLog {
    fn default() -> Self {
        let balancer::AccessLog {
            path,
            sample,
            query,
            load_balancers,
        } = balancer::AccessLog::default();
        Self {
            path,
            sample,
            query,
            load_balancers,
        }
    }
}

impl AccessLog {
    /// The same as the balancer is told it.
    pub(crate) fn told(&self) -> balancer::AccessLog {
        balancer::AccessLog {
            path: self.path.clone(),
            sample: self.sample,
            query: self.query,
            load_balancers: self.load_balancers.clone(),
        }
    }

    /// # Errors
    /// Field, value and remedy.
    fn check(&self, balancers_folder: &Path) -> Result<(), String> {
        let named = |name: &String| LoadBalancer {
            name: name.clone(),
            ..LoadBalancer::default()
        };
        let alone = balancer::Config {
            load_balancers: self.load_balancers.iter().map(named).collect(),
            settings: balancer::Settings {
                access_log: Some(self.told()),
                ..balancer::Settings::default()
            },
            ..balancer::Config::default()
        };
        if let Some(fault) = alone.check().faults.into_iter().next() {
            let own = fault.strip_prefix("settings.accessLog.");
            return Err(own.map_or_else(|| fault.clone(), |own| format!("local.access-log.{own}")));
        }
        // The balancer's own folder is made with it.
        let file = balancers_folder.join(&self.path);
        let folder = file.parent().filter(|folder| *folder != balancers_folder);
        match folder {
            Some(folder) if self.path != STDOUT && !folder.is_dir() => Err(format!(
                "local.access-log.path: \"{}\" is in no folder that is there; make {}, or name a file \
                 elsewhere",
                self.path,
                folder.display()
            )),
            _ => Ok(()),
        }
    }
}

impl Local {
    /// Checks what the load balancer would refuse when it starts or is told its configuration.
    ///
    /// # Errors
    /// The first field that does not fit, with its value and what to do.
    pub(super) fn check_figures(&self, data: &Path, balancer_port: u16) -> Result<(), String> {
        if let Some(log) = &self.access_log {
            log.check(&data.join("balancer"))?;
        }
        if let Some(address) = &self.metrics_listen {
            self.check_metrics(address, balancer_port)?;
        }
        if let Some(text) = &self.otlp_endpoint
            && let Err(error) = text.parse::<Endpoint>()
        {
            return Err(format!("local.otlp-endpoint: {error}"));
        }
        let interval = self.otlp_interval.0.as_millis();
        if !(1..=u128::from(MAX_OTLP_INTERVAL_MS)).contains(&interval) {
            return Err(format!(
                "local.otlp-interval: {} is not in 1ms..=1h; write 10s",
                self.otlp_interval
            ));
        }
        Ok(())
    }

    fn check_metrics(&self, text: &str, balancer_port: u16) -> Result<(), String> {
        let wrong = |why: &str| Err(format!("local.metrics-listen: \"{text}\" {why}"));
        let Ok(address) = text.parse::<SocketAddr>() else {
            return wrong("is no IP:PORT; write 127.0.0.1:9090");
        };
        if !address.ip().is_loopback() {
            return wrong(
                "is not on loopback, and nobody has to authenticate there; write 127.0.0.1:9090",
            );
        }
        match address.port() {
            0 => wrong("has no port that anybody could know; choose one"),
            port if port == balancer_port && address.ip() == Ipv4Addr::LOCALHOST => {
                wrong("is where the load balancer's clients connect; choose another port")
            }
            port if (self.first_port..=self.last_port).contains(&port) => wrong(
                "is among the ports of instances, local.first-port to local.last-port; choose one \
                 outside",
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::Config;

    fn checked(local: &str) -> Result<Config, String> {
        let local: Local = serde_yaml_ng::from_str(local).map_err(|e| e.to_string())?;
        let config = Config {
            local,
            data: "/nowhere".into(),
            balancer_port: 8080,
            ..Config::default()
        };
        config.check().map(|()| config)
    }

    #[test]
    fn a_log_is_off_unless_it_is_asked_for_and_has_the_balancers_defaults() {
        for (yaml, log) in [
            ("{}", None),
            ("access-log: null", None),
            ("access-log: {}", Some(balancer::AccessLog::default())),
        ] {
            let config = checked(yaml).unwrap();
            let told = config.local.access_log.as_ref().map(AccessLog::told);
            assert_eq!(told, log, "{yaml}");
        }
        let yaml =
            "access-log: {path: /tmp/shop.jsonl, sample: 7, query: true, load-balancers: [a, b]}";
        let told = checked(yaml).unwrap().local.access_log.unwrap().told();
        let expected = balancer::AccessLog {
            path: "/tmp/shop.jsonl".to_owned(),
            sample: 7,
            query: true,
            load_balancers: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn figures_go_where_the_operator_says_and_nowhere_otherwise() {
        let none = checked("{}").unwrap().local;
        assert_eq!((none.metrics_listen, none.otlp_endpoint), (None, None));
        let yaml = "{metrics-listen: '127.0.0.1:9090', otlp-endpoint: 'http://127.0.0.1:4318', \
                    otlp-interval: 500ms}";
        let local = checked(yaml).unwrap().local;
        assert_eq!(local.metrics_listen.as_deref(), Some("127.0.0.1:9090"));
        assert_eq!(local.otlp_interval.0.as_millis(), 500);
        // IPv6 has a loopback too, and its port 8080 is not the balancer's.
        checked("metrics-listen: '[::1]:8080'").unwrap();
    }

    #[test]
    fn what_the_balancer_would_refuse_is_refused_before_it_is_asked() {
        for (yaml, field, value, remedy) in [
            (
                "access-log: {sample: 0}",
                "access-log.sample",
                "0",
                "1 or more",
            ),
            (
                "access-log: {path: config.json}",
                "access-log.path",
                "config.json",
                "ending in .log or .jsonl",
            ),
            (
                "access-log: {path: /nowhere/x.log}",
                "access-log.path",
                "/nowhere/x.log",
                "make /nowhere",
            ),
            (
                "access-log: {path: logs/x.log}",
                "access-log.path",
                "logs/x.log",
                "make /nowhere/balancer/logs",
            ),
            (
                "metrics-listen: 0.0.0.0:9090",
                "metrics-listen",
                "0.0.0.0:9090",
                "write 127.0.0.1:9090",
            ),
            (
                "metrics-listen: localhost:9090",
                "metrics-listen",
                "localhost:9090",
                "write 127.0.0.1:9090",
            ),
            (
                "metrics-listen: 127.0.0.1:0",
                "metrics-listen",
                "127.0.0.1:0",
                "choose one",
            ),
            (
                "metrics-listen: 127.0.0.1:8080",
                "metrics-listen",
                "127.0.0.1:8080",
                "another port",
            ),
            (
                "metrics-listen: 127.0.0.1:20000",
                "metrics-listen",
                "127.0.0.1:20000",
                "outside",
            ),
            (
                "otlp-endpoint: https://a:4318",
                "otlp-endpoint",
                "https://a:4318",
                "http://HOST:PORT",
            ),
            ("otlp-interval: 2h", "otlp-interval", "7200s", "write 10s"),
            ("otlp-interval: 0s", "otlp-interval", "0s", "write 10s"),
        ] {
            let fault = checked(yaml).unwrap_err();
            let path = format!("local.{field}: ");
            assert!(fault.starts_with(&path), "{yaml}: {fault}");
            assert!(fault.contains(value) && fault.contains(remedy), "{fault}");
        }
        for yaml in [
            "access-log: {headers: true}",
            "access-log: {loadBalancers: [a]}",
            "access-log: {sample: -1}",
            "metrics-listen: 9090",
        ] {
            assert!(checked(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn a_port_that_is_taken_now_is_no_fault_of_the_configuration() {
        // It may be the balancer's that runs.
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        checked(&format!("metrics-listen: '{address}'")).unwrap();
    }
}
