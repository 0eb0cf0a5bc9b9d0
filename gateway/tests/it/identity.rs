//! Proving who one is: passwords, tokens, the proxy's header; and what does not prove it.

use std::path::{Path, PathBuf};

use gateway::Config;
use serde_json::{Value, json};

use crate::fake::{Answer, Gate};

/// A gateway whose users come from a file.
pub(crate) struct Guarded {
    pub(crate) gate: Gate,
    folder: tempfile::TempDir,
}

pub(crate) fn basic(name: &str) -> String {
    use base64::Engine;
    let both = format!("{name}:{name}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(both)
    )
}

fn write(file: &Path, users: &[(&str, &str)]) {
    let lines: Vec<String> = users
        .iter()
        .map(|(name, roles)| {
            let roles: Vec<String> = roles.split_whitespace().map(ToOwned::to_owned).collect();
            gateway::identity::user_entry(name, name, &roles).unwrap()
        })
        .collect();
    std::fs::write(file, lines.join("\n")).unwrap();
}

impl Guarded {
    /// Users by name, which is also the password, with their roles.
    pub(crate) fn with(users: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        write(&file, users);
        let mut config = Config::default();
        config.authentication.users_file = Some(file);
        Self {
            gate: Gate::with(config),
            folder,
        }
    }

    pub(crate) fn users(&self, users: &[(&str, &str)]) {
        write(&self.file(), users);
    }

    /// The users file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("users")
    }

    pub(crate) async fn asked(&self, user: &str, method: &str, path: &str, body: &str) -> Answer {
        let credential = basic(user);
        let headers = [("authorization", credential.as_str())];
        self.gate
            .send_with(method, path, body.to_owned(), &headers)
            .await
    }

    pub(crate) async fn with_token(&self, token: &str, method: &str, path: &str) -> Answer {
        let credential = format!("Bearer {token}");
        let headers = [("authorization", credential.as_str())];
        self.gate.send_with(method, path, "{}", &headers).await
    }

    async fn token(&self, user: &str, body: &Value) -> (String, String) {
        let answer = self.asked(user, "POST", "/tokens", &body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.json();
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        assert!(told.get("hash").is_none());
        (text("id"), text("token"))
    }
}

#[tokio::test]
async fn nobody_is_let_in_without_a_proof_except_where_the_path_is_open() {
    let guarded = Guarded::with(&[("ann", "dev")]);
    let answer = guarded.gate.get("/applications").await;
    assert_eq!(answer.status, 401);
    let asked: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for (method, path, status) in [
        ("GET", "/health", 200),
        ("GET", "/auth/user", 200),
        ("GET", "/auth/loggedOut", 200),
        ("POST", "/webhooks/webhook/x", 200),
        ("GET", "/version", 401),
        ("GET", "/ui/", 401),
        ("GET", "/none", 401),
        ("POST", "/tasks", 401),
        ("POST", "/webhooks2/x", 401),
    ] {
        assert_eq!(
            guarded.gate.send(method, path, "{}").await.status,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_password_proves_its_user_until_the_file_says_otherwise() {
    let guarded = Guarded::with(&[("ann", "Dev ops"), ("bob", "")]);
    let user = guarded.asked("ann", "GET", "/auth/user", "").await.json();
    assert_eq!(user["username"], "ann");
    assert_eq!(user["roles"], json!(["dev", "ops"]));
    assert_eq!(user["allowedAccounts"], json!(["k8s"]));
    assert_eq!(user["isAdmin"], json!(false));
    guarded.users(&[("ann", "dev")]);
    let user = guarded.asked("ann", "GET", "/auth/user", "").await.json();
    assert_eq!(user["roles"], json!(["dev"]));
    assert_eq!(
        guarded.asked("bob", "GET", "/auth/user", "").await.status,
        401
    );
}

#[tokio::test]
async fn credentials_that_are_none_are_refused_and_not_passed_over() {
    let guarded = Guarded::with(&[("ann", "dev")]);
    let wrong = [
        "Basic",
        "Basic !",
        "Digest x",
        "Bearer x",
        "Bearer gnk_1_2",
        "Basic YW5u",
    ];
    for credential in wrong {
        let headers = [("authorization", credential)];
        let answer = guarded
            .gate
            .send_with("GET", "/auth/user", "", &headers)
            .await;
        assert_eq!(answer.status, 401, "{credential}");
    }
    let (good, token) = (basic("ann"), "gnk_nonsense");
    for headers in [
        [
            ("authorization", good.as_str()),
            ("authorization", good.as_str()),
        ],
        [("x-spinnaker-token", token), ("x-other", "")],
    ] {
        let answer = guarded
            .gate
            .send_with("GET", "/auth/user", "", &headers)
            .await;
        assert_eq!(answer.status, 401, "{headers:?}");
    }
}

#[tokio::test]
async fn headers_that_name_somebody_prove_nothing() {
    let guarded = Guarded::with(&[("ann", "dev"), ("root", "admin")]);
    let forged = [
        ("x-spinnaker-user", "root"),
        ("x-spinnaker-accounts", "k8s"),
        ("x-gennaker-user", "root"),
        ("x-gennaker-roles", "admin"),
        ("x-gennaker-signature", "1.00"),
        ("x-forwarded-user", "root"),
    ];
    let answer = guarded
        .gate
        .send_with("GET", "/applications", "", &forged)
        .await;
    assert_eq!(answer.status, 401);
    let credential = basic("ann");
    let mut both = forged.to_vec();
    both.push(("authorization", &credential));
    let user = guarded
        .gate
        .send_with("GET", "/auth/user", "", &both)
        .await
        .json();
    assert_eq!(
        (&user["username"], &user["isAdmin"]),
        (&json!("ann"), &json!(false))
    );
    // A proxy is configured, but this does not come from its address.
    let mut config = Config::default();
    config.authentication.proxy =
        Some(serde_json::from_value(json!({"addresses": ["10.0.0.1"]})).unwrap());
    let gate = Gate::with(config);
    assert_eq!(
        gate.send_with("GET", "/applications", "", &forged)
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_token_stands_for_its_owner_as_the_owner_is_now() {
    let guarded = Guarded::with(&[("ann", "dev"), ("root", "admin")]);
    let (id, token) = guarded
        .token("ann", &json!({"name": "ci", "days": 1}))
        .await;
    let user = guarded.with_token(&token, "GET", "/auth/user").await.json();
    assert_eq!(
        (&user["username"], &user["roles"]),
        (&json!("ann"), &json!(["dev"]))
    );
    let by_header = [("x-spinnaker-token", token.as_str())];
    let answer = guarded
        .gate
        .send_with("GET", "/auth/user", "", &by_header)
        .await;
    assert_eq!(answer.json()["username"], "ann");
    guarded.users(&[("ann", "ops"), ("root", "admin")]);
    let user = guarded.with_token(&token, "GET", "/auth/user").await.json();
    assert_eq!(user["roles"], json!(["ops"]));
    // Tokens make no tokens.
    assert_eq!(
        guarded.with_token(&token, "POST", "/tokens").await.status,
        403
    );
    // Another's token is not there, for whoever asks about it.
    let path = format!("/tokens/{id}");
    guarded.users(&[("ann", "ops"), ("bob", ""), ("root", "admin")]);
    assert_eq!(guarded.asked("bob", "DELETE", &path, "").await.status, 404);
    assert_eq!(
        guarded.asked("bob", "GET", "/tokens", "").await.json(),
        json!([])
    );
    let listed = guarded.asked("root", "GET", "/tokens", "").await;
    assert!(listed.text().contains(&id) && !listed.text().contains("hash"));
    guarded.users(&[("bob", ""), ("root", "admin")]);
    assert_eq!(
        guarded.with_token(&token, "GET", "/auth/user").await.status,
        401,
        "its owner has gone"
    );
    guarded.users(&[("ann", "ops"), ("root", "admin")]);
    assert_eq!(
        guarded.with_token(&token, "GET", "/auth/user").await.status,
        200
    );
    assert_eq!(guarded.asked("ann", "DELETE", &path, "").await.status, 200);
    assert_eq!(
        guarded.with_token(&token, "GET", "/auth/user").await.status,
        401
    );
}

#[tokio::test]
async fn an_expired_token_is_refused_and_a_narrow_one_stays_narrow() {
    let guarded = Guarded::with(&[("root", "admin")]);
    let (id, token) = guarded.token("root", &json!({"name": "old"})).await;
    guarded.gate.peers.kept(|kept| {
        let stored = kept.get("apiToken", &id).flatten().unwrap();
        let mut stored: Value = serde_json::from_str(&stored.text).unwrap();
        stored["expiresAt"] = json!(1);
        kept.save("apiToken", &proto::common::v1::Json::of(&stored));
    });
    let answer = guarded.with_token(&token, "GET", "/auth/user").await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("expired"), "{}", answer.text());

    let narrow = json!({"name": "n", "applications": ["b"], "permissions": ["READ"]});
    let (_, token) = guarded.token("root", &narrow).await;
    for (method, path) in [
        ("GET", "/applications/a"),
        ("POST", "/pipelines/a/n"),
        ("POST", "/pipelines/b/n"),
        ("GET", "/audit"),
        ("GET", "/pipelines/E1"),
        ("POST", "/serviceAccounts"),
    ] {
        let answer = guarded.with_token(&token, method, path).await;
        assert_eq!(answer.status, 403, "{method} {path}");
        assert!(
            answer.text().contains("credentialTooNarrow"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(
        guarded
            .with_token(&token, "GET", "/applications")
            .await
            .json(),
        json!([])
    );
    let (_, token) = guarded
        .token("root", &json!({"name": "r", "permissions": ["READ"]}))
        .await;
    assert_eq!(
        guarded
            .with_token(&token, "GET", "/applications/a")
            .await
            .status,
        200
    );
    assert_eq!(
        guarded
            .with_token(&token, "POST", "/pipelines/a/n")
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn what_a_token_may_not_be_is_said_by_field() {
    let guarded = Guarded::with(&[("ann", "dev"), ("root", "admin")]);
    for (body, status, field) in [
        (json!({}), 400, "name"),
        (json!({"name": "n", "days": 0}), 400, "days"),
        (json!({"name": "n", "days": 91}), 400, "days"),
        (
            json!({"name": "n", "permissions": ["FLY"]}),
            400,
            "permissions",
        ),
        (
            json!({"name": "n", "applications": "a"}),
            400,
            "applications",
        ),
        (json!({"name": "n", "user": "root"}), 403, "Access denied"),
    ] {
        let answer = guarded
            .asked("ann", "POST", "/tokens", &body.to_string())
            .await;
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.text().contains(field), "{body}: {}", answer.text());
    }
    let nobody = json!({"name": "n", "user": "nobody"}).to_string();
    assert_eq!(
        guarded
            .asked("root", "POST", "/tokens", &nobody)
            .await
            .status,
        400
    );
    let bot = json!({"name": "bot", "memberOf": ["dev"]}).to_string();
    assert_eq!(
        guarded
            .asked("root", "POST", "/serviceAccounts", &bot)
            .await
            .status,
        200
    );
    let (_, token) = guarded
        .token("root", &json!({"name": "n", "user": "bot"}))
        .await;
    let user = guarded.with_token(&token, "GET", "/auth/user").await.json();
    assert_eq!(
        (&user["username"], &user["roles"]),
        (&json!("bot"), &json!(["dev"]))
    );
}
