//! What an instance's process is started with.

use std::collections::BTreeMap;

use super::document::{Drain, Instance, ServerGroup};
use super::{Error, Local, UnpackedImage};

/// What a variable begins with whose value is a secret of the account.
const SECRET: &str = "secret:";

/// Tells a worker that it will be let take work, and need not take any before.
const PAUSED: &str = "GENNAKER_PAUSED";

/// Everything a shim needs to start a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Program and arguments, as the image names them.
    pub command: Vec<String>,
    /// Variables.
    pub environment: BTreeMap<String, String>,
    /// The image.
    pub image: UnpackedImage,
    /// From SIGTERM to SIGKILL when the stop order does not say, in ms.
    pub grace_ms: u64,
}

impl Local {
    /// What an instance is started with: the image's variables, over them the
    /// account's, the server group's, and `PORT`.
    ///
    /// # Errors
    /// When a secret cannot be read or the image names no program.
    pub(crate) fn launch(
        &self,
        instance: &Instance,
        group: &ServerGroup,
        image: &UnpackedImage,
    ) -> Result<Launch, Error> {
        let command = image.command()?;
        let mut environment: BTreeMap<String, String> = image.env.iter().cloned().collect();
        environment.extend(self.environment(group)?);
        environment.insert("PORT".to_owned(), instance.port.to_string());
        for (name, value) in [
            ("GENNAKER_INSTANCE", &instance.id),
            ("GENNAKER_SERVER_GROUP", &instance.group),
            ("GENNAKER_HOST_SLOT", &instance.slot),
        ] {
            environment.insert(name.to_owned(), value.clone());
        }
        if group.drain.as_ref().is_some_and(Drain::pauses) {
            environment.insert(PAUSED.to_owned(), "true".to_owned());
        }
        Ok(Launch {
            command,
            environment,
            image: image.clone(),
            grace_ms: group.timing.grace_ms.unwrap_or_else(|| {
                u64::try_from(self.config.local.grace.0.as_millis()).unwrap_or(u64::MAX)
            }),
        })
    }

    /// The variables of a group: the account's, and over them its own.
    ///
    /// # Errors
    /// When a secret cannot be read.
    pub(crate) fn environment(
        &self,
        group: &ServerGroup,
    ) -> Result<BTreeMap<String, String>, Error> {
        let owner = format!("server group {}", group.name);
        self.variables(&group.account, &owner, &group.environment)
    }

    /// The account's variables, and over them these, with the values of secrets.
    ///
    /// # Errors
    /// When a secret cannot be read; `owner` is named then.
    pub(crate) fn variables(
        &self,
        account: &str,
        owner: &str,
        own: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let known = self.config.account(account);
        let given = known.map(|a| &a.environment).into_iter().flatten();
        let value = |(name, value): (&String, &String)| {
            let value = match value.strip_prefix(SECRET) {
                None => value.clone(),
                Some(secret) => self
                    .secret(account, secret)
                    .map_err(|reason| Error::Secret {
                        variable: name.clone(),
                        owner: owner.to_owned(),
                        reason,
                    })?,
            };
            Ok((name.clone(), value))
        };
        given.chain(own).map(value).collect()
    }

    /// The values of the secrets that such variables refer to, as far as they can be read.
    pub(crate) fn secrets_of(&self, account: &str, own: &BTreeMap<String, String>) -> Vec<String> {
        let known = self.config.account(account);
        let given = known.map(|a| &a.environment).into_iter().flatten();
        given
            .chain(own)
            .filter_map(|(_, value)| value.strip_prefix(SECRET))
            .filter_map(|name| self.secret(account, name).ok())
            .collect()
    }

    fn secret(&self, account: &str, name: &str) -> Result<String, String> {
        let known = self.config.account(account);
        let reference = known.and_then(|a| a.secrets.get(name));
        let reference = reference.ok_or_else(|| {
            format!(
                "account {account} has no secret \"{name}\"; declare it in \
                 accounts.{account}.secrets"
            )
        })?;
        reference.read().map_err(|e| e.to_string())
    }
}
