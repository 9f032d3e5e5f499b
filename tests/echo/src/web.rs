//! The HTTP answers.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | who answered, and the peer it saw |
//! | `GET /healthz` | 200 |
//! | `GET /ready` | 200, or 503 after `POST /ready?state=off` until `state=on` |
//! | `GET /download?bytes=N[&rate=BYTES_PER_S]` | N bytes, at that rate if one is given |

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{self, Head, MAX_HEAD, Refusal};
use crate::identity::Identity;
use crate::proxy::{self, Expect, Peer};

/// A request must be here after this.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// A peer that takes nothing for this long is gone. Long: tests stall downloads on purpose.
const STALL: Duration = Duration::from_mins(2);
/// Bytes written at a time by an unhurried download.
const CHUNK: [u8; 16 * 1024] = [b'.'; 16 * 1024];

pub(crate) struct Web {
    who: Arc<Identity>,
    ready: AtomicBool,
    expect: Expect,
}

/// What a request gets.
enum Answer {
    Text(u16, &'static str, String),
    Download { bytes: u64, rate: Option<u64> },
}

impl Web {
    pub(crate) fn new(who: Arc<Identity>, expect: Expect) -> Self {
        Self {
            who,
            expect,
            ready: AtomicBool::new(true),
        }
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// One request, one answer, then the connection is closed.
    pub(crate) fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let peer = proxy::peer(&mut stream, self.expect)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(STALL))?;
        let Some(head) = read_request(&mut stream, Instant::now() + REQUEST_TIME)? else {
            // Connected and left: a probe of the port.
            return Ok(());
        };
        let wants_body = !matches!(&head, Ok(head) if head.method == "HEAD");
        let answer = head
            .and_then(|head| self.answer(&head, peer))
            .unwrap_or_else(|refusal| {
                let (code, reason, why) = refusal.answer();
                Answer::Text(code, reason, format!("{why}\n"))
            });
        write_answer(&mut stream, &answer, wants_body)?;
        // Closing with unread input would reset the connection and could lose the answer on its way.
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        io::copy(&mut stream.take(http::MAX_BODY as u64), &mut io::sink()).map(drop)
    }

    fn answer(&self, head: &Head, peer: Peer) -> Result<Answer, Refusal> {
        let ok = |text: String| Ok(Answer::Text(200, "OK", text));
        match (head.method.as_str(), head.path.as_str()) {
            ("GET" | "HEAD", "/") => ok(self.who.answer(peer, "http", b"")),
            ("GET" | "HEAD", "/healthz") => ok("ok\n".to_owned()),
            ("GET" | "HEAD", "/ready") => {
                if self.ready.load(Ordering::Relaxed) {
                    ok("ready\n".to_owned())
                } else {
                    Ok(Answer::Text(
                        503,
                        "Service Unavailable",
                        "not ready\n".to_owned(),
                    ))
                }
            }
            ("POST", "/ready") => {
                let ready = match head.query("state") {
                    Some("on") => true,
                    Some("off") => false,
                    _ => return Err(Refusal::BadRequest("state is on or off")),
                };
                self.set_ready(ready);
                ok(format!("ready={ready}\n"))
            }
            ("GET" | "HEAD", "/download") => download(head),
            (_, "/" | "/healthz" | "/ready" | "/download") => Err(Refusal::MethodNotAllowed),
            _ => Err(Refusal::NotFound),
        }
    }
}

fn download(head: &Head) -> Result<Answer, Refusal> {
    let bytes = head.query("bytes").and_then(|bytes| bytes.parse().ok());
    let bytes = bytes.ok_or(Refusal::BadRequest("bytes is a number of bytes"))?;
    let rate = match head.query("rate").map(str::parse) {
        None => None,
        Some(Ok(rate)) if rate > 0 => Some(rate),
        Some(_) => return Err(Refusal::BadRequest("rate is a number of bytes per second")),
    };
    Ok(Answer::Download { bytes, rate })
}

/// Reads one request whole, its body thrown away. `None` if the peer sent nothing.
fn read_request(
    stream: &mut TcpStream,
    deadline: Instant,
) -> io::Result<Option<Result<Head, Refusal>>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = http::head_end(&bytes) {
            break end;
        }
        if bytes.len() >= MAX_HEAD {
            return Ok(Some(Err(Refusal::HeadTooLarge)));
        }
        match read_more(stream, &mut bytes, deadline) {
            Ok(0) if bytes.is_empty() => return Ok(None),
            Ok(0) => return Ok(Some(Err(Refusal::BadRequest("the request is cut")))),
            Ok(_) => {}
            Err(error) if timed_out(&error) => return Ok(Some(Err(Refusal::Timeout))),
            Err(error) => return Err(error),
        }
    };
    if end > MAX_HEAD {
        return Ok(Some(Err(Refusal::HeadTooLarge)));
    }
    let head = match http::parse(&bytes[..end]) {
        Ok(head) => head,
        Err(refusal) => return Ok(Some(Err(refusal))),
    };
    while bytes.len() < end + head.body {
        match read_more(stream, &mut bytes, deadline) {
            Ok(0) => return Ok(Some(Err(Refusal::BadRequest("the body is cut")))),
            Ok(_) => {}
            Err(error) if timed_out(&error) => return Ok(Some(Err(Refusal::Timeout))),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(Ok(head)))
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut part = [0; 2048];
    loop {
        match stream.read(&mut part) {
            Ok(len) => {
                bytes.extend_from_slice(&part[..len]);
                return Ok(len);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn timed_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

fn write_answer(stream: &mut TcpStream, answer: &Answer, body: bool) -> io::Result<()> {
    let (code, reason, kind, length) = match answer {
        Answer::Text(code, reason, text) => (
            *code,
            *reason,
            "text/plain; charset=utf-8",
            text.len() as u64,
        ),
        Answer::Download { bytes, .. } => (200, "OK", "application/octet-stream", *bytes),
    };
    let mut message = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    match answer {
        Answer::Text(_, _, text) if body => {
            message.push_str(text);
            stream.write_all(message.as_bytes())
        }
        Answer::Download { bytes, rate } if body => {
            stream.write_all(message.as_bytes())?;
            write_slowly(stream, *bytes, *rate)
        }
        _ => stream.write_all(message.as_bytes()),
    }
}

/// Writes `bytes` bytes, `rate` of them a second, evenly: about twenty pieces a second.
fn write_slowly(out: &mut impl Write, bytes: u64, rate: Option<u64>) -> io::Result<()> {
    let piece = rate
        .map_or(u64::MAX, |rate| (rate / 20).max(1))
        .min(CHUNK.len() as u64);
    let start = Instant::now();
    let mut sent = 0;
    while sent < bytes {
        // At most CHUNK.len(), so it fits.
        let part = usize::try_from(piece.min(bytes - sent)).unwrap_or(CHUNK.len());
        out.write_all(&CHUNK[..part])?;
        sent += part as u64;
        if let Some(rate) = rate {
            let due = u128::from(sent) * 1_000_000_000 / u128::from(rate);
            let due = Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX));
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    Ok(())
}
