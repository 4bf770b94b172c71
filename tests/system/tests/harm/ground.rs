//! The node as it stood before anything came, and what no layer may change of it.

use std::time::Instant;

use anyhow::{bail, ensure};
use serde_json::Value;
use skerry_corpus_tests::CANARY;
use skerry_system_tests::{NodeUnderTest, SOON};

const DATA: &str = "/var/lib/skerry/data";

/// Folders of the node that layers try to reach.
const AIMS: [&str; 8] = [
    "/run",
    "/tmp",
    "/var",
    "/var/lib/skerry",
    DATA,
    "/var/lib/skerry/data/layers",
    "/var/lib/skerry/data/layers/tmp",
    "/var/lib/skerry/state",
];

/// What noded may have had of memory at most, in KiB: with a hundred pods it has 39 MiB.
const MOST_MEMORY: u64 = 128 << 10;
/// What of the node's memory may be another's in the end, in KiB: its caches breathe.
const BREATH: u64 = 96 << 10;

pub struct Ground {
    good: Value,
    memory: u64,
}

impl Ground {
    /// Puts a canary wherever a path that climbs would come to, and looks at everything once.
    pub async fn new(node: &mut NodeUnderTest) -> anyhow::Result<Self> {
        for folder in AIMS {
            node.shell(&format!("echo untouched > {folder}/{CANARY}"))?;
        }
        node.shell(&format!("{} > /run/harm-before", list()))?;
        node.shell(&format!("{} > /run/harm-canaries", canaries()))?;
        Ok(Self { good: good(node).await?, memory: free(node)? })
    }

    /// While the pods are still there: nothing was reached, nothing is half done, and the node is well.
    pub async fn holds(&self, node: &mut NodeUnderTest) -> anyhow::Result<()> {
        let mut wrong = Vec::new();
        for (what, line) in [
            (
                "a canary that is not what it was",
                format!("{} | diff /run/harm-canaries -; true", canaries()),
            ),
            ("half a layer", format!("ls -A {DATA}/layers/tmp | grep -v {CANARY}; true")),
            ("an upload", format!("ls -A {DATA}/spool {DATA}/pulls | grep -v : ; true")),
            ("a reader of layers", "pgrep -a skerry-unpack; true".to_owned()),
            ("a device, or a program with its owner's rights", odd_files()),
            (
                "a stray file",
                "find /tmp /run /var -name skerry-absolute 2>/dev/null; true".to_owned(),
            ),
            ("a restart", restarts()),
            (
                "a kill",
                "journalctl -b -k -o cat | grep -iE 'out of memory|oom-kill'; true".to_owned(),
            ),
        ] {
            let found = node.shell(&line)?;
            if !found.trim().is_empty() {
                wrong.push(format!("{what}: {found}"));
            }
        }
        ensure!(wrong.is_empty(), "there is {}", wrong.join("\n"));
        let now = good(node).await?;
        ensure!(now == self.good, "the good pod was {}, and is {now}", self.good);
        let peak = number(node, &format!("grep VmHWM /proc/{NODED}/status"))?;
        ensure!(peak < MOST_MEMORY, "noded had {peak} KiB");
        Ok(())
    }

    /// When all is deleted: the node has the files that it had, and its memory.
    pub async fn is_as_before(&self, node: &mut NodeUnderTest) -> anyhow::Result<()> {
        let end = Instant::now() + SOON;
        loop {
            let different = node.shell(&format!("{} | diff /run/harm-before -; true", list()))?;
            if different.is_empty() {
                break;
            }
            // What goes with a pod goes a moment after its record.
            if Instant::now() > end {
                bail!("the node's files are not those of before:\n{different}");
            }
        }
        self.holds(node).await?;
        let memory = free(node)?;
        ensure!(memory + BREATH > self.memory, "{} KiB were free, and {memory} are", self.memory);
        Ok(())
    }
}

const NODED: &str = "$(systemctl show -p MainPID --value skerry-noded)";

/// The good pod's process, and how often it began.
async fn good(node: &NodeUnderTest) -> anyhow::Result<Value> {
    let pod = node.get("/api/v1/pods/good").await?;
    ensure!(pod["status"]["state"] == "running", "{}", pod["status"]);
    Ok(pod["status"]["containers"].clone())
}

fn number(node: &mut NodeUnderTest, line: &str) -> anyhow::Result<u64> {
    let text = node.shell(line)?;
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

/// KiB that are free or could be.
fn free(node: &mut NodeUnderTest) -> anyhow::Result<u64> {
    number(node, "grep MemAvailable /proc/meminfo")
}

/// Lists what there is where anything can be written, but for what comes and goes by itself: the journal, the store's own
/// copies, what the service manager and the kernel have of anything that runs, data that is seen there a second time, and the
/// folders that the first import makes.
fn list() -> String {
    let passing = [
        "/run/systemd",
        "/run/udev",
        "/run/log",
        "/run/harm-*",
        "/run/skerry/seen",
        "/dev/char",
        "/dev/pts",
        "*/checkpoints",
        "/var/lib/skerry/data/journal",
    ];
    let prune: Vec<String> = passing.iter().map(|path| format!("-path '{path}'")).collect();
    let prune = format!("\\( {} \\) -prune", prune.join(" -o "));
    let made = format!(
        "-path '{DATA}/images' -o -path '{DATA}/images/work' -o -path '{DATA}/blobs*' -type d"
    );
    format!(
        "find /run /tmp /dev /var -ignore_readdir_race {prune} -o \\( {made} \\) -o -printf '%y %m %u %p\\n' | sort"
    )
}

/// Content, change and identity of each canary.
fn canaries() -> String {
    let all: Vec<String> = AIMS.iter().map(|folder| format!("{folder}/{CANARY}")).collect();
    format!("{{ stat -c '%n %i %h %a %s %Y' {0}; cat {0}; }}", all.join(" "))
}

/// Devices and programs with their owner's rights where layers lie; marks of deletion are devices, too.
fn odd_files() -> String {
    let passing = "-not -path '*/journal/*' -not -path '/run/systemd/*'";
    let sorts = "\\( -type b -o -type c -o -type f -perm /6000 \\)";
    format!("find {DATA} /tmp /var /run -xdev {sorts} {passing} 2>/dev/null; true")
}

/// Says what of the node's services is not as at the first start of each.
fn restarts() -> String {
    "systemctl show -p NRestarts -p ActiveState 'skerry-*.service' | \
     grep -vx -e NRestarts=0 -e ActiveState=active -e ''; systemctl --failed --plain --no-legend; true"
        .to_owned()
}

/// Leaves so little of the data partition that half of what the node keeps to itself is not far, and watches from now on how little
/// there is.
pub fn fill(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let (size, free) = (blocks(node, "size")?, blocks(node, "avail")?);
    let take = free - kept(size) - LEFT;
    node.shell(&format!("fallocate -l {take}K {DATA}/{CANARY}.fill"))?;
    let ask = format!("df --output=avail {DATA} | tail -n 1 >> /run/harm-free");
    let watch = format!("while [ -e {DATA}/{CANARY}.fill ]; do {ask}; sleep 0.2; done");
    node.shell(&format!("{watch} > /dev/null 2>&1 &"))?;
    Ok(())
}

/// KiB that a layer may take yet.
const LEFT: u64 = 24 << 10;

/// KiB that layers leave free of so many: half of a tenth, or of 256 MiB.
fn kept(size: u64) -> u64 {
    (size / 10).max(256 << 10) / 2
}

fn blocks(node: &mut NodeUnderTest, what: &str) -> anyhow::Result<u64> {
    number(node, &format!("df -k --output={what} {DATA} | tail -n 1"))
}

/// There was always room for others, and there is as much as before.
pub fn had_room(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let least = number(node, "sort -n /run/harm-free | head -n 1")?;
    let (size, free) = (blocks(node, "size")?, blocks(node, "avail")?);
    node.shell(&format!("rm {DATA}/{CANARY}.fill"))?;
    println!("{least} KiB were left at the least, {} are to be, {free} are left now", kept(size));
    // The file system is asked again after each 8 MiB.
    ensure!(least + (16 << 10) > kept(size), "a layer took all but {least} KiB");
    ensure!(
        free + (4 << 10) > kept(size) + LEFT,
        "of a layer that was too large something is left"
    );
    Ok(())
}
