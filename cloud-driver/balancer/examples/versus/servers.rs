//! The server behind all, and the three in front of it, each set up as its expert would: connections to
//! the server are kept, nothing is logged, buffers hold a large body, every request says where it came
//! from.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ::servers::port;

use crate::Result;
use crate::program::{PATIENCE, Program, wait_for};

/// Bytes of a small and of a large body.
pub(crate) const SMALL: usize = 100;
/// Bytes of a large body.
pub(crate) const LARGE: usize = 64 * 1024;

/// Where the Debian packages put them.
pub(crate) const NGINX: &str = "/usr/sbin/nginx";
/// The same of HAProxy.
pub(crate) const HAPROXY: &str = "/usr/sbin/haproxy";

/// A server under test.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    /// HTTP/1.1.
    pub(crate) plain: u16,
    /// HTTP/2 by prior knowledge.
    pub(crate) h2c: u16,
    /// TLS with HTTP/2 and HTTP/1.1.
    pub(crate) tls: u16,
}

/// A self-signed certificate: as files of its own and with its key in one.
#[derive(Debug)]
pub(crate) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    both: PathBuf,
}

impl Certificate {
    /// One for `localhost`, with a key on the curve P-256.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = Self {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            both: folder.join("both.pem"),
        };
        std::fs::write(&files.certificate, &certificate)?;
        std::fs::write(&files.key, &key)?;
        std::fs::write(&files.both, certificate + &key)?;
        Ok(files)
    }
}

fn start_nginx(folder: &Path, workers: u64, http: &str, port: u16) -> Result<Program> {
    std::fs::create_dir_all(folder)?;
    let f = folder.display();
    let mut text = format!(
        "daemon off; worker_processes {workers}; worker_rlimit_nofile 12000; pid {f}/pid;\n\
         error_log {f}/error crit; events {{ worker_connections 5000; }}\n\
         http {{ access_log off; server_tokens off; sendfile on; tcp_nopush on; tcp_nodelay on;\n\
         keepalive_timeout 75s; keepalive_requests 1000000000;\n"
    );
    for temporary in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "{temporary}_temp_path {f}/{temporary};")?;
    }
    writeln!(text, "{http} }}")?;
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text)?;
    let mut command = Command::new(NGINX);
    let program = Program::start(command.arg("-p").arg(folder).arg("-c").arg(&file))?;
    wait_for(port)?;
    Ok(program)
}

/// The server behind: `/small` and `/large`.
///
/// # Errors
/// When it does not start.
pub(crate) fn behind(folder: &Path) -> Result<(Program, u16)> {
    let folder = folder.join("behind");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("large"), "a".repeat(LARGE))?;
    let (port, small) = (port::free(), "a".repeat(SMALL));
    let root = folder.display();
    let http = format!(
        "open_file_cache max=8; server {{ listen 127.0.0.1:{port} backlog=4096; root {root};\n\
         location = /small {{ return 200 \"{small}\"; }} }}"
    );
    Ok((start_nginx(&folder, 1, &http, port)?, port))
}

/// What all servers under test are given.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) workers: u64,
    /// Port of the server behind.
    pub(crate) behind: u16,
    pub(crate) own: Certificate,
}

impl Terms {
    /// Starts all, the balancer first and nginx second, with files in a folder of their own.
    ///
    /// # Errors
    /// When one does not start.
    pub(crate) fn start(&self, folder: &Path) -> Result<[Server; 3]> {
        std::fs::create_dir_all(folder)?;
        Ok([
            balancer(folder, self).map_err(|e| format!("the balancer: {e}"))?,
            nginx(folder, self).map_err(|e| format!("nginx: {e}"))?,
            haproxy(folder, self).map_err(|e| format!("HAProxy: {e}"))?,
        ])
    }
}

/// nginx as a proxy.
fn nginx(folder: &Path, terms: &Terms) -> Result<Server> {
    let Terms {
        workers,
        behind,
        own,
    } = terms;
    let (plain, h2c, tls) = (port::free(), port::free(), port::free());
    let (certificate, key) = (own.certificate.display(), own.key.display());
    // nginx 1.22 speaks HTTP/2 without TLS on ports where it speaks nothing else.
    let http = format!(
        "upstream behind {{ server 127.0.0.1:{behind}; keepalive 256; keepalive_requests 1000000000; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;\n\
         proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 64k;\n\
         proxy_max_temp_file_size 0; http2_max_concurrent_streams 256; http2_chunk_size 16k;\n\
         ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;\n\
         ssl_session_cache shared:all:10m; ssl_prefer_server_ciphers off;\n\
         server {{ listen 127.0.0.1:{plain} reuseport backlog=4096;\n\
         listen 127.0.0.1:{h2c} http2 reuseport backlog=4096;\n\
         listen 127.0.0.1:{tls} ssl http2 reuseport backlog=4096;\n\
         location / {{ proxy_pass http://behind; }} }}"
    );
    Ok(Server {
        name: "nginx",
        program: start_nginx(&folder.join("nginx"), *workers, &http, tls)?,
        plain,
        h2c,
        tls,
    })
}

/// HAProxy.
fn haproxy(folder: &Path, terms: &Terms) -> Result<Server> {
    let Terms {
        workers,
        behind,
        own,
    } = terms;
    let (plain, tls) = (port::free(), port::free());
    let both = own.both.display();
    let text = format!(
        "global\n nbthread {workers}\n maxconn 4500\n ssl-default-bind-options ssl-min-ver TLSv1.2\n\
         \x20tune.ssl.cachesize 20000\n tune.h2.max-concurrent-streams 256\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 75s\n timeout server 60s\n\
         \x20timeout http-keep-alive 75s\n option http-keep-alive\n option splice-response\n\
         \x20http-reuse always\n\
         frontend all\n bind 127.0.0.1:{plain} shards by-thread backlog 4096\n\
         \x20bind 127.0.0.1:{tls} shards by-thread backlog 4096 ssl crt {both} alpn h2,http/1.1\n\
         \x20option forwardfor\n http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}\n\
         \x20http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}\n\
         \x20http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20default_backend behind\n\
         backend behind\n server one 127.0.0.1:{behind} pool-max-conn 256\n"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text)?;
    let program = Program::start(Command::new(HAPROXY).args(["-db", "-q", "-f"]).arg(&file))?;
    wait_for(tls)?;
    Ok(Server {
        name: "HAProxy",
        program,
        plain,
        h2c: plain,
        tls,
    })
}

/// The balancer: `BALANCER_BIN`, or the one built beside this program.
fn balancer(folder: &Path, terms: &Terms) -> Result<Server> {
    let Terms {
        workers,
        behind,
        own,
    } = terms;
    let path = binary()?;
    let (plain, tls) = (port::free(), port::free());
    let data = folder.join("balancer");
    let program = Program::start(
        Command::new(path)
            .arg("--data")
            .arg(&data)
            .args(["--listen", &format!("127.0.0.1:{plain}")])
            .args(["--workers", &workers.to_string()]),
    )?;
    wait_for(plain)?;
    let config = serde_json::json!({
        "routes": [{"path": "/", "loadBalancer": "all"}],
        "loadBalancers": [{"name": "all", "groups": [{
            "name": "only", "weight": 1,
            "health": {"path": "/small"},
            "instances": [{"id": "one", "address": format!("127.0.0.1:{behind}"), "role": "serve"}],
        }]}],
        "listeners": [{
            "address": format!("127.0.0.1:{tls}"),
            "tls": {"certificates": [{"certificate": own.certificate, "key": own.key}]},
        }],
    });
    let socket = data.join(balancer::ADMIN_SOCKET);
    let begun = Instant::now();
    // It listens before it can be told anything.
    while !socket.exists() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let answer = admin(&socket, "PUT", "/v1/config", &config.to_string())?;
    if !answer.starts_with("HTTP/1.1 200") {
        return Err(format!("does not take its configuration: {answer}").into());
    }
    while !admin(&socket, "GET", "/v1/state", "")?.contains("\"state\":\"serving\"") {
        if begun.elapsed() > PATIENCE {
            return Err("the server behind never served".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Server {
        name: "balancer",
        program,
        plain,
        h2c: plain,
        tls,
    })
}

fn binary() -> Result<PathBuf> {
    let beside = std::env::current_exe()?;
    let beside = beside.parent().and_then(Path::parent);
    let beside = beside.map(|folder| folder.join("balancer"));
    let given = std::env::var_os("BALANCER_BIN").map(PathBuf::from);
    Ok(given.or(beside).ok_or("no path of the balancer")?)
}

fn admin(socket: &Path, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: b\r\nif-match: \"*\"\r\nx-fence: 1\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
