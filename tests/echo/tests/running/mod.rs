//! The real program, running on free ports of loopback.
#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not what they call.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_herald-echo");
/// Nothing here takes long; this only ends a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Echo {
    pub child: Child,
    pub http: u16,
    pub tcp: u16,
    pub udp: u16,
}

impl Echo {
    pub fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--http=0", "--tcp=0", "--udp=0"])
            .args(flags)
            .env("POD_NAME", "web-1")
            .env("NODE_NAME", "n1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = |name: &str| {
            let word = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name));
            word.unwrap().parse::<SocketAddr>().unwrap().port()
        };
        Self {
            http: port("http="),
            tcp: port("tcp="),
            udp: port("udp="),
            child,
        }
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn connect(&self) -> TcpStream {
        connect((Ipv4Addr::LOCALHOST, self.http).into())
    }

    /// Status code, head and body of the answer to these bytes.
    pub fn ask(&self, request: &[u8]) -> (u16, String, String) {
        ask((Ipv4Addr::LOCALHOST, self.http).into(), request)
    }

    pub fn status(&self, request: &str) -> u16 {
        self.ask(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .0
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn ask(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        head.to_owned(),
        body.to_owned(),
    )
}

pub fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "still running");
        std::thread::sleep(Duration::from_millis(5));
    }
}
