//! Who asks: every way of proving it, a file each.
//!
//! Nothing a request says about its sender is believed before it is proven, and
//! nothing is remembered between requests that could be out of date: a user who
//! was removed, a role that was taken, a token that expired count at the next one.

mod basic;
mod bearer;
pub mod certificate;
mod config;
pub(crate) mod follow;
mod guess;
pub mod oidc;
pub(crate) mod proof;
pub mod proxy;
mod recorded;
pub(crate) mod session;
pub(crate) mod token;

use std::net::IpAddr;

use authorization::{MANAGED, Roles, Scope};
use http::{Method, StatusCode, header};
use proto::orchestrator::v1::PipelineKey;
use runtime::auth::Key;

use crate::answer::value;
use crate::clients::{Clients, answer};
use crate::error::Error;

pub use basic::{EntryError, user_entry};
pub use config::Config;
pub(crate) use oidc::{LoggedIn, Oidc};
pub(crate) use proof::Proof;
pub(crate) use recorded::{object, roles_of};

/// The way somebody proved to be somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Password,
    Token,
    Proxy,
    Session,
    Certificate,
    AccessToken,
}

impl How {
    /// As the audit calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
            Self::Proxy => "proxy",
            Self::Session => "session",
            Self::Certificate => "certificate",
            Self::AccessToken => "access-token",
        }
    }
}

/// A user who proved to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) roles: Roles,
    /// What the credential was narrowed to.
    pub(crate) scope: Option<Scope>,
    pub(crate) how: How,
}

/// Whether a text can be a user's name: no control characters, not too long, and not a name
/// that stands for nobody.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "._-@+".contains(c);
    !name.is_empty() && name.len() <= 200 && name.chars().all(fits) && name != "anonymous"
}

/// The ways that are configured.
#[derive(Debug)]
pub(crate) struct Identity {
    config: Config,
    users: Option<basic::Users>,
    recorded: recorded::Recorded,
    oidc: Option<Oidc>,
    key: Key,
}

impl Identity {
    pub(crate) fn new(config: Config, key: Key) -> Self {
        Self {
            oidc: config.oidc.clone().map(|oidc| Oidc::new(oidc, key.clone())),
            key,
            users: config.users_file.clone().map(basic::Users::new),
            recorded: recorded::Recorded::default(),
            config,
        }
    }

    /// Whether users come from the users file alone.
    fn file_is_all(&self) -> bool {
        let config = &self.config;
        let others = [
            config.proxy.is_some(),
            self.oidc.is_some(),
            config.certificates.is_some(),
        ];
        self.users.is_some() && !others.contains(&true)
    }

    /// Whether everybody has to be somebody.
    pub(crate) fn is_enabled(&self) -> bool {
        self.config.is_enabled()
    }

    /// Who sent a request; none where nobody need be logged in.
    ///
    /// # Errors
    /// 401 when a proof is missing or wrong, 503 when it cannot be checked.
    pub(crate) async fn of(&self, clients: &Clients, proof: &Proof) -> Result<Option<User>, Error> {
        let user = self.proven(clients, proof).await?;
        if let Some(user) = &user {
            // A service account's roles are its own; all others' are those seen last.
            self.recorded.tell(clients, user).await?;
        }
        Ok(user)
    }

    async fn proven(&self, clients: &Clients, proof: &Proof) -> Result<Option<User>, Error> {
        if let Some((scheme, rest)) = proof.authorization()? {
            return match (scheme.as_str(), &self.oidc) {
                ("bearer", _) if rest.starts_with(token::PREFIX) => {
                    self.token(clients, &rest).await.map(Some)
                }
                ("bearer", Some(oidc)) => {
                    let (name, roles) = oidc.bearer(&rest).await?;
                    let roles = match roles {
                        Some(roles) => roles,
                        // A provider that names roles in ID tokens alone: those of the last login.
                        None => recorded::roles(clients, &name).await?.unwrap_or_default(),
                    };
                    Ok(Some(User {
                        name,
                        roles,
                        scope: None,
                        how: How::AccessToken,
                    }))
                }
                ("basic", _) => self.password(&rest, proof).await.map(Some),
                _ => Err(unauthorized(
                    "header Authorization is neither Basic nor Bearer with an API token",
                )),
            };
        }
        if let Some(text) = proof.token()? {
            return self.token(clients, &text).await.map(Some);
        }
        if let Some(user) = self.session(clients, proof).await? {
            return Ok(Some(user));
        }
        if let (Some(config), Some(der)) = (&self.config.certificates, &proof.certificate) {
            let mut user = config.user(der)?;
            if !config.organizational_units_are_roles
                && let Some(users) = &self.users
            {
                user.roles = users.roles(&user.name).await?.unwrap_or_default();
            }
            return Ok(Some(user));
        }
        if let Some(proxy) = &self.config.proxy
            && let Some(user) = proxy.user(proof.peer, &proof.headers)?
        {
            return Ok(Some(user));
        }
        Ok(None)
    }

    /// Whoever a session is of: as its login said, or as the users file says now.
    async fn session(&self, clients: &Clients, proof: &Proof) -> Result<Option<User>, Error> {
        if self.oidc.is_none() && self.users.is_none() {
            return Ok(None);
        }
        let found = session::user(clients, &self.key, &proof.headers).await?;
        match (found, &self.users) {
            (Some((user, None)), _) => Ok(self.oidc.is_some().then_some(user)),
            (Some((mut user, Some(to))), Some(users)) => {
                let roles = users.still(&user.name, &to).await?;
                Ok(roles.map(|roles| {
                    user.roles = roles;
                    user
                }))
            }
            _ => Ok(None),
        }
    }

    /// Where a request comes from: what a trusted proxy says, else the other end of the connection.
    fn place(&self, proof: &Proof) -> Option<IpAddr> {
        let proxy = self.config.proxy.as_ref();
        let told = proxy.and_then(|proxy| proxy.forwarded(proof.peer, &proof.headers));
        told.or(proof.peer)
    }

    /// Somebody who logs in with name and password, as `spin` does for LDAP.
    ///
    /// # Errors
    /// 401 when the password is wrong, 404 when nobody has one here, 429 after too many wrong ones.
    pub(crate) async fn log_in(
        &self,
        name: &str,
        password: &str,
        proof: &Proof,
    ) -> Result<LoggedIn, Error> {
        let users = self.users.as_ref().ok_or_else(|| {
            Error::not_found(
                "nobody logs in with a password here; set gateway.authentication.users-file",
            )
        })?;
        let (user, bound) = users.prove(name, password, self.place(proof)).await?;
        Ok(LoggedIn::once(user.name, user.roles, Some(bound)))
    }

    async fn password(&self, encoded: &str, proof: &Proof) -> Result<User, Error> {
        let Some(users) = &self.users else {
            return Err(unauthorized("nobody logs in with a password here"));
        };
        let (name, password) = basic::credentials(encoded)?;
        Ok(users.prove(&name, &password, self.place(proof)).await?.0)
    }

    async fn token(&self, clients: &Clients, text: &str) -> Result<User, Error> {
        let (id, hash) = token::parse(text)?;
        let stored = recorded::object(clients, "apiToken", &id).await?;
        let (name, scope) = token::opened(&stored.ok_or_else(token::unknown)?, &hash)?;
        let roles = self.roles(clients, &name).await?;
        Ok(User {
            roles: roles
                .ok_or_else(|| unauthorized("the API token's owner is not known any more"))?,
            name,
            scope: Some(scope),
            how: How::Token,
        })
    }

    /// The roles of somebody who is not here to prove it; none if nobody has that name any more.
    pub(crate) async fn roles(
        &self,
        clients: &Clients,
        name: &str,
    ) -> Result<Option<Roles>, Error> {
        if let Some(member_of) = service_account(clients, name).await? {
            return Ok(Some(member_of));
        }
        if let Some(users) = &self.users {
            if let Some(roles) = users.roles(name).await? {
                return Ok(Some(roles));
            }
            // With the file as the only source, who is not in it does not exist.
            if self.file_is_all() {
                return Ok(None);
            }
        }
        recorded::roles(clients, name).await
    }

    /// The provider that browsers log in at.
    pub(crate) fn oidc(&self) -> Option<&Oidc> {
        self.oidc.as_ref()
    }

    /// How long a session lasts, in ms.
    pub(crate) fn session_lifetime_ms(&self) -> u64 {
        const USUAL: u64 = 8 * 3_600_000;
        let configured = self.config.session_lifetime.as_ref();
        configured.map_or(USUAL, |span| {
            u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// The longest life of an API token, in ms.
    pub(crate) fn token_lifetime_ms(&self) -> u64 {
        const USUAL: u64 = 90 * 24 * 3_600_000;
        let configured = self.config.token_lifetime.as_ref();
        configured.map_or(USUAL, |span| {
            u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Headers that say who somebody is: what a client writes there reaches nobody.
    pub(crate) fn headers(&self) -> Vec<http::HeaderName> {
        let mut names = vec![header::AUTHORIZATION, header::COOKIE];
        names.extend(self.config.proxy.iter().flat_map(proxy::Config::headers));
        names
    }
}

/// The roles of a service account, or of the pipeline whose own it is; none if there is none of
/// this name.
pub(crate) async fn service_account(clients: &Clients, name: &str) -> Result<Option<Roles>, Error> {
    let Some(id) = name.strip_suffix(MANAGED) else {
        let account = object(clients, "serviceAccount", name).await?;
        return Ok(account.map(|account| roles_of(&account, "memberOf")));
    };
    let key = PipelineKey {
        id: id.to_owned(),
        ..PipelineKey::default()
    };
    let roles = match answer(clients.definitions.clone().get_pipeline(key)).await {
        Ok(found) => roles_of(&value(&found)?, "roles"),
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Ok(None),
        Err(error) => return Err(error),
    };
    // A pipeline without roles has no account of its own.
    Ok((!roles.is_empty()).then_some(roles))
}

pub(crate) fn unauthorized(message: impl Into<String>) -> Error {
    Error::new(StatusCode::UNAUTHORIZED, message)
}

/// Paths that need no login (`gate: AuthConfig`).
pub(crate) fn is_open(method: &Method, path: &str) -> bool {
    match path {
        "/health" | "/auth/loggedOut" | "/auth/logout" | "/login" => true,
        _ if path.starts_with("/login/oauth2/code/") => *method == Method::GET,
        "/auth/user" => matches!(*method, Method::GET | Method::HEAD),
        _ => {
            *method == Method::OPTIONS
                || (*method == Method::POST && path.starts_with("/webhooks/"))
        }
    }
}
