//! Starting the built programs and reading what they print.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
    lines: BufReader<ChildStdout>,
}

impl Server {
    /// Starts the server with these settings and waits until it listens.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = spawn(settings);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let line = line_with(&mut lines, "listens on");
        let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
        Self { child, port, lines }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        line_with(&mut self.lines, text)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One request on a connection of its own; the whole answer as text.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = self.open(path);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends a request and does not wait.
    pub(crate) fn open(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn spawn(settings: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_demo-server"))
        .env_clear()
        .env("PORT", "0")
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub(crate) fn line_with(lines: &mut impl BufRead, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(
            lines.read_line(&mut line).unwrap(),
            0,
            "no line with {text:?} in:\n{seen}"
        );
        if line.contains(text) {
            return line;
        }
        seen.push_str(&line);
    }
}
