//! The balancer's own shim, which starts it again whenever it ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ::instance::{EXIT, Ids, LAUNCH, LOCK, Launch as Order, SOCKET, STATE};

use super::look::{Look, look, shim_runs};
use super::record::{io, read, tail};
use super::{MAX_FILES, START_LIMIT, Shims};
use crate::config::Config;
use crate::provider::local::Error;

/// Folder of the balancer's shim within the balancer's.
pub(crate) const BALANCER_SHIM: &str = "shim";

impl Shims {
    fn balancer_folder(config_folder: &Path) -> PathBuf {
        config_folder.join(BALANCER_SHIM)
    }

    /// Whether the balancer's shim runs.
    pub async fn balancer_is_supervised(&self) -> bool {
        let folder = Self::balancer_folder(&self.folder.with_file_name("balancer"));
        match look(&folder, &self.token("balancer"), None).await {
            Look::Answer(answer) => answer.exit.is_none(),
            Look::Ended(_) | Look::Nothing | Look::Orphan(_) | Look::Unknown => false,
        }
    }

    /// Starts the balancer under a shim that starts it again whenever it ends.
    ///
    /// # Errors
    /// When a program is missing or the shim does not start.
    pub async fn start_balancer(&self, config: &Config, folder: &Path) -> Result<(), Error> {
        let program = self.program("balancer")?;
        let shim = Self::balancer_folder(folder);
        std::fs::create_dir_all(&shim).map_err(io(&shim))?;
        let former = shim.clone();
        let cleared = tokio::task::spawn_blocking(move || cleared(&former));
        let cleared = tokio::time::timeout(START_LIMIT, cleared).await;
        let cleared = cleared.map_err(|_| Error::Shim {
            instance: "balancer".to_owned(),
            reason: "another shim has been starting it for 30 s".to_owned(),
        })?;
        let cleared = cleared.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if !cleared.map_err(io(&shim))? {
            return Ok(());
        }
        let order = Order {
            token: self.token("balancer"),
            command: balancer_command(&program, config, folder),
            environment: balancer_environment(),
            working_folder: None,
            root: None,
            user: None,
            grace_ms: 5_000,
            restart: true,
            max_files: Some(MAX_FILES),
            time_limit_ms: None,
            log_bytes: None,
        };
        self.launch(&shim, &order, "balancer").await
    }

    /// The balancer's last lines.
    pub async fn balancer_tail(&self) -> Vec<String> {
        tail(
            Self::balancer_folder(&self.folder.with_file_name("balancer")),
            20,
        )
        .await
    }
}

/// Removes what a former life left in the shim's folder; false when a shim runs there.
///
/// Whoever ordered that shim may have been killed before it had its socket and its record, so it
/// is waited for under the lock it starts under: without its socket nobody could ever ask it again.
fn cleared(shim: &Path) -> std::io::Result<bool> {
    let lock = File::create(shim.join(LOCK))?;
    lock.lock()?;
    let runs = read::<Ids>(&shim.join(STATE)).is_some_and(|ids| shim_runs(&ids));
    if runs && !shim.join(EXIT).exists() {
        return Ok(false);
    }
    for name in [LAUNCH, STATE, EXIT, SOCKET] {
        // Absent most times.
        let _absent = std::fs::remove_file(shim.join(name));
    }
    Ok(true)
}

fn balancer_command(program: &Path, config: &Config, folder: &Path) -> Vec<String> {
    let mut command = vec![
        program.display().to_string(),
        "--data".to_owned(),
        folder.display().to_string(),
        "--listen".to_owned(),
        format!("127.0.0.1:{}", config.balancer_port),
    ];
    if config.local.balancer_workers > 0 {
        command.push("--workers".to_owned());
        command.push(config.local.balancer_workers.to_string());
    }
    command
}

/// Variables of the balancer: none in a product build.
fn balancer_environment() -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    if cfg!(feature = "controls")
        && let Ok(control) = std::env::var("GENNAKER_CONTROL")
    {
        environment.insert("GENNAKER_CONTROL".to_owned(), control);
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process, as a shim's record tells of itself.
    fn own() -> Ids {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let start = rest.split_whitespace().nth(19).unwrap().parse().unwrap();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        Ids {
            shim_pid: std::process::id(),
            shim_start: start,
            pid: std::process::id(),
            start,
            started_ms: 0,
            boot_id: boot.trim().to_owned(),
            isolation: "plain".to_owned(),
        }
    }

    #[test]
    fn a_shim_that_is_just_starting_keeps_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let starting = File::create(path.join(LOCK)).unwrap();
        starting.lock().unwrap();
        std::fs::write(path.join(SOCKET), "").unwrap();
        let second = path.clone();
        let (answer, answered) = std::sync::mpsc::channel();
        let clearing = std::thread::spawn(move || answer.send(cleared(&second).unwrap()).unwrap());
        // Long enough to be done with it, if it were not waited for.
        let early = answered.recv_timeout(std::time::Duration::from_millis(50));
        assert!(early.is_err() && path.join(SOCKET).exists());
        // Its record is written before it lets go of the lock, as a shim does.
        let state = serde_json::to_vec(&own()).unwrap();
        std::fs::write(path.join(STATE), state).unwrap();
        drop(starting);
        assert!(!answered.recv().unwrap(), "a shim runs there");
        clearing.join().unwrap();
        assert!(path.join(SOCKET).exists() && path.join(STATE).exists());
        // What has ended is cleared away.
        std::fs::write(path.join(EXIT), "{}").unwrap();
        assert!(cleared(&path).unwrap());
        assert!(!path.join(SOCKET).exists() && !path.join(STATE).exists());
    }
}
