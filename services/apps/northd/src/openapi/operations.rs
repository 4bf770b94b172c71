//! The table of all operations. The router is held to it by a test.

use skerry_model::Kind;

use super::operation::{Content, Operation};
use crate::api::{KINDS, WORKLOADS};

const LOG: &[(&str, &str)] =
    &[("tail", "The last so many lines, 1 to 10000; 100 if absent."), ("follow", FOLLOW)];

const TAIL: &str =
    "The last so many lines, 1 to 10000; 100 if absent, or 10000 where `since` is given.";
const SINCE: &str = "Of these only lines that are not older than this: a time such as `2026-01-31T08:00:00Z` (RFC \
    3339), or a length of time before now, by the node's clock, such as `90s`, `10m`, `1h30m` or `2d`.";
const FOLLOW: &str = "`true` to go on as lines come.";

const DELETE: &[(&str, &str)] = &[(
    "delete_volumes",
    "`true` to delete its volumes, too; otherwise those of a pod stay, and those of a virtual machine that are to be \
     kept.",
)];
const EXEC: &[(&str, &str)] = &[
    ("ticket", TICKET),
    ("container", "The container, for a pod with several."),
    ("command", "The program; repeated for its arguments."),
    ("env", "A variable of its environment, `NAME=value`; may be repeated."),
    ("tty", "`true` for a terminal; without one, output and error output stay apart."),
    ("cols", "The terminal's columns, 1 to 1000; 80 if absent."),
    ("rows", "The terminal's rows, 1 to 1000; 24 if absent."),
];

const TICKET: &str = "A ticket for this path, from `POST /api/v1/tickets`, where no bearer token can be sent. \
    The session cookie is not looked at.";

const TERMINAL: &str = "Sub-protocol `skerry.terminal`. To the node: binary messages are what is typed; text messages \
    are `{\"type\":\"resize\",\"cols\":80,\"rows\":24}` and `{\"type\":\"end\"}` when no more bytes will come. From the \
    node: binary messages are a byte 1 and output or a byte 2 and error output; text messages are \
    `{\"type\":\"exit\",\"code\":0}` at the end (128 and the signal for a killed program) and \
    `{\"type\":\"refused\",\"status\":404,\"detail\":\"…\"}`. Close codes: 1000 after an exit, 1001 when the service stops, \
    1002 for a message that is none of these, 4000 and the status for a refusal or an ended session (4401), 4408 after \
    two hours in which nothing moved.";

const ATTACH: &[(&str, &str)] =
    &[("ticket", TICKET), ("container", "The container, for a pod with several.")];

const ATTACHED: &str = "The last 20 lines come first, then what the program writes, by the line and out of its log. One \
    types and any number watch; whoever may only watch is told so in the output. Leaving, or the end of what is typed, \
    ends nothing. A container with a terminal (`tty`) shows that instead, as it is: the last 16 KiB come first, and the \
    size is that of whoever types. Sub-protocol `skerry.terminal` as for programs in containers; when the program has ended its exit \
    comes if it is known, and the socket closes with 1000.";

const CONSOLE: &str = "The last 64 KiB come first. One types and any number watch; whoever may only watch is told so in \
    the output. Sub-protocol `skerry.terminal` as for programs in containers; there is no exit, and the socket closes \
    with 1000 when the machine goes off.";

const ARCHIVE: &[(&str, &str)] = &[(
    "format",
    "`oci` for an OCI image layout, `docker` for what `docker load` reads; `oci` if absent.",
)];

const ARCHIVED: &str = "Only container images (422 for others), and only while they are available (409). Every part of the \
    image is compared with its digest while it is read: if one is damaged the answer ends before its `Content-Length`, \
    and the image is quarantined. The same image gives the same bytes each time.";

const GUEST: &str = "Needs `spec.guest_agent`, and the QEMU guest agent in the guest: 409 if it is not there or refuses, 503 \
    if it does not answer.";

const METADATA: &str =
    "Nothing unless `spec.init.metadata` is set. User-data is counted and not shown.";

const SCREEN: &str = "Sub-protocol `binary`: binary messages hold the bytes of RFB (RFC 6143), both ways, cut anywhere. RFB \
    itself asks for no password: the ticket or token is the proof. Any number may look and type at the same time. A \
    machine whose `spec.graphics` is `none` has no screen, which closes with 4409; otherwise close codes are those of \
    programs in containers.";

pub(super) fn operations() -> Vec<Operation> {
    let mut all = fixed();
    for kind in KINDS {
        all.extend(uniform(kind));
    }
    all
}

fn fixed() -> Vec<Operation> {
    let node_log = &[
        ("unit", "A unit; the whole journal if absent."),
        ("tail", TAIL),
        ("since", SINCE),
        ("follow", FOLLOW),
    ];
    let pod_logs = &[
        ("container", "The container, for a pod with several; all of them if absent."),
        ("tail", TAIL),
        ("since", SINCE),
        ("timestamps", "`true` to begin each line with its moment (RFC 3339, in UTC) and a space."),
        ("follow", FOLLOW),
    ];
    let watch = &[
        (
            "after",
            "The revision to go on after; from now on if absent. `Last-Event-ID` goes before.",
        ),
        ("kinds", "Kinds of interest, such as `vms,pods`; all if absent."),
    ];
    vec![
        Operation::new("get", "health", "health", "What anybody may know of the node.")
            .gives(200, Content::json("Health"))
            .open(),
        Operation::new("post", "claim", "claim", "Sets the first admin. Works once.")
            .takes(Content::json("ClaimBody"))
            .gives(201, Content::json("SessionOpened"))
            .open(),
        Operation::new("post", "login", "login", "Opens a session.")
            .takes(Content::json("LoginBody"))
            .gives(200, Content::json("SessionOpened"))
            .open(),
        Operation::new("post", "logout", "logout", "Ends the session.")
            .gives(204, Content::Nothing),
        Operation::new("get", "session", "session", "Who is logged in.")
            .gives(200, Content::json("Principal")),
        Operation::new("get", "summary", "summary", "Live facts of the node.")
            .gives(200, Content::json("Summary")),
        Operation::new("get", "inventory", "inventory", "The machine's parts.")
            .gives(200, Content::json("Inventory")),
        Operation::new(
            "get",
            "media",
            "listMedia",
            "USB sticks and cards that are plugged in, with the image files on them.",
        )
        .gives(200, Content::json("MediaList")),
        Operation::new(
            "post",
            "prune",
            "pruneImages",
            "Removes all images that nothing uses, but for those that are pinned or built in, or were used or came in within the last hour.",
        )
        .query(&[("dry_run", "`true` to tell only which these are.")])
        .gives(200, Content::json("PruneReport")),
        Operation::new("get", "node", "getNode", "The node itself.")
            .gives(200, Content::json("Node")),
        Operation::new("patch", "node", "patchNode", "Changes the node's settings.")
            .takes(Content::Patch("Node".to_owned()))
            .gives(200, Content::json("Node")),
        Operation::new(
            "post",
            "node/actions/{action}",
            "actOnNode",
            "`restart` or `power_off`: the machine.",
        )
        .gives(202, Content::AnyJson),
        Operation::new("get", "node/log", "nodeLog", "The system journal.")
            .query(node_log)
            .gives(200, Content::Text),
        Operation::new(
            "post",
            "apply",
            "apply",
            "Makes or replaces what all the documents describe, in one transaction; if one is refused, none is applied.",
        )
        .query(&[("dry_run", "`true` to check and tell only.")])
        .takes(Content::json("ApplyBody"))
        .gives(200, Content::AnyJson),
        Operation::new("get", "watch", "watch", "Changes as they happen.")
            .query(watch)
            .gives(200, Content::Events),
        Operation::new("get", "uploads", "listUploads", "Files that are coming or have come.")
            .gives(200, Content::json("UploadList")),
        Operation::new("post", "uploads", "createUpload", "Announces a file.")
            .takes(Content::json("UploadInput"))
            .gives(201, Content::json("Upload")),
        Operation::new(
            "get",
            "uploads/{key}",
            "getUpload",
            "How far it is; also as headers Upload-Offset, Upload-Length and Upload-Complete.",
        )
        .gives(200, Content::json("Upload")),
        Operation::new(
            "patch",
            "uploads/{key}",
            "appendUpload",
            "Adds bytes at the header Upload-Offset, which must be where the file ends (409 tells where that is).",
        )
        .takes(Content::Bytes)
        .gives(200, Content::json("Upload")),
        Operation::new("put", "uploads/{key}", "putUpload", "The same as PATCH.")
            .takes(Content::Bytes)
            .gives(200, Content::json("Upload")),
        Operation::new("delete", "uploads/{key}", "deleteUpload", "Throws it away.")
            .gives(204, Content::Nothing),
        Operation::new(
            "post",
            "tickets",
            "createTicket",
            "A ticket for one WebSocket, for pages: good once, for 30 s.",
        )
        .takes(Content::json("TicketBody"))
        .gives(201, Content::json("Ticket")),
        Operation::new(
            "get",
            "pods/{key}/exec",
            "execInPod",
            "A WebSocket to a program in a container.",
        )
        .query(EXEC)
        .says(TERMINAL)
        .gives(101, Content::Nothing),
        Operation::new(
            "get",
            "pods/{key}/attach",
            "attachToPod",
            "A WebSocket to a container's own program, whose `stdin` must be true.",
        )
        .query(ATTACH)
        .says(ATTACHED)
        .gives(101, Content::Nothing),
        Operation::new(
            "get",
            "vms/{key}/console",
            "vmConsole",
            "A WebSocket to the serial line of a running virtual machine.",
        )
        .query(&[("ticket", TICKET)])
        .says(CONSOLE)
        .gives(101, Content::Nothing),
        Operation::new(
            "get",
            "vms/{key}/vnc",
            "vmScreen",
            "A WebSocket to the screen of a running virtual machine.",
        )
        .query(&[("ticket", TICKET)])
        .says(SCREEN)
        .gives(101, Content::Nothing),
        Operation::new(
            "get",
            "vms/{key}/guest",
            "guestOfVm",
            "What the agent in the guest of a running virtual machine says now.",
        )
        .says(GUEST)
        .gives(200, Content::json("GuestReport")),
        Operation::new(
            "get",
            "vms/{key}/metadata",
            "metadataOfVm",
            "What the guest of a virtual machine is told when it asks for its data at 169.254.169.254.",
        )
        .says(METADATA)
        .gives(200, Content::json("MetadataReport")),
        Operation::new(
            "post",
            "vms/{key}/guest/password",
            "setGuestPassword",
            "Sets the password of an account in the guest of a running virtual machine.",
        )
        .says(GUEST)
        .takes(Content::json("GuestPasswordBody"))
        .gives(204, Content::Nothing),
        Operation::new(
            "get",
            "images/{key}/export",
            "exportImage",
            "A container image as one archive, to keep or to bring in elsewhere.",
        )
        .query(ARCHIVE)
        .says(ARCHIVED)
        .gives(200, Content::Tar),
        Operation::new("get", "openapi.json", "openapi", "This description.")
            .gives(200, Content::AnyJson)
            .open(),
        Operation::new(
            "get",
            "vms/{key}/serial",
            "vmSerial",
            "Serial output of a virtual machine.",
        )
        .query(LOG)
        .gives(200, Content::Text),
        Operation::new(
            "get",
            "pods/{key}/stats",
            "statsOfPod",
            "What the running containers of a pod take of the machine now.",
        )
        .gives(200, Content::json("PodStats")),
        Operation::new("get", "pods/{key}/logs", "podLogs", "Output of a pod's containers.")
            .query(pod_logs)
            .gives(200, Content::Text),
    ]
}

fn patching(kind: Kind) -> &'static str {
    match kind {
        Kind::Vm => "Changes parts of it; another `metadata.name` renames it.",
        _ => "Changes parts of it.",
    }
}

/// What every kind has. `key` is an id or a name.
fn uniform(kind: Kind) -> Vec<Operation> {
    let (name, plural) = (kind.name(), kind.plural());
    let one = format!("{plural}/{{key}}");
    let list = &[
        ("name", "Only names that contain this."),
        ("label", "Only with this label, `key=value`; may be repeated."),
        ("limit", "At most so many, 1 to 1000; 100 if absent."),
        ("continue", "Go on after this name."),
    ];
    let document = || Content::json(name);
    let input = || Content::Json(format!("{name}Input"));
    let mut all = vec![
        Operation::new("get", plural, format!("list{name}"), "Resources, ordered by name.")
            .query(list)
            .gives(200, Content::Json(format!("{name}List"))),
        Operation::new("post", plural, format!("create{name}"), "Makes a resource.")
            .query(&[("dry_run", "`true` to check and plan only.")])
            .takes(input())
            .gives(if kind == Kind::Image { 202 } else { 201 }, document()),
        Operation::new("get", &one, format!("get{name}"), "One resource.").gives(200, document()),
        Operation::new("put", &one, format!("replace{name}"), "Replaces spec and labels.")
            .takes(input())
            .gives(200, document()),
        Operation::new("patch", &one, format!("patch{name}"), patching(kind))
            .takes(Content::Patch(name.to_owned()))
            .gives(200, document()),
        Operation::new(
            "delete",
            &one,
            format!("delete{name}"),
            "Takes it down: 200 if it is gone, 202 while its parts are being removed.",
        )
        .query(match kind {
            Kind::Vm | Kind::Pod => DELETE,
            _ => &[],
        })
        .gives(202, document()),
        Operation::new(
            "get",
            &format!("{one}/explain"),
            format!("explain{name}"),
            "Why it is as it is.",
        )
        .gives(200, Content::AnyJson),
    ];
    let actions = match kind {
        Kind::Job => Some("`abort` or `retry`."),
        Kind::Vm => Some(
            "`start`, `stop`, `force_stop`, `restart`, `pause`, `resume`, `reset`, `reboot` or \
             `suspend`. `status.actions` tells which are possible.",
        ),
        Kind::Snapshot => Some(
            "`revert`: its volumes are set back to it. Machines that are started meanwhile wait for \
             that; deleting the snapshot calls it off.",
        ),
        kind if WORKLOADS.contains(&kind) => Some("`start`, `stop`, `force_stop` or `restart`."),
        _ => None,
    };
    if let Some(actions) = actions {
        let path = format!("{one}/actions/{{action}}");
        all.push(
            Operation::new("post", &path, format!("actOn{name}"), actions).gives(202, document()),
        );
    }
    all
}
