//! The scenarios tests.
