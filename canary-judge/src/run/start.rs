//! The beginning of a run: what was asked is checked whole, and is then a document with its first message.

use judge::run::{Course, Pace, Plan, State};
use judge::{CanaryConfig, Judge, Sequential};
use proto::status::{Failure, FieldError, Kind};
use runtime::auth::AuthContext;
use serde_json::Value;
use store::{Batch, IndexChange, Refused};

use super::judgement::{Matter, kind};
use super::record::{self, Record, Run, Waiter};
use super::{Runs, TICK, claim, index, key, note, reach};
use crate::failure::failed;
use crate::request::refused;
use crate::{failure, ids};

/// A run has no more judgements.
const MOST_JUDGEMENTS: u64 = 20_000;
/// The application of a run that names none.
const AD_HOC: &str = "ad-hoc";
/// What a group's weights should come to.
const ALL: f64 = 100.0;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    /// A repeat with the same id finds the run it started; empty: each is a run of its own.
    pub(crate) effect_id: String,
    pub(crate) application: String,
    pub(crate) config_id: String,
    pub(crate) config: Value,
    pub(crate) request: Value,
    pub(crate) metrics_account: String,
    pub(crate) configuration_account: String,
    pub(crate) storage_account: String,
    pub(crate) parent_execution_id: String,
    /// Who waits for its end.
    pub(crate) waiter: Option<Waiter>,
    /// Who asks.
    pub(crate) caller: AuthContext,
    pub(crate) plan: Option<Plan>,
}

/// What was read and checked of it.
pub(super) struct Checked {
    pub(super) config: CanaryConfig,
    pub(super) matter: Matter,
    pub(super) course: Course,
    pub(super) warnings: Vec<String>,
}

impl Start {
    /// The application that the run is of: the one on which whoever starts it needs a permission.
    fn application<'a>(&'a self, config: &'a CanaryConfig) -> &'a str {
        let configured = config.applications.iter().map(String::as_str);
        let mut named = [self.application.as_str()].into_iter().chain(configured);
        named.find(|name| !name.is_empty()).unwrap_or(AD_HOC)
    }

    /// Reads and checks all of it.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub(super) fn check(&self, runs: &Runs, now_ms: i64) -> Result<Checked, Failure> {
        let config = CanaryConfig::read(self.config.clone()).map_err(refused)?;
        let (account, planned) = (&self.metrics_account, self.plan.is_some());
        let stores = runs.stores.as_ref();
        let matter = Matter::new(runs, &config, &self.request, account, planned)?;
        for metric in &config.metrics {
            stores.may_use(&self.caller, account, kind(metric.query.as_ref()))?;
        }
        let application = self.application(&config);
        for (position, _, question) in matter.questions(&Pace::Once.look(1)) {
            let query = config.metrics.get(position).and_then(|m| m.query.as_ref());
            stores.may_tell(application, (account, kind(query)), &question.scope.scope)?;
        }
        if config.judge.as_deref() == Some(judge::remote::NAME) && runs.remote.is_none() {
            let name = judge::remote::NAME;
            let message =
                format!("{name} is not there: set canary-judge.remote-judge to its address");
            return Err(Failure::field("canaryConfig.judge.name", message));
        }
        let mut warnings = doubts(&config);
        let pace = match self.plan {
            None => Pace::Once,
            Some(plan) => {
                let plan = checked(plan, now_ms)?;
                if config.judge.as_deref() == Some(Sequential.name()) {
                    if plan.lookback_ms > 0 {
                        let judge = Sequential.name();
                        warnings.push(format!(
                            "{judge} judges all that was seen since the warm-up: the look-back of {} s is not used",
                            plan.lookback_ms / 1_000
                        ));
                    }
                    let step_ms = matter.request().step_ms();
                    Pace::Steps { plan, step_ms }
                } else {
                    Pace::Intervals(plan)
                }
            }
        };
        let count = pace.count();
        if count > MOST_JUDGEMENTS {
            let message = format!(
                "the run would have {count} judgements, more than {MOST_JUDGEMENTS}: give a longer interval"
            );
            return Err(Failure::field("plan.intervalMs", message));
        }
        reach::check(&matter, &pace, now_ms)?;
        let marginal = matter.request().thresholds.marginal;
        Ok(Checked {
            config,
            matter,
            course: Course { pace, marginal },
            warnings,
        })
    }
}

fn checked(plan: Plan, now_ms: i64) -> Result<Plan, Failure> {
    if plan.lifetime_ms == 0 {
        let message = "it is 0: say how long the canary is judged";
        return Err(Failure::field("plan.lifetimeMs", message));
    }
    Ok(Plan {
        start_ms: if plan.start_ms == 0 {
            now_ms
        } else {
            plan.start_ms
        },
        ..plan
    })
}

/// What is doubtful in a config that can be judged.
fn doubts(config: &CanaryConfig) -> Vec<String> {
    let weights = config.group_weights.as_deref().unwrap_or_default();
    let used = config.metrics.iter().filter_map(|m| m.groups.as_ref());
    let used: Vec<&String> = used.flatten().collect();
    if used.is_empty() {
        return Vec::new();
    }
    let weighted = |group: &str| weights.iter().any(|(known, _)| known == group);
    let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut doubts = Vec::new();
    let unused: Vec<&str> = weights
        .iter()
        .filter(|(group, weight)| *weight > 0.0 && !used.contains(&group))
        .map(|(group, _)| group.as_str())
        .collect();
    if !unused.is_empty() {
        doubts.push(format!(
            "classifier.groupWeights: no metric is in {}, so that their weight is lost to the score: remove them",
            unused.join(", ")
        ));
    }
    let all_weighted = used.iter().all(|group| weighted(group));
    // The others share what is left, and may share nothing.
    if (all_weighted && (sum - ALL).abs() > 1e-6) || sum > ALL {
        doubts.push(format!(
            "classifier.groupWeights: the weights come to {sum}, not to {ALL}: the score cannot be read as a \
             percentage, change them"
        ));
    }
    doubts
}

impl Runs {
    /// The run that an effect has begun in an application. Looked for before anything is checked: config, account and
    /// rights may have gone since, and who asks must learn the id to be able to end the run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn begun(
        &self,
        application: &str,
        effect_id: &str,
    ) -> Result<Option<String>, Failure> {
        if application.is_empty() || effect_id.is_empty() {
            return Ok(None);
        }
        let shard = self.store.shards().of_application(application);
        let known = self.store.unique(shard, &claim(effect_id)).await;
        known.map_err(failed)
    }

    /// Begins a run, or finds the one of the same effect; answers its id.
    ///
    /// # Errors
    /// `Invalid` with what is wrong; `Exhausted` when the store is full.
    pub(crate) async fn start(&self, start: Start) -> Result<String, Failure> {
        let now = self.store.now_ms().await.map_err(failed)?;
        let checked = start.check(self, now)?;
        let application = start.application(&checked.config).to_owned();
        let shard = self.store.shards().of_application(&application);
        if let Some(known) = self.begun(&application, &start.effect_id).await? {
            return Ok(known);
        }
        let id = self.store.shards().mint_id(now, &ids::unique(), shard);
        let run = Run {
            id: id.clone(),
            application,
            effect_id: start.effect_id,
            parent_execution_id: start.parent_execution_id,
            waiter: start.waiter,
            user: start.caller.user,
            config_id: start.config_id,
            config: checked.config,
            request: start.request,
            metrics_account: start.metrics_account,
            configuration_account: start.configuration_account,
            storage_account: start.storage_account,
            course: checked.course,
            created_ms: now,
            warnings: checked.warnings,
        };
        let due = run.course.pace.look(1).due_ms.saturating_sub(now);
        let record = Record {
            state: State::default(),
            kept_bytes: 0,
        };
        let batch = Batch::new(shard, ids::unique())
            .new_work()
            .document(&key(&id), 0)
            .set(record::STATE, record.to_bytes()?);
        let text = record::json(&run)?;
        let mut batch = self.put(batch, &id, record::RUN, text).await?;
        batch = batch.index(IndexChange::Put {
            index: index(&run.application),
            member: id.clone(),
            score: now,
        });
        if !run.effect_id.is_empty() {
            batch = batch.index(IndexChange::Claim {
                key: claim(&run.effect_id),
                value: id.clone(),
            });
        }
        let batch = batch.message(note(&run, TICK, due.max(0)));
        match self.store.commit(batch).await.map_err(failed)? {
            Ok(_) => {
                tracing::info!(
                    canary.id = id,
                    application = run.application,
                    "canary run begun"
                );
                Ok(id)
            }
            // The same effect at the same time.
            Err(Refused::Taken { value, .. }) => Ok(value),
            Err(other) => Err(failure::refused(&other)),
        }
    }
}

/// What a judge's name is faulted with, on save.
pub(crate) fn known_judge(config: &CanaryConfig) -> Result<(), Failure> {
    let name = config.judge.as_deref();
    if name == Some(judge::remote::NAME) {
        return Ok(());
    }
    judge::resolve(name).map(|_| ()).map_err(|error| Failure {
        kind: Kind::Invalid,
        message: error.to_string(),
        fields: vec![FieldError::new("judge.name", error.to_string())],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn weights_that_do_not_add_up_are_told_with_their_sum() {
        let told = |weights: Value, groups: Value| {
            let metric =
                |(at, group): (usize, &Value)| json!({"name": at.to_string(), "groups": [group]});
            let groups = groups.as_array().unwrap().iter().enumerate();
            let metrics: Vec<Value> = groups.map(metric).collect();
            let config = json!({"metrics": metrics, "classifier": {"groupWeights": weights}});
            doubts(&CanaryConfig::read(config).unwrap()).join(" | ")
        };
        assert_eq!(told(json!({"a": 60, "b": 40}), json!(["a", "b"])), "");
        // What is left goes to the groups without a weight.
        assert_eq!(told(json!({"a": 60}), json!(["a", "b"])), "");
        assert_eq!(told(json!({}), json!(["a"])), "");
        let low = told(json!({"a": 60, "b": 30}), json!(["a", "b"]));
        assert!(low.contains("come to 90, not to 100"), "{low}");
        let high = told(json!({"a": 120}), json!(["a", "b"]));
        assert!(high.contains("come to 120, not to 100"), "{high}");
        let lost = told(json!({"a": 60, "gone": 40}), json!(["a"]));
        assert!(lost.contains("no metric is in gone"), "{lost}");
    }
}
