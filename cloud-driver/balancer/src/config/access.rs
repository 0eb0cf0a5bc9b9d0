//! What is written of each request, and where.

use serde::{Deserialize, Serialize};

/// Path that means the process's standard output.
pub const STDOUT: &str = "stdout";

/// Endings of the access log's file: so that it is never one that means something else.
const ENDINGS: [&str; 2] = [".log", ".jsonl"];

/// The access log: a line of JSON for each request, off unless this stands in the configuration.
///
/// While it is on, a request without a well-formed `x-request-id` is given one; the instance and the
/// client get it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AccessLog {
    /// File, from the balancer's data folder on, its name ending in `.log` or `.jsonl`; or [`STDOUT`].
    /// Default: `access.log`.
    pub path: String,
    /// One request of so many is written. Default: 1, each of them.
    pub sample: u32,
    /// Whether what follows the `?` of a path is written too; it often holds secrets. Default: no.
    pub query: bool,
    /// Load balancers whose requests are written; none given: all, and what no route fits.
    pub load_balancers: Vec<String>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            path: "access.log".to_owned(),
            sample: 1,
            query: false,
            load_balancers: Vec::new(),
        }
    }
}

impl AccessLog {
    /// What is wrong with it, given which load balancers there are.
    pub(crate) fn check(&self, is_balancer: impl Fn(&str) -> bool, faults: &mut Vec<String>) {
        let path = "settings.accessLog";
        let named = std::path::Path::new(&self.path).file_name();
        let named = named.and_then(|name| name.to_str()).unwrap_or_default();
        let ends = |ending: &str| named.len() > ending.len() && named.ends_with(ending);
        if self.path != STDOUT && (self.path.contains('\0') || !ENDINGS.iter().any(|e| ends(e))) {
            faults.push(format!(
                "{path}.path: \"{}\" is neither {STDOUT} nor a file ending in .log or .jsonl",
                self.path
            ));
        }
        if self.sample == 0 {
            faults.push(format!(
                "{path}.sample: one of 0 requests cannot be written; set 1 or more, or leave the \
                 log out"
            ));
        }
        for (b, name) in self.load_balancers.iter().enumerate() {
            if !is_balancer(name) {
                faults.push(format!(
                    "{path}.loadBalancers[{b}]: \"{name}\" is not configured"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_could_overwrite_something_else_or_says_nothing_is_refused() {
        let check = |log: &AccessLog| {
            let mut faults = Vec::new();
            log.check(|name| name == "a", &mut faults);
            faults
        };
        for path in ["stdout", "access.log", "/var/log/b/x.jsonl", "../x.log"] {
            let log = AccessLog {
                path: path.to_owned(),
                load_balancers: vec!["a".to_owned()],
                ..AccessLog::default()
            };
            assert_eq!(check(&log), Vec::<String>::new(), "{path}");
        }
        for path in ["", "config.json", ".log", "x.log/..", "x\0.log", "stderr"] {
            let log = AccessLog {
                path: path.to_owned(),
                ..AccessLog::default()
            };
            assert!(
                check(&log)[0].starts_with("settings.accessLog.path: "),
                "{path}"
            );
        }
        let log: AccessLog =
            serde_json::from_str(r#"{"sample": 0, "loadBalancers": ["a", "b"]}"#).unwrap();
        let faults = check(&log);
        assert!(
            faults[0].starts_with("settings.accessLog.sample: "),
            "{faults:?}"
        );
        assert!(faults[1].starts_with("settings.accessLog.loadBalancers[1]: "));
        assert!(serde_json::from_str::<AccessLog>(r#"{"headers": true}"#).is_err());
    }
}
