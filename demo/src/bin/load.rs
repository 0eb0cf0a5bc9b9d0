//! An open-loop load generator that never repeats a request. JSON lines on stdout: each failure when
//! it happens, the summary last. Exit code 0 when nothing failed and nothing was left out, else 1.
//!
//! ```text
//! load --url http://127.0.0.1:8080 --host prod.demo --rate 400 --duration 60
//! ```

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use demo::load::{Mix, Options, Output, run};
use hyper::Uri;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[derive(Parser)]
#[command(about = "Sends requests at a constant rate and names each one that fails")]
struct Arguments {
    /// Where: http://address:port, optionally with a path in front of all paths.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: Uri,
    /// The Host header, if it is not the URL's.
    #[arg(long)]
    host: Option<String>,
    /// The path of the short GET requests.
    #[arg(long, default_value = "/")]
    path: String,
    /// Requests per second, all kinds together.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Weights of the kinds: get, new, post, slow, upload, big, http2, grpc, socket.
    #[arg(long, default_value = "get=54,new=16,post=27,slow=1,upload=2")]
    mix: Mix,
    /// Seconds to run; without it until SIGTERM, SIGINT, or the end of --control.
    #[arg(long)]
    duration: Option<u64>,
    /// Stop when standard input says "stop" or ends.
    #[arg(long)]
    control: bool,
    /// Milliseconds a slow answer takes.
    #[arg(long, default_value_t = 3000)]
    slow_ms: u64,
    /// Milliseconds an upload of 256 KiB takes.
    #[arg(long, default_value_t = 500)]
    upload_ms: u64,
    /// Milliseconds an upload of 50 MiB takes.
    #[arg(long, default_value_t = 2000)]
    big_ms: u64,
    /// Milliseconds a stream of gRPC takes.
    #[arg(long, default_value_t = 2000)]
    stream_ms: u64,
    /// Milliseconds a conversation on a WebSocket takes.
    #[arg(long, default_value_t = 4000)]
    socket_ms: u64,
    /// Seconds after which an unfinished request has failed.
    #[arg(long, default_value_t = 30)]
    timeout: u64,
    /// Requests in flight above which none are started.
    #[arg(long, default_value_t = 4096)]
    max_in_flight: usize,
    /// A file that gets one line per request.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Milliseconds between progress lines.
    #[arg(long)]
    progress_ms: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(generate(arguments))
}

async fn generate(arguments: Arguments) -> Result<ExitCode> {
    let record = match &arguments.record {
        None => None,
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
            Some(Box::new(BufWriter::new(file)) as Box<dyn Write + Send>)
        }
    };
    let output = Output {
        events: Box::new(std::io::stdout()),
        record,
        progress: arguments.progress_ms.map(Duration::from_millis),
    };
    let stop = stop(
        arguments.duration.map(Duration::from_secs),
        arguments.control,
    )?;
    let options = Options {
        url: arguments.url,
        host: arguments.host,
        path: arguments.path,
        rate: arguments.rate,
        mix: arguments.mix,
        slow: Duration::from_millis(arguments.slow_ms),
        upload: Duration::from_millis(arguments.upload_ms),
        big: Duration::from_millis(arguments.big_ms),
        stream: Duration::from_millis(arguments.stream_ms),
        socket: Duration::from_millis(arguments.socket_ms),
        timeout: Duration::from_secs(arguments.timeout),
        max_in_flight: arguments.max_in_flight,
    };
    let summary = run(options, output, stop).await?;
    let clean = summary.failed == 0 && summary.overrun == 0 && summary.in_flight == 0;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn stop(duration: Option<Duration>, control: bool) -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let said = control.then(|| {
        let (said, heard) = oneshot::channel::<()>();
        // A thread, since a blocked read of standard input would keep the runtime from ending.
        std::thread::spawn(move || {
            let lines = std::io::stdin().lock().lines();
            let _stop = lines
                .map_while(Result::ok)
                .find(|line| line.trim() == "stop");
            drop(said);
        });
        heard
    });
    Ok(async move {
        let elapsed = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let said = async {
            match said {
                Some(heard) => drop(heard.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = elapsed => {}
            () = said => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
