//! A question to a name server of choice, from a place of the lab.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use herald_tests::{Netns, Place};

use crate::e2e::ask::{PATIENCE, Transport, exchange};

const ID: [u8; 2] = [0x48, 0x4c];

/// The IPv4 address of `name` as the server at `server` tells it.
pub(crate) fn resolve(
    cluster: &str,
    from: Place,
    server: SocketAddr,
    transport: Transport,
    name: &str,
) -> Result<Ipv4Addr> {
    let question = question(name)?;
    let reply = Netns::open(&from.netns(cluster))
        .enter(|| match transport {
            Transport::Tcp => over_tcp(server, &question),
            Transport::Udp => exchange(server, &question),
        })?
        .with_context(|| format!("{transport:?} from {} to {server}", from.label()))?;
    answer(&reply).with_context(|| format!("reply of {server} about {name}: {reply:?}"))
}

fn over_tcp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(question.len())?.to_be_bytes();
    stream
        .write_all(&[&length, question].concat())
        .context("send")?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).context("read")?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).context("read")?;
    Ok(reply)
}

/// One question for an A record (RFC 1035, 4.1).
fn question(name: &str) -> Result<Vec<u8>> {
    let mut question = [&ID[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    Ok(question)
}

/// The data of the one record that answers a question for an A record: it ends the reply.
fn answer(reply: &[u8]) -> Result<Ipv4Addr> {
    ensure!(reply.len() > 12 && reply[..2] == ID, "not to this question");
    let (code, records) = (reply[3] & 0x0f, &reply[6..12]);
    ensure!(
        code == 0 && records == [0, 1, 0, 0, 0, 0],
        "response code {code}, numbers of records {records:?}"
    );
    let data = reply.last_chunk::<4>().context("too short")?;
    Ok(Ipv4Addr::from(*data))
}
