//! Logging in at an identity provider. Source: `gate: AuthController`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::Gateway;
use crate::audit::{self, Change};
use crate::error::Error;
use crate::identity::{How, LoggedIn, Oidc, Proof, session, unauthorized};
use crate::request::{At, Caller, Query, Raw};

/// The largest form of a login, in bytes.
const MAX_FORM: usize = 16 * 1024;

fn provider(gate: &Gateway) -> Result<&Oidc, Error> {
    gate.identity.oidc().ok_or_else(|| {
        Error::not_found(
            "there is no login here; set gateway.authentication.oidc, or send a credential",
        )
    })
}

fn redirect(to: &str, cookies: &[String]) -> Result<Response, Error> {
    let wrong = |_| {
        Error::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "a redirect that is no header",
        )
    };
    let mut response = StatusCode::FOUND.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::try_from(to).map_err(wrong)?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in cookies {
        headers.append(
            header::SET_COOKIE,
            HeaderValue::try_from(cookie).map_err(wrong)?,
        );
    }
    Ok(response)
}

/// Begins a session, writes it down, and leads to where the login wanted to go.
async fn begun(
    gate: &Gateway,
    caller: &Caller,
    login: &LoggedIn,
    (action, method): (&str, &str),
) -> Result<Response, Error> {
    let lifetime = gate.identity.session_lifetime_ms();
    let value = session::begin(&gate.clients, &gate.key, login, lifetime).await?;
    let change = Change {
        action,
        method,
        target: format!("session/{}", login.user),
    };
    audit::ended(gate, caller, &change, StatusCode::FOUND, None).await;
    let secure = is_secure(gate);
    let cookies = [
        session::set(session::SESSION, &value, lifetime / 1_000, secure),
        session::set(session::LOGIN, "", 0, secure),
    ];
    redirect(&login.to, &cookies)
}

/// Whether browsers come by TLS, so that cookies are only sent over it.
fn is_secure(gate: &Gateway) -> bool {
    gate.config.tls.is_some() || gate.identity.oidc().is_some_and(Oidc::is_secure)
}

/// `POST /login` with `username` and `password` of a form: a session for programs that log in so, such as
/// `spin` with `ldap`. A wrong password leads to `/login?error`, as Spring's form does.
pub(super) async fn form(
    State(gate): State<Gateway>,
    caller: Caller,
    Raw(form): Raw<MAX_FORM>,
) -> Result<Response, Error> {
    let form = Query::parse(&String::from_utf8_lossy(&form));
    let (name, password) = (form.required("username")?, form.required("password")?);
    let nothing = Proof::default();
    let proof = caller.proof().unwrap_or(&nothing);
    let login = gate.identity.log_in(&name, &password, proof);
    match login.await {
        Ok(login) => begun(&gate, &caller, &login, ("login.form", "POST")).await,
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => redirect("/login?error", &[]),
        Err(error) => Err(error),
    }
}

/// `GET /login?to=/ui/`: to the identity provider; with an access token of its, a session at once.
pub(super) async fn begin(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
) -> Result<Response, Error> {
    if let (Some(How::AccessToken), Some(subject)) = (caller.how(), caller.subject()) {
        let login = LoggedIn::once(caller.user(), subject.roles.clone(), None);
        return begun(&gate, &caller, &login, ("login.begin", "GET")).await;
    }
    let provider = provider(&gate)?;
    let (url, cookie) = provider.begin(&query.text("to")).await?;
    redirect(
        &url,
        &[session::set(session::LOGIN, &cookie, 600, is_secure(&gate))],
    )
}

/// `GET /login/oauth2/code/{id}?state=&code=`: back from it. Counts once.
pub(super) async fn callback(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
) -> Result<Response, Error> {
    let provider = provider(&gate)?;
    if id != "oidc" {
        return Err(Error::not_found(format!(
            "there is no provider {id}; it is oidc"
        )));
    }
    if let Some(error) = query.get("error") {
        let told: String = error.chars().take(100).collect();
        return Err(unauthorized(format!(
            "the identity provider refused the login: {told}"
        )));
    }
    let kept = caller
        .proof()
        .and_then(|proof| session::cookie(&proof.headers, session::LOGIN));
    let (state, code) = (query.required("state")?, query.required("code")?);
    let login = provider.complete(kept, &state, &code).await?;
    begun(&gate, &caller, &login, ("login.callback", "GET")).await
}

/// `GET` or `POST /auth/logout`: the session ends; the provider's own is left alone.
pub(super) async fn logout(State(gate): State<Gateway>, caller: Caller) -> Result<Response, Error> {
    let mut cookies = Vec::new();
    if let Some(proof) = caller.proof()
        && let Some(user) = session::end(&gate.clients, &gate.key, &proof.headers).await?
    {
        let change = Change {
            action: "login.logout",
            method: "POST",
            target: format!("session/{user}"),
        };
        audit::ended(&gate, &caller, &change, StatusCode::OK, None).await;
        cookies.push(session::set(session::SESSION, "", 0, is_secure(&gate)));
    }
    let mut response = StatusCode::OK.into_response();
    for cookie in cookies {
        if let Ok(value) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    Ok(response)
}
