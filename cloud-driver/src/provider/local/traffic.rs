//! How a load balancer passes requests on, beside host and path: the balancer's own words, checked by
//! the balancer's own rules.

use balancer::{
    Config, Group, HeaderCondition, HoldRequests, LoadBalancer, Mirror, Outlier, Route,
    RouteLimits, Sticky,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::document::Capacity;

/// What may be said of a load balancer; what is not said is as without it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Traffic {
    /// Methods it answers; none given: all. `GET` must be among them: with it new instances are proven.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What must hold of the headers of requests it answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderCondition>,
    /// Where copies of its requests go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// What its requests may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<RouteLimits>,
    /// Whether clients stay with an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Whether requests wait while no instance serves: a swap on a single host then fails none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_requests: Option<HoldRequests>,
    /// Time over which the share of a new instance grows, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start_ms: Option<u64>,
    /// When instances are left out because requests fail at them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
}

/// A name that no load balancer has.
const OWN: &str = " own";

/// A field that cannot be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// `sticky.cookie`
    pub field: String,
    /// Value and remedy.
    pub why: String,
}

impl Traffic {
    /// The names of its fields.
    pub const FIELDS: [&'static str; 8] = [
        "methods",
        "headers",
        "mirror",
        "limits",
        "sticky",
        "holdRequests",
        "slowStartMs",
        "outlier",
    ];

    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// With the fields that `given` has: null takes one away, what is not there stays as it was.
    ///
    /// # Errors
    /// When a field cannot be read, or what comes of it cannot be.
    pub fn with(&self, given: &Map<String, Value>) -> Result<Self, Flaw> {
        let flaw = |field: &str, why: String| Flaw {
            field: field.to_owned(),
            why,
        };
        let mut fields = match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        for name in Self::FIELDS {
            match given.get(name) {
                None => {}
                Some(Value::Null) => drop(fields.shift_remove(name)),
                Some(value) => {
                    let alone = Map::from_iter([(name.to_owned(), value.clone())]);
                    if let Err(error) = serde_json::from_value::<Self>(alone.into()) {
                        return Err(flaw(name, format!("cannot be read: {error}")));
                    }
                    fields.insert(name.to_owned(), value.clone());
                }
            }
        }
        let new: Self = serde_json::from_value(fields.into())
            .map_err(|error| flaw("input", error.to_string()))?;
        match new.flaws().into_iter().next() {
            None => Ok(new),
            Some(flaw) => Err(flaw),
        }
    }

    /// What cannot be so. Whether a mirror's load balancer is there is not looked at.
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut route = Route {
            path: "/".into(),
            load_balancer: OWN.into(),
            ..Route::default()
        };
        self.route(&mut route, |_| true);
        let mut group = Group::default();
        self.group(&mut group, &Capacity::default());
        let own = LoadBalancer {
            name: OWN.into(),
            groups: vec![group],
            sticky: self.sticky.clone(),
            hold_requests: self.hold_requests,
        };
        let mirror = self.mirror.as_ref().map(|mirror| LoadBalancer {
            name: mirror.load_balancer.clone(),
            ..LoadBalancer::default()
        });
        let config = Config {
            routes: vec![route],
            load_balancers: [own].into_iter().chain(mirror).collect(),
            ..Config::default()
        };
        let faults = config.check().faults.into_iter();
        let mut flaws: Vec<Flaw> = faults.map(|fault| of(&fault)).collect();
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == "GET") {
            flaws.push(Flaw {
                field: "methods".into(),
                why: "has no GET, with which new instances are proven; add it".into(),
            });
        }
        flaws
    }

    /// Says it of the route to the load balancer. A mirror to one that is not there (yet, or any more)
    /// is left out: the balancer would refuse everything.
    pub fn route(&self, route: &mut Route, is_there: impl Fn(&str) -> bool) {
        route.methods.clone_from(&self.methods);
        route.headers.clone_from(&self.headers);
        route.limits = self.limits.clone().unwrap_or_default();
        let mirror = self.mirror.as_ref();
        route.mirror = mirror
            .filter(|mirror| is_there(&mirror.load_balancer))
            .cloned();
    }

    /// Says it of a group behind the load balancer.
    ///
    /// The floor is the smallest number of instances that is enough. A group that is to have exactly so
    /// many has no such number: then only the share limits how many are left out. Where nothing is said
    /// of outliers there is none either: a balancer of before does not know the word.
    pub fn group(&self, group: &mut Group, capacity: &Capacity) {
        group.slow_start_ms = self.slow_start_ms.unwrap_or(0);
        group.outlier.clone_from(&self.outlier);
        group.floor = if self.outlier.is_some() && capacity.min < capacity.desired {
            capacity.min
        } else {
            0
        };
    }

    /// Headers with which a request fits.
    pub fn fitting_headers(&self) -> Vec<(String, String)> {
        let given = self.headers.iter().filter(|condition| !condition.absent);
        let fitting = given.map(|condition| {
            let value = condition.exact.as_ref().or(condition.prefix.as_ref());
            (condition.name.clone(), value.cloned().unwrap_or_default())
        });
        fitting.collect()
    }
}

/// A fault of the balancer, by the field that led to it.
fn of(fault: &str) -> Flaw {
    let (path, why) = fault.split_once(": ").unwrap_or(("input", fault));
    let prefixes = [
        "routes[0].",
        "loadBalancers[0].groups[0].",
        "loadBalancers[0].",
    ];
    let field = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix));
    Flaw {
        field: field.unwrap_or(path).to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(fields) => fields,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn fields_that_are_not_given_stay_and_null_takes_away() {
        let first = given(json!({
            "name": "shop", "sticky": {"cookie": "sid"}, "slowStartMs": 5_000,
            "limits": {"maxInFlight": 9}, "methods": ["GET", "POST"],
        }));
        let traffic = Traffic::default().with(&first).unwrap();
        assert_eq!(traffic.sticky.as_ref().unwrap().cookie, "sid");
        let second = given(json!({"sticky": null, "holdRequests": {"maxMs": 1, "maxRequests": 2}}));
        let traffic = traffic.with(&second).unwrap();
        assert_eq!(traffic.sticky, None);
        assert_eq!(traffic.slow_start_ms, Some(5_000));
        assert_eq!(traffic.hold_requests.unwrap().max_requests, 2);
        assert_eq!(traffic.limits.as_ref().unwrap().max_in_flight, Some(9));
        let text = serde_json::to_string(&traffic).unwrap();
        assert_eq!(serde_json::from_str::<Traffic>(&text).unwrap(), traffic);
        assert_eq!(serde_json::to_string(&Traffic::default()).unwrap(), "{}");
    }

    #[test]
    fn faults_are_told_by_the_fields_that_were_sent() {
        for (fields, field, why) in [
            (
                json!({"sticky": {"cookie": "a b"}}),
                "sticky.cookie",
                "\"a b\" is no name",
            ),
            (
                json!({"sticky": {"name": "a"}}),
                "sticky",
                "cannot be read: unknown field",
            ),
            (
                json!({"limits": {"burst": 1}}),
                "limits.burst",
                "has no requestsPerSecond",
            ),
            (
                json!({"headers": [{"name": "a"}]}),
                "headers[0]",
                "0 of exact",
            ),
            (
                json!({"outlier": {"maxEjectionMs": 0}}),
                "outlier.maxEjectionMs",
                "0 is below",
            ),
            (
                json!({"holdRequests": {"maxMs": 1}}),
                "holdRequests",
                "cannot be read: missing",
            ),
            (
                json!({"slowStartMs": 90_000_000}),
                "slowStartMs",
                "90000000 is not in",
            ),
            (
                json!({"mirror": {"loadBalancer": "b", "percent": 0}}),
                "mirror.percent",
                "0 is not in",
            ),
            (json!({"methods": ["POST"]}), "methods", "has no GET"),
        ] {
            let flaw = Traffic::default().with(&given(fields)).unwrap_err();
            assert!(flaw.field == field && flaw.why.starts_with(why), "{flaw:?}");
        }
    }

    #[test]
    fn the_floor_is_what_is_enough_and_none_where_exactly_so_many_are_wanted() {
        let floor = |min, desired| {
            let traffic = Traffic {
                outlier: Some(Outlier::default()),
                ..Traffic::default()
            };
            let mut group = Group::default();
            let capacity = Capacity {
                min,
                max: 9,
                desired,
            };
            traffic.group(&mut group, &capacity);
            let with = group.floor;
            Traffic::default().group(&mut group, &capacity);
            assert_eq!(
                group,
                Group::default(),
                "nothing that one of before would not know"
            );
            with
        };
        assert_eq!([floor(2, 5), floor(3, 3), floor(0, 0)], [2, 0, 0]);
    }

    #[test]
    fn a_request_is_made_to_fit() {
        let fields = json!({"headers": [
            {"name": "x-a", "exact": "1"}, {"name": "x-b", "prefix": "v"},
            {"name": "x-c", "present": true}, {"name": "x-d", "absent": true},
        ]});
        let traffic = Traffic::default().with(&given(fields)).unwrap();
        let expected = [("x-a", "1"), ("x-b", "v"), ("x-c", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(traffic.fitting_headers(), expected);
    }
}
