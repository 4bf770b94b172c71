//! Layers that are wrong in what they say of files.

use crate::{Harm, Layer, Packing};

/// What a path says that goes through a link or a pipe.
const THROUGH: &str = "its path goes through something else than directories";
/// What a path says that climbs.
const CLIMBS: &str = "a path with `..`";
/// What is said of one name for two sorts of things.
const NO_FOLDER_BEFORE: &str = "is a directory here and something else before";
const FOLDER_BEFORE: &str = "was a directory before and is something else here";
/// What is said of hard links.
const LEADS_OUT: &str = "a link that leads out of the image";
const NOT_HELD: &str = "a link to a file that the layer does not hold";
const NO_FILE: &str = "a link to something else than a file, link or pipe";
/// What is said of deletions.
const NAMELESS: &str = "a deletion mark without a name";
const UNKNOWN_MARK: &str = "an unknown deletion mark";
const BELOW_MARK: &str = "lies below a deletion mark";

/// Every layer that is refused whatever its limits are.
#[must_use]
pub fn harmful() -> Vec<Harm> {
    let all = [
        paths(),
        canary(),
        links(),
        hard_links(),
        sorts(),
        deletions(),
        names(),
        headers(),
        sizes(),
    ];
    all.into_iter().flatten().collect()
}

fn plain(cases: Vec<(&'static str, Layer, &'static str)>) -> Vec<Harm> {
    cases.into_iter().map(|(what, layer, says)| Harm::plain(what, layer, says)).collect()
}

/// A file in the root of the machine, and in folders above a layer, that several layers try to reach.
pub const CANARY: &str = "skerry-canary";

/// More steps up than any folder of layers is deep.
const TO_THE_ROOT: &str = "../../../../../../../../../..";

fn new() -> Layer {
    Layer::default()
}

/// Paths that lead out by themselves.
fn paths() -> Vec<Harm> {
    plain(vec![
        ("climbs by its name", new().file("../secret", "x"), CLIMBS),
        ("climbs in the middle", new().folder("a").file("a/../../secret", "x"), CLIMBS),
        ("absolute path", new().file("/tmp/skerry-absolute", "x"), "an absolute path"),
        ("pipe that climbs", new().link(b'6', "../secret", ""), CLIMBS),
        ("device that climbs", new().link(b'3', "../secret", ""), CLIMBS),
        ("climbs by extended header", new().extended(&[("path", "../x")]).file("x", ""), CLIMBS),
        ("climbs by long name", new().raw(b'L', b"l", b"", b"../x\0", 0).file("x", ""), CLIMBS),
        ("empty path", new().file("", "x"), "an empty path"),
        ("root that is a file", new().file("./", "x"), "the root is not a directory"),
    ])
}

/// What aims at a [`CANARY`], so that a node on which one has come through shows it. All of them mean the same file, `/run/skerry-canary`, or one of that name in a folder above the layer.
fn canary() -> Vec<Harm> {
    let from_root = format!("{TO_THE_ROOT}/run/{CANARY}");
    let mut cases = plain(vec![
        ("climbs to the root", new().file(&from_root, "reached"), CLIMBS),
        (
            "deletes what is outside",
            new().file(&format!("{TO_THE_ROOT}/run/.wh.{CANARY}"), ""),
            CLIMBS,
        ),
        (
            "writes through a link to the root",
            new().symlink("a", TO_THE_ROOT).file(&format!("a/run/{CANARY}"), "reached"),
            THROUGH,
        ),
        (
            "writes through a link to a folder of the node",
            new().symlink("a", "/run").file(&format!("a/{CANARY}"), "reached"),
            THROUGH,
        ),
        (
            "writes over a hard link out",
            new().link(b'1', "a", &format!("/run/{CANARY}")).file("a", "reached"),
            LEADS_OUT,
        ),
        (
            "deletes through a link",
            new().symlink("a", "/run").file(&format!("a/.wh.{CANARY}"), ""),
            THROUGH,
        ),
    ]);
    // Next to the layer, among those that are being unpacked, among those that are, and above them.
    let whats = ["climbs by two", "climbs by three", "climbs by four"];
    cases.extend(whats.into_iter().zip(2..).map(|(what, steps)| {
        Harm::plain(what, new().file(&("../".repeat(steps) + CANARY), "reached"), CLIMBS)
    }));
    cases
}

/// Symbolic links that something is written through, or that are none.
fn links() -> Vec<Harm> {
    let chain = new().folder("d").symlink("d/up", ".").symlink("e", "d/up/..").file("e/x", "");
    let other_name = new().symlink("s", "..").link(b'1', "a", "s").file("a/secret", "x");
    let endless = "x/".repeat(3000);
    let unusable = "a symbolic link without a usable target";
    plain(vec![
        ("writes through a link", new().symlink("a", "..").file("a/secret", "x"), THROUGH),
        ("writes through an absolute link", new().symlink("a", "/tmp").file("a/x", "x"), THROUGH),
        ("writes through a chain of links", chain, THROUGH),
        (
            "writes through a link that climbs",
            new().symlink("a", "../..").file("a/secret", "x"),
            THROUGH,
        ),
        ("writes through another name of a link", other_name, THROUGH),
        ("directory over a link", new().symlink("a", "b").folder("a"), NO_FOLDER_BEFORE),
        ("link through a file", new().file("a", "").symlink("a/b", "c"), THROUGH),
        ("link to nothing", new().symlink("a", ""), unusable),
        (
            "link with a name without end",
            new().extended(&[("linkpath", &endless)]).symlink("a", ""),
            unusable,
        ),
    ])
}

fn hard_links() -> Vec<Harm> {
    let through = new().symlink("d", ".").link(b'1', "a", "d/x");
    plain(vec![
        ("hard link out", new().link(b'1', "a", "../secret"), LEADS_OUT),
        ("absolute hard link", new().link(b'1', "a", "/etc/passwd"), LEADS_OUT),
        ("hard link through a link", through, THROUGH),
        ("hard link to a device", new().link(b'3', "null", "").link(b'1', "a", "null"), NOT_HELD),
        ("hard link to nothing", new().link(b'1', "a", "missing"), NOT_HELD),
        (
            "hard link to itself through `..`",
            new().folder("a").link(b'1', "a/x", "a/../x"),
            LEADS_OUT,
        ),
        ("hard link to a folder", new().folder("a").link(b'1', "b", "a"), NO_FILE),
        ("hard link to a deletion", new().file(".wh.a", "").link(b'1', "b", "a"), NO_FILE),
    ])
}

/// Sorts of entries that no layer has, or that one name cannot be after another.
fn sorts() -> Vec<Harm> {
    let pipe = || new().link(b'6', "p", "");
    let sparse = "sparse files are not allowed";
    plain(vec![
        ("writes below a pipe", pipe().file("p/x", "x"), THROUGH),
        ("directory in place of a pipe", pipe().folder("p"), NO_FOLDER_BEFORE),
        ("pipe in place of a directory", new().folder("p").link(b'6', "p", ""), FOLDER_BEFORE),
        ("device in place of a directory", new().folder("p").link(b'3', "p", ""), FOLDER_BEFORE),
        ("file in place of a directory", new().folder("a").file("a", "x"), FOLDER_BEFORE),
        ("directory in place of a file", new().file("a", "x").folder("a"), NO_FOLDER_BEFORE),
        ("sparse file", new().link(b'S', "sparse", ""), sparse),
        ("sparse file by extended header", new().extended(&[("GNU.sparse.major", "1")]), sparse),
        ("unknown sort", new().link(b'Z', "x", ""), "an entry of a sort that layers do not have"),
    ])
}

/// Marks that delete what they must not.
fn deletions() -> Vec<Harm> {
    plain(vec![
        ("deletion of `..`", new().file(".wh...", ""), NAMELESS),
        ("deletion of nothing", new().file(".wh.", ""), NAMELESS),
        ("deletion of the root by its path", new().file("./.wh...", ""), NAMELESS),
        ("unknown deletion mark", new().file(".wh..wh.plnk", ""), UNKNOWN_MARK),
        ("deletion of a deletion", new().file("a/.wh..wh.b", ""), UNKNOWN_MARK),
        ("file below a deletion mark", new().file(".wh.a/x", ""), BELOW_MARK),
        ("opaque mark that is deleted", new().file(".wh..wh..opq/x", ""), BELOW_MARK),
        (
            "deletes what it brings",
            new().file("a", "x").file(".wh.a", ""),
            "deletes what the same layer brings",
        ),
    ])
}

/// Names that are none.
fn names() -> Vec<Harm> {
    let deep = "d/".repeat(200) + "x";
    let long = "n".repeat(300);
    plain(vec![
        (
            "name that is too long",
            new().extended(&[("path", &long)]).file("x", ""),
            "a name that is too long",
        ),
        (
            "path that is too deep",
            new().extended(&[("path", &deep)]).file("x", ""),
            "a path that is too long",
        ),
        (
            "zero byte in a path",
            new().extended(&[("path", "a\0b")]).file("x", ""),
            "a path with a zero byte",
        ),
    ])
}

/// Headers whose fields are no numbers, or too many.
fn headers() -> Vec<Harm> {
    let keys = b"9 a=b\n\n\n".repeat(9000);
    let long = "an extended header that is too long";
    let no_change = new().extended(&[("uid", "4294967295")]).file("x", "");
    let beyond = new().extended(&[("gid", "4294967296")]).file("x", "");
    let negative = new().extended(&[("uid", "-5")]).file("x", "").file_with_owner("-5");
    plain(vec![
        ("owner that means no change", no_change, "has no valid owner"),
        ("owner beyond 32 bits", beyond, "has no valid group"),
        ("negative owner", negative, "has no valid owner"),
        ("owner that is no number", new().file_with_owner("zzzzzzz"), "has no valid owner"),
        ("two sizes", new().extended(&[("size", "1")]).file("x", "abc"), "an extended size"),
        (
            "long name that fills memory",
            new().raw(b'L', b"l", b"", &vec![b'a'; 100_000], 0).file("x", ""),
            long,
        ),
        ("extended header of nothing but keys", new().raw(b'x', b"p", b"", &keys, 0), long),
        (
            "extended header whose length lies",
            new().raw(b'x', b"p", b"", b"999 path=x\n", 0).file("x", ""),
            "malformed pax extension",
        ),
    ])
}

/// Sizes that lie.
fn sizes() -> Vec<Harm> {
    let cut =
        |what, layer: Layer, says| Harm { what, blob: layer.cut(), packing: Packing::Plain, says };
    let data = [b'x'; 512];
    vec![
        cut(
            "size of 32 GiB",
            new().announced(b'0', "a", 32 << 30).blocks(&data),
            "larger than allowed",
        ),
        cut("size beyond the end", new().announced(b'0', "a", 4096).blocks(&data), "breaks off"),
        cut(
            "long name of 1 GiB",
            new().announced(b'L', "l", 1 << 30).blocks(&data),
            "an extended header that is too long",
        ),
        cut(
            "extended header of 4 GiB",
            new().announced(b'x', "p", 1 << 32).blocks(&data),
            "an extended header that is too long",
        ),
    ]
}

/// A layer of more bytes than these, and one of more entries.
#[must_use]
pub fn more_than(bytes: usize, entries: usize) -> Vec<Harm> {
    let many = (0..=entries).fold(new(), |layer, n| layer.file(&n.to_string(), ""));
    let says = "larger than allowed";
    plain(vec![
        ("larger than allowed", new().file("a", &"x".repeat(2 * bytes)), says),
        ("too many entries", many, says),
    ])
}

/// A layer with a file whose path is as long as a system takes any, so that it cannot be named from the machine's root; of the user
/// with this number.
#[must_use]
pub fn longest_path(owner: u32) -> Vec<u8> {
    let folder = format!("{}/", "d".repeat(250)).repeat(16);
    let path = format!("{folder}{}", "f".repeat(4096 - folder.len()));
    new().extended(&[("path", &path), ("uid", &owner.to_string())]).file("cut", "x").end()
}

/// A layer that only looks odd: links that lead anywhere, pipes, devices, names that are used twice. All of it is below the layer's
/// own folder, and the devices `null` and `sda` are left out.
#[must_use]
pub fn odd() -> Vec<u8> {
    new()
        .symlink("up", "../../etc/passwd")
        .symlink("far", "/x/../../etc/passwd")
        .link(b'1', "again", "up")
        .link(b'6', "run/pipe", "")
        .link(b'1', "run/pipe-2", "run/pipe")
        .file("null", "not a device")
        .link(b'3', "null", "")
        .link(b'4', "sda", "")
        .symlink("over", "..")
        .file("over", "a file now")
        .link(b'6', "was-pipe", "")
        .file("was-pipe", "a file now")
        .symlink("out", "../secret")
        .file("out", "mine")
        .end()
}
