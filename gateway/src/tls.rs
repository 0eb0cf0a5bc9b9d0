//! TLS towards users, and the certificates they may show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

/// Section `gateway.tls`. Files in PEM, read at the start.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The gateway's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority of certificates that users may show. Default: nobody is asked for one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("gateway.tls: {file}: {reason}")]
pub struct Error {
    file: String,
    reason: String,
}

fn fault(path: &Path, reason: impl ToString) -> Error {
    Error {
        file: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| fault(path, e))?
        .collect();
    let found = found.map_err(|e| fault(path, e))?;
    if found.is_empty() {
        return Err(fault(path, "it holds no certificate in PEM"));
    }
    Ok(found)
}

/// What handshakes are made with.
///
/// # Errors
/// The file that cannot be used.
pub(crate) fn acceptor(config: &Config) -> Result<TlsAcceptor, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(&config.certificate, e))?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| fault(path, e))?;
            }
            // Who shows none may prove to be somebody in another way.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|e| fault(path, e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|e| fault(&config.key, e))?;
    let mut server = builder
        .with_single_cert(certificates(&config.certificate)?, key)
        .map_err(|e| fault(&config.certificate, e))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}
