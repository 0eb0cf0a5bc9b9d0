//! The access log where not all is as the operator says: load balancers that are not there (yet), a file
//! that cannot be written, a balancer of an earlier version. None of that holds up a deployment.

use balancer::{AccessLog, Config, Faults};

/// The log of those of its load balancers that are there; none when it names some and none of them is.
pub(super) fn of_those_there(
    log: &AccessLog,
    is_there: impl Fn(&str) -> bool,
) -> Option<AccessLog> {
    let mut told = log.clone();
    told.load_balancers.retain(|name| is_there(name));
    // Without a name all are logged, which nobody asked for.
    (told.load_balancers.is_empty() == log.load_balancers.is_empty()).then_some(told)
}

/// What is not logged because it is not there, for the operator.
pub(super) fn absent(log: &AccessLog, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let names = log.load_balancers.iter();
    let absent = names.filter(|name| !is_there(name));
    absent
        .map(|name| {
            format!(
                "local.access-log.load-balancers: \"{name}\" is not there; it is logged once it is made"
            )
        })
        .collect()
}

/// Takes the log out of a configuration that the balancer refused for the log's sake, and says why; none
/// when it refused it for something else.
pub(super) fn without(config: &Config, faults: &Faults) -> Option<(Config, String)> {
    config.settings.access_log.as_ref()?;
    // One of an earlier version does not know the field, and understands nothing of the configuration.
    let about_it = |fault: &&String| {
        fault.starts_with("settings.accessLog")
            || (fault.starts_with("body: ") && fault.contains("unknown field `accessLog`"))
    };
    let fault = faults.faults.iter().find(about_it)?;
    let why = match fault.strip_prefix("settings.accessLog.") {
        Some(own) => format!("local.access-log.{own}"),
        None => "the balancer that runs is of an earlier version and has no access log; replace it with \
                 gennaker balancer upgrade"
            .to_owned(),
    };
    let mut config = config.clone();
    config.settings.access_log = None;
    Some((config, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_cannot_be_is_taken_out_and_nothing_else() {
        let config = Config {
            settings: balancer::Settings {
                access_log: Some(AccessLog::default()),
                ..balancer::Settings::default()
            },
            listeners: vec![balancer::Listener::new("127.0.0.1:81")],
            ..Config::default()
        };
        let faults = |all: &[&str]| Faults {
            faults: all.iter().map(|&fault| fault.to_owned()).collect(),
        };
        for (fault, told) in [
            (
                "settings.accessLog.path: \"/x.log\" cannot be written to: denied",
                "local.access-log.path: \"/x.log\" cannot",
            ),
            (
                "body: settings: unknown field `accessLog`, expected one of `retry`",
                "earlier version",
            ),
        ] {
            let (rest, why) = without(&config, &faults(&["listeners[0]: x", fault])).unwrap();
            assert!(why.contains(told), "{why}");
            assert_eq!(rest.settings, balancer::Settings::default());
            assert_eq!(rest.listeners, config.listeners);
            assert_eq!(without(&rest, &faults(&[fault])), None, "there is none");
        }
        let others = ["listeners[0]: accessLog", "body: unknown field `listeners`"];
        assert_eq!(without(&config, &faults(&others)), None);
    }

    #[test]
    fn each_load_balancer_that_is_not_there_is_named() {
        let mut log = AccessLog::default();
        assert_eq!(absent(&log, |_| false), Vec::<String>::new());
        log.load_balancers = vec!["a".to_owned(), "b".to_owned()];
        let told = absent(&log, |name| name == "a");
        assert!(told.len() == 1 && told[0].contains("\"b\""), "{told:?}");
    }
}
