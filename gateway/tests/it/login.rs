//! Logging in at a real provider over the network, and everything that must not count.

use gateway::Config;
use http::HeaderMap;
use serde_json::json;

use crate::fake::{Answer, Gate};
use crate::provider::{Fault, Provider};

struct World {
    gate: Gate,
    provider: Provider,
}

/// What a browser keeps.
#[derive(Default, Clone)]
struct Browser(Vec<(String, String)>);

impl Browser {
    fn keep(&mut self, headers: &HeaderMap) {
        for set in headers.get_all("set-cookie") {
            let set = set.to_str().unwrap();
            assert!(set.contains("; HttpOnly; SameSite=Lax"), "{set}");
            assert!(set.contains("; Secure"), "{set}");
            let (name, rest) = set.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.0.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn header(&self) -> String {
        let pairs: Vec<_> = self.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.join("; ")
    }

    fn value(&self, name: &str) -> &str {
        &self.0.iter().find(|(known, _)| known == name).unwrap().1
    }
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 302, "{}", answer.text());
    answer.headers["location"].to_str().unwrap().to_owned()
}

impl World {
    async fn up() -> Self {
        let provider = Provider::start().await;
        let mut config = Config::default();
        config.authentication.oidc = Some(
            serde_json::from_value(json!({
                "issuer": provider.issuer(), "client-id": "gennaker",
                "redirect-url": "https://gate.example",
            }))
            .unwrap(),
        );
        Self {
            gate: Gate::with(config),
            provider,
        }
    }

    async fn visit(&self, browser: &mut Browser, path: &str) -> Answer {
        let cookies = browser.header();
        let headers = [
            ("cookie", cookies.as_str()),
            ("accept", "text/html,*/*"),
            ("host", "gate.example"),
        ];
        let answer = self.gate.send_with("GET", path, "", &headers).await;
        browser.keep(&answer.headers);
        answer
    }

    /// As far as the provider; the path the browser comes back to.
    async fn begun(&self, browser: &mut Browser, to: &str) -> String {
        let login = self.visit(browser, &format!("/login?to={to}")).await;
        self.provider.log_in(&location(&login))
    }

    async fn user(&self, browser: &Browser) -> Option<String> {
        let mut browser = browser.clone();
        let answer = self.visit(&mut browser, "/auth/user").await;
        assert_eq!(answer.status, 200);
        let empty = answer.body.is_empty();
        (!empty).then(|| answer.json()["username"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_browser_is_sent_to_the_provider_and_comes_back_to_where_it_wanted() {
    let world = World::up().await;
    let mut browser = Browser::default();
    let wanted = world.visit(&mut browser, "/ui/?application=a").await;
    let login = location(&wanted);
    assert_eq!(login, "/login?to=%2Fui%2F%3Fapplication%3Da");
    let sent = world.visit(&mut browser, &login).await;
    let back = world.provider.log_in(&location(&sent));
    let done = world.visit(&mut browser, &back).await;
    assert_eq!(location(&done), "/ui/?application=a");
    assert_eq!(
        world.visit(&mut browser, "/ui/?application=a").await.status,
        200
    );
    let user = world.visit(&mut browser, "/auth/user").await.json();
    assert_eq!(
        (&user["username"], &user["roles"]),
        (&json!("ann@example.com"), &json!(["team"]))
    );
    // A program is told, not sent anywhere.
    assert_eq!(world.gate.get("/applications").await.status, 401);
    let audit = world.gate.peers.kept(|kept| kept.audit.clone());
    assert!(
        audit
            .iter()
            .any(|e| e["action"] == "login.callback" && e["object"] == "session/ann@example.com")
    );
}

#[tokio::test]
async fn an_answer_counts_once_for_the_browser_that_began_it() {
    let world = World::up().await;
    let mut browser = Browser::default();
    let back = world.begun(&mut browser, "/ui/").await;
    let before = browser.clone();
    // Without the cookie, with another browser's, with another state.
    let mut stranger = Browser::default();
    assert_eq!(world.visit(&mut stranger, &back).await.status, 401);
    world.begun(&mut stranger, "/ui/").await;
    assert_eq!(world.visit(&mut stranger, &back).await.status, 401);
    let other = back.replace("state=", "state=x");
    assert_eq!(world.visit(&mut browser.clone(), &other).await.status, 401);
    assert_eq!(world.visit(&mut browser, &back).await.status, 302);
    assert!(world.user(&browser).await.is_some());
    // The provider would answer the same code again; we do not.
    let mut again = before.clone();
    let replayed = world.visit(&mut again, &back).await;
    assert_eq!(replayed.status, 401);
    assert!(
        replayed.text().contains("used before"),
        "{}",
        replayed.text()
    );
    assert!(world.user(&again).await.is_none());
    // Nor after the session ended.
    world.visit(&mut browser, "/auth/logout").await;
    let mut again = before;
    assert_eq!(world.visit(&mut again, &back).await.status, 401);
}

#[tokio::test]
async fn a_session_ends_at_once_and_cannot_be_made_up() {
    let world = World::up().await;
    let mut browser = Browser::default();
    let back = world.begun(&mut browser, "/ui/").await;
    world.visit(&mut browser, &back).await;
    let kept = browser.clone();
    let value = kept.value("gennaker-session");
    for forged in [
        value.replace(value.get(..1).unwrap(), "z"),
        format!("{value}0"),
        value.split('.').next().unwrap().to_owned(),
        "x.y".to_owned(),
    ] {
        let forged = Browser(vec![("gennaker-session".to_owned(), forged)]);
        assert!(world.user(&forged).await.is_none());
    }
    // A page of another site sends the cookie, but cannot change anything.
    let cookies = kept.header();
    let headers = [
        ("cookie", cookies.as_str()),
        ("origin", "https://evil.example"),
        ("host", "localhost"),
    ];
    let posted = world
        .gate
        .send_with("POST", "/tokens", "{}", &headers)
        .await;
    assert_eq!(posted.status, 403);
    world.visit(&mut browser, "/auth/logout").await;
    assert!(world.user(&browser).await.is_none());
    assert!(
        world.user(&kept).await.is_none(),
        "a copy of the cookie is of no use either"
    );
}

#[tokio::test]
async fn a_token_that_is_not_as_it_must_be_logs_nobody_in() {
    let world = World::up().await;
    for fault in [
        Fault::Issuer,
        Fault::Audience,
        Fault::Nonce,
        Fault::Expired,
        Fault::Signature,
        Fault::Unsigned,
        Fault::NoName,
        Fault::None,
    ] {
        world.provider.fault(fault);
        let mut browser = Browser::default();
        let back = world.begun(&mut browser, "/ui/").await;
        let answer = world.visit(&mut browser, &back).await;
        let expected = if fault == Fault::None { 302 } else { 401 };
        assert_eq!(answer.status, expected, "{fault:?}: {}", answer.text());
        assert_eq!(
            world.user(&browser).await.is_some(),
            fault == Fault::None,
            "{fault:?}"
        );
    }
    // A code that belongs to another login: PKCE.
    let (mut one, mut two) = (Browser::default(), Browser::default());
    let first = world.begun(&mut one, "/ui/").await;
    let second = world.begun(&mut two, "/ui/").await;
    let code = |path: &str| path.split("code=").nth(1).unwrap().to_owned();
    let mixed = first.replace(&code(&first), &code(&second));
    assert_eq!(world.visit(&mut one, &mixed).await.status, 401);
}

#[tokio::test]
async fn a_login_leads_to_no_other_site() {
    let world = World::up().await;
    for to in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
    ] {
        let mut browser = Browser::default();
        let back = world.begun(&mut browser, to).await;
        assert_eq!(
            location(&world.visit(&mut browser, &back).await),
            "/ui/",
            "{to}"
        );
    }
}
