//! Section `gateway.authentication`: the ways of proving who one is.

use std::path::PathBuf;

use runtime::config::Span;
use serde::Deserialize;

use super::{certificate, oidc, proxy};

/// Section `gateway.authentication`. Without any way everybody may do everything,
/// and the gateway is reached from this machine only.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Users who log in with name and password: a line `NAME:HASH:ROLE,ROLE` each, HASH as
    /// Argon2 writes it (`gennaker user add` writes them). Read at every request, so that a
    /// change counts at once. Default: none.
    pub users_file: Option<PathBuf>,
    /// Users whom a proxy names in a header. Default: none.
    pub proxy: Option<proxy::Config>,
    /// Users who show a certificate of the operator's authority. Default: none.
    pub certificates: Option<certificate::Config>,
    /// An OpenID Connect provider that browsers log in at. Default: none.
    pub oidc: Option<oidc::Config>,
    /// How long such a login counts. Default: 8h.
    pub session_lifetime: Option<Span>,
    /// The longest life of an API token. Default: 90d.
    pub token_lifetime: Option<Span>,
}

impl Config {
    /// Whether anybody can prove to be somebody, so that everybody has to.
    pub fn is_enabled(&self) -> bool {
        self.users_file.is_some()
            || self.proxy.is_some()
            || self.oidc.is_some()
            || self.certificates.is_some()
    }
}
