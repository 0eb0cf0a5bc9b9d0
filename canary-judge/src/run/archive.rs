//! Runs that have ended go to the archive: one object each, whole, with the pairs of their last judgement. They are told
//! from there when the store has forgotten them, or was lost. How long the archive keeps them is its own business.
//! Source: `kayenta: canary_archive`, which is written when a run completes.

use bytes::Bytes;
use proto::status::Failure;
use serde_json::{Value, json};
use store::{Batch, ID_LENGTH};

use super::Runs;
use super::record::{self, Loaded};
use crate::failure::failed;

/// Message: it has ended and is not in the archive yet.
pub(super) const ARCHIVE: &str = "archive";
/// The folder of all runs.
const FOLDER: &str = "canaries";
/// The form that is written.
const FORMAT: u32 = 1;

/// The name of a run's object; none for what is no id of ours.
fn name(id: &str) -> Option<String> {
    let fine = id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_alphanumeric());
    fine.then(|| format!("{FOLDER}/{id}.json"))
}

impl Runs {
    /// Writes a run that has ended to the archive; what is left is to forget it.
    pub(super) async fn archived(&self, batch: Batch, loaded: &Loaded) -> Result<(), Failure> {
        if let (Some(archive), Some(name)) = (&self.archive, name(&loaded.run.id)) {
            let newest = loaded.record.newest_pairs();
            let object = json!({
                "format": FORMAT,
                "run": self.told(loaded).await?,
                "metricSetPairListId": newest.map(|number| record::list_id(&loaded.run.id, number)),
                "metricSetPairList": self.pairs(loaded, newest).await?,
            });
            let put = archive.put(&name, record::json(&object)?).await;
            put.map_err(failed)?;
        }
        self.finish(batch.message(self.forgetting(&loaded.run)))
            .await
    }

    async fn object(&self, id: &str) -> Result<Option<Value>, Failure> {
        let (Some(archive), Some(name)) = (&self.archive, name(id)) else {
            return Ok(None);
        };
        let Some(size) = archive.size(&name).await.map_err(failed)? else {
            return Ok(None);
        };
        let read: Option<Bytes> = archive.read(&name, 0, size).await.map_err(failed)?;
        let Some(read) = read else { return Ok(None) };
        let object: Value = serde_json::from_slice(&read)
            .map_err(|e| Failure::internal(format!("{name} in the archive is damaged: {e}")))?;
        if object.get("format") != Some(&json!(FORMAT)) {
            let message = format!("{name} in the archive is of another version than this one");
            return Err(Failure::internal(message));
        }
        Ok(Some(object))
    }

    /// A run that the store does not have any more.
    pub(super) async fn archived_run(&self, id: &str) -> Result<Option<Value>, Failure> {
        let object = self.object(id).await?;
        Ok(object.and_then(|mut object| object.get_mut("run").map(Value::take)))
    }

    /// The pairs of the last judgement that has some, by the run's id or the list's; other lists are not archived.
    pub(super) async fn archived_pairs(
        &self,
        id: &str,
        list: &str,
    ) -> Result<Option<Value>, Failure> {
        let object = self.object(id).await?;
        let object = object.filter(|object| {
            list == id || object.get("metricSetPairListId").and_then(Value::as_str) == Some(list)
        });
        let pairs = object.and_then(|mut o| o.get_mut("metricSetPairList").map(Value::take));
        Ok(pairs.filter(|pairs| !pairs.is_null()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_has_no_object() {
        assert!(name("01ARZ3NDEKTSV4RRFFQ69G5FAV").is_some());
        for id in [
            "",
            "..",
            "../../definitions/x/y/z/000001.j",
            "01ARZ3NDEKTSV4RRFFQ69G5F/V",
        ] {
            assert_eq!(name(id), None, "{id}");
        }
    }
}
