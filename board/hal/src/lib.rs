//! Board descriptions: board.toml with inheritance, checked.
