//! The north side as a whole, over real TLS and the real local socket, in front of a node made of a few lines.

#[cfg(test)]
mod api;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod o2;
#[cfg(test)]
mod process;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod start;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod uploads;
