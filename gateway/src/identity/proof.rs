//! What of a request may prove who sent it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};

use super::unauthorized;
use crate::error::Error;

/// The header Gate takes API tokens in, beside `Authorization`.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-spinnaker-token");

/// What a request proves its sender by; kept with live connections, which are proven again.
#[derive(Clone, Default)]
pub(crate) struct Proof {
    pub(crate) headers: HeaderMap,
    /// Where the connection comes from.
    pub(crate) peer: Option<IpAddr>,
    /// The certificate it was opened with, in DER.
    pub(crate) certificate: Option<Arc<[u8]>>,
}

impl fmt::Debug for Proof {
    /// Without the headers: they hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Proof {
    /// A header that may be there once.
    fn once(&self, name: &HeaderName) -> Result<Option<&str>, Error> {
        let mut given = self.headers.get_all(name).iter();
        let Some(value) = given.next() else {
            return Ok(None);
        };
        match (value.to_str(), given.next()) {
            (Ok(text), None) => Ok(Some(text.trim())),
            _ => Err(unauthorized(format!(
                "header {name} is there twice or is no text"
            ))),
        }
    }

    /// Scheme in lower case, and the rest.
    pub(super) fn authorization(&self) -> Result<Option<(String, String)>, Error> {
        let Some(text) = self.once(&header::AUTHORIZATION)? else {
            return Ok(None);
        };
        let (scheme, rest) = text.split_once(' ').ok_or_else(|| {
            unauthorized("header Authorization has no scheme such as Basic or Bearer")
        })?;
        Ok(Some((scheme.to_lowercase(), rest.trim().to_owned())))
    }

    pub(super) fn token(&self) -> Result<Option<String>, Error> {
        Ok(self.once(&TOKEN)?.map(ToOwned::to_owned))
    }
}
