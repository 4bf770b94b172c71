//! Taking connections from guests, within limits that one guest cannot use up for the others.
//!
//! What is written to a log names an address and how it went, and nothing that a guest sent or is told.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answered, Telling, answer};
use crate::asked::Asked;
use crate::node::Node;
use crate::rate::Rate;
use crate::token::Tokens;

/// Answers go no further than to the guest itself: a container or a tunnel inside it would be one hop more.
const HOPS: u32 = 1;

const BACKLOG: u32 = 128;

/// How much guests may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// Connections from one guest; more are closed at once.
    pub per_guest: usize,
    /// Questions of one guest at once.
    pub burst: u32,
    /// Questions of one guest each second after that.
    pub per_second: u32,
    /// Until the head of a request is complete.
    pub head: Duration,
    /// Until a connection is closed, whatever it is used for.
    pub connection: Duration,
    /// Bytes of a head, 8192 or more.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            per_guest: 8,
            burst: 100,
            per_second: 20,
            head: Duration::from_secs(5),
            connection: Duration::from_secs(30),
            head_bytes: 8 * 1024,
        }
    }
}

/// Listens at an address that the node need not have yet.
///
/// # Errors
/// When the system refuses, such as when another program listens there.
pub fn bind(address: SocketAddrV4) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    // A restart must not wait for old connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::V4(address))?;
    let listener = socket.listen(BACKLOG)?;
    listener.set_ttl(HOPS)?;
    Ok(listener)
}

/// Answers guests.
pub struct Server {
    node: Node,
    tokens: Tokens,
    limits: Limits,
    rate: Mutex<Rate>,
    counts: Mutex<HashMap<IpAddr, usize>>,
    since: Instant,
}

/// A connection's place in the counts; frees it when dropped.
struct Place {
    server: Arc<Server>,
    from: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.server.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}

impl Server {
    /// One that asks this node.
    pub fn new(node: Node, tokens: Tokens, limits: Limits) -> Arc<Self> {
        let rate = Mutex::new(Rate::new(limits.burst, limits.per_second));
        let counts = Mutex::default();
        Arc::new(Self { node, tokens, limits, rate, counts, since: Instant::now() })
    }

    /// Serves until `stop` is cancelled. Answers are short: connections that are open then are cut off.
    pub async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let serve = async {
            loop {
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, from)) => self.start(stream, from.ip(), permit, &stop),
                    // Too many open files, or a guest that was gone before its turn: the socket itself is good,
                    // but trying again at once would only burn the processor.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(serve).await;
    }

    fn start(
        self: &Arc<Self>,
        stream: TcpStream,
        from: IpAddr,
        permit: OwnedSemaphorePermit,
        stop: &CancellationToken,
    ) {
        let Some(place) = self.place(from, permit) else { return };
        let (server, stop) = (Arc::clone(self), stop.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(server.connection(stream, from)).await;
            drop(place);
        });
    }

    fn place(self: &Arc<Self>, from: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(from).or_default();
        if *count >= self.limits.per_guest {
            tracing::debug!(%from, "too many connections of one guest");
            return None;
        }
        *count += 1;
        Some(Place { server: Arc::clone(self), from, _permit: permit })
    }

    async fn connection(self: &Arc<Self>, stream: TcpStream, from: IpAddr) {
        let service = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, Infallible>(self.respond(from, &request).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(self.limits.head_bytes)
            .serve_connection(TokioIo::new(stream), service);
        match timeout(self.limits.connection, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::debug!(%from, "a connection ended early"),
            Err(_elapsed) => tracing::debug!(%from, "a connection took too long"),
        }
    }

    async fn respond(&self, from: IpAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let answered = self.answer(from, request).await;
        tracing::debug!(%from, status = answered.status.as_u16(), "answered");
        response(answered)
    }

    async fn answer(&self, from: IpAddr, request: &Request<Incoming>) -> Answered {
        let passed = self.since.elapsed();
        let in_time = self.rate.lock().unwrap_or_else(PoisonError::into_inner).take(from, passed);
        if !in_time {
            return Answered::refusal(StatusCode::TOO_MANY_REQUESTS, "too many questions");
        }
        let told = match from {
            IpAddr::V4(address) => self.node.told(address).await,
            IpAddr::V6(_) => Ok(None),
        };
        let Ok(guest) = told else {
            let why = "the node cannot say it now: ask again";
            return Answered::refusal(StatusCode::SERVICE_UNAVAILABLE, why);
        };
        let has_body = !request.body().is_end_stream();
        let asked = Asked::of(request.method(), request.uri().path(), request.headers(), has_body);
        let telling =
            Telling { guest: guest.as_ref(), tokens: &self.tokens, now: passed.as_secs() };
        answer(&asked, telling)
    }
}

fn response(answered: Answered) -> Response<Full<Bytes>> {
    let waits = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let again = waits.contains(&answered.status);
    let mut response = Response::new(Full::from(answered.text));
    *response.status_mut() = answered.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answered.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if again {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    for (name, value) in answered.headers {
        // All are made here, of digits and letters.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
