//! Removing images that nobody needs any more: the disk is finite, and the store is on it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::{Config, Error, Images, blob};

/// Images kept although no server group uses them: the next ones share their layers, and a
/// rollback may want one.
const SPARE: usize = 10;

/// What the disk holds of one image.
struct Known {
    digest: String,
    record: PathBuf,
    written: SystemTime,
    rootfs: PathBuf,
    blobs: Vec<PathBuf>,
}

impl Images {
    /// Removes images beyond the newest few that are not in use; nothing while one is being
    /// fetched. Answers how many went.
    ///
    /// # Errors
    /// When a folder cannot be read or something not be removed.
    pub fn prune(&self, in_use: &BTreeSet<String>) -> Result<usize, Error> {
        // Whoever wants to fetch one waits here.
        let Ok(pulls) = self.pulls.lock() else {
            return Ok(0);
        };
        if !pulls.is_empty() {
            return Ok(0);
        }
        let mut known = self.known()?;
        known.sort_by_key(|image| std::cmp::Reverse(image.written));
        let mut spare = SPARE;
        let (kept, gone): (Vec<Known>, Vec<Known>) = known.into_iter().partition(|image| {
            in_use.contains(&image.digest) || {
                let is_spare = spare > 0;
                spare = spare.saturating_sub(1);
                is_spare
            }
        });
        if gone.is_empty() {
            return Ok(0);
        }
        // The records first: what they name may then be incomplete.
        for image in &gone {
            fs::remove_file(&image.record).map_err(Error::io("remove", &image.record))?;
        }
        let roots: BTreeSet<&PathBuf> = kept.iter().map(|image| &image.rootfs).collect();
        let mut asides = Vec::new();
        for root in list(&self.folder.join("rootfs"))? {
            if !roots.contains(&root) {
                // Nobody may find half of it under its name.
                let aside = self.scratch();
                fs::rename(&root, &aside).map_err(Error::io("remove", &root))?;
                asides.push(aside);
            }
        }
        let blobs: BTreeSet<&PathBuf> = kept.iter().flat_map(|image| &image.blobs).collect();
        for blob in list(&self.folder.join("blobs/sha256"))? {
            if !blobs.contains(&blob) {
                fs::remove_file(&blob).map_err(Error::io("remove", &blob))?;
            }
        }
        drop(pulls);
        for aside in asides {
            fs::remove_dir_all(&aside).map_err(Error::io("remove", &aside))?;
        }
        Ok(gone.len())
    }

    /// Every image that was unpacked; what cannot be read any more belongs to none.
    fn known(&self) -> Result<Vec<Known>, Error> {
        let records = list(&self.folder.join("images"))?;
        Ok(records
            .into_iter()
            .filter_map(|record| self.read(record))
            .collect())
    }

    fn read(&self, record: PathBuf) -> Option<Known> {
        let written = fs::metadata(&record).ok()?.modified().ok()?;
        let value: Value = serde_json::from_slice(&fs::read(&record).ok()?).ok()?;
        let config = blob::path(&self.folder, value.get("config")?.as_str()?);
        let rootfs = self.rootfs(&Config::parse(&fs::read(&config).ok()?).ok()?);
        let layers = value.get("layers").and_then(Value::as_array);
        let layers = layers.into_iter().flatten().filter_map(Value::as_str);
        let mut blobs: Vec<PathBuf> = layers
            .map(|layer| blob::path(&self.folder, layer))
            .collect();
        blobs.push(config);
        Some(Known {
            digest: format!("sha256:{}", record.file_stem()?.to_str()?),
            record,
            written,
            rootfs,
            blobs,
        })
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::Limits;
    use super::*;
    use crate::registry::Registries;

    fn hash(kind: u8, number: usize) -> String {
        format!("sha256:{kind:02x}{number:062x}")
    }

    /// Writes image `n`, whose lower layer all share, written `n` seconds after the first.
    fn write(images: &Images, n: usize) {
        let layers = [hash(1, 0), hash(2, n)];
        let config = json!({"rootfs": {"diff_ids": layers}}).to_string();
        fs::write(blob::path(&images.folder, &hash(3, n)), &config).unwrap();
        for layer in &layers {
            fs::write(blob::path(&images.folder, layer), "layer").unwrap();
        }
        let rootfs = images.rootfs(&Config::parse(config.as_bytes()).unwrap());
        fs::create_dir_all(rootfs.join("bin")).unwrap();
        let record = images.record(&hash(4, n));
        fs::write(
            &record,
            json!({"config": hash(3, n), "layers": layers}).to_string(),
        )
        .unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(n as u64);
        fs::File::options()
            .write(true)
            .open(&record)
            .unwrap()
            .set_modified(at)
            .unwrap();
    }

    fn counts(images: &Images) -> [usize; 3] {
        ["images", "rootfs", "blobs/sha256"]
            .map(|name| list(&images.folder.join(name)).unwrap().len())
    }

    #[test]
    fn the_newest_and_what_is_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let registries = Registries::new(Vec::new()).unwrap();
        let images = Images::open(folder.path(), registries, Limits::default()).unwrap();
        for n in 0..SPARE + 5 {
            write(&images, n);
        }
        fs::write(
            folder.path().join("blobs/sha256/stray"),
            "of an interrupted pull",
        )
        .unwrap();
        let in_use = BTreeSet::from([hash(4, 1)]);
        let busy = images.turn("x");
        assert_eq!(images.prune(&in_use).unwrap(), 0, "one is being fetched");
        drop(busy);
        images.pulls.lock().unwrap().clear();
        assert_eq!(images.prune(&in_use).unwrap(), 4);
        // Each has a configuration and a layer of its own; one layer is everybody's.
        assert_eq!(counts(&images), [SPARE + 1, SPARE + 1, 2 * (SPARE + 1) + 1]);
        for n in [1, 5, SPARE + 4] {
            assert!(images.record(&hash(4, n)).exists(), "{n}");
        }
        assert!(!images.record(&hash(4, 4)).exists());
        assert_eq!(images.prune(&in_use).unwrap(), 0);
    }
}
