//! The smoke test of the demonstration's image: asks an address until it answers.
//!
//! A stand-in for somebody's test that runs after a deployment. 503 means not yet.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Between two requests while the answer is 503.
const PAUSE: Duration = Duration::from_millis(50);

/// How long an answer may take, and how much of it is read, in bytes.
const ANSWER: Duration = Duration::from_secs(10);
const MOST: u64 = 64 * 1024;

/// Checks `http://ADDRESS/PATH`, sent with this `Host` if there is one: 0 when it answers with 2xx, and
/// what it answered as a property; 1 for any other status. Every request carries the process id.
///
/// # Errors
/// The URL is malformed, or nobody answers.
pub async fn check(url: &str, host: Option<&str>) -> Result<ExitCode> {
    let rest = url.strip_prefix("http://");
    let Some((address, path)) = rest.and_then(|rest| rest.split_once('/')) else {
        bail!("{url:?} is no URL to check: write http://ADDRESS:PORT/PATH");
    };
    println!("checking {url}");
    let host = host.unwrap_or(address);
    let pid = std::process::id();
    loop {
        let request =
            format!("GET /{path}?pid={pid} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let asked = timeout(ANSWER, ask(address, &request)).await;
        let asked = asked.unwrap_or_else(|_| bail!("nothing came within {} s", ANSWER.as_secs()));
        let (status, body) = asked.with_context(|| format!("{url}: no answer"))?;
        match status {
            503 => sleep(PAUSE).await,
            200..=299 => {
                println!("SPINNAKER_PROPERTY_ANSWER={}", body.trim());
                println!("{url} answered {status}");
                return Ok(ExitCode::SUCCESS);
            }
            _ => {
                println!("{url} answered {status}");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}

async fn ask(address: &str, request: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(MOST).read_to_end(&mut bytes).await?;
    let answer = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no end of its headers")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("{:?} is no status", head.lines().next()))?;
    Ok((status, body.to_owned()))
}
