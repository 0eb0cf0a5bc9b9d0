//! The canary judge of the fake: configs that are told, and runs that go as planned.

use async_trait::async_trait;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use super::Fake;
use crate::services::{CanaryJudge, MetricQuestion, NewRun, OnBehalf};

impl Fake {
    /// A canary config that is stored.
    pub fn canary_config(&self, config: Value) {
        self.lock().canary_configs.push(config);
    }

    /// What the next run without a plan is like from its start on; without one it passes with 100.
    pub fn canary_run(&self, status: Value) {
        self.lock().canary_plans.push_back(status);
    }

    /// What has become of a run.
    pub fn canary_run_is(&self, id: &str, status: Value) {
        let mut world = self.lock();
        let number = id.trim_start_matches("run-").parse::<usize>().unwrap_or(0);
        if let Some((_, known)) = world.canary_runs.get_mut(number.saturating_sub(1)) {
            *known = status;
        }
    }

    /// Runs that were started, each once.
    pub fn canary_runs(&self) -> Vec<NewRun> {
        let world = self.lock();
        world
            .canary_runs
            .iter()
            .map(|(run, _)| run.clone())
            .collect()
    }

    /// The next answer of a metric store; without one it has no data.
    pub fn metrics(&self, answer: Result<Value, Failure>) {
        self.lock().metric_answers.push_back(answer);
    }

    /// What metric stores were asked.
    pub fn metric_questions(&self) -> Vec<MetricQuestion> {
        self.lock().metric_questions.clone()
    }
}

/// A run that is over, as the judge tells of it.
pub fn judged(score: f64) -> Value {
    json!({
        "complete": true, "status": "succeeded", "endTimeIso": "2026-01-01T01:00:00Z",
        "endTimeMillis": 1_767_229_200_000_i64,
        "result": {
            "canaryDuration": "PT1H",
            "judgeResult": {"results": [], "score": {"score": score, "classification": "Pass"}},
        },
    })
}

#[async_trait]
impl CanaryJudge for Fake {
    async fn configs(&self, _by: &OnBehalf, application: &str) -> Result<Vec<Value>, Failure> {
        self.faulty(|world| {
            let of = |c: &&Value| {
                let applications = c["applications"].as_array();
                applications.is_some_and(|list| list.iter().any(|a| a == application))
            };
            let summary = |c: &Value| json!({"id": c["id"], "name": c["name"], "applications": c["applications"]});
            Ok(world.canary_configs.iter().filter(of).map(summary).collect())
        })
    }

    async fn config(&self, _by: &OnBehalf, id: &str) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            let mut all = world.canary_configs.iter();
            Ok(all.find(|c| c["id"] == id).cloned())
        })
    }

    async fn start(&self, _by: &OnBehalf, run: NewRun) -> Result<String, Failure> {
        self.faulty(|world| {
            let known = world.canary_runs.iter();
            let known = known.map(|(known, _)| &known.effect_id);
            let at = known
                .into_iter()
                .position(|effect| *effect == run.effect_id);
            if let Some(at) = at {
                return Ok(format!("run-{}", at + 1));
            }
            let status = world.canary_plans.pop_front();
            world
                .canary_runs
                .push((run, status.unwrap_or_else(|| judged(100.0))));
            Ok(format!("run-{}", world.canary_runs.len()))
        })
    }

    async fn run(&self, _by: &OnBehalf, id: &str) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            let number = id.trim_start_matches("run-").parse::<usize>().unwrap_or(0);
            let found = world.canary_runs.get(number.saturating_sub(1));
            Ok(found.map(|(run, status)| {
                let mut told = status.clone();
                told["parentPipelineExecutionId"] = json!(run.execution_id);
                told
            }))
        })
    }

    async fn cancel(&self, _by: &OnBehalf, id: &str, _reason: &str) -> Result<(), Failure> {
        self.faulty(|world| {
            let what = format!("canary {id}");
            if !world.canceled.contains(&what) {
                world.canceled.push(what);
            }
            Ok(())
        })
    }

    async fn query(&self, _by: &OnBehalf, question: MetricQuestion) -> Result<Value, Failure> {
        self.faulty(|world| {
            if question.account == "missing" {
                let text = "account \"missing\" does not exist; correct it";
                return Err(Failure::new(Kind::Invalid, text));
            }
            world.metric_questions.push(question);
            let answer = world.metric_answers.pop_front();
            answer.unwrap_or_else(|| Ok(json!({"query": "q", "metricSets": []})))
        })
    }
}
