//! What stands on the screen: 24 lines of at most 79 columns, plain characters only.

use skerry_cli::{clean, duration};
use skerry_upkeep::Summary;

/// Widest line: one less than the terminal, since some move to the next line on their own in column 80.
pub const WIDTH: usize = 79;
/// Lines of the terminal.
pub const HEIGHT: usize = 24;
/// Addresses and pages shown at most; key 1 shows all.
const MOST: usize = 3;

/// How the node stands, as far as the console knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Node {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It answers.
    Up(Box<Summary>),
    /// It does not.
    Down {
        /// Since how many seconds.
        seconds: u64,
        /// What was said.
        reason: String,
    },
}

/// The whole screen without the prompt.
pub fn screen(node: &Node, version: &str) -> Vec<String> {
    let mut lines = match node {
        Node::Unknown => {
            let text = "The node's service starts; this screen follows as soon as it answers.";
            vec![title(version, "", "STARTING"), rule(), text.to_owned()]
        }
        Node::Up(summary) => up(summary),
        Node::Down { seconds, reason } => down(version, *seconds, reason),
    };
    lines.push(String::new());
    lines.push(keys(node).to_owned());
    lines.iter().map(|line| fit(line)).take(HEIGHT.saturating_sub(1)).collect()
}

/// The line of keys, also used as a reminder after output.
pub fn keys(node: &Node) -> &'static str {
    match node {
        Node::Up(_) => {
            "1 status  2 workloads  3 log  4 command line  5 restart  6 power off  ? help"
        }
        _ => "3 log  5 restart  6 power off  ? help",
    }
}

fn fit(line: &str) -> String {
    clean(line).chars().take(WIDTH).collect::<String>().trim_end().to_owned()
}

fn title(version: &str, hostname: &str, state: &str) -> String {
    let left = format!("Skerry {}", cut(version, 24));
    let right = format!("{}  {state}", cut(hostname, 40));
    let gap = WIDTH.saturating_sub(left.chars().count()).saturating_sub(right.chars().count());
    format!("{left}{}{right}", " ".repeat(gap))
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

fn rule() -> String {
    "-".repeat(WIDTH)
}

fn up(summary: &Summary) -> Vec<String> {
    let mut lines = vec![title(&summary.version, &summary.hostname, state(summary)), rule()];
    lines.push(field("Node", &summary.node_id));
    list(&mut lines, "Page", &summary.urls, "none: no network card has an address");
    let address = |a: &skerry_model::NicAddress| {
        format!("{}/{} on {} ({})", a.address, a.prefix, a.device, a.origin)
    };
    let addresses: Vec<String> = summary.addresses.iter().map(address).collect();
    list(&mut lines, "Address", &addresses, "none");
    fingerprint(&mut lines, &summary.fingerprint);
    lines.push(field("Workloads", &workloads(summary)));
    lines.push(field("Alarms", &alarms(summary)));
    if !summary.store_healthy {
        lines
            .push(field("Store", "changes, or second copies of them, cannot be kept: see the log"));
    }
    if let Some(code) = summary.claim_code.as_ref().filter(|_| !summary.claimed) {
        lines.push(String::new());
        lines.push(format!("    Claim code   {code}"));
        lines.push(String::new());
        lines.push(
            "This node has no administrator yet: enter the code on the page, or press 4."
                .to_owned(),
        );
    }
    lines
}

fn state(summary: &Summary) -> &'static str {
    let alarms = &summary.alarms;
    match () {
        () if !summary.ready => "STARTING",
        () if alarms.critical > 0 || alarms.major > 0 || !summary.store_healthy => "ATTENTION",
        () => "READY",
    }
}

fn field(name: &str, value: &str) -> String {
    format!("{name:<11}{value}")
}

fn list(lines: &mut Vec<String>, name: &str, values: &[String], none: &str) {
    if values.is_empty() {
        lines.push(field(name, none));
    }
    for (index, value) in values.iter().take(MOST).enumerate() {
        lines.push(field(if index == 0 { name } else { "" }, value));
    }
    if let Some(more) = values.len().checked_sub(MOST).filter(|more| *more > 0) {
        lines.push(field("", &format!("and {more} more: press 1")));
    }
}

/// A SHA-256 with colons has 95 characters: two lines.
fn fingerprint(lines: &mut Vec<String>, text: &str) {
    let octets: Vec<&str> = text.split(':').collect();
    for (index, part) in octets.chunks(16).enumerate() {
        let colon = if octets.len() > 16 && index == 0 { ":" } else { "" };
        lines.push(field(
            if index == 0 { "Cert" } else { "" },
            &format!("{}{colon}", part.join(":")),
        ));
    }
}

fn workloads(summary: &Summary) -> String {
    let counts = &summary.workloads;
    format!(
        "{} of {} virtual machines and {} of {} pods run",
        counts.vms_running, counts.vms, counts.pods_running, counts.pods
    )
}

fn alarms(summary: &Summary) -> String {
    let a = &summary.alarms;
    let all =
        [(a.critical, "critical"), (a.major, "major"), (a.minor, "minor"), (a.warning, "warning")];
    let words: Vec<String> =
        all.iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} {name}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn down(version: &str, seconds: u64, reason: &str) -> Vec<String> {
    let mut lines = vec![title(version, "", "RESCUE"), rule()];
    lines.push(format!("The node's service has not answered for {}:", coarse(seconds)));
    let said: Vec<char> = clean(reason).chars().collect();
    let parts = said.chunks(WIDTH.saturating_sub(2)).take(MOST);
    lines.extend(parts.map(|part| format!("  {}", part.iter().collect::<String>())));
    lines.push(String::new());
    lines.extend(
        [
            "Workloads that run go on running. The service is started again by itself, and",
            "the usual screen returns as soon as it answers. If it does not: 3 shows what it",
            "logged, and a restart helps if memory or a disk got stuck. The same message",
            "after a restart wants a new system image or a new disk. What the node holds on",
            "its disk is not touched by that.",
        ]
        .map(str::to_owned),
    );
    lines
}

/// Steps that grow, so that the screen is not drawn for every second.
fn coarse(seconds: u64) -> String {
    match seconds {
        0..30 => "a few seconds".to_owned(),
        30..120 => "more than half a minute".to_owned(),
        120..300 => "a few minutes".to_owned(),
        300..3600 => format!("{} minutes", seconds / 300 * 5),
        _ => duration(seconds - seconds % 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skerry_model::NicAddress;

    fn summary() -> Summary {
        Summary {
            node_id: "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".into(),
            hostname: "node-0b6d1a52".into(),
            version: "0.1.0".into(),
            claimed: false,
            claim_code: Some("K7QF-3MXD-9TZB".into()),
            urls: vec!["https://10.0.2.15/".into()],
            fingerprint: vec!["A7"; 32].join(":"),
            addresses: vec![NicAddress {
                device: "enp1s0".into(),
                address: "10.0.2.15".parse().unwrap(),
                prefix: 24,
                origin: "dhcp".into(),
            }],
            store_healthy: true,
            ready: true,
            ..Summary::default()
        }
    }

    fn drawn(node: &Node) -> String {
        let lines = screen(node, "0.1.0");
        assert!(lines.len() < HEIGHT, "room for the prompt");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
        lines.join("\n") + "\n"
    }

    #[test]
    fn a_new_node_shows_its_claim_code() {
        let node = Node::Up(Box::new(summary()));
        assert_eq!(drawn(&node), include_str!("golden/unclaimed.txt"));
    }

    #[test]
    fn a_claimed_node_with_alarms() {
        let mut summary = summary();
        summary.claimed = true;
        summary.claim_code = None;
        summary.alarms.major = 1;
        summary.alarms.warning = 2;
        summary.workloads.vms = 2;
        summary.workloads.vms_running = 1;
        summary.urls = (1..=5).map(|n| format!("https://10.0.{n}.15/")).collect();
        assert_eq!(drawn(&Node::Up(Box::new(summary))), include_str!("golden/claimed.txt"));
    }

    #[test]
    fn a_node_without_network_says_so() {
        let mut summary = summary();
        (summary.urls, summary.addresses, summary.ready) = (vec![], vec![], false);
        assert_eq!(drawn(&Node::Up(Box::new(summary))), include_str!("golden/no-network.txt"));
    }

    #[test]
    fn a_silent_node_gets_the_rescue_screen() {
        let reason = "the node service cannot be reached at /run/skerry/noded.sock".to_owned();
        let node = Node::Down { seconds: 45, reason };
        assert_eq!(drawn(&node), include_str!("golden/rescue.txt"));
        assert_eq!(drawn(&Node::Unknown), include_str!("golden/unknown.txt"));
    }

    #[test]
    fn no_sentence_of_our_own_is_cut() {
        let node = Node::Down { seconds: 45, reason: String::new() };
        let lines = up(&summary()).into_iter().chain(down("0.1.0", 45, ""));
        for line in lines.chain([keys(&node).to_owned()]) {
            assert_eq!(fit(&line), line.trim_end());
        }
    }

    #[test]
    fn time_passes_in_steps() {
        assert_eq!(coarse(31), coarse(119));
        assert_eq!(coarse(130), "a few minutes");
        assert_eq!(coarse(610), coarse(899));
        assert_eq!(coarse(86_400 * 3 + 5), "3d 0h");
    }

    proptest! {
        #[test]
        fn whatever_the_node_says_fits(
            hostname in "\\PC*|[\\x00-\\x1f]{0,9}", code in "\\PC{0,200}", reason in "\\PC*|[\\x1b\\r\\n\\[2J]{0,9}",
            urls in proptest::collection::vec("\\PC{0,100}", 0..30), seconds: u64,
        ) {
            let mut summary = summary();
            summary.hostname = hostname.clone();
            summary.version = hostname.clone();
            summary.claim_code = Some(code);
            summary.urls = urls;
            summary.fingerprint = hostname;
            for node in [Node::Up(Box::new(summary)), Node::Down { seconds, reason }] {
                for line in drawn(&node).lines() {
                    prop_assert!(line.chars().all(|c| !c.is_control()));
                }
            }
        }
    }
}
