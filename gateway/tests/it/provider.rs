//! An OpenID Connect provider on a port of loopback: discovery, keys, and a token
//! endpoint that checks PKCE. Whoever comes is logged in; tests say as whom, and
//! what the tokens get wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a token gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Issuer,
    Audience,
    Nonce,
    Expired,
    Signature,
    Unsigned,
    NoName,
}

struct Inner {
    address: String,
    keys: Ed25519KeyPair,
    others: Ed25519KeyPair,
    state: Mutex<Grants>,
}

struct Grants {
    /// Code to challenge and nonce; a code is answered as often as it is asked for.
    codes: HashMap<String, (String, String)>,
    fault: Fault,
    claims: Value,
}

#[derive(Clone)]
pub(crate) struct Provider(Arc<Inner>);

fn keys(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn parameters(url: &str) -> HashMap<String, String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs()
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect()
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self(Arc::new(Inner {
            address,
            keys: keys(1),
            others: keys(2),
            state: Mutex::new(Grants {
                codes: HashMap::new(),
                fault: Fault::None,
                claims: json!({"email": "ann@example.com", "groups": ["Team"]}),
            }),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(description))
            .route("/keys", get(published))
            .route("/token", post(token))
            .route("/userinfo", get(user_info))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub(crate) fn issuer(&self) -> String {
        self.0.address.clone()
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.0.state.lock().unwrap().fault = fault;
    }

    /// What is told of the user from now on.
    pub(crate) fn claims(&self, claims: Value) {
        self.0.state.lock().unwrap().claims = claims;
    }

    /// The user logs in where the gateway sent the browser; where the browser goes then, as
    /// path and query.
    pub(crate) fn log_in(&self, url: &str) -> String {
        assert!(
            url.starts_with(&format!("{}/authorize?", self.0.address)),
            "{url}"
        );
        let asked = parameters(url);
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        let mut state = self.0.state.lock().unwrap();
        let code = format!("code-{}", state.codes.len());
        let kept = (asked["code_challenge"].clone(), asked["nonce"].clone());
        state.codes.insert(code.clone(), kept);
        let back = url::Url::parse(&asked["redirect_uri"]).unwrap();
        format!("{}?state={}&code={code}", back.path(), asked["state"])
    }
}

async fn description(State(provider): State<Provider>) -> Json<Value> {
    let at = &provider.0.address;
    Json(json!({
        "issuer": at, "authorization_endpoint": format!("{at}/authorize"),
        "token_endpoint": format!("{at}/token"), "userinfo_endpoint": format!("{at}/userinfo"), "jwks_uri": format!("{at}/keys"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
    }))
}

async fn published(State(provider): State<Provider>) -> Json<Value> {
    let public = URL_SAFE_NO_PAD.encode(provider.0.keys.public_key().as_ref());
    Json(json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": public},
    ]}))
}

/// Whose the one access token is.
async fn user_info(
    State(provider): State<Provider>,
    headers: http::HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let given = headers.get("authorization").and_then(|v| v.to_str().ok());
    if given != Some("Bearer opaque") {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(Json(provider.0.state.lock().unwrap().claims.clone()))
}

async fn token(
    State(provider): State<Provider>,
    Form(asked): Form<HashMap<String, String>>,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let refused = || {
        (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        )
    };
    let state = provider.0.state.lock().unwrap();
    let (challenge, nonce) = state.codes.get(&asked["code"]).ok_or_else(refused)?;
    let verifier = asked.get("code_verifier").ok_or_else(refused)?;
    if &URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != challenge {
        return Err(refused());
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let fault = state.fault;
    let pick = |wrong: Fault, good: Value, bad: Value| if fault == wrong { bad } else { good };
    let mut claims = json!({
        "iss": pick(Fault::Issuer, json!(provider.0.address), json!("http://127.0.0.1:1")),
        "aud": pick(Fault::Audience, json!(["gennaker"]), json!(["another"])),
        "nonce": pick(Fault::Nonce, json!(nonce), json!("another")),
        "exp": pick(Fault::Expired, json!(now + 60), json!(now - 60)),
        "iat": now - 100, "sub": "1",
    });
    if fault != Fault::NoName {
        claims
            .as_object_mut()
            .unwrap()
            .extend(state.claims.as_object().unwrap().clone());
    }
    let algorithm = if fault == Fault::Unsigned {
        "none"
    } else {
        "EdDSA"
    };
    let header = json!({"alg": algorithm, "typ": "JWT", "kid": "k1"});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(&header), encode(&claims));
    let signer = if fault == Fault::Signature {
        &provider.0.others
    } else {
        &provider.0.keys
    };
    let signature = match fault {
        Fault::Unsigned => String::new(),
        _ => URL_SAFE_NO_PAD.encode(signer.sign(text.as_bytes())),
    };
    Ok(Json(json!({
        "access_token": "opaque", "token_type": "Bearer", "expires_in": 60,
        "id_token": format!("{text}.{signature}"),
    })))
}
