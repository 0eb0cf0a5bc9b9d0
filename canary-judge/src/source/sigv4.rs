//! Requests signed as Amazon's services ask for it (Signature Version 4):
//! https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html. Pure: the instant is the caller's.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Who signs.
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// Of temporary keys.
    pub(crate) token: Option<String>,
}

/// What is signed: a request to `/` without parameters.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// Names in lower case, sorted; `host` and `x-amz-date` among them.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// `20150830T123600Z`
    pub(crate) at: &'a str,
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn key(secret: &str, date: &str, region: &str, service: &str) -> Vec<u8> {
    let date = mac(format!("AWS4{secret}").as_bytes(), date);
    let service = mac(&mac(&date, region), service);
    mac(&service, "aws4_request")
}

/// The value of `authorization`.
pub(crate) fn authorization(keys: &Keys, request: &Signed<'_>) -> String {
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let headers = request.headers.iter();
    let headers: String = headers
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let body = hex::encode(Sha256::digest(request.body));
    let canonical = format!("{}\n/\n\n{headers}\n{names}\n{body}", request.method);
    let date = request.at.get(..8).unwrap_or(request.at);
    let scope = format!("{date}/{}/{}/aws4_request", request.region, request.service);
    let digest = hex::encode(Sha256::digest(canonical));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", request.at);
    let key = key(&keys.secret, date, request.region, request.service);
    let signature = hex::encode(mac(&key, &text));
    let id = &keys.id;
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// The example of the documentation, and `get-vanilla` of its test suite.
    #[test]
    fn keys_and_signatures_are_those_of_the_documentation() {
        let derived = hex::encode(key(SECRET, "20120215", "us-east-1", "iam"));
        assert_eq!(
            derived,
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
        let keys = Keys {
            id: "AKIDEXAMPLE".into(),
            secret: SECRET.into(),
            token: None,
        };
        let found = authorization(
            &keys,
            &Signed {
                method: "GET",
                headers: &[
                    ("host", "example.amazonaws.com"),
                    ("x-amz-date", "20150830T123600Z"),
                ],
                body: b"",
                region: "us-east-1",
                service: "service",
                at: "20150830T123600Z",
            },
        );
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                        SignedHeaders=host;x-amz-date, \
                        Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert_eq!(found, expected);
    }
}
