//! The figures of listeners and certificates as Prometheus' text.

use super::metrics::Text;
use super::plane::Plane;
use crate::proxy::listener::Greetings;
use crate::proxy::meter::Counter;

impl Plane {
    pub(super) fn listener_metrics(&self, text: &mut Text) {
        let sum = |of: fn(&Greetings) -> &Counter| -> u64 {
            let each = self.workers.iter();
            each.map(|worker| of(&worker.totals.greetings).get()).sum()
        };
        let name = "balancer_tls_handshakes_total";
        text.family(
            name,
            "counter",
            "TLS handshakes of clients, by how they ended.",
        );
        for (result, value) in [
            ("full", sum(|g| &g.full)),
            ("resumed", sum(|g| &g.resumed)),
            ("failed", sum(|g| &g.failed)),
            ("timeout", sum(|g| &g.slow)),
            ("plain_http", sum(|g| &g.plain)),
        ] {
            text.sample(name, &[("result", result)], value);
        }
        let name = "balancer_proxy_protocol_total";
        text.family(
            name,
            "counter",
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
            text.sample(name, &[("result", result)], value);
        }
        self.certificate_metrics(text);
    }

    fn certificate_metrics(&self, text: &mut Text) {
        let listening = self.listening();
        let name = "balancer_listener_up";
        text.family(
            name,
            "gauge",
            "Whether clients can be greeted at an address.",
        );
        for one in &listening {
            let labels = [("listener", one.address.as_str())];
            text.sample(name, &labels, u8::from(one.fault.is_none()));
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
        text.family(
            name,
            "gauge",
            "End of a certificate in use, seconds since 1970.",
        );
        for (labels, state) in each() {
            if let Some(ms) = state.not_after_ms {
                text.sample(name, &labels, ms.div_euclid(1_000));
            }
        }
        let name = "balancer_certificate_fault";
        text.family(
            name,
            "gauge",
            "Whether a certificate has expired or its files cannot be used.",
        );
        for (labels, state) in each() {
            text.sample(name, &labels, u8::from(state.fault.is_some()));
        }
    }
}
