//! Who may do what, at every route; that a change counts at the next request; the audit.

use serde_json::{Value, json};

use crate::identity::Guarded;
use crate::routes::served;

/// Application `a` and account `k8s` are the team's.
fn guarded() -> Guarded {
    let guarded = Guarded::with(&[("ann", "team"), ("eve", "other"), ("root", "admin")]);
    restrict(&guarded, "team");
    guarded
}

fn restrict(guarded: &Guarded, role: &str) {
    guarded.gate.peers.kept(|kept| {
        let permissions = json!({"READ": [role], "WRITE": [role], "EXECUTE": [role]});
        kept.application = permissions.clone();
        kept.account = permissions;
    });
}

/// What everybody who is logged in may ask: it says nothing about application `a`.
const HARMLESS: &[&str] = &[
    "GET /",
    "GET /version",
    "GET /health",
    "GET /artifacts/credentials",
    "GET /auth/",
    "GET /capabilities/",
    "GET /environments",
    "GET /firewalls",
    "GET /images/",
    "GET /jobs/preconfigured",
    "GET /notifications/metadata",
    "GET /openapi.json",
    "GET /projects",
    "GET /securityGroups",
    // Its id is all that leads to a task.
    "GET /tasks/",
    "GET /tokens",
    "GET /ui",
    "GET /v2/builds",
    "GET /v2/canaries/credentials",
    "GET /v2/canaries/judges",
    "GET /v2/canaries/metadata/",
    "GET /v2/pipelineTemplates",
    "GET /v3/",
    "GET /validateCronExpression",
    "GET /webhooks/preconfigured",
    "POST /webhooks/",
    "DELETE /tokens/",
    "POST /auth/logout",
    // Templates of no application are everybody's, as in Spinnaker.
    "POST /v2/pipelineTemplates/",
    "DELETE /v2/pipelineTemplates/",
];

/// What an answer would give away.
fn gives_away(text: &str) -> bool {
    [
        "\"a-v000\"",
        "\"p1\"",
        "\"E1\"",
        "\"application\":\"a\"",
        "\"k8s\"",
    ]
    .iter()
    .any(|secret| text.contains(secret))
}

#[tokio::test]
async fn every_route_is_closed_to_a_stranger_and_open_to_an_administrator() {
    let guarded = guarded();
    let mut refused = 0;
    for (method, path, body, status, _) in served() {
        if !(200..400).contains(&status) || path.starts_with("/live") {
            continue;
        }
        let line = format!("{method} {path}");
        let nobody = guarded.gate.send(method, path, body).await;
        let open = [
            "GET /health",
            "GET /auth/user",
            "GET /auth/loggedOut",
            "POST /auth/logout",
            "POST /webhooks/",
        ];
        if !open
            .iter()
            .any(|o| line == *o || o.ends_with('/') && line.starts_with(o))
        {
            assert_eq!(nobody.status, 401, "{line}");
        }
        let root = guarded.asked("root", method, path, body).await;
        assert_eq!(root.status.as_u16(), status, "{line}: {}", root.text());
        let eve = guarded.asked("eve", method, path, body).await;
        if eve.status == 403 {
            assert!(eve.text().contains("rule "), "{line}: {}", eve.text());
            refused += 1;
            continue;
        }
        let harmless = HARMLESS
            .iter()
            .any(|h| line == *h || h.len() > 5 && line.starts_with(h));
        let lists = method == "GET" && !gives_away(&eve.text());
        assert!(
            harmless || lists,
            "{line} is open: {} {}",
            eve.status,
            eve.text()
        );
    }
    assert!(refused >= 60, "only {refused} were refused");
}

#[tokio::test]
async fn the_team_may_do_what_it_is_there_for() {
    let guarded = guarded();
    for (method, path, body) in [
        ("GET", "/applications/a", ""),
        ("GET", "/pipelines/E1", ""),
        ("POST", "/pipelines/a/n", "{}"),
        ("PUT", "/pipelines/E1/cancel", ""),
        (
            "POST",
            "/pipelines",
            "{\"name\": \"n\", \"application\": \"a\", \"id\": \"p1\"}",
        ),
        (
            "POST",
            "/tasks",
            "{\"application\": \"a\", \"job\": [{\"type\": \"wait\", \"account\": \"k8s\"}]}",
        ),
        ("DELETE", "/quarantine/k8s/a/image", ""),
        ("GET", "/instances/k8s/local/i-1", ""),
    ] {
        let answer = guarded.asked("ann", method, path, body).await;
        assert!(
            answer.status.is_success() || answer.status == 404,
            "{method} {path}: {}",
            answer.text()
        );
    }
    let listed = guarded
        .asked("ann", "GET", "/applications", "")
        .await
        .json();
    assert_eq!(listed[0]["name"], "a", "{listed}");
    assert_eq!(
        listed.as_array().unwrap().len(),
        1,
        "what is only seen in a cloud is nobody's: {listed}"
    );
}

#[tokio::test]
async fn a_permission_that_changes_counts_at_the_next_request() {
    let guarded = guarded();
    assert_eq!(
        guarded
            .asked("eve", "GET", "/applications/a", "")
            .await
            .status,
        403
    );
    restrict(&guarded, "other");
    assert_eq!(
        guarded
            .asked("eve", "GET", "/applications/a", "")
            .await
            .status,
        200
    );
    assert_eq!(
        guarded
            .asked("ann", "GET", "/applications/a", "")
            .await
            .status,
        403
    );
    assert_eq!(
        guarded
            .asked("ann", "GET", "/applications", "")
            .await
            .json(),
        json!([])
    );
    guarded.users(&[("ann", "team other"), ("root", "admin")]);
    assert_eq!(
        guarded
            .asked("ann", "GET", "/applications/a", "")
            .await
            .status,
        200
    );
    assert_eq!(
        guarded
            .asked("eve", "GET", "/applications/a", "")
            .await
            .status,
        401
    );
    guarded
        .gate
        .peers
        .kept(|kept| kept.application = json!("damaged"));
    assert_eq!(
        guarded
            .asked("ann", "GET", "/applications/a", "")
            .await
            .status,
        403
    );
    assert_eq!(
        guarded
            .asked("root", "GET", "/applications/a", "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_permission_is_asked_for_each_by_itself() {
    let guarded = guarded();
    guarded.gate.peers.kept(|kept| {
        kept.application = json!({"READ": ["team"], "WRITE": ["w"], "EXECUTE": ["x"]});
    });
    let body = "{\"name\": \"n\", \"application\": \"a\"}";
    for (role, reads, writes, executes) in [
        ("team", 200, 403, 403),
        ("w", 403, 200, 403),
        ("x", 403, 403, 202),
    ] {
        guarded.users(&[("ann", role)]);
        assert_eq!(
            guarded
                .asked("ann", "GET", "/applications/a", "")
                .await
                .status,
            reads,
            "{role}"
        );
        assert_eq!(
            guarded
                .asked("ann", "POST", "/pipelines", body)
                .await
                .status,
            writes,
            "{role}"
        );
        assert_eq!(
            guarded
                .asked("ann", "POST", "/pipelines/a/n", "")
                .await
                .status,
            executes,
            "{role}"
        );
    }
}

#[tokio::test]
async fn a_canary_runs_in_the_application_whose_permission_was_asked_for() {
    let guarded = guarded();
    let whole = |application: &str| {
        json!({"application": application, "canaryConfig": {"applications": ["a"]}, "executionRequest": {}})
            .to_string()
    };
    let short = |application: &str| {
        json!({"application": application, "query": "up", "control": "x", "experiment": "y"})
            .to_string()
    };
    for path in ["/v2/canaries/canary", "/v2/canaries/dryRun"] {
        // The run of a whole body is its config's, whatever stands beside that.
        for (user, body, status) in [
            ("eve", whole("free"), 403),
            ("ann", whole("free"), 200),
            ("eve", short("a"), 403),
            ("ann", short("a"), 200),
        ] {
            let answer = guarded.asked(user, "POST", path, &body).await;
            assert_eq!(answer.status, status, "{user} {body}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_pipeline_cannot_be_taken_to_another_application_or_run_as_anybody() {
    let guarded = guarded();
    let save = |body: Value| body.to_string();
    // Eve may write `b`, but p1 is a's.
    let stolen = save(json!({"id": "p1", "name": "n", "application": "b"}));
    assert_eq!(
        guarded
            .asked("eve", "POST", "/pipelines", &stolen)
            .await
            .status,
        403
    );
    let bot = |roles: Value| save(json!({"name": "bot", "memberOf": roles}));
    let with_bot = save(json!({"name": "n", "application": "a",
                               "triggers": [{"type": "docker", "runAsUser": "bot"}]}));
    let unknown = guarded.asked("ann", "POST", "/pipelines", &with_bot).await;
    assert_eq!(unknown.status, 400);
    assert!(
        unknown.text().contains("triggers[0].runAsUser"),
        "{}",
        unknown.text()
    );
    for (roles, status) in [
        (json!(["team"]), 200),
        // Ann is no member of it.
        (json!(["team", "ops"]), 403),
        // It may not run the application itself.
        (json!([]), 403),
    ] {
        guarded
            .asked("root", "POST", "/serviceAccounts", &bot(roles.clone()))
            .await;
        let answer = guarded.asked("ann", "POST", "/pipelines", &with_bot).await;
        assert_eq!(answer.status, status, "{roles}: {}", answer.text());
        let bulk = format!("[{with_bot}]");
        let answer = guarded
            .asked("ann", "POST", "/pipelines/bulksave", &bulk)
            .await;
        assert_eq!(answer.status, status, "{roles}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_pipeline_acts_with_no_roles_that_its_author_lacks() {
    let guarded = guarded();
    for (roles, status) in [
        (json!(["team"]), 200),
        (json!(["team", "ops"]), 403),
        (json!([]), 200),
    ] {
        let body = json!({"name": "n", "application": "a", "roles": roles}).to_string();
        let answer = guarded.asked("ann", "POST", "/pipelines", &body).await;
        assert_eq!(answer.status, status, "{roles}: {}", answer.text());
    }
}

#[tokio::test]
async fn who_acts_is_who_asked_whatever_the_body_says() {
    let guarded = guarded();
    let task = json!({"application": "a", "trigger": {"user": "root"}, "user": "root",
                      "job": [{"type": "wait", "user": "root"}]});
    assert_eq!(
        guarded
            .asked("ann", "POST", "/tasks", &task.to_string())
            .await
            .status,
        200
    );
    let sent = guarded.gate.peers.calls("start").join("");
    assert!(sent.contains("\\\"user\\\":\\\"ann\\\""), "{sent}");
    let trigger = sent.split("trigger").nth(1).unwrap();
    assert!(
        !trigger.starts_with("\\\":{\\\"user\\\":\\\"root"),
        "{sent}"
    );
}

#[tokio::test]
async fn explain_names_the_rule_that_decides() {
    let guarded = guarded();
    for (user, query, allowed, rule) in [
        ("ann", "application=a&permission=READ", true, "roleListed"),
        (
            "eve",
            "application=a&permission=write",
            false,
            "noRoleListed",
        ),
        ("root", "application=a&permission=WRITE", true, "admin"),
        (
            "eve",
            "application=none&permission=READ",
            false,
            "unknownApplication",
        ),
        ("eve", "account=k8s&permission=WRITE", false, "noRoleListed"),
        (
            "root",
            "user=eve&application=a&permission=READ",
            false,
            "noRoleListed",
        ),
    ] {
        let told = guarded
            .asked(user, "GET", &format!("/auth/explain?{query}"), "")
            .await;
        let told = told.json();
        assert_eq!(
            (&told["allowed"], &told["rule"]),
            (&json!(allowed), &json!(rule)),
            "{user} {query}: {told}"
        );
    }
    let other = "/auth/explain?user=ann&application=a&permission=READ";
    assert_eq!(guarded.asked("eve", "GET", other, "").await.status, 403);
    let bad = "/auth/explain?application=a&permission=FLY";
    assert_eq!(guarded.asked("eve", "GET", bad, "").await.status, 400);
}

#[tokio::test]
async fn every_change_is_written_down_before_and_after_and_refusals_too() {
    let guarded = guarded();
    guarded
        .asked("ann", "PUT", "/pipelines/E1/cancel", "")
        .await;
    guarded
        .asked("eve", "PUT", "/pipelines/E1/cancel", "")
        .await;
    guarded.asked("ann", "GET", "/pipelines/E1", "").await;
    let body = json!({"name": "n", "application": "a", "id": "p1"}).to_string();
    guarded.asked("ann", "POST", "/pipelines", &body).await;
    let answer = guarded
        .asked("root", "GET", "/audit?limit=10", "")
        .await
        .json();
    let entries = answer["entries"].as_array().unwrap();
    let seen: Vec<_> = entries
        .iter()
        .rev()
        .map(|e| {
            (
                e["phase"].as_str().unwrap(),
                e["actor"].as_str().unwrap(),
                e["object"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("begun", "ann", "execution/E1"),
            ("ended", "ann", "execution/E1"),
            ("refused", "eve", "execution/E1"),
            ("begun", "ann", "pipeline/p1"),
            ("ended", "ann", "pipeline/p1"),
        ]
    );
    let (ended, begun) = (&entries[0], &entries[1]);
    assert_eq!(ended["requestId"], begun["requestId"]);
    assert_eq!(begun["before"].as_str().unwrap().len(), 64);
    assert_eq!(ended["after"].as_str().unwrap().len(), 64);
    assert_eq!(
        (&ended["status"], &ended["how"]),
        (&json!(200), &json!("password"))
    );
    assert_eq!(begun["action"], "pipeline_configs.save");
    assert_eq!(guarded.asked("ann", "GET", "/audit", "").await.status, 403);
}

#[tokio::test]
async fn what_cannot_be_written_down_does_not_happen() {
    let guarded = guarded();
    let failure =
        proto::status::Failure::new(proto::status::Kind::Unavailable, "the store is away");
    guarded.gate.peers.fail("append", failure);
    let answer = guarded
        .asked("ann", "PUT", "/pipelines/E1/cancel", "")
        .await;
    assert_eq!(answer.status, 503);
    assert!(guarded.gate.peers.calls("cancel").is_empty());
}
