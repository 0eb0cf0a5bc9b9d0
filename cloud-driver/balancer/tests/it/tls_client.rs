//! Certificates, and clients that check them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::client::Connection;
use crate::http2_client::Http2;
use crate::stand::soon;

/// Somebody who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Valid {
    Now,
    Past,
    Future,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub(crate) fn pair(&self, names: &[&str], valid: Valid) -> Pair {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let year = |year| rcgen::date_time_ymd(year, 1, 1);
        (params.not_before, params.not_after) = match valid {
            Valid::Now => (year(2000), year(2100)),
            Valid::Past => (year(2000), year(2001)),
            Valid::Future => (year(2099), year(2100)),
        };
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
        }
    }

    /// A client that trusts this authority only.
    pub(crate) fn client(&self) -> TlsClient {
        self.client_of(&[&TLS13, &TLS12])
    }

    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        TlsClient { config }
    }
}

/// Where a pair lies.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        }
    }

    pub(crate) fn with(folder: &Path, name: &str, pair: &Pair) -> Self {
        let files = Self::new(folder, name);
        files.write(pair);
        files
    }

    /// Puts a pair in place as careful tools do: each file whole, by renaming.
    pub(crate) fn write(&self, pair: &Pair) {
        for (path, text) in [
            (&self.certificate, &pair.certificate),
            (&self.key, &pair.key),
        ] {
            let new = path.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, path).unwrap();
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({"certificate": self.certificate, "key": self.key})
    }
}

/// How a client speaks TLS; each of its connections is a new session unless it resumes.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: ClientConfig,
}

pub(crate) type Secure = TlsStream<TcpStream>;

impl TlsClient {
    pub(crate) fn speaking(&self, protocols: &[&str]) -> Self {
        let mut client = self.clone();
        client.config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        client
    }

    pub(crate) fn resuming(&self) -> Self {
        let mut client = self.clone();
        client.config.resumption = Resumption::in_memory_sessions(8);
        client
    }

    pub(crate) async fn connect(&self, address: SocketAddr, name: &str) -> std::io::Result<Secure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.over(stream, name).await
    }

    /// The handshake on a connection that is there.
    pub(crate) async fn over(&self, stream: TcpStream, name: &str) -> std::io::Result<Secure> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        soon("the handshake", connector.connect(name, stream)).await
    }

    /// A connection of HTTP/1.1.
    pub(crate) async fn http1(&self, address: SocketAddr, name: &str) -> Connection<Secure> {
        let stream = self.speaking(&["http/1.1"]).connect(address, name).await;
        Connection::over(stream.unwrap())
    }

    /// A connection of HTTP/2.
    pub(crate) async fn http2(&self, address: SocketAddr, name: &str) -> Http2 {
        let stream = self.speaking(&["h2"]).connect(address, name).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Http2::over(stream).await
    }
}

/// The certificate that was shown.
pub(crate) fn shown(stream: &Secure) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}
