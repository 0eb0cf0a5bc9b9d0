//! What an idle connection costs in memory: many of them, after one request each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    StreamOwned,
};

use crate::Result;
use crate::load::as_f64;
use crate::servers::Server;

/// How long a server may take to put away what a request needed.
const REST: Duration = Duration::from_millis(1_500);

/// Most bytes an idle connection may take, KiB.
pub(crate) const MOST_KIB: f64 = 16.0;
/// The same with TLS.
pub(crate) const MOST_TLS_KIB: f64 = 48.0;

const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Lets this process have `count` connections.
///
/// # Errors
/// When it may not.
pub(crate) fn make_room(count: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let needed = count + 100;
    if limit.current.is_some_and(|current| current < needed) {
        let wanted = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, wanted)
            .map_err(|e| format!("{needed} open files are needed: {e}; raise `ulimit -n`"))?;
    }
    Ok(())
}

/// Resident KiB for each of `count` idle connections.
///
/// # Errors
/// When a request fails.
pub(crate) fn kib(server: &Server, tls: bool, count: u64) -> Result<f64> {
    let config = Arc::new(client());
    let open = || -> Result<Box<dyn Connection>> {
        let port = if tls { server.tls } else { server.plain };
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut connection: Box<dyn Connection> = if tls {
            let name = ServerName::try_from("localhost")?;
            let session = ClientConnection::new(config.clone(), name)?;
            Box::new(StreamOwned::new(session, stream))
        } else {
            Box::new(stream)
        };
        ask(&mut *connection)?;
        Ok(connection)
    };
    // What the first ones need is not needed by each.
    let mut kept = Vec::new();
    for _ in 0..64 {
        kept.push(open()?);
    }
    std::thread::sleep(REST);
    let before = server.program.resident_kib();
    for _ in 0..count {
        kept.push(open()?);
    }
    std::thread::sleep(REST);
    let after = server.program.resident_kib();
    // Each is still there: a closed one would cost nothing.
    for connection in &mut kept {
        ask(&mut **connection)?;
    }
    Ok(as_f64(after.saturating_sub(before)) / as_f64(count))
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// One request and its answer.
fn ask(connection: &mut dyn Connection) -> Result<()> {
    connection.write_all(REQUEST)?;
    connection.flush()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let read = connection.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
            let length: usize = length.ok_or("an answer without a length")?.trim().parse()?;
            if !head.starts_with("http/1.1 200") {
                return Err(format!("an idle connection was answered {head}").into());
            }
            if body.len() >= length {
                return Ok(());
            }
        }
        if read == 0 {
            return Err("an idle connection was closed".into());
        }
    }
}

fn client() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Anybody(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for the default versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // What many clients do; one that comes back would skip a part of the handshake.
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    config
}

/// Takes any certificate: that of the servers was made a moment ago.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
