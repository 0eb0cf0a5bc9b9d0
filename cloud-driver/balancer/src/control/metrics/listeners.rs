//! Figures of listeners and certificates.

use super::figures::{Figures, Kind};
use crate::control::plane::Plane;
use crate::proxy::listener::Greetings;
use crate::proxy::meter::Counter;

impl Plane {
    pub(super) fn listeners(&self, figures: &mut Figures) {
        let sum = |of: fn(&Greetings) -> &Counter| -> u64 {
            let each = self.workers.iter();
            each.map(|worker| of(&worker.totals.greetings).get()).sum()
        };
        let name = "balancer_tls_handshakes_total";
        figures.family(
            name,
            Kind::Counter,
            "TLS handshakes of clients, by how they ended.",
        );
        for (result, value) in [
            ("full", sum(|g| &g.full)),
            ("resumed", sum(|g| &g.resumed)),
            ("failed", sum(|g| &g.failed)),
            ("timeout", sum(|g| &g.slow)),
            ("plain_http", sum(|g| &g.plain)),
        ] {
            figures.sample(&[("result", result)], value);
        }
        let name = "balancer_proxy_protocol_total";
        figures.family(
            name,
            Kind::Counter,
            "Connections where PROXY headers are read, by what came.",
        );
        for (result, value) in [
            ("client", sum(|g| &g.named)),
            ("sender", sum(|g| &g.unnamed)),
            ("absent", sum(|g| &g.absent)),
            ("missing", sum(|g| &g.missing)),
            ("malformed", sum(|g| &g.malformed)),
            ("untrusted", sum(|g| &g.untrusted)),
            ("timeout", sum(|g| &g.late)),
        ] {
            figures.sample(&[("result", result)], value);
        }
        self.certificate_metrics(figures);
    }

    fn certificate_metrics(&self, figures: &mut Figures) {
        let listening = self.listening();
        let name = "balancer_listener_up";
        figures.family(
            name,
            Kind::Gauge,
            "Whether clients can be greeted at an address.",
        );
        for one in &listening {
            let labels = [("listener", one.address.as_str())];
            figures.sample(&labels, u8::from(one.fault.is_none()));
        }
        let each = || {
            let pairs = listening
                .iter()
                .flat_map(|one| one.certificates.iter().map(move |c| (one, c)));
            pairs.map(|(one, state)| {
                let labels = [
                    ("listener", one.address.as_str()),
                    ("certificate", state.certificate.as_str()),
                ];
                (labels, state)
            })
        };
        let name = "balancer_certificate_not_after_seconds";
        figures.family(
            name,
            Kind::Gauge,
            "End of a certificate in use, seconds since 1970.",
        );
        for (labels, state) in each() {
            if let Some(ms) = state.not_after_ms {
                figures.sample(&labels, ms.div_euclid(1_000));
            }
        }
        let name = "balancer_certificate_fault";
        figures.family(
            name,
            Kind::Gauge,
            "Whether a certificate has expired or its files cannot be used.",
        );
        for (labels, state) in each() {
            figures.sample(&labels, u8::from(state.fault.is_some()));
        }
    }
}
