//! Whom an image runs as: names looked up in the image's own `/etc/passwd`.

use std::path::Path;

use super::config::inside;

/// Largest user or group file read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The numeric user and group of `user`, as in `app`, `app:app`, `1000`, `1000:1000`.
/// None when a name is not in the image.
pub(super) fn ids(root: &Path, user: &str) -> Option<(u32, u32)> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    if user.is_empty() && group.is_none() {
        return Some((0, 0));
    }
    let passwd = read(root, "/etc/passwd");
    let number: Option<u32> = user.parse().ok();
    let line = passwd
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|fields| {
            fields.first() == Some(&user) || (number.is_some() && fields.get(2) == Some(&user))
        });
    let field = |at: usize| line.as_ref()?.get(at)?.parse::<u32>().ok();
    let uid = number.or_else(|| field(2))?;
    let gid = match group {
        None => field(3).unwrap_or(0),
        Some(group) => group.parse().ok().or_else(|| {
            let groups = read(root, "/etc/group");
            let mut lines = groups.lines().map(|l| l.split(':').collect::<Vec<_>>());
            let found = lines.find(|fields| fields.first() == Some(&group))?;
            found.get(2)?.parse().ok()
        })?,
    };
    Some((uid, gid))
}

fn read(root: &Path, path: &str) -> String {
    let Some(path) = inside(root, path) else {
        return String::new();
    };
    let small = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= MAX_BYTES);
    if small {
        std::fs::read_to_string(path).unwrap_or_default()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(
            root.path().join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(root.path().join("etc/group"), "staff:x:50:\n").unwrap();
        for (user, expected) in [
            ("", Some((0, 0))),
            ("app", Some((1000, 1001))),
            ("app:staff", Some((1000, 50))),
            ("1000", Some((1000, 1001))),
            ("77", Some((77, 0))),
            ("77:78", Some((77, 78))),
            ("nobody", None),
            ("app:wheel", None),
        ] {
            assert_eq!(ids(root.path(), user), expected, "{user}");
        }
    }
}
