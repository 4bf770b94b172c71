//! Threads for the agents in guests: each guest has its own.
//!
//! A guest decides how long its agent's answer takes, so nothing may wait behind it but what was asked of the same
//! guest. The threads are few, since each occupies a worker of libvirt's service for as long as its guest likes, and
//! `libvirtd.conf` leaves some for everything else. One is started when its guest is first asked and goes when it has
//! had nothing to do for a while, or when another guest needs its place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use skerry_compute::HypervisorError;
use skerry_model::{Id, Vm};
use virt::connect::Connect;

use crate::failure::CallError;
use crate::worker::{CloseWhenIdle, Size, Worker};

/// Guests that are asked at a time. `max_workers` in `config/libvirt/libvirtd.conf` is larger by what everything else
/// needs.
const MOST: usize = 16;

/// A thread without work keeps its connection for this long, and its place at least for this long.
const IDLE: Duration = Duration::from_secs(60);

/// What a call into libvirt needs of a stack, several times over.
const SIZE: Size = Size { stack: 256 * 1024, queue: 8 };

/// A guest's thread.
struct Line {
    worker: Worker,
    /// Held by every call that has not ended, also if nobody waits for it any more.
    busy: Arc<()>,
    used: Instant,
}

impl Line {
    fn is_busy(&self) -> bool {
        Arc::strong_count(&self.busy) > 1
    }
}

/// The threads, by guest.
pub struct Agents {
    uri: String,
    lines: Mutex<BTreeMap<Id<Vm>, Line>>,
}

impl Agents {
    /// For guests of this libvirt. No thread is started yet.
    pub const fn new(uri: String) -> Self {
        Self { uri, lines: Mutex::new(BTreeMap::new()) }
    }

    /// Makes a call on the guest's own thread.
    pub async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        vm: Id<Vm>,
        deadline: Duration,
        work: impl Fn(&Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let (worker, busy) = self.line(vm)?;
        let work = move |connection: &Connect| {
            let _until_done = &busy;
            work(connection)
        };
        worker.call(name, Some(vm), deadline, work).await
    }

    fn line(&self, vm: Id<Vm>) -> Result<(Worker, Arc<()>), HypervisorError> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|other, line| *other == vm || line.is_busy() || line.used.elapsed() < IDLE);
        if !lines.contains_key(&vm) {
            make_place(&mut lines)?;
            let worker =
                Worker::sized("libvirt-agent", self.uri.clone(), IDLE, CloseWhenIdle, SIZE);
            let worker = worker
                .map_err(|error| HypervisorError::Unavailable { source: Some(error.into()) })?;
            lines.insert(vm, Line { worker, busy: Arc::new(()), used: Instant::now() });
        }
        let line = lines.get_mut(&vm).ok_or(HypervisorError::Unavailable { source: None })?;
        line.used = Instant::now();
        Ok((line.worker.clone(), Arc::clone(&line.busy)))
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.lines.lock().unwrap().len()
    }
}

/// Ends the thread that has had nothing to do for longest, if there are as many as there may be.
fn make_place(lines: &mut BTreeMap<Id<Vm>, Line>) -> Result<(), HypervisorError> {
    if lines.len() < MOST {
        return Ok(());
    }
    let idle = lines.iter().filter(|(_, line)| !line.is_busy());
    let Some(vm) = idle.min_by_key(|(_, line)| line.used).map(|(vm, _)| *vm) else {
        let message = format!("the agents of {MOST} other guests have not answered yet");
        return Err(HypervisorError::Unavailable { source: Some(message.into()) });
    };
    lines.remove(&vm);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);

    fn agents() -> Agents {
        Agents::new("test:///default".to_owned())
    }

    fn guest() -> Id<Vm> {
        Id::new(uuid::Uuid::new_v4())
    }

    /// A call that says when it has begun, and ends when the first of these is dropped.
    fn hanging()
    -> (Sender<()>, Receiver<()>, impl Fn(&Connect) -> Result<(), CallError> + Send + 'static) {
        let (release, held) = channel::<()>();
        let (begin, begun) = channel::<()>();
        let held = Mutex::new(held);
        let work = move |_: &Connect| {
            begin.send(()).unwrap();
            let _ = held.lock().unwrap().recv();
            Ok(())
        };
        (release, begun, work)
    }

    /// Waits until there is a place: whoever has just been answered may still be putting its call away.
    async fn place_for(agents: &Agents, vm: Id<Vm>) -> Id<Vm> {
        let place = async {
            while agents.line(vm).is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, place).await.unwrap();
        vm
    }

    #[tokio::test]
    async fn a_guest_that_hangs_makes_no_other_wait() {
        let (agents, bad, good) = (agents(), guest(), guest());
        let (release, begun, hang) = hanging();
        let error = agents.call("hang", bad, SHORT, hang).await.unwrap_err();
        assert!(matches!(error, HypervisorError::TimedOut { call: "hang", .. }), "{error:?}");
        begun.recv_timeout(PATIENCE).unwrap();
        // It still hangs: its own guest waits, another does not.
        let error = agents.call("wait", bad, SHORT, |_| Ok(())).await.unwrap_err();
        assert!(matches!(error, HypervisorError::TimedOut { call: "wait", .. }), "{error:?}");
        agents.call("other", good, PATIENCE, |_| Ok(())).await.unwrap();
        drop(release);
        agents.call("after", bad, PATIENCE, |_| Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn threads_are_bounded_and_those_at_rest_make_place() {
        let agents = agents();
        let mut held = Vec::new();
        for _ in 1..MOST {
            let (release, begun, hang) = hanging();
            agents.call("hang", guest(), SHORT, hang).await.unwrap_err();
            begun.recv_timeout(PATIENCE).unwrap();
            held.push(release);
        }
        // One place is left, and whoever is done leaves it to the next.
        for _ in 0..3 {
            let vm = place_for(&agents, guest()).await;
            agents.call("ask", vm, PATIENCE, |_| Ok(())).await.unwrap();
        }
        assert_eq!(agents.count(), MOST);
        let (release, begun, hang) = hanging();
        let last = place_for(&agents, guest()).await;
        agents.call("hang", last, SHORT, hang).await.unwrap_err();
        begun.recv_timeout(PATIENCE).unwrap();
        let error = agents.call("ask", guest(), PATIENCE, |_| Ok(())).await.unwrap_err();
        assert!(matches!(error, HypervisorError::Unavailable { source: Some(_) }), "{error:?}");
        assert_eq!(agents.count(), MOST);
        drop((release, held));
    }
}
