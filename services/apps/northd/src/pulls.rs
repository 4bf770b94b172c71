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

use crate::node::{Node, NodeError};

/// The pause before the list is asked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How often progress is told.
const REPORT: Duration = Duration::from_secs(1);
/// How often the last word is said again while the daemon is away.
const LAST_WORDS: u32 = 30;

/// Pulls until told to end.
pub async fn run(node: Arc<dyn Node>, stop: CancellationToken) {
    let mut tasks = HashMap::new();
    let follow = async {
        loop {
            if let Ok(mut items) = node.open(Auth::Peer, Request::Pulls).await {
                while let Some(Ok(item)) = items.next().await {
                    if let StreamItem::Pulls(orders) = item {
                        take_up(&node, &mut tasks, orders);
                    }
                }
            }
            sleep(RETRY).await;
        }
    };
    // Dropping it drops the tasks; the folders stay.
    stop.run_until_cancelled(follow).await;
}

type Tasks = HashMap<Uuid, AbortOnDropHandle<()>>;

fn take_up(node: &Arc<dyn Node>, tasks: &mut Tasks, orders: Vec<PullOrder>) {
    tasks.retain(|job, task| !task.is_finished() && orders.iter().any(|order| order.job == *job));
    for order in orders {
        let node = Arc::clone(node);
        tasks.entry(order.job).or_insert_with(|| {
            AbortOnDropHandle::new(tokio::spawn(async move { serve(&*node, order).await }))
        });
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
        Err(detail) => PullReport::Failed { detail, retry: false, unsigned: false },
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
        let report = PullReport::Progress { done: meter.done(), total: meter.total() };
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
        limits: Limits { image: order.limit, ..Limits::default() },
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
