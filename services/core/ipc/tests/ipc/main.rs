//! The local socket from outside: every message, both ends, and peers that misbehave.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod misbehaviour;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod two_way;
