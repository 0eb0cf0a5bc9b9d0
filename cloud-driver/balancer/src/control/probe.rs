//! One probe of one instance: a connection of its own, never one of the proxy's.

use std::net::SocketAddr;
use std::time::Duration;

use balancer::Health;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks an instance for its health; why not, in words.
pub(crate) async fn probe(address: SocketAddr, health: &Health) -> Result<(), String> {
    let limit = Duration::from_millis(health.timeout_ms);
    match tokio::time::timeout(limit, ask(address, health.path.as_deref())).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} ms", health.timeout_ms)),
    }
}

async fn ask(address: SocketAddr, path: Option<&str>) -> Result<(), String> {
    let stream = TcpStream::connect(address).await;
    let mut stream = stream.map_err(|e| format!("cannot connect: {e}"))?;
    let Some(path) = path else {
        return Ok(());
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: balancer\r\nconnection: close\r\n\r\n"
    );
    let broken = |e: std::io::Error| format!("connection broke: {e}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::new();
    // `HTTP/1.1 200`
    while head.len() < 12 {
        let mut chunk = [0; 512];
        let read = stream.read(&mut chunk).await.map_err(broken)?;
        if read == 0 {
            return Err("connection closed without an answer".to_owned());
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let status = head
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5));
    let status: Option<u16> = status.and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
    match status {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("{path} answers {status}")),
        None => Err(format!("{path} does not answer in HTTP")),
    }
}
