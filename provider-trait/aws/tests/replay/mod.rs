//! An HTTP server that gives exactly the answers it is told to: AWS as it was seen in the field, byte by byte.
//!
//! The answers pass through everything that is used in earnest: sockets, the connector, the SDK's parser and ours.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

pub mod changes;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A request as it came in.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The form in the body.
    pub form: BTreeMap<String, String>,
}

impl Request {
    /// What it asks for, if it is one of AWS's query protocol.
    pub fn action(&self) -> &str {
        self.form.get("Action").map_or("", String::as_str)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The access key that signed it.
    pub fn access_key(&self) -> &str {
        let credential = self.header("authorization").split("Credential=").nth(1);
        credential
            .and_then(|text| text.split('/').next())
            .unwrap_or_default()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
    /// How much of the body is sent before the connection is cut; none is all.
    sent: Option<usize>,
}

impl Reply {
    fn new(status: u16, kind: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            headers: Vec::new(),
            body: body.into(),
            sent: None,
        }
    }

    pub fn xml(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/xml", body)
    }

    pub fn json(body: impl Into<String>) -> Self {
        Self::new(200, "application/json", body)
    }

    pub fn text(body: impl Into<String>) -> Self {
        Self::new(200, "text/plain", body)
    }

    pub fn html(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/html", body)
    }

    #[must_use]
    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    /// The connection is cut after so many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, sent: usize) -> Self {
        self.sent = Some(sent);
        self
    }

    fn write(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} Answer\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.status,
            self.kind,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.extend([name, ": ", value.as_str(), "\r\n"]);
        }
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"\r\n")?;
        let sent = self.sent.unwrap_or(self.body.len());
        stream.write_all(&self.body.as_bytes()[..sent])?;
        stream.shutdown(Shutdown::Write)
    }
}

/// An error of ELBv2 or STS.
pub fn elbv2_error(status: u16, code: &str, message: &str) -> Reply {
    let kind = if status < 500 { "Sender" } else { "Receiver" };
    let body = format!(
        "<ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\n  <Error>\n    \
         <Type>{kind}</Type>\n    <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n  \
         <RequestId>05010ea1-3b8f-4c6c-9674-2f785030006e</RequestId>\n</ErrorResponse>\n"
    );
    Reply::xml(status, body)
}

/// An error of EC2.
pub fn ec2_error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error></Errors>\
         <RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>"
    );
    Reply::xml(status, body)
}

type Answer = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// A running server; it ends with this handle.
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers every request by `answer`; `None` closes the connection without a word.
    pub fn new(answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (ending, log) = (Arc::clone(&stop), Arc::clone(&requests));
        let answer: Arc<Answer> = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ending.load(Ordering::Relaxed) {
                    return;
                }
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                // One for each connection: none waits for another that is slow.
                std::thread::spawn(move || {
                    let Ok(request) = read(&stream) else { return };
                    log.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(request.clone());
                    if let Some(reply) = answer(&request) {
                        // The client may be gone: its test says what it thinks of that.
                        let _ = reply.write(&stream);
                    }
                });
            }
        });
        Self {
            address,
            stop,
            requests,
            thread: Some(thread),
        }
    }

    /// Gives these answers in this order, and ends the connection of every further request.
    pub fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let left: Mutex<std::collections::VecDeque<Reply>> =
            Mutex::new(replies.into_iter().collect());
        Self::new(move |_| {
            left.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What they asked for.
    pub fn actions(&self) -> Vec<String> {
        let requests = self.requests();
        requests.iter().map(|r| r.action().to_owned()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    if method.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let form = String::from_utf8_lossy(&body)
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    Ok(Request {
        method,
        path,
        headers,
        form,
    })
}

/// Text without its percent-encoding.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts
        .next()
        .unwrap_or_default()
        .replace('+', " ")
        .into_bytes();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend(rest.replace('+', " ").bytes());
    }
    String::from_utf8(bytes).unwrap()
}
