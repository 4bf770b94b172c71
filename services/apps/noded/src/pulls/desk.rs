//! What the north side is to pull, and how far it is. Held in memory: after a restart the jobs order anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_ipc::{PullOrder, PullReport};
use tokio::sync::watch;
use uuid::Uuid;

type Orders = BTreeMap<Uuid, (PullOrder, watch::Sender<Option<PullReport>>)>;

/// The desk. Clones are the same.
#[derive(Clone)]
pub struct PullDesk {
    orders: Arc<watch::Sender<Orders>>,
}

impl Default for PullDesk {
    fn default() -> Self {
        Self { orders: Arc::new(watch::Sender::new(Orders::new())) }
    }
}

/// An order that stands for as long as this lives.
pub struct PullTicket {
    desk: PullDesk,
    job: Uuid,
    reports: watch::Receiver<Option<PullReport>>,
}

impl PullDesk {
    /// Orders an image.
    pub fn order(&self, order: PullOrder) -> PullTicket {
        let (sender, reports) = watch::channel(None);
        let job = order.job;
        self.orders.send_modify(|orders| {
            orders.insert(job, (order, sender));
        });
        PullTicket { desk: self.clone(), job, reports }
    }

    /// Takes a report; `false` if the order no longer stands.
    pub fn report(&self, job: Uuid, report: PullReport) -> bool {
        let orders = self.orders.borrow();
        let Some((_, sender)) = orders.get(&job) else { return false };
        // What is final is not overwritten by a late word of progress.
        sender.send_if_modified(|last| match last {
            Some(PullReport::Done { .. } | PullReport::Failed { .. }) => false,
            _ => {
                *last = Some(report);
                true
            }
        });
        true
    }

    /// All orders: at once, and whenever they change.
    pub fn watch(&self) -> impl futures::Stream<Item = Vec<PullOrder>> + Send + use<> {
        let orders = self.orders.subscribe();
        futures::stream::unfold((orders, true), |(mut orders, first)| async move {
            if !first {
                orders.changed().await.ok()?;
            }
            let all = orders.borrow_and_update().values().map(|(order, _)| order.clone()).collect();
            Some((all, (orders, false)))
        })
    }
}

impl PullTicket {
    /// The next report.
    pub async fn next(&mut self) -> PullReport {
        while self.reports.changed().await.is_ok() {
            if let Some(report) = self.reports.borrow_and_update().clone() {
                return report;
            }
        }
        // Cannot be: the desk keeps the sender for as long as this ticket lives.
        std::future::pending().await
    }
}

impl Drop for PullTicket {
    fn drop(&mut self) {
        self.desk.orders.send_modify(|orders| {
            orders.remove(&self.job);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    fn order(n: u128) -> PullOrder {
        PullOrder {
            job: Uuid::from_u128(n),
            reference: "x.y/a:1".to_owned(),
            endpoints: Vec::new(),
            folder: String::new(),
            have: Vec::new(),
            limit: 1,
            signatures: skerry_ipc::PullSignatures::Ignore,
        }
    }

    #[tokio::test]
    async fn orders_stand_as_long_as_their_ticket() {
        let desk = PullDesk::default();
        let mut watch = Box::pin(desk.watch());
        assert_eq!(watch.next().await, Some(vec![]));
        let mut ticket = desk.order(order(1));
        assert_eq!(watch.next().await, Some(vec![order(1)]));
        let failed = PullReport::Failed {
            detail: "x".to_owned(),
            retry: false,
            wait: false,
            unsigned: false,
        };
        assert!(desk.report(Uuid::from_u128(1), failed.clone()));
        assert!(
            desk.report(
                Uuid::from_u128(1),
                PullReport::Progress { done: 1, total: 2, missing: None }
            )
        );
        assert_eq!(ticket.next().await, failed, "the last word stays");
        drop(ticket);
        assert_eq!(watch.next().await, Some(vec![]));
        assert!(!desk.report(Uuid::from_u128(1), failed));
    }
}
