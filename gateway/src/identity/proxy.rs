//! Users whom a proxy in front of the gateway has authenticated and names in a
//! header. It is believed only from the proxy's own addresses.
//! Source: `gate: HeaderAuthConfig`.

use std::net::IpAddr;

use authorization::Roles;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use super::{How, User, is_name, unauthorized};
use crate::error::Error;

/// Section `gateway.authentication.proxy`.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Addresses the proxy's connections come from. A user's own connection from
    /// one of them is believed too: let nobody else connect from there.
    pub addresses: Vec<IpAddr>,
    /// Header with the user's name. Default: `x-spinnaker-user`.
    #[serde(default = "user_header")]
    pub user_header: String,
    /// Header with the user's roles, separated by commas. Default: none, and users have no roles.
    #[serde(default)]
    pub roles_header: Option<String>,
}

fn user_header() -> String {
    "x-spinnaker-user".to_owned()
}

impl Config {
    /// Header names in lower case: clients may not send them by themselves.
    pub(crate) fn headers(&self) -> impl Iterator<Item = HeaderName> {
        let names = [Some(&self.user_header), self.roles_header.as_ref()];
        names
            .into_iter()
            .flatten()
            .filter_map(|name| name.to_lowercase().parse().ok())
    }

    fn is_proxy(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|peer| self.addresses.contains(&peer.to_canonical()))
    }

    /// Whom the proxy speaks for, by the end of `X-Forwarded-For`, which is its own; none when the request is not
    /// the proxy's.
    pub(super) fn forwarded(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let told = headers.get_all("x-forwarded-for").iter().next_back();
        let told = told.filter(|_| self.is_proxy(peer))?.to_str().ok()?;
        told.rsplit(',').next()?.trim().parse().ok()
    }

    /// The user the proxy names; none when the request is not the proxy's or names nobody.
    pub(super) fn user(
        &self,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Option<User>, Error> {
        if !self.is_proxy(peer) {
            return Ok(None);
        }
        let mut given = headers.get_all(self.user_header.to_lowercase()).iter();
        let Some(name) = given.next() else {
            return Ok(None);
        };
        let name = name
            .to_str()
            .ok()
            .map(str::trim)
            .filter(|name| is_name(name));
        let (Some(name), None) = (name, given.next()) else {
            let message = format!("header {} does not name one user", self.user_header);
            return Err(unauthorized(message));
        };
        let roles = self.roles_header.as_ref().map(|header| {
            let values = headers.get_all(header.to_lowercase());
            let values = values.iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).collect::<Roles>()
        });
        Ok(Some(User {
            name: name.to_owned(),
            roles: roles.unwrap_or_default(),
            scope: None,
            how: How::Proxy,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_says_whom_it_speaks_for_and_others_do_not() {
        let config = Config {
            addresses: vec!["10.0.0.1".parse().unwrap()],
            ..serde_json::from_value(serde_json::json!({"addresses": []})).unwrap()
        };
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "1.1.1.1".parse().unwrap());
        headers.append("x-forwarded-for", "2.2.2.2, 3.3.3.3".parse().unwrap());
        let asked = |peer: &str| config.forwarded(peer.parse().ok(), &headers);
        assert_eq!(asked("10.0.0.1"), "3.3.3.3".parse().ok());
        assert_eq!(asked("10.0.0.2"), None);
        assert_eq!(
            config.forwarded("10.0.0.1".parse().ok(), &HeaderMap::new()),
            None
        );
    }

    #[test]
    fn only_the_proxy_is_believed() {
        let config = Config {
            addresses: vec!["10.0.0.1".parse().unwrap()],
            user_header: user_header(),
            roles_header: Some("X-Roles".to_owned()),
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-spinnaker-user", "ann".parse().unwrap());
        headers.insert("x-roles", "Dev, ops".parse().unwrap());
        let from = |address: &str, headers: &HeaderMap| {
            config.user(Some(address.parse().unwrap()), headers)
        };
        let user = from("10.0.0.1", &headers).unwrap().unwrap();
        assert_eq!(user.name, "ann");
        assert_eq!(user.roles.iter().collect::<Vec<_>>(), ["dev", "ops"]);
        assert!(from("::ffff:10.0.0.1", &headers).unwrap().is_some());
        assert!(from("10.0.0.2", &headers).unwrap().is_none());
        assert!(config.user(None, &headers).unwrap().is_none());
        headers.append("x-spinnaker-user", "admin".parse().unwrap());
        assert!(from("10.0.0.1", &headers).is_err());
    }
}
