//! Logging in at an identity provider. Source: `gate: AuthController`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::Gateway;
use crate::audit::{self, Change};
use crate::error::Error;
use crate::identity::{Oidc, session, unauthorized};
use crate::request::{At, Caller, Query};

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

/// `GET /login?to=/ui/`: to the identity provider.
pub(super) async fn begin(State(gate): State<Gateway>, query: Query) -> Result<Response, Error> {
    let provider = provider(&gate)?;
    let (url, cookie) = provider.begin(&query.text("to")).await?;
    redirect(
        &url,
        &[session::set(
            session::LOGIN,
            &cookie,
            600,
            provider.is_secure(),
        )],
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
    let lifetime = gate.identity.session_lifetime_ms();
    let value = session::begin(&gate.clients, &gate.key, &login, lifetime).await?;
    let change = Change {
        action: "login.callback",
        method: "GET",
        target: format!("session/{}", login.user),
    };
    audit::ended(&gate, &caller, &change, StatusCode::FOUND, None).await;
    let secure = provider.is_secure();
    let cookies = [
        session::set(session::SESSION, &value, lifetime / 1_000, secure),
        session::set(session::LOGIN, "", 0, secure),
    ];
    redirect(&login.to, &cookies)
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
        let secure = gate.identity.oidc().is_some_and(Oidc::is_secure);
        cookies.push(session::set(session::SESSION, "", 0, secure));
    }
    let mut response = StatusCode::OK.into_response();
    for cookie in cookies {
        if let Ok(value) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    Ok(response)
}
