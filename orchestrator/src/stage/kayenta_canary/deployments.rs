//! What a canary stage deploys for the comparison: `deployments` of its context. Pure.
//! Source: `orca: Deployments`.

use orchestrator_core::StageView;
use serde_json::{Map, Value, json};

use super::duration::iso_ms;
use super::settings::{short, text};
use crate::provider;
use crate::task::number;
use crate::task::server_group::{cluster_of, regions_of};

/// Pairs of one stage.
const MOST_PAIRS: usize = 10;

/// A baseline and a canary, as deployments take them.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::stage) struct Pair {
    pub(in crate::stage) control: Map<String, Value>,
    pub(in crate::stage) experiment: Map<String, Value>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::stage) struct Deployments {
    /// The cluster whose version the control has: `application`, `account`, `cluster`, `cloudProvider`.
    pub(in crate::stage) baseline: Map<String, Value>,
    pub(in crate::stage) pairs: Vec<Pair>,
    pub(in crate::stage) account: String,
    pub(in crate::stage) region: String,
    /// The baseline's; each group may have its own.
    pub(in crate::stage) application: String,
    pub(in crate::stage) delay_ms: u64,
}

/// The `deployments` of a stage, or of one that planned it; none if there are none.
pub(in crate::stage) fn of(stage: StageView<'_>) -> Option<Result<Deployments, String>> {
    let mut at = Some(stage);
    while let Some(view) = at {
        if let Some(found) = view
            .stage
            .context
            .get("deployments")
            .filter(|d| !d.is_null())
        {
            return Some(Deployments::of(found, &stage.execution.application));
        }
        at = view.parent();
    }
    None
}

impl Deployments {
    /// Reads them.
    ///
    /// Differs from Spinnaker: control and experiment stand in one region and in clusters of their own. There the
    /// clean-up of one that names the serving cluster destroys what serves.
    ///
    /// # Errors
    /// What is wrong, with its field and the remedy.
    pub(in crate::stage) fn of(value: &Value, application: &str) -> Result<Self, String> {
        let object = |value: Option<&Value>, path: &str, remedy: &str| match value {
            Some(Value::Object(map)) => Ok(map.clone()),
            None | Some(Value::Null) => Err(format!("{path} is missing; {remedy}")),
            Some(other) => Err(format!("{path} is {}; {remedy}", short(other))),
        };
        let mut baseline = object(
            value.get("baseline"),
            "deployments.baseline",
            "name the cluster that serves: {application, account, cluster}",
        )?;
        if text_of(&baseline, "application").is_none() {
            baseline.insert("application".to_owned(), application.into());
        }
        for key in ["account", "cluster"] {
            if baseline.get(key).and_then(text).is_none() {
                return Err(format!(
                    "deployments.baseline.{key} is missing; name the cluster that serves"
                ));
            }
        }
        let share = match value.get("trafficShare") {
            None | Some(Value::Null) => None,
            Some(share) => Some(
                number(share)
                    .filter(|share| *share > 0.0 && *share < 50.0)
                    .ok_or_else(|| {
                        format!(
                            "deployments.trafficShare is {}; set the percentage of the requests that each of \
                             the two gets, above 0 and below 50",
                            short(share)
                        )
                    })?,
            ),
        };
        let listed = value.get("serverGroupPairs").and_then(Value::as_array);
        let listed = listed.map_or(&[][..], Vec::as_slice);
        if listed.is_empty() || listed.len() > MOST_PAIRS {
            return Err(format!(
                "deployments.serverGroupPairs has {} entries; name 1 to {MOST_PAIRS} pairs {{control, experiment}}",
                listed.len()
            ));
        }
        let mut pairs = Vec::new();
        for (n, pair) in listed.iter().enumerate() {
            let side = |key: &str| {
                let path = format!("deployments.serverGroupPairs[{n}].{key}");
                let mut group = object(pair.get(key), &path, "say what to deploy")?;
                if text_of(&group, "application").is_none() {
                    group.insert("application".to_owned(), application.into());
                }
                if let (Some(share), false) = (share, group.contains_key("trafficShare")) {
                    group.insert("trafficShare".to_owned(), json!(share));
                }
                Ok::<_, String>(group)
            };
            pairs.push(Pair {
                control: side("control")?,
                experiment: side("experiment")?,
            });
        }
        let delay_ms = match value.get("delayBeforeCleanup").and_then(text) {
            None => 0,
            Some(text) => {
                iso_ms(text).map_err(|e| format!("deployments.delayBeforeCleanup: {e}"))?
            }
        };
        let (account, region) = one_place(&pairs)?;
        let found = Self {
            application: text_of(&baseline, "application")
                .unwrap_or(application)
                .to_owned(),
            baseline,
            pairs,
            account,
            region,
            delay_ms,
        };
        found.check_clusters()?;
        Ok(found)
    }

    /// Each server group with its path, the control of a pair before its experiment.
    pub(in crate::stage) fn groups(&self) -> impl Iterator<Item = (String, &Map<String, Value>)> {
        self.pairs.iter().enumerate().flat_map(|(n, pair)| {
            let path = |side: &str| format!("deployments.serverGroupPairs[{n}].{side}");
            [
                (path("control"), &pair.control),
                (path("experiment"), &pair.experiment),
            ]
        })
    }

    /// The application that a group belongs to.
    pub(in crate::stage) fn application_of<'a>(&'a self, group: &'a Map<String, Value>) -> &'a str {
        text_of(group, "application").unwrap_or(&self.application)
    }

    fn check_clusters(&self) -> Result<(), String> {
        let mut taken = vec![(
            text_of(&self.baseline, "cluster")
                .unwrap_or_default()
                .to_owned(),
            "what serves".to_owned(),
        )];
        for (path, group) in self.groups() {
            let cluster = cluster_of(group, self.application_of(group));
            if let Some((_, whose)) = taken.iter().find(|(known, _)| *known == cluster) {
                return Err(format!(
                    "{path}: its cluster {cluster} is that of {whose}, and the clean-up empties it; give it one of \
                     its own, as by freeFormDetails: baseline and canary"
                ));
            }
            taken.push((cluster, path));
        }
        Ok(())
    }

    /// The provider of all of them.
    pub(in crate::stage) fn provider(&self) -> &str {
        let first = self.pairs.first().map(|pair| &pair.experiment);
        first.map_or("local", provider::name_of)
    }
}

fn text_of<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(text)
}

/// The account and the region of all of them: what is created together stands together.
fn one_place(pairs: &[Pair]) -> Result<(String, String), String> {
    let mut place: Option<(String, String)> = None;
    for (n, pair) in pairs.iter().enumerate() {
        for (side, group) in [("control", &pair.control), ("experiment", &pair.experiment)] {
            let path = format!("deployments.serverGroupPairs[{n}].{side}");
            let account = text_of(group, "account").or_else(|| text_of(group, "credentials"));
            let account = account.ok_or_else(|| {
                format!("{path}.account is missing; name the account to deploy to")
            })?;
            let regions = regions_of(group);
            let region = regions
                .first()
                .ok_or_else(|| format!("{path}.region is missing; name a region of the account"))?;
            if regions.len() > 1 {
                return Err(format!(
                    "{path} names {} regions; created together are groups of one region, so use a canary stage for \
                     each",
                    regions.len()
                ));
            }
            let own = (account.to_owned(), region.clone());
            let known = place.get_or_insert_with(|| own.clone());
            if *known != own {
                return Err(format!(
                    "{path} is in {region} of {account}, the others are in {} of {}; created together are groups of \
                     one region, so use a canary stage for each",
                    known.1, known.0
                ));
            }
        }
    }
    place.ok_or_else(|| "deployments.serverGroupPairs is empty".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        let group = |details: &str| {
            json!({"account": "prod", "region": "local", "stack": "main",
            "freeFormDetails": details, "cloudProvider": "local"})
        };
        json!({
            "baseline": {"account": "prod", "cluster": "app-main"}, "trafficShare": "10",
            "delayBeforeCleanup": "PT1M",
            "serverGroupPairs": [{"control": group("baseline"), "experiment": group("canary")}],
        })
    }

    #[test]
    fn both_get_their_share_and_their_place() {
        let found = Deployments::of(&sample(), "app").unwrap();
        assert_eq!(
            (found.account.as_str(), found.region.as_str()),
            ("prod", "local")
        );
        assert_eq!((found.delay_ms, found.provider()), (60_000, "local"));
        assert!(
            found
                .groups()
                .all(|(_, g)| g["trafficShare"] == json!(10.0))
        );
    }

    #[test]
    fn what_would_destroy_the_serving_version_is_refused() {
        for (path, value, told) in [
            (
                "/serverGroupPairs/0/control/freeFormDetails",
                json!(""),
                "app-main is that of what serves",
            ),
            (
                "/serverGroupPairs/0/experiment/freeFormDetails",
                json!("baseline"),
                "app-main-baseline is that of",
            ),
            (
                "/serverGroupPairs/0/experiment/region",
                json!("mars"),
                "one region",
            ),
            (
                "/serverGroupPairs/0/experiment/account",
                json!(null),
                "experiment.account is missing",
            ),
            (
                "/serverGroupPairs/0/experiment",
                json!({"account": "prod", "regions": ["local", "mars"]}),
                "serverGroupPairs[0].experiment names 2 regions",
            ),
            ("/trafficShare", json!(50), "trafficShare is 50"),
            ("/baseline", json!(null), "baseline is missing"),
            ("/serverGroupPairs", json!([]), "has 0 entries"),
            ("/delayBeforeCleanup", json!("soon"), "delayBeforeCleanup"),
        ] {
            let mut value_of = sample();
            *value_of.pointer_mut(path).unwrap() = value;
            let text = Deployments::of(&value_of, "app").unwrap_err();
            assert!(text.contains(told), "{path}: {text}");
        }
    }
}
