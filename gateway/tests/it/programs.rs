//! Sessions of programs that log in as `spin` does: with a form, or with an access token of the provider.

use gateway::Config;
use serde_json::{Value, json};

use crate::fake::{Answer, Gate};
use crate::identity::{Guarded, basic};
use crate::provider::Provider;

async fn posted(gate: &Gate, name: &str, password: &str) -> Answer {
    let form = format!("password={password}&username={name}");
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    gate.send_with("POST", "/login", form, &kind).await
}

/// Name and value of the session's cookie.
fn cookie(answer: &Answer) -> String {
    let set = answer.headers.get_all("set-cookie").iter();
    let mut set = set.map(|value| value.to_str().unwrap());
    let set = set.find(|text| text.starts_with("gennaker-session="));
    set.unwrap().split(';').next().unwrap().to_owned()
}

async fn user(gate: &Gate, cookie: &str) -> Value {
    let answer = gate
        .send_with("GET", "/auth/user", "", &[("cookie", cookie)])
        .await;
    if answer.body.is_empty() {
        return Value::Null;
    }
    answer.json()
}

fn to(answer: &Answer) -> &str {
    assert_eq!(answer.status, 302, "{}", answer.text());
    answer.headers["location"].to_str().unwrap()
}

#[tokio::test]
async fn a_form_makes_a_session_that_lasts_as_long_as_its_password_and_knows_the_roles_of_now() {
    let guarded = Guarded::with(&[("ann", "dev"), ("bob", "")]);
    let gate = &guarded.gate;
    for (name, password) in [("ann", "bob"), ("eve", "eve")] {
        let refused = posted(gate, name, password).await;
        assert_eq!(to(&refused), "/login?error");
        assert!(refused.headers.get("set-cookie").is_none());
    }
    let begun = posted(gate, "ann", "ann").await;
    assert_eq!(to(&begun), "/");
    let session = cookie(&begun);
    assert_eq!(user(gate, &session).await["roles"], json!(["dev"]));
    let file = guarded.file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(":dev", ":ops")).unwrap();
    assert_eq!(user(gate, &session).await["roles"], json!(["ops"]));
    // What names another user, or was not made here, is nobody's.
    let forged = session.replace("gennaker-session=", "gennaker-session=0");
    assert_eq!(user(gate, &forged).await, Value::Null);
    let other = cookie(&posted(gate, "bob", "bob").await);
    assert_eq!(user(gate, &other).await["username"], "bob");
    // Another password, even if it is the same word, is another entry.
    guarded.users(&[("ann", "dev")]);
    assert_eq!(user(gate, &session).await, Value::Null);
    assert_eq!(user(gate, &other).await, Value::Null);
    let audit = gate.peers.kept(|kept| kept.audit.clone());
    let written = |e: &Value| e["action"] == "login.form" && e["object"] == "session/ann";
    assert!(audit.iter().any(written));
    assert!(!json!(audit).to_string().contains("password=ann"));
}

#[tokio::test]
async fn sessions_that_programs_leave_behind_do_not_pile_up() {
    let guarded = Guarded::with(&[("ann", "dev"), ("bob", "")]);
    let first = cookie(&posted(&guarded.gate, "bob", "bob").await);
    let mut last = String::new();
    for _ in 0..60 {
        last = cookie(&posted(&guarded.gate, "ann", "ann").await);
    }
    let kept = guarded
        .gate
        .peers
        .kept(|kept| kept.list("session").unwrap().len());
    assert_eq!(kept, 51);
    for (session, name) in [(first, "bob"), (last, "ann")] {
        assert_eq!(user(&guarded.gate, &session).await["username"], name);
    }
}

#[tokio::test]
async fn whoever_guesses_is_told_to_wait_and_nobody_else() {
    let guarded = Guarded::with(&[("ann", "dev"), ("bob", "")]);
    for _ in 0..5 {
        assert_eq!(posted(&guarded.gate, "ann", "no").await.status, 302);
    }
    let waits = posted(&guarded.gate, "ann", "ann").await;
    assert_eq!(waits.status, 429, "{}", waits.text());
    assert!(waits.headers.contains_key("retry-after"));
    let wrong = [("authorization", "Basic YW5uOm5v")];
    let waits = guarded
        .gate
        .send_with("GET", "/applications", "", &wrong)
        .await;
    assert_eq!(waits.status, 429);
    assert_eq!(
        guarded.asked("bob", "GET", "/auth/user", "").await.status,
        200
    );
}

async fn at_provider(access_tokens: bool) -> (Gate, Provider) {
    let provider = Provider::start().await;
    let mut config = Config::default();
    let oidc = json!({"issuer": provider.issuer(), "client-id": "gennaker",
        "redirect-url": "https://gate.example", "access-tokens": access_tokens});
    config.authentication.oidc = Some(serde_json::from_value(oidc).unwrap());
    (Gate::with(config), provider)
}

#[tokio::test]
async fn an_access_token_counts_on_every_route_and_makes_a_session_at_login() {
    let (gate, _provider) = at_provider(true).await;
    let bearer = |token: &str| format!("Bearer {token}");
    let (good, bad) = (bearer("opaque"), bearer("another"));
    let asked = |token: String, path: &'static str| {
        let gate = &gate;
        async move {
            let headers = [("authorization", token.as_str())];
            gate.send_with("GET", path, "", &headers).await
        }
    };
    let told = asked(good.clone(), "/auth/user").await.json();
    assert_eq!(
        (&told["username"], &told["roles"]),
        (&json!("ann@example.com"), &json!(["team"]))
    );
    for path in ["/auth/user", "/login", "/applications"] {
        assert_eq!(asked(bad.clone(), path).await.status, 401, "{path}");
    }
    let begun = asked(good, "/login").await;
    assert_eq!(to(&begun), "/");
    let told = user(&gate, &cookie(&begun)).await;
    assert_eq!(told["username"], "ann@example.com");
}

#[tokio::test]
async fn an_access_token_is_as_good_as_what_the_provider_tells() {
    let told = async |claims: Value| {
        let (gate, provider) = at_provider(true).await;
        let roles = json!({"id": "ann@example.com", "roles": ["seen"]});
        let roles = proto::common::v1::Json::of(&roles);
        gate.peers.kept(|kept| kept.save("user", &roles));
        provider.claims(claims);
        let headers = [("authorization", "Bearer opaque")];
        let answer = gate.send_with("GET", "/auth/user", "", &headers).await;
        (answer.status.as_u16(), answer.json()["roles"].clone())
    };
    let claims = |verified: Value, groups: Value| json!({"email": "ann@example.com", "email_verified": verified, "groups": groups});
    let some = json!(["a"]);
    for (verified, groups, status, roles) in [
        (json!(true), some.clone(), 200, some.clone()),
        (json!("true"), some.clone(), 200, some.clone()),
        (json!(true), json!([]), 200, json!([])),
        // It says nothing of roles: those of the last login.
        (json!(true), Value::Null, 200, json!(["seen"])),
        (json!(false), some.clone(), 401, Value::Null),
        (json!("false"), some.clone(), 401, Value::Null),
        (Value::Null, some, 401, Value::Null),
    ] {
        let found = told(claims(verified.clone(), groups.clone())).await;
        assert_eq!(found, (status, roles), "{verified} {groups}");
    }
    assert_eq!(told(json!({"groups": ["a"]})).await.0, 401);
}

#[tokio::test]
async fn an_access_token_counts_only_where_the_operator_says_so() {
    let (gate, _provider) = at_provider(false).await;
    let headers = [("authorization", "Bearer opaque")];
    let refused = gate.send_with("GET", "/login", "", &headers).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.text().contains("access-tokens"),
        "{}",
        refused.text()
    );
    let guarded = Guarded::with(&[("ann", "dev")]);
    let basic = basic("ann");
    let headers = [("authorization", basic.as_str())];
    // Nobody begins a session with a password that is not posted.
    let answer = guarded.gate.send_with("GET", "/login", "", &headers).await;
    assert_eq!(answer.status, 404);
}
