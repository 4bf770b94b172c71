//! Lines of the system journal, read by `journalctl`.
//!
//! The program is asked with an argument vector and killed when the reader goes away. Lines are cut at a limit,
//! so that one unit that writes without line ends cannot fill the memory.

use std::path::Path;
use std::process::Stdio;

use futures::stream;
use skerry_upkeep::{HostError, JournalLines, JournalQuery};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// Longest line passed on, in bytes.
const MAX_LINE: usize = 8 * 1024;
/// Most lines that one question may ask back.
const MAX_TAIL: u32 = 10_000;

struct Reader {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// Starts `program` (journalctl) for a question.
pub(crate) fn lines(program: &Path, query: &JournalQuery) -> Result<JournalLines, HostError> {
    journal_lines(program, arguments(query)?)
}

/// Starts `program` (journalctl) with these arguments and passes on its lines, bounded and made valid UTF-8.
/// The program ends with the stream.
pub fn journal_lines(program: &Path, words: Vec<String>) -> Result<JournalLines, HostError> {
    let mut command = Command::new(program);
    command.args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let failed = |source| HostError::Program { program: program.display().to_string(), source };
    let mut child = command.spawn().map_err(failed)?;
    let stdout =
        child.stdout.take().ok_or_else(|| failed(std::io::Error::other("no output pipe")))?;
    let reader = Reader { child, lines: BufReader::new(stdout) };
    Ok(Box::pin(stream::unfold(Some(reader), |state| async move {
        let mut reader = state?;
        match next_line(&mut reader.lines).await {
            Ok(Some(line)) => Some((Ok(line), Some(reader))),
            Ok(None) => reader.end().await.map(|error| (Err(error), None)),
            Err(error) => Some((Err(refused(error.to_string())), None)),
        }
    })))
}

impl Reader {
    /// After the last line: what went wrong, if anything did.
    async fn end(mut self) -> Option<HostError> {
        let mut complaint = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What cannot be read of a complaint only makes it shorter.
            let _ = stderr.take(4096).read_to_end(&mut complaint).await;
        }
        match self.child.wait().await {
            Ok(status) if status.success() => None,
            Ok(status) => {
                let text = String::from_utf8_lossy(&complaint);
                let first = text.lines().next().unwrap_or_default().trim();
                Some(refused(format!("journalctl ended with {status}: {first}")))
            }
            Err(error) => Some(refused(error.to_string())),
        }
    }
}

fn refused(detail: String) -> HostError {
    HostError::Refused { action: "read the journal", detail }
}

fn arguments(query: &JournalQuery) -> Result<Vec<String>, HostError> {
    let mut words: Vec<String> =
        ["--no-pager", "--quiet", "--no-hostname", "--output=short-iso"].map(str::to_owned).into();
    words.push(format!("--lines={}", query.tail.min(MAX_TAIL)));
    if let Some(since) = query.since {
        words.push(format!("--since=@{}", since.as_second().max(0)));
    }
    if query.follow {
        words.push("--follow".to_owned());
    }
    if let Some(unit) = &query.unit {
        check_unit(unit)?;
        words.push(format!("--unit={unit}"));
    }
    Ok(words)
}

/// The characters that systemd allows in unit names (systemd.unit(5)); no patterns.
fn check_unit(unit: &str) -> Result<(), HostError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if (1..=255).contains(&unit.len()) && unit.chars().all(allowed) {
        Ok(())
    } else {
        let unit = unit.chars().take(64).flat_map(char::escape_default).collect();
        Err(HostError::BadUnit { unit })
    }
}

/// The next line, cut at [`MAX_LINE`] and made valid UTF-8; `None` at the end.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            break;
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        let room = MAX_LINE.saturating_sub(line.len());
        line.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
        let used = part.len().saturating_add(usize::from(end.is_some()));
        reader.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(any.then(|| String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use std::os::unix::fs::PermissionsExt;

    fn query(unit: Option<&str>, follow: bool) -> JournalQuery {
        JournalQuery { unit: unit.map(str::to_owned), tail: 50_000, since: None, follow }
    }

    /// A program that stands for journalctl.
    fn program(folder: &Path, script: &str) -> std::path::PathBuf {
        let path = folder.join("journalctl");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn arguments_hold_no_more_than_asked() {
        let words = arguments(&query(Some("skerry-noded.service"), true)).unwrap();
        assert!(words.contains(&"--lines=10000".to_owned()));
        assert!(words.contains(&"--unit=skerry-noded.service".to_owned()));
        assert!(words.contains(&"--follow".to_owned()));
        let since = skerry_model::Timestamp::from_second(5).ok();
        let words = arguments(&JournalQuery { since, ..query(None, false) }).unwrap();
        assert!(words.contains(&"--since=@5".to_owned()));
        for bad in ["", "a b", "x;y", "a\n", "*", "a/../b"] {
            assert!(arguments(&query(Some(bad), false)).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn long_and_broken_lines_are_made_fit() {
        let mut input = vec![b'x'; MAX_LINE + 100];
        input.extend_from_slice(b"\n\nb\xffd\nlast");
        let mut reader = BufReader::with_capacity(100, input.as_slice());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).await.unwrap() {
            lines.push(line);
        }
        assert_eq!(lines[0].len(), MAX_LINE);
        assert_eq!(lines[1..], ["", "b\u{fffd}d", "last"]);
    }

    #[tokio::test]
    async fn lines_come_in_order_and_a_failure_is_the_last_item() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path(), "echo one; echo two; echo 'no such thing' >&2; exit 3");
        let items: Vec<_> = lines(&path, &query(None, false)).unwrap().collect().await;
        assert_eq!(items.len(), 3);
        assert_eq!(items[0].as_deref().unwrap(), "one");
        let error = items[2].as_ref().unwrap_err().to_string();
        assert!(error.contains("no such thing"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_is_said() {
        let error = lines(Path::new("/nowhere/journalctl"), &query(None, false)).err().unwrap();
        assert!(error.to_string().contains("/nowhere/journalctl"));
    }
}
