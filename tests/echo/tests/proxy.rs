//! The proxy protocol from outside: a header names the client.
#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not what they call.

mod running;

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;

use running::{Echo, connect};

/// A header of the proxy protocol, version 2, for a client at 10.78.0.50:40000.
const HEADER: [u8; 28] =
    *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x4e\0\x32\x0a\x4f\x01\x0a\x9c\x40\0\x50";

/// The first line a connection to the TCP port answers, if it does.
fn first_line(echo: &Echo, sent: &[&[u8]]) -> Option<String> {
    let mut stream = connect((Ipv4Addr::LOCALHOST, echo.tcp).into());
    stream.write_all(&sent.concat()).unwrap();
    let mut line = String::new();
    // A connection that is closed for what it sent may be reset.
    BufReader::new(stream).read_line(&mut line).ok()?;
    (!line.is_empty()).then_some(line)
}

#[test]
fn a_header_of_the_proxy_protocol_names_the_client() {
    for mode in ["accept", "require"] {
        let echo = Echo::start(&["--proxy-protocol", mode]);
        let line = first_line(&echo, &[&HEADER, b"hi\n"]).unwrap();
        assert!(
            line.contains(" peer=10.78.0.50:40000 proto=tcp via=127.0.0.1:"),
            "{line}"
        );
        let request = [&HEADER[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let (status, _, body) = echo.ask(&request);
        assert_eq!(status, 200);
        assert!(
            body.contains(" peer=10.78.0.50:40000 proto=http via="),
            "{body}"
        );
        let bare = first_line(&echo, &[b"hi there, a line longer than a header\n"]);
        assert_eq!(bare.is_some(), mode == "accept", "{bare:?}");
    }
    // Unasked for it is no line of text.
    let echo = Echo::start(&[]);
    let line = first_line(&echo, &[&HEADER, b"hi\n"]).unwrap();
    assert!(line.contains(" peer=127.0.0.1:"), "{line}");
}
