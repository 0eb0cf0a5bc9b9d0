//! Which processes belong to a data folder, counted from outside by `/proc`.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `gennaker`, or a service of it.
    ControlPlane,
    /// The load balancer.
    Balancer,
    /// The shim of an instance.
    Shim,
    /// What a shim owns: somebody's program.
    Served,
}

/// One living process of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its start, in clock ticks since boot: with the id, what makes it that process.
    pub start: u64,
    /// What it is, by the name of its program.
    pub role: Role,
    /// Its command line, for messages.
    pub command: String,
}

/// Every living process that names the folder in its command line or environment, or has its root,
/// working folder or program in it. Finished ones that nobody has waited for are left out.
pub fn of(folder: &Path) -> Vec<Process> {
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| look(pid, &folder))
        .collect()
}

/// How many processes of a role the folder has.
pub fn count(folder: &Path, role: Role) -> usize {
    of(folder)
        .into_iter()
        .filter(|process| process.role == role)
        .count()
}

/// Kills every process of the folder. For the end of a test; a correct product leaves nothing to do.
/// Returns how many there were at first.
pub fn kill_all(folder: &Path) -> usize {
    let first = of(folder);
    let found = first.len();
    // A supervisor may start one more between two looks: look again until there is none.
    let mut left = first;
    for _ in 0..100 {
        if left.is_empty() {
            break;
        }
        left.sort_by_key(|process| process.role);
        for process in &left {
            if let Some(pid) = Pid::from_raw(process.pid) {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
        left = of(folder);
    }
    found
}

fn look(pid: i32, folder: &Path) -> Option<Process> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let (state, start) = stat(&proc)?;
    if matches!(state, 'Z' | 'X') {
        return None;
    }
    let command = text(&proc.join("cmdline"));
    let name = folder.to_str()?;
    let inside = |link: &str| {
        std::fs::read_link(proc.join(link)).is_ok_and(|target| target.starts_with(folder))
    };
    let belongs = mentions(&command, name)
        || inside("root")
        || inside("cwd")
        || inside("exe")
        || mentions(&text(&proc.join("environ")), name);
    belongs.then(|| Process {
        pid,
        start,
        role: role(&proc),
        command,
    })
}

fn mentions(text: &str, folder: &str) -> bool {
    text.match_indices(folder).any(|(at, _)| {
        // `/tmp/a` is not mentioned by `/tmp/ab`.
        text[at + folder.len()..]
            .chars()
            .next()
            .is_none_or(|next| !next.is_alphanumeric())
    })
}

fn role(proc: &Path) -> Role {
    let exe = std::fs::read_link(proc.join("exe")).unwrap_or_default();
    let name = exe
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    match name.trim_end_matches(" (deleted)") {
        "gennaker" => Role::ControlPlane,
        "balancer" => Role::Balancer,
        "instance" => Role::Shim,
        _ => Role::Served,
    }
}

fn stat(proc: &Path) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(proc.join("stat")).ok()?;
    // The name is in parentheses and may hold anything; the fields begin after the last one.
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// The NUL-separated strings of a file, separated by spaces; empty when it cannot be read.
fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_mentioned_only_by_its_whole_name() {
        assert!(mentions("gennaker up --data /tmp/a --port 1", "/tmp/a"));
        assert!(mentions("/tmp/a/balancer", "/tmp/a"));
        assert!(!mentions("/tmp/ab/balancer", "/tmp/a"));
    }

    #[test]
    fn a_process_of_the_folder_is_found_and_its_end_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .current_dir(&folder)
            .spawn()
            .unwrap();
        let found = of(folder.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].role, Role::Served);
        assert_eq!(kill_all(folder.path()), 1);
        child.wait().unwrap();
        assert!(of(folder.path()).is_empty());
    }
}
