//! Listeners of all load balancers together: they are the one balancer's, so that load balancers may
//! share an address, each with certificates of its own.

use std::net::{Ipv4Addr, SocketAddr};

use balancer::{Config, Faults, Listener};

/// A listener that the balancer does not have, or has without one of its certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard {
    /// Its address.
    pub address: String,
    /// Why: field, value, remedy.
    pub why: String,
}

/// The listeners of load balancers, one for each address, and what of them cannot stand together. The
/// first load balancer that names an address says how it is; others add certificates.
pub(crate) fn merge<'a>(
    of: impl Iterator<Item = (&'a str, &'a [Listener])>,
    own_port: u16,
) -> (Vec<Listener>, Vec<Unheard>) {
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, own_port));
    let mut merged: Vec<(&str, Listener)> = Vec::new();
    let mut unheard = Vec::new();
    for (name, listener) in of.flat_map(|(name, all)| all.iter().map(move |one| (name, one))) {
        let mut refuse = |why: String| {
            unheard.push(Unheard {
                address: listener.address.clone(),
                why,
            });
        };
        let address = listener.address.parse::<SocketAddr>();
        if address == Ok(own) {
            // Requests of this process go there, without TLS.
            refuse("address: is the balancer's own; choose another port".to_owned());
            continue;
        }
        let same = |(_, there): &&mut (&str, Listener)| there.address.parse() == address;
        let Some((first, there)) = merged.iter_mut().find(same) else {
            merged.push((name, listener.clone()));
            continue;
        };
        if let Some(field) = difference(there, listener) {
            refuse(format!(
                "{field}: load balancer {first} says otherwise for this address; make them the same, or \
                 choose another port"
            ));
            continue;
        }
        let more = listener.tls.iter().flat_map(|tls| &tls.certificates);
        for pair in more {
            if let Some(tls) = &mut there.tls
                && !tls.certificates.contains(pair)
            {
                tls.certificates.push(pair.clone());
            }
        }
    }
    (
        merged.into_iter().map(|(_, listener)| listener).collect(),
        unheard,
    )
}

/// The first field in which two listeners of one address differ, certificates left out.
fn difference(a: &Listener, b: &Listener) -> Option<&'static str> {
    let version = |l: &Listener| l.tls.as_ref().map(|tls| tls.min_version);
    let fields = [
        ("tls", a.tls.is_some() == b.tls.is_some()),
        ("tls.minVersion", version(a) == version(b)),
        ("proxyProtocol", a.proxy_protocol == b.proxy_protocol),
        ("trusted", a.trusted == b.trusted),
        (
            "redirectToHttps",
            a.redirect_to_https == b.redirect_to_https,
        ),
        (
            "greetingTimeoutMs",
            a.greeting_timeout_ms == b.greeting_timeout_ms,
        ),
    ];
    fields
        .into_iter()
        .find(|(_, same)| !same)
        .map(|(field, _)| field)
}

/// Takes out of a configuration what the balancer said it cannot listen on, so that a file that is
/// missing holds up no deployment; none when it refuses the configuration for something else.
pub(crate) fn without(config: &Config, faults: &Faults) -> Option<(Config, Vec<Unheard>)> {
    let (mut config, mut unheard) = (config.clone(), Vec::new());
    if config.listeners.is_empty() || faults.faults.is_empty() {
        return None;
    }
    // One of an earlier version does not know the field, and understands nothing of the configuration.
    let knows_none = |fault: &String| fault.starts_with("body: ") && fault.contains("`listeners`");
    if faults.faults.iter().any(knows_none) {
        let why =
            "the balancer that runs is of an earlier version and has no listeners; restart it";
        for listener in config.listeners.drain(..) {
            unheard.push(Unheard {
                address: listener.address,
                why: why.to_owned(),
            });
        }
        return Some((config, unheard));
    }
    let mut gone: Vec<(usize, Option<usize>)> = Vec::new();
    for fault in &faults.faults {
        let (listener, rest) = indexed("listeners[", fault)?;
        let certificate = indexed(".tls.certificates[", rest).map(|(certificate, _)| certificate);
        unheard.push(Unheard {
            address: config.listeners.get(listener)?.address.clone(),
            why: rest.trim_start_matches('.').to_owned(),
        });
        gone.push((listener, certificate));
    }
    for (l, listener) in config.listeners.iter_mut().enumerate() {
        if let Some(tls) = &mut listener.tls {
            let mut at = 0..;
            tls.certificates.retain(|_| !gone.contains(&(l, at.next())));
        }
    }
    let mut at = 0..;
    config.listeners.retain(|listener| {
        let whole = at.next().map(|l| (l, None));
        let dark = listener
            .tls
            .as_ref()
            .is_some_and(|tls| tls.certificates.is_empty());
        !dark && !whole.is_some_and(|whole| gone.contains(&whole))
    });
    Some((config, unheard))
}

/// The number behind a word, and what follows its bracket.
fn indexed<'a>(word: &str, text: &'a str) -> Option<(usize, &'a str)> {
    let (number, rest) = text.strip_prefix(word)?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use balancer::{Certificate, ProxyProtocol, Tls, TlsVersion};

    use super::*;

    fn listener(address: &str, certificates: &[&str]) -> Listener {
        let certificates: Vec<_> = certificates
            .iter()
            .map(|name| Certificate {
                certificate: format!("/{name}.pem"),
                key: format!("/{name}.key"),
            })
            .collect();
        let tls = (!certificates.is_empty()).then_some(Tls {
            certificates,
            min_version: TlsVersion::V1_2,
        });
        Listener {
            tls,
            ..Listener::new(address)
        }
    }

    fn merged(of: &[(&str, Vec<Listener>)]) -> (Vec<Listener>, Vec<Unheard>) {
        merge(of.iter().map(|(name, all)| (*name, all.as_slice())), 8080)
    }

    #[test]
    fn load_balancers_share_an_address_with_certificates_of_their_own() {
        let (all, unheard) = merged(&[
            (
                "a",
                vec![
                    listener("127.0.0.1:443", &["a"]),
                    listener("127.0.0.1:80", &[]),
                ],
            ),
            ("b", vec![listener("127.0.0.1:443", &["b", "a"])]),
        ]);
        let expected = [
            listener("127.0.0.1:443", &["a", "b"]),
            listener("127.0.0.1:80", &[]),
        ];
        assert_eq!(
            (all.as_slice(), unheard.as_slice()),
            (&expected[..], &[][..])
        );
    }

    #[test]
    fn what_cannot_stand_together_is_left_out_by_name() {
        let proxied = Listener {
            proxy_protocol: ProxyProtocol::Required,
            ..listener("127.0.0.1:443", &["b"])
        };
        let (all, unheard) = merged(&[
            ("a", vec![listener("127.0.0.1:443", &["a"])]),
            ("b", vec![proxied]),
            ("c", vec![listener("127.0.0.1:443", &[])]),
            ("d", vec![listener("127.0.0.1:8080", &[])]),
        ]);
        assert_eq!(all, [listener("127.0.0.1:443", &["a"])]);
        let why: Vec<_> = unheard
            .iter()
            .map(|u| u.why.split(';').next().unwrap())
            .collect();
        assert_eq!(
            why,
            [
                "proxyProtocol: load balancer a says otherwise for this address",
                "tls: load balancer a says otherwise for this address",
                "address: is the balancer's own",
            ]
        );
    }

    #[test]
    fn what_the_balancer_cannot_have_is_taken_out_and_nothing_else() {
        let config = Config {
            listeners: vec![
                listener("127.0.0.1:443", &["a", "b"]),
                listener("127.0.0.1:444", &["c"]),
                listener("127.0.0.1:80", &[]),
                listener("127.0.0.1:81", &[]),
            ],
            ..Config::default()
        };
        let faults = |all: &[&str]| Faults {
            faults: all.iter().map(|&fault| fault.to_owned()).collect(),
        };
        let (left, unheard) = without(
            &config,
            &faults(&[
                "listeners[0].tls.certificates[1].key: \"/b.key\": torn",
                "listeners[1].tls.certificates[0].certificate: \"/c.pem\": missing",
                "listeners[3].address: \"127.0.0.1:81\" cannot be listened on: in use",
            ]),
        )
        .unwrap();
        assert_eq!(
            left.listeners,
            [
                listener("127.0.0.1:443", &["a"]),
                listener("127.0.0.1:80", &[])
            ]
        );
        let told: Vec<_> = unheard
            .iter()
            .map(|u| (u.address.as_str(), u.why.as_str()))
            .collect();
        assert_eq!(
            told[0],
            ("127.0.0.1:443", "tls.certificates[1].key: \"/b.key\": torn")
        );
        assert_eq!((told[1].0, told[2].0), ("127.0.0.1:444", "127.0.0.1:81"));

        let (left, unheard) = without(
            &config,
            &faults(&["body: unknown field `listeners`, expected one of"]),
        )
        .unwrap();
        assert_eq!((left.listeners.len(), unheard.len()), (0, 4));
        for other in [
            "routes[0].path: x",
            "listeners[9].address: x",
            "listeners: 33, more than 32",
        ] {
            assert_eq!(without(&config, &faults(&[other])), None, "{other}");
        }
        assert_eq!(
            without(&Config::default(), &faults(&["body: `listeners`"])),
            None
        );
    }
}
