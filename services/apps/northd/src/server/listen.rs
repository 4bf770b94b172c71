//! The sockets: handed over by systemd (socket activation), or opened here.
//!
//! Handed-over sockets let the service run without any right to low ports, and keep callers waiting instead of
//! refused while it restarts.

use std::net::{Ipv4Addr, SocketAddr};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket};

const BACKLOG: u32 = 1024;

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: is another program there, or is the port below 1024?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A socket from systemd is not a listening TCP socket.
    #[error("socket {index} that systemd handed over cannot be used: it must be a TCP listener")]
    HandedOver {
        /// Which, from 0.
        index: usize,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// The sockets to take connections from.
pub struct Listeners(pub(super) Vec<TcpListener>);

impl Listeners {
    /// Sockets from systemd if there are any, else those addresses.
    pub fn open(addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let handed_over = from_systemd()?;
        if !handed_over.is_empty() {
            return Ok(Self(handed_over));
        }
        let bound = addresses.iter().map(|address| bind(*address));
        Ok(Self(bound.collect::<Result<_, _>>()?))
    }

    /// The addresses listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

fn from_systemd() -> Result<Vec<TcpListener>, ListenError> {
    let mut handed_over = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..handed_over.len() {
        let take = || {
            let Some(listener) = handed_over.take_tcp_listener(index)? else { return Ok(None) };
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener).map(Some)
        };
        let taken: std::io::Result<_> = { take }();
        listeners.extend(taken.map_err(|source| ListenError::HandedOver { index, source })?);
    }
    Ok(listeners)
}

/// `[::]` takes IPv4 as well; where the kernel has no IPv6, the IPv4 address of the same meaning is used.
fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    match try_bind(address) {
        Err(source) if address.ip().is_unspecified() && address.is_ipv6() => {
            let fallback = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            try_bind(fallback).map_err(|_| ListenError::Bind { address, source })
        }
        result => result.map_err(|source| ListenError::Bind { address, source }),
    }
}

fn try_bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        let socket = TcpSocket::new_v6()?;
        // The system's setting may say otherwise.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv6V6Only, &false)?;
        socket
    } else {
        TcpSocket::new_v4()?
    };
    // A restart must not wait for old connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
