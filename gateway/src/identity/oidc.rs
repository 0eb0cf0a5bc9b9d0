//! Login at an OpenID Connect provider: authorization code with PKCE. What was
//! begun travels in an authenticated cookie of the browser that began it; the
//! protocol and its checks are the library's.
//! Source: `gate: OAuth2SsoConfig`, OpenID Connect Core 1.0.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use authorization::Roles;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, Scope, TokenResponse,
};
use runtime::auth::Key;
use runtime::config::SecretRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore};

use super::bearer::Bearers;
use super::{is_name, unauthorized};
use crate::error::{Error, now_ms, unavailable};

/// How long a login may take, in ms.
const LOGIN_MS: u64 = 10 * 60_000;
/// How long the provider's description and keys are kept; keys are rolled over.
const FRESH: Duration = Duration::from_secs(300);
/// The largest answer of a provider, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Questions about access tokens at the same time.
const ASKING: usize = 4;
/// After a description could not be had, it is not asked for so long.
const FAILED: Duration = Duration::from_secs(2);
const PURPOSE: &str = "oidc-login";

/// Section `gateway.authentication.oidc`.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The provider, as its tokens name it; `/.well-known/openid-configuration` is below it.
    pub issuer: String,
    /// What the provider calls this installation.
    pub client_id: String,
    /// The secret it gave out, by reference. Default: none, a public client.
    #[serde(default)]
    pub client_secret: Option<SecretRef>,
    /// Where browsers reach this gateway, such as `https://gate.example`. The provider must
    /// know `<redirect-url>/login/oauth2/code/oidc`.
    pub redirect_url: String,
    /// What is asked for beside `openid`. Default: `email` and `profile`.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// The claim that is the user's name. Default: `email`.
    #[serde(default = "user_claim")]
    pub user_claim: String,
    /// The claim that lists the user's roles. Default: `groups`.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
    /// Whether programs may show an access token of the provider, as `spin` does: whoever the provider
    /// says it is of is the user, whichever client it was given to. Default: false.
    #[serde(default)]
    pub access_tokens: bool,
}

fn scopes() -> Vec<String> {
    vec!["email".to_owned(), "profile".to_owned()]
}

fn user_claim() -> String {
    "email".to_owned()
}

fn roles_claim() -> String {
    "groups".to_owned()
}

/// What a browser keeps while its user is at the provider.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    state: String,
    nonce: String,
    verifier: String,
    to: String,
    until: u64,
}

/// A login that is complete.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) user: String,
    pub(crate) roles: Roles,
    /// What was the login's own: it counts once.
    pub(crate) state: String,
    /// The local path to go to.
    pub(crate) to: String,
    /// The entry of the users file that proved it, if a password did.
    pub(crate) bound: Option<String>,
    /// Whether a program logged in, which does so again for each of its runs.
    pub(crate) is_program: bool,
}

impl LoggedIn {
    /// A login without a way back that could be repeated.
    pub(crate) fn once(user: String, roles: Roles, bound: Option<String>) -> Self {
        Self {
            user,
            roles,
            state: hex::encode(rand::random::<[u8; 16]>()),
            to: "/".to_owned(),
            bound,
            is_program: true,
        }
    }
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A provider.
#[derive(Debug)]
pub(crate) struct Oidc {
    config: Config,
    key: Key,
    known: Mutex<Option<(Instant, CoreProviderMetadata)>>,
    failed_at: Mutex<Option<Instant>>,
    bearers: Mutex<Bearers>,
    /// Questions about access tokens at the same time.
    asking: Semaphore,
}

/// Why the provider could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct HttpError(String);

async fn send(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let wrong = |e: &dyn std::error::Error| HttpError(e.to_string());
    let client = runtime::egress::operator_client().map_err(|e| wrong(&e))?;
    let (parts, body) = request.into_parts();
    let asked = client
        .request(parts.method, parts.uri.to_string())
        .headers(parts.headers)
        .timeout(TIMEOUT)
        .body(body);
    let mut answer = asked.send().await.map_err(|e| wrong(&e))?;
    let mut response = http::Response::new(Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    while let Some(chunk) = answer.chunk().await.map_err(|e| wrong(&e))? {
        if response.body().len() + chunk.len() > MAX_ANSWER {
            return Err(HttpError(format!(
                "the answer has more than {MAX_ANSWER} bytes"
            )));
        }
        response.body_mut().extend_from_slice(&chunk);
    }
    Ok(response)
}

/// A path of this gateway's own; anything else leads to the page.
fn local(to: &str) -> String {
    let own = to.starts_with('/')
        && !to.starts_with("//")
        && !to.contains('\\')
        && !to.chars().any(char::is_control)
        && to.len() <= 1_000;
    if own {
        to.to_owned()
    } else {
        "/ui/".to_owned()
    }
}

impl Oidc {
    pub(crate) fn new(config: Config, key: Key) -> Self {
        Self {
            config,
            key,
            known: Mutex::default(),
            failed_at: Mutex::default(),
            bearers: Mutex::default(),
            asking: Semaphore::new(ASKING),
        }
    }

    /// Whether browsers come by TLS, so that cookies are only sent over it.
    pub(crate) fn is_secure(&self) -> bool {
        self.config.redirect_url.starts_with("https://")
    }

    fn failed(&self, what: &str, error: &dyn std::fmt::Display) -> Error {
        let issuer = &self.config.issuer;
        tracing::error!(%error, issuer, what, "the identity provider cannot be used");
        unavailable().into()
    }

    async fn metadata(&self, fresh: Duration) -> Result<CoreProviderMetadata, Error> {
        let mut known = self.known.lock().await;
        if let Some((at, metadata)) = &*known
            && at.elapsed() < fresh
        {
            return Ok(metadata.clone());
        }
        // Those that waited for a question that failed do not ask it again one after another.
        let mut failed_at = self.failed_at.lock().await;
        if failed_at.is_some_and(|at| at.elapsed() < FAILED) {
            return Err(unavailable().into());
        }
        let issuer = IssuerUrl::new(self.config.issuer.clone());
        let issuer = issuer.map_err(|e| self.failed("gateway.authentication.oidc.issuer", &e))?;
        let found = CoreProviderMetadata::discover_async(issuer, &send).await;
        let found = found.map_err(|e| {
            *failed_at = Some(Instant::now());
            self.failed("discovery", &e)
        })?;
        *known = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    async fn client(&self, fresh: Duration) -> Result<Client, Error> {
        let metadata = self.metadata(fresh).await?;
        let secret = match &self.config.client_secret {
            Some(reference) => {
                let secret = reference
                    .read()
                    .map_err(|e| self.failed("client-secret", &e))?;
                Some(ClientSecret::new(secret))
            }
            None => None,
        };
        let base = self.config.redirect_url.trim_end_matches('/');
        let back = RedirectUrl::new(format!("{base}/login/oauth2/code/oidc"));
        let back = back.map_err(|e| self.failed("redirect-url", &e))?;
        let id = ClientId::new(self.config.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata, id, secret);
        Ok(client.set_redirect_uri(back))
    }

    /// Where the browser is sent, and what it keeps.
    ///
    /// # Errors
    /// 503 when the provider cannot be asked.
    pub(crate) async fn begin(&self, to: &str) -> Result<(String, String), Error> {
        let client = self.client(FRESH).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut asked = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .set_pkce_challenge(challenge);
        for scope in &self.config.scopes {
            asked = asked.add_scope(Scope::new(scope.clone()));
        }
        let (url, state, nonce) = asked.url();
        let begun = Begun {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            to: local(to),
            until: now_ms() + LOGIN_MS,
        };
        let text = serde_json::to_vec(&begun).map_err(|e| self.failed("login", &e))?;
        let code = self.key.code(PURPOSE, &text);
        let cookie = format!("{}.{}", URL_SAFE_NO_PAD.encode(text), hex::encode(code));
        Ok((url.to_string(), cookie))
    }

    fn begun(&self, cookie: &str) -> Option<Begun> {
        let (text, code) = cookie.split_once('.')?;
        let text = URL_SAFE_NO_PAD.decode(text).ok()?;
        let code = hex::decode(code).ok()?;
        let own = self.key.verify(PURPOSE, &text, &code);
        let begun: Begun = serde_json::from_slice(&text).ok()?;
        (own && begun.until > now_ms()).then_some(begun)
    }

    /// Who comes back from the provider.
    ///
    /// # Errors
    /// 401 when this browser began no such login, or the provider's answer is not as it must be.
    pub(crate) async fn complete(
        &self,
        cookie: Option<&str>,
        state: &str,
        code: &str,
    ) -> Result<LoggedIn, Error> {
        let begun = cookie.and_then(|cookie| self.begun(cookie));
        let begun = begun.ok_or_else(|| {
            unauthorized("this browser began no login, or too long ago; begin at /login")
        })?;
        if state.is_empty() || begun.state != state {
            return Err(unauthorized(
                "this is the answer to another login; begin at /login",
            ));
        }
        let client = self.client(FRESH).await?;
        let asked = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|e| self.failed("the token endpoint", &e))?
            .set_pkce_verifier(PkceCodeVerifier::new(begun.verifier));
        let answer = asked.request_async(&send).await.map_err(|error| {
            tracing::warn!(%error, "the identity provider gave no token");
            unauthorized("the identity provider gave no token for this login; begin at /login")
        })?;
        let token = answer.id_token().ok_or_else(|| {
            unauthorized("the identity provider gave no ID token; it must know scope openid")
        })?;
        let nonce = Nonce::new(begun.nonce);
        let mut valid = verified(&client, token, &nonce);
        if valid.is_err() {
            // Its keys may have been rolled over since they were read.
            valid = verified(&self.client(Duration::ZERO).await?, token, &nonce);
        }
        if let Err(reason) = valid {
            tracing::warn!(reason, "an ID token was refused");
            return Err(unauthorized(format!("the ID token is not valid: {reason}")));
        }
        let (user, roles) = self.named(&payload(&token.to_string()))?;
        Ok(LoggedIn {
            user,
            roles: roles.unwrap_or_default(),
            state: begun.state,
            to: begun.to,
            bound: None,
            is_program: false,
        })
    }

    /// Whose an access token is, by the provider's user-info endpoint, and with which roles if it tells any.
    ///
    /// # Errors
    /// 401 when tokens are not accepted here or the provider does not know it, 503 when it cannot be asked.
    pub(crate) async fn bearer(&self, token: &str) -> Result<(String, Option<Roles>), Error> {
        if !self.config.access_tokens {
            return Err(unauthorized(
                "header Authorization holds no API token, and access tokens of the identity provider are not \
                 accepted; set gateway.authentication.oidc.access-tokens, or make an API token",
            ));
        }
        let refused = || unauthorized("the identity provider does not know this access token");
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.bearers.lock().await.get(&digest, Instant::now());
        if let Some(known) = known {
            return known.ok_or_else(refused);
        }
        // Whoever makes tokens up must not make us ask without end.
        let _asking = self
            .asking
            .acquire()
            .await
            .map_err(|e| self.failed("user info", &e))?;
        let known = self.bearers.lock().await.get(&digest, Instant::now());
        if let Some(known) = known {
            return known.ok_or_else(refused);
        }
        let whose = self.user_info(token).await?;
        let named = whose.map(|claims| self.named(&claims)).transpose()?;
        self.bearers
            .lock()
            .await
            .keep(digest, named.clone(), Instant::now());
        named.ok_or_else(refused)
    }

    /// What the provider tells about whoever an access token is of; none if it does not know it.
    async fn user_info(&self, token: &str) -> Result<Option<Value>, Error> {
        let metadata = self.metadata(FRESH).await?;
        let endpoint = metadata.userinfo_endpoint().ok_or_else(|| {
            self.failed("access-tokens", &"the provider names no user-info endpoint")
        })?;
        let asked = http::Request::get(endpoint.as_str())
            .header(http::header::AUTHORIZATION, format!("Bearer {token}"))
            .header(http::header::ACCEPT, "application/json")
            .body(Vec::new());
        // What is no header is no token.
        let Ok(asked) = asked else { return Ok(None) };
        let answer = send(asked)
            .await
            .map_err(|e| self.failed("user info", &e))?;
        let status = answer.status();
        if matches!(status.as_u16(), 400 | 401 | 403) {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(self.failed("user info", &status));
        }
        let claims = serde_json::from_slice(answer.body());
        claims.map(Some).map_err(|e| self.failed("user info", &e))
    }

    /// User and roles by the configured claims of somebody the provider vouches for; no roles where it says
    /// nothing of them.
    fn named(&self, claims: &Value) -> Result<(String, Option<Roles>), Error> {
        let user = claims.get(&self.config.user_claim).and_then(Value::as_str);
        let user = user.filter(|name| is_name(name)).ok_or_else(|| {
            let claim = &self.config.user_claim;
            unauthorized(format!(
                "the identity provider tells no claim \"{claim}\" that can be a name"
            ))
        })?;
        // Some providers write their flags as texts.
        let verified = match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => true,
            Some(flag) => flag == "true",
        };
        if !verified && self.config.user_claim == "email" {
            return Err(unauthorized(
                "the identity provider has not verified this e-mail address",
            ));
        }
        let roles = match claims.get(&self.config.roles_claim) {
            Some(Value::Array(names)) => Some(names.iter().filter_map(Value::as_str).collect()),
            Some(Value::String(names)) => Some(names.split([',', ' ']).collect()),
            _ => None,
        };
        Ok((user.to_owned(), roles))
    }
}

/// The claims of a token that was verified.
fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Signature, issuer, audience, expiry and nonce.
fn verified(client: &Client, token: &CoreIdToken, nonce: &Nonce) -> Result<(), String> {
    // Keys of both sides only; a secret both know, or none, signs nothing.
    let algorithms: BTreeSet<&str> = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ]
    .into();
    let allowed = algorithms.into_iter().filter_map(|name| {
        serde_json::from_value::<CoreJwsSigningAlgorithm>(Value::from(name)).ok()
    });
    let verifier = client.id_token_verifier().set_allowed_algs(allowed);
    token
        .claims(&verifier, nonce)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_leads_to_another_site() {
        for (to, expected) in [
            ("/ui/?application=a", "/ui/?application=a"),
            ("//evil.example", "/ui/"),
            ("/\\evil.example", "/ui/"),
            ("https://evil.example", "/ui/"),
            ("", "/ui/"),
            ("/a\nb", "/ui/"),
        ] {
            assert_eq!(local(to), expected, "{to:?}");
        }
    }
}
