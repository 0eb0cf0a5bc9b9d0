//! Whether the load balancer can have its port, asked before anything starts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use ::instance::LAUNCH;

use crate::provider::local::{shim, stop, unix};

/// A balancer that does not answer has nobody to let finish.
const GRACE: Duration = Duration::from_secs(1);

/// Makes sure that the balancer of a data folder serves on this port, or can: one that
/// serves on another port stays, one that could not get its port is ended.
///
/// # Errors
/// A sentence for the operator.
pub async fn check_port(data: &Path, port: u16) -> Result<(), String> {
    let folder = data.join("balancer");
    let last = shim::balancer_shim(&folder);
    if unix::connect(&folder, balancer::ADMIN_SOCKET).await.is_ok() {
        return match shim::order(&last).and_then(|order| listens(&order.command)) {
            Some(other) if other != port => Err(format!(
                "the load balancer of {} serves on port {other} and not on {port}; go on with \
                 --balancer-port {other}, or end it first: gennaker down --data {}",
                data.display(),
                data.display()
            )),
            _ => Ok(()),
        };
    }
    if last.join(LAUNCH).exists() {
        // Its supervisor would go on trying the port of its own order.
        stop::stop_one(last, GRACE).await;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).map(drop).map_err(|error| {
        format!("cannot listen on {address}: {error}; choose another port with --balancer-port")
    })
}

/// The port of a balancer's command.
fn listens(command: &[String]) -> Option<u16> {
    let value = shim::value_of(command, "--listen")?;
    value.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_order() {
        let words = [
            "balancer",
            "--data",
            "d",
            "--listen",
            "127.0.0.1:8081",
            "--workers",
            "2",
        ];
        assert_eq!(listens(&words.map(str::to_owned)), Some(8081));
        assert_eq!(listens(&[]), None);
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = check_port(folder.path(), port).await.unwrap_err();
        assert!(
            error.contains(&port.to_string()) && error.contains("--balancer-port"),
            "{error}"
        );
        drop(taken);
        assert_eq!(check_port(folder.path(), port).await, Ok(()));
    }
}
