//! HTTPS: sockets, TLS, connections and their limits.
//!
//! Written on top of hyper rather than taken from a framework, since the deadlines and the number of
//! connections must be ours to set: each handshake runs by itself and against the clock, so that no client can
//! hold up another.

mod activity;
mod connection;
mod listen;
mod tls;

pub(crate) use activity::Lasting;
pub use connection::{Limits, Server};
pub use listen::{ListenError, Listeners};
pub use tls::{TlsError, TlsIdentity};
