//! A configuration as it is handed to the workers: whole, immutable, one for all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balancer::Protocol;

use super::access::Order;
use super::gate::{Allowance, Gate};
use super::hold::Holding;
use super::meter::{Meter, RouteMeter};
use super::mirror::Rate;
use super::routes::Conditions;
use super::target::Target;

/// A configuration to be served.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Routes, as written.
    pub(crate) routes: Vec<Route>,
    /// Load balancers.
    pub(crate) balancers: Vec<Balancer>,
    /// How it behaves.
    pub(crate) limits: Limits,
    /// What is written of requests; none: nothing.
    pub(crate) access: Option<Order>,
}

/// How requests are tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Instances tried for one request; 1: nothing is ever repeated.
    pub(crate) tries: u32,
    /// For a connection.
    pub(crate) connect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tries: 3,
            connect: Duration::from_secs(1),
        }
    }
}

/// A route.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in figures.
    pub(crate) name: Arc<str>,
    /// In lower case; none: any.
    pub(crate) host: Option<String>,
    /// Path prefix without its last `/`.
    pub(crate) path: String,
    /// What else must hold.
    pub(crate) conditions: Option<Conditions>,
    /// Index of the load balancer.
    pub(crate) balancer: usize,
    /// What it allows, and what all workers share of that.
    pub(crate) limits: Option<(Arc<Gate>, Allowance)>,
    /// Index of the load balancer that gets copies, and how many.
    pub(crate) mirror: Option<(usize, Rate)>,
    /// Its figures, one a worker.
    pub(crate) meters: Vec<Arc<RouteMeter>>,
}

impl Route {
    /// A route that was checked, to the load balancer of this index.
    pub(crate) fn new(route: &balancer::Route, balancer: usize) -> Self {
        Self {
            name: route.label().into(),
            host: route.host.as_ref().map(|host| host.to_ascii_lowercase()),
            path: route.path.trim_end_matches('/').to_owned(),
            conditions: Conditions::of(route),
            balancer,
            limits: None,
            mirror: None,
            meters: Vec::new(),
        }
    }
}

/// A load balancer.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Whose turn it is; shared by the workers, so that shares are exact over all of them.
    pub(crate) turns: Arc<Turns>,
    /// Server groups.
    pub(crate) groups: Vec<Group>,
    /// Figures of what no group answered, one a worker.
    pub(crate) nobody: Vec<Arc<Meter>>,
    /// Whether clients stay with an instance.
    pub(crate) sticky: Option<balancer::Sticky>,
    /// How it holds requests, if it does.
    pub(crate) hold: Option<Holding>,
}

/// A server group.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its share.
    pub(crate) weight: u32,
    /// How long the share of a new instance grows; zero: it is whole from the beginning.
    pub(crate) slow_start: Duration,
    /// What its instances are spoken to in.
    pub(crate) protocol: Protocol,
    /// Its instances.
    pub(crate) targets: Vec<Arc<Target>>,
    /// Its figures, one a worker.
    pub(crate) meters: Vec<Arc<Meter>>,
}

/// Smooth weighted round robin: every run of as many requests as the weights' sum is divided
/// exactly, and spread evenly within it.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Vec<i64>>);

impl Turns {
    /// Whose turn it is among those with a weight; a weight of 0 is left out.
    pub(crate) fn next(&self, weights: impl Iterator<Item = u32>) -> Option<usize> {
        let mut credit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sum, mut best) = (0, None);
        for (at, weight) in weights.enumerate() {
            if credit.len() <= at {
                credit.push(0);
            }
            if weight == 0 {
                continue;
            }
            sum += i64::from(weight);
            credit[at] += i64::from(weight);
            if best.is_none_or(|best: usize| credit[at] > credit[best]) {
                best = Some(at);
            }
        }
        if let Some(best) = best {
            credit[best] -= sum;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_in_every_run_as_long_as_the_weights_sum() {
        for weights in [
            vec![1],
            vec![95, 5],
            vec![1, 2, 3],
            vec![0, 7],
            vec![10, 0, 90],
        ] {
            let turns = Turns::default();
            let sum: u32 = weights.iter().sum();
            for _ in 0..3 {
                let mut got = vec![0; weights.len()];
                for _ in 0..sum {
                    got[turns.next(weights.iter().copied()).unwrap()] += 1;
                }
                assert_eq!(got, weights);
            }
        }
        assert_eq!(Turns::default().next([0, 0].into_iter()), None);
    }

    #[test]
    fn a_canary_of_five_percent_gets_its_request_within_the_first_twenty() {
        let turns = Turns::default();
        let got = (0..20)
            .filter(|_| turns.next([95, 5].into_iter()) == Some(1))
            .count();
        assert_eq!(got, 1);
    }
}
