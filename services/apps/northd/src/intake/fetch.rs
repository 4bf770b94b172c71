//! Downloads that the node daemon orders: over HTTP into the spool, resumed where they broke off.
//!
//! A file is fetched from the address of its order and from where that leads by at most five redirects. Places
//! that only this machine can reach (loopback, link-local and with it the metadata services of clouds) are refused
//! by address, whatever name leads there. Tries are the daemon's to count: each order is served once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url, header};
use rustls::{ClientConfig, RootCertStore};
use skerry_ipc::{Auth, FetchOrder, FetchReport, Request, StreamItem};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::spool::Spool;
use super::upload::Target;
use crate::node::{Node, NodeError};

/// The pause before the orders are asked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How often progress is told.
const REPORT: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(20);
/// A server that sends nothing for so long is given up for this try.
const PATIENCE: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 5;
/// How often the last word is said again while the daemon is away.
const LAST_WORDS: u32 = 30;

/// Where downloads may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Other machines only.
    Elsewhere,
    /// This machine too, for tests.
    Anywhere,
}

impl Reach {
    fn allows(self, address: IpAddr) -> bool {
        if self == Self::Anywhere {
            return true;
        }
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                !(v4.is_loopback()
                    || v4.is_link_local()
                    || v4.is_unspecified()
                    || v4.is_broadcast()
                    || v4.is_multicast()
                    || v4.octets().first() == Some(&0))
            }
            IpAddr::V6(v6) => {
                // The metadata service of one cloud has a site-local address.
                let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
                !(v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_multicast()
                    || v6.is_unicast_link_local()
                    || v6 == metadata)
            }
        }
    }

    /// Whether an address in a URL may be asked. Names are judged when they are resolved.
    fn allows_url(self, url: &Url) -> bool {
        let literal = url.host_str().map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>());
        let good_host = match literal {
            Some(Ok(address)) => self.allows(address),
            Some(Err(_)) => true,
            None => false,
        };
        good_host && matches!(url.scheme(), "https" | "http") && url.username().is_empty()
    }
}

/// Resolves names, and keeps to the addresses that may be asked.
struct Resolver(Reach);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let good: Vec<SocketAddr> = found.filter(|a| reach.allows(a.ip())).collect();
            if good.is_empty() {
                return Err("the name leads to no address that may be asked".into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// Serves orders.
pub struct Fetcher {
    node: Arc<dyn Node>,
    spool: Spool,
    client: Client,
    reach: Reach,
}

/// Why a try brought no file.
#[derive(Debug)]
struct Failed {
    detail: String,
    retry: bool,
}

impl Failed {
    fn passing(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), retry: true }
    }
    fn lasting(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), retry: false }
    }
}

impl Fetcher {
    /// Serves the orders of this node into this spool.
    pub fn new(node: Arc<dyn Node>, spool: Spool, reach: Reach) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        // Part of the program: an appliance has no folder of certificates that somebody tends.
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let redirects = Policy::custom(move |attempt| {
            let secure = |url: &Url| url.scheme() == "https";
            let downgrade = attempt.previous().last().is_some_and(secure) && !secure(attempt.url());
            if attempt.previous().len() > REDIRECTS {
                attempt.error("it is redirected too often")
            } else if downgrade || !reach.allows_url(attempt.url()) {
                attempt.error("it is redirected to a place that may not be asked")
            } else {
                attempt.follow()
            }
        });
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(Resolver(reach)))
            .redirect(redirects)
            .connect_timeout(CONNECT)
            .no_proxy()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { node, spool, client, reach })
    }

    /// Serves orders until told to end. What has come stays in the spool.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut tasks = HashMap::new();
        let follow = async {
            loop {
                if let Ok(mut items) = this.node.open(Auth::Peer, Request::Fetches).await {
                    while let Some(Ok(StreamItem::Line(line))) = items.next().await {
                        match serde_json::from_str(&line) {
                            Ok(orders) => this.take_up(&mut tasks, orders),
                            Err(error) => tracing::error!(%error, "the orders cannot be read"),
                        }
                    }
                }
                sleep(RETRY).await;
            }
        };
        stop.run_until_cancelled(follow).await;
    }

    fn take_up(
        self: &Arc<Self>,
        tasks: &mut HashMap<Uuid, AbortOnDropHandle<()>>,
        orders: Vec<FetchOrder>,
    ) {
        tasks.retain(|id, task| !task.is_finished() && orders.iter().any(|order| order.id == *id));
        for order in orders {
            let this = Arc::clone(self);
            tasks.entry(order.id).or_insert_with(|| {
                AbortOnDropHandle::new(tokio::spawn(async move { this.serve(order).await }))
            });
        }
    }

    /// One try, from its beginning to the last word on it.
    async fn serve(&self, order: FetchOrder) {
        let id = order.id;
        tracing::info!(%id, url = order.url, "fetching");
        let report = match self.fetch(&order).await {
            Ok(()) => FetchReport::Done,
            Err(Failed { detail, retry }) => {
                tracing::warn!(%id, detail, "not fetched");
                FetchReport::Failed { detail, retry }
            }
        };
        for _ in 0..LAST_WORDS {
            match self.report(id, report.clone()).await {
                Err(NodeError::Away | NodeError::Lost) => sleep(RETRY).await,
                _ => return,
            }
        }
    }

    async fn report(&self, id: Uuid, report: FetchReport) -> Result<(), NodeError> {
        self.node.call(Auth::Peer, Request::FetchReport { id, report }).await.map(drop)
    }

    async fn fetch(&self, order: &FetchOrder) -> Result<(), Failed> {
        let id = order.id;
        let io = |error: super::SpoolError| Failed::passing(error.to_string());
        if self.spool.is_done(id) {
            return Ok(());
        }
        let url = Url::parse(&order.url).ok().filter(|url| self.reach.allows_url(url)).ok_or_else(
            || Failed::lasting("the address may not be asked: it must lead to another machine"),
        )?;
        self.spool.room().map_err(io)?;
        let limit = order.limit;
        let guard = self.spool.turn(id).await.map_err(io)?.guard;
        let open = move |spool: &Spool| Target::open(spool, id, limit, guard);
        let mut target = self.spool.blocking(open).await.map_err(io)?;
        // Room may come: what was fetched before is not thrown away for want of it.
        let resumed = target.length() > 0;
        let response = self.ask(url, target.length()).await?;
        let total = match response.status() {
            StatusCode::PARTIAL_CONTENT if continues(&response, target.length()) => {
                response.content_length().map(|rest| rest.saturating_add(target.length()))
            }
            StatusCode::RANGE_NOT_SATISFIABLE if ends_at(&response, target.length()) => {
                return self.finish(id, target).await;
            }
            StatusCode::OK => {
                target.truncate().map_err(io)?;
                response.content_length()
            }
            status => return Err(refused(status)),
        };
        if total.is_some_and(|total| total > limit) {
            let detail = format!(
                "the file has {} bytes and there is room for {limit}",
                total.unwrap_or_default()
            );
            return Err(Failed { detail, retry: resumed });
        }
        let received = self.receive(id, response, target, total).await;
        let target =
            received.map_err(|failed| Failed { retry: failed.retry || resumed, ..failed })?;
        if total.is_some_and(|total| total != target.length()) {
            target.flush().await.map_err(io)?;
            return Err(Failed::passing("the server hung up before the end of the file"));
        }
        self.finish(id, target).await
    }

    async fn ask(&self, url: Url, from: u64) -> Result<Response, Failed> {
        let mut request = self.client.get(url).header(header::ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        match timeout(PATIENCE, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_redirect() => Err(Failed::lasting(chain(&error))),
            Ok(Err(error)) => Err(Failed::passing(chain(&error))),
            Err(_) => Err(Failed::passing("the server does not answer")),
        }
    }

    /// Writes what comes, and tells how far it is.
    async fn receive(
        &self,
        id: Uuid,
        response: Response,
        mut target: Target,
        total: Option<u64>,
    ) -> Result<Target, Failed> {
        let mut chunks = response.bytes_stream();
        let mut told: Option<Instant> = None;
        loop {
            let next = timeout(PATIENCE, chunks.next()).await;
            let bytes = match next {
                Ok(Some(Ok(bytes))) => bytes,
                Ok(None) => return Ok(target),
                Ok(Some(Err(error))) => return Err(Failed::passing(chain(&error))),
                Err(_) => return Err(Failed::passing("the server fell silent")),
            };
            target = target.write(vec![bytes]).await.map_err(|error| match error {
                super::SpoolError::TooLong { size } => Failed::lasting(format!(
                    "the file has more than the {size} bytes that there is room for"
                )),
                other => Failed::passing(other.to_string()),
            })?;
            if told.is_none_or(|told| told.elapsed() >= REPORT) {
                told = Some(Instant::now());
                let report = FetchReport::Progress { done: target.length(), total };
                if let Err(NodeError::Refused(_)) = self.report(id, report).await {
                    return Err(Failed::passing("the order no longer stands"));
                }
            }
        }
    }

    async fn finish(&self, id: Uuid, target: Target) -> Result<(), Failed> {
        let io = |error: super::SpoolError| Failed::passing(error.to_string());
        let _guard = target.flush().await.map_err(io)?;
        self.spool.blocking(move |spool| spool.finish(id)).await.map_err(io)
    }
}

fn content_range(response: &Response) -> Option<&str> {
    response.headers().get(header::CONTENT_RANGE)?.to_str().ok()
}

/// Whether a part begins where the file ends.
fn continues(response: &Response, from: u64) -> bool {
    let range = content_range(response).and_then(|text| text.strip_prefix("bytes "));
    range.and_then(|text| text.split_once('-')).is_some_and(|(start, _)| start.parse() == Ok(from))
}

/// Whether the server says that the file is as long as what is there.
fn ends_at(response: &Response, length: u64) -> bool {
    let size = content_range(response).and_then(|text| text.strip_prefix("bytes */"));
    size.is_some_and(|size| size.parse() == Ok(length))
}

fn refused(status: StatusCode) -> Failed {
    let detail = format!("the server answers {status}");
    let passing = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    Failed { detail, retry: passing }
}

/// An error with everything behind it, without the address.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    text.chars().take(300).flat_map(char::escape_default).collect()
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
