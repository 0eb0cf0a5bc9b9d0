//! Requests at a fixed rate, each on a connection of its own; h2load makes none of these.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::Load;

/// Threads that make them.
const THREADS: u32 = 8;

/// Longest time for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Microseconds of each request: from the moment it was due, before the connection is asked for, to the
/// end of the answer.
///
/// # Errors
/// When a request fails.
pub(crate) fn times(port: u16, path: &str, load: &Load) -> Result<Vec<u64>> {
    let rate = u32::try_from(load.rate)?;
    let between = Duration::from_secs(1) * THREADS / rate.max(1);
    let count = load.rate * load.seconds / u64::from(THREADS);
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let began = Instant::now();
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (request, first) = (&request, began + between * thread / THREADS);
                scope.spawn(move || paced(port, request, first, between, count))
            })
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.collect::<Vec<_>>()
    });
    let mut all = Vec::new();
    for times in made {
        match times {
            Ok(times) => all.extend(times.map_err(|e| format!("a new connection: {e}"))?),
            Err(_) => return Err("a thread of clients failed".into()),
        }
    }
    Ok(all)
}

fn paced(
    port: u16,
    request: &str,
    first: Instant,
    between: Duration,
    count: u64,
) -> std::io::Result<Vec<u64>> {
    let mut times = Vec::new();
    let mut due = first;
    let mut answer = Vec::new();
    for _ in 0..count {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        answer.clear();
        stream.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            let text = String::from_utf8_lossy(&answer).into_owned();
            return Err(std::io::Error::other(text));
        }
        times.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
        due += between;
    }
    Ok(times)
}
