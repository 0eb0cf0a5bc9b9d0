//! What the balancer listens on beside `--listen`, and how it greets those who connect.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::is_default;
use super::network::Network;

/// Listeners one configuration may hold.
pub const MAX_LISTENERS: usize = 32;
/// Certificates one listener may hold.
pub const MAX_CERTIFICATES: usize = 64;
/// Networks one listener may trust.
pub const MAX_TRUSTED: usize = 256;
/// How long a greeting may take, in ms, unless the listener says otherwise.
pub const GREETING_MS: u64 = 10_000;
/// Longest time that may be given for it, in ms.
pub const MAX_GREETING_MS: u64 = 60_000;

/// An address where clients connect. Fields are read in kebab-case too, as configuration files have
/// them.
///
/// One that the process does not listen on yet is bound when the configuration is accepted; one that
/// is listened on by `--listen` is greeted as this says as long as it stands here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// `127.0.0.1:8443`.
    pub address: String,
    /// TLS; none: plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether connections begin with the PROXY protocol.
    #[serde(default, alias = "proxy-protocol", skip_serializing_if = "is_default")]
    pub proxy_protocol: ProxyProtocol,
    /// Networks whose PROXY headers and whose `X-Forwarded-Proto` are believed; default: loopback.
    #[serde(default = "loopback", skip_serializing_if = "is_loopback")]
    pub trusted: Vec<String>,
    /// Every request is answered with a redirect to `https` on this port of the same host.
    #[serde(
        default,
        alias = "redirect-to-https",
        skip_serializing_if = "Option::is_none"
    )]
    pub redirect_to_https: Option<u16>,
    /// How long a client may take for the PROXY header, and again for the handshake, in ms.
    #[serde(
        default = "greeting",
        alias = "greeting-timeout-ms",
        skip_serializing_if = "is_greeting"
    )]
    pub greeting_timeout_ms: u64,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Certificates, chosen by the name the client asks for; the first for all other names.
    pub certificates: Vec<Certificate>,
    /// The oldest version that is spoken.
    #[serde(default, alias = "min-version", skip_serializing_if = "is_default")]
    pub min_version: TlsVersion,
}

/// A certificate with its key, as files on the balancer's machine that are read again when they
/// change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// Absolute path of the certificate and those between it and its authority, in PEM.
    pub certificate: String,
    /// Absolute path of its private key, in PEM.
    pub key: String,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Whether connections begin with a header of the PROXY protocol, version 1 or 2, that names the
/// client. It comes before TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyProtocol {
    /// None does.
    #[default]
    Off,
    /// One from a trusted address may.
    Optional,
    /// Each must, and only trusted addresses may connect.
    Required,
}

fn loopback() -> Vec<String> {
    ["127.0.0.0/8", "::1/128"].map(str::to_owned).to_vec()
}

fn is_loopback(trusted: &[String]) -> bool {
    trusted == loopback()
}

const fn greeting() -> u64 {
    GREETING_MS
}

fn is_greeting(ms: &u64) -> bool {
    *ms == GREETING_MS
}

impl Listener {
    /// Plain HTTP at an address, with defaults.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tls: None,
            proxy_protocol: ProxyProtocol::Off,
            trusted: loopback(),
            redirect_to_https: None,
            greeting_timeout_ms: GREETING_MS,
        }
    }

    fn check(&self, path: &str, faults: &mut Vec<String>) {
        let address = &self.address;
        match address.parse::<SocketAddr>() {
            Err(_) => faults.push(format!("{path}.address: \"{address}\" is no IP:PORT")),
            Ok(parsed) if parsed.port() == 0 => faults.push(format!(
                "{path}.address: \"{address}\" has no port that clients could know; name one"
            )),
            Ok(_) => {}
        }
        if let Some(tls) = &self.tls {
            tls.check(&format!("{path}.tls"), faults);
        }
        if let Some(port) = self.redirect_to_https {
            let path = format!("{path}.redirectToHttps");
            if self.tls.is_some() {
                faults.push(format!(
                    "{path}: {port} beside tls; this listener speaks https itself, take one of them out"
                ));
            }
            if port == 0 {
                faults.push(format!("{path}: 0 is no port; name that of https, 443"));
            }
        }
        if self.trusted.len() > MAX_TRUSTED {
            let count = self.trusted.len();
            faults.push(format!(
                "{path}.trusted: {count} networks, more than {MAX_TRUSTED}"
            ));
        }
        for (n, network) in self.trusted.iter().enumerate() {
            if let Err(error) = network.parse::<Network>() {
                faults.push(format!("{path}.trusted[{n}]: {error}"));
            }
        }
        if !(1..=MAX_GREETING_MS).contains(&self.greeting_timeout_ms) {
            let ms = self.greeting_timeout_ms;
            faults.push(format!(
                "{path}.greetingTimeoutMs: {ms} is not within 1 and {MAX_GREETING_MS}"
            ));
        }
    }
}

impl Tls {
    fn check(&self, path: &str, faults: &mut Vec<String>) {
        let count = self.certificates.len();
        if count == 0 {
            faults.push(format!("{path}.certificates: is empty; name at least one"));
        }
        if count > MAX_CERTIFICATES {
            faults.push(format!(
                "{path}.certificates: {count}, more than {MAX_CERTIFICATES}"
            ));
        }
        let mut seen = BTreeSet::new();
        for (c, pair) in self.certificates.iter().enumerate() {
            let path = format!("{path}.certificates[{c}]");
            for (field, file) in [("certificate", &pair.certificate), ("key", &pair.key)] {
                if !file.starts_with('/') || file.contains('\0') {
                    faults.push(format!(
                        "{path}.{field}: \"{file}\" is no absolute path; begin it with /"
                    ));
                }
            }
            if !seen.insert(&pair.certificate) {
                let file = &pair.certificate;
                faults.push(format!("{path}.certificate: \"{file}\" stands twice"));
            }
        }
    }
}

/// What is wrong with listeners.
pub(super) fn check(listeners: &[Listener], faults: &mut Vec<String>) {
    if listeners.len() > MAX_LISTENERS {
        let count = listeners.len();
        faults.push(format!("listeners: {count}, more than {MAX_LISTENERS}"));
    }
    let mut seen = BTreeSet::new();
    for (l, listener) in listeners.iter().enumerate() {
        let path = format!("listeners[{l}]");
        listener.check(&path, faults);
        let address = listener.address.parse::<SocketAddr>();
        if address.is_ok_and(|address| !seen.insert(address)) {
            let address = &listener.address;
            faults.push(format!("{path}.address: \"{address}\" stands twice"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Listener {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_the_default_is_not_written_and_what_is_written_is_read() {
        let plain = Listener::new("127.0.0.1:80");
        assert_eq!(
            serde_json::to_value(&plain).unwrap(),
            json!({"address": "127.0.0.1:80"})
        );
        assert_eq!(read(json!({"address": "127.0.0.1:80"})), plain);
        let full = json!({
            "address": "[::1]:8443",
            "tls": {
                "certificates": [{"certificate": "/c.pem", "key": "/k.pem"}],
                "minVersion": "1.3",
            },
            "proxyProtocol": "required",
            "trusted": ["10.0.0.0/8"],
            "greetingTimeoutMs": 500,
        });
        assert_eq!(serde_json::to_value(read(full.clone())).unwrap(), full);
        assert!(serde_json::from_value::<Listener>(json!({"address": "x", "other": 1})).is_err());
    }

    #[test]
    fn each_fault_names_field_value_and_remedy() {
        let pair = |file: &str| json!({"certificate": file, "key": "/k.pem"});
        let tls = |pairs: &[serde_json::Value]| json!({"certificates": pairs});
        let many: Vec<_> = (0..300).map(|n| format!("10.0.0.{}", n % 256)).collect();
        for (listener, fault) in [
            (
                json!({"address": "host:80"}),
                "listeners[0].address: \"host:80\" is no IP:PORT",
            ),
            (
                json!({"address": "127.0.0.1:0"}),
                "listeners[0].address: \"127.0.0.1:0\" has no port",
            ),
            (
                json!({"address": "127.0.0.1:1", "tls": tls(&[])}),
                "listeners[0].tls.certificates: is empty",
            ),
            (
                json!({"address": "127.0.0.1:1", "tls": tls(&[pair("c.pem")])}),
                "listeners[0].tls.certificates[0].certificate: \"c.pem\" is no absolute path",
            ),
            (
                json!({"address": "127.0.0.1:1", "tls": tls(&[pair("/c"), pair("/c")])}),
                "listeners[0].tls.certificates[1].certificate: \"/c\" stands twice",
            ),
            (
                json!({"address": "127.0.0.1:1", "tls": tls(&[pair("/c")]), "redirectToHttps": 443}),
                "listeners[0].redirectToHttps: 443 beside tls",
            ),
            (
                json!({"address": "127.0.0.1:1", "redirectToHttps": 0}),
                "listeners[0].redirectToHttps: 0 is no port",
            ),
            (
                json!({"address": "127.0.0.1:1", "trusted": ["10.0.0.1/8"]}),
                "listeners[0].trusted[0]: \"10.0.0.1/8\" has bits",
            ),
            (
                json!({"address": "127.0.0.1:1", "trusted": many}),
                "listeners[0].trusted: 300 networks",
            ),
            (
                json!({"address": "127.0.0.1:1", "greetingTimeoutMs": 0}),
                "listeners[0].greetingTimeoutMs: 0 is not within",
            ),
        ] {
            let mut faults = Vec::new();
            check(&[read(listener)], &mut faults);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with(fault), "{faults:?}");
        }
        let mut faults = Vec::new();
        check(
            &[Listener::new("127.0.0.1:1"), Listener::new("127.0.0.1:1")],
            &mut faults,
        );
        assert_eq!(
            faults,
            ["listeners[1].address: \"127.0.0.1:1\" stands twice"]
        );
        let mut faults = Vec::new();
        let many: Vec<_> = (1..=33)
            .map(|n| Listener::new(format!("127.0.0.1:{n}")))
            .collect();
        check(&many, &mut faults);
        assert_eq!(faults, ["listeners: 33, more than 32"]);
    }
}
