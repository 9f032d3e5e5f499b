//! The command line, read without a library to keep the image small.

use std::time::Duration;

use crate::get::{Get, Target};
use crate::proxy::Expect;

pub(crate) const USAGE: &str = "\
usage: herald-echo [--http PORT] [--tcp PORT] [--udp PORT] [--drain SECONDS] [--proxy-protocol off|accept|require]
       herald-echo --get http://HOST[:PORT]/PATH|tcp://HOST:PORT|udp://HOST:PORT [--data TEXT] [--timeout SECONDS]
       herald-echo --pause

Serves who answered and whom it saw on HTTP (default 8080), TCP lines and UDP datagrams (default 9000); port 0 takes any
free port and prints it. POD_NAME and NODE_NAME name the answerer. On SIGTERM it stops at once, or turns /ready off and
serves on for --drain seconds. With --proxy-protocol (or ECHO_PROXY_PROTOCOL) the peer of a TCP connection is the client
that a header of version 2 names, if there is one (accept) or in any case (require).";

/// What this run is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Help,
    Pause,
    Get(Get),
    Serve(Config),
}

/// Ports to serve on, and how long to serve on after SIGTERM.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) http: u16,
    pub(crate) tcp: u16,
    pub(crate) udp: u16,
    pub(crate) drain: Duration,
    pub(crate) proxy: Expect,
}

/// Reads the command line; the program's own name comes first, as in `std::env::args`.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Mode, String> {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    if program.rsplit('/').next() == Some("pause") {
        return Ok(Mode::Pause);
    }
    let mut config = Config {
        http: 8080,
        tcp: 9000,
        udp: 9000,
        drain: Duration::ZERO,
        proxy: match std::env::var("ECHO_PROXY_PROTOCOL") {
            Ok(value) => expect("ECHO_PROXY_PROTOCOL", &value)?,
            Err(_) => Expect::Nothing,
        },
    };
    let mut target: Option<Target> = None;
    let mut data = String::new();
    let mut timeout = Duration::from_secs(5);
    while let Some(flag) = args.next() {
        let (flag, inline) = match flag.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (flag, None),
        };
        match flag.as_str() {
            "--pause" | "pause" => return Ok(Mode::Pause),
            "--help" | "-h" => return Ok(Mode::Help),
            _ => {}
        }
        let value = inline
            .or_else(|| args.next())
            .ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--http" => config.http = number(&flag, &value)?,
            "--tcp" => config.tcp = number(&flag, &value)?,
            "--udp" => config.udp = number(&flag, &value)?,
            "--drain" => config.drain = Duration::from_secs(number::<u32>(&flag, &value)?.into()),
            "--proxy-protocol" => config.proxy = expect(&flag, &value)?,
            "--get" => target = Some(value.parse()?),
            "--data" => data = value,
            "--timeout" => timeout = Duration::from_secs(number::<u32>(&flag, &value)?.into()),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(match target {
        Some(target) => Mode::Get(Get {
            target,
            data,
            timeout,
        }),
        None => Mode::Serve(config),
    })
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{flag} {value}: not a number in its range"))
}

fn expect(name: &str, value: &str) -> Result<Expect, String> {
    match value {
        "off" => Ok(Expect::Nothing),
        "accept" => Ok(Expect::Either),
        "require" => Ok(Expect::Header),
        _ => Err(format!("{name} {value}: not off, accept or require")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Mode, String> {
        parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn flags_take_their_value_either_way() {
        let wanted = Config {
            http: 80,
            tcp: 9000,
            udp: 0,
            drain: Duration::from_secs(3),
            proxy: Expect::Header,
        };
        assert_eq!(
            parsed("echo --http=80 --udp 0 --drain 3 --proxy-protocol require"),
            Ok(Mode::Serve(wanted))
        );
    }

    #[test]
    fn pause_by_name_flag_or_word() {
        for line in ["/pause", "/herald-echo --pause", "/herald-echo pause"] {
            assert_eq!(parsed(line), Ok(Mode::Pause), "{line}");
        }
    }

    #[test]
    fn bad_input_is_refused_and_named() {
        for (line, part) in [
            ("echo --http", "--http needs a value"),
            ("echo --http 65536", "--http 65536"),
            ("echo --drain -1", "--drain -1"),
            ("echo --color red", "--color"),
            ("echo --proxy-protocol v1", "--proxy-protocol v1"),
            ("echo --get ftp://a", "ftp://a"),
        ] {
            let problem = parsed(line).unwrap_err();
            assert!(problem.contains(part), "{line}: {problem}");
        }
    }
}
