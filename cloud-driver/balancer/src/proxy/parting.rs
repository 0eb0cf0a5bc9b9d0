//! Ending a connection so that what was said last is heard.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Most bytes that the other side may still send, and how long it has. To close while there is
/// something unread resets the connection, and last words are lost with it.
const LINGER: (usize, Duration) = (64 * 1024, Duration::from_secs(1));

/// Says last words, if any, and closes; what still comes is read and dropped.
pub(crate) async fn part(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) {
    let (most, limit) = LINGER;
    let said = timeout(limit, async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut buffer = [0; 1024];
        let mut left = most;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, io::Error>(())
    });
    // Who does not listen has been closed by then, too.
    let _unheard = said.await;
}
