//! Clients that stay with an instance, by a cookie.
//!
//! The cookie is a function of the instance's id and nothing else, so that every worker, a successor
//! and a process started anew agree without telling one another anything.

use std::collections::HashMap;
use std::rc::Rc;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

use super::table::{Group, Upstream};
use super::target::Standing;
use crate::fault::Fault;

/// What a cookie says of an instance; its id cannot be read out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark(u64);

impl Mark {
    /// The mark of an instance.
    pub(crate) fn of(id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"balancer.sticky\0");
        hash.update(id);
        let hash: [u8; 32] = hash.finalize().into();
        // Enough for instances not to meet, and nothing that anybody could gain by guessing one.
        let first = hash.first_chunk().copied().unwrap_or_default();
        Self(u64::from_be_bytes(first))
    }

    fn read(text: &[u8]) -> Option<Self> {
        let are_digits = text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(text).ok().filter(|_| are_digits)?;
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The cookies of a load balancer in one worker.
#[derive(Debug)]
pub(crate) struct Sticky {
    name: String,
    /// What stands behind the value.
    attributes: String,
    instances: HashMap<Mark, (Rc<Group>, Rc<Upstream>)>,
}

impl Sticky {
    /// The cookies of a load balancer with these groups.
    pub(crate) fn new(sticky: &balancer::Sticky, groups: &[Rc<Group>]) -> Self {
        let path = sticky.path.as_deref().unwrap_or("/");
        let mut attributes = format!("; Path={path}; HttpOnly; SameSite=Lax");
        if let Some(ttl) = sticky.ttl_seconds {
            attributes.push_str(&format!("; Max-Age={ttl}"));
        }
        if sticky.secure {
            attributes.push_str("; Secure");
        }
        let instances = groups.iter().flat_map(|group| {
            let of = |upstream: &Rc<Upstream>| (upstream.mark, (group.clone(), upstream.clone()));
            group.upstreams().iter().map(of)
        });
        Self {
            name: sticky.cookie.clone(),
            attributes,
            instances: instances.collect(),
        }
    }

    /// The mark that a client came with; of several that of an instance that is there.
    pub(crate) fn mark(&self, headers: &HeaderMap) -> Option<Mark> {
        let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let cookies = lines.flat_map(|line| line.split(|&byte| byte == b';'));
        let mut marks = cookies.filter_map(|cookie| {
            let value = cookie.trim_ascii().strip_prefix(self.name.as_bytes())?;
            Mark::read(value.strip_prefix(b"=")?)
        });
        let mut first = None;
        let known = marks.find(|mark| {
            first = first.or(Some(*mark));
            self.instances.contains_key(mark)
        });
        known.or(first)
    }

    /// The instance of a mark, when it has this standing and its group gets requests at all.
    pub(crate) fn instance(
        &self,
        mark: Mark,
        standing: Standing,
    ) -> Option<&(Rc<Group>, Rc<Upstream>)> {
        let found = self.instances.get(&mark)?;
        let (group, upstream) = found;
        let may = group.gets_requests() && upstream.target.standing() == standing;
        (may || Fault::StickAlways.is_on()).then_some(found)
    }

    /// The cookie of an instance.
    pub(crate) fn cookie(&self, mark: Mark) -> Option<HeaderValue> {
        let (name, attributes) = (&self.name, &self.attributes);
        HeaderValue::try_from(format!("{name}={mark}{attributes}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_is_the_same_everywhere() {
        let mark = Mark::of("shop-v000-1");
        // Fixed: a later version that reckoned otherwise would send all clients elsewhere.
        assert_eq!(mark.to_string(), "1d29e2fdf0230a4b");
        assert_eq!(Mark::read(mark.to_string().as_bytes()), Some(mark));
        assert_ne!(mark, Mark::of("shop-v000-2"));
        for text in [
            "",
            "0",
            "1d29e2fdf0230a4bx",
            "1d29e2fdf0230a4",
            "+d29e2fdf0230a4b",
            "zz",
        ] {
            assert_eq!(Mark::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_cookie_has_what_it_was_asked_to_have_and_is_found_among_others() {
        let sticky = balancer::Sticky {
            cookie: "sid".into(),
            ttl_seconds: Some(60),
            path: Some("/cart".into()),
            secure: true,
        };
        let mark = Mark::of("a");
        let sticky = Sticky::new(&sticky, &[]);
        assert_eq!(
            sticky.cookie(mark).unwrap().to_str().unwrap(),
            format!("sid={mark}; Path=/cart; HttpOnly; SameSite=Lax; Max-Age=60; Secure")
        );
        let plain = balancer::Sticky {
            cookie: "s".into(),
            ..balancer::Sticky::default()
        };
        let plain = Sticky::new(&plain, &[]);
        let text = format!("s={mark}; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(plain.cookie(mark).unwrap().to_str().unwrap(), text);
        for (lines, found) in [
            (vec![format!("sid={mark}")], true),
            (vec![format!("a=1;sid={mark} ; b=2")], true),
            (
                vec!["a=1".into(), format!("sid=nonsense; sid={mark}")],
                true,
            ),
            (vec![format!("xsid={mark}; sid2={mark}; sid")], false),
            (vec![], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(COOKIE, line.parse().unwrap());
            }
            assert_eq!(sticky.mark(&headers), found.then_some(mark), "{lines:?}");
        }
    }
}
