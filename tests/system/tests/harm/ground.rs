//! The node as it stood before anything came, to compare it with.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::Value;
use skerry_corpus_tests::CANARY;
use skerry_system_tests::{NodeUnderTest, SOON};

pub struct Ground {}

impl Ground {
    pub async fn new(node: &mut NodeUnderTest) -> anyhow::Result<Self> {
        for l in [
            "ls -la /var/lib/skerry/data/ /var/lib/skerry/data/layers /var/lib/skerry/data/layers/tmp",
            "free -m",
            "find /run /tmp /dev /var -printf '%y %m %p\\n' 2>/dev/null | sort > /run/before; wc /run/before",
        ] {
            println!("{}", node.shell(l)?);
        }
        Ok(Self {})
    }
    pub async fn holds(
        &self,
        node: &mut NodeUnderTest,
        _: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        for l in [
            "ls -la /var/lib/skerry/data/layers /var/lib/skerry/data/layers/tmp",
            "free -m",
            "systemctl show -p MemoryPeak -p MemoryCurrent -p NRestarts skerry-noded",
            "grep VmHWM /proc/$(systemctl show -p MainPID --value skerry-noded)/status",
            "find /run /tmp /dev /var -printf '%y %m %p\\n' 2>/dev/null | sort > /run/during; wc /run/during; diff /run/before /run/during | tail -30",
        ] {
            println!("{}", node.shell(l)?);
        }
        Ok(())
    }
    pub async fn is_as_before(&self, node: &mut NodeUnderTest) -> anyhow::Result<()> {
        for l in [
            "ls -la /var/lib/skerry/data/layers /var/lib/skerry/data/layers/tmp",
            "free -m",
            "find /run /tmp /dev /var -printf '%y %m %p\\n' 2>/dev/null | sort > /run/after; wc /run/after; diff /run/before /run/after | tail -150",
            "journalctl -b -u skerry-noded | grep 'step failed' | wc -l",
            "journalctl -b -u skerry-noded -o cat | grep 'step failed' | head -20",
        ] {
            println!("{}", node.shell(l)?);
        }
        Ok(())
    }
}
