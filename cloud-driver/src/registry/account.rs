//! A registry account: where a registry is and who asks it.
//!
//! Credentials are references, read when a question is asked and never kept in
//! a message or log. Source of the fields: `clouddriver: clouddriver-docker`.

use runtime::config::SecretRef;
use serde::Deserialize;
use url::Url;

use super::reference::{DOCKER_HUB, is_repository};
use super::{Error, Reference};

/// One entry of `registries` in the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Account {
    /// Name that triggers, notifications and stages use.
    pub name: String,
    /// `127.0.0.1:5000`, `registry.example.com` or with a scheme; without one a
    /// loopback address is asked over http, any other over https.
    pub address: String,
    /// User name; default: anonymous.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password or token, by reference.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// Repositories to list; default: those the registry's catalogue names.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Ask over http although the address is not a loopback one. Default: false.
    #[serde(default)]
    pub insecure_registry: bool,
}

impl Account {
    /// Host and port as image references write them.
    pub fn registry(&self) -> &str {
        let address = self.address.trim();
        let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
        let bare = bare.trim_end_matches('/');
        bare.strip_suffix("/v2").unwrap_or(bare)
    }

    /// The root of the registry's API, without `/v2`.
    ///
    /// # Errors
    /// When name, address, repositories or credentials do not fit.
    pub fn base(&self) -> Result<Url, Error> {
        let fault = |reason: String| Error::Account {
            account: self.name.clone(),
            reason,
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err(fault(
                "name may hold letters, digits, '.', '_' and '-'".to_owned(),
            ));
        }
        if let Some(wrong) = self.repositories.iter().find(|r| !is_repository(r)) {
            return Err(fault(format!(
                "repositories: \"{wrong}\" is no repository; write team/app in lower case"
            )));
        }
        if self.username.is_some() != self.password.is_some() {
            return Err(fault(
                "username and password belong together; set both or none".to_owned(),
            ));
        }
        let scheme = match self.address.trim().split_once("://") {
            Some((scheme @ ("http" | "https"), _)) => scheme,
            Some(_) => return Err(fault("address: only http and https are known".to_owned())),
            None if self.insecure_registry || is_loopback(self.registry()) => "http",
            None => "https",
        };
        let host = match self.registry() {
            DOCKER_HUB | "index.docker.io" => "registry-1.docker.io",
            host => host,
        };
        Url::parse(&format!("{scheme}://{host}"))
            .ok()
            .filter(|url| url.has_host() && url.path() == "/" && url.username().is_empty())
            .ok_or_else(|| {
                fault(format!(
                    "address \"{}\" is no registry; write host or host:port",
                    self.registry()
                ))
            })
    }

    /// Whether an image reference means this registry.
    pub fn covers(&self, reference: &Reference) -> bool {
        let hub = |host: &str| {
            matches!(
                host,
                DOCKER_HUB | "index.docker.io" | "registry-1.docker.io"
            )
        };
        reference.registry == self.registry() || (hub(&reference.registry) && hub(self.registry()))
    }
}

/// Whether a host, with or without port, is this machine.
fn is_loopback(registry: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{registry}")) else {
        return false;
    };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(address: &str) -> Account {
        Account {
            name: "r".into(),
            address: address.into(),
            username: None,
            password: None,
            repositories: Vec::new(),
            insecure_registry: false,
        }
    }

    #[test]
    fn the_scheme_follows_from_the_address() {
        for (address, base, registry) in [
            ("127.0.0.1:5000", "http://127.0.0.1:5000/", "127.0.0.1:5000"),
            (
                "localhost:5000/v2/",
                "http://localhost:5000/",
                "localhost:5000",
            ),
            ("[::1]:5000", "http://[::1]:5000/", "[::1]:5000"),
            ("r.example", "https://r.example/", "r.example"),
            ("http://r.example/", "http://r.example/", "r.example"),
            ("docker.io", "https://registry-1.docker.io/", "docker.io"),
        ] {
            let account = account(address);
            assert_eq!(account.base().unwrap().as_str(), base);
            assert_eq!(account.registry(), registry);
        }
    }

    #[test]
    fn a_faulty_account_names_its_field() {
        for (address, fragment) in [
            ("ftp://x", "only http and https"),
            ("a/b", "write host or host:port"),
            ("", "write host or host:port"),
        ] {
            let text = account(address).base().unwrap_err().to_string();
            assert!(text.contains(fragment), "{text}");
        }
        let mut half = account("r.example");
        half.username = Some("u".into());
        assert!(
            half.base()
                .unwrap_err()
                .to_string()
                .contains("belong together")
        );
    }

    #[test]
    fn an_account_of_docker_hub_covers_each_of_its_names() {
        let reference = Reference::parse("nginx").unwrap();
        assert!(account("registry-1.docker.io").covers(&reference));
        assert!(!account("r.example").covers(&reference));
    }
}
