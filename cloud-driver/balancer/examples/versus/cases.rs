//! What is compared, and the bounds.

use crate::servers::Server;

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP/1.1 on connections that are kept.
    Kept,
    /// HTTP/1.1, each on a connection of its own.
    New,
    /// HTTP/2 without TLS.
    Http2,
    /// HTTP/1.1 on connections that are kept, TLS.
    Tls,
    /// HTTP/2, TLS.
    TlsHttp2,
}

impl Kind {
    /// All.
    pub(crate) const ALL: [Self; 5] = [
        Self::Kept,
        Self::New,
        Self::Http2,
        Self::Tls,
        Self::TlsHttp2,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Kept => "keep-alive",
            Self::New => "new connections",
            Self::Http2 => "HTTP/2",
            Self::Tls => "TLS, keep-alive",
            Self::TlsHttp2 => "TLS, HTTP/2",
        }
    }

    pub(crate) const fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::TlsHttp2)
    }
}

/// Most times as much time until the answer, of 99 % of requests, as nginx takes.
pub(crate) const MOST_P99: f64 = 1.5;

/// Requests of one kind for bodies of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) large: bool,
}

impl Case {
    /// All, the small bodies first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [false, true]
            .into_iter()
            .flat_map(|large| Kind::ALL.map(|kind| Self { kind, large }))
    }

    /// As it stands in the table.
    pub(crate) fn name(self) -> String {
        let size = if self.large { "64 KiB" } else { "100 B" };
        format!("{}, {size}", self.kind.name())
    }

    /// Most times as much processor time as nginx spends.
    pub(crate) const fn most_cpu(self) -> f64 {
        match self.kind {
            Kind::Kept | Kind::New => 1.3,
            Kind::Http2 | Kind::Tls | Kind::TlsHttp2 => 1.5,
        }
    }

    /// What is asked for.
    pub(crate) const fn path(self) -> &'static str {
        if self.large { "/large" } else { "/small" }
    }

    /// The same at a server.
    pub(crate) fn url(self, server: &Server) -> String {
        let (scheme, port) = match self.kind {
            Kind::Kept | Kind::New => ("http", server.plain),
            Kind::Http2 => ("http", server.h2c),
            Kind::Tls | Kind::TlsHttp2 => ("https", server.tls),
        };
        format!("{scheme}://127.0.0.1:{port}{}", self.path())
    }
}
