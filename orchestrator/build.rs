//! Names the engine: its version, and a hash of the sources that decide what follows from a message. Two
//! builds with the same name decide the same, so one can check the log of the other.

use std::path::{Path, PathBuf};

/// What decides.
const SOURCES: [&str; 6] = [
    "core/src",
    "src/stage",
    "src/task",
    "src/turn.rs",
    "src/record.rs",
    "expression/src",
];

fn main() -> std::io::Result<()> {
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        gather(Path::new(source), &mut files)?;
    }
    files.sort();
    // FNV-1a: this tells builds apart and keeps nobody out.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let name = file.to_string_lossy().into_owned().into_bytes();
        for byte in name.into_iter().chain(std::fs::read(&file)?) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    println!("cargo::rustc-env=GENNAKER_ENGINE={version}-{hash:016x}");
    Ok(())
}

fn gather(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            gather(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}
