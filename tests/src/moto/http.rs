//! HTTP over a Unix socket, as far as control calls need it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longer than any call that waits for others takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// Makes a control call and gives the body of its answer.
pub(super) fn call(socket: &Path, method: &str, name: &str, body: Option<&str>) -> Result<String> {
    let body = body.unwrap_or_default();
    let request = format!(
        "{method} /herald/{name} HTTP/1.1\r\nHost: moto\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().with_context(|| format!("{method} {name} of moto"))?;
    match parse(&String::from_utf8_lossy(&answer)) {
        Some((200, body)) => Ok(body.to_owned()),
        Some((status, body)) => bail!("{method} {name} of moto: {status}: {body}"),
        None => bail!("{method} {name} of moto: it is no longer there, or says what is not HTTP"),
    }
}

/// Status and body of an answer that came whole.
fn parse(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let found = name.eq_ignore_ascii_case("content-length");
        found.then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() == length).then_some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_none() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(whole), Some((200, "{}")));
        assert_eq!(parse(&whole[..whole.len() - 1]), None);
        assert_eq!(parse("garbage"), None);
    }
}
