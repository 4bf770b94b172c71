//! Volumes with their owners turned around for a pod's own users, where the container's runtime does not do that itself.
//!
//! Each is a mount of the manager's below `<run>/turned/<pod>.<container>/`, made anew with each start, since the volume
//! may be another by then, and taken away when the container is forgotten. Nothing here is ever removed together with what
//! is in it: should it still be mounted, that would be the volume.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use skerry_containers::{ContainerDesired, RuntimeError};
use skerry_model::{Id, Name, Pod};

use crate::folders;
use crate::ids;
use crate::places::Places;
use crate::runtime::io_failed;
use crate::supervisor::Supervisor;

/// The file in a bundle that says which volumes have to be turned around, and where they lie.
const FILE: &str = "turned";

/// Where the container's runtime finds its volumes.
pub fn sources(
    places: &Places,
    pod: Id<Pod>,
    desired: &ContainerDesired,
    volumes: &BTreeMap<Name, PathBuf>,
) -> BTreeMap<Name, PathBuf> {
    let folder = places.turned(pod, &desired.name);
    volumes.keys().map(|name| (name.clone(), folder.join(name.as_str()))).collect()
}

/// Notes in a bundle what has to be turned around before a start.
pub fn note(bundle: &Path, volumes: &BTreeMap<Name, PathBuf>) -> std::io::Result<()> {
    folders::write(&bundle.join(FILE), &serde_json::to_vec(volumes)?, 0o600)
}

/// Mounts what a container's bundle says, for the users from `first` on.
pub async fn make(
    places: &Places,
    supervisor: &dyn Supervisor,
    (pod, container): (Id<Pod>, &Name),
    first: u32,
) -> Result<(), RuntimeError> {
    take_away(places, supervisor, pod, container).await?;
    let failed = || io_failed("cannot make a folder for a volume");
    let text = match fs::read(places.bundle(pod, container).join(FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(failed())?,
    };
    let volumes: BTreeMap<Name, PathBuf> =
        serde_json::from_slice(&text).map_err(|e| failed()(e.into()))?;
    let folder = places.turned(pod, container);
    for (name, tree) in &volumes {
        let at = folder.join(name.as_str());
        folders::make_all(&folder).and_then(|()| folders::make(&at, 0o700)).map_err(failed())?;
        supervisor.mount(&ids::turned(first, tree, &at)).await?;
    }
    Ok(())
}

/// Takes away what was mounted for a container.
pub async fn take_away(
    places: &Places,
    supervisor: &dyn Supervisor,
    pod: Id<Pod>,
    container: &Name,
) -> Result<(), RuntimeError> {
    let folder = places.turned(pod, container);
    let failed = || io_failed("cannot remove a folder of a volume");
    for name in folders::names(&folder) {
        let at = folder.join(name);
        supervisor.unmount(&at).await?;
        folders::remove_empty(&at).map_err(failed())?;
    }
    folders::remove_empty(&folder).map_err(failed())
}
