//! The skerry command line.
