//! The partition table, read from `image/layout.toml`.
//!
//! This is the only reader of that file in the build. It renders the systemd-repart definitions for the image and
//! for the first boot, and the limits that the initrd checks. It must not know anything else about the image.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The whole of `layout.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Format of the file; 1 is the only one.
    pub schema: u32,
    /// UUID from which systemd-repart derives all partition identifiers.
    pub seed: String,
    /// Smallest disk on which the node starts.
    pub minimum_disk_mib: u64,
    /// Smallest memory, as Linux counts it, with which the node starts.
    pub minimum_memory_mib: u64,
    /// Partitions in the order in which they lie on the disk.
    #[serde(rename = "partition")]
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// GPT label; unique, and the name by which everything else refers to the partition.
    pub label: String,
    /// Type as systemd-repart names it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Fixed size. Exactly one of this and `minimum_mib` is set.
    pub size_mib: Option<u64>,
    /// Smallest size of a partition that takes what is left of the disk.
    pub minimum_mib: Option<u64>,
    /// File system to make.
    pub format: Option<String>,
    /// When the partition is made.
    #[serde(default)]
    pub made: Made,
    /// Where the node mounts it.
    pub mount: Option<String>,
}

/// When a partition is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Made {
    /// It is part of the image.
    #[default]
    Image,
    /// The node makes it when it first starts.
    FirstBoot,
}

impl Layout {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// When the file cannot be read, does not parse, or contradicts itself.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    /// Parses and checks the text of the file.
    ///
    /// # Errors
    /// When the text does not parse or contradicts itself.
    pub fn parse(text: &str) -> Result<Self> {
        let layout: Self = toml::from_str(text)?;
        layout.check()?;
        Ok(layout)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.schema == 1, "schema is {}, only 1 is known", self.schema);
        let mut labels = std::collections::BTreeSet::new();
        let mut first_boot = false;
        for (index, partition) in self.partitions.iter().enumerate() {
            let label = &partition.label;
            ensure!(labels.insert(label), "label {label} is used twice");
            match (partition.size_mib, partition.minimum_mib) {
                (Some(_), None) => {}
                (None, Some(_)) => ensure!(
                    index + 1 == self.partitions.len(),
                    "{label} takes the rest of the disk but is not the last partition"
                ),
                _ => bail!("{label} needs size_mib or minimum_mib, and only one of them"),
            }
            ensure!(
                !first_boot || partition.made == Made::FirstBoot,
                "{label} is part of the image but comes after a partition made at first boot"
            );
            first_boot |= partition.made == Made::FirstBoot;
            ensure!(
                partition.made == Made::Image || partition.format.is_some(),
                "{label} is made at first boot but has no format"
            );
        }
        let needed = self.used_mib();
        ensure!(
            needed <= self.minimum_disk_mib,
            "the partitions need {needed} MiB but minimum_disk_mib is {}",
            self.minimum_disk_mib
        );
        Ok(())
    }

    /// Space that all partitions need at least, with the two copies of the partition table.
    #[must_use]
    pub fn used_mib(&self) -> u64 {
        2 + self.partitions.iter().filter_map(|p| p.size_mib.or(p.minimum_mib)).sum::<u64>()
    }

    /// Definitions for the build: the partitions of the image, filled for slot A only.
    #[must_use]
    pub fn image_definitions(&self) -> Vec<(String, String)> {
        self.render(
            |p| p.made == Made::Image,
            |p, text| {
                if let Some(format) = &p.format {
                    let _ = writeln!(text, "Format={format}\nCopyFiles=/:/");
                }
                match p.label.as_str() {
                    "root-a" => text.push_str("Verity=data\nVerityMatchKey=a\n"),
                    "verity-a" => text.push_str("Verity=hash\nVerityMatchKey=a\n"),
                    _ => {}
                }
            },
        )
    }

    /// Definitions for the running node: the partitions of the image so that they are recognised, and those to make.
    #[must_use]
    pub fn node_definitions(&self) -> Vec<(String, String)> {
        self.render(
            |_| true,
            |p, text| {
                if let (Made::FirstBoot, Some(format)) = (p.made, &p.format) {
                    let _ = writeln!(text, "Format={format}");
                }
            },
        )
    }

    fn render(
        &self,
        wanted: impl Fn(&Partition) -> bool,
        extra: impl Fn(&Partition, &mut String),
    ) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for (index, partition) in self.partitions.iter().enumerate().filter(|(_, p)| wanted(p)) {
            let mut text = String::from("# Made from image/layout.toml.\n[Partition]\n");
            let _ = writeln!(text, "Type={}\nLabel={}", partition.kind, partition.label);
            if let Some(size) = partition.size_mib {
                let _ = writeln!(text, "SizeMinBytes={size}M\nSizeMaxBytes={size}M");
            }
            if let Some(minimum) = partition.minimum_mib {
                let _ = writeln!(text, "SizeMinBytes={minimum}M");
            }
            extra(partition, &mut text);
            files.push((format!("{:02}-{}.conf", 10 * (index + 1), partition.label), text));
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real() -> Layout {
        Layout::parse(include_str!("../../layout.toml")).unwrap()
    }

    #[test]
    fn the_shipped_layout_is_sound_and_fits_the_smallest_disk() {
        let layout = real();
        assert!(layout.used_mib() <= layout.minimum_disk_mib);
    }

    #[test]
    fn only_slot_a_is_filled() {
        let files = real().image_definitions();
        let filled: Vec<&str> = files
            .iter()
            .filter(|(_, text)| text.contains("CopyFiles="))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(filled, ["10-esp.conf", "20-root-a.conf"]);
    }

    #[test]
    fn the_node_makes_state_and_data_and_nothing_else() {
        let files = real().node_definitions();
        let made: Vec<&str> = files
            .iter()
            .filter(|(_, text)| text.contains("Format="))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(made, ["60-state.conf", "70-data.conf"]);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text =
            include_str!("../../layout.toml").replace("minimum_disk_mib", "minimum_disc_mib");
        assert!(Layout::parse(&text).is_err());
    }

    #[test]
    fn partitions_larger_than_the_smallest_disk_are_refused() {
        let text =
            include_str!("../../layout.toml").replace("minimum_mib = 2048", "minimum_mib = 9000");
        let error = Layout::parse(&text).unwrap_err();
        assert!(error.to_string().contains("minimum_disk_mib"), "{error}");
    }
}
