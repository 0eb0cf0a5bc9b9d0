//! What the operator set for requests of stages (`orchestrator.webhook`).

use orchestrator_core::TaskError;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::task::TaskContext;

/// The settings, as far as requests go.
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Rules {
    pub(super) timeout_ms: u64,
    default_retry_status_codes: Vec<u16>,
    max_request_bytes: usize,
    max_response_bytes: usize,
    require_account: bool,
    pub(super) allowed_requests_enabled: bool,
    allowed_requests: Vec<Value>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            timeout_ms: 20_000,
            default_retry_status_codes: vec![429],
            max_request_bytes: 0,
            max_response_bytes: 0,
            require_account: false,
            allowed_requests_enabled: false,
            allowed_requests: Vec::new(),
        }
    }
}

/// Whether one entry of the list is about a request.
fn covers(entry: &Value, method: &str, url: &str) -> bool {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let methods = entry.get("httpMethods").and_then(Value::as_array);
    let method_fits = methods.is_none_or(|all| {
        let mut all = all.iter().filter_map(Value::as_str).peekable();
        all.peek().is_none() || all.any(|one| one.eq_ignore_ascii_case(method))
    });
    let url_fits = match text("matchStrategy") {
        Some("pattern-matches") => {
            let pattern = text("urlPattern").map(|p| Regex::new(&format!("^(?:{p})$")));
            matches!(pattern, Some(Ok(pattern)) if pattern.is_match(url))
        }
        _ => text("urlPrefix").is_some_and(|prefix| !prefix.is_empty() && url.starts_with(prefix)),
    };
    method_fits && url_fits
}

impl Rules {
    /// Those of the running service.
    pub(super) fn of(ctx: &TaskContext<'_>) -> Self {
        let section = ctx.services.settings().stages.get("webhook").cloned();
        section
            .and_then(|section| serde_json::from_value(section).ok())
            .unwrap_or_default()
    }

    /// Whether an answer with this code is asked for again.
    pub(super) fn retries(&self, status: u16) -> bool {
        status >= 500 || self.default_retry_status_codes.contains(&status)
    }

    fn entry(&self, method: &str, url: &str) -> Option<&Value> {
        let mut list = self.allowed_requests.iter();
        list.find(|entry| covers(entry, method, url))
    }

    /// A request whose answer was lost may be sent again.
    pub(super) fn is_safe_to_retry(&self, method: &str, url: &str) -> bool {
        let entry = self
            .entry(method, url)
            .filter(|_| self.allowed_requests_enabled);
        entry.is_some_and(|e| e.get("safeToRetry") == Some(&Value::Bool(true)))
    }

    /// Fails for a request that may not be sent.
    pub(super) fn check(
        &self,
        ctx: &TaskContext<'_>,
        method: &str,
        url: &str,
        body: &[u8],
    ) -> Result<(), TaskError> {
        if self.require_account && ctx.text("account").is_none() {
            return Err(TaskError::user(
                "account is missing; the operator requires one of every webhook",
            ));
        }
        if self.allowed_requests_enabled && self.entry(method, url).is_none() {
            return Err(TaskError::user(format!(
                "{method} {url} is not among the requests that the operator allows; ask for it to \
                 be added to webhook.allowed-requests"
            )));
        }
        let (bytes, most) = (body.len(), self.max_request_bytes);
        if most > 0 && bytes > most {
            return Err(TaskError::user(format!(
                "payload has {bytes} bytes, more than the {most} allowed; send less"
            )));
        }
        Ok(())
    }

    /// Fails for an answer that is too large to be kept.
    pub(super) fn check_answer(&self, body: &[u8]) -> Result<(), TaskError> {
        let (bytes, most) = (body.len(), self.max_response_bytes);
        if most > 0 && bytes > most {
            return Err(TaskError::permanent(format!(
                "the answer has {bytes} bytes, more than the {most} allowed"
            )));
        }
        Ok(())
    }
}
