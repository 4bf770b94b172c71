//! The local socket between `noded` and everything else on the node.
//!
//! Postcard frames over a Unix socket. Both ends come from one image, so there is no versioning beyond a
//! hello that carries the build id. Resources travel as JSON text inside the frames, because their shapes
//! use what postcard cannot carry (defaults, tagged enums, optional keys). This crate must not know any
//! resource's rules; it moves requests and answers.

mod client;
mod codec;
mod connection;
mod error;
mod protocol;
mod pull;
mod refusal;
mod server;
mod session;
mod task;
mod two_way;
mod two_way_client;

pub use client::Client;
pub use codec::{FrameError, MAX_FRAME_BYTES, decode, encode};
pub use error::{BindError, CallError, ConnectError};
pub use protocol::{
    Action, Answer, Auth, ClientFrame, FetchOrder, FetchReport, Hello, HelloReply, Json, ListQuery,
    LogQuery, PeerRole, PowerAction, Request, ServerFrame, StreamItem,
};
pub use pull::{PullEndpoint, PullOrder, PullReport, PullSignatures, PulledSignature};
pub use refusal::{Refusal, RefusalClass};
pub use server::{Handler, Reply, Roles, Server};
pub use two_way::{Channel, ExecQuery, Input, MAX_INPUT_BYTES, TerminalSize};
pub use two_way_client::TwoWayInput;

/// Tells one build of the software from another. The image build sets it; programs that a developer built
/// are all of one build.
pub const BUILD: &str = match option_env!("SKERRY_BUILD_ID") {
    Some(build) => build,
    None => concat!(env!("CARGO_PKG_VERSION"), "-dev"),
};
