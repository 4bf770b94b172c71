//! One connection with a guest's serial line, shared by all who look at it: one types, many watch.
//!
//! What they get is what the guest writes, not what others were shown before; whoever is too slow loses pieces and is
//! told so, and holds up nobody. The connection ends with the last of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use futures::StreamExt;
use futures::stream::BoxStream;
use skerry_compute::{GuestConnection, GuestConsoles, HypervisorError};
use skerry_model::{Id, Vm};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio_util::task::AbortOnDropHandle;

/// Pieces that a slow one may be behind; each has at most 4 KiB.
const BEHIND: usize = 128;

/// All serial lines that somebody looks at.
pub struct SerialHub {
    consoles: Arc<dyn GuestConsoles>,
    lines: Mutex<HashMap<Id<Vm>, Weak<Line>>>,
}

struct Line {
    news: broadcast::Sender<News>,
    input: mpsc::Sender<Vec<u8>>,
    /// Whoever holds it types.
    keys: Arc<Semaphore>,
    ended: Arc<AtomicBool>,
    _pump: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone)]
enum News {
    Piece(Arc<[u8]>),
    End,
}

/// A look at a line.
pub struct Look {
    line: Arc<Line>,
    news: broadcast::Receiver<News>,
    keys: Option<OwnedSemaphorePermit>,
}

/// What a look shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// What the guest wrote.
    Piece(Arc<[u8]>),
    /// So many pieces were lost, since they were not taken in time.
    Lost(u64),
}

impl SerialHub {
    /// Over these connections.
    pub fn new(consoles: Arc<dyn GuestConsoles>) -> Self {
        Self { consoles, lines: Mutex::default() }
    }

    /// Looks at a line, connecting with it if nobody does yet. The first may type.
    pub async fn look(&self, vm: Id<Vm>) -> Result<Look, HypervisorError> {
        let mut lines = self.lines.lock().await;
        lines.retain(|_, line| line.strong_count() > 0);
        let present = lines.get(&vm).and_then(Weak::upgrade);
        let line = match present.filter(|line| !line.ended.load(Ordering::Acquire)) {
            Some(line) => line,
            None => {
                let line = Arc::new(Line::new(self.consoles.serial(vm).await?));
                lines.insert(vm, Arc::downgrade(&line));
                line
            }
        };
        let news = line.news.subscribe();
        let keys = Arc::clone(&line.keys).try_acquire_owned().ok();
        Ok(Look { line, news, keys })
    }
}

impl Line {
    fn new(connection: GuestConnection) -> Self {
        let GuestConnection { input, mut output } = connection;
        let news = broadcast::channel(BEHIND).0;
        let ended = Arc::new(AtomicBool::new(false));
        let (teller, end) = (news.clone(), Arc::clone(&ended));
        let pump = tokio::spawn(async move {
            while let Some(Ok(piece)) = output.next().await {
                // Nobody looking is no error: whoever was the last is just leaving.
                let _ = teller.send(News::Piece(piece.into()));
            }
            end.store(true, Ordering::Release);
            let _ = teller.send(News::End);
        });
        let keys = Arc::new(Semaphore::new(1));
        Self { news, input, keys, ended, _pump: AbortOnDropHandle::new(pump) }
    }
}

impl Look {
    /// Whether this one may type.
    pub const fn types(&self) -> bool {
        self.keys.is_some()
    }

    /// The way to the guest, for the one who types.
    pub fn input(&self) -> Option<mpsc::Sender<Vec<u8>>> {
        self.keys.as_ref().map(|_| self.line.input.clone())
    }

    /// What the guest writes from now on, until it ends. Keeps the line, and the keys if it has them.
    pub fn shown(self) -> BoxStream<'static, Shown> {
        futures::stream::unfold(self, |mut look| async move {
            match look.news.recv().await {
                Ok(News::Piece(piece)) => Some((Shown::Piece(piece), look)),
                Err(broadcast::error::RecvError::Lagged(count)) => Some((Shown::Lost(count), look)),
                Ok(News::End) | Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;

    /// A guest whose side of the line the test holds.
    #[derive(Default)]
    struct Guest {
        writes: std::sync::Mutex<Vec<mpsc::Sender<Vec<u8>>>>,
        typed: tokio::sync::Mutex<Vec<mpsc::Receiver<Vec<u8>>>>,
    }

    #[async_trait]
    impl GuestConsoles for Guest {
        async fn serial(&self, _vm: Id<Vm>) -> Result<GuestConnection, HypervisorError> {
            let (input, typed) = mpsc::channel(4);
            let (writes, written) = mpsc::channel(4);
            self.writes.lock().unwrap().push(writes);
            self.typed.lock().await.push(typed);
            let output = futures::stream::unfold(written, |mut written| async move {
                written.recv().await.map(|piece| (Ok(piece), written))
            });
            Ok(GuestConnection { input, output: output.boxed() })
        }

        async fn screen(&self, _vm: Id<Vm>) -> Result<Option<GuestConnection>, HypervisorError> {
            Ok(None)
        }
    }

    impl Guest {
        async fn write(&self, text: &str) {
            let writes = self.writes.lock().unwrap().last().unwrap().clone();
            writes.send(text.as_bytes().to_vec()).await.unwrap();
        }

        fn connections(&self) -> usize {
            self.writes.lock().unwrap().len()
        }
    }

    fn vm() -> Id<Vm> {
        "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap()
    }

    fn piece(text: &str) -> Option<Shown> {
        Some(Shown::Piece(text.as_bytes().into()))
    }

    #[tokio::test]
    async fn one_types_and_all_watch_over_one_connection() {
        let guest = Arc::new(Guest::default());
        let hub = SerialHub::new(guest.clone());
        let (first, second) = (hub.look(vm()).await.unwrap(), hub.look(vm()).await.unwrap());
        assert!(first.types() && !second.types());
        assert!(second.input().is_none());
        first.input().unwrap().send(b"x".to_vec()).await.unwrap();
        assert_eq!(guest.typed.lock().await[0].recv().await.unwrap(), b"x");
        let (mut first, mut second) = (first.shown(), second.shown());
        guest.write("hello").await;
        assert_eq!(first.next().await, piece("hello"));
        assert_eq!(second.next().await, piece("hello"));
        assert_eq!(guest.connections(), 1);
        drop(first);
        let third = hub.look(vm()).await.unwrap();
        assert!(third.types(), "the keys are free again");
        drop((second, third));
        drop(hub.look(vm()).await.unwrap());
        assert_eq!(guest.connections(), 2, "the last one closed the first connection");
    }

    #[tokio::test]
    async fn a_slow_one_is_told_what_it_lost_and_the_end_comes_to_all() {
        let guest = Arc::new(Guest::default());
        let hub = SerialHub::new(guest.clone());
        let mut slow = hub.look(vm()).await.unwrap().shown();
        let mut quick = hub.look(vm()).await.unwrap().shown();
        for n in 0..BEHIND + 10 {
            guest.write(&n.to_string()).await;
            assert_eq!(quick.next().await, piece(&n.to_string()));
        }
        assert_eq!(slow.next().await, Some(Shown::Lost(10)));
        assert_eq!(slow.next().await, piece("10"));
        guest.writes.lock().unwrap().clear();
        assert_eq!(quick.next().await, None);
        assert_eq!(slow.collect::<Vec<_>>().await.len(), BEHIND - 1);
        let again = hub.look(vm()).await.unwrap();
        assert!(again.types(), "a line that ended is connected anew");
    }
}
