//! The engine from outside, in paused time.

#[cfg(test)]
mod build;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod support;
#[cfg(test)]
mod wakes;
