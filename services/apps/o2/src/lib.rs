//! The O2 interface: wire types, the common REST rules of ETSI SOL013, and answers made from the node's facts.
//!
//! Everything here is pure: a request's parts and the node's facts go in, a status and a JSON body come out.
//! Transport and access rights are the caller's: whoever calls must have checked the token already. O2 types
//! never go further into the node than this crate.

mod identity;
mod inventory;
mod mapping;
mod problem;
pub mod sol013;
pub mod wire;

pub use identity::Identities;
pub use inventory::{Answer, Inventory, Question, is_o2_path};
pub use mapping::{Facts, Objects};
pub use problem::Problem;
