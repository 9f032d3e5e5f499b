//! Just enough of HTTP/1.1 (RFC 9112) for a test server: the head of a request, with limits; anything odd is refused.

/// The longest request head, in bytes.
pub(crate) const MAX_HEAD: usize = 8 * 1024;
/// The longest request body, in bytes. It is read and thrown away.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// The head of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    /// Length of the body that follows, in bytes; at most [`MAX_BODY`].
    pub(crate) body: usize,
}

impl Head {
    /// The value of `name` in the query, raw (not percent-decoded).
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Why a request gets no ordinary answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest(&'static str),
    NotFound,
    MethodNotAllowed,
    Timeout,
    BodyTooLarge,
    HeadTooLarge,
}

impl Refusal {
    /// Status code, reason phrase and text to answer with.
    pub(crate) fn answer(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadRequest(why) => (400, "Bad Request", why),
            Self::NotFound => (404, "Not Found", "try /, /healthz, /ready or /download"),
            Self::MethodNotAllowed => (405, "Method Not Allowed", "not with this method"),
            Self::Timeout => (408, "Request Timeout", "the request took too long"),
            Self::BodyTooLarge => (413, "Content Too Large", "the body is longer than 64 KiB"),
            Self::HeadTooLarge => (
                431,
                "Request Header Fields Too Large",
                "the head is longer than 8 KiB",
            ),
        }
    }
}

/// Where the head ends in `bytes` (just after the empty line), if it does.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// Reads a head, with or without its empty line.
pub(crate) fn parse(head: &[u8]) -> Result<Head, Refusal> {
    let bad = Refusal::BadRequest;
    let text = std::str::from_utf8(head).map_err(|_| bad("the head is not text"))?;
    if text.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return Err(bad("stray control characters in the head"));
    }
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad("the request line is not METHOD TARGET VERSION"));
    };
    if !is_token(method) {
        return Err(bad("the method is not a word"));
    }
    if !target.starts_with('/') {
        return Err(bad("the target does not start with a slash"));
    }
    let needs_host = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(bad("the version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    let (mut hosts, mut length) = (0, None);
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| bad("a header line has no colon"))?;
        if !is_token(name) {
            return Err(bad("a header's name is not a word"));
        }
        if name.eq_ignore_ascii_case("host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(bad("transfer encodings are not understood here"));
        } else if name.eq_ignore_ascii_case("content-length") {
            let value = parse_length(value.trim_matches([' ', '\t']))?;
            if length.replace(value).is_some_and(|before| before != value) {
                return Err(bad("two different content lengths"));
            }
        }
    }
    if hosts > 1 || (needs_host && hosts == 0) {
        return Err(bad("an HTTP/1.1 request has one Host header"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.to_owned(), value.to_owned())
    };
    Ok(Head {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(pair)
            .collect(),
        body: length.unwrap_or(0),
    })
}

fn parse_length(value: &str) -> Result<usize, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::BadRequest("the content length is not a number"));
    }
    // Too many digits for a usize are too many bytes as well.
    value
        .parse()
        .ok()
        .filter(|length| *length <= MAX_BODY)
        .ok_or(Refusal::BodyTooLarge)
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let head =
            parse(b"POST /ready?state=off&x HTTP/1.1\r\nhost: a\r\nContent-Length: 3\r\n\r\n");
        let head = head.unwrap();
        assert_eq!(
            (head.method.as_str(), head.path.as_str(), head.body),
            ("POST", "/ready", 3)
        );
        assert_eq!(
            (head.query("state"), head.query("x"), head.query("y")),
            (Some("off"), Some(""), None)
        );
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn odd_requests_are_refused() {
        for (head, code) in [
            ("", 400),
            ("GET /\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\nb: c\r\n\r\n", 400),
            ("G\tT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
                400,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                400,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n",
                413,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                413,
            ),
        ] {
            assert_eq!(
                parse(head.as_bytes()).unwrap_err().answer().0,
                code,
                "{head:?}"
            );
        }
        assert!(parse(b"GET /\xff HTTP/1.0\r\n\r\n").is_err());
    }
}
