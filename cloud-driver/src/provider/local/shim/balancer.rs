//! The balancer's shims. Each starts its balancer again whenever that ends, and ends with it once it
//! handed over to a successor, which has a shim of its own: the last one is in force.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ::instance::{EXIT, Ids, LAUNCH, LOCK, Launch as Order, SOCKET, STATE};

use super::look::{Look, has_ended, look, shim_runs};
use super::record::{io, read, tail};
use super::{Change, MAX_FILES, START_LIMIT, Shims, command};
use crate::config::{Config, Local};
use crate::provider::local::Error;

/// Folder of the balancer's first shim within the balancer's; those of successors have a number behind.
const BALANCER_SHIM: &str = "shim";

/// Shims in a balancer's folder, by age; what they ran may have ended.
pub(crate) fn balancer_shims(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbered: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((number_of(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| path).collect()
}

fn number_of(name: &str) -> Option<u32> {
    match name.strip_prefix(BALANCER_SHIM)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}

/// The shim in force, the first when there was none yet.
pub(crate) fn balancer_shim(folder: &Path) -> PathBuf {
    let last = balancer_shims(folder).pop();
    last.unwrap_or_else(|| folder.join(BALANCER_SHIM))
}

/// What a shim was ordered to run.
pub(crate) fn order(shim: &Path) -> Option<Order> {
    read(&shim.join(LAUNCH))
}

impl Shims {
    /// Whether the balancer's shim runs.
    pub async fn balancer_is_supervised(&self) -> bool {
        let folder = balancer_shim(&self.folder.with_file_name("balancer"));
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
        let shim = balancer_shim(folder);
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
            command: command::first(&program, config, folder),
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

    /// Starts a successor of the balancer that runs in a folder, from this installation's program and
    /// under a shim of its own: that shim's folder, and what it is told otherwise than the one before.
    /// Without a configuration that is nothing.
    ///
    /// # Errors
    /// When no balancer was started there, a program is missing, or the shim does not start.
    pub(crate) async fn start_successor(
        &self,
        folder: &Path,
        local: Option<&Local>,
    ) -> Result<(PathBuf, Vec<Change>), Error> {
        let program = self.program("balancer")?;
        let present = balancer_shim(folder);
        let mut order = order(&present).ok_or_else(|| Error::Shim {
            instance: "balancer".to_owned(),
            reason: format!("{} has no order", present.display()),
        })?;
        let changes = local.map(|local| command::changes(&order.command, local));
        order.command = command::successor(&order.command, &program, local);
        let name = present.file_name().and_then(|name| name.to_str());
        let number = name.and_then(number_of).unwrap_or_default() + 1;
        let shim = folder.join(format!("{BALANCER_SHIM}.{number}"));
        self.launch(&shim, &order, "balancer").await?;
        Ok((shim, changes.unwrap_or_default()))
    }

    /// Clears away what former balancers of a folder left, except the shim in force.
    pub(crate) async fn clear_former_balancers(&self, folder: &Path) {
        let mut shims = balancer_shims(folder);
        let _in_force = shims.pop();
        for shim in shims {
            let token = order(&shim).map(|order| order.token).unwrap_or_default();
            if has_ended(&shim, &token).await {
                // Tried again the next time.
                let _left = std::fs::remove_dir_all(&shim);
            }
        }
    }

    /// The balancer's last lines.
    pub async fn balancer_tail(&self) -> Vec<String> {
        tail(balancer_shim(&self.folder.with_file_name("balancer")), 20).await
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
    fn the_shim_with_the_highest_number_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(balancer_shim(folder.path()), at("shim"));
        for name in [
            "shim.10",
            "shim",
            "shim.9",
            "shim.x",
            "shimmer",
            "config.json",
        ] {
            std::fs::create_dir(at(name)).unwrap();
        }
        assert_eq!(
            balancer_shims(folder.path()),
            [at("shim"), at("shim.9"), at("shim.10")]
        );
        assert_eq!(balancer_shim(folder.path()), at("shim.10"));
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
