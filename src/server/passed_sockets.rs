//! Listening sockets that the service manager passes on (sd_listen_fds(3)): they outlive the process,
//! so that a restart refuses nobody.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use super::StartFault;

/// The sockets that were passed, by what they are for.
#[derive(Debug, Default)]
pub struct PassedSockets {
    named: VecDeque<(String, TcpListener, SocketAddr)>,
}

impl PassedSockets {
    /// Takes what LISTEN_FDS and LISTEN_FDNAMES say was passed to this process; at most once.
    ///
    /// # Errors
    /// [`StartFault::Passed`] for anything but a listening TCP socket.
    pub fn from_environment() -> Result<Self, StartFault> {
        let mut passed = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            match passed.take_tcp_listener(index) {
                Ok(socket) => sockets.extend(socket.map(|socket| (name, socket))),
                Err(source) => {
                    return Err(StartFault::Passed {
                        name: name.to_owned(),
                        source,
                    });
                }
            }
        }
        Self::of(sockets)
    }

    /// These sockets, by name.
    ///
    /// # Errors
    /// [`StartFault::Passed`] for one without an address.
    pub fn of<'n>(
        sockets: impl IntoIterator<Item = (&'n str, TcpListener)>,
    ) -> Result<Self, StartFault> {
        let with_address = |(name, socket): (&str, TcpListener)| {
            let name = name.to_owned();
            match socket.local_addr() {
                Ok(address) => Ok((name, socket, address)),
                Err(source) => Err(StartFault::Passed { name, source }),
            }
        };
        let named = sockets.into_iter().map(with_address);
        let named = named.collect::<Result<_, _>>()?;
        Ok(Self { named })
    }

    /// Takes the admin listener's: the one named `admin`, or without such a name the one at `admin.listen`.
    pub(super) fn take_admin(&mut self, listen: SocketAddr) -> Option<(TcpListener, SocketAddr)> {
        let by_name = self.named.iter().position(|(name, ..)| name == "admin");
        let at = by_name.or_else(|| {
            let there = |(name, _, address): &(String, _, SocketAddr)| {
                name != "public" && *address == listen
            };
            self.named.iter().position(there)
        })?;
        let (_, socket, address) = self.named.remove(at)?;
        Some((socket, address))
    }

    /// Takes all others: the public listener's.
    ///
    /// # Errors
    /// [`StartFault::Unwanted`] for one named `admin` that nobody took.
    pub(super) fn take_public(&mut self) -> Result<Vec<(TcpListener, SocketAddr)>, StartFault> {
        let all = std::mem::take(&mut self.named);
        let wanted = |(name, socket, address): (String, TcpListener, SocketAddr)| match &*name {
            "admin" => Err(StartFault::Unwanted { name, address }),
            _ => Ok((socket, address)),
        };
        all.into_iter().map(wanted).collect()
    }
}
