//! What simulated containers wrote: kept in order with its moments, bounded in rate, followed as it comes.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream;
use skerry_containers::{LogLines, LogRequest};
use skerry_model::{Id, LogRate, Name, Pod, Timestamp};
use tokio::sync::broadcast;

use crate::world::SimHost;

/// A line of a container.
#[derive(Debug, Clone)]
struct Line {
    pod: Id<Pod>,
    container: Name,
    at: Timestamp,
    text: String,
}

impl Line {
    /// As the request wants it, if it wants it.
    fn shown(&self, request: &LogRequest) -> Option<String> {
        let wanted = self.pod == request.pod
            && request.container.as_ref().is_none_or(|name| *name == self.container)
            && request.since.is_none_or(|since| self.at >= since);
        let text = &self.text;
        wanted
            .then(|| if request.timestamps { format!("{} {text}", self.at) } else { text.clone() })
    }
}

/// What a container wrote in the present interval.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rate: LogRate,
    began: Timestamp,
    lines: u32,
    dropped: u32,
}

/// All logs, on disk: they outlive power.
pub(crate) struct SimLogs {
    lines: Vec<Line>,
    paces: BTreeMap<(Id<Pod>, Name), Pace>,
    news: broadcast::Sender<Line>,
}

impl Default for SimLogs {
    fn default() -> Self {
        let news = broadcast::Sender::new(1024);
        Self { lines: Vec::new(), paces: BTreeMap::new(), news }
    }
}

impl SimLogs {
    /// From now on a container may write so fast.
    pub(crate) fn limit(&mut self, pod: Id<Pod>, container: &Name, rate: LogRate) {
        let pace = Pace { rate, began: Timestamp::UNIX_EPOCH, lines: 0, dropped: 0 };
        self.paces.insert((pod, container.clone()), pace);
    }

    pub(crate) fn write(&mut self, pod: Id<Pod>, container: &Name, at: Timestamp, text: &str) {
        let mut told = None;
        if let Some(pace) = self.paces.get_mut(&(pod, container.clone())) {
            if at.duration_since(pace.began).as_secs() >= i64::from(pace.rate.interval_s) {
                told = Some(pace.dropped).filter(|dropped| *dropped > 0);
                *pace = Pace { began: at, lines: 0, dropped: 0, ..*pace };
            }
            if pace.lines >= pace.rate.lines {
                pace.dropped = pace.dropped.saturating_add(1);
                return;
            }
            pace.lines = pace.lines.saturating_add(1);
        }
        let dropped = told.map(|count| {
            format!("-- {count} lines of container `{container}` dropped: above its log rate --")
        });
        for text in dropped.into_iter().chain([text.to_owned()]) {
            let line = Line { pod, container: container.clone(), at, text };
            // Nobody listening is no fault.
            let _ = self.news.send(line.clone());
            self.lines.push(line);
        }
    }

    pub(crate) fn forget(&mut self, pod: Id<Pod>) {
        self.lines.retain(|line| line.pod != pod);
        self.paces.retain(|(of, _), _| *of != pod);
    }

    pub(crate) fn read(&self, request: LogRequest) -> LogLines {
        let lines: Vec<_> = self.lines.iter().filter_map(|line| line.shown(&request)).collect();
        let skip = lines.len().saturating_sub(usize::try_from(request.tail).unwrap_or(usize::MAX));
        let present = stream::iter(lines.into_iter().skip(skip).map(Ok));
        if !request.follow {
            return present.boxed();
        }
        let coming = stream::unfold(self.news.subscribe(), move |mut news| {
            let request = request.clone();
            async move {
                loop {
                    // A reader that lags behind misses lines, as it would a journal that is written anew.
                    match news.recv().await {
                        Ok(line) => match line.shown(&request) {
                            Some(text) => return Some((Ok(text), news)),
                            None => continue,
                        },
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return None,
                    }
                }
            }
        });
        present.chain(coming).boxed()
    }
}

impl SimHost {
    /// A container writes a line at this moment.
    pub fn write_line(&self, pod: Id<Pod>, container: &Name, at: Timestamp, text: &str) {
        self.world().containers.logs.write(pod, container, at, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_containers::ContainerRuntime;

    async fn lines(host: &SimHost, request: &LogRequest) -> Vec<String> {
        host.logs(request.clone()).await.unwrap().map(Result::unwrap).collect().await
    }

    #[tokio::test]
    async fn lines_are_counted_dropped_and_found_by_their_moments() {
        let host = SimHost::new();
        let (pod, web): (Id<Pod>, Name) = (Id::new(Default::default()), "web".parse().unwrap());
        host.world().containers.logs.limit(pod, &web, LogRate { lines: 2, interval_s: 10 });
        let at = |second| Timestamp::from_second(second).unwrap();
        for (second, text) in [(100, "a"), (101, "b"), (102, "c"), (103, "d"), (110, "e")] {
            host.write_line(pod, &web, at(second), text);
        }
        let mut request = LogRequest {
            pod,
            container: None,
            tail: 10,
            since: None,
            timestamps: false,
            follow: false,
        };
        let dropped = "-- 2 lines of container `web` dropped: above its log rate --";
        assert_eq!(lines(&host, &request).await, ["a", "b", dropped, "e"]);
        request.tail = 1;
        request.timestamps = true;
        request.since = Some(at(101));
        assert_eq!(lines(&host, &request).await, ["1970-01-01T00:01:50Z e"]);
        request.follow = true;
        request.since = Some(at(500));
        let mut coming = host.logs(request).await.unwrap();
        host.write_line(pod, &web, at(499), "early");
        host.write_line(pod, &web, at(510), "late");
        assert_eq!(coming.next().await.unwrap().unwrap(), "1970-01-01T00:08:30Z late");
    }
}
