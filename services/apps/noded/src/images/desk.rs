//! What the north side is to fetch, and how far it is. Held in memory: after a restart the jobs order anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_ipc::{FetchOrder, FetchReport};
use tokio::sync::watch;
use uuid::Uuid;

type Orders = BTreeMap<Uuid, (FetchOrder, watch::Sender<Option<FetchReport>>)>;

/// The desk. Clones are the same.
#[derive(Clone)]
pub struct FetchDesk {
    orders: Arc<watch::Sender<Orders>>,
}

impl Default for FetchDesk {
    fn default() -> Self {
        Self { orders: Arc::new(watch::Sender::new(Orders::new())) }
    }
}

/// An order that stands for as long as this lives.
pub struct FetchTicket {
    desk: FetchDesk,
    id: Uuid,
    reports: watch::Receiver<Option<FetchReport>>,
}

impl FetchDesk {
    /// Orders something to be fetched into the spool under the order's id.
    pub fn order(&self, order: FetchOrder) -> FetchTicket {
        let (sender, reports) = watch::channel(None);
        let id = order.id;
        self.orders.send_modify(|orders| {
            orders.insert(id, (order, sender));
        });
        FetchTicket { desk: self.clone(), id, reports }
    }

    /// Takes a report; `false` if the order no longer stands.
    pub fn report(&self, id: Uuid, report: FetchReport) -> bool {
        let orders = self.orders.borrow();
        let Some((_, sender)) = orders.get(&id) else { return false };
        sender.send_replace(Some(report));
        true
    }

    /// The orders that stand, and word of every change.
    pub fn watch(&self) -> FetchWatch {
        FetchWatch { orders: self.orders.subscribe(), first: true }
    }
}

/// Follows the orders.
pub struct FetchWatch {
    orders: watch::Receiver<Orders>,
    first: bool,
}

impl FetchWatch {
    /// All orders: at once the first time, then whenever they change. `None` when the desk is closed.
    pub async fn next(&mut self) -> Option<Vec<FetchOrder>> {
        if !std::mem::take(&mut self.first) {
            self.orders.changed().await.ok()?;
        }
        let orders = self.orders.borrow_and_update();
        Some(orders.values().map(|(order, _)| order.clone()).collect())
    }
}

impl FetchTicket {
    /// The next report.
    pub async fn next(&mut self) -> FetchReport {
        while self.reports.changed().await.is_ok() {
            if let Some(report) = self.reports.borrow_and_update().clone() {
                return report;
            }
        }
        // Cannot be: the desk keeps the sender for as long as this ticket lives.
        std::future::pending().await
    }
}

impl Drop for FetchTicket {
    fn drop(&mut self) {
        self.desk.orders.send_modify(|orders| {
            orders.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: u128) -> FetchOrder {
        FetchOrder { id: Uuid::from_u128(n), url: format!("https://x/{n}"), limit: 1 }
    }

    #[tokio::test]
    async fn orders_stand_as_long_as_their_ticket() {
        let desk = FetchDesk::default();
        let mut watch = desk.watch();
        assert_eq!(watch.next().await, Some(vec![]));
        let mut ticket = desk.order(order(1));
        assert_eq!(watch.next().await, Some(vec![order(1)]));
        assert!(desk.report(Uuid::from_u128(1), FetchReport::Done));
        assert_eq!(ticket.next().await, FetchReport::Done);
        drop(ticket);
        assert_eq!(watch.next().await, Some(vec![]));
        assert!(!desk.report(Uuid::from_u128(1), FetchReport::Done));
    }
}
