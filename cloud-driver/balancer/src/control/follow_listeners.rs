//! Bringing listeners in line with the configuration and certificates with their files.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use balancer::{Certificate, Config};
use tokio::sync::oneshot;

use super::certificates::{Asked, Seen, look};
use super::listeners::{Open, Prepared, pairs, wanted};
use super::plane::{Plane, now_ms};
use crate::fault::Fault;
use crate::proxy::worker::Command;

/// How often files of certificates are looked at, and sockets that could not be had are tried again.
const EVERY: Duration = Duration::from_secs(2);

/// How long reading certificates may take, and closing a socket.
const LIMIT: Duration = Duration::from_secs(5);

/// How long connections that are on their way have before a socket closes: a few round trips.
const SETTLE: Duration = Duration::from_millis(250);

impl Plane {
    /// What files of certificates hold; none when reading them takes too long.
    async fn look_at(&self, asked: Asked) -> Option<Vec<(Certificate, Seen)>> {
        if asked.is_empty() {
            return Some(Vec::new());
        }
        // One at a time, to its end: files that cannot be read must not use up all threads.
        let turn = tokio::time::timeout(LIMIT, self.looking.clone().lock_owned());
        let turn = turn.await.ok()?;
        let looked = tokio::task::spawn_blocking(move || {
            let seen = look(asked);
            drop(turn);
            seen
        });
        tokio::time::timeout(LIMIT, looked).await.ok()?.ok()
    }

    /// What a configuration needs beside what is there.
    ///
    /// # Errors
    /// What of it cannot be had, by path; only of what the configuration in force does not have, so
    /// that what broke meanwhile keeps nobody from changing something else.
    pub(crate) async fn prepare_listeners(&self, config: &Config) -> Result<Prepared, Vec<String>> {
        let asked = {
            let listeners = self.listeners.borrow();
            let named = pairs(config).map(|(_, pair)| pair);
            listeners.certificates.asked(named)
        };
        let Some(seen) = self.look_at(asked).await else {
            let why =
                format!("files cannot be read within {LIMIT:?}; see whether their disk answers");
            return Err(vec![format!("listeners: certificates: {why}")]);
        };
        let inner = self.inner.borrow();
        let listeners = self.listeners.borrow();
        let mut faults = Vec::new();
        let in_force: BTreeSet<_> = pairs(&inner.config).map(|(_, pair)| pair).collect();
        for (path, pair) in pairs(config) {
            let seen = seen.iter().find(|(seen, _)| seen == pair);
            let error = seen.and_then(|(_, seen)| seen.error());
            if let Some(error) = error.filter(|_| !in_force.contains(pair)) {
                faults.push(format!("{path}.{error}"));
            }
        }
        if !faults.is_empty() {
            // Nothing is bound for a configuration that is refused anyway.
            return Err(faults);
        }
        let (sockets, unbound) = listeners.bind(config);
        let (wanted, in_force) = (wanted(config), wanted(&inner.config));
        for (address, why) in &unbound {
            if let Some((l, _)) = wanted
                .get(address)
                .filter(|_| !in_force.contains_key(address))
            {
                faults.push(format!(
                    "listeners[{l}].address: \"{address}\" cannot be listened on: {why}; choose \
                     another one, or free it"
                ));
            }
        }
        if faults.is_empty() {
            Ok(Prepared {
                seen,
                sockets,
                unbound,
            })
        } else {
            Err(faults)
        }
    }

    /// Listens as the configuration in force says: new sockets accept, then those that it does not
    /// want any more close, without losing who waits in their queues.
    pub(crate) async fn install_listeners(&self, prepared: Prepared) {
        let new: Vec<_> = prepared
            .sockets
            .iter()
            .map(|open| open.shared.address)
            .collect();
        let removed = {
            let inner = self.inner.borrow();
            let mut listeners = self.listeners.borrow_mut();
            listeners.install(prepared, &inner.config, now_ms())
        };
        self.accept_at(|open| new.contains(&open.shared.address));
        self.close(removed).await;
    }

    /// At the start: listens as the configuration in force says, as far as it can be done. Nobody
    /// accepts yet. Certificates that are in it and cannot be used, with the reason.
    pub(crate) async fn restore_certificates(&self) -> BTreeMap<String, String> {
        self.look_at_certificates(true).await;
        let inner = self.inner.borrow();
        let mut listeners = self.listeners.borrow_mut();
        let (sockets, unbound) = listeners.bind(&inner.config);
        let prepared = Prepared {
            sockets,
            unbound,
            ..Prepared::default()
        };
        // Of a predecessor whose configuration is not known here: none of it can be greeted rightly.
        drop(listeners.install(prepared, &inner.config, now_ms()));
        let states = pairs(&inner.config).map(|(_, pair)| {
            let state = listeners.certificates.state(pair, now_ms());
            let why = state
                .fault
                .unwrap_or_else(|| "its files cannot be read in time".to_owned());
            (state.certificate, why, listeners.certificates.has(pair))
        });
        let unusable = states.filter(|(_, _, usable)| !usable);
        unusable
            .map(|(certificate, why, _)| (certificate, why))
            .collect()
    }

    /// Lets all workers accept at some of the sockets.
    pub(crate) fn accept_at(&self, these: impl Fn(&Open) -> bool) {
        let listeners = self.listeners.borrow();
        for worker in &self.workers {
            let mut own = Vec::new();
            for open in listeners.open().iter().filter(|open| these(open)) {
                match open.socket.try_clone() {
                    Ok(socket) => own.push((socket, open.shared.clone())),
                    Err(error) => {
                        eprintln!("a worker cannot accept at {}: {error}", open.shared.address);
                    }
                }
            }
            if !own.is_empty() {
                // A worker that has ended ends the process.
                let _ended = worker.commands.send(Command::Accept(own));
            }
        }
    }

    async fn close(&self, removed: Vec<Open>) {
        if removed.is_empty() {
            return;
        }
        let mut turned_away = false;
        for open in removed.iter().filter(|_| !Fault::CloseAtOnce.is_on()) {
            turned_away |= open.turn_away().is_ok();
        }
        if turned_away {
            tokio::time::sleep(SETTLE).await;
        }
        let addresses: Vec<_> = removed.iter().map(|open| open.shared.address).collect();
        // The workers are the last to have them, and accept what waits before they let go.
        drop(removed);
        let mut waiting = Vec::new();
        for worker in &self.workers {
            for address in &addresses {
                let (confirm, confirmed) = oneshot::channel();
                if worker
                    .commands
                    .send(Command::Close(*address, confirm))
                    .is_ok()
                {
                    waiting.push(confirmed);
                }
            }
        }
        for confirmed in waiting {
            // One that does not answer closes it when it comes to it.
            let _late = tokio::time::timeout(LIMIT, confirmed).await;
        }
    }

    /// Looks at certificates and tries missing sockets again, until the process leaves.
    pub(crate) async fn follow_listeners(self: Rc<Self>) {
        loop {
            let told = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                () = self.reload.notified() => true,
            };
            if self.leaving.get() {
                return;
            }
            self.look_at_certificates(told).await;
            // Whoever changes the configuration meanwhile binds by itself.
            if let Ok(_one) = self.writing.try_lock()
                && !self.leaving.get()
            {
                self.bind_missing();
            }
        }
    }

    /// Takes certificates over that have changed; `all`: reads also those that have not.
    async fn look_at_certificates(&self, all: bool) {
        let mut asked = {
            let (inner, listeners) = (self.inner.borrow(), self.listeners.borrow());
            let named = pairs(&inner.config).map(|(_, pair)| pair);
            listeners.certificates.asked(named)
        };
        if all {
            asked.iter_mut().for_each(|(_, seen)| *seen = None);
        }
        let Some(mut seen) = self.look_at(asked).await else {
            return;
        };
        let inner = self.inner.borrow();
        let mut listeners = self.listeners.borrow_mut();
        // Another configuration may be in force by now.
        seen.retain(|(pair, _)| pairs(&inner.config).any(|(_, named)| named == pair));
        listeners.certificates.take(seen, now_ms());
        listeners.greet(&inner.config);
    }

    fn bind_missing(&self) {
        let new: Vec<_> = {
            let inner = self.inner.borrow();
            let mut listeners = self.listeners.borrow_mut();
            let (sockets, unbound) = listeners.bind(&inner.config);
            let new = sockets.iter().map(|open| open.shared.address).collect();
            let prepared = Prepared {
                sockets,
                unbound,
                ..Prepared::default()
            };
            // What is not wanted went when the configuration came.
            drop(listeners.install(prepared, &inner.config, now_ms()));
            new
        };
        self.accept_at(|open| new.contains(&open.shared.address));
    }
}
