//! The messages on the local socket.
//!
//! No message may use what postcard cannot carry: untagged or internally tagged enums, `flatten`,
//! `skip_serializing_if`. A property test sends every message through the codec.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use skerry_model::{Hidden, ImageArchiveForm, Kind, Role, Since};
use uuid::Uuid;

use crate::pull::{PullOrder, PullReport};
use crate::{Channel, ExecQuery, Input, Refusal};

/// Items of a stream for which there is room when it opens.
pub(crate) const STREAM_WINDOW: usize = 32;

/// JSON text of a resource or report, passed through unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Json(pub String);

/// First frame of a connection, from the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Build id of the client; another build than the server's is refused.
    pub build: String,
    /// What the client calls itself, for the log.
    pub program: String,
}

/// The server's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply {
    /// Build id of the server.
    pub build: String,
    /// What the peer's credentials allow; `None` means the connection is refused.
    pub role: Option<PeerRole>,
    /// Why it is refused.
    pub refused: Option<String>,
}

/// What a process may do by virtue of the user it runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRole {
    /// root: everything.
    Root,
    /// The north side: fetch the server identity, and act for those whose token it passes on.
    North,
    /// The maintenance menu, which stands for somebody at the machine: see the summary and the claim
    /// code, restart, power off, read logs; more with a token.
    Console,
    /// Any other member of the group: only what a token allows.
    Member,
    /// The service that guests ask for their data: what each of them may know, and nothing else.
    Guests,
}

/// On whose behalf a request is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Auth {
    /// The process itself.
    Peer,
    /// The holder of this session secret.
    Token(String),
}

/// A frame from the client after the hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientFrame {
    /// A request. `id` is the client's and not in use by another open request of this connection.
    Request {
        /// Number that the answer carries.
        id: u32,
        /// On whose behalf.
        auth: Auth,
        /// What is asked.
        request: Request,
    },
    /// Ends a stream, or gives up on a request.
    Cancel {
        /// The request.
        id: u32,
    },
    /// Makes room for more items of a stream. The server sends at most as many as there is room for,
    /// so a stream that is read slowly neither fills memory nor holds up other answers.
    More {
        /// The request.
        id: u32,
        /// How many items were taken.
        items: u32,
    },
    /// Something for a two-way stream. The client sends at most as many as the server made room for.
    Input {
        /// The request.
        id: u32,
        /// What.
        input: Input,
    },
}

/// A frame from the server after the hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerFrame {
    /// The answer to a request, and the last frame of it unless it opened a stream.
    Answer {
        /// The request.
        id: u32,
        /// What came of it.
        result: Result<Answer, Refusal>,
    },
    /// An item of an open stream.
    Item {
        /// The request.
        id: u32,
        /// The item.
        item: StreamItem,
    },
    /// Makes room for more inputs of a two-way stream.
    Room {
        /// The request.
        id: u32,
        /// How many inputs were taken.
        inputs: u32,
    },
    /// The end of a stream.
    End {
        /// The request.
        id: u32,
        /// Why it ended, if not because there is no more.
        error: Option<Refusal>,
    },
}

/// What can be asked of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Live facts for the first screen of every face: [`Answer::Document`] of `upkeep::Summary`.
    Summary,
    /// The machine's parts: [`Answer::Document`] of `upkeep::Inventory`.
    Inventory,
    /// USB sticks and cards with image files: [`Answer::Document`] of `upkeep::MediaList`.
    Media,
    /// Certificate chain and private key for HTTPS (PEM): [`Answer::Identity`]. North and root only.
    ServerIdentity,
    /// Sets the first admin. Works once. [`Answer::Session`].
    Claim {
        /// The code shown on the consoles.
        code: String,
        /// Account name.
        username: String,
        /// Password.
        password: String,
        /// Where the request came from, for the rate limit.
        origin: String,
    },
    /// Checks a password and opens a session: [`Answer::Session`].
    Login {
        /// Account name.
        username: String,
        /// Password.
        password: String,
        /// `page`, `cli` or `console`.
        purpose: String,
        /// Where the request came from, for the rate limit.
        origin: String,
    },
    /// Ends the session of the token.
    Logout,
    /// Who the token belongs to: [`Answer::Principal`].
    WhoAmI,
    /// All resources of a kind: [`Answer::List`].
    List {
        /// The kind.
        kind: Kind,
        /// Which of them.
        query: ListQuery,
    },
    /// One resource by id or name: [`Answer::Document`].
    Get {
        /// The kind.
        kind: Kind,
        /// Id or name.
        key: String,
    },
    /// Makes a resource from `{"metadata":{"name",…},"spec":{…}}`: [`Answer::Document`].
    Create {
        /// The kind.
        kind: Kind,
        /// The document.
        document: Json,
        /// Only check and plan; change nothing.
        dry_run: bool,
    },
    /// Makes or replaces everything that these documents describe, or nothing: [`Answer::Document`] with what was
    /// done for each. All are checked first, each as if those before it were there already.
    Apply {
        /// The documents, each with its kind.
        documents: Vec<Json>,
        /// Only check and tell; change nothing.
        dry_run: bool,
    },
    /// Replaces the spec (and labels): [`Answer::Document`].
    Replace {
        /// The kind.
        kind: Kind,
        /// Id or name.
        key: String,
        /// The document.
        document: Json,
        /// The revision that the caller saw; another one is refused as stale.
        if_revision: Option<u64>,
    },
    /// Changes parts of the spec by a JSON merge patch (RFC 7396): [`Answer::Document`].
    Patch {
        /// The kind.
        kind: Kind,
        /// Id or name.
        key: String,
        /// The patch.
        patch: Json,
        /// The revision that the caller saw.
        if_revision: Option<u64>,
    },
    /// Takes a resource down. [`Answer::Document`] of what is being removed.
    Delete {
        /// The kind.
        kind: Kind,
        /// Id or name.
        key: String,
        /// The revision that the caller saw.
        if_revision: Option<u64>,
        /// Whether the volumes of a virtual machine go, too.
        with_volumes: bool,
    },
    /// Starts, stops and so on: [`Answer::Document`].
    Act {
        /// The kind.
        kind: Kind,
        /// Id or name.
        key: String,
        /// What to do.
        action: Action,
    },
    /// Changes as they happen: a stream of [`StreamItem::Change`].
    Watch {
        /// Kinds of interest; all if empty.
        kinds: Vec<Kind>,
        /// After this revision; from now on if absent. A revision too far back is refused with
        /// [`crate::RefusalClass::Gone`].
        after: Option<u64>,
    },
    /// Log of a workload or a service: a stream of [`StreamItem::Line`].
    Log(LogQuery),
    /// Runs a program in a container: a two-way stream that ends with [`StreamItem::Exit`].
    Exec(ExecQuery),
    /// The input and the output of a container's own program: a two-way stream that begins with its last lines and
    /// ends with the program, by [`StreamItem::Exit`] if its code is known. One types, the others only watch.
    Attach {
        /// Id or name of the pod.
        key: String,
        /// The container; may be left out for a pod of one.
        container: Option<String>,
    },
    /// The serial line of a running virtual machine: a two-way stream that begins with what was shown lately. One
    /// types, the others only watch.
    Serial {
        /// Id or name.
        key: String,
    },
    /// The screen of a running virtual machine: a two-way stream of RFB (RFC 6143), shared with whoever else looks.
    Screen {
        /// Id or name.
        key: String,
    },
    /// What the agent in the guest of a running virtual machine says now: [`Answer::Document`] of
    /// `model::GuestReport`.
    GuestReport {
        /// Id or name.
        key: String,
    },
    /// What the running containers of a pod take of the machine: [`Answer::Document`] of `model::PodStats`.
    PodStats {
        /// Id or name.
        key: String,
    },
    /// What the guest with this address is told when it asks for its data: [`Answer::Document`] of
    /// `model::GuestMetadata`; [`crate::RefusalClass::NotFound`] if nothing. It holds secrets, so it is for the service that
    /// answers guests, and for root, only.
    GuestMetadata {
        /// The address that it asks from.
        address: Ipv4Addr,
    },
    /// What the guest of a virtual machine would be told now: [`Answer::Document`] of `model::MetadataReport`.
    VmMetadata {
        /// Id or name.
        key: String,
    },
    /// Sets the password of an account in the guest of a running virtual machine, by its agent: [`Answer::Done`]. It is
    /// kept nowhere.
    SetGuestPassword {
        /// Id or name.
        key: String,
        /// The account.
        user: String,
        /// The password.
        password: Hidden,
    },
    /// Why a resource is as it is: spec, status, last plan and error: [`Answer::Document`].
    Explain {
        /// The kind.
        kind: Kind,
        /// Id or name.
        key: String,
    },
    /// The graph of controllers, in DOT: [`Answer::Text`].
    Graph,
    /// Restart or power off the machine: [`Answer::Done`].
    Power(PowerAction),
    /// The whole state as one checksummed file: [`Answer::Bytes`]. Admin only.
    Export,
    /// A container image as one archive: a stream of one [`StreamItem::File`] and then [`StreamItem::Piece`]s. If it
    /// ends before all bytes have come, what came is of no use.
    ExportImage {
        /// Id or name.
        key: String,
        /// The form of the archive.
        form: ImageArchiveForm,
    },
    /// Images to pull: a stream of [`StreamItem::Pulls`]. North and root only, since it carries passwords.
    Pulls,
    /// How a pull stands: [`Answer::Done`]; [`crate::RefusalClass::NotFound`] if it is no longer wanted. North
    /// and root only.
    Pulled {
        /// The job of the order.
        job: Uuid,
        /// How it stands.
        report: PullReport,
    },
    /// Whether the caller may bring files in: [`Answer::Done`].
    MayBringIn,
    /// What the north side is to fetch: a stream of [`StreamItem::Line`], each the JSON list of all
    /// [`FetchOrder`]s that stand, at once and whenever they change. North and root only.
    Fetches,
    /// How far a fetch is: [`Answer::Done`], or refused as not found if the order no longer stands.
    FetchReport {
        /// The order.
        id: Uuid,
        /// How far it is.
        report: FetchReport,
    },
    /// Removes all images that nothing uses, but for those that are pinned or fresh: [`Answer::Document`] of
    /// `upkeep::PruneReport`.
    PruneImages {
        /// Only tell which these are.
        dry_run: bool,
    },
}

/// A file to fetch into the spool, under the order's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchOrder {
    /// The order; also the file's name in the spool.
    pub id: Uuid,
    /// From where, `https` or `http`.
    pub url: String,
    /// Most bytes that it may have.
    pub limit: u64,
}

/// How far a fetch is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchReport {
    /// Bytes are coming in.
    Progress {
        /// Bytes that are there.
        done: u64,
        /// Bytes of the whole file, if its server said so.
        total: Option<u64>,
    },
    /// The file is in the spool, whole.
    Done,
    /// It could not be fetched.
    Failed {
        /// What happened, and what to do.
        detail: String,
        /// Whether another try may help.
        retry: bool,
    },
}

impl Request {
    /// Whether a good answer to it is [`Answer::TwoWay`].
    pub const fn is_two_way(&self) -> bool {
        matches!(
            self,
            Self::Exec(_) | Self::Attach { .. } | Self::Serial { .. } | Self::Screen { .. }
        )
    }
}

/// What can be done with a workload or a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Wanted on.
    Start,
    /// Wanted off, with the guest's or container's own shutdown first.
    Stop,
    /// Off at once.
    ForceStop,
    /// Off and on again.
    Restart,
    /// A job: end it and undo what is half done.
    Abort,
    /// A failed job: try it again from its start.
    Retry,
    /// A virtual machine: held.
    Pause,
    /// A virtual machine: let go on.
    Resume,
    /// A virtual machine: its reset button.
    Reset,
    /// A virtual machine: the guest's own reboot.
    Reboot,
    /// A virtual machine: off, with its memory on disk.
    Suspend,
    /// Volumes are set back to a snapshot; what they hold now is kept in another one first.
    Revert,
}

/// What can be done with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerAction {
    /// Restart.
    Restart,
    /// Power off.
    PowerOff,
}

/// Which resources of a kind a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuery {
    /// Only names that contain this.
    pub name_contains: Option<String>,
    /// Only with all of these labels.
    pub labels: Vec<(String, String)>,
    /// At most this many, 1 to 1000; 100 if absent.
    pub limit: Option<u32>,
    /// Names after this one (lists are ordered by name).
    pub after: Option<String>,
}

/// Which log lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// `Vm` (its serial output), `Pod` (its containers' output) or `Node` (the system journal).
    pub kind: Kind,
    /// Id or name; for `Node` a unit name or nothing for the whole journal.
    pub key: String,
    /// The container, for a pod with several.
    pub container: Option<String>,
    /// The last so many lines, at most 10000.
    pub tail: u32,
    /// Of these only lines that are not older than this. Not for `Vm`, whose output has no times.
    pub since: Option<Since>,
    /// Each line of a `Pod` begins with its moment (RFC 3339, in UTC) and a space.
    pub timestamps: bool,
    /// Go on as lines come.
    pub follow: bool,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// A resource or a report.
    Document(Json),
    /// Resources of one kind, ordered by name.
    List {
        /// The documents.
        items: Vec<Json>,
        /// Revision of the store at the time of the answer; a watch may go on from it.
        revision: u64,
        /// The name to continue after, if there are more.
        next: Option<String>,
    },
    /// A new session. The secret is told only here.
    Session {
        /// What to send from now on.
        token: String,
        /// Account name.
        username: String,
        /// What it allows.
        role: Role,
        /// Seconds until it ends.
        expires_in_s: Option<u64>,
    },
    /// Who a token belongs to.
    Principal {
        /// Account name.
        username: String,
        /// What it allows.
        role: Role,
    },
    /// Certificate chain and private key, both PEM.
    Identity {
        /// Leaf first, then the node's own CA.
        certificates: String,
        /// PKCS #8.
        private_key: String,
    },
    /// Plain text.
    Text(String),
    /// A file.
    Bytes(Vec<u8>),
    /// Items follow until [`ServerFrame::End`].
    Stream,
    /// Items follow until [`ServerFrame::End`], and inputs are taken until then.
    TwoWay,
}

/// An item of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamItem {
    /// A resource changed.
    Change {
        /// The store's revision with this change.
        revision: u64,
        /// The kind.
        kind: Kind,
        /// The resource after the change; the last known one if `removed`.
        document: Json,
        /// Whether it is gone.
        removed: bool,
    },
    /// A line of a log, without its line end.
    Line(String),
    /// All pulls that are wanted now. One that is no longer listed is to be given up.
    Pulls(Vec<PullOrder>),
    /// A file whose bytes follow.
    File {
        /// What to call it.
        name: String,
        /// Its bytes.
        size: u64,
    },
    /// Bytes of a file, at most 64 KiB.
    Piece(Vec<u8>),
    /// What a program or a console wrote, at most 64 KiB.
    Output {
        /// Where it comes from.
        channel: Channel,
        /// Any bytes.
        bytes: Vec<u8>,
    },
    /// The program has ended: its code, or 128 and the number of the signal that ended it. The last item.
    Exit(i32),
}
