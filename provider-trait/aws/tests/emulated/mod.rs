//! The AWS emulator (tests/moto) as a test's world: one process for all tests, one account for each.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

pub mod harness;

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// A running emulator; it ends with the test process, whose end of the pipe to it closes.
pub struct Emulator {
    process: Child,
    pub url: String,
}

static EMULATOR: LazyLock<Emulator> = LazyLock::new(|| start_with(&[]));
static ACCOUNT: AtomicU64 = AtomicU64::new(1);

/// The emulator of this test process.
pub fn emulator() -> &'static Emulator {
    &EMULATOR
}

/// An emulator of a test's own, with further arguments. Its Python environment is made when it is missing.
pub fn start_with(arguments: &[&str]) -> Emulator {
    let python = herald_tests::moto::ensure().unwrap();
    let mut process = Command::new(python)
        .args(["-B", "-m", "emulator"])
        .args(arguments)
        .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/moto"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It prints its address once it listens; the end of its output means that it failed.
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("emulator: {line}"));
    let url = said["url"].as_str().unwrap().to_owned();
    Emulator { process, url }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It ends with its input; the wait only collects it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// One account of the emulator.
#[derive(Clone, Debug)]
pub struct Account {
    pub url: String,
    pub number: String,
    pub region: String,
}

impl Account {
    /// A fresh account.
    pub fn new(emulator: &Emulator) -> Self {
        let number = ACCOUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            url: emulator.url.clone(),
            number: format!("{number:012}"),
            region: "us-east-1".into(),
        }
    }

    /// Asks the emulator's control interface.
    pub fn ask(&self, verb: &str, body: Value) -> Value {
        let mut body = body;
        body["account"] = json!(self.number);
        body["region"] = json!(self.region);
        let body = body.to_string();
        let host = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "POST /_herald/{verb} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{verb}: {head} {body}");
        serde_json::from_str(body).unwrap()
    }

    /// The calls made by the controller, as (action, changes, result).
    pub fn calls(&self) -> Vec<(String, bool, String)> {
        let state = self.ask("state", json!({}));
        let calls = state["calls"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        calls
            .map(|c| {
                (
                    text(&c["action"]),
                    c["changes"].as_bool().unwrap(),
                    text(&c["code"]),
                )
            })
            .collect()
    }

    /// Clears the log of calls.
    pub fn forget_calls(&self) {
        self.ask("forget", json!({}));
    }
}

/// Runs a test with an account of its own.
pub fn run<F: Future<Output = ()>>(body: impl FnOnce(Account) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(body(Account::new(emulator())));
}
