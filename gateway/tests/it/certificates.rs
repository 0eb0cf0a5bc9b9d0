//! Certificates of users, over real TLS connections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway::Config;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fake::Gate;

type Authority = Issuer<'static, KeyPair>;

fn authority(name: &str) -> (Authority, String, CertificateDer<'static>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (pem, der) = (certificate.pem(), certificate.der().clone());
    (Issuer::new(params, key), pem, der)
}

/// A user's certificate and key.
struct Shown(CertificateDer<'static>, PrivateKeyDer<'static>);

fn user(by: &Authority, name: &str, valid: bool) -> Shown {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationalUnitName, "Team");
    let email = format!("{name}@example.com");
    params
        .subject_alt_names
        .push(SanType::Rfc822Name(email.try_into().unwrap()));
    if !valid {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    Shown(certificate.der().clone(), key.into())
}

struct World {
    _gate: Gate,
    address: SocketAddr,
    roots: CertificateDer<'static>,
}

fn config(folder: &Path, authentication: &Value, users: &str, server: &Authority) -> Config {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, server).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let tls = json!({
        "certificate": write("server.pem", &certificate.pem()),
        "key": write("server.key", &key.serialize_pem()),
        "client-ca": write("users.pem", users),
    });
    serde_json::from_value(json!({"tls": tls, "authentication": {"certificates": authentication}}))
        .unwrap()
}

impl World {
    async fn up(authentication: &Value, users: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, _, roots) = authority("server");
        let config = config(folder.path(), authentication, users, &server);
        let tls = gateway::acceptor(&config).unwrap();
        assert!(tls.is_some());
        let gate = Gate::with(config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(gateway::serve(
            listener,
            gate.router(),
            tls,
            gate.shutdown.clone(),
        ));
        Self {
            _gate: gate,
            address,
            roots,
        }
    }

    /// Who one is, having shown a certificate or none; an error when the handshake fails.
    async fn who(&self, shown: Option<&Shown>) -> std::io::Result<String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.roots.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(Shown(certificate, key)) => builder
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .unwrap(),
        };
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await?;
        stream
            .write_all(b"GET /auth/user HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

#[tokio::test]
async fn a_certificate_of_the_authority_proves_its_user_and_no_other_does() {
    let (ours, pem, _) = authority("users");
    let (theirs, _, _) = authority("users");
    let units = json!({"organizational-units-are-roles": true});
    let world = World::up(&units, &pem).await;
    let ann = world.who(Some(&user(&ours, "ann", true))).await.unwrap();
    assert!(ann.starts_with("HTTP/1.1 200"), "{ann}");
    assert!(
        ann.contains("\"username\":\"ann\"") && ann.contains("\"roles\":[\"team\"]"),
        "{ann}"
    );
    // Without one, nobody; a forged, an expired and a nameless one are refused.
    let nobody = world.who(None).await.unwrap();
    assert!(
        nobody.starts_with("HTTP/1.1 200") && !nobody.contains("username"),
        "{nobody}"
    );
    assert!(world.who(Some(&user(&theirs, "ann", true))).await.is_err());
    assert!(world.who(Some(&user(&ours, "ann", false))).await.is_err());
    let nameless = world.who(Some(&user(&ours, "a b", true))).await.unwrap();
    assert!(nameless.starts_with("HTTP/1.1 401"), "{nameless}");
}

#[tokio::test]
async fn the_name_may_be_the_address_and_a_silent_connection_holds_up_nobody() {
    let (ours, pem, _) = authority("users");
    let world = World::up(&json!({"user": "email"}), &pem).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    let shown = user(&ours, "ann", true);
    let asked = tokio::time::timeout(Duration::from_secs(5), world.who(Some(&shown)));
    let ann = asked.await.unwrap().unwrap();
    assert!(
        ann.contains("\"username\":\"ann@example.com\"") && ann.contains("\"roles\":[]"),
        "{ann}"
    );
}

#[test]
fn certificates_without_an_authority_are_refused_and_files_are_named() {
    let read = |value: Value| -> Config { serde_json::from_value(value).unwrap() };
    let without = read(json!({"authentication": {"certificates": {}}}));
    let refused = gateway::acceptor(&without).err().unwrap();
    assert!(refused.contains("gateway.tls.client-ca"), "{refused}");
    let missing = read(json!({"tls": {"certificate": "/none.pem", "key": "/none.key"}}));
    let refused = gateway::acceptor(&missing).err().unwrap();
    assert!(refused.contains("/none."), "{refused}");
    assert!(gateway::acceptor(&Config::default()).unwrap().is_none());
}
