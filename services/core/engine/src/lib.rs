//! The loop that brings what is to what is wanted.
//!
//! A [`Controller`] says what it watches and which kinds' status it alone writes. The engine turns
//! changes, driver events and timers into keys, runs one pass per key at a time, and acts on the
//! [`Outcome`] or [`Failure`]. It must not know any resource's rules and never touches the machine.

mod backoff;
mod builder;
mod controller;
mod engine;
mod error;
mod guard;
mod handle;
mod plan;
mod queue;
mod report;

pub use builder::EngineBuilder;
pub use controller::{Controller, ErrorClass, Failure, Key, Outcome};
pub use engine::Engine;
pub use error::BuildError;
pub use guard::{
    GuardEffect, GuardEvent, GuardRefused, GuardState, GuardTimes, Guarded, carry_out,
};
pub use handle::EngineHandle;
pub use plan::planned;
pub use report::{PassEnd, PassReport};
