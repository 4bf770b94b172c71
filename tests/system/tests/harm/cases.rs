//! Which layers come to the node, and how.

use std::collections::BTreeSet;

use anyhow::ensure;
use skerry_corpus_tests::{CANARY, Harm, Layer, OciArchive, Packing, harmful, mispacked, sha256};
use skerry_system_tests::short;

use crate::registry::Registry;

/// How an image comes to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In an archive.
    Archive,
    /// From a registry, on top of a layer that is good.
    Registry,
}

/// One image with a layer that means harm.
pub struct Case {
    /// Name of the image and of the pod that is to start from it.
    pub name: String,
    pub harm: Harm,
    pub way: Way,
}

/// Of so many cases one is pulled.
const PULLED: usize = 7;

/// All cases, or one of each refusal and all that aim at the node's own files.
pub fn all() -> Vec<Case> {
    let own = [longer_than_xfs_takes()];
    let all = harmful().into_iter().chain(mispacked()).chain(own);
    let mut seen = BTreeSet::new();
    let aims = |harm: &Harm| String::from_utf8_lossy(&harm.blob).contains(CANARY);
    let chosen = all.filter(|harm| seen.insert(harm.says) || aims(harm) || !short());
    chosen.enumerate().map(|(number, harm)| Case::new(number, harm)).collect()
}

/// Other file systems take four times as much: only a node can tell.
fn longer_than_xfs_takes() -> Harm {
    let target = "x/".repeat(700);
    let layer = Layer::default().extended(&[("linkpath", &target)]).symlink("a", "");
    Harm::plain("link with a long target", layer, "longer than the node's disk takes")
}

/// A layer of 256 MiB, packed to a thousandth.
pub fn bomb() -> Case {
    let zeros = vec![0; 256 << 20];
    let plain = Layer::default().program("bomb", &zeros);
    let harm = Harm::plain("bomb", plain, "No space left on device");
    let blob = harm.gzipped();
    Case::new(0, Harm { blob, packing: Packing::Gzip, ..harm })
}

/// An image whose only layer is good.
pub fn good() -> OciArchive {
    let busybox = std::fs::read("/usr/bin/busybox").expect("busybox-static is installed");
    let layer = Layer::default().program("bin/busybox", &busybox).file("etc/passwd", "its own");
    OciArchive::new().layer(&layer.end())
}

impl Case {
    fn new(number: usize, harm: Harm) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
        let words: String = harm.what.chars().map(plain).collect();
        let words: Vec<&str> = words.split_whitespace().collect();
        let pulled =
            number.is_multiple_of(PULLED) && harm.packing == Packing::Plain && harm.what != "bomb";
        Self {
            name: format!("harm-{number}-{}", words.join("-")),
            harm,
            way: if pulled { Way::Registry } else { Way::Archive },
        }
    }

    pub fn archive(&self) -> Vec<u8> {
        self.harm.on(OciArchive::new()).cmd(&["/a"]).tar()
    }

    /// The layer's blob as it comes to the node. A registry has layers packed.
    fn blob(&self) -> Vec<u8> {
        match self.way {
            Way::Archive => self.harm.blob.clone(),
            Way::Registry => self.harm.gzipped(),
        }
    }

    /// Pushes the image, and gives its name after the registry's host.
    pub fn push(&self, registry: &Registry) -> anyhow::Result<String> {
        let image = good()
            .blob_layer(&self.blob(), Packing::Gzip.media(), &self.harm.digest())
            .cmd(&["/a"]);
        let place = tempfile::tempdir()?;
        for (path, bytes) in image.files() {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap())?;
            std::fs::write(path, bytes)?;
        }
        let name = format!("harm/{}:1", self.name);
        registry.push(place.path(), &name, "all");
        Ok(format!("{}/{name}", registry.port))
    }

    /// What is said names the image, the layer, and what is wrong.
    pub fn check(&self, said: &str) -> anyhow::Result<()> {
        let layer = format!("layer {}", sha256(&self.blob()));
        for part in [&self.name, &layer, self.harm.says] {
            ensure!(said.contains(part), "{}: no `{part}` in `{said}`", self.harm.what);
        }
        Ok(())
    }
}
