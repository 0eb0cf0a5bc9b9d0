//! A configuration as it is handed to the workers.

use std::time::Duration;

use super::plane::{Inner, NOBODY, route_key};
use crate::proxy::plan::{Balancer, Group, Limits, Plan, Route};

impl Inner {
    /// The present configuration as workers serve it.
    pub(super) fn plan(&self) -> Plan {
        let mut plan = Plan {
            limits: Limits {
                tries: if self.config.settings.retry {
                    self.config.settings.max_tries
                } else {
                    1
                },
                connect: Duration::from_millis(self.config.settings.connect_timeout_ms.max(1)),
            },
            ..Plan::default()
        };
        let meters = |balancer: &str, group: &str| {
            let key = (balancer.to_owned(), group.to_owned());
            let meters = self.meters.get(&key);
            meters.map(|meters| meters.each.clone()).unwrap_or_default()
        };
        for balancer in &self.config.load_balancers {
            let groups = balancer.groups.iter().map(|group| Group {
                name: group.name.as_str().into(),
                weight: group.weight,
                slow_start: Duration::from_millis(group.slow_start_ms),
                protocol: group.protocol,
                targets: {
                    let tracked = group
                        .instances
                        .iter()
                        .filter_map(|i| self.tracked.get(&i.id));
                    tracked.map(|t| t.target.clone()).collect()
                },
                meters: meters(&balancer.name, &group.name),
            });
            plan.balancers.push(Balancer {
                name: balancer.name.as_str().into(),
                hold: self.holds.of(balancer),
                sticky: balancer.sticky.clone(),
                turns: self
                    .turns
                    .get(&balancer.name)
                    .map(|(_, turns)| turns.clone())
                    .unwrap_or_default(),
                groups: groups.collect(),
                nobody: meters(&balancer.name, NOBODY),
            });
        }
        for route in &self.config.routes {
            let position = |name: &str| {
                let mut balancers = self.config.load_balancers.iter();
                balancers.position(|b| b.name == name)
            };
            if let Some(at) = position(&route.load_balancer) {
                let mut planned = Route::new(route, at);
                let meters = self.route_meters.get(&route_key(route));
                planned.meters = meters.map(|m| m.each.clone()).unwrap_or_default();
                planned.limits = self.gates.of(route);
                let mirror = route.mirror.as_ref();
                let to = mirror.and_then(|mirror| position(&mirror.load_balancer));
                planned.mirror = to.zip(self.gates.mirror(route));
                plan.routes.push(planned);
            }
        }
        plan
    }
}
