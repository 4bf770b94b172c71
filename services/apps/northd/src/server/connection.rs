//! Taking connections and serving them within limits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures::stream::{SelectAll, StreamExt, select_all, unfold};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::activity::{Activity, Lasting, Watched};
use super::{Listeners, TlsIdentity};
use crate::app::Peer;

/// How much clients may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// Connections from one address; more are closed at once.
    pub per_address: usize,
    /// Until the TLS handshake is done.
    pub handshake: Duration,
    /// Until the head of the first request, and of each further one, is complete.
    pub header: Duration,
    /// Until a connection on which nothing moves is closed; longer than any answer takes to begin.
    pub idle: Duration,
    /// Until a client that takes no bytes is given up.
    pub stalled: Duration,
    /// Until open requests are broken off when the service stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_address: 64,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            stalled: Duration::from_secs(60),
            drain: Duration::from_secs(8),
        }
    }
}

/// Serves a router over TLS.
pub struct Server {
    /// What answers.
    pub router: Router,
    /// The certificate; may change while serving.
    pub identity: watch::Receiver<TlsIdentity>,
    /// Limits.
    pub limits: Limits,
}

type PerAddress = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// A connection's place in the counts; frees it when dropped.
struct Place {
    address: IpAddr,
    counts: PerAddress,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

impl Server {
    /// Serves until `stop` is cancelled, then lets open requests end for a while. `alive` is called again and
    /// again for as long as connections are being taken: whoever feeds a watchdog from it tells the truth.
    pub async fn run(self, listeners: Listeners, stop: CancellationToken, alive: impl Fn()) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let counts = PerAddress::default();
        let tasks = TaskTracker::new();
        let server = Arc::new(self);
        let mut accepted = accept_all(listeners.0);
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut permit = None;
        loop {
            // A permit is kept when another arm wins; an accepted connection is handed out whole or not at all.
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => alive(),
                got = Arc::clone(&permits).acquire_owned(), if permit.is_none() => permit = got.ok(),
                next = accepted.next(), if permit.is_some() => {
                    let (Some((stream, address)), Some(permit)) = (next, permit.take()) else { break };
                    let address = address.ip().to_canonical();
                    let Some(place) = server.place(address, &counts, permit) else { continue };
                    let (server, stop) = (Arc::clone(&server), stop.clone());
                    tasks.spawn(async move {
                        server.connection(stream, address, stop).await;
                        drop(place);
                    });
                }
            }
        }
        drop(accepted);
        tasks.close();
        if timeout(server.limits.drain, tasks.wait()).await.is_err() {
            tracing::warn!(open = tasks.len(), "connections broken off after the time to drain");
        }
    }

    fn place(
        &self,
        address: IpAddr,
        counts: &PerAddress,
        permit: OwnedSemaphorePermit,
    ) -> Option<Place> {
        let mut map = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = map.entry(address).or_default();
        if *count >= self.limits.per_address {
            tracing::debug!(%address, "too many connections from one address");
            return None;
        }
        *count += 1;
        drop(map);
        Some(Place { address, counts: Arc::clone(counts), _permit: permit })
    }

    async fn connection(&self, stream: TcpStream, address: IpAddr, stop: CancellationToken) {
        set_options(&stream, self.limits.stalled);
        let Some(stream) = self.handshake(stream, address).await else { return };
        let activity = Activity::new();
        let (router, watched) = (self.router.clone(), Arc::clone(&activity));
        let service = service_fn(move |mut request: Request<Incoming>| {
            watched.asked();
            request.extensions_mut().insert(Peer(address));
            let activity = Arc::clone(&watched);
            // Bytes that come in are a sign of life as well as those that go out.
            let coming = Arc::clone(&watched);
            let request =
                request.map(|body| Body::new(Watched::new(Body::new(body), coming, false)));
            let answer = router.clone().oneshot(request);
            async move {
                let response = answer.await?;
                let lasting = response.extensions().get::<Lasting>().is_some();
                Ok::<_, Infallible>(response.map(|body| Watched::new(body, activity, lasting)))
            }
        });
        let http = self.http();
        let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut closing = false;
        loop {
            // The connection is only polled, never dropped, by the other arms.
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%address, error, "connection ended early");
                    }
                    return;
                }
                () = stop.cancelled(), if !closing => {}
                // A client that does not close its side when asked to is left.
                () = self.overdue(&activity) => if closing { return },
            }
            closing = true;
            activity.moved();
            connection.as_mut().graceful_shutdown();
        }
    }

    async fn handshake(&self, stream: TcpStream, address: IpAddr) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.identity.borrow().config));
        match timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS handshake"),
            Err(_elapsed) => tracing::debug!(%address, "the TLS handshake took too long"),
        }
        None
    }

    /// Waits until nothing has moved for too long.
    async fn overdue(&self, activity: &Activity) {
        loop {
            let idle = activity.idle_for().unwrap_or_default();
            match self.patience(activity).checked_sub(idle) {
                None | Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
            }
        }
    }

    /// A connection must show that it is meant for something before it may stay.
    fn patience(&self, activity: &Activity) -> Duration {
        if activity.was_used() { self.limits.idle } else { self.limits.header }
    }

    fn http(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header)
            .max_buf_size(32 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(64)
            .max_header_list_size(32 * 1024)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024);
        builder
    }
}

fn set_options(stream: &TcpStream, stalled: Duration) {
    let milliseconds = u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX);
    // Without these a connection works, only less well.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    if let Err(error) = setsockopt(stream, sockopt::TcpUserTimeout, &milliseconds) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT not set");
    }
}

type Accepted = SelectAll<futures::stream::BoxStream<'static, (TcpStream, SocketAddr)>>;

/// Connections of all sockets.
fn accept_all(listeners: Vec<TcpListener>) -> Accepted {
    let streams = listeners.into_iter().map(|listener| {
        unfold(listener, |listener| async {
            loop {
                match listener.accept().await {
                    Ok(accepted) => return Some((accepted, listener)),
                    // Too many open files, or a client that was gone before its turn: the socket itself is
                    // good, but trying again at once would only burn the processor.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        })
        .boxed()
    });
    select_all(streams)
}
