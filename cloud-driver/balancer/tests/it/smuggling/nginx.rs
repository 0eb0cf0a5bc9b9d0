//! nginx as a proxy in front of an instance, with the balancer's limits instead of its own.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::stand::{Process, SOON};

/// A running nginx.
pub(crate) struct Nginx {
    _process: Process,
    _folder: TempDir,
    pub(crate) address: SocketAddr,
}

fn program() -> Option<String> {
    let known = ["nginx", "/usr/sbin/nginx"].into_iter();
    let mut works = known.filter(|path| {
        let asked = Command::new(path).arg("-v").stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    });
    works.next().map(str::to_owned)
}

impl Nginx {
    /// Starts one; none when it is not installed.
    pub(crate) fn start(instance: SocketAddr) -> Option<Self> {
        let program = program()?;
        // Between finding a free port and listening on it somebody else may have taken it.
        for _ in 0..5 {
            if let Some(started) = Self::try_start(&program, instance) {
                return Some(started);
            }
        }
        panic!("{program} does not start");
    }

    fn try_start(program: &str, instance: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], servers::port::free()));
        let f = folder.path().display();
        // One process: nothing is left when it is killed.
        let text = format!(
            "daemon off; master_process off; pid {f}/pid; error_log {f}/error;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_max_body_size 0; client_body_buffer_size 1m;\n\
             client_header_buffer_size 64k; large_client_header_buffers 8 64k;\n\
             client_body_temp_path {f}/body; proxy_temp_path {f}/proxy;\n\
             fastcgi_temp_path {f}/fastcgi; uwsgi_temp_path {f}/uwsgi; scgi_temp_path {f}/scgi;\n\
             upstream instance {{ server {instance} max_fails=0; keepalive 16; }}\n\
             server {{ listen {address}; location / {{\n\
             proxy_pass http://instance; proxy_http_version 1.1; proxy_next_upstream off;\n\
             proxy_set_header Host $host; proxy_set_header Connection \"\";\n\
             proxy_set_header X-Forwarded-For $remote_addr; }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let started = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut process = Process(started.unwrap());
        let begun = std::time::Instant::now();
        loop {
            if process.0.try_wait().unwrap().is_some() {
                return None;
            }
            if std::net::TcpStream::connect(address).is_ok() {
                return Some(Self {
                    _process: process,
                    _folder: folder,
                    address,
                });
            }
            assert!(begun.elapsed() < SOON, "nginx does not listen on {address}");
            std::thread::yield_now();
        }
    }
}
