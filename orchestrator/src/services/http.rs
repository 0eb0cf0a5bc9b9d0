//! HTTP through the egress guard.

use std::collections::BTreeMap;
use std::time::Duration;

use ::http::header::{HeaderName, HeaderValue};
use ::http::{HeaderMap, Method};
use async_trait::async_trait;
use runtime::egress::{Egress, Request};

use super::{Http, HttpError, HttpRequest, HttpResponse};

/// Where an effect id is sent, so that a receiver can tell a repeat from a new request.
const EFFECT_HEADER: &str = "idempotency-key";

/// The HTTP door of a running service.
#[derive(Debug, Clone)]
pub struct EgressHttp(pub Egress);

fn refused(message: String) -> HttpError {
    HttpError {
        message,
        transient: false,
        unsent: true,
    }
}

fn translate(request: HttpRequest) -> Result<Request, HttpError> {
    let method = Method::from_bytes(request.method.to_uppercase().as_bytes())
        .map_err(|_| refused(format!("method \"{}\" is not one of HTTP", request.method)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| refused(format!("header name \"{name}\" is not allowed by HTTP")))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| refused(format!("the value of header {name} is not allowed by HTTP")))?;
        headers.append(name, value);
    }
    if !headers.contains_key(EFFECT_HEADER)
        && let Ok(value) = HeaderValue::from_str(&request.effect_id)
    {
        headers.insert(EFFECT_HEADER, value);
    }
    Ok(Request {
        method,
        url: request.url,
        headers,
        body: request.body.into(),
        timeout: Some(Duration::from_millis(request.timeout_ms)),
        follow_redirects: request.follow_redirects,
    })
}

#[async_trait]
impl Http for EgressHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.0.send(translate(request)?).await.map_err(|error| {
            let unsent = !matches!(
                error,
                runtime::egress::Error::Timeout { .. }
                    | runtime::egress::Error::TooLarge { .. }
                    | runtime::egress::Error::Transport { unsent: false, .. }
            );
            HttpError {
                message: error.to_string(),
                transient: error.is_transient(),
                unsent,
            }
        })?;
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &answer.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|all| {
                    all.push_str(", ");
                    all.push_str(&value);
                })
                .or_insert_with(|| value.into_owned());
        }
        Ok(HttpResponse {
            status: answer.status.as_u16(),
            headers,
            body: answer.body.to_vec(),
        })
    }
}
