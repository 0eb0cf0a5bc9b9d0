//! Settings of the gateway.

use serde::Deserialize;

use crate::{identity, tls};

/// Section `gateway` of the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Live connections served at the same time; one more is answered 503. Default: 256.
    pub live_clients: usize,
    /// Events waiting for one slow live client; when more come, its connection
    /// ends and it resumes where it was. Default: 256.
    pub live_buffer: usize,
    /// Names, without port, under which browsers may reach the gateway beside
    /// `localhost` and loopback addresses. This is what keeps other sites' pages away. Default: none.
    pub hosts: Vec<String>,
    /// TLS towards users. Default: none; put a proxy in front that has it.
    pub tls: Option<tls::Config>,
    /// How people and programs prove who they are. Default: nobody has to.
    pub authentication: identity::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            live_clients: 256,
            live_buffer: 256,
            hosts: Vec::new(),
            tls: None,
            authentication: identity::Config::default(),
        }
    }
}
