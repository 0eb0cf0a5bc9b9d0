//! The limits of one rollout: times, floor, what to do with what does not end.

use serde::{Deserialize, Serialize};

use crate::member::Role;

/// What happens to requests still in flight when the drain deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnDrainTimeout {
    /// It is told and waited for all the same; tunnels alone are cut.
    Wait,
    /// The rollout fails and the instance stays up; tunnels alone are cut.
    Fail,
    /// What is left is cut, counted and reported.
    Cut,
}

/// How long a rollout waits for what, in milliseconds, and what it never undercuts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Instances that must be observed serving at each instant.
    pub floor: usize,
    /// How long instances stay ready without a failed probe before they get traffic.
    pub settle_ms: u64,
    /// From spawn to ready, and from role `serve` to the first request served.
    pub start_timeout_ms: u64,
    /// How long the image may take to be on disk.
    pub prepare_timeout_ms: u64,
    /// How long requests in flight may take to end.
    pub drain_timeout_ms: u64,
    /// What then.
    pub on_drain_timeout: OnDrainTimeout,
    /// From SIGTERM to SIGKILL.
    pub grace_ms: u64,
    /// How long to wait for capacity above the floor before a removal, and for
    /// weights to take effect.
    pub capacity_timeout_ms: u64,
    /// How long an instance may serve without a request before one is sent to it.
    pub prove_after_ms: u64,
    /// Instances take work as soon as they run, whatever their role: whoever is taken away is
    /// drained first.
    #[serde(default)]
    pub eager: bool,
    /// Whoever was told to drain takes no work again: on the way back another one is started in
    /// its slot.
    #[serde(default)]
    pub drain_is_final: bool,
    /// Stop instances without draining them: a fault the gate must find.
    #[cfg(feature = "controls")]
    #[serde(default)]
    pub drain_off: bool,
    /// Remove without having seen the replacement serve: a fault the gate must find.
    #[cfg(feature = "controls")]
    #[serde(default)]
    pub observe_off: bool,
    /// Stop and start in the slot without telling the router first, as a
    /// recreated container does: a fault the gate must find.
    #[cfg(feature = "controls")]
    #[serde(default)]
    pub exchange: bool,
    /// Use the router's answers in whatever order they come: a fault the
    /// simulator must find.
    #[cfg(feature = "controls")]
    #[serde(default)]
    pub horizon_off: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            floor: 0,
            settle_ms: 2_000,
            start_timeout_ms: 60_000,
            prepare_timeout_ms: 600_000,
            drain_timeout_ms: 60_000,
            on_drain_timeout: OnDrainTimeout::Fail,
            grace_ms: 30_000,
            capacity_timeout_ms: 60_000,
            prove_after_ms: 200,
            eager: false,
            drain_is_final: false,
            #[cfg(feature = "controls")]
            drain_off: false,
            #[cfg(feature = "controls")]
            observe_off: false,
            #[cfg(feature = "controls")]
            exchange: false,
            #[cfg(feature = "controls")]
            horizon_off: false,
        }
    }
}

impl Settings {
    /// How long past the grace period an exit may take to be seen.
    pub(crate) const EXIT_MARGIN_MS: u64 = 60_000;

    /// Whether an instance of this role may have work to end.
    pub(crate) fn works(&self, role: Role) -> bool {
        self.eager || matches!(role, Role::Serve | Role::Drain)
    }

    /// Whether removal waits for what is in flight; always, but in a control.
    pub(crate) fn drains(&self) -> bool {
        #[cfg(feature = "controls")]
        return !self.drain_off;
        #[cfg(not(feature = "controls"))]
        true
    }

    /// Whether a move waits for what it is to bring about; always, but in a control.
    pub(crate) fn observes(&self) -> bool {
        #[cfg(feature = "controls")]
        return !self.observe_off && !self.exchange;
        #[cfg(not(feature = "controls"))]
        true
    }

    /// Whether the router is left out of a replacement; only in a control.
    pub(crate) fn exchanges(&self) -> bool {
        #[cfg(feature = "controls")]
        return self.exchange;
        #[cfg(not(feature = "controls"))]
        false
    }

    /// Whether answers older than one already used are left out; always, but in a control.
    pub(crate) fn orders_answers(&self) -> bool {
        #[cfg(feature = "controls")]
        return !self.horizon_off;
        #[cfg(not(feature = "controls"))]
        true
    }
}
