//! `gennaker user`: the users file, a line a user.
//!
//! It is written anew beside itself and put in its place, so that the gateway,
//! which reads it at every request, never sees half of it.

use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::User;

/// The longest password read, in bytes.
const MAX_PASSWORD: u64 = 1024;

/// Adds or removes a user.
pub(crate) fn run(order: &User) -> anyhow::Result<ExitCode> {
    match order {
        User::Add(options) => {
            let password = password()?;
            let entry = gateway::identity::user_entry(&options.name, &password, &options.roles)?;
            let mut lines = others(&options.file, &options.name)?;
            let named = |line: &String| {
                let name = line.trim().split(':').next().unwrap_or_default().to_owned();
                (name.to_lowercase() == options.name.to_lowercase()).then_some(name)
            };
            if let Some(other) = lines.iter().find_map(named) {
                bail!(
                    "{} lists user {other}, and names that differ in case alone are one user to pipelines; \
                     choose another name, or remove {other}",
                    options.file.display()
                );
            }
            lines.push(entry);
            write(&options.file, &lines)?;
            println!("user {} may log in with this password", options.name);
        }
        User::Remove(options) => {
            let before = lines(&options.file)?.len();
            let left = others(&options.file, &options.name)?;
            if left.len() == before {
                bail!("{} lists no user {}", options.file.display(), options.name);
            }
            write(&options.file, &left)?;
            println!("user {} is removed", options.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The first line of standard input.
fn password() -> anyhow::Result<String> {
    use std::io::{BufRead, Read};
    if std::io::stdin().is_terminal() {
        eprint!("password (it is shown while you type; pipe it in to keep it hidden): ");
    }
    let mut line = String::new();
    let limited = std::io::stdin().lock().take(MAX_PASSWORD + 2);
    std::io::BufReader::new(limited)
        .read_line(&mut line)
        .context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn lines(file: &Path) -> anyhow::Result<Vec<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().map(ToOwned::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Everybody's lines but one user's.
fn others(file: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let mut lines = lines(file)?;
    lines.retain(|line| line.trim().split(':').next() != Some(name));
    Ok(lines)
}

fn write(file: &Path, lines: &[String]) -> anyhow::Result<()> {
    let beside = file.with_extension("new");
    let failed = || format!("cannot write {}", file.display());
    let mut new = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .with_context(failed)?;
    for line in lines {
        writeln!(new, "{line}").with_context(failed)?;
    }
    new.sync_all().with_context(failed)?;
    std::fs::rename(&beside, file).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_line_whatever_else_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        assert!(others(&file, "ann").unwrap().is_empty());
        write(&file, &["ann:x:dev".to_owned(), "bob:y:".to_owned()]).unwrap();
        assert_eq!(others(&file, "ann").unwrap(), ["bob:y:"]);
        assert_eq!(others(&file, "an").unwrap().len(), 2);
    }
}
