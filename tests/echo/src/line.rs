//! TCP: each line is answered with one, for as long as the peer keeps the connection. Tests hold such a connection
//! through restarts and moves to see whether it lives.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::identity::Identity;
use crate::proxy::{self, Expect};

/// The longest line, in bytes; a longer one ends the connection.
const MAX_LINE: u64 = 4096;
/// An idle connection is closed after this.
const IDLE: Duration = Duration::from_mins(10);

pub(crate) fn serve(mut stream: TcpStream, who: &Identity, expect: Expect) -> io::Result<()> {
    let peer = proxy::peer(&mut stream, expect)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "line too long or cut",
            ));
        }
        stream.write_all(who.answer(peer, "tcp", line.trim_ascii_end()).as_bytes())?;
    }
}
