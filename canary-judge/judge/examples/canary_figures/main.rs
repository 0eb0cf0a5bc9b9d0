//! What the sequential judge is worth, simulated: `make canary-figures` writes tables into `docs/canary.md` and plots into
//! `docs/canary/`, and fails if more good canaries fail than promised.
//!
//! Every run draws from a generator of its own whose seed is its number, so the figures are the same each time, however
//! many threads there are. Arguments: the folder of the documents, and the number of good canaries.

mod detection;
mod null;
mod page;
mod plot;
mod random;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

/// Good canaries that are watched.
const GOOD: u32 = 20_000;

fn main() -> std::io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let docs = PathBuf::from(arguments.next().unwrap_or_else(|| "docs".to_owned()));
    let good = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(GOOD);
    let null = null::watch(good);
    print!("{}", null.table());
    let effects = detection::effects();
    print!("{}", detection::table(&effects));
    let shapes = detection::shapes();
    print!("{}", detection::shape_table(&shapes));
    let reported = trial::reported();
    print!("{reported}");
    std::fs::create_dir_all(docs.join("canary"))?;
    for (name, svg) in [
        ("false-alarms.svg", null.plot()),
        ("detected.svg", detection::plot_share(&effects)),
        ("time.svg", detection::plot_time(&effects)),
    ] {
        std::fs::write(docs.join("canary").join(name), svg)?;
    }
    let page = page::Page {
        null: null.table(),
        effects: detection::table(&effects),
        shapes: detection::shape_table(&shapes),
        reported,
    };
    page.write(&docs.join("canary.md"))?;
    if null.holds() {
        Ok(ExitCode::SUCCESS)
    } else {
        eprintln!("more good canaries failed than alpha and three standard errors");
        Ok(ExitCode::FAILURE)
    }
}
