//! What containers wrote, out of the journal.
//!
//! A pod's lines carry its fields. What the journal says of lines that it dropped carries the unit's name instead,
//! so both are asked for, and the journal's words are put into ours.

use futures::StreamExt;
use skerry_containers::{LogLines, LogRequest, RuntimeError, RuntimeFault};
use skerry_linux_host::journal_lines;
use skerry_model::{Id, Name, Pod};

use crate::folders;
use crate::places::{Places, container_of_unit, unit_name};
use crate::service::{CONTAINER_FIELD, POD_FIELD};

/// Most lines that one question may ask back.
const MAX_TAIL: u32 = 10_000;
/// How the journal marks what came through a unit's standard output or error.
const WRITTEN: &str = "_TRANSPORT=stdout";
/// What the journal marks its lines on dropped ones with (sd-messages.h).
const DROPPED: &str = "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e";

/// The journal reader's arguments for a request. `known` are the pod's containers.
pub fn arguments(request: &LogRequest, known: &[Name]) -> Vec<String> {
    let mut words: Vec<String> = ["--no-pager", "--quiet", "--all"].map(str::to_owned).into();
    if request.timestamps {
        // Of all forms with times the one whose lines can be cut anywhere and still be read.
        words.extend(["--output=short-iso-precise", "--utc", "--no-hostname"].map(str::to_owned));
    } else {
        words.push("--output=cat".to_owned());
    }
    words.push(format!("--lines={}", request.tail.min(MAX_TAIL)));
    if let Some(since) = request.since {
        let micros = since.as_microsecond().max(0);
        words.push(format!("--since=@{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    }
    if request.follow {
        words.push("--follow".to_owned());
    }
    // What systemd says of the unit carries the same fields, and is no word of the container.
    words.extend([format!("{POD_FIELD}={}", request.pod), WRITTEN.to_owned()]);
    if let Some(container) = &request.container {
        words.push(format!("{CONTAINER_FIELD}={container}"));
    }
    let asked = |name: &&Name| request.container.as_ref().is_none_or(|wanted| wanted == *name);
    let units: Vec<String> = known
        .iter()
        .filter(asked)
        .map(|name| format!("OBJECT_SYSTEMD_UNIT={}", unit_name(request.pod, name)))
        .collect();
    if !units.is_empty() {
        // Only what root says: anybody may write such fields.
        words.extend(["+", DROPPED, "_UID=0"].map(str::to_owned));
        words.extend(units);
    }
    words
}

/// The lines as they come.
pub fn lines(places: &Places, request: &LogRequest) -> Result<LogLines, RuntimeError> {
    let failed = |error| {
        RuntimeError::new(RuntimeFault::Passing, "the pod's log cannot be read").because(error)
    };
    let mut known: Vec<Name> = folders::names(&places.pod_layers(request.pod))
        .iter()
        .filter_map(|name| Name::new(name).ok())
        .collect();
    known.extend(request.container.clone().filter(|name| !known.contains(name)));
    let (pod, timestamps) = (request.pod, request.timestamps);
    let lines = journal_lines(&places.journalctl, arguments(request, &known)).map_err(failed)?;
    Ok(Box::pin(
        lines.map(move |line| line.map(|line| shown(pod, timestamps, line)).map_err(failed)),
    ))
}

/// A line as readers get it.
fn shown(pod: Id<Pod>, timestamps: bool, line: String) -> String {
    if !timestamps {
        return dropped(pod, &line).unwrap_or(line);
    }
    let Some((moment, rest)) = line.split_once(' ') else { return line };
    // Who writes and with which process id.
    let text = rest.split_once(": ").map_or("", |(_, text)| text);
    let text = dropped(pod, text).unwrap_or_else(|| text.to_owned());
    // In UTC as asked for, whichever way the offset is written.
    let moment = moment.split_once('+').map_or(moment, |(moment, _)| moment);
    format!("{moment}Z {text}")
}

/// The journal's line on lines that it dropped, in our words.
fn dropped(pod: Id<Pod>, line: &str) -> Option<String> {
    let (count, unit) = line.strip_prefix("Suppressed ")?.split_once(" messages from ")?;
    let count: u64 = count.parse().ok()?;
    let container = container_of_unit(pod, unit.trim_end())?;
    Some(format!("-- {count} lines of container `{container}` dropped: above its log rate --"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn request() -> LogRequest {
        LogRequest {
            pod: pod(),
            container: None,
            tail: 1_000_000,
            since: None,
            timestamps: false,
            follow: false,
        }
    }

    #[test]
    fn a_request_names_its_fields_and_nothing_else() {
        let mut request = request();
        let id = "SKERRY_POD=0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c";
        assert_eq!(
            arguments(&request, &[]),
            ["--no-pager", "--quiet", "--all", "--output=cat", "--lines=10000", id, WRITTEN]
        );
        request.container = Some("web".parse().unwrap());
        request.follow = true;
        request.since = "2026-01-31T08:00:00.25Z".parse().ok();
        let words = arguments(&request, &["web".parse().unwrap(), "db".parse().unwrap()]);
        assert_eq!(
            words[5..],
            [
                "--since=@1769846400.250000",
                "--follow",
                id,
                WRITTEN,
                "SKERRY_CONTAINER=web",
                "+",
                DROPPED,
                "_UID=0",
                "OBJECT_SYSTEMD_UNIT=skerry-pod-0b6d1a52-web.service",
            ]
        );
    }

    #[test]
    fn times_stand_before_the_text_alone() {
        let shown = |line: &str| shown(pod(), true, line.to_owned());
        let before = "2026-01-31T08:00:00.250000+00:00 web[12]:";
        assert_eq!(shown(&format!("{before} a: b")), "2026-01-31T08:00:00.250000Z a: b");
        assert_eq!(shown(&format!("{before} ")), "2026-01-31T08:00:00.250000Z ");
        assert_eq!(shown("2026-01-31T08:00:00.2+0000 web: x"), "2026-01-31T08:00:00.2Z x");
        assert_eq!(shown("odd"), "odd");
    }

    #[test]
    fn dropped_lines_are_told_in_our_words() {
        let line = "Suppressed 512 messages from skerry-pod-0b6d1a52-web.service";
        let said = "-- 512 lines of container `web` dropped: above its log rate --";
        assert_eq!(shown(pod(), false, line.to_owned()), said);
        let stamped = format!("2026-01-31T08:00:00.5+00:00 systemd-journald[1]: {line}");
        assert_eq!(shown(pod(), true, stamped), format!("2026-01-31T08:00:00.5Z {said}"));
        for other in ["Suppressed many messages from x", "Suppressed 5 messages from x.service"] {
            assert_eq!(shown(pod(), false, other.to_owned()), other);
        }
    }
}
