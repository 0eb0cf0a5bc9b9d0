//! The balancer's command line: what it is started with, and how that differs from what is configured
//! now. A balancer keeps its flags until it is replaced, so the two may differ for long.

use std::path::Path;

use crate::config::{Config, Local};

/// Tells a balancer to take over from the one that runs in its folder. One that is started again under
/// the same order finds nobody there, and begins by itself.
const HANDOVER: &str = "--handover";

/// Flags that say what section `local` says, and its names for them.
const SETTINGS: [(&str, &str); 4] = [
    ("--workers", "local.balancer-workers"),
    ("--metrics-listen", "local.metrics-listen"),
    ("--otlp-endpoint", "local.otlp-endpoint"),
    ("--otlp-interval-ms", "local.otlp-interval"),
];

/// A setting in which a balancer differs from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name in the configuration.
    pub setting: &'static str,
    /// What the balancer was started with; none: the default.
    pub before: Option<String>,
    /// What is configured.
    pub now: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "default".to_owned());
        let (now, before) = (shown(&self.now), shown(&self.before));
        write!(f, "{}: {now} instead of {before}", self.setting)
    }
}

/// What a balancer is started with.
pub(super) fn first(program: &Path, config: &Config, folder: &Path) -> Vec<String> {
    let mut command = vec![
        program.display().to_string(),
        "--data".to_owned(),
        folder.display().to_string(),
        "--listen".to_owned(),
        format!("127.0.0.1:{}", config.balancer_port),
    ];
    command.extend(flags(&config.local));
    command
}

/// What the successor of a balancer is started with, as the configuration says where there is one, else
/// as the one before.
pub(super) fn successor(before: &[String], program: &Path, local: Option<&Local>) -> Vec<String> {
    let mut command = match local {
        None => before.to_vec(),
        Some(local) => {
            let mut kept = Vec::new();
            let mut words = before.iter();
            while let Some(word) = words.next() {
                if SETTINGS.iter().any(|(flag, _)| flag == word) {
                    let _value = words.next();
                } else {
                    kept.push(word.clone());
                }
            }
            kept.extend(flags(local));
            kept
        }
    };
    if let Some(first) = command.first_mut() {
        *first = program.display().to_string();
    }
    if !command.iter().any(|word| word == HANDOVER) {
        command.push(HANDOVER.to_owned());
    }
    command
}

/// In what a balancer that was started so differs from the configuration.
pub(crate) fn changes(command: &[String], local: &Local) -> Vec<Change> {
    let configured = flags(local);
    let changes = SETTINGS.iter().map(|(flag, setting)| Change {
        setting,
        before: value_of(command, flag).map(str::to_owned),
        now: value_of(&configured, flag).map(str::to_owned),
    });
    changes
        .filter(|change| change.before != change.now)
        .collect()
}

/// The value behind a flag.
pub(crate) fn value_of<'a>(command: &'a [String], flag: &str) -> Option<&'a str> {
    let mut words = command.iter().skip_while(|word| *word != flag);
    words.nth(1).map(String::as_str)
}

fn flags(local: &Local) -> Vec<String> {
    let workers = local.balancer_workers;
    // An interval says nothing where nothing is sent, and a balancer is not replaced for it.
    let interval = local.otlp_endpoint.as_ref().map(|_| local.otlp_interval.0);
    let interval = interval.filter(|interval| *interval != Local::default().otlp_interval.0);
    let values = [
        (workers > 0).then(|| workers.to_string()),
        local.metrics_listen.clone(),
        local.otlp_endpoint.clone(),
        interval.map(|interval| interval.as_millis().to_string()),
    ];
    let given = SETTINGS.iter().zip(values);
    let given = given.filter_map(|((flag, _), value)| Some([(*flag).to_owned(), value?]));
    given.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn local(yaml: &str) -> Local {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    const ALL: &str = "{balancer-workers: 3, metrics-listen: '127.0.0.1:9090', \
                       otlp-endpoint: 'http://a:1', otlp-interval: 5s}";

    #[test]
    fn a_balancer_is_started_as_configured() {
        let mut config = Config {
            balancer_port: 8081,
            ..Config::default()
        };
        let started = |config: &Config| first(Path::new("/bin/b"), config, Path::new("/d"));
        let plain = "/bin/b --data /d --listen 127.0.0.1:8081";
        assert_eq!(started(&config), words(plain));
        config.local = local("otlp-interval: 5s");
        assert_eq!(started(&config), words(plain), "nothing is sent");
        config.local = local(ALL);
        let flags = "--workers 3 --metrics-listen 127.0.0.1:9090 --otlp-endpoint http://a:1 \
                     --otlp-interval-ms 5000";
        assert_eq!(started(&config), words(&format!("{plain} {flags}")));
    }

    #[test]
    fn a_successor_is_as_configured_and_listens_where_the_one_before_did() {
        let before =
            words("/old --data /d --workers 2 --listen 127.0.0.1:8081 --otlp-endpoint http://a:1");
        let new = Path::new("/new");
        let kept = successor(&before, new, None);
        assert_eq!(
            kept,
            words(
                "/new --data /d --workers 2 --listen 127.0.0.1:8081 --otlp-endpoint http://a:1 \
                 --handover"
            )
        );
        let plain = local("{}");
        let told = successor(&kept, new, Some(&plain));
        assert_eq!(
            told,
            words("/new --data /d --listen 127.0.0.1:8081 --handover")
        );
        assert_eq!(changes(&told, &plain), []);
        let told = successor(&told, new, Some(&local(ALL)));
        assert_eq!(changes(&told, &local(ALL)), []);
        assert_eq!(value_of(&told, "--listen"), Some("127.0.0.1:8081"));
        assert_eq!(told.iter().filter(|word| *word == HANDOVER).count(), 1);
    }

    #[test]
    fn what_differs_is_told_by_the_names_of_the_configuration() {
        let runs = words("b --data d --workers 2 --otlp-endpoint http://a:1");
        let told: Vec<_> = changes(&runs, &local("{metrics-listen: '127.0.0.1:9090'}"))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "local.balancer-workers: default instead of 2",
                "local.metrics-listen: 127.0.0.1:9090 instead of default",
                "local.otlp-endpoint: default instead of http://a:1",
            ]
        );
    }
}
