//! What every node has from its first start on: itself, the network and the pool `default`, the built-in images.
//!
//! Run at every start. It adds what is missing and brings the node's own records up to date; what an operator
//! may have changed is left alone.

use std::collections::BTreeMap;
use std::fs;

use skerry_model::{
    Id, Image, ImageSource, Name, NameError, Network, NewResource, Node as NodeKind, NodeSpec,
    Owner, Pool, PoolSpec,
};
use skerry_store::{Store, StoreError, Transaction};
use skerry_trust::Identity;
use skerry_upkeep::{ImageListError, builtin_images};
use uuid::Uuid;

use crate::config::Config;
use crate::dirs::Dirs;
use crate::identity::hostname;
use crate::version;

/// Largest list of built-in images that is read.
const LARGEST_LIST: u64 = 1024 * 1024;

/// The first records could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The store refused.
    #[error("the node's first records could not be written")]
    Store(#[from] StoreError),
    /// The host name of the settings is no name.
    #[error("the host name cannot be used")]
    Hostname(#[from] NameError),
    /// The list of built-in images cannot be used.
    #[error(transparent)]
    Images(#[from] ImageListError),
}

/// Adds what is missing.
pub async fn seed(
    store: &Store,
    dirs: &Dirs,
    config: &Config,
    identity: &Identity,
) -> Result<(), SeedError> {
    let mut tx = Transaction::new();
    seed_node(store, &mut tx, config, identity)?;
    if store.find::<Network>(&Name::new("default")?)?.is_none() {
        let id = Id::new(Uuid::new_v4());
        let mut new =
            NewResource::<Network>::new(id, Name::new("default")?, config.default_network.clone());
        new.owner = Owner::System;
        new.finalizers = vec![skerry_network::FINALIZER.to_owned()];
        tx.create(new);
    }
    if store.find::<Pool>(&Name::new("default")?)?.is_none() {
        let (id, spec) = (Id::new(Uuid::new_v4()), PoolSpec::data_partition());
        let mut new = NewResource::<Pool>::new(id, Name::new("default")?, spec);
        new.owner = Owner::System;
        tx.create(new);
    }
    seed_images(store, &mut tx, dirs)?;
    store.commit(tx).await?;
    Ok(())
}

fn seed_node(
    store: &Store,
    tx: &mut Transaction,
    config: &Config,
    identity: &Identity,
) -> Result<(), SeedError> {
    let id = Id::<NodeKind>::new(identity.node_id);
    let mut status = match store.get(id)? {
        Some(node) => node.status,
        None => {
            let hostname = Name::new(hostname(config, identity.node_id))?;
            let mut new = NewResource::new(id, Name::new("node")?, NodeSpec { hostname });
            new.owner = Owner::System;
            tx.create(new);
            skerry_model::NodeStatus::default()
        }
    };
    status.boots = status.boots.saturating_add(1);
    status.version = version::VERSION.to_owned();
    tx.put_status(id, status);
    Ok(())
}

/// Registers the built-in images; those that this system no longer carries go, unless a workload names them.
fn seed_images(store: &Store, tx: &mut Transaction, dirs: &Dirs) -> Result<(), SeedError> {
    let file = dirs.images.join("images.toml");
    let listed = match fs::metadata(&file) {
        Ok(meta) if meta.len() <= LARGEST_LIST => {
            let text = fs::read_to_string(&file).unwrap_or_default();
            builtin_images(&text, &file)?
        }
        _ => {
            tracing::warn!(file = %file.display(), "there is no list of built-in images");
            return Ok(());
        }
    };
    let mut known: BTreeMap<_, _> =
        store.list::<Image>()?.into_iter().map(|image| (image.meta.name.clone(), image)).collect();
    for image in listed {
        match known.remove(&image.name) {
            Some(present) if present.spec != image.spec => {
                tx.put_spec(present.id(), None, image.spec);
            }
            Some(_) => {}
            None => {
                tx.create(image);
            }
        }
    }
    for gone in known.into_values().filter(|i| i.spec.source == ImageSource::BuiltIn) {
        tracing::info!(image = %gone.meta.name, "this system no longer carries the image");
        tx.remove(gone.id());
    }
    Ok(())
}
