//! What every verb works with: the node, the output, and the few calls that all of them make.

use std::io;
use std::time::Duration;

use serde_json::Value;
use skerry_ipc::{Answer, Refusal, Request, StreamItem};
use skerry_model::{Kind, Timestamp};

use crate::io::Io;
use crate::text;
use crate::transport::{CallError, Items, Transport};

/// Why a verb did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The node did not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The output is gone.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// The words are right, but not like this.
    #[error("{0}")]
    Usage(String),
    /// What was waited for ended otherwise.
    #[error("{0}")]
    Outcome(String),
    /// What was waited for did not happen in time.
    #[error("{0}")]
    TimedOut(String),
    /// A program that was run elsewhere ended with this code, and has said itself what it had to say.
    #[error("the program ended with code {0}")]
    Ended(u8),
}

impl Failure {
    /// The program's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Call(error) => error.exit_code(),
            // A reader that went away, such as `head`, has what it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => crate::exit::DONE,
            Self::Output(_) | Self::Outcome(_) => crate::exit::REFUSED,
            Self::Usage(_) => crate::exit::USAGE,
            Self::TimedOut(_) => crate::exit::TIMED_OUT,
            Self::Ended(code) => *code,
        }
    }

    /// The refusal of the node behind it, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Call(CallError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

/// The result of a verb.
pub type Done = Result<(), Failure>;

/// One run of one verb.
pub struct Shell<'a, 'io> {
    /// The node.
    pub transport: &'a dyn Transport,
    /// The surroundings.
    pub io: &'a mut Io<'io>,
    /// JSON instead of tables.
    pub json: bool,
    /// How long to wait at most.
    pub timeout: Duration,
}

impl Shell<'_, '_> {
    /// Asks for a document.
    pub async fn document(&self, request: Request) -> Result<Value, Failure> {
        match self.transport.call(request).await? {
            Answer::Document(json) => self.parse(&json.0),
            other => Err(self.odd("a document", &other)),
        }
    }

    /// Asks for a stream.
    pub async fn items(&self, request: Request) -> Result<Items, Failure> {
        Ok(self.transport.open(request).await?)
    }

    /// JSON text of the node's.
    pub fn parse(&self, json: &str) -> Result<Value, Failure> {
        serde_json::from_str(json).map_err(|error| {
            let node = self.transport.node();
            CallError::Protocol { node, detail: error.to_string() }.into()
        })
    }

    /// An answer of another sort than the question's.
    pub fn odd(&self, wanted: &str, found: &Answer) -> Failure {
        let found = match found {
            Answer::Done => "nothing",
            Answer::Document(_) => "a document",
            Answer::List { .. } => "a list",
            Answer::Session { .. } => "a session",
            Answer::Principal { .. } => "an account",
            Answer::Identity { .. } => "a certificate",
            Answer::Text(_) => "text",
            Answer::Bytes(_) => "bytes",
            Answer::Stream => "a stream",
            Answer::TwoWay => "a two-way stream",
        };
        let detail = format!("expected {wanted}, got {found}");
        CallError::Protocol { node: self.transport.node(), detail }.into()
    }

    /// Prints a line of the result.
    pub fn say(&mut self, line: &str) -> Done {
        Ok(writeln!(self.io.out, "{line}")?)
    }

    /// Prints text that has its line ends.
    pub fn print(&mut self, text: &str) -> Done {
        self.io.out.write_all(text.as_bytes())?;
        Ok(self.io.out.flush()?)
    }

    /// Prints a value: as JSON or, through `text`, for people.
    pub fn show(&mut self, value: &Value, text: impl FnOnce(&Value) -> String) -> Done {
        let text = if self.json { pretty(value) } else { text(value) };
        self.print(&text)
    }

    /// Prints a line of progress, which is not part of the result.
    pub fn progress(&mut self, line: &str) -> Done {
        writeln!(self.io.err, "{}", text::clean(line))?;
        Ok(self.io.err.flush()?)
    }

    /// One item of a stream on one line.
    pub fn item(&mut self, item: &StreamItem) -> Done {
        match item {
            StreamItem::Line(line) if self.json => {
                self.say(&serde_json::json!({ "line": line }).to_string())?;
            }
            StreamItem::Line(line) => self.say(&text::clean(line))?,
            StreamItem::Pulls(_) => {}
            StreamItem::Change { revision, kind, document, removed } => {
                let document = self.parse(&document.0)?;
                self.change(*revision, *kind, &document, *removed)?;
            }
            // Of streams that have a verb of their own.
            StreamItem::Output { .. }
            | StreamItem::Exit(_)
            | StreamItem::File { .. }
            | StreamItem::Piece(_) => {}
        }
        Ok(self.io.out.flush()?)
    }

    fn change(&mut self, revision: u64, kind: Kind, document: &Value, removed: bool) -> Done {
        if self.json {
            let line = serde_json::json!({
                "revision": revision, "kind": kind.name(), "removed": removed, "document": document,
            });
            return self.say(&line.to_string());
        }
        let name = text::cell(document, "/metadata/name");
        let what = match (removed, text::cell(document, "/metadata/phase").as_str()) {
            (true, _) => "gone".to_owned(),
            (false, "removing") => "deleting".to_owned(),
            _ => match text::cell(document, "/status/state").as_str() {
                "-" => "changed".to_owned(),
                state => state.to_owned(),
            },
        };
        let kind = kind.name().to_lowercase();
        self.say(&format!("{revision:>8}  {kind:<8} {name:<24} {what}"))
    }
}

/// JSON for people and programs, with a line end.
pub fn pretty(value: &Value) -> String {
    // A `Value` is always valid JSON; the compact form is as good if the other should fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
    text.push('\n');
    text
}

/// The present moment, for ages only.
pub fn now() -> Timestamp {
    Timestamp::now()
}
