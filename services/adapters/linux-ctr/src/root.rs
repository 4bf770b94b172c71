//! The root file system of a container as a mount: layers of its image below, its writable layer on top. It mounts nothing
//! itself.

use std::path::{Path, PathBuf};

use skerry_containers::{RuntimeError, RuntimeFault};
use skerry_model::Name;

use crate::supervisor::HostMount;

/// Options of a mount that still fit into the one page that the kernel takes.
const MAX_OPTIONS: usize = 4000;

/// What a container's root file system is made of.
pub struct Root<'a> {
    /// Layers of the image, topmost first.
    pub layers: Vec<PathBuf>,
    /// The writable layer.
    pub layer: PathBuf,
    /// The image's name, for people.
    pub image: &'a Name,
}

impl Root<'_> {
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
        let lower = self.layers.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
        // `userxattr`: the library's deletion marks are made without privileges. `nodev`: there are none.
        let options = format!(
            "nodev,userxattr,lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            text(&self.layer.join("upper"))?,
            text(&self.layer.join("work"))?
        );
        if options.len() > MAX_OPTIONS {
            let what = format!("image `{}` has more layers than one mount takes", self.image);
            return Err(RuntimeError::new(RuntimeFault::Refused, what));
        }
        let (kind, what) = ("overlay", PathBuf::from("overlay"));
        Ok(HostMount { kind, what, target: target.to_owned(), options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &Name, layers: usize) -> Root<'_> {
        let layers = (0..layers).map(|number| PathBuf::from(format!("/data/layers/{number:0>64}")));
        Root { layers: layers.collect(), layer: PathBuf::from("/data/pods/x/web"), image: name }
    }

    #[test]
    fn each_part_is_where_it_is_seen() {
        let name: Name = "tiny".parse().unwrap();
        let seen = |path: &Path| Some(Path::new("/seen").join(path.strip_prefix("/data").ok()?));
        let mount = root(&name, 1).mount(Path::new("/target"), seen).unwrap();
        let parts: Vec<&str> = mount.options.split(',').collect();
        assert_eq!(parts[..2], ["nodev", "userxattr"]);
        assert!(parts[2].starts_with("lowerdir=/seen/layers/000"), "{parts:?}");
        assert_eq!(
            parts[3..],
            ["upperdir=/seen/pods/x/web/upper", "workdir=/seen/pods/x/web/work"]
        );
        let elsewhere = |path: &Path| path.strip_prefix("/other").ok().map(Path::to_owned);
        assert!(root(&name, 1).mount(Path::new("/target"), elsewhere).is_err());
        let many = root(&name, 60).mount(Path::new("/target"), seen).unwrap_err();
        assert!(many.fault == RuntimeFault::Refused && many.message.contains("`tiny`"), "{many}");
    }
}
