//! The configuration inside an image: what to run, as whom, with what around it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::registry::reference::is_digest;

/// What an image says about running it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, replaced when a server group brings its own.
    pub cmd: Vec<String>,
    /// Environment, `(name, value)` in the image's order.
    pub env: Vec<(String, String)>,
    /// Folder to start in, absolute inside the image; `/` when the image names none.
    pub workdir: String,
    /// `name`, `uid`, `name:group` or `uid:gid`; empty: root.
    pub user: String,
    /// Signal that asks it to stop, such as `SIGTERM`; empty: that one.
    pub stop_signal: String,
    /// Labels, in the image's order.
    pub labels: Vec<(String, String)>,
    /// Digests of the uncompressed layers, lowest first.
    pub(super) layers: Vec<String>,
}

impl Config {
    /// Reads the configuration blob of an image.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let os = value.get("os").and_then(Value::as_str).unwrap_or("linux");
        if os != "linux" {
            return Err(format!("it is for {os}, not for linux"));
        }
        let config = value.get("config").cloned().unwrap_or_default();
        let list = |name: &str| -> Result<Vec<String>, String> {
            match config.get(name) {
                None | Some(Value::Null) => Ok(Vec::new()),
                Some(Value::Array(items)) => items
                    .iter()
                    .map(|i| i.as_str().map(ToOwned::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| format!("config.{name} is not a list of texts")),
                Some(_) => Err(format!("config.{name} is not a list of texts")),
            }
        };
        let text = |name: &str| {
            let value = config.get(name).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let mut layers = Vec::new();
        for layer in value
            .pointer("/rootfs/diff_ids")
            .and_then(Value::as_array)
            .ok_or("rootfs.diff_ids is missing")?
        {
            match layer.as_str().filter(|digest| is_digest(digest)) {
                Some(digest) => layers.push(digest.to_owned()),
                None => return Err(format!("rootfs.diff_ids holds {layer}, no sha256 digest")),
            }
        }
        let env = list("Env")?.into_iter().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
        });
        let labels = config.get("Labels").and_then(Value::as_object);
        let labels = labels
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        let workdir = match text("WorkingDir") {
            dir if dir.is_empty() => "/".to_owned(),
            dir => dir,
        };
        if !workdir.starts_with('/') {
            return Err(format!("config.WorkingDir \"{workdir}\" is not absolute"));
        }
        Ok(Self {
            entrypoint: list("Entrypoint")?,
            cmd: list("Cmd")?,
            env: env.collect(),
            workdir,
            user: text("User"),
            stop_signal: text("StopSignal"),
            labels: labels.collect(),
            layers,
        })
    }

    /// The digest that names the stack of all layers (the OCI specification's
    /// chain id): equal stacks unpack to equal folders.
    pub(super) fn chain(&self) -> String {
        let mut chain = String::new();
        for layer in &self.layers {
            chain = if chain.is_empty() {
                layer.clone()
            } else {
                digest(format!("{chain} {layer}").as_bytes())
            };
        }
        if chain.is_empty() { digest(b"") } else { chain }
    }

    /// The value of an environment variable of the image.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Links followed at most while a path is looked up.
const MAX_LINKS: usize = 40;

/// Where a path of the image lies on this machine. Links are followed as if
/// `root` were the root of everything, so the result is always inside it.
/// None when something on the way is missing.
pub(super) fn inside(root: &Path, path: &str) -> Option<PathBuf> {
    let mut open: Vec<String> = parts(path);
    let mut found: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = open.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        let mut here = root.to_owned();
        here.extend(found.iter());
        here.push(&part);
        let meta = std::fs::symlink_metadata(&here).ok()?;
        if !meta.is_symlink() {
            found.push(part);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        let target = std::fs::read_link(&here).ok()?;
        let target = target.to_str()?;
        if target.starts_with('/') {
            found.clear();
        }
        open.extend(parts(target));
    }
    let mut result = root.to_owned();
    result.extend(found.iter());
    Some(result)
}

/// The parts of a path, last first.
fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .rev()
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_is_read_whole() {
        let layer = |c: char| format!("sha256:{}", c.to_string().repeat(64));
        let body = json!({
            "os": "linux",
            "config": {"Entrypoint": ["/bin/a"], "Cmd": ["-x"], "Env": ["A=1=2", "PATH=/bin", "=x", "B"],
                       "WorkingDir": "/srv", "User": "app:app", "StopSignal": "SIGINT",
                       "Labels": {"k": "v"}},
            "rootfs": {"diff_ids": [layer('a'), layer('b')]},
        });
        let config = Config::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(config.entrypoint, ["/bin/a"]);
        assert_eq!(config.variable("A"), Some("1=2"));
        assert_eq!(config.env.len(), 2);
        assert_eq!((&*config.user, &*config.workdir), ("app:app", "/srv"));
        let text = format!("{} {}", layer('a'), layer('b'));
        assert_eq!(config.chain(), digest(text.as_bytes()));
    }

    #[test]
    fn faulty_configurations_say_what_is_wrong() {
        for (body, fragment) in [
            (json!({"os": "windows"}), "not for linux"),
            (json!({}), "diff_ids is missing"),
            (json!({"rootfs": {"diff_ids": ["x"]}}), "no sha256 digest"),
            (
                json!({"rootfs": {"diff_ids": []}, "config": {"Cmd": "x"}}),
                "config.Cmd is not a list",
            ),
            (
                json!({"rootfs": {"diff_ids": []}, "config": {"WorkingDir": "x"}}),
                "is not absolute",
            ),
        ] {
            let text = Config::parse(body.to_string().as_bytes()).unwrap_err();
            assert!(text.contains(fragment), "{text}");
        }
    }

    #[test]
    fn a_path_of_the_image_never_leads_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::fs::write(root.join("usr/bin/a"), "").unwrap();
        std::fs::write(folder.path().join("secret"), "").unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        };
        link("usr/bin", "bin");
        link("/usr/bin/a", "absolute");
        link("../../secret", "up");
        link("loop", "loop");
        for (path, expected) in [
            ("/bin/a", Some("usr/bin/a")),
            ("bin/../usr/./bin//a", None), // `..` after a link is the link's own parent: /usr/usr
            ("/absolute", Some("usr/bin/a")),
            ("../../../usr/bin/a", Some("usr/bin/a")),
            ("/up", None),
            ("/loop", None),
            ("/missing", None),
        ] {
            let expected = expected.map(|e| root.join(e));
            assert_eq!(inside(&root, path), expected, "{path}");
        }
    }
}
