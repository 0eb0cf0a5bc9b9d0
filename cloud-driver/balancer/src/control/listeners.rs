//! What is listened on: sockets asked for by `--listen`, which stay, and those a configuration asks
//! for, which come and go with it.
//!
//! A socket is never closed while somebody waits in its queue, and never greets anybody before its
//! certificates are there.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use balancer::{Certificate, Config, Listener as Wanted, Listening, ProxyProtocol, TlsVersion};
use socket2::{Domain, Protocol, Socket, Type};
use tokio_rustls::rustls::ServerConfig;

use super::certificates::{Certificates, Seen, Usable};
use crate::fault::Fault;
use crate::proxy::listener::{Listener, Terms};
use crate::proxy::tls;

/// Connections waiting to be accepted.
const BACKLOG: i32 = 4_096;

/// Most sockets at a time: as many as one message hands over.
pub(crate) const MOST_SOCKETS: usize = 64;

/// Listens on an address.
///
/// # Errors
/// When the system does not let it.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if Fault::ReusePort.is_on() {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) socket: TcpListener,
    pub(crate) by_command_line: bool,
    pub(crate) shared: Arc<Listener>,
    tls: Option<Made>,
}

/// What handshakes are made with, and what it was made of.
#[derive(Debug)]
struct Made {
    from: Vec<Arc<Usable>>,
    min: TlsVersion,
    config: Arc<ServerConfig>,
}

impl Open {
    /// A socket that nobody accepts from yet.
    ///
    /// # Errors
    /// When it is no socket to accept from.
    pub(crate) fn new(socket: TcpListener, by_command_line: bool) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            shared: Arc::new(Listener::new(socket.local_addr()?)),
            socket,
            by_command_line,
            tls: None,
        })
    }

    /// Keeps new connections from coming in, so that closing it loses none; those that are on their
    /// way, or wait, are not touched. Who comes now asks again a second later, and is refused.
    #[cfg(target_os = "linux")]
    pub(crate) fn turn_away(&self) -> io::Result<()> {
        use socket2::{SockFilter, SockRef};
        // Classic BPF: byte 13 of a TCP header has its flags, and 2 is SYN. A listening socket is
        // sent nothing that has SYN but beginnings of connections.
        SockRef::from(&self.socket).attach_filter(&[
            SockFilter::new(0x30, 0, 0, 13),
            SockFilter::new(0x45, 0, 1, 2),
            SockFilter::new(0x06, 0, 0, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
        ])
    }

    /// Keeps new connections from coming in, where the system can.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn turn_away(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn greet(&mut self, wanted: Option<&Wanted>, certificates: &Certificates) {
        let Some(wanted) = wanted else {
            self.tls = None;
            self.shared.set(Terms::default());
            return;
        };
        self.tls = wanted.tls.as_ref().map(|tls| {
            let pairs = tls.certificates.iter();
            let from: Vec<_> = pairs
                .filter_map(|p| certificates.usable(p).cloned())
                .collect();
            match self.tls.take() {
                Some(made) if made.is_of(&from, tls.min_version) => made,
                _ => Made::new(from, tls.min_version),
            }
        });
        let trusted = wanted.trusted.iter().filter_map(|t| t.parse().ok());
        self.shared.set(Terms {
            tls: self.tls.as_ref().map(|made| made.config.clone()),
            proxy_protocol: wanted.proxy_protocol,
            trusted: Some(trusted.collect()),
            redirect: wanted.redirect_to_https,
            limit: Duration::from_millis(wanted.greeting_timeout_ms),
        });
    }
}

impl Made {
    fn new(from: Vec<Arc<Usable>>, min: TlsVersion) -> Self {
        let named = from.iter().map(|usable| usable.named.clone()).collect();
        let config = Arc::new(tls::config(named, min));
        Self { from, min, config }
    }

    fn is_of(&self, from: &[Arc<Usable>], min: TlsVersion) -> bool {
        let same = |(a, b): (&Arc<Usable>, &Arc<Usable>)| Arc::ptr_eq(a, b);
        self.min == min && self.from.len() == from.len() && self.from.iter().zip(from).all(same)
    }
}

/// All that is listened on.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
    pub(crate) certificates: Certificates,
    /// Configured and not to be had, with the reason.
    unbound: BTreeMap<SocketAddr, String>,
}

/// What a configuration needs and was found, before it is accepted.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) seen: Vec<(Certificate, Seen)>,
    pub(crate) sockets: Vec<Open>,
    /// What cannot be had and is no reason to refuse the configuration.
    pub(crate) unbound: BTreeMap<SocketAddr, String>,
}

/// Listeners of a configuration by their address.
pub(crate) fn wanted(config: &Config) -> BTreeMap<SocketAddr, (usize, &Wanted)> {
    let listeners = config.listeners.iter().enumerate();
    let known =
        listeners.filter_map(|(l, wanted)| Some((wanted.address.parse().ok()?, (l, wanted))));
    known.collect()
}

/// Pairs of a configuration, each with its path in it.
pub(crate) fn pairs(config: &Config) -> impl Iterator<Item = (String, &Certificate)> {
    config
        .listeners
        .iter()
        .enumerate()
        .flat_map(|(l, listener)| {
            let pairs = listener
                .tls
                .iter()
                .flat_map(|tls| tls.certificates.iter().enumerate());
            pairs.map(move |(c, pair)| (format!("listeners[{l}].tls.certificates[{c}]"), pair))
        })
}

impl Listeners {
    pub(crate) fn new(open: Vec<Open>) -> Self {
        Self {
            open,
            ..Self::default()
        }
    }

    pub(crate) fn open(&self) -> &[Open] {
        &self.open
    }

    /// Lets go of all sockets.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.unbound.clear();
    }

    /// Binds what a configuration wants and is not there; what cannot be had, with the reason.
    pub(crate) fn bind(&self, config: &Config) -> (Vec<Open>, BTreeMap<SocketAddr, String>) {
        let (mut bound, mut failed) = (Vec::new(), BTreeMap::new());
        for (address, _) in wanted(config) {
            if self.open.iter().any(|open| open.shared.address == address) {
                continue;
            }
            if self.open.len() + bound.len() >= MOST_SOCKETS {
                failed.insert(address, format!("there are {MOST_SOCKETS} sockets already"));
                continue;
            }
            match listen(address).and_then(|socket| Open::new(socket, false)) {
                Ok(open) => bound.push(open),
                Err(error) => drop(failed.insert(address, error.to_string())),
            }
        }
        (bound, failed)
    }

    /// Takes over what was prepared for a configuration; the sockets that it does not want any more.
    pub(crate) fn install(
        &mut self,
        prepared: Prepared,
        config: &Config,
        now_ms: i64,
    ) -> Vec<Open> {
        self.certificates.take(prepared.seen, now_ms);
        self.open.extend(prepared.sockets);
        self.set_unbound(prepared.unbound);
        let wanted = wanted(config);
        let stays = |open: &Open| open.by_command_line || wanted.contains_key(&open.shared.address);
        let removed = self.open.extract_if(.., |open| !stays(open)).collect();
        self.certificates
            .retain(|pair| pairs(config).any(|(_, named)| named == pair));
        self.greet(config);
        removed
    }

    /// Greets everywhere as a configuration wants it, with the certificates that are there now.
    pub(crate) fn greet(&mut self, config: &Config) {
        let wanted = wanted(config);
        for open in &mut self.open {
            let wanted = wanted.get(&open.shared.address).map(|(_, wanted)| *wanted);
            open.greet(wanted, &self.certificates);
        }
    }

    /// Notes what cannot be had; says so once.
    fn set_unbound(&mut self, unbound: BTreeMap<SocketAddr, String>) {
        for (address, why) in &unbound {
            if self.unbound.get(address) != Some(why) {
                eprintln!("cannot listen on {address}, and tries again: {why}");
            }
        }
        self.unbound = unbound;
    }

    /// Clones of all sockets, and which of them are there for a configuration.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(crate) fn hand_over(&self) -> io::Result<(Vec<TcpListener>, Vec<u32>)> {
        let sockets = self.open.iter().map(|open| open.socket.try_clone());
        let configured = (0..)
            .zip(&self.open)
            .filter(|(_, open)| !open.by_command_line);
        Ok((
            sockets.collect::<io::Result<_>>()?,
            configured.map(|(at, _)| at).collect(),
        ))
    }

    /// Where is listened.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let addresses = self.open.iter().map(|open| open.shared.address.to_string());
        addresses.collect()
    }

    /// Everything that is listened on, or should be.
    pub(crate) fn state(&self, config: &Config, now_ms: i64) -> Vec<Listening> {
        let wanted = wanted(config);
        let state = |address: &SocketAddr, by_command_line: bool, fault: Option<String>| {
            let wanted = wanted.get(address).map(|(_, wanted)| *wanted);
            let tls = wanted.and_then(|wanted| wanted.tls.as_ref());
            let pairs = tls
                .map(|tls| tls.certificates.as_slice())
                .unwrap_or_default();
            let dead = tls.is_some() && !pairs.iter().any(|pair| self.certificates.has(pair));
            Listening {
                address: address.to_string(),
                by_command_line,
                tls: tls.is_some(),
                proxy_protocol: wanted.map_or(ProxyProtocol::Off, |wanted| wanted.proxy_protocol),
                certificates: {
                    let states = pairs
                        .iter()
                        .map(|pair| self.certificates.state(pair, now_ms));
                    states.collect()
                },
                fault: fault.or_else(|| dead.then(|| "no certificate can be used".to_owned())),
            }
        };
        let open = self.open.iter();
        let open = open.map(|open| state(&open.shared.address, open.by_command_line, None));
        let failed = self.unbound.iter();
        let failed = failed.map(|(address, why)| state(address, false, Some(why.clone())));
        open.chain(failed).collect()
    }
}
