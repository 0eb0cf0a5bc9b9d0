//! What handlers take out of a request: query, body within its limit, caller.

use std::sync::Arc;

use authorization::{Policy, Subject};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use runtime::auth::AuthContext;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::identity::{How, Proof, User};

/// The largest pipeline, task or trigger, in bytes.
pub(crate) const MAX_DEFINITION: usize = 10 * 1024 * 1024;
/// The largest webhook, in bytes.
pub(crate) const MAX_WEBHOOK: usize = 5 * 1024 * 1024;

/// The query. A parameter without a value counts as not given, one that is
/// repeated or has commas as a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        let given = pairs.filter(|(_, value)| !value.trim().is_empty());
        Self(
            given
                .map(|(k, v)| (k.into_owned(), v.into_owned()))
                .collect(),
        )
    }

    /// The first value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first value, empty if there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// All values, split at commas, without repetitions.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let values = self.0.iter().filter(|(key, _)| key == name);
        for value in values.flat_map(|(_, value)| value.split(',')) {
            let value = value.trim();
            if !value.is_empty() && !found.iter().any(|known| known == value) {
                found.push(value.to_owned());
            }
        }
        found
    }

    /// A flag; anything but `true` and `false` is refused.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(Error::field(
                name,
                format!("\"{}\" is neither true nor false", cut(text)),
            )),
        }
    }

    /// A number from 0 on.
    pub(crate) fn number(&self, name: &str, default: u64) -> Result<u64, Error> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_| {
                Error::field(name, format!("\"{}\" is no number from 0 on", cut(text)))
            }),
        }
    }

    /// A value that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<String, Error> {
        self.get(name)
            .map(ToOwned::to_owned)
            .ok_or_else(|| Error::field(name, "is missing; add it to the query"))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// The variable parts of the path, decoded.
#[derive(Debug)]
pub(crate) struct At<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(found)) => Ok(Self(found)),
            Err(rejection) => Err(Error::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// Who asks, as the edge established it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    context: AuthContext,
    /// None where nobody need be authenticated: everybody may do everything.
    subject: Option<Arc<Subject>>,
    how: Option<How>,
    proof: Option<Arc<Proof>>,
}

impl Caller {
    /// Anybody, where nobody need be authenticated.
    pub(crate) fn anybody(request_id: String) -> Self {
        Self {
            context: AuthContext {
                request_id: Some(request_id),
                ..AuthContext::default()
            },
            ..Self::default()
        }
    }

    /// Who was proven to be somebody, or nobody, where everybody has to be.
    pub(crate) fn proven(
        request_id: String,
        user: Option<&User>,
        policy: &Policy,
        proof: Proof,
    ) -> Self {
        let subject = match user {
            None => Subject::default(),
            Some(user) => Subject {
                scope: user.scope.clone(),
                ..Subject::user(policy, &user.name, user.roles.clone())
            },
        };
        let context = AuthContext {
            user: user.map_or_else(|| AuthContext::ANONYMOUS.to_owned(), |u| u.name.clone()),
            roles: subject.roles.iter().map(ToOwned::to_owned).collect(),
            request_id: Some(request_id),
        };
        Self {
            context,
            subject: Some(Arc::new(subject)),
            how: user.map(|user| user.how),
            proof: Some(Arc::new(proof)),
        }
    }

    /// Who the caller is to the rules; none where everybody may do everything.
    pub(crate) fn subject(&self) -> Option<&Subject> {
        self.subject.as_deref()
    }

    /// How the caller proved to be somebody.
    pub(crate) fn how(&self) -> Option<How> {
        self.how
    }

    /// What the caller was proven by, to prove it again.
    pub(crate) fn proof(&self) -> Option<&Proof> {
        self.proof.as_deref()
    }

    pub(crate) fn request_id(&self) -> &str {
        self.context.request_id.as_deref().unwrap_or_default()
    }

    /// Whether nobody is logged in, although everybody has to be.
    pub(crate) fn is_nobody(&self) -> bool {
        self.subject.as_ref().is_some_and(|s| s.name.is_none())
    }

    /// A call to a peer on behalf of the caller.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        self.context.request(message)
    }

    pub(crate) fn user(&self) -> String {
        self.context.user.clone()
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// The bytes of a body of at most `MAX`.
#[derive(Debug)]
pub(crate) struct Raw<const MAX: usize>(pub(crate) Bytes);

impl<S: Sync, const MAX: usize> FromRequest<S> for Raw<MAX> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let too_large = || {
            Error::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than the {MAX} bytes allowed here"),
            )
        };
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > MAX as u64) {
            return Err(too_large());
        }
        let body: Body = request.into_body();
        match Limited::new(body, MAX).collect().await {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(error) => {
                let reason = format!("the body did not arrive whole: {error}");
                Err(Error::new(StatusCode::BAD_REQUEST, reason))
            }
        }
    }
}

/// A body of a definition's size.
pub(crate) type Definition = Raw<MAX_DEFINITION>;

impl<const MAX: usize> Raw<MAX> {
    /// The JSON value; `Null` for an empty body.
    pub(crate) fn value(&self) -> Result<Value, Error> {
        if self.0.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.0).map_err(|error| {
            Error::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not JSON: {error}"),
            )
        })
    }

    /// The JSON object; `what` names it in the error.
    pub(crate) fn object(&self, what: &str) -> Result<Map<String, Value>, Error> {
        match self.value()? {
            Value::Object(map) => Ok(map),
            Value::Null => Err(Error::new(
                StatusCode::BAD_REQUEST,
                format!("the body is empty; send {what} as a JSON object"),
            )),
            _ => Err(Error::new(
                StatusCode::BAD_REQUEST,
                format!("the body is no object; send {what} as a JSON object"),
            )),
        }
    }

    /// The JSON object, or an empty one for an empty body.
    pub(crate) fn optional_object(&self, what: &str) -> Result<Map<String, Value>, Error> {
        match self.value()? {
            Value::Null => Ok(Map::new()),
            _ => self.object(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_without_value_is_not_given_and_lists_have_no_repetitions() {
        let query = Query::parse("statuses=&a=1%2C2,1&a=3&flag=TRUE&plus=x+y&n=7&bad=x");
        assert_eq!(query.get("statuses"), None);
        assert_eq!(query.list("a"), ["1", "2", "3"]);
        assert_eq!(query.get("plus"), Some("x y"));
        assert_eq!(query.flag("flag", false), Ok(true));
        assert_eq!(query.flag("absent", true), Ok(true));
        assert_eq!(query.number("n", 1), Ok(7));
        assert_eq!(query.number("absent", 1), Ok(1));
        assert!(query.flag("bad", true).is_err());
        assert!(query.number("bad", 1).is_err());
        assert!(query.required("absent").is_err());
    }

    #[test]
    fn bodies_are_read_as_what_is_expected() {
        let raw = |text: &'static str| Raw::<100>(Bytes::from_static(text.as_bytes()));
        assert_eq!(raw(" \n").value(), Ok(Value::Null));
        assert!(raw("").optional_object("it").unwrap().is_empty());
        for text in ["", "[]", "{", "1"] {
            let error = raw(text).object("a pipeline").unwrap_err();
            assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{text}");
        }
    }
}
