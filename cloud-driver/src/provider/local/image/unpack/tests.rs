//! Archives with every trick we know of, and what must become of them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::*;

/// A layer written entry by entry, names as given, however wrong.
#[derive(Default)]
struct Written {
    archive: Vec<u8>,
}

impl Written {
    fn raw(mut self, kind: EntryType, name: &[u8], link: &[u8], mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut builder = Builder::new(&mut self.archive);
        builder.append(&header, content).unwrap();
        // Without the end mark: more follows.
        std::mem::forget(builder);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(
            EntryType::Regular,
            name.as_bytes(),
            b"",
            0o644,
            content.as_bytes(),
        )
    }

    fn folder(self, name: &str) -> Self {
        self.raw(EntryType::Directory, name.as_bytes(), b"", 0o755, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(
            EntryType::Symlink,
            name.as_bytes(),
            target.as_bytes(),
            0o777,
            b"",
        )
    }

    fn hardlink(self, name: &str, target: &str) -> Self {
        self.raw(
            EntryType::Link,
            name.as_bytes(),
            target.as_bytes(),
            0o644,
            b"",
        )
    }

    fn end(mut self) -> Vec<u8> {
        self.archive.extend([0; 1024]);
        self.archive
    }
}

struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::write(folder.path().join("outside"), "untouched").unwrap();
        Self { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root().join(name)).ok()
    }

    fn layer(&self, number: usize, blob: &[u8], content: &[u8]) -> Layer {
        let path = self.folder.path().join(format!("layer{number}"));
        fs::write(&path, blob).unwrap();
        Layer {
            blob: format!("layer{number}"),
            path,
            content: format!("sha256:{}", hex::encode(Sha256::digest(content))),
        }
    }

    fn unpack_with(&self, layers: &[Vec<u8>], limits: Limits) -> Result<(), Error> {
        let layers: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(n, bytes)| self.layer(n, bytes, bytes))
            .collect();
        let outcome = unpack("image", &layers, &self.root(), limits);
        let outside = fs::read_to_string(self.folder.path().join("outside")).unwrap();
        assert_eq!(outside, "untouched");
        outcome
    }

    fn unpack(&self, layers: &[Vec<u8>]) -> Result<(), Error> {
        self.unpack_with(layers, Limits::default())
    }
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn upper_layers_replace_what_lower_layers_hold() {
    let ground = Ground::new();
    let lower = Written::default()
        .folder("a/")
        .file("a/x", "old")
        .file("b", "file")
        .folder("c")
        .file("c/y", "y");
    let upper = Written::default()
        .file("a/x", "new")
        .folder("b")
        .file("b/z", "z")
        .file("c", "now a file");
    ground.unpack(&[lower.end(), upper.end()]).unwrap();
    assert_eq!(ground.read("a/x").as_deref(), Some("new"));
    assert_eq!(ground.read("b/z").as_deref(), Some("z"));
    assert_eq!(ground.read("c").as_deref(), Some("now a file"));
}

#[test]
fn a_whiteout_removes_from_lower_layers_only_wherever_it_stands() {
    let lower = || {
        Written::default()
            .folder("d")
            .file("d/gone", "1")
            .file("d/kept", "2")
            .end()
    };
    for before in [true, false] {
        let ground = Ground::new();
        let upper = if before {
            Written::default()
                .file("d/.wh.gone", "")
                .file("d/gone", "own")
        } else {
            Written::default()
                .file("d/gone", "own")
                .file("d/.wh.gone", "")
        };
        ground.unpack(&[lower(), upper.end()]).unwrap();
        assert_eq!(
            ground.read("d/gone").as_deref(),
            Some("own"),
            "before: {before}"
        );
        assert_eq!(ground.read("d/kept").as_deref(), Some("2"));
        assert_eq!(ground.read("d/.wh.gone"), None);
    }
    let ground = Ground::new();
    let upper = Written::default()
        .file(".wh.d", "")
        .file("absent/.wh.x", "")
        .end();
    ground.unpack(&[lower(), upper]).unwrap();
    assert!(!ground.root().join("d").exists());
    assert!(!ground.root().join("absent").exists());
}

#[test]
fn an_opaque_folder_hides_all_of_lower_layers_and_nothing_of_its_own() {
    for before in [true, false] {
        let ground = Ground::new();
        let lower = Written::default()
            .folder("d/e")
            .file("d/e/1", "")
            .file("d/2", "")
            .end();
        let upper = Written::default();
        let upper = if before {
            upper.file("d/.wh..wh..opq", "").file("d/own", "own")
        } else {
            upper.file("d/own", "own").file("d/.wh..wh..opq", "")
        };
        let plnk = upper.file("d/.wh..wh.plnk", "old book-keeping");
        ground.unpack(&[lower, plnk.end()]).unwrap();
        let names: Vec<_> = fs::read_dir(ground.root().join("d")).unwrap().collect();
        assert_eq!(names.len(), 1, "before: {before}");
        assert_eq!(ground.read("d/own").as_deref(), Some("own"));
    }
}

#[test]
fn names_that_lead_out_of_the_image_are_refused() {
    for (layer, fragment) in [
        (Written::default().file("/outside", "x"), "is absolute"),
        (Written::default().file("../outside", "x"), "holds \"..\""),
        (
            Written::default().file("a/../../outside", "x"),
            "holds \"..\"",
        ),
        (
            Written::default().file(".wh...", ""),
            "is a whiteout of no name",
        ),
        (
            Written::default().file("a/.wh..", ""),
            "is a whiteout of no name",
        ),
        (
            Written::default().hardlink("a", "../outside"),
            "whose target holds \"..\"",
        ),
        (
            Written::default().hardlink("a", "/etc/passwd"),
            "whose target is absolute",
        ),
        (Written::default().hardlink("a", "missing"), "is not there"),
        (
            Written::default().folder("d").hardlink("a", "d"),
            "something else than a file",
        ),
        (
            Written::default().symlink("a", ""),
            "without a usable target",
        ),
    ] {
        let ground = Ground::new();
        let text = ground.unpack(&[layer.end()]).unwrap_err().to_string();
        assert!(text.contains(fragment), "{text}");
    }
}

#[test]
fn nothing_is_written_removed_or_linked_through_a_link() {
    let up = || Written::default().symlink("up", "..");
    for (layers, fragment) in [
        (
            vec![up().file("up/outside", "x")],
            "goes through a symbolic link",
        ),
        (
            vec![up(), Written::default().file("up/outside", "x")],
            "goes through a symbolic link",
        ),
        (
            vec![up(), Written::default().file("up/.wh.outside", "")],
            "goes through a symbolic link",
        ),
        (
            vec![up(), Written::default().file("up/.wh..wh..opq", "")],
            "goes through a symbolic link",
        ),
        (
            vec![up().hardlink("mine", "up/outside")],
            "goes through a symbolic link",
        ),
        (vec![up().folder("up/new")], "goes through a symbolic link"),
        (
            vec![Written::default().file("f", "").file("f/g", "")],
            "goes through something",
        ),
    ] {
        let ground = Ground::new();
        let layers: Vec<_> = layers.into_iter().map(Written::end).collect();
        let text = ground.unpack(&layers).unwrap_err().to_string();
        assert!(text.contains(fragment), "{text}");
    }
}

#[test]
fn a_link_is_replaced_and_not_written_to() {
    let ground = Ground::new();
    let lower = Written::default()
        .symlink("file", "../outside")
        .symlink("folder", "..")
        .symlink("absolute", "/etc/passwd");
    let upper = Written::default()
        .file("file", "own")
        .folder("folder")
        .file("folder/x", "own");
    ground.unpack(&[lower.end(), upper.end()]).unwrap();
    assert_eq!(ground.read("file").as_deref(), Some("own"));
    assert_eq!(ground.read("folder/x").as_deref(), Some("own"));
    let kept = fs::read_link(ground.root().join("absolute")).unwrap();
    assert_eq!(kept.to_str(), Some("/etc/passwd"));
}

#[test]
fn a_second_name_shares_the_file_until_one_is_replaced() {
    let ground = Ground::new();
    let lower = Written::default()
        .file("one", "1")
        .hardlink("two", "one")
        .symlink("s", "one")
        .hardlink("t", "s");
    ground.unpack(&[lower.end()]).unwrap();
    let inode = |name| {
        fs::symlink_metadata(ground.root().join(name))
            .unwrap()
            .ino()
    };
    assert_eq!(inode("one"), inode("two"));
    assert_eq!(inode("s"), inode("t"));

    let ground = Ground::new();
    let lower = Written::default().file("one", "1").hardlink("two", "one");
    let upper = Written::default().file("one", "new");
    ground.unpack(&[lower.end(), upper.end()]).unwrap();
    assert_eq!(ground.read("two").as_deref(), Some("1"));
}

#[test]
fn devices_are_left_out_and_no_file_gains_rights() {
    let ground = Ground::new();
    let layer = Written::default()
        .raw(EntryType::Char, b"null", b"", 0o666, b"")
        .raw(EntryType::Block, b"disk", b"", 0o666, b"")
        .raw(EntryType::Fifo, b"pipe", b"", 0o666, b"")
        .raw(EntryType::Regular, b"su", b"", 0o6755, b"x")
        .raw(EntryType::Directory, b"tmp", b"", 0o3777, b"")
        .raw(EntryType::Directory, b"closed", b"", 0o000, b"")
        .file("closed/in", "in");
    ground.unpack(&[layer.end()]).unwrap();
    for name in ["null", "disk", "pipe"] {
        assert!(
            fs::symlink_metadata(ground.root().join(name)).is_err(),
            "{name}"
        );
    }
    let mode = |name| {
        fs::metadata(ground.root().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode("su"), 0o755);
    assert_eq!(mode("tmp"), 0o1777);
    assert_eq!(mode("closed"), 0o700);
    assert_eq!(ground.read("closed/in").as_deref(), Some("in"));
}

#[test]
fn limits_of_bytes_and_entries_hold_over_all_layers() {
    let two = || {
        Written::default()
            .file("a", &"x".repeat(4000))
            .file("b", "y")
            .end()
    };
    let limits = |unpacked_bytes, entries| Limits {
        unpacked_bytes,
        entries,
        ..Limits::default()
    };
    for (limits, fragment) in [
        (limits(9_000, 10), "more than the 9000 bytes"),
        (limits(1 << 20, 3), "more than the 3 entries"),
    ] {
        let text = Ground::new()
            .unpack_with(&[two(), two()], limits)
            .unwrap_err()
            .to_string();
        assert!(text.contains(fragment), "{text}");
    }
    Ground::new()
        .unpack_with(&[two(), two()], limits(1 << 20, 4))
        .unwrap();
}

#[test]
fn a_small_blob_that_unpacks_to_a_huge_one_is_stopped() {
    let ground = Ground::new();
    let bomb = Written::default()
        .file("zeros", &"\0".repeat(8 << 20))
        .end();
    let small = compressed(&bomb);
    assert!(small.len() < 100_000);
    let layer = ground.layer(0, &small, &bomb);
    let limits = Limits {
        unpacked_bytes: 1 << 20,
        ..Limits::default()
    };
    let text = unpack("image", &[layer], &ground.root(), limits)
        .unwrap_err()
        .to_string();
    assert!(text.contains("more than the 1048576 bytes"), "{text}");
}

#[test]
fn long_names_are_read_and_too_long_ones_refused() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let mut archive = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let ground = Ground::new();
    ground.unpack(&[archive.into_inner().unwrap()]).unwrap();
    assert_eq!(ground.read(&long).as_deref(), Some("x"));

    let pax = |path: &str| {
        let mut archive = Builder::new(Vec::new());
        archive
            .append_pax_extensions([("path", path.as_bytes())])
            .unwrap();
        let mut header = Header::new_ustar();
        header.set_path("short").unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, std::io::empty()).unwrap();
        archive.into_inner().unwrap()
    };
    let ground = Ground::new();
    ground.unpack(&[pax("from/pax")]).unwrap();
    assert!(ground.read("from/pax").is_some());
    for (path, fragment) in [
        ("../outside".to_owned(), "holds \"..\""),
        ("x".repeat(256), "longer than 255"),
        ("x/".repeat(129), "deeper than the 128"),
        ("x/".repeat(2100), "longer than the 4096"),
        ("x".repeat(70_000), "extended header has more than"),
    ] {
        let text = Ground::new().unpack(&[pax(&path)]).unwrap_err().to_string();
        assert!(text.contains(fragment), "{text}");
    }
}

#[test]
fn bytes_that_are_not_those_of_the_configuration_are_refused() {
    let ground = Ground::new();
    let layer = Written::default().file("a", "x").end();
    let other = Written::default().file("a", "y").end();
    for (blob, fragment) in [
        (compressed(&other), "unpacked it has digest"),
        (layer[..700].to_vec(), "cannot be read"),
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0], "zstd"),
        (
            b"<html>not an archive, but long enough to be taken for a header block</html>"
                .repeat(10),
            "cannot be read",
        ),
    ] {
        let layer = ground.layer(0, &blob, &layer);
        let text = unpack("image", &[layer], &ground.root(), Limits::default())
            .unwrap_err()
            .to_string();
        assert!(text.contains(fragment), "{text}");
        assert!(ground.read("a").is_none());
    }
}
