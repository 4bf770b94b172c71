//! The node daemon: store, controllers, drivers and the local socket.

fn main() {}
