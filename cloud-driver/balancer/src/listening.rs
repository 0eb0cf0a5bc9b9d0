//! What the balancer listens on, as observed.

use serde::{Deserialize, Serialize};

use crate::ProxyProtocol;

/// A listener as observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listening {
    /// Where; one that is configured and cannot be listened on stands here with its fault.
    pub address: String,
    /// Whether it was asked for by `--listen`, and so stays whatever the configuration says.
    pub by_command_line: bool,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether connections begin with the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Its certificates, in the configuration's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateState>,
    /// Why nobody can connect here, as far as the balancer knows; it tries again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateState {
    /// Path of its file.
    pub certificate: String,
    /// Names it is for, `*.` ones too; empty when none is in use.
    pub names: Vec<String>,
    /// Its end, ms since the epoch; absent when none is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after_ms: Option<i64>,
    /// What is wrong: it has expired, or what the files hold now cannot be used and the one before
    /// still is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
