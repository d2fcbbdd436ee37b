//! Listening sockets: one a worker and address with SO_REUSEPORT, or those of the service manager
//! shared by all workers; and the admin listener's. What is set on a listening socket holds for the
//! connections that it accepts (Linux), so no connection pays for it.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};

use super::StartFault;
use super::installation::Installation;
use super::passed_sockets::PassedSockets;
use crate::config::Config;

/// Connections that the system queues for a listener.
const BACKLOG: i32 = 4096;
/// A peer that is silent for so long is asked whether it still lives (RFC 9293 3.8.4) …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// … again after so long …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// … and is taken for dead after so many questions.
const KEEPALIVE_PROBES: u32 = 4;
/// How often a port is tried that the process before us still has.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// A socket of the public listener.
#[derive(Debug)]
pub(super) struct PublicSocket {
    pub(super) listener: TcpListener,
    /// Its queue ends with this process. A passed socket's does not: whoever has it next answers it.
    pub(super) own_queue: bool,
}

/// The admin listener's socket.
#[derive(Debug)]
pub(super) enum AdminSocket {
    /// It listens.
    Bound(TcpListener),
    /// Once the process before us, which is about to end, has freed the address.
    Later(SocketAddr),
}

/// The public listener: for each worker its sockets, all listening before any accepts.
///
/// # Errors
/// [`StartFault`] where an address is taken by another installation or cannot be had.
pub(super) fn public(
    config: &Config,
    passed: &mut PassedSockets,
    installation: &Installation,
) -> Result<(Vec<Vec<PublicSocket>>, Vec<SocketAddr>), StartFault> {
    let mut sockets: Vec<Vec<_>> = (0..config.server.workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    let passed = passed.take_public()?;
    for (socket, address) in &passed {
        for sockets in &mut sockets {
            let shared = prepared(socket).and_then(|()| socket.try_clone());
            sockets.push(PublicSocket {
                listener: shared.map_err(|source| fault(*address, source))?,
                own_queue: false,
            });
        }
        addresses.push(*address);
    }
    let wanted = match passed.is_empty() {
        true => &config.server.listen[..],
        false => &[],
    };
    for wanted in wanted {
        let mut address = *wanted;
        only_ours(address, installation)?;
        for sockets in &mut sockets {
            let (listener, bound) = bind(address, true).map_err(|source| fault(address, source))?;
            // Port 0: the system chooses once, and every worker shares its choice.
            address = bound;
            sockets.push(PublicSocket {
                listener,
                own_queue: true,
            });
        }
        addresses.push(address);
    }
    Ok((sockets, addresses))
}

/// The listeners of `server.redirect_listen`, on the control runtime.
///
/// # Errors
/// As [`public`].
pub(super) fn redirects(
    config: &Config,
    installation: &Installation,
) -> Result<Vec<TcpListener>, StartFault> {
    let listener = |address: &SocketAddr| {
        only_ours(*address, installation)?;
        let bound = bind(*address, true).map_err(|source| fault(*address, source));
        bound.map(|(listener, _)| listener)
    };
    config.server.redirect_listen.iter().map(listener).collect()
}

/// The admin listener, on a socket that was passed or on one of its own.
///
/// # Errors
/// [`StartFault`] where the address is taken, but not by the process that this one takes over from.
pub(super) fn admin(
    config: &Config,
    passed: &mut PassedSockets,
    installation: &Installation,
) -> Result<Option<(AdminSocket, SocketAddr)>, StartFault> {
    let Some(admin) = &config.admin else {
        return Ok(None);
    };
    if let Some((socket, address)) = passed.take_admin(admin.listen) {
        if admin.token.is_none() && !address.ip().is_loopback() {
            return Err(StartFault::OpenAdmin { address });
        }
        let prepared = prepared(&socket);
        prepared.map_err(|source| fault(address, source))?;
        return Ok(Some((AdminSocket::Bound(socket), address)));
    }
    match bind(admin.listen, false) {
        Ok((socket, address)) => Ok(Some((AdminSocket::Bound(socket), address))),
        Err(error) if error.kind() == ErrorKind::AddrInUse && !installation.alone => {
            tracing::info!(listen = %admin.listen, "the process before this one has the admin listener until it ends");
            Ok(Some((AdminSocket::Later(admin.listen), admin.listen)))
        }
        Err(source) => Err(fault(admin.listen, source)),
    }
}

impl AdminSocket {
    /// The listening socket, once it can be had.
    pub(super) async fn listening(self) -> TcpListener {
        let address = match self {
            AdminSocket::Bound(socket) => return socket,
            AdminSocket::Later(address) => address,
        };
        loop {
            match bind(address, false) {
                Ok((socket, _)) => return socket,
                Err(_) => tokio::time::sleep(TRY_AGAIN).await,
            }
        }
    }
}

/// SO_REUSEPORT would let us in beside anybody of the same account: without it the system tells.
fn only_ours(address: SocketAddr, installation: &Installation) -> Result<(), StartFault> {
    if address.port() == 0 {
        return Ok(());
    }
    match (socket(address, false), installation.alone) {
        (Ok(_), _) => Ok(()),
        (Err(error), false) if error.kind() == ErrorKind::AddrInUse => {
            tracing::warn!(listen = %address, "another process of this installation listens here too, and both answer: meant for a restart only, so end the other one");
            Ok(())
        }
        (Err(source), _) => Err(fault(address, source)),
    }
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<(TcpListener, SocketAddr)> {
    let socket = socket(address, shared)?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    prepared(&listener)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn socket(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Lets no further handshake begin, while those under way end. Who asks is not answered, and asks again a
/// second later (RFC 6298 2.1): by then the next process answers, or a reset does.
pub(super) fn begin_no_handshake(listener: &impl AsFd) -> std::io::Result<()> {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // The header's flags (RFC 9293 3.1): of SYN and ACK, SYN alone.
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// What every accepted connection is to have.
fn prepared(listener: &TcpListener) -> std::io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

fn fault(address: SocketAddr, source: std::io::Error) -> StartFault {
    StartFault::Listen { address, source }
}
