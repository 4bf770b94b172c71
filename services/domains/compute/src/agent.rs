//! What a guest's agent may be asked, and how its answers are read.
//!
//! Pure. [`AgentCommand`] is the whole list: nothing here can run a program in a guest or read its files. The
//! agent is a program inside the guest, so its answers are what an attacker wants them to be: they are bounded
//! in length and number, and text from them is made harmless before anybody sees it. Nothing may be decided by
//! them that matters to anybody but the guest's owner.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use skerry_model::{GuestInterface, GuestReport, Hidden};

/// A longer answer is not read, in bytes.
pub const LONGEST_ANSWER: usize = 256 * 1024;

/// Interfaces that are told of, addresses of one of them, and bytes of one text.
const MOST_INTERFACES: usize = 32;
const MOST_ADDRESSES: usize = 32;
const LONGEST_TEXT: usize = 64;
/// Bytes of a refusal.
const LONGEST_REASON: usize = 200;

/// The line from the hypervisor to the agent in a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AgentLink {
    /// It has none.
    #[default]
    Absent,
    /// Nobody in the guest listens.
    Silent,
    /// A program in the guest has opened it.
    Connected,
}

/// Something that an agent may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentCommand {
    /// What it is.
    Info,
    /// The guest's network interfaces.
    Interfaces,
    /// Bring the file systems to rest.
    Freeze,
    /// Let them go on.
    Thaw,
    /// Set the password of an account in the guest.
    SetPassword {
        /// The account.
        user: String,
        /// The password.
        password: Hidden,
    },
    /// Shut the guest down. A good agent does not answer this.
    Shutdown,
}

impl AgentCommand {
    /// The agent's own name for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Info => "guest-info",
            Self::Interfaces => "guest-network-get-interfaces",
            Self::Freeze => "guest-fsfreeze-freeze",
            Self::Thaw => "guest-fsfreeze-thaw",
            Self::SetPassword { .. } => "guest-set-user-password",
            Self::Shutdown => "guest-shutdown",
        }
    }

    /// How long the agent has to answer. Bringing file systems to rest writes out what they hold in memory.
    pub const fn deadline(&self) -> Duration {
        match self {
            Self::Freeze => Duration::from_secs(30),
            Self::Thaw => Duration::from_secs(10),
            _ => Duration::from_secs(5),
        }
    }

    /// What is sent. It may hold a password, and must not reach a log.
    pub fn text(&self) -> Hidden {
        let command = match self {
            Self::SetPassword { user, password } => json!({
                "execute": self.name(),
                "arguments": {
                    "username": user,
                    "password": STANDARD.encode(password.reveal()),
                    "crypted": false,
                },
            }),
            Self::Shutdown => json!({
                "execute": self.name(), "arguments": { "mode": "powerdown" },
            }),
            _ => json!({ "execute": self.name() }),
        };
        Hidden::new(command.to_string())
    }
}

/// Why an answer was not understood. Nothing of the answer is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is too long.
    #[error("the answer of the guest's agent is longer than {LONGEST_ANSWER} bytes")]
    TooLong,
    /// It has another form than it should.
    #[error("the answer of the guest's agent has another form than it should")]
    Form,
}

#[derive(Deserialize)]
struct Answer<T> {
    #[serde(rename = "return")]
    result: T,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Interface {
    name: String,
    #[serde(default)]
    hardware_address: String,
    #[serde(default)]
    ip_addresses: Vec<Address>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Address {
    ip_address: String,
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, AnswerError> {
    if text.len() > LONGEST_ANSWER {
        return Err(AnswerError::TooLong);
    }
    let answer: Answer<T> = serde_json::from_str(text).map_err(|_| AnswerError::Form)?;
    Ok(answer.result)
}

/// The agent's version.
fn read_info(text: &str) -> Result<String, AnswerError> {
    read::<Info>(text).map(|info| harmless(&info.version))
}

/// The guest's interfaces. Loopback is left out; what is too much is, too.
fn read_interfaces(text: &str) -> Result<Vec<GuestInterface>, AnswerError> {
    let interfaces = read::<Vec<Interface>>(text)?;
    let outward = |interface: &GuestInterface| {
        interface.name != "lo" && !interface.addresses.iter().any(IpAddr::is_loopback)
    };
    Ok(interfaces.into_iter().map(interface).filter(outward).take(MOST_INTERFACES).collect())
}

/// Reads the answer to [`AgentCommand::Freeze`] and [`AgentCommand::Thaw`]: how many file systems.
pub fn read_count(text: &str) -> Result<u32, AnswerError> {
    read::<u32>(text)
}

/// Reads the answer to a command that has nothing to say but that it was done.
pub fn read_done(text: &str) -> Result<(), AnswerError> {
    read::<Value>(text).map(drop)
}

/// Reads the answers to [`AgentCommand::Info`] and [`AgentCommand::Interfaces`].
pub fn read_report(info: &str, interfaces: &str) -> Result<GuestReport, AnswerError> {
    let (agent_version, interfaces) = (read_info(info)?, read_interfaces(interfaces)?);
    Ok(GuestReport { agent_version, interfaces })
}

fn interface(told: Interface) -> GuestInterface {
    let addresses = told.ip_addresses.into_iter().filter_map(|a| a.ip_address.parse().ok());
    let mac = told.hardware_address.to_ascii_lowercase();
    let is_mac = mac.len() == 17 && mac.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    GuestInterface {
        name: harmless(&told.name),
        mac: if is_mac { mac } else { String::new() },
        addresses: addresses.take(MOST_ADDRESSES).collect(),
    }
}

/// A refusal in which the agent's own words may stand, as one short line of plain characters.
pub fn harmless_reason(text: &str) -> String {
    plain(text, LONGEST_REASON)
}

fn harmless(text: &str) -> String {
    plain(text, LONGEST_TEXT)
}

/// One line of plain characters, cut: neither a terminal nor a page takes it for anything but text.
fn plain(text: &str, longest: usize) -> String {
    let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(longest).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERFACES: &str = r#"{"return":[
        {"name":"lo","ip-addresses":[{"ip-address-type":"ipv4","ip-address":"127.0.0.1","prefix":8}]},
        {"name":"eth0","hardware-address":"02:00:00:00:00:0A","statistics":{"rx-bytes":1},
         "ip-addresses":[{"ip-address-type":"ipv4","ip-address":"10.88.0.2","prefix":24},
                         {"ip-address-type":"ipv6","ip-address":"fe80::1","prefix":64}]},
        {"name":"wg0"}]}"#;

    #[test]
    fn commands_are_as_the_agent_knows_them() {
        let text = |command: AgentCommand| command.text().reveal().to_owned();
        assert_eq!(text(AgentCommand::Freeze), r#"{"execute":"guest-fsfreeze-freeze"}"#);
        assert_eq!(
            text(AgentCommand::Shutdown),
            r#"{"arguments":{"mode":"powerdown"},"execute":"guest-shutdown"}"#
        );
        let password = Hidden::new("a\"b");
        let command = AgentCommand::SetPassword { user: "ro\"ot".into(), password };
        assert!(!format!("{command:?} {:?}", command.text()).contains("a\"b"));
        let sent: Value = serde_json::from_str(command.text().reveal()).unwrap();
        assert_eq!(
            sent["arguments"],
            json!({"username": "ro\"ot", "password": "YSJi", "crypted": false})
        );
    }

    #[test]
    fn what_an_honest_agent_says_is_read() {
        let info =
            r#"{"return":{"version":"10.0.2","supported_commands":[{"name":"guest-ping"}]}}"#;
        let report = read_report(info, INTERFACES).unwrap();
        assert_eq!(report.agent_version, "10.0.2");
        let names: Vec<_> = report.interfaces.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["eth0", "wg0"]);
        assert_eq!(report.interfaces[0].mac, "02:00:00:00:00:0a");
        assert_eq!(report.interfaces[0].addresses.len(), 2);
        assert_eq!((read_count(r#"{"return":3}"#), read_done(r#"{"return":{}}"#)), (Ok(3), Ok(())));
    }

    #[test]
    fn what_makes_no_sense_is_refused_or_left_out() {
        for text in ["", "{}", r#"{"return":{}}"#, r#"{"error":{}}"#, "[", r#"{"return":"eth0"}"#] {
            assert_eq!(read_interfaces(text), Err(AnswerError::Form), "{text}");
        }
        for text in [r#"{"return":-1}"#, r#"{"return":1e99}"#, r#"{"return":4294967296}"#] {
            assert_eq!(read_count(text), Err(AnswerError::Form), "{text}");
        }
        let deep = "[".repeat(50_000);
        assert_eq!(read_interfaces(&format!("{{\"return\":{deep}")), Err(AnswerError::Form));
        let odd = r#"{"return":[{"name":"\u001b]0;x\u0007<b>","hardware-address":"<script>-----",
            "ip-addresses":[{"ip-address":"1.2.3.4; rm"}]}]}"#;
        let read = read_interfaces(odd).unwrap();
        assert_eq!((read[0].name.as_str(), read[0].mac.as_str()), ("?]0;x?<b>", ""));
        assert!(read[0].addresses.is_empty());
        let long = " ".repeat(LONGEST_ANSWER + 1);
        assert_eq!(read_done(&long), Err(AnswerError::TooLong));
    }

    fn bounded(interfaces: &[GuestInterface]) -> bool {
        interfaces.len() <= MOST_INTERFACES
            && interfaces.iter().all(|i| {
                i.addresses.len() <= MOST_ADDRESSES
                    && i.name.chars().count() <= LONGEST_TEXT
                    && i.name.chars().all(|c| c.is_ascii_graphic() || c == ' ')
                    && (i.mac.is_empty() || i.mac.len() == 17)
            })
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in any::<String>()) {
            let _ = (read_info(&text), read_count(&text), read_done(&text));
            if let Ok(interfaces) = read_interfaces(&text) {
                prop_assert!(bounded(&interfaces));
            }
        }

        #[test]
        fn whatever_is_in_it_what_is_read_is_bounded_and_harmless(
            names in prop::collection::vec((any::<String>(), any::<String>()), 0..80),
            addresses in prop::collection::vec("[0-9a-f:.]{0,20}|10\\.0\\.0\\.[0-9]", 0..80),
        ) {
            let addresses: Vec<Value> =
                addresses.iter().map(|a| json!({ "ip-address": a, "prefix": 1 })).collect();
            let list: Vec<Value> = names
                .iter()
                .map(|(name, mac)| json!({
                    "name": name, "hardware-address": mac, "ip-addresses": addresses,
                }))
                .collect();
            let text = json!({ "return": list }).to_string();
            let read = read_interfaces(&text).unwrap();
            prop_assert!(bounded(&read));
        }

        #[test]
        fn a_cut_answer_is_no_answer(cut in 0..INTERFACES.len()) {
            prop_assume!(INTERFACES.is_char_boundary(cut));
            prop_assert_eq!(read_interfaces(&INTERFACES[..cut]), Err(AnswerError::Form));
        }
    }
}
