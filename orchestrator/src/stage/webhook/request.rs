//! From a stage's fields to a request, and from an answer to what the context keeps.

use orchestrator_core::TaskError;
use serde_json::{Map, Value, json};

use super::rules::Rules;
use crate::services::{HttpError, HttpRequest, HttpResponse};
use crate::task::TaskContext;

/// What to send.
pub(super) struct Draft<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) payload: Option<&'a Value>,
    pub(super) step: &'a str,
}

/// Sends a draft if the operator's rules allow it.
pub(super) async fn send(
    ctx: &TaskContext<'_>,
    draft: &Draft<'_>,
) -> Result<Result<HttpResponse, HttpError>, TaskError> {
    let rules = Rules::of(ctx);
    let mut request = of(ctx, draft)?;
    rules.check(ctx, draft.method, draft.url, &request.body)?;
    request.timeout_ms = rules.timeout_ms;
    request.follow_redirects = !rules.allowed_requests_enabled;
    let answer = ctx.services.http().send(request).await;
    if let Ok(answer) = &answer {
        rules.check_answer(&answer.body)?;
    }
    Ok(answer)
}

/// The request of a draft, with the stage's own headers.
fn of(ctx: &TaskContext<'_>, draft: &Draft<'_>) -> Result<HttpRequest, TaskError> {
    if draft.url.is_empty() {
        return Err(TaskError::user("url is missing; write http://host/path"));
    }
    let mut headers = Vec::new();
    if let Some(Value::Object(custom)) = ctx.own("customHeaders") {
        for (name, value) in custom {
            match value {
                Value::Array(list) => {
                    headers.extend(list.iter().map(|v| (name.clone(), text(v))));
                }
                Value::Null => {}
                one => headers.push((name.clone(), text(one))),
            }
        }
    }
    let declared = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let declared = declared.map(|(_, value)| value.to_lowercase());
    let has_body = !matches!(draft.method, "GET" | "HEAD");
    let payload = draft.payload.filter(|p| has_body && !p.is_null());
    let body = payload
        .map(|p| encode(p, declared.as_deref()))
        .unwrap_or_default();
    if declared.is_none() && !body.is_empty() {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("accept"))
    {
        headers.push((
            "accept".to_owned(),
            "application/json, text/plain, */*".to_owned(),
        ));
    }
    Ok(HttpRequest {
        method: draft.method.to_owned(),
        url: draft.url.to_owned(),
        headers,
        body,
        effect_id: ctx.effect(draft.step),
        timeout_ms: 0,
        follow_redirects: true,
    })
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn encode(payload: &Value, content_type: Option<&str>) -> Vec<u8> {
    let is = |kind: &str| content_type.is_some_and(|declared| declared.contains(kind));
    match payload {
        Value::Object(fields) if is("x-www-form-urlencoded") => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in fields {
                form.append_pair(name, &text(value));
            }
            form.finish().into_bytes()
        }
        Value::String(raw) if content_type.is_some() && !is("json") => raw.clone().into_bytes(),
        json => json.to_string().into_bytes(),
    }
}

/// `statusCode`, `statusCodeValue`, `headers`, `body` of an answer.
pub(super) fn describe(answer: &HttpResponse) -> Map<String, Value> {
    let mut described = Map::new();
    described.insert("statusCode".to_owned(), status_name(answer.status).into());
    described.insert("statusCodeValue".to_owned(), answer.status.into());
    let headers: Map<String, Value> = answer
        .headers
        .iter()
        .map(|(name, value)| (title(name), json!(value)))
        .collect();
    described.insert("headers".to_owned(), headers.into());
    if let Some(body) = body(answer) {
        described.insert("body".to_owned(), body);
    }
    described
}

/// The body as JSON, else as text; none if there is none.
pub(super) fn body(answer: &HttpResponse) -> Option<Value> {
    if answer.body.is_empty() {
        return None;
    }
    let parsed = serde_json::from_slice(&answer.body);
    Some(parsed.unwrap_or_else(|_| String::from_utf8_lossy(&answer.body).into_owned().into()))
}

/// `INTERNAL_SERVER_ERROR`, as Spring names codes.
fn status_name(code: u16) -> String {
    let known = ::http::StatusCode::from_u16(code)
        .ok()
        .and_then(|s| s.canonical_reason());
    let name = known.unwrap_or("UNKNOWN").to_uppercase();
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// `content-type` as `Content-Type`, as people write expressions on it.
fn title(name: &str) -> String {
    let part = |part: &str| {
        let mut letters = part.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_written_as_their_content_type_says() {
        let form = json!({"a": "x y", "n": 1});
        for (payload, kind, expected) in [
            (json!({"a": 1.0}), None, r#"{"a":1.0}"#),
            (form, Some("application/x-www-form-urlencoded"), "a=x+y&n=1"),
            (json!("<a/>"), Some("text/xml"), "<a/>"),
            (json!("x"), None, "\"x\""),
        ] {
            assert_eq!(String::from_utf8(encode(&payload, kind)).unwrap(), expected);
        }
    }

    #[test]
    fn codes_and_headers_have_the_names_expressions_use() {
        assert_eq!(
            (status_name(200), status_name(500)),
            ("OK".into(), "INTERNAL_SERVER_ERROR".into())
        );
        assert_eq!(title("x-request-id"), "X-Request-Id");
    }
}
