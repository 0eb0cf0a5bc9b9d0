//! TLS towards clients: which certificate is shown, the handshake, and what is spoken after it.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use balancer::TlsVersion;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::server::TlsStream;

use super::client::{Client, http1, http2, until_ended};
use super::gathered::MOST;
use super::parting::part;
use super::peek::{Told, peek};
use super::rewound::Rewound;
use super::spoken::{Spoken, as_agreed, spoken};
use super::worker::Worker;

/// Handshakes of one worker at the same time; more wait, as long as a handshake may take.
pub(crate) const MOST_HANDSHAKES: usize = 1_024;

/// The type of a TLS record that begins a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;

/// What TLS is made with.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A certificate and the names it is for.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// Lower case; `*.` stands for one label.
    pub(crate) names: Vec<String>,
    pub(crate) key: Arc<CertifiedKey>,
}

/// Chooses a certificate by the name that the client asks for.
#[derive(Debug)]
struct Chooser {
    keys: Vec<Arc<CertifiedKey>>,
    /// Certificates by name, in their order.
    by_name: HashMap<String, Vec<usize>>,
}

impl Chooser {
    fn new(certificates: Vec<Named>) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut keys = Vec::new();
        for (at, certificate) in certificates.into_iter().enumerate() {
            for name in certificate.names {
                by_name.entry(name).or_default().push(at);
            }
            keys.push(certificate.key);
        }
        Self { keys, by_name }
    }

    /// Those for a name, the best first: its own, then the wildcard's, then the first of all.
    fn for_name(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let above = name.as_deref().and_then(|name| name.split_once('.'));
        let wildcard = above.map(|(_, above)| format!("*.{above}"));
        let named = [name, wildcard].into_iter().flatten();
        let found = named.filter_map(|name| self.by_name.get(&name)).flatten();
        found.filter_map(|at| self.keys.get(*at)).chain(&self.keys)
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let mut fitting = self.for_name(hello.server_name());
        // One that this client cannot check is of no use to it, whatever its names.
        fitting
            .find(|key| key.key.choose_scheme(schemes).is_some())
            .cloned()
    }
}

/// What handshakes of a listener are made with. New ones for new certificates: with them come new
/// keys for tickets, so that no session begun under the old certificate is taken up again.
pub(crate) fn config(certificates: Vec<Named>, min: TlsVersion) -> ServerConfig {
    let versions = match min {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("ring has cipher suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Chooser::new(certificates)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Without random numbers there are no tickets, and no handshakes either.
    if let Ok(ticketer) = ring::Ticketer::new() {
        config.ticketer = ticketer;
    }
    config
}

/// Makes the handshake and serves what follows.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    stream: TcpStream,
    config: Arc<ServerConfig>,
    limit: Duration,
) {
    // What a handshake needs goes with it.
    let shaking = Box::pin(shake(&worker, stream, config));
    let mut stream = match timeout(limit, until_ended(&client, shaking)).await {
        Ok(Some(Shaken::Secure(stream))) => Rewound::new(*stream),
        Ok(Some(Shaken::Plain(stream))) => {
            worker.totals.greetings.plain.add(1);
            return Box::pin(refuse_plain(stream)).await;
        }
        Ok(Some(Shaken::Failed)) => return worker.totals.greetings.failed.add(1),
        // All connections are to end, or this one has without a word, as of who only looks whether
        // somebody listens.
        Ok(Some(Shaken::Gone) | None) => return,
        Err(_) => return worker.totals.greetings.slow.add(1),
    };
    let spoken = match agreed(&stream) {
        Some(false) => Spoken::Http1,
        agreed => {
            // Without a word on what it speaks, its first bytes tell, as without TLS.
            let (tell, default): (fn(&[u8]) -> _, _) = match agreed {
                Some(_) => (as_agreed, Spoken::Neither),
                None => (spoken, Spoken::Http1),
            };
            match until_ended(&client, stream.look(tell)).await {
                Some(Ok(told)) => told.unwrap_or(default),
                Some(Err(_)) | None => return,
            }
        }
    };
    match spoken {
        Spoken::Http1 => Box::pin(http1(worker, client, stream)).await,
        Spoken::Http2 => Box::pin(http2(worker, client, stream)).await,
        Spoken::Neither => Box::pin(part(stream, b"")).await,
    }
}

/// Whether HTTP/2 was agreed on; none: nothing was.
fn agreed(stream: &Rewound<TlsStream<TcpStream>>) -> Option<bool> {
    let (_, session) = stream.stream().get_ref();
    session.alpn_protocol().map(|protocol| protocol == b"h2")
}

/// What became of a handshake.
enum Shaken {
    Secure(Box<TlsStream<TcpStream>>),
    /// The client does not speak TLS.
    Plain(TcpStream),
    Failed,
    Gone,
}

async fn shake(worker: &Worker, stream: TcpStream, config: Arc<ServerConfig>) -> Shaken {
    // Who has said nothing yet takes no place from those who have.
    match peek(&stream, &mut [0], |bytes| bytes.first().copied()).await {
        Ok(Told::This(HANDSHAKE_RECORD)) => {}
        Ok(Told::This(_)) => return Shaken::Plain(stream),
        Ok(Told::Full | Told::Ended(_)) | Err(_) => return Shaken::Gone,
    }
    let Ok(_place) = worker.handshakes.acquire().await else {
        return Shaken::Failed;
    };
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else {
        return Shaken::Failed;
    };
    // What is written at once is encrypted at once, and sent in one piece.
    stream.get_mut().1.set_buffer_limit(Some(MOST));
    let figures = &worker.totals.greetings;
    match stream.get_ref().1.handshake_kind() {
        Some(HandshakeKind::Resumed) => figures.resumed.add(1),
        _ => figures.full.add(1),
    }
    Shaken::Secure(Box::new(stream))
}

/// Tells a client that does not speak TLS so, in words it may understand.
async fn refuse_plain(stream: TcpStream) {
    let text = "plain_http: this port speaks TLS; ask with https://\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nx-balancer-error: plain_http\r\ncontent-type: text/plain; \
         charset=utf-8\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    part(stream, answer.as_bytes()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Named {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let params = rcgen::CertificateParams::new(names.clone()).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = CertifiedKey::from_der(vec![certificate.der().clone()], key.into(), &provider());
        Named {
            names,
            key: Arc::new(key.unwrap()),
        }
    }

    #[test]
    fn a_name_s_own_certificate_goes_before_a_wildcard_s_and_that_before_the_first() {
        let all = [
            named(&["first.test"]),
            named(&["*.shop.test", "shop.test"]),
            named(&["pay.shop.test"]),
            named(&["shop.test"]),
        ];
        let chooser = Chooser::new(all.to_vec());
        for (name, order) in [
            (Some("first.test"), &[0][..]),
            (Some("pay.shop.test"), &[2, 1, 0]),
            (Some("PAY.Shop.Test"), &[2, 1, 0]),
            (Some("a.shop.test"), &[1, 0]),
            (Some("b.a.shop.test"), &[0]),
            (Some("shop.test"), &[1, 3, 0]),
            (Some("shop.test."), &[1, 3, 0]),
            (Some("other"), &[0]),
            (None, &[0]),
        ] {
            let chosen: Vec<_> = chooser
                .for_name(name)
                .take(order.len())
                .map(|key| {
                    all.iter()
                        .position(|one| Arc::ptr_eq(&one.key, key))
                        .unwrap()
                })
                .collect();
            assert_eq!(chosen, order, "{name:?}");
        }
        assert!(
            Chooser::new(Vec::new())
                .for_name(Some("a"))
                .next()
                .is_none()
        );
    }
}
