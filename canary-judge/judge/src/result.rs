//! The result of a judgement, as it is stored and served (`kayenta: CanaryJudgeResult`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::classify::Classification;
use crate::number;

/// What a judge says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgeResult {
    /// Who says it.
    #[serde(default)]
    pub judge_name: String,
    /// One for each metric set pair, in order.
    #[serde(default)]
    pub results: Vec<AnalysisResult>,
    /// One for each group that has a result, in the order in which they first occur.
    #[serde(default)]
    pub group_scores: Vec<GroupScore>,
    /// The whole.
    #[serde(default)]
    pub score: Score,
    /// What a judge that looks again and again says is to be done now. None of those that look once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why it says so, and what is missing if it cannot decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_reason: Option<String>,
    /// Steps of the canary that had been seen when it was decided, or all if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_steps: Option<u64>,
    /// What a reader must know before relying on this result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What a second judge says of the same values, if one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// What a second judge says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Who says it.
    pub judge_name: String,
    /// The whole.
    pub score: Score,
    /// What is to be done, of a judge that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_reason: Option<String>,
}

impl Comparison {
    /// Of its `result`.
    pub(crate) fn of(result: &JudgeResult) -> Self {
        Self {
            judge_name: result.judge_name.clone(),
            score: result.score.clone(),
            decision: result.decision,
            decision_reason: result.decision_reason.clone(),
        }
    }
}

/// What is to be done with a canary after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Decision {
    /// It is not worse than its margins: it can be promoted, now.
    Pass,
    /// It is worse: it must go, now.
    Fail,
    /// Not known yet, and more steps will come: look again after the next one.
    Continue,
    /// Not known, and no more steps will come: a human decides, or a setting.
    Inconclusive,
}

impl Decision {
    /// As JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Continue => "CONTINUE",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }

    /// Whether there is nothing to wait for.
    pub fn is_final(self) -> bool {
        self != Self::Continue
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is said of one metric set pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisResult {
    /// Name of the metric.
    #[serde(default)]
    pub name: String,
    /// Tags of the pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Map<String, Value>>,
    /// Id of the pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What the metric is found to be.
    pub classification: Classification,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification_reason: Option<String>,
    /// Groups of the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Under `stats` what describes the experiment's values.
    #[serde(default)]
    pub experiment_metadata: Map<String, Value>,
    /// Under `stats` what describes control's values.
    #[serde(default)]
    pub control_metadata: Map<String, Value>,
    /// Under `ratio` the ratio of the means; none if the metric could not be tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_metadata: Option<Map<String, Value>>,
    /// Whether this failure fails the canary.
    #[serde(default)]
    pub critical: bool,
    /// Whether it is left out of the score.
    #[serde(default)]
    pub muted: bool,
}

/// The score of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupScore {
    /// Name of the group.
    #[serde(default)]
    pub name: String,
    /// Share of its metrics that pass, %; 0 without one that counts.
    #[serde(default, with = "number")]
    pub score: f64,
    /// Always empty.
    #[serde(default)]
    pub classification: String,
    /// Always empty.
    #[serde(default)]
    pub classification_reason: String,
}

/// The score of a judgement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// 0 to 100, and beyond if weights are.
    #[serde(default, with = "number")]
    pub score: f64,
    /// `Pass`, `Marginal` or `Fail`.
    #[serde(default)]
    pub classification: String,
    /// Why the score is zero whatever the groups say; else empty.
    #[serde(default)]
    pub classification_reason: String,
}
