//! What is brought along of signatures.

use std::fs;

use skerry_registry::{Class, MAX_SIGNATURES, Meter, RegistryError, Signatures, pull};
use tempfile::tempdir;

use crate::image::{layout, noise};
use crate::registry::{Registry, order};
use crate::signing::{Signer, named, push_signatures};

#[tokio::test]
async fn signatures_come_along_from_the_registry_and_its_mirrors() {
    let (registry, mirror) = (Registry::start().await, Registry::start().await);
    let place = tempdir().unwrap();
    layout(place.path(), vec![noise(40_000, 1)]);
    let digest = named(place.path());
    registry.push(place.path(), "lab/app:1", "all");
    mirror.push(place.path(), "lab/app:1", "all");
    let folder = tempdir().unwrap();
    let mut wanted = order(registry.endpoint(registry.port), "lab/app:1", folder.path());
    wanted.endpoints.insert(0, mirror.endpoint(mirror.port));

    // None: of use only where none is required, and nothing large is fetched before that is known.
    wanted.signatures = Signatures::Require;
    let error = pull(&wanted, &Meter::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unsigned { .. }), "{error:?}");
    assert_eq!(error.class(), Class::NeedsOperator);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the index");
    wanted.signatures = Signatures::Look;
    assert_eq!(pull(&wanted, &Meter::default()).await.unwrap().signatures, []);

    // A mirror with others does not hide the registry's own.
    let signer = Signer::new();
    let (first, second) = (signer.sign("x.y/one", &digest), signer.sign("x.y/two", &digest));
    push_signatures(&mirror, "lab/app", &digest, std::slice::from_ref(&second));
    push_signatures(&registry, "lab/app", &digest, &[first.clone(), second.clone()]);
    let found = pull(&wanted, &Meter::default()).await.unwrap().signatures;
    let found: Vec<_> = found.into_iter().map(|one| (one.payload, one.signature)).collect();
    assert_eq!(found, [second, first]);
    wanted.signatures = Signatures::Ignore;
    assert_eq!(pull(&wanted, &Meter::default()).await.unwrap().signatures, []);

    // Of too many the newest; what is no signature is left out.
    wanted.endpoints.remove(0);
    wanted.signatures = Signatures::Require;
    let mut many: Vec<_> = (0..MAX_SIGNATURES + 5)
        .map(|n| (format!("payload {n}").into_bytes(), "c2ln".to_owned()))
        .collect();
    many.push((vec![b' '; 17 << 10], "c2ln".to_owned()));
    push_signatures(&registry, "lab/app", &digest, &many);
    let found = pull(&wanted, &Meter::default()).await.unwrap().signatures;
    assert_eq!(found.len(), MAX_SIGNATURES);
    let newest = format!("payload {}", MAX_SIGNATURES + 4);
    assert_eq!(found[0].payload, newest.as_bytes());
}
