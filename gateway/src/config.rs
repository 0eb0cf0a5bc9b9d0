//! Settings of the gateway.

use serde::Deserialize;
use url::Url;

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

impl Config {
    /// Every name that browsers may use: the configured ones, and the one they come back to
    /// from a login.
    pub(crate) fn names(&self) -> Vec<String> {
        let back = self.authentication.oidc.as_ref();
        let back = back.and_then(|oidc| Url::parse(&oidc.redirect_url).ok());
        let back = back.and_then(|url| url.host_str().map(ToOwned::to_owned));
        self.hosts.iter().cloned().chain(back).collect()
    }
}
