//! Connecting to a unix socket wherever its folder is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

/// What the kernel takes of a socket's path, in bytes, with some to spare.
const LONGEST: usize = 100;

/// Connects to the socket of this name in a folder. A long path goes by way of the
/// open folder, because the kernel takes no more than 107 bytes.
///
/// # Errors
/// When nobody listens.
pub(crate) async fn connect(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let plain = folder.join(name);
    if plain.as_os_str().len() < LONGEST {
        return UnixStream::connect(plain).await;
    }
    let open = File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd()));
    UnixStream::connect(short).await
}
