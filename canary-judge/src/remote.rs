//! `RemoteJudge-v1.0`: a judge behind an address of the operator's, in any language. It is posted what our judges are
//! given, and answers what they answer. Source: `kayenta: RemoteJudge`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use judge::{CanaryConfig, JudgeResult, MetricSetPair, Thresholds, remote};
use runtime::egress::{self, Egress, Request};
use serde_json::Value;
use url::Url;

use crate::source::{Class, SourceError};

/// How long it may take, as there.
const TIMEOUT: Duration = Duration::from_secs(90);
/// The largest answer, in bytes.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// What is to be done when it cannot be used.
const REMEDY: &str = "look at the judge, and at canary-judge.remote-judge";

/// The judge's address, and how to ask there.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    egress: Egress,
    address: String,
}

impl Remote {
    /// The judge at this address; no other is reached, and redirects are not followed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(address: &str) -> Result<Self, String> {
        let refused = |why: String| format!("canary-judge.remote-judge: \"{address}\": {why}");
        let url = Url::parse(address).map_err(|error| refused(error.to_string()))?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(refused(
                "give an address such as http://judge:8080".to_owned(),
            ));
        };
        let allowed = format!("{host}:{port}").parse().map_err(refused)?;
        let egress = Egress::new(egress::Settings {
            allow: vec![allowed],
            timeout: TIMEOUT,
            max_bytes: MOST_BYTES,
        });
        Ok(Self {
            egress: egress.map_err(|error| refused(error.to_string()))?,
            address: format!("{}/judge", address.trim_end_matches('/')),
        })
    }

    /// Asks it.
    ///
    /// # Errors
    /// What it said, or that it said nothing.
    pub(crate) async fn judge(
        &self,
        config: &CanaryConfig,
        thresholds: Thresholds,
        pairs: &[MetricSetPair],
    ) -> Result<JudgeResult, SourceError> {
        let body = Value::Object(remote::request(config, thresholds, pairs)).to_string();
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let request = Request {
            method: Method::POST,
            url: self.address.clone(),
            headers,
            body: body.into(),
            timeout: None,
            follow_redirects: false,
        };
        let told = |class, why: String| {
            SourceError::new(class, format!("{}: {why}", remote::NAME), REMEDY)
        };
        let answer = self.egress.send(request).await.map_err(|error| {
            let class = if error.is_transient() {
                Class::Transient
            } else {
                Class::Refused
            };
            told(class, error.to_string())
        })?;
        if !answer.status.is_success() {
            let said = String::from_utf8_lossy(&answer.body);
            let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
            let code = answer.status.as_u16();
            let class = match code {
                408 | 429 | 500..=599 => Class::Transient,
                _ => Class::Invalid,
            };
            return Err(told(class, format!("it answers {code}: {said}")));
        }
        remote::answer(&answer.body).map_err(|error| {
            told(
                Class::Invalid,
                format!("its answer is no judge result: {error}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused() {
        for address in ["", "judge", "file:///etc", "http://"] {
            let refused = Remote::new(address).unwrap_err();
            assert!(
                refused.starts_with("canary-judge.remote-judge"),
                "{refused}"
            );
        }
        assert_eq!(
            Remote::new("http://127.0.0.1:1/x/").unwrap().address,
            "http://127.0.0.1:1/x/judge"
        );
    }
}
