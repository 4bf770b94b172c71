//! The words about a virtual machine's processor and its place on the machine.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use skerry_model::{CpuSet, CpuTopology};

/// Which processor its guest sees, and what of the machine it has for itself.
#[derive(Debug, Default, Args)]
pub struct Placing {
    /// Virtual processors
    #[arg(long, value_name = "COUNT")]
    pub vcpus: Option<u32>,
    /// Virtual processors that it may be given while it runs
    #[arg(long, value_name = "COUNT")]
    pub max_vcpus: Option<u32>,
    /// Memory in MiB that it may be given while it runs: what it has and a multiple of 128
    #[arg(long, value_name = "MIB")]
    pub max_memory: Option<u64>,
    /// Processor that its guest sees: host-passthrough, host-model, or the name of a model
    #[arg(long, value_name = "MODEL")]
    pub cpu_model: Option<String>,
    /// How its virtual processors are arranged: sockets, cores of each, threads of each, such as 1x2x2
    #[arg(long, value_name = "SxCxT", value_parser = topology)]
    pub cpu_topology: Option<CpuTopology>,
    /// Give it processors of the machine that no other guest has; the node chooses whole cores
    #[arg(long, conflicts_with = "cpu_set")]
    pub dedicated_cpus: bool,
    /// Give it these processors of the machine for itself, as many as it has virtual ones, such as 2-5
    #[arg(long, value_name = "LIST")]
    pub cpu_set: Option<CpuSet>,
    /// Make its memory of huge pages, which the machine must have set aside
    #[arg(long, value_enum)]
    pub huge_pages: Option<Pages>,
    /// From how many NUMA nodes it may have dedicated processors and huge pages
    #[arg(long, value_enum)]
    pub numa: Option<Numa>,
    /// Queues of its network interface and of each virtio disk
    #[arg(long, value_name = "COUNT")]
    pub queues: Option<u32>,
    /// Threads of QEMU that work on its disks alone
    #[arg(long, value_name = "COUNT")]
    pub io_threads: Option<u32>,
    /// Its share of processors that are short, against those of others; 100 if not given
    #[arg(long, value_name = "1-10000")]
    pub cpu_weight: Option<u32>,
    /// What it may use of the processors at most, in percent of one: 150 is one and a half
    #[arg(long, value_name = "PERCENT")]
    pub cpu_limit: Option<u32>,
    /// PCI function that it has for itself: an address, as `skerry inventory` lists it, or a group of the node's settings;
    /// for a virtual function of a network card also its Ethernet address and VLAN, such as fast-net,mac=02:00:00:00:00:07,vlan=100
    #[arg(long, value_name = "ADDRESS|GROUP[,mac=MAC][,vlan=VLAN]", value_parser = pci)]
    pub pci: Vec<Value>,
}

/// Sizes of huge pages.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Pages {
    /// 2 MiB
    #[value(name = "2Mi")]
    Mib2,
    /// 1 GiB
    #[value(name = "1Gi")]
    Gib1,
}

/// From how many NUMA nodes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Numa {
    /// From one
    Single,
    /// From several, if none has enough
    Spread,
}

/// `1x2x2`.
fn topology(text: &str) -> Result<CpuTopology, String> {
    let wrong = || "write SOCKETSxCORESxTHREADS, such as 1x2x2".to_owned();
    let numbers: Result<Vec<u32>, _> = text.split('x').map(str::parse).collect();
    match numbers.map_err(|_| wrong())?.as_slice() {
        [sockets, cores, threads] => {
            Ok(CpuTopology { sockets: *sockets, cores: *cores, threads: *threads })
        }
        _ => Err(wrong()),
    }
}

/// What looks like an address is one; the node refuses a group that there is not.
fn pci(text: &str) -> Result<Value, String> {
    let mut parts = text.split(',');
    let which = parts.next().unwrap_or_default();
    let key = if which.contains(':') { "address" } else { "group" };
    let mut wish = Map::new();
    wish.insert(key.to_owned(), json!(which));
    for part in parts {
        let (key, value) = match part.split_once('=') {
            Some(("mac", mac)) => ("mac", json!(mac)),
            Some(("vlan", vlan)) => {
                let number: Result<u16, _> = vlan.parse();
                (
                    "vlan",
                    json!(number.map_err(|_| format!("`{vlan}` is no VLAN: write 1 to 4094"))?),
                )
            }
            _ => return Err(format!("`{part}` is neither mac=… nor vlan=…")),
        };
        if wish.insert(key.to_owned(), value).is_some() {
            return Err(format!("{key} is given twice"));
        }
    }
    Ok(Value::Object(wish))
}

impl Placing {
    /// Puts what was given into a spec; the node's defaults hold for the rest.
    pub fn add_to(&self, spec: &mut Map<String, Value>) {
        let mut insert = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                spec.insert(key.to_owned(), value);
            }
        };
        let mut cpu = Map::new();
        if let Some(model) = &self.cpu_model {
            cpu.insert("model".to_owned(), json!(model));
        }
        if let Some(topology) = self.cpu_topology {
            cpu.insert("topology".to_owned(), json!(topology));
        }
        if self.dedicated_cpus {
            cpu.insert("dedicated".to_owned(), json!(true));
        }
        if let Some(set) = &self.cpu_set {
            cpu.insert("set".to_owned(), json!(set));
        }
        insert("vcpus", self.vcpus.map(Value::from));
        insert("max_vcpus", self.max_vcpus.map(Value::from));
        insert("max_memory_mib", self.max_memory.map(Value::from));
        insert("cpu", (!cpu.is_empty()).then_some(Value::Object(cpu)));
        let pages = self.huge_pages.map(|pages| match pages {
            Pages::Mib2 => json!("2Mi"),
            Pages::Gib1 => json!("1Gi"),
        });
        insert("huge_pages", pages);
        let numa = self.numa.map(|numa| match numa {
            Numa::Single => json!("single"),
            Numa::Spread => json!("spread"),
        });
        insert("numa", numa);
        insert("queues", self.queues.map(Value::from));
        insert("io_threads", self.io_threads.map(Value::from));
        insert("cpu_weight", self.cpu_weight.map(Value::from));
        insert("cpu_limit_percent", self.cpu_limit.map(Value::from));
        insert("pci", (!self.pci.is_empty()).then(|| Value::Array(self.pci.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        placing: Placing,
    }

    fn spec(words: &[&str]) -> Result<Value, clap::Error> {
        let line = <Line as clap::Parser>::try_parse_from([&["create"], words].concat())?;
        let mut spec = Map::new();
        line.placing.add_to(&mut spec);
        Ok(Value::Object(spec))
    }

    #[test]
    fn words_become_fields_and_what_is_not_said_stays_out() {
        assert_eq!(spec(&[]).unwrap(), json!({}));
        let all = "--vcpus 4 --cpu-model EPYC-v4 --cpu-topology 1x2x2 --cpu-set 2-3,6-7 --huge-pages 1Gi \
                   --numa spread --queues 2";
        let all: Vec<&str> = all.split_whitespace().collect();
        let topology = json!({"sockets": 1, "cores": 2, "threads": 2});
        let cpu = json!({"model": "EPYC-v4", "topology": topology, "set": "2-3,6-7"});
        let wanted =
            json!({"vcpus": 4, "cpu": cpu, "huge_pages": "1Gi", "numa": "spread", "queues": 2});
        assert_eq!(spec(&all).unwrap(), wanted);
        assert_eq!(spec(&["--max-vcpus", "8"]).unwrap(), json!({"max_vcpus": 8}));
        assert_eq!(spec(&["--max-memory", "512"]).unwrap(), json!({"max_memory_mib": 512}));
        assert_eq!(spec(&["--io-threads", "2"]).unwrap(), json!({"io_threads": 2}));
        let pci = json!([{"address": "01:00.0"}, {"group": "gpu"}]);
        assert_eq!(spec(&["--pci", "01:00.0", "--pci", "gpu"]).unwrap(), json!({"pci": pci}));
        let part = json!([{"group": "fast", "mac": "02:00:00:00:00:07", "vlan": 9}]);
        let words = ["--pci", "fast,mac=02:00:00:00:00:07,vlan=9"];
        assert_eq!(spec(&words).unwrap(), json!({"pci": part}));
        assert_eq!(spec(&["--dedicated-cpus"]).unwrap(), json!({"cpu": {"dedicated": true}}));
        for bad in [
            &["--cpu-topology", "2x2"][..],
            &["--cpu-topology", "ax1x1"],
            &["--cpu-set", "5-2"],
            &["--huge-pages", "4Mi"],
            &["--pci", "fast,vlan=x"],
            &["--pci", "fast,vlan=1,vlan=2"],
            &["--pci", "fast,address=01:00.0"],
            &["--dedicated-cpus", "--cpu-set", "2"],
        ] {
            assert!(spec(bad).is_err(), "{bad:?}");
        }
    }
}
