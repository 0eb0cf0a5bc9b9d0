//! `githubStatus`: the state of a pipeline or stage on the commit that started it.
//! Source: `echo: GithubNotificationAgent`.

use async_trait::async_trait;
use orchestrator_core::Execution;
use serde_json::{Value, json};

use super::super::address::text;
use super::super::render::{Message, Mood};
use super::{SendError, Sender, Sending, post, secret};

/// GitHub takes no longer description, in characters.
const LONGEST: usize = 140;

/// See the module.
#[derive(Debug)]
pub(super) struct GithubStatus;

#[async_trait]
impl Sender for GithubStatus {
    fn kind(&self) -> &'static str {
        "githubStatus"
    }

    /// Repository and commit come from the trigger.
    fn check(&self, _notification: &Value) -> Result<(), String> {
        Ok(())
    }

    async fn send(&self, sending: &Sending<'_>) -> Result<(), SendError> {
        let settings = &sending.config.github_status;
        let setting = "orchestrator.notifications.github-status.token";
        let token = secret(settings.token.as_ref(), setting)?;
        let Some((repository, commit)) = commit(sending.notification, sending.execution) else {
            let text = "neither the trigger nor repo and commit of the notification name a commit; set \
                        them, or start the pipeline by a git trigger";
            return Err(SendError::never(text));
        };
        for (what, value) in [("repo", &repository), ("commit", &commit)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            if !value.chars().all(plain) || value.contains("..") {
                return Err(SendError::never(format!(
                    "{what} \"{value}\" is none; correct it"
                )));
            }
        }
        let endpoint = settings.endpoint.trim_end_matches('/');
        let url = format!("{endpoint}/repos/{repository}/statuses/{commit}");
        let headers = vec![
            ("authorization".to_owned(), format!("token {token}")),
            (
                "accept".to_owned(),
                "application/vnd.github+json".to_owned(),
            ),
        ];
        let body = status(sending.message).to_string().into_bytes();
        post(sending, &url, headers, "application/json", body).await?;
        Ok(())
    }
}

/// `owner/name` and SHA: as the notification forces them, else as the trigger says.
fn commit(notification: &Value, execution: &Execution) -> Option<(String, String)> {
    if let (Some(repository), Some(commit)) =
        (text(notification, "repo"), text(notification, "commit"))
    {
        return Some((repository.to_owned(), commit.to_owned()));
    }
    let trigger = Value::Object(execution.trigger.fields().clone());
    // A child pipeline, or one that another's end started, goes by its parent's commit.
    let mut at = &trigger;
    for _ in 0..16 {
        if let Some(found) = of_trigger(at) {
            return Some(found);
        }
        at = at.pointer("/parentExecution/trigger")?;
    }
    None
}

fn of_trigger(trigger: &Value) -> Option<(String, String)> {
    let field = |key: &str| text(trigger, key);
    if field("type") == Some("git") {
        let repository = format!("{}/{}", field("project")?, field("slug")?);
        return Some((repository, field("hash")?.to_owned()));
    }
    let build = trigger.get("buildInfo")?;
    let commit = text(build.pointer("/scm/0")?, "sha1")?;
    let repository = text(build, "name")?;
    Some((repository.to_owned(), commit.to_owned()))
}

fn status(message: &Message) -> Value {
    let state = match message.mood {
        Mood::Neutral => "pending",
        Mood::Good => "success",
        Mood::Bad => "failure",
        Mood::Ended => "error",
    };
    let context = match &message.stage {
        Some(stage) => format!("stage/{stage}"),
        None => format!("pipeline/{}", message.pipeline),
    };
    let told = match &message.cause {
        Some(cause) => cause.first.clone(),
        None => message.summary.clone(),
    };
    let description: String = told.chars().take(LONGEST).collect();
    json!({
        "state": state, "target_url": message.link,
        "description": description, "context": context,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_the_notifications_or_the_triggers() {
        let git = json!({"type": "git", "source": "github", "project": "acme", "slug": "shop", "hash": "abc"});
        let of_git = Some(("acme/shop".to_owned(), "abc".to_owned()));
        for (notification, trigger, expected) in [
            (json!({}), git.clone(), of_git.clone()),
            (
                json!({}),
                json!({"type": "pipeline", "parentExecution": {"trigger": git}}),
                of_git,
            ),
            (
                json!({"repo": "a/b", "commit": "def"}),
                git,
                Some(("a/b".to_owned(), "def".to_owned())),
            ),
            (
                json!({}),
                json!({"type": "jenkins", "buildInfo": {"name": "a/b", "scm": [{"sha1": "123"}]}}),
                Some(("a/b".to_owned(), "123".to_owned())),
            ),
            (json!({}), json!({"type": "manual"}), None),
        ] {
            let e: Execution = serde_json::from_value(json!({"trigger": trigger})).unwrap();
            assert_eq!(commit(&notification, &e), expected, "{trigger}");
        }
    }
}
