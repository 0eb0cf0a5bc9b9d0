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
