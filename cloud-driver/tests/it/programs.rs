//! The programs the tests start, built once when they are not there.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The folder of `balancer`, `instance` and `demo-server`: `GENNAKER_BIN_DIR`,
/// else the test's own target folder, where they are built first.
pub(crate) fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Ok(filter) = std::env::var("GENNAKER_LOG") {
            runtime::telemetry::init(&filter, runtime::telemetry::Format::Text).unwrap();
        }
        if let Some(folder) = std::env::var_os("GENNAKER_BIN_DIR") {
            return PathBuf::from(folder);
        }
        let test = std::env::current_exe().unwrap();
        // target/debug/deps/it-… → target/debug
        let folder = test.parent().unwrap().parent().unwrap().to_owned();
        let packages = ["balancer", "instance", "demo"];
        println!("building {packages:?} for the tests");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--bins"]);
        for package in packages {
            build.args(["-p", package]);
        }
        if folder.ends_with("release") {
            build.arg("--release");
        }
        build.env("CARGO_TARGET_DIR", folder.parent().unwrap());
        assert!(
            build.status().unwrap().success(),
            "the programs do not build"
        );
        folder
    })
}
