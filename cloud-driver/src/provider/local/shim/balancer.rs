//! The balancer's own shim, which starts it again whenever it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::instance::{EXIT, LAUNCH, Launch as Order, SOCKET, STATE};

use super::look::{Look, look};
use super::record::{io, tail};
use super::{MAX_FILES, Shims};
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
        for name in [LAUNCH, STATE, EXIT, SOCKET] {
            // What a former life left behind; absent most times.
            let _absent = std::fs::remove_file(shim.join(name));
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
