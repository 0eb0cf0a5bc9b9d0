//! `git`: commits, tags and requests at GitHub, GitLab, Bitbucket and Stash.
//! Source: `echo: GitEventHandler` and its SCM handlers.
//!
//! Differs from Spinnaker: a deleted branch fires nothing; every event is read on
//! its own, never filled up from the one before it.

use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::webhook::object;
use super::{Origin, Source, needs, usable};
use crate::event::{self, Event};
use crate::pattern;
use crate::refusal::Refusal;

/// The trigger type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Git;

/// Files of one event that become artifacts.
const MOST_FILES: usize = 300;

/// What a sender's body says.
#[derive(Debug, Default, PartialEq)]
struct Change {
    project: String,
    /// The same as a path, where it is another: `group/sub`.
    path: String,
    slug: String,
    hash: String,
    branch: String,
    action: String,
    /// Files that were added or changed.
    files: Vec<String>,
    /// Number, draft, state and title of a request.
    request: Map<String, Value>,
}

/// A body to look values up in; what is not there is empty.
struct Body(Value);

impl Body {
    fn text(&self, path: &str) -> String {
        let found = self.0.pointer(path).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    }

    /// The first of these that is there.
    fn first(&self, paths: &[&str]) -> String {
        let mut found = paths.iter().map(|path| self.text(path));
        found.find(|text| !text.is_empty()).unwrap_or_default()
    }

    fn request(&self, fields: &[(&str, &str)]) -> Map<String, Value> {
        let found = fields.iter().filter_map(|(name, path)| {
            let value = self.0.pointer(path).filter(|v| !v.is_null())?;
            Some(((*name).to_owned(), value.clone()))
        });
        found.collect()
    }

    fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = Vec::new();
        let commits = self.0.get("commits").and_then(Value::as_array);
        for commit in commits.into_iter().flatten() {
            for key in ["added", "modified"] {
                let listed = commit.get(key).and_then(Value::as_array);
                for file in listed.into_iter().flatten().filter_map(Value::as_str) {
                    if files.len() < MOST_FILES && !files.iter().any(|f| f == file) {
                        files.push(file.to_owned());
                    }
                }
            }
        }
        files
    }
}

/// A branch is named without its prefix, a tag with it: `refs/tags/v1`.
fn branch(reference: &str) -> String {
    reference.replace("refs/heads/", "")
}

fn github(body: &Body, event: &str) -> Option<Change> {
    let owner = || body.first(&["/repository/owner/login", "/repository/owner/name"]);
    let slug = body.text("/repository/name");
    match event {
        "pull_request" => Some(Change {
            project: owner(),
            slug,
            hash: body.text("/pull_request/head/sha"),
            branch: body.text("/pull_request/head/ref"),
            action: format!("pull_request:{}", body.text("/action")),
            request: body.request(&[
                ("number", "/pull_request/number"),
                ("draft", "/pull_request/draft"),
                ("state", "/pull_request/state"),
                ("title", "/pull_request/title"),
            ]),
            ..Change::default()
        }),
        "release" => Some(Change {
            project: owner(),
            slug,
            branch: format!("refs/tags/{}", body.text("/release/tag_name")),
            hash: body.text("/release/target_commitish"),
            action: format!("release:{}", body.text("/action")),
            ..Change::default()
        }),
        "create" => Some(Change {
            project: owner(),
            slug,
            branch: body.text("/ref"),
            action: "branch:create".to_owned(),
            ..Change::default()
        }),
        // A sender that does not name its events sends pushes.
        "push" | "" => Some(Change {
            project: body.first(&["/repository/owner/name", "/repository/owner/login"]),
            slug,
            hash: body.text("/after"),
            branch: branch(&body.text("/ref")),
            action: "push:push".to_owned(),
            files: body.files(),
            ..Change::default()
        }),
        _ => None,
    }
}

fn gitlab(body: &Body) -> Option<Change> {
    let kind = body.text("/object_kind");
    let place = |change: Change| Change {
        project: body.text("/project/namespace"),
        path: body
            .text("/project/path_with_namespace")
            .rsplit_once('/')
            .map(|(group, _)| group.to_owned())
            .unwrap_or_default(),
        slug: body.text("/project/name"),
        ..change
    };
    match kind.as_str() {
        "push" | "tag_push" => Some(place(Change {
            hash: body.first(&["/after", "/checkout_sha"]),
            branch: branch(&body.text("/ref")),
            action: kind,
            files: body.files(),
            ..Change::default()
        })),
        "merge_request" => Some(place(Change {
            hash: body.text("/object_attributes/last_commit/id"),
            branch: body.text("/object_attributes/source_branch"),
            action: format!("merge_request:{}", body.text("/object_attributes/action")),
            request: body.request(&[
                ("number", "/object_attributes/iid"),
                ("draft", "/object_attributes/draft"),
                ("state", "/object_attributes/state"),
                ("title", "/object_attributes/title"),
            ]),
            ..Change::default()
        })),
        _ => None,
    }
}

fn bitbucket(body: &Body, event: &str) -> Option<Change> {
    let cloud = || Change {
        project: body.first(&["/repository/owner/username", "/repository/project/key"]),
        slug: body.text("/repository/full_name"),
        action: event.to_owned(),
        ..Change::default()
    };
    let request = |side: &str, hash: &str| Change {
        project: body.text(&format!("/pullRequest/{side}/repository/project/key")),
        slug: body.text(&format!("/pullRequest/{side}/repository/slug")),
        branch: branch(&body.text(&format!("/pullRequest/{side}/id"))),
        hash: body.text(hash),
        action: event.to_owned(),
        ..Change::default()
    };
    match event {
        "repo:push" => Some(Change {
            branch: body.text("/push/changes/0/new/name"),
            hash: body.first(&[
                "/push/changes/0/commits/0/hash",
                "/push/changes/0/new/target/hash",
            ]),
            ..cloud()
        }),
        "pullrequest:fulfilled" => Some(Change {
            branch: body.text("/pullrequest/destination/branch/name"),
            hash: body.text("/pullrequest/merge_commit/hash"),
            ..cloud()
        }),
        "repo:refs_changed" => Some(Change {
            project: body.text("/repository/project/key"),
            slug: body.text("/repository/slug"),
            branch: branch(&body.text("/changes/0/ref/id")),
            hash: body.text("/changes/0/toHash"),
            action: event.to_owned(),
            ..Change::default()
        }),
        "pr:merged" => Some(request("toRef", "/pullRequest/properties/mergeCommit/id")),
        _ if event.starts_with("pr:") => {
            Some(request("fromRef", "/pullRequest/fromRef/latestCommit"))
        }
        _ => None,
    }
}

fn stash(body: &Body) -> Option<Change> {
    Some(Change {
        project: body.text("/repository/project/key"),
        slug: body.text("/repository/slug"),
        branch: branch(&body.first(&["/refChanges/0/refId", "/changes/0/refId"])),
        hash: body.first(&["/refChanges/0/toHash", "/changes/0/toHash"]),
        ..Change::default()
    })
}

/// Nothing is left to build where a branch was deleted.
fn is_deletion(change: &Change, body: &Body) -> bool {
    let zeros = !change.hash.is_empty() && change.hash.bytes().all(|b| b == b'0');
    // Bitbucket Cloud has nothing where the branch was.
    let gone = body.0.pointer("/push/changes/0/new") == Some(&Value::Null);
    zeros || gone || body.0.get("deleted") == Some(&Value::Bool(true))
}

fn artifacts(source: &str, change: &Change, body: &Body) -> Vec<Value> {
    let github = body.text("/repository/contents_url");
    let file = |path: &String| {
        let reference = if source == "github" {
            github.replace("{+path}", path)
        } else {
            let place = body.text("/project/path_with_namespace");
            let page = body.text("/project/homepage");
            let base = page.strip_suffix(&format!("/{place}")).unwrap_or_default();
            let encoded = |text: &str| text.replace('%', "%25").replace('/', "%2F");
            format!(
                "{base}/api/v4/projects/{}/repository/files/{}/raw",
                encoded(&place),
                encoded(path)
            )
        };
        json!({
            "type": format!("{source}/file"), "name": path, "version": change.hash,
            "reference": reference,
        })
    };
    match source {
        "github" | "gitlab" => change.files.iter().map(file).collect(),
        _ => Vec::new(),
    }
}

impl Source for Git {
    fn kind(&self) -> &'static str {
        "git"
    }

    fn parse(&self, origin: &Origin<'_>, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = Body(Value::Object(object(bytes)?));
        let source = origin.source.to_lowercase();
        let event_key = origin.header("x-event-key").unwrap_or_default();
        let found = match source.as_str() {
            // GitHub tries the address out with this.
            "github" if body.0.get("hook_id").is_some() && body.0.get("zen").is_some() => None,
            "github" => github(&body, origin.header("x-github-event").unwrap_or_default()),
            "gitlab" => gitlab(&body),
            "bitbucket" => bitbucket(&body, event_key),
            "stash" => stash(&body),
            other => {
                let text = format!(
                    "source \"{other}\" of git events is unknown; use github, gitlab, bitbucket \
                     or stash"
                );
                return Err(Failure::new(Kind::Invalid, text));
            }
        };
        let Some(change) = found.filter(|change| !is_deletion(change, &body)) else {
            return Ok(Vec::new());
        };
        let mut content = json!({
            "source": source, "repoProject": change.project, "slug": change.slug,
            "hash": change.hash, "branch": change.branch, "action": change.action,
        });
        if !change.path.is_empty() {
            content["projectPath"] = change.path.as_str().into();
        }
        if let Some(fields) = content.as_object_mut() {
            fields.extend(change.request.clone());
        }
        Ok(vec![Event {
            id: event::id("git", &[&source, &origin.delivery()]),
            kind: "git".to_owned(),
            via: "notification".to_owned(),
            received_at_ms: origin.received_at_ms,
            happened_at_ms: 0,
            artifacts: artifacts(&source, &change, &body),
            content: content.as_object().cloned().unwrap_or_default(),
            proof: origin.proof(bytes),
        }])
    }

    fn standing(&self, trigger: &Map<String, Value>) -> Result<(), Refusal> {
        needs(trigger, &["source", "project", "slug"])?;
        usable(trigger, "branch")
    }

    fn matches(&self, trigger: &Map<String, Value>, event: &Event) -> Result<(), Refusal> {
        let wanted = |key: &str| trigger.get(key).and_then(Value::as_str).unwrap_or_default();
        for (key, came) in [
            ("source", "source"),
            ("project", "repoProject"),
            ("slug", "slug"),
        ] {
            let (wanted, came) = (wanted(key), event.text(came));
            if wanted.is_empty() {
                return Err(Refusal::absent(key));
            }
            let by_path =
                key == "project" && wanted.eq_ignore_ascii_case(event.text("projectPath"));
            if !wanted.eq_ignore_ascii_case(came) && !by_path {
                return Err(Refusal::differs(key, wanted, came));
            }
        }
        let (pattern, branch) = (wanted("branch"), event.text("branch"));
        if !pattern.is_empty() {
            match pattern::whole(pattern, branch) {
                Ok(true) => {}
                Ok(false) => return Err(Refusal::pattern("branch", pattern, branch)),
                Err(reason) => return Err(Refusal::unusable("branch", pattern, &reason)),
            }
        }
        event.proof.check(wanted("secret"))?;
        let events = trigger.get("events").and_then(Value::as_array);
        if let Some(events) = events.filter(|list| !list.is_empty())
            && !events
                .iter()
                .any(|e| e.as_str() == Some(event.text("action")))
        {
            let listed: Vec<_> = events.iter().filter_map(Value::as_str).collect();
            return Err(Refusal::differs(
                "events",
                &listed.join(", "),
                event.text("action"),
            ));
        }
        Ok(())
    }

    fn fired(&self, trigger: &Map<String, Value>, event: &Event) -> Map<String, Value> {
        let mut fired = trigger.clone();
        fired.shift_remove("secret");
        for key in ["hash", "branch", "action"] {
            fired.insert(key.to_owned(), event.text(key).into());
        }
        let mut properties = match fired.get("properties") {
            Some(Value::Object(properties)) => properties.clone(),
            _ => Map::new(),
        };
        for key in ["number", "draft", "state", "title"] {
            if let Some(value) = event.content.get(key) {
                properties.insert(key.to_owned(), value.clone());
            }
        }
        fired.insert("properties".to_owned(), properties.into());
        fired
    }
}

#[cfg(test)]
#[path = "git/tests.rs"]
mod tests;
