//! A thread with a libvirt connection of its own.
//!
//! libvirt's calls block, and a call into a service that hangs blocks for good. So they are made here,
//! one at a time, behind a bounded queue; whoever asked stops waiting at a deadline and gets an error.
//! A connection that broke is opened again by the next call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use skerry_compute::HypervisorError;
use skerry_model::{Id, Vm};
use tokio::sync::oneshot;
use virt::connect::Connect;

use crate::failure::{CallError, is_lost, sorted};

/// How much a thread takes.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Its stack, in bytes.
    pub stack: usize,
    /// Calls that may wait in its queue. One more is refused as if the service were away.
    pub queue: usize,
}

/// For threads of which there are a few.
const LARGE: Size = Size { stack: 2 * 1024 * 1024, queue: 64 };

type Job = Box<dyn FnOnce(&mut Link) + Send>;

/// A connection that is opened when it is needed.
pub struct Link {
    uri: String,
    connection: Option<Connect>,
}

impl Link {
    fn new(uri: String) -> Self {
        Self { uri, connection: None }
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Gives the connection up, so that the service may end itself when nobody else needs it.
    pub fn close(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            // A connection that broke is as closed as can be.
            let _ = connection.close();
        }
    }

    fn connection(&mut self) -> Result<&Connect, virt::error::Error> {
        let alive = self.connection.as_ref().is_some_and(|c| c.is_alive().unwrap_or(false));
        if !alive {
            self.close();
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(Connect::open(Some(&self.uri))?)),
        }
    }

    /// Makes a call; once more on a new connection if the old one turns out to be broken.
    pub fn call<T>(
        &mut self,
        call: impl Fn(&Connect) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        for last in [false, true] {
            let result = match self.connection() {
                Ok(connection) => call(connection),
                Err(error) => return Err(error.into()),
            };
            match result {
                Err(CallError::Libvirt(error)) if is_lost(&error) => {
                    self.close();
                    if last {
                        return Err(error.into());
                    }
                }
                result => return result,
            }
        }
        Err(CallError::Sorted(HypervisorError::Unavailable { source: None }))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the thread does when nobody asks for anything.
pub trait Idle: Send + 'static {
    /// Called at least once per interval.
    fn tick(&mut self, link: &mut Link);
}

/// Gives the connection up between bursts of calls.
pub struct CloseWhenIdle;

impl Idle for CloseWhenIdle {
    fn tick(&mut self, link: &mut Link) {
        link.close();
    }
}

/// The way to the thread. The thread ends when the last of these is dropped.
#[derive(Clone)]
pub struct Worker {
    queue: SyncSender<Job>,
}

impl Worker {
    /// Starts a thread for calls to `uri`.
    pub fn start(
        name: &str,
        uri: String,
        interval: Duration,
        idle: impl Idle,
    ) -> std::io::Result<Self> {
        Self::sized(name, uri, interval, idle, LARGE)
    }

    /// The same, of this size.
    pub fn sized(
        name: &str,
        uri: String,
        interval: Duration,
        idle: impl Idle,
        size: Size,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(size.queue);
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(size.stack);
        thread.spawn(move || serve(&jobs, Link::new(uri), interval, idle))?;
        Ok(Self { queue })
    }

    /// Makes a call on the thread.
    pub async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        vm: Option<Id<Vm>>,
        deadline: Duration,
        call: impl Fn(&Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |link| {
            // Nobody waits any more: the deadline passed while it was in the queue.
            if !answer.is_closed() {
                let _ = answer.send(link.call(&call));
            }
        });
        self.queue.try_send(job).map_err(|_| HypervisorError::Unavailable {
            source: Some("its queue is full".into()),
        })?;
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(result)) => result.map_err(|error| sorted(name, vm, error)),
            Ok(Err(dropped)) => {
                Err(HypervisorError::Unavailable { source: Some(Box::new(dropped)) })
            }
            Err(_) => Err(HypervisorError::TimedOut { call: name, seconds: deadline.as_secs() }),
        }
    }
}

fn serve(jobs: &Receiver<Job>, mut link: Link, interval: Duration, mut idle: impl Idle) {
    // libvirt would print every error to the standard error output; they are reported in their place.
    virt::error::clear_error_callback();
    let mut next = Instant::now() + interval;
    loop {
        let wait = next.saturating_duration_since(Instant::now());
        match jobs.recv_timeout(wait) {
            Ok(job) => guarded(&mut link, job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next {
            guarded(&mut link, |link| idle.tick(link));
            next = Instant::now() + interval;
        }
    }
}

/// The bindings panic where C would return an error that nobody expects. The thread must not die of it;
/// whoever waits for the answer is told that there is none.
fn guarded(link: &mut Link, work: impl FnOnce(&mut Link)) {
    if catch_unwind(AssertUnwindSafe(|| work(link))).is_err() {
        tracing::error!("a call into libvirt panicked; its connection is opened anew");
        link.close();
    }
}
