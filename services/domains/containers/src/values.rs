//! Puts the values of configs and secrets in where a pod names them.

use std::collections::BTreeMap;

use skerry_model::{
    Config, Container, EnvVar, FilesOf, Hidden, KeyOf, Kind, Name, Pod, PodVolumeSource, Resource,
    Secret,
};
use skerry_store::{Store, StoreError};

use crate::decide::Missing;
use crate::{VolumeContent, VolumeDesired, VolumeFile};

type Values = BTreeMap<String, Hidden>;

/// Whether a pod names this config or secret, as it is wanted or as it runs.
pub(crate) fn names(pod: &Resource<Pod>, kind: Kind, name: &Name) -> bool {
    let of_key = |key: &Option<KeyOf>| key.as_ref().is_some_and(|key| key.name == *name);
    let in_env = |variable: &EnvVar| match kind {
        Kind::Config => of_key(&variable.config),
        _ => of_key(&variable.secret),
    };
    let in_volume = |source: &PodVolumeSource| match (source, kind) {
        (PodVolumeSource::Config(files), Kind::Config)
        | (PodVolumeSource::Secret(files), Kind::Secret) => files.name == *name,
        _ => false,
    };
    let wanted = pod.spec.template();
    [Some(&wanted), pod.status.template()].into_iter().flatten().any(|template| {
        let mut containers = template.init.iter().chain(&template.containers);
        containers.any(|container| container.env.iter().any(in_env))
            || template.volumes.iter().any(|volume| in_volume(&volume.source))
    })
}

fn values(store: &Store, kind: Kind, name: &Name) -> Result<Result<Values, Missing>, StoreError> {
    let found = match kind {
        Kind::Config => store.find::<Config>(name)?.map(|config| {
            config.spec.data.into_iter().map(|(key, value)| (key, Hidden::new(value))).collect()
        }),
        _ => store.find::<Secret>(name)?.map(|secret| secret.spec.data),
    };
    Ok(found.ok_or_else(|| {
        let kind = kind.name().to_lowercase();
        Missing::new(None, format!("there is no {kind} `{name}`; make it"))
    }))
}

/// A container's variables with their values.
pub(crate) fn environment(
    store: &Store,
    container: &Container,
) -> Result<Result<Vec<(String, Hidden)>, Missing>, StoreError> {
    let mut list = Vec::new();
    for variable in &container.env {
        let value = match (&variable.config, &variable.secret) {
            (Some(key), _) => one(store, Kind::Config, key)?,
            (None, Some(key)) => one(store, Kind::Secret, key)?,
            (None, None) => Ok(Hidden::new(variable.value.clone())),
        };
        match value {
            Ok(value) => list.push((variable.name.clone(), value)),
            Err(missing) => return Ok(Err(missing)),
        }
    }
    Ok(Ok(list))
}

fn one(store: &Store, kind: Kind, key: &KeyOf) -> Result<Result<Hidden, Missing>, StoreError> {
    let found = match values(store, kind, &key.name)? {
        Ok(values) => values.get(&key.key).cloned(),
        Err(missing) => return Ok(Err(missing)),
    };
    let (kind, name) = (kind.name().to_lowercase(), &key.name);
    let lacks = |what: &str| Missing::new(None, format!("{kind} `{name}` {what}"));
    Ok(match found {
        None => Err(lacks(&format!("has no key `{}`; add it", key.key))),
        Some(value) if value.reveal().contains('\0') => {
            Err(lacks(&format!("has a key `{}` that no variable can hold", key.key)))
        }
        Some(value) => Ok(value),
    })
}

/// A pod's volumes with what is in them.
pub(crate) fn volumes(
    store: &Store,
    pod: &Resource<Pod>,
) -> Result<Result<Vec<VolumeDesired>, Missing>, StoreError> {
    let mut list = Vec::new();
    for volume in &pod.spec.volumes {
        let (kind, files) = match &volume.source {
            PodVolumeSource::Config(files) => (Kind::Config, files),
            PodVolumeSource::Secret(files) => (Kind::Secret, files),
            // It is there already.
            PodVolumeSource::Volume(_) => continue,
            PodVolumeSource::Empty { medium, size_mib } => {
                list.push(VolumeDesired::empty(volume.name.clone(), *medium, *size_mib));
                continue;
            }
        };
        match values(store, kind, &files.name)? {
            Ok(values) => list.push(as_files(volume.name.clone(), files, values)),
            Err(missing) => return Ok(Err(missing)),
        }
    }
    Ok(Ok(list))
}

fn as_files(name: Name, wanted: &FilesOf, values: Values) -> VolumeDesired {
    let files = values.into_iter().map(|(name, content)| VolumeFile { name, content }).collect();
    let content =
        VolumeContent::Files { files, mode: wanted.mode_bits(), uid: wanted.uid, gid: wanted.gid };
    VolumeDesired::new(name, content)
}
