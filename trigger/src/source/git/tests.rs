use super::*;

fn parse(source: &str, headers: &[(&str, &str)], body: &Value) -> Vec<Event> {
    let headers: Vec<(String, String)> = headers
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    let origin = Origin {
        source,
        registry: "",
        headers: &headers,
        nonce: "n",
        received_at_ms: 7,
    };
    Git.parse(&origin, body.to_string().as_bytes()).unwrap()
}

fn push() -> Value {
    json!({
        "ref": "refs/heads/main", "after": "abc",
        "repository": {"name": "r", "owner": {"name": "o", "login": "o"},
            "contents_url": "https://x/contents/{+path}"},
        "commits": [{"added": ["a"], "modified": ["b"]}, {"modified": ["a"]}],
    })
}

#[test]
fn each_senders_body_says_project_slug_branch_hash_and_action() {
    let owner = json!({"name": "r", "owner": {"login": "o"}});
    type Case = (
        &'static str,
        Vec<(&'static str, &'static str)>,
        Value,
        [&'static str; 5],
    );
    let table: Vec<Case> = vec![
        (
            "github",
            vec![("X-GitHub-Event", "push")],
            push(),
            ["o", "r", "main", "abc", "push:push"],
        ),
        (
            "github",
            vec![("x-github-event", "push")],
            {
                let mut tag = push();
                tag["ref"] = json!("refs/tags/v1");
                tag
            },
            ["o", "r", "refs/tags/v1", "abc", "push:push"],
        ),
        (
            "github",
            vec![("X-GitHub-Event", "pull_request")],
            json!({"action": "opened", "repository": owner,
                "pull_request": {"number": 1, "head": {"ref": "b", "sha": "s"}}}),
            ["o", "r", "b", "s", "pull_request:opened"],
        ),
        (
            "github",
            vec![("X-GitHub-Event", "release")],
            json!({"action": "published", "repository": owner,
                "release": {"tag_name": "v2", "target_commitish": "main"}}),
            ["o", "r", "refs/tags/v2", "main", "release:published"],
        ),
        (
            "gitlab",
            vec![],
            json!({"object_kind": "tag_push", "ref": "refs/tags/v1", "after": "s",
                "project": {"name": "r", "namespace": "G"}}),
            ["G", "r", "refs/tags/v1", "s", "tag_push"],
        ),
        (
            "gitlab",
            vec![],
            json!({"object_kind": "merge_request", "project": {"name": "r", "namespace": "G"},
                "object_attributes": {"source_branch": "b", "last_commit": {"id": "s"}, "action": "open"}}),
            ["G", "r", "b", "s", "merge_request:open"],
        ),
        (
            "bitbucket",
            vec![("X-Event-Key", "repo:push")],
            json!({"push": {"changes": [{"new": {"name": "main"}, "commits": [{"hash": "s"}]}]},
                "repository": {"full_name": "o/r", "owner": {"username": "o"}}}),
            ["o", "o/r", "main", "s", "repo:push"],
        ),
        (
            "bitbucket",
            vec![("X-Event-Key", "repo:refs_changed")],
            json!({"changes": [{"ref": {"id": "refs/heads/main"}, "toHash": "s"}],
                "repository": {"slug": "r", "project": {"key": "K"}}}),
            ["K", "r", "main", "s", "repo:refs_changed"],
        ),
        (
            "bitbucket",
            vec![("X-Event-Key", "pr:merged")],
            json!({"pullRequest": {"toRef": {"id": "refs/heads/main",
                "repository": {"slug": "r", "project": {"key": "K"}}},
                "properties": {"mergeCommit": {"id": "s"}}}}),
            ["K", "r", "main", "s", "pr:merged"],
        ),
        (
            "stash",
            vec![],
            json!({"refChanges": [{"refId": "refs/heads/main", "toHash": "s"}],
                "repository": {"slug": "r", "project": {"key": "K"}}}),
            ["K", "r", "main", "s", ""],
        ),
    ];
    for (source, headers, body, [project, slug, branch, hash, action]) in table {
        let events = parse(source, &headers, &body);
        let [event] = events.as_slice() else {
            panic!("{source} {body}");
        };
        let found = ["repoProject", "slug", "branch", "hash", "action"].map(|k| event.text(k));
        assert_eq!(
            found,
            [project, slug, branch, hash, action],
            "{source} {body}"
        );
    }
}

#[test]
fn what_changes_nothing_is_no_event() {
    let mut deleted = push();
    deleted["after"] = json!("0".repeat(40));
    let mut flagged = push();
    flagged["deleted"] = json!(true);
    for (source, event, body) in [
        ("github", "ping", json!({"zen": "z", "hook_id": 1})),
        ("github", "push", deleted),
        ("github", "push", flagged),
        ("github", "star", json!({"action": "created"})),
        ("gitlab", "", json!({"object_kind": "pipeline"})),
        ("bitbucket", "", json!({})),
        (
            "bitbucket",
            "repo:push",
            json!({"push": {"changes": [{"new": null, "old": {"name": "b"}}]},
            "repository": {"full_name": "o/r", "owner": {"username": "o"}}}),
        ),
    ] {
        let headers = [("X-GitHub-Event", event), ("X-Event-Key", event)];
        let events = parse(source, &headers, &body);
        assert!(events.is_empty(), "{source} {event} {events:?}");
    }
    let origin = Origin {
        source: "cvs",
        registry: "",
        headers: &[],
        nonce: "",
        received_at_ms: 0,
    };
    assert!(
        Git.parse(&origin, b"{}")
            .unwrap_err()
            .message
            .contains("use github")
    );
}

#[test]
fn a_trigger_names_the_rule_that_keeps_it_from_firing() {
    let event = parse("github", &[("X-GitHub-Event", "push")], &push()).remove(0);
    let base = json!({"source": "github", "project": "O", "slug": "R", "branch": "ma.*",
        "events": ["push:push"]});
    for (change, field) in [
        (json!({}), None),
        (json!({"branch": ""}), None),
        (json!({"source": "gitlab"}), Some("source")),
        (json!({"project": "p"}), Some("project")),
        (json!({"slug": ""}), Some("slug")),
        (json!({"branch": "main2"}), Some("branch")),
        (json!({"branch": "mai"}), Some("branch")),
        (json!({"branch": "("}), Some("branch")),
        (json!({"secret": "s"}), Some("secret")),
        (json!({"events": ["pull_request:opened"]}), Some("events")),
    ] {
        let mut trigger = base.as_object().unwrap().clone();
        trigger.extend(change.as_object().unwrap().clone());
        let outcome = Git.matches(&trigger, &event).err().map(|r| r.field);
        assert_eq!(outcome.as_deref(), field, "{change}");
    }
    let fired = Git.fired(base.as_object().unwrap(), &event);
    assert_eq!(
        (&fired["branch"], &fired["hash"]),
        (&json!("main"), &json!("abc"))
    );
    let files: Vec<_> = event
        .artifacts
        .iter()
        .map(|a| a["reference"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["https://x/contents/a", "https://x/contents/b"]);
}
