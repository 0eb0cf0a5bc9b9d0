//! Faults that the gate must find: each takes one rule away, in a build with the feature `controls`
//! and only when `GENNAKER_CONTROL` names it. In a product build all of them are off, for good.

/// A rule taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `drain-at-once`: an instance has drained as soon as it is told to.
    DrainAtOnce,
    /// `reuse-post`: requests that must not be repeated take kept connections.
    ReusePost,
    /// `no-second-look`: a request does not look whether its instance began to drain meanwhile.
    NoSecondLook,
    /// `close-idle`: a leaving process closes connections under its clients.
    CloseIdle,
    /// `forget-history`: what was kept on disk of the last hour is not read.
    ForgetHistory,
    /// `keep-rest`: what a process still counts after it handed over stays with it.
    KeepRest,
    /// `no-wake`: who waits for an instance is not told that one came in.
    NoWake,
    /// `stick-always`: a client goes to its instance whether that serves or not.
    StickAlways,
    /// `no-floor`: instances that requests fail at are left out below their group's floor.
    NoFloor,
    /// `reuse-port`: a successor listens by itself instead of taking the socket over.
    ReusePort,
    /// `lenient-heads`: heads that can be read in two ways are passed on.
    LenientHeads,
    /// `close-at-once`: a listener that goes is closed whoever waits in its queue.
    CloseAtOnce,
    /// `trust-all`: everybody's PROXY header is believed.
    TrustAll,
    /// `drop-broken`: a certificate that cannot be used takes the place of the one before.
    DropBroken,
    /// `one-handshake`: handshakes are made one after the other.
    OneHandshake,
}

impl Fault {
    #[cfg(feature = "controls")]
    fn name(self) -> &'static str {
        match self {
            Self::DrainAtOnce => "drain-at-once",
            Self::ReusePost => "reuse-post",
            Self::NoSecondLook => "no-second-look",
            Self::CloseIdle => "close-idle",
            Self::ForgetHistory => "forget-history",
            Self::KeepRest => "keep-rest",
            Self::NoWake => "no-wake",
            Self::StickAlways => "stick-always",
            Self::NoFloor => "no-floor",
            Self::ReusePort => "reuse-port",
            Self::LenientHeads => "lenient-heads",
            Self::CloseAtOnce => "close-at-once",
            Self::TrustAll => "trust-all",
            Self::DropBroken => "drop-broken",
            Self::OneHandshake => "one-handshake",
        }
    }

    /// Whether this rule is taken away in this process.
    #[cfg(feature = "controls")]
    pub(crate) fn is_on(self) -> bool {
        use std::sync::OnceLock;
        static CHOSEN: OnceLock<String> = OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| std::env::var("GENNAKER_CONTROL").unwrap_or_default());
        chosen.split(',').any(|name| name == self.name())
    }

    /// Whether this rule is taken away in this process.
    #[cfg(not(feature = "controls"))]
    #[allow(clippy::unused_self)]
    pub(crate) const fn is_on(self) -> bool {
        false
    }
}
