//! What a real registry does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use skerry_registry::{Class, Endpoint, Meter, Pulled, RegistryError, pull};
use tempfile::tempdir;

use crate::image::{gzip, layout, noise, sha256};
use crate::proxy::Proxy;
use crate::registry::{Registry, order};

fn assert_whole(folder: &Path, pulled: &Pulled) {
    for digest in pulled.all() {
        assert_eq!(sha256(&fs::read(folder.join(&digest)).unwrap()), digest);
    }
    let files = fs::read_dir(folder).unwrap().count();
    assert_eq!(files, pulled.all().len(), "nothing else is left in the folder");
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_in_both_forms() {
    let registry = Registry::start().await;
    let place = tempdir().unwrap();
    let layers = vec![noise(300_000, 1), noise(10, 2), noise(70_000, 3), noise(5000, 4)];
    let ours = layout(place.path(), layers);
    registry.push(place.path(), "lab/app:1.0", "all");
    registry.push(place.path(), "app:docker", "v2s2");

    let folder = tempdir().unwrap();
    let meter = Meter::default();
    let by_tag = order(registry.endpoint(registry.port), "lab/app:1.0", folder.path());
    let pulled = pull(&by_tag, &meter).await.unwrap();
    assert_eq!(pulled.manifest.digest, ours, "the image for amd64 was chosen");
    assert_ne!(pulled.named, pulled.manifest, "the tag names the index");
    assert_eq!(pulled.blobs.len(), 5);
    assert_eq!((meter.done(), meter.done() > 375_000), (meter.total(), true));
    assert_whole(folder.path(), &pulled);

    let again = pull(&by_tag, &Meter::default()).await.unwrap();
    assert_eq!(again, pulled, "what is there is not fetched again");

    for digest in [&pulled.named.digest, &pulled.manifest.digest] {
        let folder = tempdir().unwrap();
        let name = format!("lab/app@sha256:{digest}");
        let by_digest = order(registry.endpoint(registry.port), &name, folder.path());
        assert_eq!(pull(&by_digest, &Meter::default()).await.unwrap().manifest, pulled.manifest);
    }

    let folder = tempdir().unwrap();
    let docker = order(registry.endpoint(registry.port), "app:docker", folder.path());
    let docker = pull(&docker, &Meter::default()).await.unwrap();
    assert_eq!(docker.named, docker.manifest, "one image, so no index");
    assert_whole(folder.path(), &docker);

    let folder = tempdir().unwrap();
    let mut known = order(registry.endpoint(registry.port), "lab/app:1.0", folder.path());
    known.have = pulled.blobs.iter().map(|blob| blob.digest.clone()).collect();
    pull(&known, &Meter::default()).await.unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "only index and manifest");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let registry = Registry::start().await;
    let place = tempdir().unwrap();
    layout(place.path(), vec![noise(100, 1)]);
    registry.push(place.path(), "a:1", "all");
    let folder = tempdir().unwrap();
    let good = registry.endpoint(registry.port);

    let missing = order(good.clone(), "a:2", folder.path());
    let error = pull(&missing, &Meter::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error:?}");

    let nobody = Endpoint { credentials: None, ..good.clone() };
    let error = pull(&order(nobody, "a:1", folder.path()), &Meter::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error:?}");

    let mut wrong = good.clone();
    wrong.credentials.as_mut().unwrap().password = "queen-of-hearts".to_owned();
    let error = pull(&order(wrong, "a:1", folder.path()), &Meter::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error:?}");
    assert!(!error.chain().contains("queen"), "{}", error.chain());

    let stranger = Endpoint { ca_pem: None, ..good.clone() };
    let error = pull(&order(stranger, "a:1", folder.path()), &Meter::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Certificate { .. }), "{error:?}");
    assert_eq!(error.class(), Class::NeedsOperator);

    let plain = Endpoint { plain_http: true, ..good };
    assert!(pull(&order(plain, "a:1", folder.path()), &Meter::default()).await.is_err());
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_its_absence_or_damage_does_no_harm() {
    let (registry, mirror) = (Registry::start().await, Registry::start().await);
    let place = tempdir().unwrap();
    let layer = noise(50_000, 1);
    layout(place.path(), vec![layer.clone()]);
    registry.push(place.path(), "a:1", "all");
    mirror.push(place.path(), "a:1", "all");
    // The mirror's copy of the layer is damaged: same length, other bytes.
    let file = mirror.blob_file(&sha256(&gzip(&layer)));
    let mut bytes = fs::read(&file).unwrap();
    bytes[25_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let dead = Endpoint { host: "localhost:9".parse().unwrap(), ..registry.endpoint(9) };

    let folder = tempdir().unwrap();
    let mut wanted = order(registry.endpoint(registry.port), "a:1", folder.path());
    let own = wanted.endpoints.remove(0);
    wanted.endpoints = vec![dead, mirror.endpoint(mirror.port), own];
    let pulled = pull(&wanted, &Meter::default()).await.unwrap();
    assert_whole(folder.path(), &pulled);
}

#[tokio::test]
async fn pulls_that_break_at_random_points_are_gone_on_with() {
    let registry = Registry::start().await;
    let place = tempdir().unwrap();
    layout(place.path(), vec![noise(900_000, 1), noise(400_000, 2), noise(200_000, 3)]);
    registry.push(place.path(), "a:1", "all");
    let proxy = Proxy::start(registry.port).await;
    let folder = tempdir().unwrap();
    let mut wanted = order(registry.endpoint(proxy.port), "a:1", folder.path());
    wanted.limits.attempts = 1;

    let mut most = 0;
    let mut held = BTreeSet::new();
    for seed in 0..10_u8 {
        // From 20 to 150 kB: the first ends in a handshake or a manifest, later ones in layers.
        let point = 20_000 + i64::from(noise(2, seed)[0]) * 500;
        proxy.cut_after(point);
        let meter = Meter::default();
        let result = pull(&wanted, &meter).await;
        assert!(result.is_err(), "cut {seed} at {point} did not end the pull");
        let there: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|f| f.unwrap().metadata().unwrap().len())
            .sum();
        assert!(there >= most, "cut {seed}: what had come was kept ({there} of {most})");
        most = there;
        held.insert(there);
    }
    assert!(held.len() > 3, "cuts fell at different points: {held:?}");
    assert!(proxy.cuts.load(std::sync::atomic::Ordering::SeqCst) >= 10);
    proxy.cut_after(i64::MAX);
    let pulled = pull(&wanted, &Meter::default()).await.unwrap();
    assert_whole(folder.path(), &pulled);
}

#[tokio::test]
async fn one_pull_outlives_cuts_by_itself() {
    let registry = Registry::start().await;
    let place = tempdir().unwrap();
    layout(place.path(), vec![noise(600_000, 1)]);
    registry.push(place.path(), "a:1", "all");
    let proxy = Proxy::start(registry.port).await;
    let folder = tempdir().unwrap();
    let wanted = order(registry.endpoint(proxy.port), "a:1", folder.path());
    let cuts = std::sync::Arc::clone(&proxy.cuts);
    proxy.cut_after(200_000);
    let mend = tokio::spawn(async move {
        while cuts.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        proxy.cut_after(i64::MAX);
    });
    let pulled = pull(&wanted, &Meter::default()).await.unwrap();
    mend.await.unwrap();
    assert_whole(folder.path(), &pulled);
}

#[tokio::test]
async fn a_damaged_part_from_before_is_noticed_and_fetched_anew() {
    let registry = Registry::start().await;
    let place = tempdir().unwrap();
    let layer = noise(100_000, 1);
    layout(place.path(), vec![layer.clone()]);
    registry.push(place.path(), "a:1", "all");
    for wrong in [vec![0; 40_000], vec![0; 100_000], vec![0; 200_000]] {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join(format!("{}.part", sha256(&gzip(&layer)))), wrong).unwrap();
        let wanted = order(registry.endpoint(registry.port), "a:1", folder.path());
        let meter = Meter::default();
        let pulled = pull(&wanted, &meter).await.unwrap();
        assert_whole(folder.path(), &pulled);
        assert_eq!(meter.done(), meter.total());
    }
}
