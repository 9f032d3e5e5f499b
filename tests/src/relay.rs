//! A loopback port of the host that leads to the API server, so that kubectl works outside the namespaces.
//!
//! Two socats meet at a Unix socket, which belongs to no network namespace: one listens on the host, the
//! other connects where the control plane is. They need nothing of the program that started them.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::certs::{Credentials, Pair, write_kubeconfig};
use crate::control_plane::certs_folder;
use crate::network::namespace;
use crate::node::log_path;
use crate::process::{self, MARK};
use crate::state::{State, folder};
use crate::topology::{API_PORT, Place};
use crate::wait::wait_for;

/// Starts the relay and writes the kubeconfig that uses it.
pub(crate) fn start(state: &mut State) -> Result<()> {
    let socket = folder(&state.name).join("relay.sock");
    let socket = socket.display();
    let far = [
        format!("UNIX-LISTEN:{socket},fork,mode=600"),
        format!("TCP:127.0.0.1:{API_PORT},nodelay"),
    ];
    spawn(state, "relay-inside", &far, Some(Place::ControlPlane))?;
    wait_for("relay's socket", Duration::from_secs(20), || {
        Ok(folder(&state.name)
            .join("relay.sock")
            .exists()
            .then_some(()))
    })?;

    // A free port may be taken before socat listens on it; then it ends at once and the next is tried.
    let (port, listener) = wait_for("relay's port", Duration::from_secs(30), || {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let near = [
            format!("TCP-LISTEN:{free},bind=127.0.0.1,fork,reuseaddr,nodelay"),
            format!("UNIX-CONNECT:{socket}"),
        ];
        let process = launch(state, "relay", &near, None)?;
        wait_for("listening relay", Duration::from_secs(5), || {
            let listens = listens_on(free)?;
            if !process.alive() {
                anyhow::bail!("socat ended, see {}", log_path(state, "relay").display());
            }
            Ok(listens.then_some(()))
        })?;
        Ok(Some((free, process)))
    })?;
    state.processes.push(listener);
    state.relay_port = port;
    state.save()?;

    let certs = certs_folder(&state.name);
    let admin = Pair::at(&certs, "admin");
    write_kubeconfig(
        &folder(&state.name).join("kubeconfig"),
        &format!("https://127.0.0.1:{port}"),
        &certs.join("ca.crt"),
        &Credentials::Certificate(&admin),
    )
}

fn spawn(state: &mut State, role: &str, ends: &[String; 2], place: Option<Place>) -> Result<()> {
    let process = launch(state, role, ends, place)?;
    state.processes.push(process);
    state.save()
}

fn launch(
    state: &State,
    role: &str,
    ends: &[String; 2],
    place: Option<Place>,
) -> Result<process::Recorded> {
    let mut command = Command::new("socat");
    command.args(ends).env(MARK, &state.name);
    let inside = place
        .map(|place| namespace(state, place).join())
        .transpose()?;
    process::start(
        role,
        command,
        &log_path(state, role),
        inside.into_iter().collect(),
    )
}

/// Whether some process of the host listens on this loopback port (without connecting to it).
fn listens_on(port: u16) -> Result<bool> {
    let table = std::fs::read_to_string("/proc/net/tcp").context("read /proc/net/tcp")?;
    Ok(is_listening(&table, port))
}

/// Local address 127.0.0.1 (little-endian hex) and that port, in state 0A (LISTEN).
fn is_listening(table: &str, port: u16) -> bool {
    let local = format!("0100007F:{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&local) && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_only_listeners() {
        let table = "  sl  local_address rem_address   st\n\
             0: 0100007F:1F90 00000000:0000 0A 0\n\
             1: 0100007F:1F91 0100007F:1234 01 0\n";
        assert!(is_listening(table, 8080));
        assert!(!is_listening(table, 8081));
        let real = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listens_on(real.local_addr().unwrap().port()).unwrap());
    }
}
