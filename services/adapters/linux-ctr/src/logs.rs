//! What containers wrote, out of the journal.

use futures::StreamExt;
use skerry_containers::{LogLines, LogRequest, RuntimeError, RuntimeFault};
use skerry_linux_host::journal_lines;

use crate::places::Places;
use crate::service::{CONTAINER_FIELD, POD_FIELD};

/// Most lines that one question may ask back.
const MAX_TAIL: u32 = 10_000;

/// The journal reader's arguments for a request.
pub fn arguments(request: &LogRequest) -> Vec<String> {
    let mut words: Vec<String> =
        ["--no-pager", "--quiet", "--all", "--output=cat"].map(str::to_owned).into();
    words.push(format!("--lines={}", request.tail.min(MAX_TAIL)));
    if request.follow {
        words.push("--follow".to_owned());
    }
    words.push(format!("{POD_FIELD}={}", request.pod));
    if let Some(container) = &request.container {
        words.push(format!("{CONTAINER_FIELD}={container}"));
    }
    words
}

/// The lines as they come.
pub fn lines(places: &Places, request: &LogRequest) -> Result<LogLines, RuntimeError> {
    let failed = |error| {
        RuntimeError::new(RuntimeFault::Passing, "the pod's log cannot be read").because(error)
    };
    let lines = journal_lines(&places.journalctl, arguments(request)).map_err(failed)?;
    Ok(Box::pin(lines.map(move |line| line.map_err(failed))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn a_request_names_its_fields_and_nothing_else() {
        let mut request =
            LogRequest { pod: pod(), container: None, tail: 1_000_000, follow: false };
        let id = "SKERRY_POD=0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c";
        assert_eq!(
            arguments(&request),
            ["--no-pager", "--quiet", "--all", "--output=cat", "--lines=10000", id]
        );
        request.container = Some("web".parse().unwrap());
        request.follow = true;
        let words = arguments(&request);
        assert_eq!(words[5..], ["--follow", id, "SKERRY_CONTAINER=web"]);
    }
}
