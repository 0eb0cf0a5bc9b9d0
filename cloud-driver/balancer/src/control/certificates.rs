//! Certificates and keys: read from their files, and read again when those change.
//!
//! What cannot be used never takes the place of what is in use. Of a private key nothing is ever
//! said: reasons are made here, of no text that comes out of its file.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use balancer::{Certificate, CertificateState};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fault::Fault;
use crate::proxy::tls::{Named, provider};

/// Most bytes of one file.
const MOST_FILE: u64 = 1024 * 1024;

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Certificate,
    Key,
}

/// Why a pair cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub(crate) struct PairError {
    pub(crate) part: Part,
    pub(crate) file: String,
    pub(crate) why: String,
}

/// A pair that can be used.
#[derive(Debug)]
pub(crate) struct Usable {
    pub(crate) named: Named,
    not_before_ms: i64,
    not_after_ms: i64,
    digest: [u8; 32],
}

/// What tells one state of a file from another without reading it; none: it is not there.
type Stamp = Option<[i64; 7]>;

/// What was seen of a pair's files.
#[derive(Debug)]
pub(crate) struct Seen {
    stamps: [Stamp; 2],
    read: Result<Usable, PairError>,
}

impl Seen {
    /// Why the pair cannot be used: field, value, remedy.
    pub(crate) fn error(&self) -> Option<String> {
        let error = self.read.as_ref().err()?;
        let field = match error.part {
            Part::Certificate => "certificate",
            Part::Key => "key",
        };
        Some(format!("{field}: \"{}\": {}", error.file, error.why))
    }
}

/// A pair as it stands.
#[derive(Debug, Default)]
struct Kept {
    stamps: Option<[Stamp; 2]>,
    usable: Option<Arc<Usable>>,
    fault: Option<String>,
}

/// All pairs.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    kept: BTreeMap<Certificate, Kept>,
}

/// Pairs to look at, with what was seen of them last.
pub(crate) type Asked = Vec<(Certificate, Option<[Stamp; 2]>)>;

/// Looks at pairs; what has not changed is left out. Reads files.
pub(crate) fn look(asked: Asked) -> Vec<(Certificate, Seen)> {
    let mut seen = Vec::new();
    for (pair, before) in asked {
        // Before it is read: what is written meanwhile is seen the next time.
        let stamps = [&pair.certificate, &pair.key].map(|file| stamp(Path::new(file)));
        if before != Some(stamps) {
            let read = read(&pair);
            seen.push((pair, Seen { stamps, read }));
        }
    }
    seen
}

fn stamp(file: &Path) -> Stamp {
    let of = |found: Metadata| {
        [
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
            i64::from_ne_bytes(found.size().to_ne_bytes()),
            i64::from_ne_bytes(found.ino().to_ne_bytes()),
            i64::from_ne_bytes(found.dev().to_ne_bytes()),
        ]
    };
    std::fs::metadata(file).ok().map(of)
}

fn read_file(file: &str) -> io::Result<Vec<u8>> {
    let opened = File::open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    opened.take(MOST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_FILE {
        return Err(io::Error::other(format!(
            "it has more than {MOST_FILE} bytes"
        )));
    }
    Ok(bytes)
}

fn read(pair: &Certificate) -> Result<Usable, PairError> {
    let failed = |part: Part| {
        let file = match part {
            Part::Certificate => &pair.certificate,
            Part::Key => &pair.key,
        };
        move |why: String| PairError {
            part,
            file: file.clone(),
            why,
        }
    };
    let certificate = failed(Part::Certificate);
    let key = failed(Part::Key);
    let chain_bytes = read_file(&pair.certificate).map_err(|e| certificate(e.to_string()))?;
    let key_bytes = read_file(&pair.key).map_err(|e| key(e.to_string()))?;

    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain_bytes).collect();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| certificate("it holds no certificate in PEM, or a torn one".to_owned()))?;
    let private =
        PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|e| key(no_key(&e, &key_bytes)))?;
    let (_, leaf) = X509Certificate::from_der(&chain[0])
        .map_err(|_| certificate("its first certificate is no X.509".to_owned()))?;
    let names = names(&leaf);
    let validity = leaf.validity();
    let (not_before, not_after) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    let mut digest = Sha256::new();
    for one in &chain {
        digest.update(one);
    }
    digest.update(private.secret_der());
    let digest = digest.finalize().into();
    let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|e| match e {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            key(format!("it is not the key of {}", pair.certificate))
        }
        TlsError::InvalidCertificate(_) => {
            certificate("its first certificate is no X.509 of version 3".to_owned())
        }
        _ => key("its key is of no kind that TLS can use; take ECDSA P-256, Ed25519 or RSA from 2048 bits on".to_owned()),
    })?;
    Ok(Usable {
        named: Named {
            names,
            key: Arc::new(certified),
        },
        not_before_ms: not_before.saturating_mul(1_000),
        not_after_ms: not_after.saturating_mul(1_000),
        digest,
    })
}

fn no_key(error: &pem::Error, bytes: &[u8]) -> String {
    let locked = b"ENCRYPTED PRIVATE KEY";
    if bytes.windows(locked.len()).any(|window| window == locked) {
        return "its key is encrypted; decrypt it, and let only the balancer read the file"
            .to_owned();
    }
    match error {
        pem::Error::NoItemsFound => "it holds no private key in PEM",
        _ => "it holds a torn private key",
    }
    .to_owned()
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let found = leaf.subject_alternative_name().ok().flatten();
    let all = found.map(|found| found.value.general_names.as_slice());
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => ip(bytes),
        _ => None,
    };
    all.unwrap_or_default().iter().filter_map(text).collect()
}

fn ip(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let six = || <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
    four.or_else(|_| six())
        .ok()
        .map(|address| address.to_string())
}

impl Usable {
    fn is_valid(&self, now_ms: i64) -> bool {
        (self.not_before_ms..=self.not_after_ms).contains(&now_ms)
    }

    /// Why it should not be shown to clients now.
    fn fault(&self, now_ms: i64) -> Option<String> {
        if now_ms > self.not_after_ms {
            return Some(format!("it has expired, at {}", utc(self.not_after_ms)));
        }
        (now_ms < self.not_before_ms)
            .then(|| format!("it is not valid before {}", utc(self.not_before_ms)))
    }
}

/// A moment in words, seconds of UTC.
fn utc(ms: i64) -> String {
    x509_parser::time::ASN1Time::from_timestamp(ms.div_euclid(1_000))
        .map_or_else(|_| format!("{ms} ms since 1970"), |time| time.to_string())
}

impl Certificates {
    /// What to look at: these pairs, with what was seen of them. One with a fault is read again
    /// whatever its files look like, because time may heal it.
    pub(crate) fn asked<'a>(&self, pairs: impl Iterator<Item = &'a Certificate>) -> Asked {
        let mut asked: Asked = pairs
            .map(|pair| {
                let kept = self.kept.get(pair).filter(|kept| kept.fault.is_none());
                (pair.clone(), kept.and_then(|kept| kept.stamps))
            })
            .collect();
        asked.sort();
        asked.dedup();
        asked
    }

    /// Whether a pair is in use.
    pub(crate) fn has(&self, pair: &Certificate) -> bool {
        self.usable(pair).is_some()
    }

    /// What is in use of a pair.
    pub(crate) fn usable(&self, pair: &Certificate) -> Option<&Arc<Usable>> {
        self.kept.get(pair)?.usable.as_ref()
    }

    /// Takes over what was seen; whether anything in use changed.
    pub(crate) fn take(&mut self, seen: Vec<(Certificate, Seen)>, now_ms: i64) -> bool {
        let mut changed = false;
        for (pair, seen) in seen {
            let kept = self.kept.entry(pair.clone()).or_default();
            changed |= kept.take(&pair, seen, now_ms);
        }
        changed
    }

    /// Forgets pairs that nobody names any more.
    pub(crate) fn retain(&mut self, named: impl Fn(&Certificate) -> bool) {
        self.kept.retain(|pair, _| named(pair));
    }

    /// A pair as observed.
    pub(crate) fn state(&self, pair: &Certificate, now_ms: i64) -> CertificateState {
        let kept = self.kept.get(pair);
        let usable = kept.and_then(|kept| kept.usable.as_deref());
        let fault = kept.and_then(|kept| kept.fault.clone());
        CertificateState {
            certificate: pair.certificate.clone(),
            names: usable
                .map(|usable| usable.named.names.clone())
                .unwrap_or_default(),
            not_after_ms: usable.map(|usable| usable.not_after_ms),
            fault: fault.or_else(|| usable.and_then(|usable| usable.fault(now_ms))),
        }
    }
}

impl Kept {
    fn take(&mut self, pair: &Certificate, seen: Seen, now_ms: i64) -> bool {
        self.stamps = Some(seen.stamps);
        let fault = match seen.read {
            Err(error) => error.to_string(),
            Ok(new) => {
                let before = self.usable.as_deref();
                let same = before.is_some_and(|before| before.digest == new.digest);
                // One that clients would refuse does not replace one that they accept.
                let worse = before.is_some_and(|before| before.is_valid(now_ms));
                let fault = new.fault(now_ms).filter(|_| worse && !same);
                let Some(fault) = fault else {
                    self.fault = None;
                    if same {
                        return false;
                    }
                    if let Some(warning) = new.fault(now_ms) {
                        eprintln!("certificate {} is used, but {warning}", pair.certificate);
                    }
                    self.usable = Some(Arc::new(new));
                    return true;
                };
                format!("{}: the new one: {fault}", pair.certificate)
            }
        };
        let kept = match self.usable {
            Some(_) => "the one before is kept",
            None => "none is shown",
        };
        let fault = format!("{fault}; {kept}");
        if self.fault.as_ref() != Some(&fault) {
            eprintln!("certificate is not taken: {fault}");
        }
        self.fault = Some(fault);
        Fault::DropBroken.is_on() && self.usable.take().is_some()
    }
}
