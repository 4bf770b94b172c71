//! The node's settings: `node.toml` as written, then checked.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skerry_compute::{FunctionSettings, PciGroups, PciMatchError, VirtualWish};
use skerry_containers::{NoRuntime, OciRuntime};
use skerry_model::{
    Invalid, LogRate, Name, NetworkMode, NetworkSpec, PciAddress, Subnet, TomlTextError, Validate,
    read_toml,
};
use skerry_upkeep::PruneMarks;

/// Largest configuration file that is read: more is a mistake.
const LARGEST: u64 = 64 * 1024;

/// Checked settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Host name for the first boot.
    pub hostname: Option<Name>,
    /// The network `default`, for the first boot.
    pub default_network: NetworkSpec,
    /// Seconds until a login ends.
    pub session_lifetime_s: u64,
    /// How fast logs may grow of containers that do not say.
    pub log_rate: LogRate,
    /// What starts containers.
    pub runtime: OciRuntime,
    /// Log filter.
    pub log_level: String,
    /// Groups of PCI functions that virtual machines may ask for by name.
    pub pci_groups: PciGroups,
    /// Folders of the node, beside its inbox, that images may be brought in from.
    pub import_folders: BTreeMap<Name, PathBuf>,
    /// How full the data partition may become before images go that nothing uses.
    pub image_marks: PruneMarks,
    /// Virtual functions that the node makes.
    pub virtual_functions: Vec<VirtualWish>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("{}: is larger than {LARGEST} bytes; this is not a node configuration", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// Not TOML, an unknown key, or a wrong type.
    #[error(transparent)]
    Text(#[from] TomlTextError),
    /// A value that cannot be.
    #[error("{}: {key}: {reason}", .file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    schema: u32,
    #[serde(default)]
    node: RawNode,
    #[serde(default)]
    network: RawNetwork,
    #[serde(default)]
    sessions: RawSessions,
    #[serde(default)]
    pods: RawPods,
    #[serde(default)]
    containers: RawContainers,
    #[serde(default)]
    log: RawLog,
    #[serde(default)]
    pci_groups: BTreeMap<Name, Vec<String>>,
    #[serde(default)]
    images: RawImages,
    #[serde(default)]
    import_folders: BTreeMap<Name, String>,
    #[serde(default)]
    virtual_functions: Vec<RawVirtual>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVirtual {
    of: PciAddress,
    count: u32,
    group: Name,
    vlan: Option<u16>,
    #[serde(default = "yes")]
    spoof_check: bool,
    #[serde(default)]
    trust: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    hostname: Option<Name>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNetwork {
    default_subnet: String,
}

impl Default for RawNetwork {
    fn default() -> Self {
        Self { default_subnet: "10.88.0.0/24".to_owned() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSessions {
    lifetime_s: u64,
}

impl Default for RawSessions {
    fn default() -> Self {
        Self { lifetime_s: 43_200 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPods {
    log_lines: u32,
    log_interval_s: u32,
}

impl Default for RawPods {
    fn default() -> Self {
        let usual = LogRate::default();
        Self { log_lines: usual.lines, log_interval_s: usual.interval_s }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawContainers {
    runtime: Option<String>,
    family: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawImages {
    prune_above: u8,
    prune_down_to: u8,
}

impl Default for RawImages {
    fn default() -> Self {
        let PruneMarks { above, down_to } = PruneMarks::default();
        Self { prune_above: above, prune_down_to: down_to }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    level: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { file: file.to_owned(), source };
        if fs::metadata(file).map_err(read)?.len() > LARGEST {
            return Err(ConfigError::TooLarge { file: file.to_owned() });
        }
        Self::parse(&fs::read_to_string(file).map_err(read)?, file)
    }

    /// Checks a text; `file` is only named in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let raw: Raw = read_toml(text, file)?;
        let wrong = |key, reason: String| ConfigError::Value { file: file.to_owned(), key, reason };
        if raw.schema != 1 {
            let reason = format!("is {}; this software reads form 1", raw.schema);
            return Err(wrong("schema", reason));
        }
        if !(300..=31_536_000).contains(&raw.sessions.lifetime_s) {
            return Err(wrong("sessions.lifetime_s", "must be 300 to 31536000".to_owned()));
        }
        let pods = &raw.pods;
        if !(1..=1_000_000).contains(&pods.log_lines) {
            return Err(wrong("pods.log_lines", "must be 1 to 1000000".to_owned()));
        }
        if !(1..=3600).contains(&pods.log_interval_s) {
            return Err(wrong("pods.log_interval_s", "must be 1 to 3600".to_owned()));
        }
        let runtime = runtime(&raw.containers).map_err(|(key, reason)| wrong(key, reason))?;
        let marks = PruneMarks { above: raw.images.prune_above, down_to: raw.images.prune_down_to };
        if marks.above > 99 {
            return Err(wrong("images.prune_above", "must be 0 to 99".to_owned()));
        }
        if marks.above > 0 && marks.down_to >= marks.above {
            let reason = format!("must be less than prune_above, which is {}", marks.above);
            return Err(wrong("images.prune_down_to", reason));
        }
        let pci_groups = pci_groups(&raw.pci_groups)
            .map_err(|(name, reason)| wrong("pci_groups", format!("{name}: {reason}")))?;
        let virtual_functions = virtual_functions(raw.virtual_functions)
            .map_err(|reason| wrong("virtual_functions", reason))?;
        let default_network = network(&raw.network.default_subnet)
            .map_err(|reason| wrong("network.default_subnet", reason))?;
        if let Err(error) = raw.log.level.parse::<tracing_subscriber::filter::Targets>() {
            return Err(wrong("log.level", format!("is no log filter ({error})")));
        }
        Ok(Self {
            hostname: raw.node.hostname,
            default_network,
            session_lifetime_s: raw.sessions.lifetime_s,
            log_rate: LogRate { lines: pods.log_lines, interval_s: pods.log_interval_s },
            runtime,
            log_level: raw.log.level,
            pci_groups,
            image_marks: marks,
            import_folders: import_folders(&raw.import_folders)
                .map_err(|(name, reason)| wrong("import_folders", format!("{name}: {reason}")))?,
            virtual_functions,
        })
    }

    /// What is said of PCI functions.
    pub fn functions(&self) -> FunctionSettings {
        FunctionSettings::new(self.pci_groups.clone(), self.virtual_functions.clone())
    }
}

fn runtime(raw: &RawContainers) -> Result<OciRuntime, (&'static str, String)> {
    let usual = OciRuntime::default();
    let program = raw.runtime.clone().unwrap_or_else(|| usual.program.display().to_string());
    OciRuntime::new(&program, raw.family.as_deref()).map_err(|error| match error {
        NoRuntime::Path { .. } => ("containers.runtime", error.to_string()),
        NoRuntime::Family(reason) => ("containers.family", reason),
    })
}

fn pci_groups(raw: &BTreeMap<Name, Vec<String>>) -> Result<PciGroups, (Name, String)> {
    let mut groups = PciGroups::new();
    for (name, texts) in raw {
        let matches: Result<Vec<_>, _> = texts.iter().map(|text| text.parse()).collect();
        let matches = matches.map_err(|error: PciMatchError| (name.clone(), error.to_string()))?;
        groups.insert(name.clone(), matches);
    }
    Ok(groups)
}

/// Name of the inbox, which no other folder has.
pub const INBOX: &str = "import";

/// What is never shown as images: devices, the kernel's files, and what the node keeps secret.
const CLOSED: [&str; 6] = ["/dev", "/etc", "/proc", "/run/skerry", "/sys", "/var/lib/skerry/state"];

fn import_folders(raw: &BTreeMap<Name, String>) -> Result<BTreeMap<Name, PathBuf>, (Name, String)> {
    let checked = |(name, text): (&Name, &String)| match import_folder(name, text) {
        Ok(path) => Ok((name.clone(), path)),
        Err(reason) => Err((name.clone(), reason)),
    };
    raw.iter().map(checked).collect()
}

fn import_folder(name: &Name, text: &str) -> Result<PathBuf, String> {
    if name.as_str() == INBOX {
        return Err("is the name of the node's inbox; take another".to_owned());
    }
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    let parts = text.strip_prefix('/').map(|rest| rest.split('/'));
    if !parts.is_some_and(|mut parts| parts.all(good)) {
        return Err(format!("`{text}` is not the whole path of a folder, such as /srv/images"));
    }
    let path = PathBuf::from(text);
    let meets = |closed: &&str| path.starts_with(closed) || Path::new(closed).starts_with(&path);
    match CLOSED.iter().find(|closed| meets(closed)) {
        Some(closed) => Err(format!("`{text}` is, holds or lies in {closed}, which is closed")),
        None => Ok(path),
    }
}

fn virtual_functions(raw: Vec<RawVirtual>) -> Result<Vec<VirtualWish>, String> {
    let mut wishes: Vec<VirtualWish> = Vec::new();
    for RawVirtual { of, count, group, vlan, spoof_check, trust } in raw {
        if wishes.iter().any(|wish| wish.of == of) {
            return Err(format!("{of}: is listed twice"));
        }
        // The largest number that a function of PCI can have.
        if !(1..=65_535).contains(&count) {
            return Err(format!("{of}: count must be 1 to 65535; leave the entry out for none"));
        }
        if vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return Err(format!("{of}: vlan must be 1 to 4094"));
        }
        wishes.push(VirtualWish { of, count, group, vlan, spoof_check, trust });
    }
    Ok(wishes)
}

fn network(text: &str) -> Result<NetworkSpec, String> {
    let form = || format!("`{text}` is not a subnet such as 10.88.0.0/24");
    let (address, prefix) = text.split_once('/').ok_or_else(form)?;
    let network: Ipv4Addr = address.parse().map_err(|_| form())?;
    let prefix: u8 = prefix.parse().map_err(|_| form())?;
    let spec = NetworkSpec { mode: NetworkMode::Nat, subnet: Subnet { network, prefix } };
    let mut found = Invalid::default();
    spec.validate(&mut found);
    found.into_result().map_err(|invalid| invalid.to_string())?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../../../../config/node.toml");

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("node.toml")).map_err(|error| error.to_string())
    }

    /// Entries of one card.
    fn wishes(entries: &[&str]) -> String {
        let entry = |rest: &&str| {
            format!("[[virtual_functions]]\nof = \"01:00.0\"\ngroup = \"fast\"\n{rest}\n")
        };
        format!("schema = 1\n{}", entries.iter().map(entry).collect::<String>())
    }

    #[test]
    fn virtual_functions_are_read() {
        let config = parse(&wishes(&["count = 4"])).unwrap();
        let [wish] = &config.virtual_functions[..] else { panic!("one") };
        assert_eq!(
            (wish.of.as_str(), wish.count, wish.group.as_str()),
            ("0000:01:00.0", 4, "fast")
        );
        assert_eq!((wish.vlan, wish.spoof_check, wish.trust), (None, true, false));
        let more = wishes(&["count = 1\nvlan = 7\nspoof_check = false\ntrust = true"]);
        let wish = parse(&more).unwrap().virtual_functions[0].clone();
        assert_eq!((wish.vlan, wish.spoof_check, wish.trust), (Some(7), false, true));
    }

    #[test]
    fn the_documented_file_shows_the_defaults() {
        assert_eq!(parse(DOCUMENTED).unwrap(), parse("schema = 1").unwrap());
    }

    #[test]
    fn the_runtime_of_containers_is_read_with_its_family() {
        let runtime =
            |text: &str| parse(&format!("schema = 1\n[containers]\n{text}")).unwrap().runtime;
        assert_eq!(runtime(""), OciRuntime::default());
        let runc = runtime("runtime = \"/usr/sbin/runc\"");
        assert_eq!((runc.to_string().as_str(), runc.family.word()), ("/usr/sbin/runc", "runc"));
        let own = runtime("runtime = \"/opt/ours\"\nfamily = \"crun\"");
        assert_eq!((own.to_string().as_str(), own.family.word()), ("/opt/ours", "crun"));
    }

    #[test]
    fn every_documented_key_exists() {
        let commented_out = DOCUMENTED.replace("# hostname", "hostname");
        assert_eq!(parse(&commented_out).unwrap().hostname.unwrap().as_str(), "skerry-1");
        let family = DOCUMENTED.replace("# family", "family");
        assert_eq!(parse(&family).unwrap(), parse(DOCUMENTED).unwrap());
        let (before, entry) = DOCUMENTED.split_once("# [[virtual_functions]]").unwrap();
        let entry = entry.replace("\n# ", "\n");
        let wishes = parse(&format!("{before}[[virtual_functions]]{entry}")).unwrap();
        assert_eq!(wishes.virtual_functions.len(), 1);
    }

    #[test]
    fn import_folders_are_whole_paths_outside_of_what_is_closed() {
        let folder = |text: &str| parse(&format!("schema = 1\n[import_folders]\na = \"{text}\""));
        let good = folder("/var/lib/skerry/data/images").unwrap();
        assert_eq!(good.import_folders.len(), 1);
        for text in ["", "srv", "/", "/srv/../etc", "/srv//a", "/srv/", "./a", "~"] {
            assert!(folder(text).unwrap_err().contains("is not the whole path"), "{text}");
        }
        for text in ["/etc", "/etc/ssl", "/proc/1/root", "/var", "/var/lib/skerry/state/x", "/run"]
        {
            assert!(folder(text).unwrap_err().contains("which is closed"), "{text}");
        }
    }

    #[test]
    fn pruning_is_switched_off_by_0() {
        let marks =
            |text: &str| parse(&format!("schema = 1\n[images]\n{text}")).unwrap().image_marks;
        assert_eq!(marks(""), PruneMarks { above: 80, down_to: 70 });
        assert_eq!(marks("prune_above = 0").above, 0);
        assert_eq!(marks("prune_above = 50\nprune_down_to = 0").down_to, 0);
    }

    #[test]
    fn refusals_name_file_line_and_key() {
        let error = parse("schema = 1\n[network]\ndefault_subent = \"x\"\n").unwrap_err();
        assert!(error.starts_with("node.toml:3: network.default_subent: "), "{error}");
        for (text, key) in [
            ("schema = 2", "schema"),
            ("schema = 1\n[network]\ndefault_subnet = \"10.0.0.1/24\"", "network.default_subnet"),
            ("schema = 1\n[network]\ndefault_subnet = \"10.0.0.0\"", "network.default_subnet"),
            ("schema = 1\n[sessions]\nlifetime_s = 1", "sessions.lifetime_s"),
            ("schema = 1\n[pods]\nlog_lines = 0", "pods.log_lines"),
            ("schema = 1\n[pods]\nlog_interval_s = 3601", "pods.log_interval_s"),
            ("schema = 1\n[containers]\nruntime = \"crun\"", "containers.runtime: `crun` is not"),
            (
                "schema = 1\n[containers]\nruntime = \"/usr/bin/youki\"",
                "containers.family: cannot be told from the name `youki`",
            ),
            (
                "schema = 1\n[containers]\nfamily = \"docker\"",
                "containers.family: `docker` is no family",
            ),
            ("schema = 1\n[containers]\nrun = \"x\"", "containers.run"),
            ("schema = 1\n[images]\nprune_above = 100", "images.prune_above"),
            ("schema = 1\n[images]\nprune_above = 60", "images.prune_down_to"),
            ("schema = 1\n[images]\nprune_down_to = 80", "images.prune_down_to"),
            (
                "schema = 1\n[pci_groups]\ngpu = [\"x\"]",
                "pci_groups: gpu: `x` is neither an address",
            ),
            (
                "schema = 1\n[import_folders]\nimport = \"/srv\"",
                "import_folders: import: is the name",
            ),
            ("schema = 1\n[log]\nlevel = \"noded=loud\"", "log.level"),
            (wishes(&["count = 0"]).as_str(), "0000:01:00.0: count must be 1 to 65535"),
            (
                wishes(&["count = 1", "count = 2"]).as_str(),
                "virtual_functions: 0000:01:00.0: is listed",
            ),
            (wishes(&["count = 1\nvlan = 4095"]).as_str(), "0000:01:00.0: vlan must be 1 to 4094"),
            (wishes(&["count = 1\nmac = 1"]).as_str(), "virtual_functions"),
            (wishes(&["vlan = 1"]).as_str(), "count"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
