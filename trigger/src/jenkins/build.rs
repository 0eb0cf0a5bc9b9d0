//! Builds as Jenkins tells of them, and which of them are news. Pure. Source:
//! `igor: JenkinsBuildMonitor`, `GenericBuild`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Artifacts kept of one build.
const MOST_ARTIFACTS: usize = 100;

/// A build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Build {
    /// Its number, from 1 on.
    pub(crate) number: u64,
    /// It is not done yet.
    pub(crate) building: bool,
    /// `SUCCESS`, `UNSTABLE`, …; none while it runs.
    pub(crate) result: Option<String>,
    /// Start, ms since the epoch.
    pub(crate) timestamp: i64,
    /// In ms.
    pub(crate) duration: i64,
    /// Its page.
    pub(crate) url: String,
    #[serde(rename = "fullDisplayName")]
    pub(crate) full_display_name: String,
    /// Files it keeps.
    pub(crate) artifacts: Vec<File>,
    /// What plugins tell of it: its tests, where its sources came from.
    pub(crate) actions: Vec<Value>,
}

/// A file of a build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct File {
    pub(crate) file_name: String,
    pub(crate) display_path: String,
    pub(crate) relative_path: String,
}

impl Build {
    pub(crate) fn is_done(&self) -> bool {
        !self.building && self.result.is_some()
    }

    /// The files as artifacts.
    pub(crate) fn artifacts(&self, job: &str) -> Vec<Value> {
        let files = self.artifacts.iter().take(MOST_ARTIFACTS);
        files
            .map(|file| {
                json!({
                    "type": "jenkins/file", "name": job, "version": self.number.to_string(),
                    "reference": file.relative_path, "fileName": file.file_name,
                    "displayPath": file.display_path, "relativePath": file.relative_path,
                })
            })
            .collect()
    }

    /// What its tests came to.
    fn test_results(&self) -> Vec<Value> {
        let counted = self
            .actions
            .iter()
            .filter(|a| a.get("totalCount").is_some());
        let told = |action: &Value| {
            let keys = ["failCount", "skipCount", "totalCount", "urlName"];
            let fields = keys
                .into_iter()
                .filter_map(|key| Some((key, action.get(key)?.clone())));
            fields.map(|(key, value)| (key.to_owned(), value)).collect()
        };
        counted.map(|action| Value::Object(told(action))).collect()
    }

    /// The revisions it was made of, each once.
    fn scm(&self) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        for action in &self.actions {
            let revisions = ["/lastBuiltRevision/branch", "/build/revision/branch"];
            let branches = revisions
                .into_iter()
                .filter_map(|path| action.pointer(path)?.as_array());
            for branch in branches.flatten() {
                let text = |key: &str| branch.get(key).and_then(Value::as_str).unwrap_or_default();
                let (sha1, name) = (text("SHA1"), text("name"));
                if sha1.is_empty() || found.iter().any(|known| known["sha1"] == sha1) {
                    continue;
                }
                let name = name.strip_prefix("refs/remotes/").unwrap_or(name);
                let mut told = json!({
                    "name": name, "branch": name.rsplit('/').next().unwrap_or_default(), "sha1": sha1,
                });
                if let Some(url) = action.pointer("/remoteUrls/0") {
                    told["remoteUrl"] = url.clone();
                }
                found.push(told);
            }
        }
        found
    }

    /// The build as stages and expressions see it (`igor: GenericBuild`).
    pub(crate) fn to_json(&self, job: &str) -> Value {
        let result = if self.building {
            Some("BUILDING")
        } else {
            self.result.as_deref()
        };
        let mut told = json!({
            "id": format!("{job}-{}", self.number), "building": self.building,
            "number": self.number, "duration": self.duration,
            "timestamp": self.timestamp.to_string(), "result": result, "name": job,
            "url": self.url, "fullDisplayName": self.full_display_name,
            "artifacts": self.artifacts(job),
        });
        for (key, list) in [("testResults", self.test_results()), ("scm", self.scm())] {
            if !list.is_empty() {
                told[key] = list.into();
            }
        }
        told
    }
}

/// What is known of a job: all builds up to `low`, and some after it, are done with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) low: u64,
    pub(crate) handled: BTreeSet<u64>,
}

impl Known {
    /// Whether the last build of a listing can hide something new.
    pub(crate) fn is_behind(&self, last: &Build) -> bool {
        last.number != self.low || !self.handled.is_empty()
    }
}

/// What is new among a job's builds, oldest first, and what is known after it.
/// Without knowledge nothing is new: what ran before is history. A job whose
/// numbers begin anew was made anew, and is learnt again.
pub(crate) fn news(known: Option<&Known>, builds: &[Build]) -> (Vec<Build>, Known) {
    let mut sorted: Vec<&Build> = builds.iter().collect();
    sorted.sort_by_key(|b| b.number);
    let last = sorted.last().map_or(0, |b| b.number);
    let known = known.filter(|k| k.low <= last);
    let mut after = known.cloned().unwrap_or_default();
    let mut news = Vec::new();
    for build in &sorted {
        let seen = build.number <= after.low || after.handled.contains(&build.number);
        if build.is_done() && !seen {
            after.handled.insert(build.number);
            if known.is_some() {
                news.push((*build).clone());
            }
        }
    }
    // What Jenkins does not list any more will never end.
    let waits = sorted.iter().find(|b| !b.is_done()).map(|b| b.number);
    let low = waits.map_or(last, |number| number - 1).max(after.low);
    after.low = low;
    after.handled.retain(|number| *number > low);
    (news, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(number: u64, result: Option<&str>) -> Build {
        Build {
            number,
            building: result.is_none(),
            result: result.map(ToOwned::to_owned),
            ..Build::default()
        }
    }

    fn numbers(news: &[Build]) -> Vec<u64> {
        news.iter().map(|b| b.number).collect()
    }

    #[test]
    fn tests_and_revisions_are_told_as_igor_tells_them() {
        let mut build = build(3, Some("SUCCESS"));
        let branch = |name: &str| json!({"SHA1": "abc", "name": name});
        build.actions = vec![
            json!({}),
            json!({"failCount": 1, "skipCount": 0, "totalCount": 9, "urlName": "testReport"}),
            json!({"remoteUrls": ["https://git/a/b"],
                "lastBuiltRevision": {"branch": [branch("refs/remotes/origin/main")]},
                "build": {"revision": {"branch": [branch("origin/main")]}}}),
        ];
        let told = build.to_json("job");
        assert_eq!(
            told["testResults"],
            json!([{"failCount": 1, "skipCount": 0, "totalCount": 9, "urlName": "testReport"}])
        );
        assert_eq!(
            told["scm"],
            json!([{"name": "origin/main", "branch": "main", "sha1": "abc",
                "remoteUrl": "https://git/a/b"}])
        );
        build.actions.clear();
        assert!(build.to_json("job").get("scm").is_none());
    }

    #[test]
    fn history_is_learnt_and_each_build_is_news_once_when_it_is_done() {
        let done = Some("SUCCESS");
        let (news_1, known) = news(None, &[build(1, done), build(2, None), build(3, done)]);
        assert!(news_1.is_empty());
        assert_eq!((known.low, known.handled.len()), (1, 1));
        let again = [build(4, done), build(3, done), build(2, None)];
        let (news_2, known) = news(Some(&known), &again);
        assert_eq!(numbers(&news_2), [4]);
        let (news_3, known) = news(Some(&known), &[build(2, Some("FAILURE")), build(4, done)]);
        assert_eq!(numbers(&news_3), [2]);
        assert_eq!(
            known,
            Known {
                low: 4,
                handled: BTreeSet::new()
            }
        );
        let (news_4, known) = news(
            Some(&known),
            &[build(4, done), build(5, done), build(6, done)],
        );
        assert_eq!(numbers(&news_4), [5, 6]);
        assert!(!known.is_behind(&build(6, done)) && known.is_behind(&build(7, None)));
    }

    #[test]
    fn a_job_that_was_made_anew_is_learnt_again() {
        let known = Known {
            low: 40,
            handled: BTreeSet::new(),
        };
        let (found, after) = news(Some(&known), &[build(1, Some("SUCCESS"))]);
        assert!(found.is_empty());
        assert_eq!(after.low, 1);
    }

    #[test]
    fn a_new_job_of_a_known_master_is_news_from_its_first_build() {
        let (found, _) = news(Some(&Known::default()), &[build(1, Some("SUCCESS"))]);
        assert_eq!(numbers(&found), [1]);
    }
}
