//! Image registries: accounts, their version 2 API, and the gRPC service over them.
//!
//! Owns the credentials of registries and is the only part that asks them. It
//! must never decide what to deploy, nor hand a credential to anybody but the
//! registry itself. Its truth is the configuration and what registries answer
//! now: nothing is cached but tokens.

mod account;
mod api;
mod auth;
mod client;
mod error;
mod manifest;
pub mod reference;
mod transport;

use std::sync::Arc;

pub use account::Account;
pub use api::Api;
pub use client::Client;
pub use error::Error;
pub use manifest::{Blob, Manifest};
pub use reference::Reference;

/// All registry accounts, each with its client.
#[derive(Debug, Clone)]
pub struct Registries {
    entries: Arc<Vec<(Account, Client)>>,
}

impl Registries {
    /// Checks the accounts and makes their clients.
    ///
    /// # Errors
    /// The first account that does not fit: its address, its credentials, or a
    /// name that another one has.
    pub fn new(accounts: Vec<Account>) -> Result<Self, Error> {
        let http = runtime::egress::operator_client().map_err(|e| Error::Transport {
            registry: "of any account".to_owned(),
            reason: e.to_string(),
        })?;
        let mut entries: Vec<(Account, Client)> = Vec::new();
        for account in accounts {
            if entries.iter().any(|(known, _)| known.name == account.name) {
                return Err(Error::Account {
                    account: account.name,
                    reason: "another account has this name; choose another".to_owned(),
                });
            }
            let client = Client::new(&account, http.clone())?;
            entries.push((account, client));
        }
        Ok(Self {
            entries: Arc::new(entries),
        })
    }

    /// The accounts, in the order of the configuration.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.entries.iter().map(|(account, _)| account)
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`Error::UnknownAccount`], which lists those that exist.
    pub fn named(&self, account: &str) -> Result<(&Account, &Client), Error> {
        self.entries
            .iter()
            .find(|(known, _)| known.name == account)
            .map(|(account, client)| (account, client))
            .ok_or_else(|| Error::UnknownAccount {
                account: account.chars().take(100).collect(),
                known: self.list(|a| a.name.as_str()),
            })
    }

    /// The account whose registry an image is in.
    ///
    /// # Errors
    /// [`Error::NoAccount`], which lists the addresses that are covered.
    pub fn covering(&self, reference: &Reference) -> Result<(&Account, &Client), Error> {
        self.entries
            .iter()
            .find(|(account, _)| account.covers(reference))
            .map(|(account, client)| (account, client))
            .ok_or_else(|| Error::NoAccount {
                reference: reference.to_string(),
                registry: reference.registry.clone(),
                known: self.list(Account::registry),
            })
    }

    fn list(&self, name: impl Fn(&Account) -> &str) -> String {
        if self.entries.is_empty() {
            return "none".to_owned();
        }
        let names: Vec<_> = self.entries.iter().map(|(a, _)| name(a)).collect();
        names.join(", ")
    }
}
