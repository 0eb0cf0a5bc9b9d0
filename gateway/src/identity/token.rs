//! API tokens: credentials for programs, of which only a hash is stored. A token
//! is `gnk_<id>_<secret>`; it stands for its owner as the owner is now, narrowed
//! to what it was made for, until it expires or is deleted.
//! Source: `gate: ApiTokenAuthenticationFilter` for the headers.

use authorization::{Permission, Scope};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::unauthorized;
use crate::error::{Error, now_ms};

/// What every token begins with.
pub(crate) const PREFIX: &str = "gnk_";
/// Applications one token may be narrowed to.
const MOST_APPLICATIONS: usize = 200;

/// The id and the hash of a token's text.
///
/// # Errors
/// 401 when it is none.
pub(super) fn parse(text: &str) -> Result<(String, String), Error> {
    let wrong = || unauthorized("the API token has not the form of one");
    let rest = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
    let (id, secret) = rest.split_once('_').ok_or_else(wrong)?;
    let fits = |part: &str| (16..=64).contains(&part.len()) && part.is_ascii();
    if !fits(id) || !fits(secret) || !id.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    Ok((id.to_owned(), hash(secret)))
}

fn hash(secret: &str) -> String {
    // 256 random bits need no slow hash.
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// A new token: its id, its text, which is shown once, and its hash.
pub(crate) fn make() -> (String, String, String) {
    let id = hex::encode(rand::random::<[u8; 12]>());
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let secret = secret.replace(['_', '-'], "x");
    let text = format!("{PREFIX}{id}_{secret}");
    let hash = hash(&secret);
    (id, text, hash)
}

/// A stored token as it may be used: its owner and what it was narrowed to.
///
/// # Errors
/// 401 when the secret is another's or the token expired.
pub(super) fn opened(stored: &Value, hash: &str) -> Result<(String, Scope), Error> {
    let text = |key: &str| stored.get(key).and_then(Value::as_str).unwrap_or_default();
    // Hashes of random secrets: what differs in time says nothing about the secret.
    if text("hash").is_empty() || text("hash") != hash {
        return Err(unknown());
    }
    let expires = stored.get("expiresAt").and_then(Value::as_u64).unwrap_or(0);
    if expires <= now_ms() {
        return Err(unauthorized("the API token expired; make a new one"));
    }
    let scope = stored.get("scope").cloned().unwrap_or_else(|| json!({}));
    let scope = serde_json::from_value(scope)
        .map_err(|_| unauthorized("the API token is stored damaged; make a new one"))?;
    Ok((text("user").to_owned(), scope))
}

/// The answer for a token that is not, or is not any more.
pub(super) fn unknown() -> Error {
    unauthorized("the API token is unknown or was deleted")
}

/// What a new token shall be narrowed to, from `{applications?, permissions?}`.
///
/// # Errors
/// 400 naming the field.
pub(crate) fn scope(asked: &serde_json::Map<String, Value>) -> Result<Scope, Error> {
    let list = |field: &str| -> Result<Vec<String>, Error> {
        let wrong = || Error::field(field, "is no list of names; send one, or leave it out");
        match asked.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= MOST_APPLICATIONS => items
                .iter()
                .map(|item| item.as_str().map(|s| s.trim().to_owned()).ok_or_else(wrong))
                .collect(),
            Some(_) => Err(wrong()),
        }
    };
    let permissions = list("permissions")?.into_iter().map(|name| {
        serde_json::from_value::<Permission>(json!(name.to_uppercase())).map_err(|_| {
            let message = format!("\"{name}\" is none; use READ, WRITE, EXECUTE or CREATE");
            Error::field("permissions", message)
        })
    });
    Ok(Scope {
        permissions: permissions.collect::<Result<_, _>>()?,
        applications: list("applications")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_believed_until_it_expires_and_only_with_its_secret() {
        let (id, text, hashed) = make();
        assert_eq!(parse(&text).unwrap(), (id, hashed.clone()));
        let stored = |expires: u64| json!({"user": "ann", "hash": hashed, "expiresAt": expires});
        let later = now_ms() + 60_000;
        assert_eq!(opened(&stored(later), &hashed).unwrap().0, "ann");
        assert!(opened(&stored(now_ms()), &hashed).is_err());
        let (_, other, _) = make();
        assert!(opened(&stored(later), &parse(&other).unwrap().1).is_err());
        assert!(opened(&json!({"user": "ann", "expiresAt": later}), "").is_err());
        for text in [
            "",
            "gnk_",
            "gnk_a_b",
            "other",
            "gnk_zz34567890123456_0123456789abcdef",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
