//! What a poll knew of an account, what it found, and what is news: pure.
//!
//! A cursor that never was, or does not reach as far as a repository, learns
//! and tells nothing. Source of the rules: `igor: DockerMonitor`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tags of a repository with their digests; an empty digest was not asked for.
pub(crate) type Tags = BTreeMap<String, String>;

/// What was known of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Known {
    /// The last poll looked at every repository of the account: one that was
    /// not there then is new.
    pub(crate) complete: bool,
    /// By repository.
    #[serde(skip)]
    pub(crate) repositories: BTreeMap<String, Tags>,
}

/// What a poll makes of one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Tags and digests that are news.
    pub(crate) news: Vec<(String, String)>,
    /// What is to be known from now on.
    pub(crate) tags: Tags,
}

/// Compares. `found` has an empty digest for a tag that was not asked for one.
pub(crate) fn compare(known: &Known, repository: &str, found: &Tags) -> Outcome {
    let before = known.repositories.get(repository);
    let mut outcome = Outcome::default();
    for (tag, digest) in found {
        let old = before.map(|tags| tags.get(tag));
        let (is_news, keep) = match old {
            // The repository itself was not known.
            None => (known.complete, digest),
            Some(None) => (true, digest),
            // Not asked for now: what was known stays.
            Some(Some(old)) if digest.is_empty() => (false, old),
            Some(Some(old)) => (!old.is_empty() && old != digest, digest),
        };
        if is_news && !digest.is_empty() {
            outcome.news.push((tag.clone(), digest.clone()));
        }
        outcome.tags.insert(tag.clone(), keep.clone());
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(tag, digest)| ((*tag).to_owned(), (*digest).to_owned()))
            .collect()
    }

    fn known(complete: bool, repository: Option<&[(&str, &str)]>) -> Known {
        Known {
            complete,
            repositories: repository
                .map(|pairs| ("a".to_owned(), tags(pairs)))
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn only_what_was_not_there_before_is_news() {
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Known, Pairs<'_>, Pairs<'_>); 9] = [
            ("no cursor learns", known(false, None), &[("1", "x")], &[]),
            (
                "a new repository",
                known(true, None),
                &[("1", "x")],
                &[("1", "x")],
            ),
            (
                "a new tag",
                known(true, Some(&[])),
                &[("1", "x")],
                &[("1", "x")],
            ),
            (
                "a new tag, not complete",
                known(false, Some(&[])),
                &[("1", "x")],
                &[("1", "x")],
            ),
            (
                "the same",
                known(true, Some(&[("1", "x")])),
                &[("1", "x")],
                &[],
            ),
            (
                "it moved",
                known(true, Some(&[("1", "x")])),
                &[("1", "y")],
                &[("1", "y")],
            ),
            (
                "its digest was unknown",
                known(true, Some(&[("1", "")])),
                &[("1", "y")],
                &[],
            ),
            (
                "not asked",
                known(true, Some(&[("1", "x")])),
                &[("1", "")],
                &[],
            ),
            ("new, not asked", known(true, Some(&[])), &[("1", "")], &[]),
        ];
        for (what, known, found, news) in table {
            let outcome = compare(&known, "a", &tags(found));
            let expected: Vec<_> = tags(news).into_iter().collect();
            assert_eq!(outcome.news, expected, "{what}");
        }
    }

    #[test]
    fn a_digest_that_was_not_asked_for_is_not_forgotten_and_a_gone_tag_is() {
        let known = known(true, Some(&[("1", "x"), ("2", "y")]));
        let outcome = compare(&known, "a", &tags(&[("1", "")]));
        assert_eq!(outcome.tags, tags(&[("1", "x")]));
    }
}
