//! WebSockets: terminals and screens.
//!
//! Whoever opens one shows a bearer token, or a ticket in the query; a cookie alone is not enough, and a page of
//! another origin is refused. What is said on one is in `wire`; a node's refusal comes as a message, since browsers
//! do not show a failed handshake's answer to a page.

mod caller;
mod talk;
mod wire;

pub(crate) use caller::SocketCaller;
pub(crate) use talk::open;
pub(crate) use wire::Wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;

use crate::auth::Caller;
use crate::problem::Problem;

/// WebSockets at a time.
const MOST: usize = 32;
/// The same of one session.
const MOST_OF_ONE: usize = 12;

/// Counts open WebSockets, which the server's own count of connections does not hold any more.
#[derive(Default)]
pub(crate) struct Sockets {
    open: Arc<Mutex<HashMap<Caller, usize>>>,
}

/// A place among them, until dropped.
pub(crate) struct Place {
    caller: Caller,
    open: Arc<Mutex<HashMap<Caller, usize>>>,
}

impl Sockets {
    pub(crate) fn place(&self, caller: &Caller) -> Result<Place, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (open.values().sum::<usize>(), open.get(caller).copied().unwrap_or(0));
        if all >= MOST || own >= MOST_OF_ONE {
            let detail = format!(
                "{all} terminals and screens are open, {own} of them in this session; \
                 at most {MOST} and {MOST_OF_ONE} may be: close one"
            );
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        *open.entry(caller.clone()).or_default() += 1;
        Ok(Place { caller: caller.clone(), open: Arc::clone(&self.open) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.caller) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}
