//! The folder that a container is started from: its configuration, its files below `/etc`, and who they belong to.

use super::*;

impl Inner {
    pub(super) fn write_bundle(
        &self,
        pod: Id<Pod>,
        desired: &ContainerDesired,
    ) -> Result<(), RuntimeError> {
        let image = self.image(desired)?;
        let bundle = self.places.bundle(pod, &desired.name);
        let layers = self.layers(&image)?;
        let refused = |what: &str, error: Box<dyn std::error::Error + Send + Sync>| {
            RuntimeError::new(RuntimeFault::Refused, what).because(error)
        };
        let named = if desired.user.is_empty() { &image.user } else { &desired.user };
        let user = user::find(named, &layers)
            .map_err(|error| refused("the container has no usable user", error.into()))?;
        self.check_users(desired, &image, &user)?;
        let oci = Oci::present(&self.places);
        oci.check()?;
        let lie = self.seen_volumes(pod, desired);
        let turned = desired.users.is_some() && !oci.turns_owners();
        let seen = match turned {
            true => turned::sources(&self.places, pod, desired, &lie),
            false => lie.clone(),
        };
        let spec = spec(desired, &image, &user, &bundle, &self.places, &seen);
        let spec = spec.map_err(|error| match error {
            BundleError::NoCommand { .. }
            | BundleError::WorkingDirectory { .. }
            | BundleError::NoVolume { .. }
            | BundleError::Device { .. }
            | BundleError::Capability { .. } => {
                refused("the container cannot be described", error.into())
            }
            other => RuntimeError::new(RuntimeFault::Broken, other.to_string()).because(other),
        })?;
        let write = || {
            folders::make_all(&self.places.pod_bundles(pod))?;
            // Root in a container with users of its own is nobody to the machine, and has to come to its root.
            let mode = if desired.users.is_some() { 0o711 } else { 0o700 };
            if desired.users.is_some() {
                folders::make(&self.places.all_bundles(), mode)?;
                folders::make(&self.places.pod_bundles(pod), mode)?;
            }
            folders::make(&bundle, mode)?;
            folders::make(&bundle.join("rootfs"), 0o755)?;
            folders::make(&bundle.join("etc"), 0o755)?;
            write_etc(&bundle, desired)?;
            if turned {
                give_etc(&bundle, desired)?;
                turned::note(&bundle, &lie)?;
            }
            oci.note(&bundle)?;
            Allotment::note(Allotment::of(pod, desired, &self.places).as_ref(), &bundle)?;
            let text = serde_json::to_vec(&spec)?;
            folders::write(&bundle.join("config.json"), &text, 0o600)?;
            folders::mark(&bundle, &desired.bundle)
        };
        write().map_err(io_failed("cannot write a bundle"))
    }

    /// Refuses what users of a pod's own could not run: whoever is none of them is nobody, and so are files of such.
    pub(super) fn check_users(
        &self,
        desired: &ContainerDesired,
        image: &ImageRecord,
        user: &user::User,
    ) -> Result<(), RuntimeError> {
        if desired.users.is_none() {
            return Ok(());
        }
        let refuse = |what: String| {
            let what = format!(
                "{what} is none of the 65536 that the pod has of its own (0 to 65535): set `user_namespace: host`"
            );
            Err(RuntimeError::new(RuntimeFault::Refused, what))
        };
        if !ids::has(user) {
            return refuse(format!("user {} or group {}", user.uid, user.gid));
        }
        let highest = self.library()?.highest_owner(image);
        let highest = highest.map_err(|error| image_failed("owners cannot be looked at", error))?;
        match ids::covers(highest) {
            true => Ok(()),
            false => refuse(format!("owner {highest} of files in image `{}`", desired.image.name)),
        }
    }

    /// Where the volumes that a container sees lie. They are made before its bundle.
    pub(super) fn seen_volumes(
        &self,
        pod: Id<Pod>,
        desired: &ContainerDesired,
    ) -> BTreeMap<Name, PathBuf> {
        let all = volumes::observed(&self.places, pod).into_iter();
        let seen = all.filter(|(name, ..)| desired.mounts.iter().any(|m| m.volume == *name));
        let own = seen.map(|(name, folder, _)| (name, volumes::tree(&folder)));
        let outside = desired.outside.iter();
        own.chain(outside.map(|it| (it.name.clone(), PathBuf::from(&it.path)))).collect()
    }
}

pub(super) fn write_etc(bundle: &Path, desired: &ContainerDesired) -> std::io::Result<()> {
    for (name, content) in etc_files(desired) {
        folders::write(&bundle.join("etc").join(name), content.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Gives these files to the pod's root, to whom they would else be nobody's: nobody turns their owner around.
fn give_etc(bundle: &Path, desired: &ContainerDesired) -> std::io::Result<()> {
    for (name, _) in etc_files(desired) {
        std::os::unix::fs::chown(bundle.join("etc").join(name), desired.users, desired.users)?;
    }
    Ok(())
}
