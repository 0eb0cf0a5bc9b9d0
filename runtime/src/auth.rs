//! Who a call is made for, on its way between services, and the signature that
//! makes it believable: every call names the service that makes it and the user
//! it is made for, under a key that all services of an installation share. A
//! call without a valid signature is not handled.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use hmac::{Hmac, Mac};
use http::HeaderMap;
use sha2::Sha256;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::{Interceptor, Routes};
use tonic::{GrpcMethod, Status};
use url::form_urlencoded;

/// Name of the user, form-encoded; absent means [`AuthContext::ANONYMOUS`].
pub const USER_HEADER: &str = "x-gennaker-user";
/// Roles, form-encoded each, separated by commas.
pub const ROLES_HEADER: &str = "x-gennaker-roles";
/// Id of the request that caused the call.
pub const REQUEST_HEADER: &str = "x-gennaker-request-id";
/// The service that makes the call.
pub const SERVICE_HEADER: &str = "x-gennaker-service";
/// `<ms since the epoch>.<HMAC-SHA256 in hexadecimal>` over everything above and the method.
pub const SIGNATURE_HEADER: &str = "x-gennaker-signature";

/// How far the clocks of two services may be apart, and how long a call may be on its way, in ms.
const LEEWAY_MS: u64 = 60_000;

/// The caller as the edge established it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthContext {
    /// User name.
    pub user: String,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The request this belongs to, for logs and answers.
    pub request_id: Option<String>,
}

impl Default for AuthContext {
    fn default() -> Self {
        Self {
            user: Self::ANONYMOUS.to_owned(),
            roles: Vec::new(),
            request_id: None,
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn decoded(text: &str) -> String {
    // Names hold no `=` or `&` once they are encoded, so all of it is one key.
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

impl AuthContext {
    /// The user of a call for nobody in particular.
    pub const ANONYMOUS: &'static str = "anonymous";

    /// Reads the context of a received call.
    pub fn from_metadata(metadata: &MetadataMap) -> Self {
        let text = |name| metadata.get(name).and_then(|v| v.to_str().ok());
        let roles = text(ROLES_HEADER).unwrap_or_default();
        Self {
            user: text(USER_HEADER).map_or_else(|| Self::ANONYMOUS.to_owned(), decoded),
            roles: roles
                .split(',')
                .filter(|r| !r.is_empty())
                .map(decoded)
                .collect(),
            request_id: text(REQUEST_HEADER).map(ToOwned::to_owned),
        }
    }

    /// A request that carries this context.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let metadata = request.metadata_mut();
        let roles: Vec<_> = self.roles.iter().map(|role| encoded(role)).collect();
        for (name, value) in [
            (USER_HEADER, Some(encoded(&self.user))),
            (ROLES_HEADER, Some(roles.join(","))),
            (REQUEST_HEADER, self.request_id.clone()),
        ] {
            if let Some(Ok(value)) = value.map(MetadataValue::try_from) {
                metadata.insert(name, value);
            }
        }
        request
    }
}

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the key that services sign with cannot be read or made at {path}: {reason}")]
pub struct KeyError {
    path: String,
    reason: String,
}

/// What all services of an installation sign with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl From<[u8; 32]> for Key {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Key {
    /// The key in a file; it is made of `random` when there is none yet. Of several
    /// processes that make it at the same time, one's is everybody's.
    ///
    /// # Errors
    /// When the file cannot be written or read, or holds no key.
    pub fn of_file(path: &Path, random: [u8; 32]) -> Result<Self, KeyError> {
        let fault = |reason: String| KeyError {
            path: path.display().to_string(),
            reason,
        };
        if !path.exists() {
            let own = path.with_extension(format!("new-{}", std::process::id()));
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o600)
                .open(&own)
                .map_err(|e| fault(e.to_string()))?;
            file.write_all(&random).map_err(|e| fault(e.to_string()))?;
            // A link fails where somebody was faster, and never shows half a key.
            let linked = std::fs::hard_link(&own, path);
            let _ = std::fs::remove_file(&own);
            if let Err(error) = linked
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(fault(error.to_string()));
            }
        }
        let bytes = std::fs::read(path).map_err(|e| fault(e.to_string()))?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice())
            .map_err(|_| fault("it is no key of 32 bytes; remove it to have a new one".into()))?;
        Ok(Self(bytes))
    }

    /// A message authentication code under this key, for a purpose that keeps it
    /// from being of use elsewhere.
    pub fn code(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        let mut mac = self.mac(purpose);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// Whether a code is that of the message; takes as long whatever differs.
    pub fn verify(&self, purpose: &str, message: &[u8], code: &[u8]) -> bool {
        let mut mac = self.mac(purpose);
        mac.update(message);
        mac.verify_slice(code).is_ok()
    }

    #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
    fn mac(&self, purpose: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac
    }
}

/// What is signed of a call.
fn signed<'a>(method: &str, at: &str, header: impl Fn(&str) -> Option<&'a str>) -> Vec<u8> {
    let mut text = format!("{method}\n{at}");
    for name in [SERVICE_HEADER, USER_HEADER, ROLES_HEADER, REQUEST_HEADER] {
        // Header values hold no line break.
        text.push('\n');
        text.push_str(header(name).unwrap_or_default());
    }
    text.into_bytes()
}

const PURPOSE: &str = "call";

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Signs the calls of one service.
#[derive(Debug, Clone)]
pub struct Signer {
    service: &'static str,
    key: Key,
}

impl Signer {
    /// Signs as this service.
    pub fn new(service: &'static str, key: Key) -> Self {
        Self { service, key }
    }
}

impl Interceptor for Signer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        let method = request.extensions().get::<GrpcMethod<'_>>();
        let method = method.map(|m| format!("/{}/{}", m.service(), m.method()));
        let method = method.ok_or_else(|| Status::internal("a call without a method"))?;
        let metadata = request.metadata_mut();
        metadata.insert(SERVICE_HEADER, MetadataValue::from_static(self.service));
        let at = now_ms().to_string();
        let text = signed(&method, &at, |name| {
            metadata.get(name).and_then(|v| v.to_str().ok())
        });
        let code = hex::encode(self.key.code(PURPOSE, &text));
        let value = MetadataValue::try_from(format!("{at}.{code}"))
            .map_err(|_| Status::internal("a signature that is no header"))?;
        metadata.insert(SIGNATURE_HEADER, value);
        Ok(request)
    }
}

/// Why a call is not believed.
fn fault(key: &Key, path: &str, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let Some(signature) = text(SIGNATURE_HEADER) else {
        return Some("the call is not signed; services of this installation sign theirs");
    };
    let parts = signature.split_once('.').and_then(|(at, code)| {
        let code = hex::decode(code).ok()?;
        Some((at, at.parse::<u64>().ok()?, code))
    });
    let Some((at, at_ms, code)) = parts else {
        return Some("the call's signature has not the form of one");
    };
    if !key.verify(PURPOSE, &signed(path, at, text), &code) {
        return Some("the call's signature is not of this installation, or not for this call");
    }
    if now_ms().abs_diff(at_ms) > LEEWAY_MS {
        return Some("the call was signed too long ago, or the clocks of two hosts differ");
    }
    None
}

/// Routes that handle only what a service of this installation signed.
pub(crate) fn guarded(routes: Routes, key: Key) -> Routes {
    let router = routes.into_axum_router().layer(middleware::from_fn(
        move |request: Request, next: Next| {
            let fault = fault(&key, request.uri().path(), request.headers());
            async move {
                match fault {
                    None => next.run(request).await,
                    Some(reason) => {
                        tracing::warn!(reason, "a call was refused");
                        Status::unauthenticated(reason).into_http::<Body>()
                    }
                }
            }
        },
    ));
    Routes::from(router)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;

    fn context() -> AuthContext {
        AuthContext {
            user: "jürgen, o'neil".into(),
            roles: vec!["dev".into(), "o,p s".into()],
            request_id: Some("r1".into()),
        }
    }

    #[test]
    fn the_context_arrives_as_it_was_sent() {
        let context = context();
        assert_eq!(
            AuthContext::from_metadata(context.request(()).metadata()),
            context
        );
        assert_eq!(
            AuthContext::from_metadata(&MetadataMap::new()),
            AuthContext::default()
        );
    }

    const PATH: &str = "/a.Service/Get";

    fn sent(key: &Key) -> HeaderMap {
        let mut request = context().request(());
        let method = GrpcMethod::new("a.Service", "Get");
        request.extensions_mut().insert(method);
        let signed = Signer::new("gateway", key.clone()).call(request).unwrap();
        signed.into_parts().0.into_headers()
    }

    #[test]
    fn only_what_was_signed_for_this_call_and_now_is_believed() {
        let key = Key::from([7; 32]);
        let good = sent(&key);
        assert_eq!(fault(&key, PATH, &good), None);
        assert!(fault(&Key::from([8; 32]), PATH, &good).is_some());
        assert!(fault(&key, "/a.Service/Delete", &good).is_some());
        for name in [USER_HEADER, ROLES_HEADER, SERVICE_HEADER, REQUEST_HEADER] {
            let mut forged = good.clone();
            forged.insert(name, "admin".parse().unwrap());
            assert!(fault(&key, PATH, &forged).is_some(), "{name}");
            forged.remove(name);
            assert!(fault(&key, PATH, &forged).is_some(), "no {name}");
        }
        let mut bare = good.clone();
        bare.remove(SIGNATURE_HEADER);
        assert!(fault(&key, PATH, &bare).is_some());
        let at = now_ms() - LEEWAY_MS - 1_000;
        let mut old = good.clone();
        let text = signed(PATH, &at.to_string(), |n| good.get(n)?.to_str().ok());
        let code = hex::encode(key.code(PURPOSE, &text));
        old.insert(SIGNATURE_HEADER, format!("{at}.{code}").parse().unwrap());
        assert!(fault(&key, PATH, &old).unwrap().contains("too long ago"));
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let first = Key::of_file(&path, [1; 32]).unwrap();
        assert_eq!(Key::of_file(&path, [2; 32]).unwrap(), first);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        assert!(Key::of_file(&path, [2; 32]).is_err());
    }

    #[tokio::test]
    async fn a_server_handles_only_what_a_service_of_its_installation_signed() {
        use tower::{Service, ServiceExt};
        let key = Key::from([7; 32]);
        let (door, mut acceptor) = crate::in_process::ends();
        acceptor.key = Some(key.clone());
        let handled = Router::new().fallback(async || Status::ok("").into_http::<Body>());
        let shutdown = crate::shutdown::Shutdown::new();
        tokio::spawn(acceptor.serve(Routes::from(handled), shutdown));
        let request = || {
            let mut request = http::Request::new(tonic::body::Body::empty());
            *request.uri_mut() = PATH.parse().unwrap();
            *request.method_mut() = http::Method::POST;
            let method = GrpcMethod::new("a.Service", "Get");
            request.extensions_mut().insert(method);
            request
        };
        let status = |headers: &HeaderMap| {
            let status = headers.get("grpc-status");
            status.map_or(0, |s| s.to_str().unwrap().parse::<i32>().unwrap())
        };
        let unsigned = door.clone().call(request()).await;
        assert_eq!(status(unsigned.unwrap().headers()), 16);
        for (by, expected) in [(Key::from([8; 32]), 16), (key, 0)] {
            let mut peer = crate::client::Link::new(door.clone(), by).of("gateway");
            let answer = peer.ready().await.unwrap().call(request()).await.unwrap();
            assert_eq!(status(answer.headers()), expected);
        }
    }
}
