//! The node daemon.
//!
//! Owns the store, runs the controllers, and answers on the local socket. It must not parse HTTP or TLS, nor
//! bytes that came over the network; and its end must not touch a workload.

mod alarm_images;
mod alarm_storage;
mod alarm_vms;
mod alarm_watch;
mod api;
mod clock;
mod config;
mod daemon;
mod dirs;
mod durable;
mod events;
mod fault_watch;
mod going_down;
mod identity;
mod images;
pub mod jobs;
mod node;
mod node_controller;
mod pages;
mod pulls;
mod seed;
mod serial_hub;
mod serial_lines;
pub mod typists;
mod version;
mod watchdog;

pub use config::{Config, ConfigError, INBOX};
pub use daemon::{BoardFacts, Concern, Daemon, Parts, Roles};
pub use dirs::Dirs;
pub use node::{Machine, Node};
pub use watchdog::watch_over;
