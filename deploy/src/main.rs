//! The `gennaker` binary: the control plane in one process, and its operator's commands.

mod balancer;
mod canary;
mod cli;
mod doctor;
mod down;
mod execution;
mod expression;
mod folder;
mod ground;
mod jsonl;
mod processes;
mod restore;
mod up;
mod user;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match arguments.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gennaker: {error:#}");
            ExitCode::from(1)
        }
    }
}
