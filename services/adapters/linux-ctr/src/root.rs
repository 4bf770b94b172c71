//! The root file system of a container as a mount: layers of its image below, its writable layer on top. It mounts nothing
//! itself.

use std::path::{Path, PathBuf};

use skerry_containers::{RuntimeError, RuntimeFault};

use crate::supervisor::HostMount;

/// Longest value of one option that the kernel takes when `mount` of util-linux 2.39 or later hands it over.
const MAX_VALUE: usize = 255;

/// What a container's root file system is made of.
pub struct Root {
    /// Layers of the image, topmost first.
    pub layers: Vec<PathBuf>,
    /// The writable layer.
    pub layer: PathBuf,
}

impl Root {
    /// The mount of it, over folders as they are seen at other places.
    pub fn mount(
        &self,
        target: &Path,
        seen: impl Fn(&Path) -> Option<PathBuf>,
    ) -> Result<HostMount, RuntimeError> {
        let text = |path: &Path| {
            let seen = seen(path).map(|path| path.to_string_lossy().into_owned());
            seen.ok_or_else(|| {
                let what = format!("{} does not lie with the other data", path.display());
                RuntimeError::new(RuntimeFault::Broken, what)
            })
        };
        // `userxattr`: the library's deletion marks are made without privileges. `nodev`: there are none.
        let mut options = "nodev,userxattr".to_owned();
        // Each layer by itself (Linux 6.8): all in one value would be too long with the fifth.
        let lower = self.layers.iter().map(|path| ("lowerdir+", path.clone()));
        let upper = [("upperdir", self.layer.join("upper")), ("workdir", self.layer.join("work"))];
        for (key, path) in lower.chain(upper) {
            let value = text(&path)?;
            if value.len() > MAX_VALUE {
                let what =
                    format!("{value} is longer than the {MAX_VALUE} bytes of a mount's option");
                return Err(RuntimeError::new(RuntimeFault::Broken, what));
            }
            options.push_str(&format!(",{key}={value}"));
        }
        let (kind, what) = ("overlay", PathBuf::from("overlay"));
        Ok(HostMount { kind, what, target: target.to_owned(), options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(layers: usize) -> Root {
        let layers = (0..layers).map(|number| PathBuf::from(format!("/data/layers/{number:0>64}")));
        Root { layers: layers.collect(), layer: PathBuf::from("/data/pods/x/web") }
    }

    #[test]
    fn each_part_is_where_it_is_seen() {
        let seen = |path: &Path| Some(Path::new("/seen").join(path.strip_prefix("/data").ok()?));
        let mount = root(2).mount(Path::new("/target"), seen).unwrap();
        let parts: Vec<&str> = mount.options.split(',').collect();
        assert_eq!(parts[..2], ["nodev", "userxattr"]);
        assert!(parts[2].starts_with("lowerdir+=/seen/layers/000"), "{parts:?}");
        assert!(parts[3].ends_with("01"), "the topmost comes first: {parts:?}");
        assert_eq!(
            parts[4..],
            ["upperdir=/seen/pods/x/web/upper", "workdir=/seen/pods/x/web/work"]
        );
        let elsewhere = |path: &Path| path.strip_prefix("/other").ok().map(Path::to_owned);
        assert!(root(1).mount(Path::new("/target"), elsewhere).is_err());
    }

    #[test]
    fn as_many_layers_as_an_image_may_have_are_mounted() {
        let most = skerry_containers::oci::MAX_LAYERS;
        let mount = root(most).mount(Path::new("/target"), |path| Some(path.to_owned())).unwrap();
        assert_eq!(mount.options.matches("lowerdir+=").count(), most);
        let value = |part: &str| part.split_once('=').map_or(0, |(_, value)| value.len());
        assert!(mount.options.split(',').all(|part| value(part) <= MAX_VALUE));
        let long = |path: &Path| Some(Path::new("/").join("x".repeat(250)).join(path.file_name()?));
        assert!(root(1).mount(Path::new("/target"), long).is_err());
    }
}
