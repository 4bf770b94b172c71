//! Answers guests that ask for their data at 169.254.169.254, as clouds do.
//!
//! A process of its own, since strangers speak to it: it has no rights, keeps nothing, and can ask the node daemon
//! for nothing but what a guest may know. [`answer`] is a pure function from a request to an answer; the rest takes
//! connections and holds them to limits. It must not decide who is who: the node's packet rules see to it that the
//! address that a question comes from is that of the guest which asks (see `skerry-network`).

mod answer;
mod asked;
mod node;
mod rate;
mod server;
mod token;
mod tree;

pub use answer::{Answered, Telling, answer};
pub use asked::Asked;
pub use node::{Away, Node};
pub use rate::Rate;
pub use server::{Limits, Server, bind};
pub use token::{LONGEST_TOKEN_S, Tokens};
pub use tree::{Found, find};
