//! The worker's side of a queue: HTTP/1.1, a connection each time.
//!
//! | request | answer |
//! |---|---|
//! | `POST /take?worker=W` | 200 `ID MS`, or 200 `ID held`: the worker's job from now on; 204: none for now |
//! | `GET /held?job=ID` | 204 once a held job may end |
//! | `POST /done?job=ID&worker=W` | 204: the queue forgets it |

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{PAUSE, Settings};

/// How long an answer may take: a queue may wait for a job.
const ANSWER: Duration = Duration::from_secs(30);

/// Largest answer, in bytes.
const MOST: u64 = 4 * 1024;

/// A job that was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    id: String,
    /// How long it takes; none: until the queue lets it end.
    takes: Option<Duration>,
}

/// Takes a job, if there is one.
pub(super) async fn take(settings: &Settings) -> Result<Option<Job>> {
    let name = &settings.name;
    let (status, body) = ask(settings, &format!("POST /take?worker={name}")).await?;
    match status {
        204 => Ok(None),
        200 => parse(&body).map(Some),
        other => bail!("it answers {other}"),
    }
}

fn parse(body: &str) -> Result<Job> {
    let (id, takes) = body.trim().split_once(' ').context("its job has no time")?;
    let takes = match takes {
        "held" => None,
        ms => Some(Duration::from_millis(ms.parse().with_context(|| {
            format!("its job takes {ms:?}, which is no number of milliseconds")
        })?)),
    };
    Ok(Job {
        id: id.to_owned(),
        takes,
    })
}

/// Does a job, and tells the queue until it knows.
pub(super) async fn perform(settings: &Settings, job: &Job) {
    match job.takes {
        Some(takes) => sleep(takes).await,
        None => until(settings, &format!("GET /held?job={}", job.id)).await,
    }
    let name = &settings.name;
    let done = format!("POST /done?job={}&worker={name}", job.id);
    until(settings, &done).await;
}

/// Asks until the answer is 204.
async fn until(settings: &Settings, line: &str) {
    while !matches!(ask(settings, line).await, Ok((204, _))) {
        sleep(PAUSE).await;
    }
}

async fn ask(settings: &Settings, line: &str) -> Result<(u16, String)> {
    let address = &settings.queue;
    let whole = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(MOST).read_to_end(&mut bytes).await?;
        let answer = String::from_utf8_lossy(&bytes).into_owned();
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.with_context(|| format!("{answer:?} has no status"))?;
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        Ok((status, body.unwrap_or_default()))
    };
    let asked = timeout(ANSWER, whole).await;
    asked.unwrap_or_else(|_| bail!("nothing came within {} s", ANSWER.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read() {
        let job = |id: &str, takes| Job {
            id: id.to_owned(),
            takes,
        };
        assert_eq!(
            parse("7 250\n").unwrap(),
            job("7", Some(Duration::from_millis(250)))
        );
        assert_eq!(parse("8 held").unwrap(), job("8", None));
        assert!(parse("9").is_err() && parse("9 soon").is_err());
    }
}
