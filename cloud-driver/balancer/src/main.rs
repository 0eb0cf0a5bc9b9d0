//! The balancer: the local provider's data plane, a process that outlives the control plane.
//!
//! Owns the way of requests (`proxy`) and what was asked and observed (`control`). It knows nothing
//! of pipelines, images or accounts. Its truth is its journal for what was asked, its counters for
//! what is.

mod arguments;
mod control;
mod fault;
mod proxy;

use std::process::ExitCode;

use arguments::Asked;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match arguments::read(std::env::args().skip(1)) {
        Ok(Asked::Run(arguments)) => arguments,
        Ok(Asked::Help) => {
            println!("{}", arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Version) => {
            println!("balancer {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("balancer: {error}");
            return ExitCode::from(2);
        }
    };
    match control::run::run(&arguments) {
        // Workers are not waited for: what they still have is meant to end with the process.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("balancer: {error}");
            std::process::exit(1);
        }
    }
}
