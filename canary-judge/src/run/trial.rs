//! A judgement over past data of which nothing is kept, for people who write a config.

use judge::run::Pace;
use proto::status::Failure;
use serde_json::{Map, Value, json};
use store::blob::MAX_BLOB;

use super::Runs;
use super::judgement::Trouble;
use super::start::Start;
use crate::failure::{failed, kind};

/// What stands for the run in the ids of pairs.
const NOBODY: &str = "dry-run";

impl Runs {
    /// Judges once, over the scopes' own times, and answers config, request, queries, result and pairs.
    ///
    /// # Errors
    /// `Invalid` with what is wrong with config, request or query; `Conflict` if the metric store refuses and `Unavailable`
    /// if it does not answer, with what it said.
    pub(crate) async fn try_out(&self, start: Start) -> Result<Value, Failure> {
        let now = self.store.now_ms().await.map_err(failed)?;
        let start = Start {
            plan: None,
            ..start
        };
        let checked = start.check(self, now)?;
        let look = Pace::Once.look(1);
        let queries = checked.matter.queries(&look).map_err(failure)?;
        let judgement = checked.matter.judge(NOBODY, &look).await;
        let judgement = judgement.map_err(failure)?;
        let mut warnings = checked.warnings;
        warnings.extend(judgement.result.warnings.clone());
        let pairs = judgement.pairs.unwrap_or_default();
        let pairs: Value = if pairs.len() > MAX_BLOB {
            warnings.push(format!(
                "the metric set pairs have {} bytes, more than the {MAX_BLOB} that are answered: they were judged and \
                 are not told; give a longer step or fewer metrics",
                pairs.len()
            ));
            json!([])
        } else {
            serde_json::from_slice(&pairs).map_err(|error| Failure::internal(error.to_string()))?
        };
        let queries: Vec<Value> = queries
            .iter()
            .map(super::judgement::Sent::to_json)
            .collect();
        let told = Map::from_iter([
            ("canaryConfig".to_owned(), json!(checked.config)),
            ("executionRequest".to_owned(), start.request),
            ("queries".to_owned(), Value::Array(queries)),
            (
                "result".to_owned(),
                json!({"judgeResult": judgement.result}),
            ),
            ("warnings".to_owned(), json!(warnings)),
            ("metricSetPairList".to_owned(), pairs),
        ]);
        Ok(Value::Object(told))
    }
}

/// A dry run is not tried again: who asks does.
fn failure(trouble: Trouble) -> Failure {
    Failure::new(kind(trouble.class), trouble.message)
}
