//! Name and password, checked against a file of Argon2 hashes.
//! Source: `gate: BasicAuthConfig`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use authorization::Roles;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::guess::Guesses;
use super::{How, User, is_name, unauthorized};
use crate::error::Error;

/// The largest users file, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// The longest password, in bytes.
const MAX_PASSWORD: usize = 1024;
/// Hashes computed at the same time: each takes a processor and 19 MiB.
const HASHING: usize = 2;
/// Proven passwords remembered, so that not every request computes a hash.
const REMEMBERED: usize = 1024;

/// Why no entry of a users file can be made.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The name would break the file or mean something else.
    #[error(
        "name {0:?} cannot be a user's; use letters, digits and . _ - @, and not \"anonymous\""
    )]
    Name(String),
    /// A role would break the file.
    #[error("role {0:?} cannot be a role's name; leave out commas, colons and line breaks")]
    Role(String),
    /// The password is empty or too long.
    #[error("password has {0} bytes; use 1 to 1024")]
    Password(usize),
    /// The hash function refused.
    #[error("password cannot be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// A line of the users file, without its line break.
///
/// # Errors
/// When a part would break the file.
pub fn user_entry(name: &str, password: &str, roles: &[String]) -> Result<String, EntryError> {
    if !is_name(name) {
        return Err(EntryError::Name(name.to_owned()));
    }
    let breaks = |role: &&String| role.trim().is_empty() || role.contains([',', ':', '\n', '\r']);
    if let Some(role) = roles.iter().find(breaks) {
        return Err(EntryError::Role(role.clone()));
    }
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(EntryError::Password(password.len()));
    }
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(EntryError::Hash)?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(EntryError::Hash)?;
    Ok(format!("{name}:{hash}:{}", roles.join(",")))
}

/// The name and password of an `Authorization: Basic`, without the scheme.
///
/// # Errors
/// 401 when it is none.
pub(super) fn credentials(encoded: &str) -> Result<(String, String), Error> {
    let wrong = || unauthorized("header Authorization holds no name and password in Base64");
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| wrong())?;
    let text = String::from_utf8(decoded).map_err(|_| wrong())?;
    let (name, password) = text.split_once(':').ok_or_else(wrong)?;
    Ok((name.to_owned(), password.to_owned()))
}

/// Hash and roles of a user's line.
fn entry<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    text.lines().find_map(|line| {
        let mut parts = line.trim().splitn(3, ':');
        let found = parts.next()? == name;
        found.then(|| {
            let hash = parts.next().unwrap_or_default();
            (hash, parts.next().unwrap_or_default())
        })
    })
}

/// The names and roles of all lines.
pub(super) fn entries(text: &str) -> impl Iterator<Item = (&str, Roles)> {
    text.lines().filter_map(|line| {
        let mut parts = line.trim().splitn(3, ':');
        let name = parts.next().filter(|name| !name.is_empty())?;
        Some((name, listed(parts.nth(1).unwrap_or_default())))
    })
}

fn bound(hash: &str) -> String {
    hex::encode(Sha256::digest(hash.as_bytes()))
}

fn listed(roles: &str) -> Roles {
    roles.split(',').collect()
}

/// The users of a file.
#[derive(Debug)]
pub(super) struct Users {
    file: PathBuf,
    /// Keeps what is remembered from being of use elsewhere.
    key: [u8; 32],
    proven: Mutex<HashSet<[u8; 32]>>,
    guesses: Mutex<Guesses>,
    hashing: Arc<Semaphore>,
}

impl Users {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            file,
            key: rand::random(),
            proven: Mutex::default(),
            guesses: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHING)),
        }
    }

    /// The user, if the password is the user's, and what a session that begins with it is bound to.
    ///
    /// # Errors
    /// 401 when it is not, 429 when too many were wrong, 503 when the file cannot be read.
    pub(super) async fn prove(
        &self,
        name: &str,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<(User, String), Error> {
        let refused = || unauthorized("name or password is wrong");
        if !is_name(name) || password.len() > MAX_PASSWORD {
            return Err(refused());
        }
        let text = self.read().await?;
        let entry = entry(&text, name);
        // Whether a name exists must not show in how long the answer takes.
        let (hash, roles) = entry.unwrap_or((NOBODYS, ""));
        let right = self.is_right((name, from), hash, password).await?;
        if !right || entry.is_none() {
            return Err(refused());
        }
        let user = User {
            name: name.to_owned(),
            roles: listed(roles),
            scope: None,
            how: How::Password,
        };
        Ok((user, bound(hash)))
    }

    /// The roles of a user now, if the entry is still the one that a session is bound to: a changed
    /// password ends it.
    ///
    /// # Errors
    /// 503 when the file cannot be read.
    pub(super) async fn still(&self, name: &str, to: &str) -> Result<Option<Roles>, Error> {
        let text = self.read().await?;
        let entry = entry(&text, name).filter(|(hash, _)| bound(hash) == to);
        Ok(entry.map(|(_, roles)| listed(roles)))
    }

    /// The roles of a user now; none if the file does not list the user.
    ///
    /// # Errors
    /// 503 when the file cannot be read.
    pub(super) async fn roles(&self, name: &str) -> Result<Option<Roles>, Error> {
        let text = self.read().await?;
        Ok(entry(&text, name).map(|(_, roles)| listed(roles)))
    }

    /// The text of the file.
    ///
    /// # Errors
    /// 503 when it cannot be read.
    pub(super) async fn read(&self) -> Result<String, Error> {
        let read = async {
            let file = tokio::fs::File::open(&self.file).await?;
            let mut text = String::new();
            file.take(MAX_FILE).read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        };
        read.await.map_err(|error| {
            tracing::error!(%error, "gateway.authentication.users-file cannot be read");
            unavailable()
        })
    }

    /// `of` are the name and where the request comes from.
    async fn is_right(
        &self,
        of: (&str, Option<IpAddr>),
        hash: &str,
        password: &str,
    ) -> Result<bool, Error> {
        // The hash is part of what is remembered, so that a changed entry is proven anew, and the place is, so
        // that nobody elsewhere can try what was right here.
        let mut digest = Sha256::new();
        let place = of.1.map(|from| from.to_string()).unwrap_or_default();
        for part in [hash, place.as_str(), password] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.update(self.key);
        let seen: [u8; 32] = digest.finalize().into();
        let proven = || self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        let guesses = || self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |wait| Error::too_many("passwords for this name were wrong", wait);
        let now = Instant::now();
        let wait = guesses().wait(of.0, of.1, now);
        let may_look = wait.is_none() || guesses().look(of.0, of.1, now);
        if may_look && proven().contains(&seen) {
            return Ok(true);
        }
        if let Some(wait) = wait {
            return Err(waits(wait));
        }
        let permit = Arc::clone(&self.hashing).acquire_owned().await;
        let permit = permit.map_err(|_| unavailable())?;
        // Several requests of one page come at the same time; the first of them has proven it.
        if proven().contains(&seen) {
            return Ok(true);
        }
        {
            let (mut guesses, now) = (guesses(), Instant::now());
            if let Some(wait) = guesses.wait(of.0, of.1, now) {
                return Err(waits(wait));
            }
            guesses.begin(of.0, of.1, now);
        }
        let (hash, password) = (hash.to_owned(), password.to_owned());
        let right = tokio::task::spawn_blocking(move || {
            let _held = permit;
            PasswordHash::new(&hash).is_ok_and(|hash| {
                let argon2 = Argon2::default();
                argon2.verify_password(password.as_bytes(), &hash).is_ok()
            })
        });
        let right = right.await.map_err(|_| unavailable())?;
        if right {
            guesses().right(of.0, of.1);
            let mut proven = proven();
            if proven.len() >= REMEMBERED {
                proven.clear();
            }
            proven.insert(seen);
        }
        Ok(right)
    }
}

/// A hash in the usual form that no password has.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn unavailable() -> Error {
    Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "who you are cannot be checked now; an operator finds the reason in the log",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_the_file_is_refused() {
        let roles =
            |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };
        let entry = user_entry("ann", "secret", &roles(&["dev", "ops"])).unwrap();
        assert!(
            entry.starts_with("ann:$argon2id$") && entry.ends_with(":dev,ops"),
            "{entry}"
        );
        for name in ["", "a:b", "anonymous", "a\nb", "a b"] {
            assert!(
                matches!(user_entry(name, "p", &[]), Err(EntryError::Name(_))),
                "{name:?}"
            );
        }
        assert!(matches!(
            user_entry("a", "p", &roles(&["x,y"])),
            Err(EntryError::Role(_))
        ));
        assert!(matches!(
            user_entry("a", "", &[]),
            Err(EntryError::Password(0))
        ));
    }

    #[tokio::test]
    async fn a_password_proves_its_user_and_a_change_of_the_file_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let line =
            |password: &str, role: &str| user_entry("ann", password, &[role.to_owned()]).unwrap();
        std::fs::write(&file, line("one", "Dev")).unwrap();
        let users = Users::new(file.clone());
        let (ann, _) = users.prove("ann", "one", None).await.unwrap();
        assert_eq!(ann.roles.iter().collect::<Vec<_>>(), ["dev"]);
        assert!(users.prove("ann", "two", None).await.is_err());
        assert!(users.prove("bob", "one", None).await.is_err());
        std::fs::write(&file, line("two", "ops")).unwrap();
        assert!(users.prove("ann", "one", None).await.is_err());
        assert!(users.prove("ann", "two", None).await.is_ok());
        std::fs::write(&file, "").unwrap();
        assert!(users.prove("ann", "two", None).await.is_err());
        std::fs::remove_file(&file).unwrap();
        let error = users.prove("ann", "two", None).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    // Here a hash can take longer than a pause, so time stands still.
    #[tokio::test(start_paused = true)]
    async fn whoever_guesses_has_to_wait_and_whoever_knows_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        std::fs::write(&file, user_entry("ann", "right", &[]).unwrap()).unwrap();
        let users = Users::new(file);
        let (home, elsewhere) = (
            Some(IpAddr::from([10, 0, 0, 1])),
            Some(IpAddr::from([10, 0, 0, 2])),
        );
        users.prove("ann", "right", home).await.unwrap();
        let guess = async |text: &str| {
            users
                .prove("ann", text, elsewhere)
                .await
                .unwrap_err()
                .status()
        };
        let guesses = ["1", "2", "3", "4", "5", "6", "right2"].map(guess);
        let mut statuses = Vec::new();
        for answer in guesses {
            statuses.push(answer.await.as_u16());
        }
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
        users.prove("ann", "right", home).await.unwrap();
        // What was right at home is no oracle elsewhere.
        assert_eq!(guess("right").await, 429);
    }
}
