//! One look at a shim's folder, and the stop order: by its socket, by its
//! records, and when the shim is gone by `/proc`.

use std::path::Path;
use std::time::Duration;

use ::instance::{Answer, EXIT, Exit, Ids, Request, SOCKET, STATE};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::record::{io, read, write};
use crate::provider::local::{Error, now_ms, unix};

/// How long a shim may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// What one look at a folder shows.
pub(super) enum Look {
    /// The shim answers.
    Answer(Answer),
    /// It ended, and left its record.
    Ended(Exit),
    /// The shim is gone; the instance itself may live.
    Orphan(Ids),
    /// Nothing was ever started.
    Nothing,
    /// Nobody could say.
    Unknown,
}

/// Whether what a folder's shim owns has ended, and the shim with it.
pub(crate) async fn has_ended(folder: &Path, token: &str) -> bool {
    let shim_gone = read::<Ids>(&folder.join(STATE)).is_none_or(|ids| !shim_runs(&ids));
    match look(folder, token, None).await {
        Look::Ended(_) | Look::Nothing => shim_gone,
        Look::Orphan(ids) => {
            let ended = !runs(&ids);
            if ended {
                end_rest(&ids);
            }
            ended
        }
        Look::Answer(_) | Look::Unknown => false,
    }
}

/// Ends what an instance that is gone left in its process group. The number is its own as
/// long as a member lives, and nobody's if no process has it.
fn end_rest(ids: &Ids) {
    let gone = !Path::new(&format!("/proc/{}", ids.pid)).exists();
    let pid = i32::try_from(ids.pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid.filter(|_| gone) {
        let _nobody = kill_process_group(pid, Signal::KILL);
    }
}

/// Orders the end of what a folder's shim owns.
pub(crate) async fn stop(folder: &Path, id: &str, token: &str, grace_ms: u64) -> Result<(), Error> {
    match look(folder, token, None).await {
        Look::Ended(_) => Ok(()),
        Look::Answer(answer) if answer.exit.is_some() => Ok(()),
        Look::Answer(_) => {
            let request = Request::Stop {
                token: token.to_owned(),
                grace_ms: Some(grace_ms),
            };
            let answer = ask(folder, &request).await.map_err(|reason| Error::Shim {
                instance: id.to_owned(),
                reason,
            })?;
            match answer.error {
                None => Ok(()),
                Some(reason) => Err(Error::Shim {
                    instance: id.to_owned(),
                    reason,
                }),
            }
        }
        Look::Orphan(ids) => {
            end_orphan(ids, Duration::from_millis(grace_ms));
            Ok(())
        }
        Look::Nothing => never_started(folder, "stopped before it was started"),
        Look::Unknown => Err(Error::Shim {
            instance: id.to_owned(),
            reason: "its shim does not answer".to_owned(),
        }),
    }
}

/// Sends a signal to what a folder's shim owns, once in its life: the shim keeps what it sent.
pub(super) async fn signal_once(
    folder: &Path,
    id: &str,
    token: &str,
    number: i32,
) -> Result<(), Error> {
    let failed = |reason: String| Error::Shim {
        instance: id.to_owned(),
        reason,
    };
    match look(folder, token, None).await {
        Look::Ended(_) => Ok(()),
        Look::Answer(_) => {
            let request = Request::Signal {
                token: token.to_owned(),
                signal: number,
                once: true,
            };
            let answer = ask(folder, &request).await.map_err(failed)?;
            answer.error.map_or(Ok(()), |reason| Err(failed(reason)))
        }
        Look::Orphan(ids) => {
            let pid = i32::try_from(ids.pid).ok().and_then(Pid::from_raw);
            let signal = Signal::from_named_raw(number);
            if let (Some(pid), Some(signal), true) = (pid, signal, runs(&ids)) {
                let _gone = kill_process(pid, signal);
            }
            Ok(())
        }
        Look::Nothing => Err(failed("it was never started".to_owned())),
        Look::Unknown => Err(failed("its shim does not answer".to_owned())),
    }
}

/// Writes the record that forbids every later start.
pub(super) fn never_started(folder: &Path, reason: &str) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let now = now_ms();
    let exit = Exit {
        failure: Some(reason.to_owned()),
        started_ms: now,
        ended_ms: now,
        asked: true,
        ..Exit::default()
    };
    write(&folder.join(EXIT), &exit)
}

/// Ends an instance whose shim is gone. Asked for again and again until the exit
/// is seen, so nothing is lost when this process ends meanwhile.
fn end_orphan(ids: Ids, grace: Duration) {
    let pid = i32::try_from(ids.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid.filter(|_| runs(&ids)) else {
        return;
    };
    let _gone = kill_process(pid, Signal::TERM);
    tokio::spawn(async move {
        tokio::time::sleep(grace).await;
        // It leads a process group: what it started goes with it.
        let _gone = kill_process_group(pid, Signal::KILL);
    });
}

/// What an exit says, in words.
pub(super) fn describe(exit: &Exit) -> String {
    match (&exit.failure, exit.code, exit.signal) {
        (Some(failure), _, _) => failure.clone(),
        (None, Some(code), _) => format!("exit code {code}"),
        (None, None, Some(signal)) => format!("signal {signal}"),
        (None, None, None) => "it ended".to_owned(),
    }
}

/// Whether the process with these ids runs: not another of the same number, not
/// one that waits to be reaped, not one of an earlier boot.
pub(super) fn runs(ids: &Ids) -> bool {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if boot.trim() != ids.boot_id {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", ids.pid)).unwrap_or_default();
    // The name stands in parentheses and may hold anything: count after the last one.
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = rest.split_whitespace();
    let state = fields.next().unwrap_or_default();
    let start = fields.nth(18).and_then(|s| s.parse::<u64>().ok());
    start == Some(ids.start) && !matches!(state, "Z" | "X")
}

pub(super) async fn look(folder: &Path, token: &str, port: Option<u16>) -> Look {
    if let Some(exit) = read::<Exit>(&folder.join(EXIT)) {
        return Look::Ended(exit);
    }
    let ids = read::<Ids>(&folder.join(STATE));
    if ids.is_none() && !folder.join(SOCKET).exists() {
        return Look::Nothing;
    }
    let request = Request::State {
        token: token.to_owned(),
        port,
    };
    match ask(folder, &request).await {
        Ok(answer) if answer.error.is_none() => Look::Answer(answer),
        Ok(answer) => {
            tracing::error!(
                folder = %folder.display(),
                error = answer.error,
                "a shim does not accept our token"
            );
            Look::Unknown
        }
        Err(_) => match (read::<Exit>(&folder.join(EXIT)), ids) {
            (Some(exit), _) => Look::Ended(exit),
            (None, Some(ids)) if shim_runs(&ids) => Look::Unknown,
            (None, Some(ids)) => Look::Orphan(ids),
            // It is between its socket and its first record.
            (None, None) => Look::Unknown,
        },
    }
}

pub(super) fn shim_runs(ids: &Ids) -> bool {
    runs(&Ids {
        pid: ids.shim_pid,
        start: ids.shim_start,
        ..ids.clone()
    })
}

async fn ask(folder: &Path, request: &Request) -> Result<Answer, String> {
    let exchange = async {
        let mut stream = unix::connect(folder, SOCKET).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        Ok::<Answer, std::io::Error>(serde_json::from_str(&answer)?)
    };
    match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer within 3 s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_with_numbers_read_back() {
        let request = Request::State {
            token: "t".into(),
            port: Some(20_001),
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
}
