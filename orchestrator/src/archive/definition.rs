//! One version of a definition as it is archived: an object of its own, JSON, under a name that
//! follows from what it is, so that writing it twice is writing it once.
//!
//! `definitions/<collection>/<id>/<life>/<version>.json`, and `….deleted.json` for the end. A *life*
//! is what lies between creating and deleting: one that is created anew counts its versions anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use store::Version;

/// The folder of all definitions.
pub const FOLDER: &str = "definitions";
/// The life of what was created by a version that knew no lives.
pub const FIRST_LIFE: &str = "0000000000000";
/// The form that is written.
const FORMAT: u32 = 1;
/// A longer part of a name is cut, and told apart by its hash.
const MOST: usize = 120;

/// A version of a definition, or the end of its life.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// What kind of definition, such as `pipeline`.
    pub collection: String,
    /// Which.
    pub id: String,
    /// Which life of it.
    pub life: String,
    /// Which version; of an end, the one after the last.
    pub version: Version,
    /// Whether it is the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

#[derive(Serialize, Deserialize)]
struct Form<'a> {
    format: u32,
    #[serde(flatten)]
    place: Place,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
}

/// A life that begins at this time, ms since the epoch, told apart from others by a text.
pub fn new_life(now_ms: i64, unique: &str) -> String {
    let unique: String = unique.chars().take(8).collect();
    format!("{:013}-{unique}", now_ms.max(0))
}

/// The folder of a definition's versions.
pub fn folder(collection: &str, id: &str) -> String {
    format!("{FOLDER}/{}/{}", part(collection), part(id))
}

/// A text as a part of a name: other texts have other parts.
fn part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => part.push(char::from(byte)),
            b'.' if !part.is_empty() => part.push('.'),
            _ => {
                let _never_fails = write!(part, "_{byte:02x}");
            }
        }
    }
    if part.len() > MOST {
        // Behind `_` there is never `-` otherwise.
        let hash = hex::encode(Sha256::digest(text.as_bytes()));
        part.truncate(MOST / 2);
        part.push_str("_-");
        part.push_str(&hash);
    }
    if part.is_empty() {
        part.push('_');
    }
    part
}

impl Place {
    /// The name of its object.
    pub fn name(&self) -> String {
        let folder = folder(&self.collection, &self.id);
        let end = if self.deleted { ".deleted" } else { "" };
        format!("{folder}/{}/{:012}{end}.json", self.life, self.version)
    }

    /// The object; `body` is JSON, and none for an end.
    ///
    /// # Errors
    /// When the body is no JSON.
    pub fn object(&self, body: Option<&[u8]>) -> Result<Bytes, serde_json::Error> {
        let body = body.map(serde_json::from_slice).transpose()?;
        let form = Form {
            format: FORMAT,
            place: self.clone(),
            body,
        };
        serde_json::to_vec(&form).map(Bytes::from)
    }

    /// Reads an object; the body is as it was written.
    ///
    /// # Errors
    /// When it is damaged, or of a form that a later version writes.
    pub fn read(object: &[u8]) -> Result<(Self, Option<Bytes>), String> {
        let form: Form<'_> = serde_json::from_slice(object).map_err(|e| e.to_string())?;
        if form.format != FORMAT {
            return Err(format!(
                "format {} was written by another version than this one, which reads {FORMAT}",
                form.format
            ));
        }
        let body = form.body;
        let body = body.map(|body| Bytes::copy_from_slice(body.get().as_bytes()));
        Ok((form.place, body))
    }
}

/// The versions of a life, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// Which.
    pub life: String,
    /// Its versions with the names of their objects.
    pub versions: BTreeMap<Version, String>,
    end: Option<Version>,
}

impl Life {
    /// Whether it goes on: an end counts unless versions follow it, as when a store lost a deletion
    /// that was acknowledged and went on.
    fn goes_on(&self) -> bool {
        let last = self.versions.keys().next_back();
        last.is_some_and(|last| self.end.is_none_or(|end| end <= *last))
    }
}

/// Of all names: the life of each definition that goes on, the newest first.
pub fn living(names: &[String]) -> Vec<Life> {
    let mut lives: BTreeMap<(&str, &str), Life> = BTreeMap::new();
    for name in names {
        let Some((folder, file)) = name.rsplit_once('/') else {
            continue;
        };
        let Some((definition, life)) = folder.rsplit_once('/') else {
            continue;
        };
        let Some(stem) = file.strip_suffix(".json") else {
            continue;
        };
        let number = stem.strip_suffix(".deleted");
        let Ok(version) = number.unwrap_or(stem).parse::<Version>() else {
            continue;
        };
        let found = lives.entry((definition, life)).or_default();
        life.clone_into(&mut found.life);
        if number.is_some() {
            found.end = found.end.max(Some(version));
        } else {
            found.versions.insert(version, name.clone());
        }
    }
    // The last of a definition that goes on takes the place of those before.
    let mut newest: BTreeMap<&str, Life> = BTreeMap::new();
    for ((definition, _), life) in lives {
        if life.goes_on() {
            newest.insert(definition, life);
        }
    }
    let mut living: Vec<Life> = newest.into_values().collect();
    living.sort_by(|a, b| b.life.cmp(&a.life));
    living
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn place(id: &str, life: &str, version: Version, deleted: bool) -> Place {
        Place {
            collection: "pipeline".to_owned(),
            id: id.to_owned(),
            life: life.to_owned(),
            version,
            deleted,
        }
    }

    #[test]
    fn an_object_gives_back_its_place_and_its_body_to_the_letter() {
        let place = place("t:latest", "0000000000007-ab", 3, false);
        let body = br#"{"big":12345678901234567890.10,"a":"\n"}"#;
        let object = place.object(Some(body)).unwrap();
        let read = Place::read(&object).unwrap();
        assert_eq!(read, (place.clone(), Some(Bytes::copy_from_slice(body))));
        let end = Place {
            deleted: true,
            ..place
        };
        assert_eq!(
            Place::read(&end.object(None).unwrap()).unwrap(),
            (end, None)
        );
        assert!(Place::read(br#"{"format":2}"#).is_err());
        assert!(Place::read(&object[..object.len() - 3]).is_err());
    }

    #[test]
    fn other_ids_have_other_names_and_none_leaves_its_folder() {
        let long = "x".repeat(300);
        let longer = format!("{long}y");
        let ids = [
            "",
            ".",
            "..",
            "a/b",
            "a_2fb",
            "a",
            "A",
            "é",
            "t:latest",
            "t@sha256:0",
            "_",
            "-",
            long.as_str(),
            longer.as_str(),
            "a.b",
            ".a",
        ];
        let names: BTreeSet<String> = ids.iter().map(|id| part(id)).collect();
        assert_eq!(names.len(), ids.len(), "{names:?}");
        for name in names {
            let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            assert!(name.bytes().all(fine) && !name.starts_with('.'), "{name}");
            assert!(!name.is_empty() && name.len() < 200, "{name}");
        }
    }

    #[test]
    fn of_the_lives_of_a_definition_the_newest_that_was_not_ended_goes_on() {
        for (what, objects, expected) in [
            (
                "one life",
                vec![("1", 1, false), ("1", 2, false)],
                Some(("1", 2)),
            ),
            ("it ended", vec![("1", 1, false), ("1", 2, true)], None),
            (
                "created anew",
                vec![("1", 1, false), ("1", 2, true), ("2", 1, false)],
                Some(("2", 1)),
            ),
            (
                "the end of the first is not there yet",
                vec![("1", 1, false), ("2", 1, false)],
                Some(("2", 1)),
            ),
            (
                "the store lost the deletion and went on",
                vec![("1", 1, false), ("1", 2, true), ("1", 2, false)],
                Some(("1", 2)),
            ),
            ("its versions are not there yet", vec![("1", 2, true)], None),
        ] {
            let name = |(life, version, deleted)| place("p", life, version, deleted).name();
            let names: Vec<String> = objects.into_iter().map(name).collect();
            let living = living(&names);
            let found = living.first().map(|life| {
                let last = *life.versions.keys().next_back().unwrap();
                (life.life.as_str(), last)
            });
            assert_eq!(found, expected, "{what}");
        }
    }
}
