//! Containers on Linux.
mod archive;
mod entry;
mod images;
#[cfg(test)]
mod testing;
mod unpack;
