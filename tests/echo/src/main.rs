//! A small server that says who answered and whom it saw: pod, node and peer address, over HTTP, TCP and UDP, on both
//! address families. Tests and examples run it behind Services. It is also the cluster's pause program (`--pause`) and
//! a client for places that have no other one, such as a pod (`--get`).
//!
//! Threads and blocking sockets only: a reader should see at once that no answer is made up on the way.

mod args;
mod connection;
mod get;
mod http;
mod identity;
mod line;
mod proxy;
mod serve;
mod sockets;
mod sys;
mod udp;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mode = match args::parse(std::env::args()) {
        Ok(mode) => mode,
        Err(problem) => {
            eprintln!("herald-echo: {problem}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let outcome = match mode {
        args::Mode::Help => {
            println!("{}", args::USAGE);
            Ok(())
        }
        args::Mode::Pause => sys::pause(),
        args::Mode::Get(get) => get::run(&get),
        args::Mode::Serve(config) => serve::run(&config),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("herald-echo: {error}");
            ExitCode::FAILURE
        }
    }
}
