//! Writes the demonstration server as an OCI image layout and prints the manifest's digest:
//!
//! ```text
//! demo-image --program target/x86_64-unknown-linux-gnu/release/demo-server \
//!     --tag 2 --content "hello from 2" --out data/images/2
//! skopeo copy --insecure-policy --dest-tls-verify=false \
//!     oci:data/images/2:2 docker://127.0.0.1:5000/demo:2
//! ```

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use demo::image::{Image, write};

#[derive(Parser)]
#[command(about = "Writes the demonstration server as an OCI image layout")]
struct Arguments {
    /// The statically linked demo-server.
    #[arg(long)]
    program: PathBuf,
    /// The image's tag, also its VERSION.
    #[arg(long)]
    tag: String,
    /// What /content serves.
    #[arg(long, default_value = "hello\n")]
    content: String,
    /// More environment of the image, NAME=value; may be given several times.
    #[arg(long = "env")]
    environment: Vec<String>,
    /// The folder of the layout.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let program = std::fs::read(&arguments.program)
        .with_context(|| format!("cannot read {}", arguments.program.display()))?;
    let image = Image {
        program: &program,
        content: arguments.content.as_bytes(),
        tag: &arguments.tag,
        environment: &arguments.environment,
    };
    println!("{}", write(&image, &arguments.out)?);
    Ok(())
}
