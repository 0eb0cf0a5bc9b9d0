//! Where figures are sent, as the command line and whoever configures it both read it.

use std::str::FromStr;

use http::Uri;

/// Port of OTLP over HTTP where none is named.
const PORT: u16 = 4_318;

/// Most ms between two times that figures are sent: an hour.
pub const MAX_OTLP_INTERVAL_MS: u64 = 3_600_000;

/// A receiver of OTLP, over HTTP without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its host; an address of IPv6 stands in brackets.
    pub host: String,
    /// Its port. Default: 4318.
    pub port: u16,
    /// Path of metrics: the base that was given with `/v1/metrics` behind it.
    pub path: String,
}

/// Why a text is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointError {
    /// The text, as it may be told: what stands before its host and behind a `?` is left out.
    pub text: String,
}

impl std::fmt::Display for EndpointError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "\"{}\" is not http://HOST:PORT without user, query and TLS; a collector on this machine may \
             add TLS",
            self.text
        )
    }
}

impl std::error::Error for EndpointError {}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError { text: shown(text) };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if uri.scheme_str() != Some("http")
            || authority.as_str().contains('@')
            || uri.query().is_some()
            || authority.host().is_empty()
        {
            return Err(wrong());
        }
        let base = uri.path().trim_end_matches('/');
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(PORT),
            path: format!("{base}/v1/metrics"),
        })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

fn shown(url: &str) -> String {
    let (url, query) = url
        .split_once('?')
        .map_or((url, ""), |(url, _)| (url, "?…"));
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://…{}{query}", &url[..scheme], &url[at..])
        }
        _ => format!("{url}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_plain_http_and_says_nothing_secret() {
        for (text, shown) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/metrics"),
            ("http://collector/", "http://collector:4318/v1/metrics"),
            ("http://[::1]:9/otlp/", "http://[::1]:9/otlp/v1/metrics"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
        }
        for text in [
            "",
            "127.0.0.1:4318",
            "https://a:4318",
            "http://user:word@a:4318",
            "http://a:4318?token=word",
            "grpc://a:4317",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("is not http://HOST:PORT"), "{error}");
            assert!(!error.contains("word"), "{error}");
        }
    }
}
