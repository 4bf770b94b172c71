//! Tickets for WebSockets. A browser cannot send a bearer token with one, and its cookie goes along whoever's page
//! asks; so a page first gets a ticket, by a request that a foreign page cannot make, and shows that.
//!
//! A ticket is good once, for half a minute, for one path and on behalf of the session that it was given to.
//! Nothing outlives the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::time::Instant;

use crate::auth::Caller;

/// How long a ticket is good.
pub const LIFETIME: Duration = Duration::from_secs(30);
/// Tickets that wait to be used.
const MOST: usize = 256;
/// The same of one session.
const MOST_OF_ONE: usize = 16;
/// Random bytes of a ticket.
const LENGTH: usize = 32;

struct Ticket {
    caller: Caller,
    path: String,
    until: Instant,
}

/// Tickets that were given and not used yet.
#[derive(Default)]
pub struct Tickets {
    waiting: Mutex<HashMap<String, Ticket>>,
}

/// Why there is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTicket {
    /// Too many wait already.
    #[error("too many tickets wait to be used: try again in half a minute")]
    TooMany,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoChance,
}

impl Tickets {
    /// A new ticket for a path, on behalf of a session that is known to be good.
    pub fn give(&self, caller: &Caller, path: &str) -> Result<String, NoTicket> {
        let mut bytes = [0; LENGTH];
        OsRng.try_fill_bytes(&mut bytes).map_err(|_| NoTicket::NoChance)?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let now = Instant::now();
        let mut waiting = self.lock();
        waiting.retain(|_, ticket| ticket.until > now);
        let own = waiting.values().filter(|ticket| ticket.caller == *caller).count();
        if waiting.len() >= MOST || own >= MOST_OF_ONE {
            return Err(NoTicket::TooMany);
        }
        let ticket =
            Ticket { caller: caller.clone(), path: path.to_owned(), until: now + LIFETIME };
        waiting.insert(secret.clone(), ticket);
        Ok(secret)
    }

    /// Who a ticket was given to, if it is good for this path. It is used up in any case.
    pub fn take(&self, secret: &str, path: &str) -> Option<Caller> {
        let ticket = self.lock().remove(secret)?;
        (ticket.until > Instant::now() && ticket.path == path).then_some(ticket.caller)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Ticket>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(secret: &str) -> Caller {
        let mut headers = axum::http::HeaderMap::new();
        let value = format!("Bearer {secret}").parse().unwrap();
        headers.insert(axum::http::header::AUTHORIZATION, value);
        Caller::by_bearer(&headers).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_for_its_path() {
        let tickets = Tickets::default();
        let one = tickets.give(&caller("ada"), "/a").unwrap();
        assert_eq!(one.len(), 64);
        assert!(tickets.take(&one, "/a").is_some_and(|found| found == caller("ada")));
        assert!(tickets.take(&one, "/a").is_none(), "used twice");
        let other = tickets.give(&caller("ada"), "/a").unwrap();
        assert_ne!(one, other);
        assert!(tickets.take(&other, "/b").is_none(), "another path");
        assert!(tickets.take(&other, "/a").is_none(), "a wrong use is a use");
        assert!(tickets.take("", "/a").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_ends_and_few_wait() {
        let tickets = Tickets::default();
        let late = tickets.give(&caller("ada"), "/a").unwrap();
        tokio::time::advance(LIFETIME).await;
        assert!(tickets.take(&late, "/a").is_none());
        for _ in 0..MOST_OF_ONE {
            tickets.give(&caller("ada"), "/a").unwrap();
        }
        assert_eq!(tickets.give(&caller("ada"), "/a"), Err(NoTicket::TooMany));
        assert!(tickets.give(&caller("bob"), "/a").is_ok(), "one session holds up no other");
        tokio::time::advance(LIFETIME).await;
        assert!(tickets.give(&caller("ada"), "/a").is_ok());
    }
}
