use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener as Plain, TcpStream};
use std::time::Instant;

use axum::routing::get;

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

/// A port that nobody has at the moment.
fn free() -> SocketAddr {
    let listener = Plain::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn router() -> Router {
    Router::new().route("/livez", get(|| async { "ok\n" }))
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn started() -> SocketAddr {
    let address = free();
    let state = spawn(address, router()).unwrap();
    wait("the server listens", || state.borrow().is_none());
    address
}

#[test]
fn a_port_that_is_taken_is_waited_for_and_said() {
    let other = Plain::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = other.local_addr().unwrap();
    let state = spawn(address, router()).unwrap();
    wait("it says why it does not listen", || {
        let why = state.borrow().clone();
        why.is_some_and(|why| why.contains("--admin-address") && why.contains("in use"))
    });
    drop(other);
    wait("it listens", || state.borrow().is_none());
    assert!(ask(address).unwrap().ends_with("ok\n"));
}

#[test]
fn half_requests_neither_stay_nor_keep_others_out() {
    let address = started();
    let mut halves = Vec::new();
    for _ in 0..CONNECTIONS_MAX * 4 {
        let mut half = TcpStream::connect(address).unwrap();
        // The server may have closed an earlier one; this one may meet that too.
        let _ = half.write_all(b"GET /livez HTTP/1.1\r\nHos");
        halves.push(half);
    }
    assert!(ask(address).unwrap().ends_with("ok\n"), "a whole request");
    // Those beyond the limit are closed at once, the rest when their time is over.
    for mut half in halves {
        half.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut rest = Vec::new();
        match half.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn a_head_that_trickles_in_is_cut_off() {
    let address = started();
    let mut slow = TcpStream::connect(address).unwrap();
    let begun = Instant::now();
    wait("the slow request is cut off", || {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(200));
        slow.write_all(b"G").is_err()
    });
}

#[test]
fn a_connection_serves_several_requests() {
    let address = started();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let (mut text, mut byte) = (Vec::new(), [0]);
        while !text.ends_with(b"ok\n") {
            stream.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        assert!(text.starts_with(b"HTTP/1.1 200"));
    }
}
