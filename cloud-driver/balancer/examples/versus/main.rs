//! The balancer against nginx and HAProxy, each set up as its expert would: one machine, one server
//! behind, the same number of workers, the same clients, alternating runs. Prints tables in Markdown
//! and ends with 1 when a bound is not held.
//!
//! `make versus` builds and runs it. Needs the Debian packages `nginx-light`, `haproxy`, `wrk` and
//! `nghttp2-client`, and a release build of the balancer beside this program or its path in
//! `BALANCER_BIN`. `RUN_SECONDS` (10), `ROUNDS` (3), `CONNECTIONS` (64), `WORKERS` (2), `IDLE` (2,000
//! connections) and `RATE` (4,000 requests a second for times, of large bodies and on new connections a
//! fourth; 0: none, for a machine that others use) change what is in brackets; `CASES='keep-alive;idle'`
//! runs what has one of these words in its name.

#![allow(
    clippy::disallowed_methods,
    reason = "it waits for other programs, which send no message"
)]

mod cases;
mod fresh;
mod idle;
mod load;
mod program;
mod servers;
mod table;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use cases::{Case, Kind, MOST_P99};
use load::{Load, Spent, p99_ms};
use servers::{Certificate, Server, Terms};
use table::{Bound, Row, Table};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// For each kind of figure and each server those of its runs.
type Figures = Vec<Vec<Vec<f64>>>;

/// Seconds of a turn within a run.
const TURN_S: u64 = 2;

/// Programs that are needed, and the packages they are in.
const NEEDED: [(&str, &str); 4] = [
    (servers::NGINX, "nginx-light"),
    (servers::HAPROXY, "haproxy"),
    (load::WRK, "wrk"),
    (load::H2LOAD, "nghttp2-client"),
];

fn number(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|e| format!("{name}: \"{text}\" is no number: {e}").into()),
        Err(_) => Ok(default),
    }
}

/// Whether something is to be run, by its name.
fn is_wanted(name: &str) -> bool {
    match std::env::var("CASES") {
        Ok(words) => words.split(';').any(|word| name.contains(word.trim())),
        Err(_) => true,
    }
}

/// Figures, of twice as many runs when the first ones are over a bound: a neighbour's load that began
/// within a run is part of it, and the next ones tell.
fn settled(bound: f64, run: impl Fn() -> Result<Figures>) -> Result<Figures> {
    let mut all = run()?;
    if !holds(&all, bound) {
        for (all, more) in all.iter_mut().flatten().zip(run()?.into_iter().flatten()) {
            all.extend(more);
        }
    }
    Ok(all)
}

/// Whether the first kind of figure holds a bound, as a ratio.
fn holds(figures: &Figures, bound: f64) -> bool {
    let row = Row {
        what: String::new(),
        bound,
        figures: figures.first().cloned().unwrap_or_default(),
    };
    row.holds(Bound::Ratio)
}

/// What is done, and with what.
struct Comparison {
    terms: Terms,
    /// The balancer first, nginx second.
    servers: [Server; 3],
    rounds: u64,
    load: Load,
    idle: u64,
}

impl Comparison {
    fn table(&self, title: &'static str, bound: Bound, digits: usize) -> Table {
        Table {
            title,
            servers: self.servers.iter().map(|server| server.name).collect(),
            bound,
            digits,
            rows: Vec::new(),
        }
    }

    /// Figures of all servers in alternating runs, each of turns that alternate too: another user of the
    /// machine then disturbs all alike. The first, of one second, is to warm up.
    fn alternate<T>(
        &self,
        what: &str,
        turn: impl Fn(&Server, Load) -> Result<T>,
        figures: impl Fn(&[T]) -> Result<Vec<f64>>,
    ) -> Result<Figures> {
        let mut all = vec![vec![Vec::new(); self.servers.len()]; 2];
        for round in 0..=self.rounds {
            let (turns, seconds) = match round {
                0 => (1, 1),
                _ => (self.load.seconds.div_ceil(TURN_S), TURN_S),
            };
            let load = Load {
                seconds,
                ..self.load
            };
            let mut done: Vec<Vec<T>> = self.servers.iter().map(|_| Vec::new()).collect();
            for _ in 0..turns {
                for (done, server) in done.iter_mut().zip(&self.servers) {
                    done.push(turn(server, load)?);
                }
            }
            for (at, (done, server)) in done.iter().zip(&self.servers).enumerate() {
                let found = figures(done)?;
                eprintln!("{what}, round {round}, {}: {found:.3?}", server.name);
                for (all, found) in all.iter_mut().zip(found) {
                    if round > 0 {
                        all[at].push(found);
                    }
                }
            }
        }
        Ok(all)
    }

    fn run(&self, folder: &Path) -> Result<Vec<Table>> {
        let mut cpu = self.table(
            "seconds of processor time per million requests",
            Bound::Ratio,
            1,
        );
        let mut rate = self.table("requests per second, as many as go", Bound::None, 0);
        let mut p99 = self.table("p99 at a fixed rate, ms", Bound::Ratio, 2);
        for case in Case::all().filter(|case| is_wanted(&case.name())) {
            let spent = || {
                self.alternate(
                    &case.name(),
                    |server, load| load.most(case, server),
                    |turns| {
                        let sum = |of: fn(&Spent) -> f64| turns.iter().map(of).sum::<f64>();
                        let requests = sum(|turn| turn.requests);
                        Ok(vec![
                            sum(|turn| turn.cpu) / requests * 1e6,
                            requests / sum(|turn| turn.seconds),
                        ])
                    },
                )
            };
            let spent = settled(case.most_cpu(), spent)?;
            let [spent, per_second]: [Vec<Vec<f64>>; 2] =
                spent.try_into().map_err(|_| "two figures a run")?;
            cpu.rows.push(Row {
                what: case.name(),
                bound: case.most_cpu(),
                figures: spent,
            });
            rate.rows.push(Row {
                what: case.name(),
                bound: 0.0,
                figures: per_second,
            });
            if self.load.rate == 0 {
                continue;
            }
            let share = if case.large || case.kind == Kind::New {
                4
            } else {
                1
            };
            let asked = (self.load.rate / share).max(1);
            let times = || {
                self.alternate(
                    &case.name(),
                    |server, load| {
                        let load = Load {
                            rate: asked,
                            ..load
                        };
                        load.times(case, server, folder)
                    },
                    |turns| Ok(vec![p99_ms(turns)?]),
                )
            };
            let mut times = settled(MOST_P99, times)?;
            p99.rows.push(Row {
                what: format!("{}, {asked}/s", case.name()),
                bound: MOST_P99,
                figures: times.swap_remove(0),
            });
        }
        let mut idle = self.table("resident KiB per idle connection", Bound::Figure, 1);
        for (name, tls, bound) in [
            ("idle", false, idle::MOST_KIB),
            ("idle, TLS", true, idle::MOST_TLS_KIB),
        ] {
            if !is_wanted(name) {
                continue;
            }
            // Others than those that were under load: what was freed there would be used again.
            let servers = self
                .terms
                .start(&folder.join(if tls { "idle-tls" } else { "idle" }))?;
            let mut figures = Vec::new();
            for server in &servers {
                let kib = idle::kib(server, tls, self.idle)?;
                eprintln!("{name}, {}: {kib:.1} KiB", server.name);
                figures.push(vec![kib]);
            }
            idle.rows.push(Row {
                what: format!("{} {name}", self.idle),
                bound,
                figures,
            });
        }
        let mut tables = vec![cpu, p99, rate, idle];
        tables.retain(|table| !table.rows.is_empty());
        Ok(tables)
    }
}

fn compare() -> Result<bool> {
    let workers = number("WORKERS", 2)?;
    let load = Load {
        seconds: number("RUN_SECONDS", 10)?,
        connections: number("CONNECTIONS", 64)?,
        rate: number("RATE", 4_000)?,
    };
    let idle = number("IDLE", 2_000)?;
    idle::make_room(idle)?;
    let folder = tempfile::Builder::new().prefix("versus-").tempdir()?;
    let folder = folder.path();
    let (program, behind) = servers::behind(folder)?;
    let terms = Terms {
        workers,
        behind,
        own: Certificate::make(folder)?,
    };
    let comparison = Comparison {
        servers: terms.start(&folder.join("load"))?,
        terms,
        rounds: number("ROUNDS", 3)?,
        load,
        idle,
    };
    let tables = comparison.run(folder)?;
    println!(
        "{} connections (HTTP/2: {} of 10 requests each), {workers} workers, {} alternating runs of {} s, \
         twice as many where they were over: the middle one (least to most).\n",
        load.connections,
        (load.connections / 4).max(1),
        comparison.rounds,
        load.seconds,
    );
    for table in &tables {
        println!("{}", table.markdown()?);
    }
    drop((comparison, program));
    Ok(tables.iter().all(Table::holds))
}

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("versus: no arguments; what can be changed is changed by environment variables");
        return ExitCode::from(2);
    }
    let missing = NEEDED.iter().filter(|(path, _)| !Path::new(path).exists());
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        let packages = missing.join(" ");
        println!("skipped: {packages} missing; apt-get install {packages}");
        return ExitCode::SUCCESS;
    }
    match compare() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("a bound is not held");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}
