//! Blobs on disk, by digest: fetched once, verified while they stream in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::Error;
use crate::registry::{Blob, Client};

/// Time without a byte after which a transfer is given up.
const STALL: Duration = Duration::from_secs(30);

/// Where a blob lies, whether it is there or not. `digest` was checked by whoever read it.
pub(super) fn path(folder: &Path, digest: &str) -> PathBuf {
    let name = digest.trim_start_matches("sha256:");
    folder.join("blobs/sha256").join(name)
}

/// Makes sure the blob is there, and returns its path.
///
/// # Errors
/// When the registry does not send it whole and true, or it cannot be written.
pub(super) async fn fetch(
    folder: &Path,
    scratch: &Path,
    client: &Client,
    repository: &str,
    blob: &Blob,
) -> Result<PathBuf, Error> {
    let path = path(folder, &blob.digest);
    // It got this name only after it was verified and on disk.
    match tokio::fs::metadata(&path).await {
        Ok(meta) if meta.len() == blob.size => return Ok(path),
        _ => {}
    }
    let write = |source| Error::io("write", scratch)(source);
    let mut response = client.blob(repository, blob).await?;
    let mut file = tokio::fs::File::create(scratch).await.map_err(write)?;
    let mut hash = Sha256::new();
    let mut size = 0_u64;
    loop {
        let chunk = tokio::time::timeout(STALL, response.chunk())
            .await
            .map_err(|_| {
                client
                    .transport()
                    .unreachable(format!("no byte in {} s", STALL.as_secs()))
            })?
            .map_err(|e| client.transport().broken(&e))?;
        let Some(chunk) = chunk else { break };
        size += chunk.len() as u64;
        if size > blob.size {
            return Err(damaged(
                blob,
                format!("it has more than {} bytes", blob.size),
            ));
        }
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(write)?;
    }
    if size != blob.size {
        return Err(damaged(
            blob,
            format!("it has {size} bytes, not {}", blob.size),
        ));
    }
    let found = format!("sha256:{}", hex::encode(hash.finalize()));
    if found != blob.digest {
        return Err(damaged(blob, format!("its bytes have digest {found}")));
    }
    file.sync_all().await.map_err(write)?;
    tokio::fs::rename(scratch, &path)
        .await
        .map_err(Error::io("write", &path))?;
    Ok(path)
}

fn damaged(blob: &Blob, reason: String) -> Error {
    Error::Blob {
        digest: blob.digest.clone(),
        reason,
    }
}
