//! Users who prove themselves by a certificate that the operator's authority signed.
//! That it did, and that the certificate is valid now, TLS has checked.
//! Source: `gate: X509AuthenticationUserDetailsService`.

use authorization::Roles;
use serde::Deserialize;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{How, User, is_name, unauthorized};
use crate::error::Error;

/// Section `gateway.authentication.certificates`; needs `gateway.tls.client-ca`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What of a certificate is the user's name. Default: `common-name`.
    pub user: Name,
    /// Whether its organizational units are the user's roles. Default: no, and those of the
    /// users file are.
    pub organizational_units_are_roles: bool,
}

/// Where a certificate has its user's name.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// The subject's common name.
    #[default]
    CommonName,
    /// The first e-mail address among the alternative names.
    Email,
}

impl Config {
    /// The user of a certificate in DER.
    ///
    /// # Errors
    /// 401 when it names nobody.
    pub(super) fn user(&self, der: &[u8]) -> Result<User, Error> {
        let nameless = || {
            let what = match self.user {
                Name::CommonName => "common name",
                Name::Email => "e-mail address",
            };
            unauthorized(format!(
                "the client certificate has no {what} that can be a name"
            ))
        };
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| nameless())?;
        let subject = certificate.subject();
        let found = match self.user {
            Name::CommonName => {
                let mut names = subject.iter_common_name();
                names
                    .next()
                    .and_then(|name| name.as_str().ok())
                    .map(ToOwned::to_owned)
            }
            Name::Email => {
                let names = certificate.subject_alternative_name().ok().flatten();
                let names = names.map(|names| names.value.general_names.as_slice());
                names
                    .unwrap_or_default()
                    .iter()
                    .find_map(|name| match name {
                        GeneralName::RFC822Name(address) => Some((*address).to_owned()),
                        _ => None,
                    })
            }
        };
        let name = found.filter(|name| is_name(name)).ok_or_else(nameless)?;
        let units = subject.iter_organizational_unit();
        let roles: Roles = match self.organizational_units_are_roles {
            true => units.filter_map(|unit| unit.as_str().ok()).collect(),
            false => Roles::default(),
        };
        Ok(User {
            name,
            roles,
            scope: None,
            how: How::Certificate,
        })
    }
}
