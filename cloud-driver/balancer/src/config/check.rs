//! What is wrong with a configuration: each fault with its path, its value and what to do.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::{Config, Faults, Group, HeaderCondition, LoadBalancer, Route, RouteLimits};

/// Conditions of one route: headers, and methods.
const MOST_CONDITIONS: usize = 16;
/// Longest time of a limit or of holding a request, ms: a day.
const MOST_MS: u64 = 86_400_000;
/// Most that may be held or counted at a time.
const MOST_REQUESTS: u64 = 1_000_000;
/// Longest life of a cookie: browsers cut it at 400 days.
const MOST_TTL_S: u64 = 400 * 86_400;

impl Config {
    /// Everything that is wrong with it.
    pub fn check(&self) -> Faults {
        let mut found = Found(Vec::new());
        let mut ids = BTreeSet::new();
        for (b, balancer) in self.load_balancers.iter().enumerate() {
            for (g, group) in balancer.groups.iter().enumerate() {
                let path = format!("loadBalancers[{b}].groups[{g}]");
                found.group(&path, group);
                for (i, instance) in group.instances.iter().enumerate() {
                    let path = format!("{path}.instances[{i}]");
                    if instance.address.parse::<std::net::SocketAddr>().is_err() {
                        let address = &instance.address;
                        found.add(&path, "address", format!("\"{address}\" is no IP:PORT"));
                    }
                    if !ids.insert(instance.id.as_str()) {
                        found.add(&path, "id", format!("\"{}\" stands twice", instance.id));
                    }
                }
            }
            found.load_balancer(&format!("loadBalancers[{b}]"), balancer);
        }
        if ids.len() > crate::MAX_INSTANCES {
            let most = crate::MAX_INSTANCES;
            found
                .0
                .push(format!("{} instances, more than {most}", ids.len()));
        }
        let mut names = BTreeSet::new();
        for (r, route) in self.routes.iter().enumerate() {
            let path = format!("routes[{r}]");
            if let Some(name) = &route.name
                && !names.insert(name)
            {
                let why = format!("\"{name}\" stands twice; figures need names of their own");
                found.add(&path, "name", why);
            }
            found.route(&path, route, &self.load_balancers);
        }
        if let Some(log) = &self.settings.access_log {
            let known = |name: &str| self.load_balancers.iter().any(|b| b.name == name);
            log.check(known, &mut found.0);
        }
        super::listener::check(&self.listeners, &mut found.0);
        Faults { faults: found.0 }
    }
}

/// Faults found so far.
struct Found(Vec<String>);

impl Found {
    fn add(&mut self, path: &str, field: &str, why: impl Display) {
        self.0.push(format!("{path}.{field}: {why}"));
    }

    fn number(&mut self, path: &str, field: &str, value: u64, range: RangeInclusive<u64>) {
        if !range.contains(&value) {
            let (least, most) = (range.start(), range.end());
            self.add(
                path,
                field,
                format!("{value} is not in {least}..={most}; give a number within"),
            );
        }
    }

    fn limit(
        &mut self,
        path: &str,
        field: &str,
        value: Option<impl Into<u64>>,
        range: RangeInclusive<u64>,
    ) {
        match value.map(Into::into) {
            Some(0) => self.add(
                path,
                field,
                "0 lets nothing through; leave it out for no limit",
            ),
            Some(value) => self.number(path, field, value, range),
            None => {}
        }
    }

    fn load_balancer(&mut self, path: &str, balancer: &LoadBalancer) {
        if let Some(sticky) = &balancer.sticky {
            let path = format!("{path}.sticky");
            let name = &sticky.cookie;
            if !is_token(name) {
                let why =
                    format!("\"{name}\" is no name of a cookie; use letters, digits, - and _");
                self.add(&path, "cookie", why);
            }
            if let Some(cookie_path) = &sticky.path {
                let plain = |b: u8| b.is_ascii_graphic() && b != b';';
                if !cookie_path.starts_with('/') || !cookie_path.bytes().all(plain) {
                    let why = format!(
                        "\"{cookie_path}\" is no path of a cookie; begin with / and leave ; out"
                    );
                    self.add(&path, "path", why);
                }
            }
            self.limit(&path, "ttlSeconds", sticky.ttl_seconds, 1..=MOST_TTL_S);
        }
        if let Some(hold) = balancer.hold_requests {
            let path = format!("{path}.holdRequests");
            self.number(&path, "maxMs", hold.max_ms, 1..=MOST_MS);
            self.number(
                &path,
                "maxRequests",
                hold.max_requests.into(),
                1..=MOST_REQUESTS,
            );
        }
    }

    fn group(&mut self, path: &str, group: &Group) {
        self.number(path, "slowStartMs", group.slow_start_ms, 0..=MOST_MS);
        let Some(outlier) = &group.outlier else {
            return;
        };
        let path = format!("{path}.outlier");
        let failures = outlier.consecutive_failures.into();
        self.number(&path, "consecutiveFailures", failures, 1..=MOST_REQUESTS);
        self.limit(
            &path,
            "consecutive5xx",
            outlier.consecutive_5xx,
            1..=MOST_REQUESTS,
        );
        self.number(
            &path,
            "baseEjectionMs",
            outlier.base_ejection_ms,
            1..=MOST_MS,
        );
        if outlier.max_ejection_ms < outlier.base_ejection_ms {
            let (most, base) = (outlier.max_ejection_ms, outlier.base_ejection_ms);
            let why = format!("{most} is below baseEjectionMs {base}; give it or more");
            self.add(&path, "maxEjectionMs", why);
        }
        self.number(&path, "maxEjectionMs", outlier.max_ejection_ms, 1..=MOST_MS);
        let percent = outlier.max_ejection_percent.into();
        self.number(&path, "maxEjectionPercent", percent, 0..=100);
    }

    fn route(&mut self, path: &str, route: &Route, balancers: &[LoadBalancer]) {
        if !route.path.starts_with('/') {
            self.add(
                path,
                "path",
                format!("\"{}\" does not begin with /", route.path),
            );
        }
        let is_there = |name: &str| balancers.iter().any(|b| b.name == name);
        let missing = |name: &str| format!("\"{name}\" is not configured");
        if !is_there(&route.load_balancer) {
            self.add(path, "loadBalancer", missing(&route.load_balancer));
        }
        if let Some(host) = &route.host {
            let below = host.strip_prefix("*.").unwrap_or(host);
            if below.contains('*') || below.is_empty() {
                let why = format!("\"{host}\" has a * elsewhere than in *. before a host");
                self.add(path, "host", why);
            }
        }
        if route.name.as_deref().is_some_and(str::is_empty) {
            self.add(path, "name", "is empty; leave it out or give one");
        }
        for (m, method) in route.methods.iter().enumerate() {
            if !is_token(method) {
                let why = format!("\"{method}\" is no method; write it as in GET");
                self.add(path, &format!("methods[{m}]"), why);
            }
        }
        for (field, count) in [
            ("methods", route.methods.len()),
            ("headers", route.headers.len()),
        ] {
            if count > MOST_CONDITIONS {
                let why = format!("{count} of them; give {MOST_CONDITIONS} at the most");
                self.add(path, field, why);
            }
        }
        for (h, condition) in route.headers.iter().enumerate() {
            self.condition(&format!("{path}.headers[{h}]"), condition);
        }
        if let Some(mirror) = &route.mirror {
            let path = format!("{path}.mirror");
            let name = &mirror.load_balancer;
            if !is_there(name) {
                self.add(&path, "loadBalancer", missing(name));
            }
            if *name == route.load_balancer {
                let why = format!("\"{name}\" is the route's own; name another");
                self.add(&path, "loadBalancer", why);
            }
            self.number(&path, "percent", mirror.percent.into(), 1..=100);
            let most = mirror.max_in_flight.into();
            self.number(&path, "maxInFlight", most, 1..=MOST_REQUESTS);
        }
        self.limits(&format!("{path}.limits"), &route.limits);
    }

    fn condition(&mut self, path: &str, condition: &HeaderCondition) {
        if !is_token(&condition.name) {
            let why = format!("\"{}\" is no name of a header", condition.name);
            self.add(path, "name", why);
        }
        let given = usize::from(condition.exact.is_some())
            + usize::from(condition.prefix.is_some())
            + usize::from(condition.present)
            + usize::from(condition.absent);
        if given != 1 {
            self.0.push(format!(
                "{path}: {given} of exact, prefix, present and absent are given; give one"
            ));
        }
    }

    fn limits(&mut self, path: &str, limits: &RouteLimits) {
        self.limit(path, "maxInFlight", limits.max_in_flight, 1..=MOST_REQUESTS);
        let rate = limits.requests_per_second;
        self.limit(path, "requestsPerSecond", rate, 1..=MOST_REQUESTS);
        self.limit(path, "burst", limits.burst, 1..=MOST_REQUESTS);
        if limits.burst.is_some() && rate.is_none() {
            self.add(
                path,
                "burst",
                "has no requestsPerSecond beside it; give one",
            );
        }
        self.limit(path, "maxBodyBytes", limits.max_body_bytes, 1..=u64::MAX);
        let timeout = limits.request_timeout_ms;
        self.limit(path, "requestTimeoutMs", timeout, 1..=MOST_MS);
        self.limit(path, "idleTimeoutMs", limits.idle_timeout_ms, 1..=MOST_MS);
    }
}

/// What names of methods, headers and cookies are made of (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let may = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(may)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(route: Value, balancer: Value, group: Value) -> Vec<String> {
        let mut config = json!({
            "routes": [{"path": "/", "loadBalancer": "a"}],
            "loadBalancers": [{"name": "a", "groups": [{"name": "g", "weight": 1}]}, {"name": "b"}],
        });
        let merge = |into: &mut Value, more: Value| {
            for (key, value) in more.as_object().unwrap() {
                into[key] = value.clone();
            }
        };
        merge(&mut config["routes"][0], route);
        merge(&mut config["loadBalancers"][0]["groups"][0], group);
        merge(&mut config["loadBalancers"][0], balancer);
        let config: Config = serde_json::from_value(config).unwrap();
        config.check().faults
    }

    #[test]
    fn what_is_right_has_no_faults() {
        let route = json!({
            "name": "cart", "host": "*.shop.test", "methods": ["GET", "M-SEARCH"],
            "headers": [{"name": "X-Beta", "exact": "1"}, {"name": "cookie", "present": true}],
            "mirror": {"loadBalancer": "b", "percent": 100},
            "limits": {"maxInFlight": 1, "requestsPerSecond": 5, "burst": 9, "maxBodyBytes": 1,
                       "requestTimeoutMs": 1, "idleTimeoutMs": 86_400_000},
        });
        let balancer = json!({
            "sticky": {"cookie": "sid", "ttlSeconds": 60, "path": "/cart", "secure": true},
            "holdRequests": {"maxMs": 1, "maxRequests": 1},
        });
        let group = json!({"slowStartMs": 10_000, "floor": 3, "outlier": {"consecutive5xx": 5}});
        assert_eq!(faults(route, balancer, group), Vec::<String>::new());
    }

    #[test]
    fn every_fault_names_its_path_its_value_and_what_to_do() {
        let none = || json!({});
        for (route, balancer, group, expected) in [
            (
                json!({"host": "a.*.test"}),
                none(),
                none(),
                "routes[0].host: \"a.*.test\" has a *",
            ),
            (
                json!({"host": "*."}),
                none(),
                none(),
                "routes[0].host: \"*.\"",
            ),
            (
                json!({"name": ""}),
                none(),
                none(),
                "routes[0].name: is empty",
            ),
            (
                json!({"methods": ["G T"]}),
                none(),
                none(),
                "routes[0].methods[0]: \"G T\"",
            ),
            (
                json!({"methods": vec!["GET"; 17]}),
                none(),
                none(),
                "routes[0].methods: 17 of them",
            ),
            (
                json!({"headers": [{"name": "a:", "present": true}]}),
                none(),
                none(),
                "routes[0].headers[0].name: \"a:\" is no name",
            ),
            (
                json!({"headers": [{"name": "a", "exact": "x", "absent": true}]}),
                none(),
                none(),
                "routes[0].headers[0]: 2 of exact, prefix, present and absent are given",
            ),
            (
                json!({"headers": [{"name": "a"}]}),
                none(),
                none(),
                "routes[0].headers[0]: 0 of exact",
            ),
            (
                json!({"mirror": {"loadBalancer": "c", "percent": 1}}),
                none(),
                none(),
                "routes[0].mirror.loadBalancer: \"c\" is not configured",
            ),
            (
                json!({"mirror": {"loadBalancer": "a", "percent": 1}}),
                none(),
                none(),
                "routes[0].mirror.loadBalancer: \"a\" is the route's own",
            ),
            (
                json!({"mirror": {"loadBalancer": "b", "percent": 101}}),
                none(),
                none(),
                "routes[0].mirror.percent: 101 is not in 1..=100",
            ),
            (
                json!({"limits": {"maxInFlight": 0}}),
                none(),
                none(),
                "routes[0].limits.maxInFlight: 0 lets nothing through",
            ),
            (
                json!({"limits": {"burst": 2}}),
                none(),
                none(),
                "routes[0].limits.burst: has no requestsPerSecond",
            ),
            (
                json!({"limits": {"idleTimeoutMs": 86_400_001}}),
                none(),
                none(),
                "routes[0].limits.idleTimeoutMs: 86400001 is not in",
            ),
            (
                none(),
                json!({"sticky": {"cookie": "a=b"}}),
                none(),
                "loadBalancers[0].sticky.cookie: \"a=b\"",
            ),
            (
                none(),
                json!({"sticky": {"cookie": "a", "path": "/;x"}}),
                none(),
                "loadBalancers[0].sticky.path: \"/;x\"",
            ),
            (
                none(),
                json!({"holdRequests": {"maxMs": 0, "maxRequests": 1}}),
                none(),
                "loadBalancers[0].holdRequests.maxMs: 0 is not in",
            ),
            (
                none(),
                none(),
                json!({"outlier": {"maxEjectionPercent": 101}}),
                "loadBalancers[0].groups[0].outlier.maxEjectionPercent: 101",
            ),
            (
                none(),
                none(),
                json!({"outlier": {"maxEjectionMs": 999}}),
                "loadBalancers[0].groups[0].outlier.maxEjectionMs: 999 is below baseEjectionMs 1000",
            ),
        ] {
            let found = faults(route, balancer, group);
            assert!(
                found.len() == 1 && found[0].starts_with(expected),
                "{expected}: {found:?}"
            );
        }
    }

    #[test]
    fn names_of_routes_stand_once_and_the_rest_are_labelled_by_host_and_path() {
        let route = |name: Option<&str>| Route {
            name: name.map(str::to_owned),
            host: Some("Shop.test".into()),
            path: "/cart".into(),
            load_balancer: "a".into(),
            ..Route::default()
        };
        let config = Config {
            routes: vec![route(Some("x")), route(None), route(None), route(Some("x"))],
            load_balancers: vec![LoadBalancer {
                name: "a".into(),
                ..LoadBalancer::default()
            }],
            ..Config::default()
        };
        let found = config.check().faults;
        assert!(
            found.len() == 1 && found[0].starts_with("routes[3].name: \"x\" stands twice"),
            "{found:?}"
        );
        assert_eq!(config.routes[0].label(), "x");
        assert_eq!(config.routes[1].label(), "shop.test/cart");
    }

    #[test]
    fn fields_that_are_not_used_are_not_written_for_balancers_that_do_not_know_them() {
        let text = r#"{"routes":[{"host":null,"path":"/","loadBalancer":"a"}],"loadBalancers":[{"name":"a","groups":[{"name":"g","weight":1,"health":{"path":null,"intervalMs":2000,"warmIntervalMs":100,"timeoutMs":1000,"healthyThreshold":2,"unhealthyThreshold":3},"instances":[]}]}],"settings":{"retry":true,"maxTries":3,"connectTimeoutMs":1000}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
    }
}
