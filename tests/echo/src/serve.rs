//! The server: sockets, one thread each, and the end.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use crate::args::Config;
use crate::identity::Identity;
use crate::sys::Signals;
use crate::web::Web;
use crate::{connection, line, sockets, udp};

/// Serves until SIGTERM or SIGINT, then for the drain time (a second signal cuts it short).
pub(crate) fn run(config: &Config) -> io::Result<()> {
    let signals = Signals::block()?;
    let who = Arc::new(Identity::from_env());
    let web = Arc::new(Web::new(who.clone(), config.proxy));

    let http_socket = sockets::tcp(config.http)?;
    let tcp_socket = sockets::tcp(config.tcp)?;
    let udp_socket = sockets::udp(config.udp)?;
    let (http, tcp, udp) = (
        http_socket.local_addr()?,
        tcp_socket.local_addr()?,
        udp_socket.local_addr()?,
    );
    // A closed standard output is no reason to stop.
    let _ = writeln!(io::stdout(), "listening http={http} tcp={tcp} udp={udp}");

    let served = web.clone();
    thread::spawn(move || connection::accept(&http_socket, move |stream| served.serve(stream)));
    let (named, expect) = (who.clone(), config.proxy);
    thread::spawn(move || {
        connection::accept(&tcp_socket, move |stream| {
            line::serve(stream, &named, expect)
        });
    });
    thread::spawn(move || udp::serve(&udp_socket, &who));

    signals.wait_for_stop();
    if !config.drain.is_zero() {
        web.set_ready(false);
        thread::spawn(move || {
            signals.wait_for_stop();
            std::process::exit(0);
        });
        thread::sleep(config.drain);
    }
    Ok(())
}
