//! Which route a request takes: by host, path, method and headers.
//!
//! The order is that of [`balancer::Route`]: the host that says most, then the longest path, then
//! the most conditions, then as written.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};

use super::gate::{Allowance, Gate};
use super::meter::RouteMeter;
use super::mirror::Mirror;
use super::plan;
use super::table::Balancer;

/// What must hold of a request beside host and path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// One of these; none given: any.
    methods: Vec<Method>,
    headers: Vec<(HeaderName, Test)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exact(String),
    Prefix(String),
    Present,
    Absent,
}

impl Conditions {
    /// Those of a route that was checked; none when it has none.
    pub(crate) fn of(route: &balancer::Route) -> Option<Self> {
        let test = |condition: &balancer::HeaderCondition| {
            let test = match (&condition.exact, &condition.prefix) {
                (Some(exact), _) => Test::Exact(exact.clone()),
                (None, Some(prefix)) => Test::Prefix(prefix.clone()),
                (None, None) if condition.absent => Test::Absent,
                (None, None) => Test::Present,
            };
            Some((condition.name.parse().ok()?, test))
        };
        let conditions = Self {
            methods: route
                .methods
                .iter()
                .filter_map(|m| m.parse().ok())
                .collect(),
            headers: route.headers.iter().filter_map(test).collect(),
        };
        (conditions != Self::default()).then_some(conditions)
    }

    fn count(&self) -> usize {
        self.headers.len() + usize::from(!self.methods.is_empty())
    }

    fn hold(&self, method: &Method, headers: &HeaderMap) -> bool {
        let known = self.methods.is_empty() || self.methods.contains(method);
        known
            && self
                .headers
                .iter()
                .all(|(name, test)| test.holds(headers, name))
    }
}

impl Test {
    fn holds(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let mut values = headers.get_all(name).iter().map(|value| value.as_bytes());
        match self {
            Self::Exact(exact) => values.any(|value| value == exact.as_bytes()),
            Self::Prefix(prefix) => values.any(|value| value.starts_with(prefix.as_bytes())),
            Self::Present => values.next().is_some(),
            Self::Absent => values.next().is_none(),
        }
    }
}

/// A route in one worker.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in figures.
    pub(crate) name: Arc<str>,
    /// Path prefix without its last `/`.
    path: String,
    conditions: Option<Conditions>,
    /// Where its requests go.
    pub(crate) balancer: Rc<Balancer>,
    /// What it allows, and what all workers share of that.
    pub(crate) limits: Option<(Arc<Gate>, Allowance)>,
    /// Where copies of its requests go.
    pub(crate) mirror: Option<Mirror>,
    pub(crate) meter: Arc<RouteMeter>,
}

impl Route {
    fn fits(&self, path: &str, method: &Method, headers: &HeaderMap) -> bool {
        let conditions = || self.conditions.as_ref();
        fits(&self.path, path) && conditions().is_none_or(|c| c.hold(method, headers))
    }
}

type List = Vec<Rc<Route>>;

/// All routes, best first.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    hosts: HashMap<String, List>,
    /// Those of `*.example.com`, by `.example.com`.
    below: HashMap<String, List>,
    any_host: List,
}

impl Routes {
    /// The routes of a plan to its load balancers, as this worker counts them.
    pub(crate) fn new(plan: &[plan::Route], worker: usize, balancers: &[Rc<Balancer>]) -> Self {
        let mut routes = Self::default();
        for route in plan {
            let Some(balancer) = balancers.get(route.balancer) else {
                continue;
            };
            let list = match &route.host {
                None => &mut routes.any_host,
                Some(host) => match host.strip_prefix('*') {
                    Some(below) => routes.below.entry(below.to_owned()).or_default(),
                    None => routes.hosts.entry(host.clone()).or_default(),
                },
            };
            let mirror = route.mirror.as_ref().and_then(|(to, rate)| {
                let balancer = balancers.get(*to)?.clone();
                Some(Mirror::new(balancer, rate.clone()))
            });
            list.push(Rc::new(Route {
                name: route.name.clone(),
                path: route.path.clone(),
                conditions: route.conditions.clone(),
                balancer: balancer.clone(),
                limits: route.limits.clone(),
                mirror,
                meter: route.meters.get(worker).cloned().unwrap_or_default(),
            }));
        }
        let named = routes.hosts.values_mut().chain(routes.below.values_mut());
        for list in named.chain([&mut routes.any_host]) {
            // Stable: of equals the first written counts.
            list.sort_by_key(|route| {
                let conditions = route.conditions.as_ref().map_or(0, Conditions::count);
                Reverse((route.path.len(), conditions))
            });
        }
        routes
    }

    /// The route of a request to a host (with or without port).
    pub(crate) fn find(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<&Rc<Route>> {
        let host = without_port(host);
        let lower;
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            &lower
        } else {
            host
        };
        let first = |list: &'_ List| -> Option<usize> {
            list.iter()
                .position(|route| route.fits(path, method, headers))
        };
        let own = self.hosts.get(host).into_iter();
        let below = endings(host, !self.below.is_empty()).filter_map(|end| self.below.get(end));
        own.chain(below)
            .chain([&self.any_host])
            .find_map(|list| list.get(first(list)?))
    }
}

/// `.b.c` and `.c` of `a.b.c`.
fn endings(host: &str, wanted: bool) -> impl Iterator<Item = &str> {
    let host = if wanted { host } else { "" };
    // A dot at the beginning has nothing before it that a pattern could stand for.
    let dots = host.match_indices('.').filter(|(at, _)| *at > 0);
    dots.map(|(at, _)| &host[at..])
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        // In `[::1]` the last colon belongs to the address.
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

fn fits(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'))
        || prefix.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::table::Table;
    use super::*;

    /// Which of these routes, each to a load balancer of its own, a request takes.
    fn routes(
        list: &[Value],
    ) -> impl Fn(&str, &str, &str, &[(&str, &str)]) -> Option<usize> + use<> {
        let mut plan = plan::Plan::default();
        for (balancer, route) in list.iter().enumerate() {
            let mut route = route.clone();
            route["loadBalancer"] = json!("x");
            let route: balancer::Route = serde_json::from_value(route).unwrap();
            plan.balancers.push(plan::Balancer::default());
            plan.routes.push(plan::Route::new(&route, balancer));
        }
        let table = Table::new(&plan, 0, &Table::default());
        move |host, path, method, headers| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name: HeaderName = name.parse().unwrap();
                map.append(name, value.parse().unwrap());
            }
            let found = table
                .routes
                .find(host, path, &method.parse().unwrap(), &map)?;
            table.position(&found.balancer)
        }
    }

    #[test]
    fn the_longest_path_of_the_requests_host_counts_and_any_host_last() {
        let find = routes(&[
            json!({"path": "/"}),
            json!({"host": "a.test", "path": "/"}),
            json!({"host": "A.test", "path": "/staging/"}),
            json!({"host": "a.test", "path": "/staging"}),
            json!({"path": "/only"}),
            json!({"host": "[::1]", "path": "/"}),
        ]);
        for (host, path, expected) in [
            ("b.test", "/", 0),
            ("a.test", "/", 1),
            ("A.Test:8080", "/staging", 2),
            ("a.test", "/staging/x", 2),
            ("a.test", "/stagingx", 1),
            ("b.test", "/only/x", 4),
            ("[::1]:80", "/", 5),
            ("[::1]", "/", 5),
            ("", "*", 0),
        ] {
            assert_eq!(find(host, path, "GET", &[]), Some(expected), "{host}{path}");
        }
    }

    #[test]
    fn a_pattern_stands_for_every_host_below_and_the_longest_counts() {
        let find = routes(&[
            json!({"host": "*.test", "path": "/"}),
            json!({"host": "*.Shop.test", "path": "/"}),
            json!({"host": "de.shop.test", "path": "/cart"}),
        ]);
        for (host, path, expected) in [
            ("a.test", "/", Some(0)),
            ("shop.test", "/", Some(0)),
            ("fr.shop.test:80", "/", Some(1)),
            ("x.FR.shop.test", "/", Some(1)),
            ("de.shop.test", "/cart/1", Some(2)),
            // The host's own routes do not fit; those of the pattern do.
            ("de.shop.test", "/", Some(1)),
            ("test", "/", None),
            (".test", "/", None),
            ("xtest", "/", None),
            ("", "/", None),
        ] {
            assert_eq!(find(host, path, "GET", &[]), expected, "{host}{path}");
        }
    }

    #[test]
    fn of_equal_paths_the_one_with_more_conditions_counts_and_then_the_first_written() {
        let find = routes(&[
            json!({"path": "/"}),
            json!({"path": "/", "methods": ["GET", "PUT"]}),
            json!({"path": "/", "methods": ["GET"], "headers": [{"name": "X-Beta", "exact": "1"}]}),
            json!({"path": "/", "headers": [{"name": "x-beta", "prefix": "0."}]}),
            json!({"path": "/", "headers": [{"name": "x-beta", "present": true}]}),
            json!({"path": "/x", "headers": [{"name": "a", "absent": true}, {"name": "b", "present": true}]}),
        ]);
        for (path, method, headers, expected) in [
            ("/", "POST", &[][..], 0),
            ("/", "GET", &[], 1),
            ("/", "PUT", &[("x-beta", "1")], 1),
            ("/", "GET", &[("x-beta", "1")], 2),
            ("/", "GET", &[("x-beta", "0.7"), ("x-beta", "1")], 2),
            ("/", "POST", &[("x-beta", "0"), ("x-beta", "0.7")], 3),
            ("/", "POST", &[("x-beta", "")], 4),
            ("/x", "POST", &[("b", "")], 5),
            ("/x", "POST", &[("b", ""), ("a", "")], 0),
            ("/x", "POST", &[], 0),
        ] {
            assert_eq!(
                find("a.test", path, method, headers),
                Some(expected),
                "{method} {path} {headers:?}"
            );
        }
    }
}
