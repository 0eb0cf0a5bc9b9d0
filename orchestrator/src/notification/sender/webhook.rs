//! `webhook`: the notification as JSON to any address, signed with HMAC-SHA256.
//!
//! `X-Signature-256: sha256=<hex of the HMAC of the body>`, the key from
//! `orchestrator.notifications.webhook.secret`; `Idempotency-Key` is the notification's id.

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::{SendError, Sender, Sending, address, check_url, post, secret};

/// See the module.
#[derive(Debug)]
pub(super) struct Webhook;

#[async_trait]
impl Sender for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn check(&self, notification: &Value) -> Result<(), String> {
        check_url(notification)
    }

    async fn send(&self, sending: &Sending<'_>) -> Result<(), SendError> {
        let url = address(sending.notification).map_err(SendError::never)?;
        let body = sending
            .message
            .to_json(sending.execution)
            .to_string()
            .into_bytes();
        let mut headers = Vec::new();
        let settings = &sending.config.webhook;
        if settings.secret.is_some() {
            let setting = "orchestrator.notifications.webhook.secret";
            let key = secret(settings.secret.as_ref(), setting)?;
            headers.push(("x-signature-256".to_owned(), signature(&key, &body)));
        }
        post(sending, url, headers, "application/json", body).await?;
        Ok(())
    }
}

/// `sha256=<hex>`
fn signature(key: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
    }
}
