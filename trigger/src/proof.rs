//! What an event brings to show who sent it, and the check against a trigger's
//! secret. Source: `echo: GitEventHandler`, and the senders' documentation.
//!
//! Signatures are computed over the bytes as they came and compared in constant
//! time. Differs from Spinnaker: SHA-256, not SHA-1; a sender that signs although
//! the trigger has no secret is taken at its word.

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::refusal::Refusal;

/// Headers that carry a signature, `sha256=<hex>`.
const SIGNATURE: [&str; 2] = ["x-hub-signature-256", "x-hub-signature"];
/// The header that carries the secret itself; only its digest is kept.
const TOKEN: &str = "x-gitlab-token";

/// What came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proof {
    /// Hex of HMAC-SHA256 over the body, as the sender says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// Hex of SHA-256 of the token that was sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_digest: String,
    /// The body as it came, where a signature is to be checked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
}

impl Proof {
    /// Reads it from a request's headers, names in any case.
    pub(crate) fn of(headers: &[(String, String)], body: &[u8]) -> Self {
        let header = |name: &str| {
            let found = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim())
        };
        let signature = SIGNATURE
            .iter()
            .filter_map(|name| header(name)?.strip_prefix("sha256="))
            .next()
            .unwrap_or_default();
        let token = header(TOKEN).filter(|token| !token.is_empty());
        Self {
            signature: signature.to_ascii_lowercase(),
            token_digest: token
                .map(|t| hex::encode(Sha256::digest(t)))
                .unwrap_or_default(),
            body: if signature.is_empty() {
                String::new()
            } else {
                String::from_utf8_lossy(body).into_owned()
            },
        }
    }

    /// Whether it proves that the sender knows a secret. Without a secret nothing
    /// has to be proved.
    ///
    /// # Errors
    /// What is missing or wrong; never a secret or a signature.
    pub(crate) fn check(&self, secret: &str) -> Result<(), Refusal> {
        if secret.is_empty() {
            return Ok(());
        }
        let refuse = |actual: &str, message: &str| {
            let remedy = "set the same secret at the sender and in the trigger";
            Err(Refusal::new(
                "secret",
                "a valid signature",
                actual,
                message,
                remedy,
            ))
        };
        if !self.signature.is_empty() {
            let Ok(signature) = hex::decode(&self.signature) else {
                return refuse("no hex", "the signature is not hexadecimal");
            };
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
                return refuse("", "the secret cannot be used");
            };
            mac.update(self.body.as_bytes());
            return match mac.verify_slice(&signature) {
                Ok(()) => Ok(()),
                Err(_) => refuse(
                    "another signature",
                    "the signature is not that of the secret",
                ),
            };
        }
        if !self.token_digest.is_empty() {
            // Digests of equal length, so the time taken says nothing of the secret.
            let wanted = Sha256::digest(secret.as_bytes());
            let given = hex::decode(&self.token_digest).unwrap_or_default();
            if given.as_slice() == wanted.as_slice() {
                return Ok(());
            }
            return refuse("another token", "the token is not the secret");
        }
        refuse(
            "none",
            "the event is not signed and the trigger has a secret",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(secret: &str, body: &str, name: &str) -> Proof {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let value = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        Proof::of(&[(name.to_owned(), value)], body.as_bytes())
    }

    #[test]
    fn only_who_knows_the_secret_can_sign() {
        let body = "{\"a\" : 1.0}\n";
        for name in ["X-Hub-Signature-256", "x-hub-signature"] {
            let proof = signed("s", body, name);
            assert_eq!(proof.check("s"), Ok(()));
            assert_eq!(proof.check(""), Ok(()));
            assert!(proof.check("t").is_err());
            let mut forged = proof.clone();
            forged.body = "{\"a\":1.0}".to_owned();
            assert!(forged.check("s").is_err());
        }
        assert!(
            Proof::default()
                .check("s")
                .unwrap_err()
                .message
                .contains("not signed")
        );
        let old = [("X-Hub-Signature".to_owned(), "sha1=00".to_owned())];
        assert!(Proof::of(&old, b"").check("s").is_err());
    }

    #[test]
    fn a_token_is_kept_as_its_digest_alone() {
        let headers = [("X-Gitlab-Token".to_owned(), "geheim".to_owned())];
        let proof = Proof::of(&headers, b"{}");
        assert_eq!(proof.check("geheim"), Ok(()));
        assert!(proof.check("other").is_err());
        assert!(!serde_json::to_string(&proof).unwrap().contains("geheim"));
    }
}
