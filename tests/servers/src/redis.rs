//! A throwaway Redis server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader};
use std::process::{Child, Command};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tempfile::TempDir;

use crate::port;

const PROGRAM: &str = "redis-server";
/// What it says when its socket takes connections and its files are read.
const READY: &str = "Ready to accept connections";
/// The longest time between two lines of its log until then.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many ports are tried.
const TRIES: usize = 5;

/// A Redis server with a port and a folder of its own. It is killed when this is dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    _folder: TempDir,
    port: u16,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    /// Starts one whose log of commands is written to disk as `append` says (`always`, `everysec`), and waits until
    /// it answers; none, and says so, where it is not installed.
    ///
    /// # Panics
    /// It is installed and does not start.
    pub fn start(append: &str) -> Option<Self> {
        let mut said = String::new();
        for _ in 0..TRIES {
            match Self::start_at(port::free(), append) {
                Ok(Ok(redis)) => return Some(redis),
                Ok(Err(last)) => said = last,
                Err(error) => {
                    println!("skipped: {PROGRAM} cannot be started: {error}");
                    return None;
                }
            }
        }
        panic!("{PROGRAM} ended {TRIES} times, at last:\n{said}");
    }

    /// One try: what it said, if it ended; an error where there is no such program.
    fn start_at(port: u16, append: &str) -> std::io::Result<Result<Self, String>> {
        let folder = tempfile::tempdir().unwrap();
        let (log, stdout) = std::io::pipe().unwrap();
        let child = Command::new(PROGRAM)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", append])
            .arg("--dir")
            .arg(folder.path())
            .stderr(stdout.try_clone().unwrap())
            .stdout(stdout)
            .spawn()?;
        let redis = Self {
            child,
            _folder: folder,
            port,
        };
        Ok(ready(log).map(|()| redis))
    }

    /// Its address, as a store takes it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What a command answers, line by line.
    ///
    /// # Panics
    /// There is no `redis-cli`.
    pub fn ask(&self, command: &[&str]) -> Vec<String> {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Bytes that were sent to it, and that it answered, so far.
    ///
    /// # Panics
    /// It does not tell.
    pub fn traffic(&self) -> (u64, u64) {
        let told = self.ask(&["info", "stats"]);
        let number = |field: &str| {
            let line = told.iter().find_map(|line| line.strip_prefix(field));
            line.unwrap().parse().unwrap()
        };
        (
            number("total_net_input_bytes:"),
            number("total_net_output_bytes:"),
        )
    }

    /// How often each command was called so far, those inside scripts included.
    ///
    /// # Panics
    /// There is no `redis-cli`.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let line = |line: &String| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        let told = self.ask(&["info", "commandstats"]);
        told.iter().filter_map(line).collect()
    }
}

/// Waits until a server says that it is ready; what it said, if it ended instead. An answer at its port would not tell
/// whose it is.
fn ready(log: PipeReader) -> Result<(), String> {
    let (tell, told) = mpsc::channel();
    // It reads on to the end: a log that nobody reads would hold up the server.
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let mut said = String::new();
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(line) if line.contains(READY) => return Ok(()),
            Ok(line) => said = said + &line + "\n",
            Err(RecvTimeoutError::Disconnected) => return Err(said),
            Err(RecvTimeoutError::Timeout) => panic!("{PROGRAM} is not ready:\n{said}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_server_answers_when_it_is_returned_and_ends_with_its_value() {
        let Some(redis) = Redis::start("always") else {
            return;
        };
        assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port));
        assert_eq!(redis.ask(&["set", "a", "b"]), ["OK"]);
        assert_eq!(redis.ask(&["config", "get", "appendfsync"])[1], "always");
        assert_eq!(redis.calls()["set"], 1);
        let before = redis.traffic();
        redis.ask(&["set", "a", &"b".repeat(1000)]);
        let after = redis.traffic();
        assert!(after.0 > before.0 + 1000 && after.1 > before.1, "{after:?}");
        let (port, folder) = (redis.port, redis._folder.path().to_owned());
        drop(redis);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!folder.exists());
    }

    #[test]
    fn two_servers_are_two() {
        let (Some(one), Some(other)) = (Redis::start("everysec"), Redis::start("everysec")) else {
            return;
        };
        one.ask(&["set", "a", "one"]);
        assert_eq!(other.ask(&["exists", "a"]), ["0"]);
    }

    #[test]
    fn a_server_whose_port_is_taken_says_so() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        match Redis::start_at(port, "always") {
            Ok(started) => assert!(started.unwrap_err().contains("in use")),
            Err(error) => println!("skipped: {PROGRAM} cannot be started: {error}"),
        }
    }
}
