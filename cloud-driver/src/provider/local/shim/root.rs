//! A root folder for one instance: a copy of the unpacked image, so that what an
//! instance writes is its own and the next one begins with the image's bytes.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// Folders within folders, at the most; images have a limit of their own.
const DEPTH: usize = 256;

/// What programs expect below `/dev`: name, and number beside the major 1.
const DEVICES: [(&str, u32); 5] = [
    ("null", 3),
    ("zero", 5),
    ("full", 7),
    ("random", 8),
    ("urandom", 9),
];

/// Copies an image's tree to a folder that is not there yet: whole, or not at all.
///
/// # Errors
/// When the disk is full or the image is not readable.
pub(super) fn make(image: &Path, root: &Path) -> io::Result<()> {
    if root.exists() {
        return Ok(());
    }
    let new = root.with_extension("new");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy(image, &new, DEPTH)?;
    if rustix::process::geteuid().is_root() {
        devices(&new);
    }
    fs::rename(&new, root)
}

/// Links are copied as they are and never followed; special files are left out.
fn copy(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other(format!(
            "{} lies too deep",
            from.display()
        )));
    }
    let about = fs::symlink_metadata(from)?;
    let kind = about.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if kind.is_dir() {
        // Writable while it is filled.
        DirBuilder::new().mode(0o700).create(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()), depth - 1)?;
        }
    } else if kind.is_file() {
        fs::copy(from, to)?;
    } else {
        return Ok(());
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        lchown(to, Some(about.uid()), Some(about.gid()))?;
    }
    if !kind.is_symlink() {
        // After the owner, which clears set-user-id bits. Whoever is not root must be able
        // to remove it again.
        let own = if kind.is_dir() && !is_root { 0o700 } else { 0 };
        fs::set_permissions(to, Permissions::from_mode(about.mode() & 0o7777 | own))?;
    }
    Ok(())
}

/// Makes the devices that are not there. Where that is not allowed the instance has none.
fn devices(root: &Path) {
    let folder = root.join("dev");
    let made = DirBuilder::new().mode(0o755).create(&folder);
    let is_folder = fs::symlink_metadata(&folder).is_ok_and(|about| about.is_dir());
    if made.is_err() && !is_folder {
        // A link may lead anywhere.
        return;
    }
    for (name, minor) in DEVICES {
        let path = folder.join(name);
        let mode = Mode::from_raw_mode(0o666);
        let made = mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            mode,
            makedev(1, minor),
        );
        if made.is_ok() {
            // The mask took the others' right to write.
            let _kept = fs::set_permissions(&path, Permissions::from_mode(0o666));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_copy_and_follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let (image, root) = (folder.path().join("image"), folder.path().join("i/root"));
        fs::create_dir_all(image.join("bin")).unwrap();
        fs::create_dir_all(folder.path().join("i")).unwrap();
        fs::create_dir_all(folder.path().join("outside")).unwrap();
        fs::write(image.join("bin/run"), "program").unwrap();
        fs::set_permissions(image.join("bin/run"), Permissions::from_mode(0o4755)).unwrap();
        fs::set_permissions(image.join("bin"), Permissions::from_mode(0o555)).unwrap();
        symlink("bin/run", image.join("link")).unwrap();
        symlink(folder.path().join("outside"), image.join("dev")).unwrap();
        make(&image, &root).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&root.join("bin/run")), 0o4755);
        assert_eq!(mode(&root.join("bin")), 0o555);
        assert_eq!(
            fs::read_link(root.join("link")).unwrap(),
            Path::new("bin/run")
        );
        assert_eq!(
            fs::read_dir(folder.path().join("outside")).unwrap().count(),
            0
        );

        fs::write(root.join("bin/run"), "changed").unwrap();
        assert_eq!(
            fs::read_to_string(image.join("bin/run")).unwrap(),
            "program"
        );
        make(&image, &root).unwrap();
        assert_eq!(
            fs::read_to_string(root.join("bin/run")).unwrap(),
            "changed",
            "kept"
        );
    }

    #[test]
    fn half_a_copy_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (image, root) = (folder.path().join("image"), folder.path().join("root"));
        fs::create_dir_all(&image).unwrap();
        fs::write(image.join("a"), "a").unwrap();
        fs::create_dir_all(folder.path().join("root.new")).unwrap();
        fs::write(folder.path().join("root.new/stray"), "half").unwrap();
        make(&image, &root).unwrap();
        assert!(root.join("a").exists() && !root.join("stray").exists());
        if rustix::process::geteuid().is_root() {
            assert!(root.join("dev/null").exists());
        }
    }
}
