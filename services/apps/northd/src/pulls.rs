//! Pulls the images that the node daemon orders, into the folders that it names.
//!
//! It follows the daemon's list of orders: what is new is begun, what is no longer listed is given up. What has
//! come stays in the folder, so a pull that begins again goes on where it was.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use skerry_ipc::{
    Auth, PullEndpoint, PullOrder, PullReport, PullSignatures, PulledSignature, Request, StreamItem,
};
use skerry_registry::{
    Class, Credentials, Endpoint, Limits, Meter, Order, Pulled, RegistryError, Signatures, pull,
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::node::{Items, Node, NodeError};

/// The pause before the list is asked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How often progress is told.
const REPORT: Duration = Duration::from_secs(1);
/// How often the last word is said again while the daemon is away.
const LAST_WORDS: u32 = 30;

/// Pulls until told to end.
pub async fn run(node: Arc<dyn Node>, stop: CancellationToken) {
    let mut tasks = Tasks::default();
    let follow = async {
        loop {
            if let Ok(items) = node.open(Auth::Peer, Request::Pulls).await {
                tasks.follow(&node, items).await;
            }
            sleep(RETRY).await;
        }
    };
    // Dropping it drops the tasks; the folders stay.
    stop.run_until_cancelled(follow).await;
}

/// What is being pulled, by its job.
#[derive(Default)]
struct Tasks(HashMap<Uuid, Task>);

struct Task {
    handle: AbortOnDropHandle<()>,
    /// It had come to its end when it was looked at last.
    over: bool,
}

impl Tasks {
    /// Follows the list of orders until it breaks off.
    async fn follow(&mut self, node: &Arc<dyn Node>, mut items: Items) {
        let mut listed = Vec::new();
        let mut look = interval(RETRY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // The next item of a stream is not lost when it is not waited for.
                item = items.next() => match item {
                    Some(Ok(StreamItem::Pulls(orders))) => {
                        self.0.retain(|job, _| orders.iter().any(|order| order.job == *job));
                        self.begin(node, &orders, |task| task.handle.is_finished());
                        listed = orders;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                _ = look.tick() => self.begin_again(node, &listed),
            }
        }
    }

    /// Begins what is listed and has come to its end before: a job may be ordered again while the last word on it is
    /// still on its way, and the list then changes no more. One look later, since the list may be on its way too.
    fn begin_again(&mut self, node: &Arc<dyn Node>, listed: &[PullOrder]) {
        self.begin(node, listed, |task| task.over);
        for task in self.0.values_mut() {
            task.over = task.handle.is_finished();
        }
    }

    /// Begins each order that has no task, or one that is done with.
    fn begin(
        &mut self,
        node: &Arc<dyn Node>,
        orders: &[PullOrder],
        done_with: impl Fn(&Task) -> bool,
    ) {
        for order in orders {
            if self.0.get(&order.job).is_some_and(|task| !done_with(task)) {
                continue;
            }
            let (node, own) = (Arc::clone(node), order.clone());
            let handle = tokio::spawn(async move { serve(&*node, own).await });
            let task = Task { handle: AbortOnDropHandle::new(handle), over: false };
            self.0.insert(order.job, task);
        }
    }
}

/// One order from its beginning to the last word on it.
async fn serve(node: &dyn Node, order: PullOrder) {
    let (job, reference) = (order.job, order.reference.clone());
    tracing::info!(%job, reference, "pulling");
    let meter = Meter::default();
    let report = match prepare(order) {
        Ok(order) => {
            // Both may be dropped: the pull goes on with what is in the folder.
            tokio::select! {
                result = pull(&order, &meter) => last_report(result),
                () = tell(node, job, &meter) => return,
            }
        }
        Err(detail) => PullReport::Failed { detail, retry: false, wait: false, unsigned: false },
    };
    if let PullReport::Failed { detail, .. } = &report {
        tracing::warn!(%job, reference, detail, "not pulled");
    }
    for _ in 0..LAST_WORDS {
        let request = Request::Pulled { job, report: report.clone() };
        match node.call(Auth::Peer, request).await {
            Err(NodeError::Away | NodeError::Lost) => sleep(RETRY).await,
            _ => return,
        }
    }
}

/// Tells progress; ends when the order no longer stands.
async fn tell(node: &dyn Node, job: Uuid, meter: &Meter) {
    let mut tick = interval(REPORT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (done, total, missing) = (meter.done(), meter.total(), meter.missing());
        let report = PullReport::Progress { done, total, missing };
        if let Err(NodeError::Refused(refusal)) =
            node.call(Auth::Peer, Request::Pulled { job, report }).await
        {
            tracing::info!(%job, %refusal, "a pull is given up");
            return;
        }
    }
}

fn last_report(result: Result<Pulled, RegistryError>) -> PullReport {
    match result {
        Ok(pulled) => {
            let documents = [&pulled.named, &pulled.manifest].into_iter();
            let blobs = documents.chain(&pulled.blobs);
            let mut blobs: Vec<_> = blobs.map(|blob| (blob.digest.clone(), blob.size)).collect();
            blobs.dedup();
            let signatures = pulled.signatures.into_iter().map(|found| PulledSignature {
                payload: found.payload,
                signature: found.signature,
            });
            let signatures = signatures.collect();
            PullReport::Done { named: pulled.named.digest, blobs, signatures }
        }
        Err(error) => PullReport::Failed {
            detail: error.chain(),
            retry: error.class() != Class::NeedsOperator,
            wait: error.waits(),
            unsigned: matches!(error, RegistryError::Unsigned { .. }),
        },
    }
}

fn prepare(order: PullOrder) -> Result<Order, String> {
    let endpoints: Result<Vec<Endpoint>, String> =
        order.endpoints.into_iter().map(endpoint).collect();
    Ok(Order {
        reference: order
            .reference
            .parse()
            .map_err(|error: skerry_model::ReferenceError| error.to_string())?,
        endpoints: endpoints?,
        folder: PathBuf::from(order.folder),
        have: order.have.into_iter().collect(),
        limits: Limits { room: order.limit, ..Limits::default() },
        signatures: match order.signatures {
            PullSignatures::Ignore => Signatures::Ignore,
            PullSignatures::Look => Signatures::Look,
            PullSignatures::Require => Signatures::Require,
        },
    })
}

fn endpoint(from: PullEndpoint) -> Result<Endpoint, String> {
    Ok(Endpoint {
        host: from.host.parse().map_err(|error: skerry_model::ReferenceError| error.to_string())?,
        plain_http: from.plain_http,
        ca_pem: from.ca_pem,
        credentials: from
            .credentials
            .map(|(username, password)| Credentials { username, password }),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use skerry_ipc::{Answer, Refusal, RefusalClass, TwoWayInput};
    use tokio::sync::mpsc;

    use super::*;

    /// A node daemon that orders the same job again before it answers the last word on it, so many times.
    struct Daemon {
        orders: Mutex<Option<mpsc::UnboundedReceiver<Vec<PullOrder>>>>,
        list: mpsc::UnboundedSender<Vec<PullOrder>>,
        heard: Mutex<u32>,
        again: u32,
    }

    /// One whose reference is none, so that the last word on it comes at once.
    fn order() -> PullOrder {
        PullOrder {
            job: Uuid::from_u128(1),
            reference: "/".to_owned(),
            endpoints: Vec::new(),
            folder: String::new(),
            have: Vec::new(),
            limit: 1,
            signatures: PullSignatures::Ignore,
        }
    }

    #[async_trait]
    impl Node for Daemon {
        async fn call(&self, _auth: Auth, request: Request) -> Result<Answer, NodeError> {
            assert!(matches!(request, Request::Pulled { report: PullReport::Failed { .. }, .. }));
            let heard = {
                let mut heard = self.heard.lock().unwrap();
                *heard += 1;
                *heard
            };
            let list = if heard <= self.again { vec![order()] } else { Vec::new() };
            self.list.send(list).unwrap();
            // The list is read while the answer is still on its way.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            Err(NodeError::Refused(Refusal::new(RefusalClass::NotFound, "enough")))
        }

        async fn open(&self, _auth: Auth, _request: Request) -> Result<Items, NodeError> {
            let orders = self.orders.lock().unwrap().take().ok_or(NodeError::Away)?;
            let items = futures::stream::unfold(orders, |mut orders| async move {
                Some((Ok(StreamItem::Pulls(orders.recv().await?)), orders))
            });
            Ok(items.boxed())
        }

        async fn open_two_way(
            &self,
            _auth: Auth,
            _request: Request,
        ) -> Result<(TwoWayInput, Items), NodeError> {
            Err(NodeError::Away)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_ordered_again_before_its_end_is_begun_again() {
        let (list, orders) = mpsc::unbounded_channel();
        list.send(vec![order()]).unwrap();
        let orders = Mutex::new(Some(orders));
        let daemon = Arc::new(Daemon { orders, list, heard: Mutex::default(), again: 2 });
        let stop = CancellationToken::new();
        let pulls = tokio::spawn(run(daemon.clone(), stop.clone()));
        sleep(RETRY * 20).await;
        assert_eq!(*daemon.heard.lock().unwrap(), 3, "as often as it was ordered, and no more");
        stop.cancel();
        pulls.await.unwrap();
    }
}
