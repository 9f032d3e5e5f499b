//! The server from outside: the real program, real sockets on loopback.
#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not what they call.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

mod running;

use running::{Echo, PATIENCE, PROGRAM, connect, ended};

#[test]
fn http_tells_who_answered_and_whom_it_saw() {
    let echo = Echo::start(&[]);
    for host in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, echo.http)),
        (Ipv6Addr::LOCALHOST, echo.http).into(),
    ] {
        let mut stream = connect(host);
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let me = stream.local_addr().unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: text/plain"), "{head}");
        assert_eq!(body, format!("pod=web-1 node=n1 peer={me} proto=http\n"));
    }
}

#[test]
fn tcp_answers_line_by_line_on_one_connection() {
    let echo = Echo::start(&[]);
    for host in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, echo.tcp)),
        (Ipv6Addr::LOCALHOST, echo.tcp).into(),
    ] {
        let mut stream = connect(host);
        let me = stream.local_addr().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        for asked in ["one", "two"] {
            stream.write_all(format!("{asked}\n").as_bytes()).unwrap();
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert_eq!(
                line,
                format!("pod=web-1 node=n1 peer={me} proto=tcp data={asked}\n")
            );
        }
        // A line without an end is not kept forever: the connection is ended, not the server.
        let _ = stream.write_all(&vec![b'a'; 100_000]);
        let mut rest = Vec::new();
        let _ = lines.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
}

#[test]
fn udp_answers_from_the_address_that_was_asked() {
    let echo = Echo::start(&[]);
    // 127.0.0.2 is not what the kernel would choose as the source towards 127.0.0.1.
    for host in ["127.0.0.1", "127.0.0.2", "::1"] {
        let asked = SocketAddr::new(host.parse().unwrap(), echo.udp);
        let mine = if asked.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(mine).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let me = socket.local_addr().unwrap();
        for data in ["ping", ""] {
            socket.send_to(data.as_bytes(), asked).unwrap();
            let mut buffer = [0; 512];
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            let tail = if data.is_empty() { "" } else { " data=ping" };
            assert_eq!(from, asked);
            let wanted = format!("pod=web-1 node=n1 peer={me} proto=udp{tail}\n");
            assert_eq!(String::from_utf8_lossy(&buffer[..len]), wanted);
        }
    }
}

#[test]
fn readiness_is_switched_and_health_is_not() {
    let echo = Echo::start(&[]);
    assert_eq!(echo.status("GET /ready"), 200);
    assert_eq!(echo.status("POST /ready?state=off"), 200);
    assert_eq!(
        (echo.status("GET /ready"), echo.status("GET /healthz")),
        (503, 200)
    );
    assert_eq!(echo.status("POST /ready?state=maybe"), 400);
    assert_eq!(echo.status("GET /ready"), 503);
    assert_eq!(echo.status("POST /ready?state=on"), 200);
    assert_eq!(echo.status("GET /ready"), 200);
}

#[test]
fn bad_requests_are_refused_and_the_next_one_is_served() {
    let echo = Echo::start(&[]);
    assert_eq!(echo.status("GET /nothing"), 404);
    assert_eq!(echo.status("DELETE /"), 405);
    assert_eq!(echo.status("GET /download"), 400);
    assert_eq!(echo.status("GET /download?bytes=-1"), 400);
    assert_eq!(echo.status("GET /download?bytes=1&rate=0"), 400);
    assert_eq!(echo.ask(b"\x16\x03\x01\r\n\r\n").0, 400);
    assert_eq!(echo.ask(b"GET / HTTP/1.1\r\n\r\n").0, 400);
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000));
    assert_eq!(echo.ask(long.as_bytes()).0, 431);
    assert_eq!(
        echo.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n")
            .0,
        413
    );

    let mut cut = echo.connect();
    cut.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    cut.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");

    // Those that say nothing hold no one up.
    let _silent: Vec<TcpStream> = (0..50).map(|_| echo.connect()).collect();
    assert_eq!(echo.status("GET /"), 200);
}

#[test]
fn a_body_is_read_and_thrown_away() {
    let echo = Echo::start(&[]);
    let body = "x".repeat(60_000);
    let length = body.len();
    let request = format!(
        "POST /ready?state=on HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    assert_eq!(echo.ask(request.as_bytes()).0, 200);
}

#[test]
fn a_download_is_as_long_as_asked_and_not_faster() {
    let echo = Echo::start(&[]);
    for (query, bytes) in [
        ("bytes=0", 0),
        ("bytes=300000", 300_000),
        ("bytes=50000&rate=100000", 50_000),
    ] {
        let start = Instant::now();
        let request = format!("GET /download?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (code, head, body) = echo.ask(request.as_bytes());
        assert_eq!((code, body.len()), (200, bytes), "{query}");
        assert!(
            head.contains(&format!("Content-Length: {bytes}\r\n")),
            "{head}"
        );
        // Half a second is due; a busy machine only makes it longer.
        let slow = start.elapsed() >= Duration::from_millis(450);
        assert!(
            slow || !query.contains("rate"),
            "{query} took {:?}",
            start.elapsed()
        );
    }
    assert_eq!(
        echo.ask(b"HEAD /download?bytes=9 HTTP/1.1\r\nHost: a\r\n\r\n")
            .2,
        ""
    );
}

#[test]
fn it_stops_when_told() {
    for name in ["-TERM", "-INT"] {
        let mut echo = Echo::start(&[]);
        echo.signal(name);
        assert!(ended(&mut echo.child).success());
    }
}

#[test]
fn while_draining_it_serves_but_is_not_ready() {
    let mut echo = Echo::start(&["--drain", "3600"]);
    echo.signal("-TERM");
    let deadline = Instant::now() + PATIENCE;
    while echo.status("GET /ready") != 503 {
        assert!(Instant::now() < deadline, "still ready");
    }
    assert_eq!(echo.status("GET /"), 200);
    echo.signal("-TERM");
    assert!(ended(&mut echo.child).success());
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let echo = Echo::start(&[]);
    for (flag, port) in [("--http", echo.http), ("--udp", echo.udp)] {
        let other = ["--http=0", "--tcp=0", "--udp=0"];
        let taken = format!("{flag}={port}");
        let output = Command::new(PROGRAM)
            .args(other)
            .arg(taken)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("port {port}")), "{said}");
    }
}

#[test]
fn the_client_asks_and_prints() {
    let echo = Echo::start(&[]);
    let get = |url: String| {
        let output = Command::new(PROGRAM)
            .args(["--get", &url, "--data", "hi"])
            .output()
            .unwrap();
        let text = output
            .stdout
            .iter()
            .chain(&output.stderr)
            .copied()
            .collect();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    for (url, proto) in [
        (format!("http://127.0.0.1:{}/", echo.http), "proto=http\n"),
        (format!("http://[::1]:{}", echo.http), "proto=http\n"),
        (
            format!("tcp://127.0.0.1:{}", echo.tcp),
            "proto=tcp data=hi\n",
        ),
        (format!("udp://[::1]:{}", echo.udp), "proto=udp data=hi\n"),
    ] {
        let (ok, said) = get(url.clone());
        assert!(
            ok && said.starts_with("pod=web-1 node=n1 peer=") && said.ends_with(proto),
            "{url}: {said}"
        );
    }
    let (ok, said) = get(format!("http://127.0.0.1:{}/nothing", echo.http));
    assert!(!ok && said.contains("404"), "{said}");
    // The TCP port's number as a UDP port: refused, and at once.
    let free = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (ok, said) = get(format!("udp://{free}"));
    assert!(!ok && said.contains(&free.to_string()), "{said}");
}

/// A child of the pause program that ends must not stay a zombie: the kernel would keep its process id.
#[test]
fn pause_waits_reaps_and_stops() {
    // The shell's sleep becomes a child of the pause program that the shell turns into.
    let script = format!("sleep 0.2 & exec {PROGRAM} --pause");
    let mut pause = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let id = pause.id().to_string();
    let task = format!("/proc/{id}/task/{id}/children");
    let has_child = || !std::fs::read_to_string(&task).unwrap().is_empty();
    let deadline = Instant::now() + PATIENCE;
    // In this order: once it is the pause program, its child is there until it is reaped. Before the shell it is a
    // copy of this process for a moment.
    let comm = || std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap();
    let is_pause = || PROGRAM.ends_with(comm().trim_end());
    while !is_pause() || has_child() {
        assert!(Instant::now() < deadline, "a child is left");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(pause.try_wait().unwrap().is_none());
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert!(ended(&mut pause).success());
}
