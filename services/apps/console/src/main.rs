//! The maintenance menu on the node's consoles.

fn main() {}
