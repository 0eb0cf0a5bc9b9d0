//! How those who connect to an address are greeted: by the control side's word, looked up by the
//! workers once for each connection.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use balancer::{GREETING_MS, Network, ProxyProtocol};
use tokio_rustls::rustls::ServerConfig;

use super::meter::Counter;

/// An address that is listened on; one for all workers.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    terms: RwLock<Arc<Terms>>,
}

impl Listener {
    /// Plain HTTP, until told otherwise.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            terms: RwLock::default(),
        }
    }

    /// What holds for a connection that begins now.
    pub(crate) fn terms(&self) -> Arc<Terms> {
        let terms = self.terms.read().unwrap_or_else(PoisonError::into_inner);
        terms.clone()
    }

    /// What holds from now on.
    pub(crate) fn set(&self, terms: Terms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
    }
}

/// How a connection is greeted.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// TLS; none: plain.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whether a PROXY header comes first.
    pub(crate) proxy_protocol: ProxyProtocol,
    /// Whose word on clients is believed; none: everybody's.
    pub(crate) trusted: Option<Vec<Network>>,
    /// Port of `https` that all requests are sent to.
    pub(crate) redirect: Option<u16>,
    /// For the PROXY header, and again for the handshake.
    pub(crate) limit: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            tls: None,
            proxy_protocol: ProxyProtocol::Off,
            trusted: None,
            redirect: None,
            limit: Duration::from_millis(GREETING_MS),
        }
    }
}

impl Terms {
    /// Whether the word of this address is believed.
    pub(crate) fn trusts(&self, address: SocketAddr) -> bool {
        let among = |trusted: &Vec<Network>| trusted.iter().any(|n| n.contains(address.ip()));
        self.trusted.as_ref().is_none_or(among)
    }

    /// How a client of this address came in.
    pub(crate) fn way(&self, client: SocketAddr) -> Way {
        Way {
            secure: self.tls.is_some(),
            believed: self.trusts(client),
            redirect: self.redirect,
        }
    }
}

/// How a client came in, as its requests need to know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// By TLS.
    pub(crate) secure: bool,
    /// Its own word on that is believed.
    pub(crate) believed: bool,
    /// Its requests are sent to `https` on this port.
    pub(crate) redirect: Option<u16>,
}

/// Figures of greetings in one worker.
#[derive(Debug, Default)]
pub(crate) struct Greetings {
    /// Handshakes with a key exchange.
    pub(crate) full: Counter,
    /// Handshakes that took a session up again.
    pub(crate) resumed: Counter,
    /// Handshakes that failed, or were broken off by the client.
    pub(crate) failed: Counter,
    /// Handshakes that took too long.
    pub(crate) slow: Counter,
    /// Clients that do not speak TLS where TLS is spoken.
    pub(crate) plain: Counter,
    /// PROXY headers that named a client.
    pub(crate) named: Counter,
    /// PROXY headers that named the sender itself, or nobody.
    pub(crate) unnamed: Counter,
    /// Connections without a PROXY header where there may be one.
    pub(crate) absent: Counter,
    /// Connections without a PROXY header where there must be one.
    pub(crate) missing: Counter,
    /// PROXY headers that are none.
    pub(crate) malformed: Counter,
    /// Connections from addresses that are not trusted where a PROXY header is required.
    pub(crate) untrusted: Counter,
    /// PROXY headers that took too long.
    pub(crate) late: Counter,
}
