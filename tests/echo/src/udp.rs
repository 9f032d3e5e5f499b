//! UDP: each datagram is answered with one, from the address it was sent to.

use std::net::UdpSocket;
use std::time::Duration;

use crate::identity::Identity;
use crate::sys;

/// Answers until the process ends.
pub(crate) fn serve(socket: &UdpSocket, who: &Identity) {
    // Fails on a socket of IPv4 alone, where the kernel chooses the source, as it does for a pod's only address.
    let dual = sys::ask_for_destination(socket).is_ok();
    let mut buffer = [0; 2048];
    loop {
        // An error here belongs to an earlier answer (its port was closed, its route gone), not to the socket: go on,
        // but never spin on one that stays.
        if answer(socket, who, &mut buffer, dual).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn answer(
    socket: &UdpSocket,
    who: &Identity,
    buffer: &mut [u8],
    dual: bool,
) -> std::io::Result<()> {
    if dual {
        let datagram = sys::receive(socket, buffer)?;
        let text = who.answer(datagram.peer, "udp", &buffer[..datagram.len]);
        sys::send(socket, text.as_bytes(), datagram.peer, datagram.to)
    } else {
        let (len, peer) = socket.recv_from(buffer)?;
        let text = who.answer(peer, "udp", &buffer[..len]);
        socket.send_to(text.as_bytes(), peer).map(drop)
    }
}
