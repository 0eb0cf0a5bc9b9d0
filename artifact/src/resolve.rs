//! Binding: what came, else what the last execution had, else the default. Every
//! expected artifact is answered for: what it was bound to and what nearly fitted.

use serde_json::{Value, json};

use crate::matching::{Miss, misses};
use crate::shape::{artifact, distinct, expected, name, names};

/// Where a bound artifact is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It came.
    Received,
    /// An earlier execution had it.
    Prior,
    /// The expectation's own default.
    Default,
    /// Nothing fits.
    Nothing,
    /// More than one fits.
    Several,
}

/// The candidate that came nearest, and what was wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// What people call it.
    pub artifact: String,
    /// Why it is not the one.
    pub misses: Vec<Miss>,
}

/// What became of one expected artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it was bound to.
    pub source: Source,
    /// How many artifacts were looked at.
    pub candidates: usize,
    /// Those that fit, if they are several.
    pub fitting: String,
    /// The nearest, if none that came fits.
    pub near: Option<Near>,
}

impl Finding {
    /// How the candidates failed; empty when one fits.
    pub fn reason(&self) -> String {
        match (&self.near, self.candidates) {
            (None, 0) => "no artifact came".to_owned(),
            (None, _) => String::new(),
            (Some(near), candidates) => {
                let misses: Vec<String> = near.misses.iter().map(ToString::to_string).collect();
                let (nearest, misses) = (&near.artifact, misses.join(", and "));
                match candidates {
                    1 => format!("{nearest} came, but {misses}"),
                    _ => format!("{candidates} came, the nearest is {nearest}, but {misses}"),
                }
            }
        }
    }

    /// For people, when something else stands in for an artifact that nearly fitted.
    pub fn notice(&self) -> Option<String> {
        let instead = match self.source {
            Source::Prior => "the one of the last execution",
            Source::Default => "its default",
            Source::Received | Source::Nothing | Source::Several => return None,
        };
        self.near.as_ref()?;
        let (name, reason) = (&self.name, self.reason());
        Some(format!(
            "expected artifact {name}: {reason}; {instead} is used"
        ))
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let source = match self.source {
            Source::Received => "received",
            Source::Prior => "prior",
            Source::Default => "default",
            Source::Nothing => "none",
            Source::Several => "several",
        };
        let mut told = json!({
            "id": self.id, "name": self.name, "bound": source, "candidates": self.candidates,
        });
        if let Some(near) = &self.near {
            let misses: Vec<Value> = near.misses.iter().map(told_miss).collect();
            told["nearest"] = json!({"artifact": near.artifact, "misses": misses});
        }
        told
    }
}

fn told_miss(miss: &Miss) -> Value {
    let mut told = json!({"field": miss.field, "expected": miss.wanted, "actual": miss.came});
    if let Some(fault) = &miss.fault {
        told["fault"] = json!(fault);
    }
    told
}

/// Expected artifacts that are bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bound {
    /// What they were bound to, each once.
    pub artifacts: Vec<Value>,
    /// The expected artifacts, each with its `boundArtifact`.
    pub resolved: Vec<Value>,
    /// What became of each.
    pub report: Vec<Finding>,
}

/// Why one of them is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// One sentence with the remedy.
    pub message: String,
    /// What became of each, up to the one that failed.
    pub report: Vec<Finding>,
}

/// What people call an expected artifact.
fn called(raw: &Value) -> String {
    let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default();
    match (text("displayName"), text("id")) {
        ("", "") => "without a name".to_owned(),
        ("", id) => id.to_owned(),
        (display, _) => display.to_owned(),
    }
}

/// The candidate with the fewest misses: the first of them.
pub(crate) fn nearest(expectation: &Value, candidates: &[Value]) -> Option<Near> {
    let wanted = expectation.get("matchArtifact").unwrap_or(&Value::Null);
    let all = candidates.iter().map(|one| Near {
        artifact: name(one).to_owned(),
        misses: misses(wanted, one),
    });
    // Of those that miss as much, one of another type is farther.
    let distance = |near: &Near| {
        let of_type = near.misses.iter().any(|miss| miss.field == "type");
        (near.misses.len(), of_type)
    };
    all.min_by_key(distance)
}

pub(crate) fn finding(raw: &Value, candidates: &[Value]) -> Finding {
    let shaped = expected(raw);
    Finding {
        id: shaped["id"].as_str().unwrap_or_default().to_owned(),
        name: called(raw),
        source: Source::Nothing,
        candidates: candidates.len(),
        fitting: String::new(),
        near: nearest(&shaped, candidates).filter(|near| !near.misses.is_empty()),
    }
}

impl Finding {
    /// Which of the expected artifacts failed and why, with the remedy.
    fn failure(&self) -> String {
        let name = &self.name;
        match self.source {
            Source::Several => format!(
                "Expected artifact {name} matches multiple artifacts ({}), more than one; narrow its match",
                self.fitting
            ),
            Source::Received | Source::Prior | Source::Default | Source::Nothing => format!(
                "Unmatched expected artifact {name} could not be resolved: {}; send a matching \
                 artifact, or give the expectation a default",
                self.reason()
            ),
        }
    }
}

/// Those that an expectation asks for.
///
/// A pattern that cannot be used fails it, unless a field before it already says no.
fn fitting<'a>(expectation: &Value, among: &'a [Value]) -> Result<Vec<&'a Value>, String> {
    let wanted = expectation.get("matchArtifact").unwrap_or(&Value::Null);
    let mut found = Vec::new();
    for one in among {
        match misses(wanted, one).first() {
            None => found.push(one),
            Some(miss) if miss.fault.is_some() => return Err(miss.to_string()),
            Some(_) => {}
        }
    }
    Ok(found)
}

/// Binds every expected artifact, in order. `unique`: more than one that fits is an
/// error, of what came and of what was before.
///
/// # Errors
/// The first expected artifact that nothing, or more than one thing, fits.
pub fn resolve<'a>(
    all: impl IntoIterator<Item = &'a Value>,
    candidates: &[Value],
    prior: &[Value],
    unique: bool,
) -> Result<Bound, Unresolved> {
    let mut outcome = Bound::default();
    for raw in all {
        let mut shaped = expected(raw);
        let mut found = finding(raw, candidates);
        let is = |key: &str| shaped[key] == Value::Bool(true);
        let mut bound = None;
        let places = [(Source::Received, candidates), (Source::Prior, prior)];
        for (source, among) in places {
            if bound.is_some() || (source == Source::Prior && !is("usePriorArtifact")) {
                continue;
            }
            let fitting = match fitting(&shaped, among) {
                Ok(fitting) => fitting,
                Err(fault) => {
                    let message = format!("expected artifact {}: {fault}", found.name);
                    outcome.report.push(found);
                    return Err(Unresolved {
                        message,
                        report: outcome.report,
                    });
                }
            };
            if unique && fitting.len() > 1 {
                found.source = Source::Several;
                found.fitting = names(&fitting.into_iter().cloned().collect::<Vec<_>>());
                break;
            }
            if let Some(one) = fitting.first() {
                found.source = source;
                bound = Some(artifact(one));
            }
        }
        if bound.is_none() && found.source == Source::Nothing && is("useDefaultArtifact") {
            bound = shaped.get("defaultArtifact").cloned();
            found.source = bound.as_ref().map_or(Source::Nothing, |_| Source::Default);
        }
        let Some(bound) = bound else {
            let message = found.failure();
            outcome.report.push(found);
            return Err(Unresolved {
                message,
                report: outcome.report,
            });
        };
        shaped["boundArtifact"] = bound.clone();
        outcome.artifacts.push(bound);
        outcome.resolved.push(shaped);
        outcome.report.push(found);
    }
    outcome.artifacts = distinct(outcome.artifacts);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(version: &str) -> Value {
        artifact(&json!({
            "type": "docker/image", "name": "h/a", "version": version, "reference": format!("h/a:{version}"),
        }))
    }

    fn expectation(more: &Value) -> Value {
        let mut all = json!({
            "id": "e1", "displayName": "the image",
            "matchArtifact": {"type": "docker/image", "name": "h/a", "version": "[0-9]+"},
        });
        let more = more.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        all
    }

    fn bind(more: &Value, came: &[Value], prior: &[Value]) -> Result<Bound, Unresolved> {
        resolve([&expectation(more)], came, prior, true)
    }

    #[test]
    fn what_came_wins_over_the_prior_one_and_that_over_the_default() {
        let all = json!({
            "usePriorArtifact": true, "useDefaultArtifact": true, "defaultArtifact": image("default"),
        });
        for (came, prior, version, source) in [
            (vec![image("1")], vec![image("0")], "1", Source::Received),
            (vec![image("dev")], vec![image("0")], "0", Source::Prior),
            (vec![], vec![image("old")], "default", Source::Default),
        ] {
            let bound = bind(&all, &came, &prior).unwrap();
            assert_eq!(bound.resolved[0]["boundArtifact"]["version"], version);
            assert_eq!(bound.artifacts[0]["version"], version);
            assert_eq!(bound.report[0].source, source);
        }
    }

    #[test]
    fn a_default_that_is_missing_resolves_nothing() {
        let failed = bind(&json!({"useDefaultArtifact": true}), &[], &[]).unwrap_err();
        assert!(failed.message.contains("no artifact came"), "{failed:?}");
    }

    #[test]
    fn nothing_that_fits_names_the_nearest() {
        let chart = artifact(&json!({"type": "helm/chart", "name": "h/a", "version": "7"}));
        let failed = bind(&json!({}), &[chart, image("dev-7")], &[image("0")]).unwrap_err();
        let text = "Unmatched expected artifact the image could not be resolved: 2 came, the nearest is \
                    h/a:dev-7, but its version is \"dev-7\", not \"[0-9]+\"";
        assert!(failed.message.starts_with(text), "{}", failed.message);
        let told = failed.report[0].to_json();
        assert_eq!(told["nearest"]["misses"][0]["field"], "version");
        assert_eq!(told["bound"], "none");
    }

    #[test]
    fn more_than_one_that_fits_is_an_error_of_what_came_and_of_what_was() {
        let two = [image("1"), image("2")];
        let came = bind(&json!({}), &two, &[]).unwrap_err();
        assert!(came.message.contains("h/a:1, h/a:2"), "{}", came.message);
        let prior = bind(&json!({"usePriorArtifact": true}), &[], &two).unwrap_err();
        assert!(prior.message.contains("more than one"), "{}", prior.message);
        let first = resolve([&expectation(&json!({}))], &two, &[], false).unwrap();
        assert_eq!(first.artifacts, [image("1")]);
    }

    #[test]
    fn a_pattern_that_cannot_be_used_fails_unless_a_field_before_says_no() {
        let broken = json!({"matchArtifact": {"name": "h/a", "version": "("}});
        let failed = bind(&broken, &[image("1")], &[]).unwrap_err();
        assert!(failed.message.contains("cannot be used"), "{failed:?}");
        let other = artifact(&json!({"name": "other", "version": "1"}));
        let failed = bind(&broken, &[other], &[]).unwrap_err();
        assert!(
            failed.message.contains("could not be resolved"),
            "{failed:?}"
        );
    }

    #[test]
    fn a_stand_in_for_what_nearly_came_is_told() {
        let default = json!({"useDefaultArtifact": true, "defaultArtifact": image("1")});
        let bound = bind(&default, &[image("dev")], &[]).unwrap();
        let notice = bound.report[0].notice().unwrap();
        assert!(
            notice.contains("\"dev\"") && notice.contains("its default is used"),
            "{notice}"
        );
        let nothing_came = bind(&default, &[], &[]).unwrap();
        assert_eq!(nothing_came.report[0].notice(), None);
    }
}
