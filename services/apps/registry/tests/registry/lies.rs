//! What a registry might do that no registry should: each must end soon, in an error that says so, or be outlived.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use skerry_registry::{Class, Credentials, Meter, RegistryError, pull};
use tempfile::tempdir;

use crate::image::{descriptor, noise, sha256};
use crate::liar::{Liar, Reply, blob_path, honest, raw, redirect};

const OK: &str = "HTTP/1.1 200 OK\nConnection: close";

/// Pulls and gives the error, which must come soon and leave no blob that is not what its name says.
async fn fails(liar: &Liar) -> RegistryError {
    let folder = tempdir().unwrap();
    let start = Instant::now();
    let error =
        pull(&liar.order(folder.path()), &Meter::default()).await.expect_err("a lie was believed");
    assert!(start.elapsed() < Duration::from_secs(30), "{error:?} took {:?}", start.elapsed());
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let (name, size) =
            (file.file_name().into_string().unwrap(), file.metadata().unwrap().len());
        assert!(size <= 5 << 20, "{name} has {size} bytes");
        if !name.ends_with(".part") {
            assert_eq!(sha256(&fs::read(file.path()).unwrap()), name);
        }
    }
    error
}

#[tokio::test]
async fn the_honest_one_is_believed() {
    let (parts, replies) = honest();
    let liar = Liar::start(replies).await;
    let folder = tempdir().unwrap();
    let pulled = pull(&liar.order(folder.path()), &Meter::default()).await.unwrap();
    assert_eq!(pulled.manifest.digest, sha256(&parts.manifest));
}

#[tokio::test]
async fn wrong_layers_are_not_taken() {
    let (parts, replies) = honest();
    let layer = parts.layers[0].clone();
    let other = noise(layer.len(), 77);
    let cases = [
        ("other bytes", Reply::Good(other)),
        ("too short", Reply::Good(layer[..100].to_vec())),
        ("too long", Reply::Good([layer.clone(), b"x".to_vec()].concat())),
        ("empty", raw(&format!("{OK}\nContent-Length: 0"), b"")),
        ("cut off", raw(&format!("{OK}\nContent-Length: {}", layer.len()), &layer[..9000])),
        ("cut off without a length", raw(OK, &layer[..9000])),
        ("without end", Reply::Endless(format!("{OK}\n\n").replace('\n', "\r\n").into_bytes())),
        ("length beyond all", raw(&format!("{OK}\nContent-Length: 99999999999"), &layer)),
        ("length that is none", raw(&format!("{OK}\nContent-Length: -5"), &layer)),
        (
            "compressed on the way",
            raw(&format!("{OK}\nContent-Encoding: gzip"), b"\x1f\x8b\x08\x00"),
        ),
        ("no HTTP", raw("SSH-2.0-OpenSSH_9.2", b"")),
        ("head without end", Reply::Endless(b"HTTP/1.1 200 OK\r\nX: ".to_vec())),
        ("nothing at all", Reply::Silent(Vec::new())),
        (
            "nothing after the head",
            Reply::Silent(format!("{OK}\n\n").replace('\n', "\r\n").into_bytes()),
        ),
        ("500", raw("HTTP/1.1 500 Oops\nContent-Length: 0", b"")),
        ("404", raw("HTTP/1.1 404 Gone\nContent-Length: 0", b"")),
        ("204", raw("HTTP/1.1 204 None\nContent-Length: 0", b"")),
    ];
    for (what, reply) in cases {
        let liar = Liar::start(replies.clone()).await;
        liar.set(&blob_path(&layer), reply);
        let error = fails(&liar).await;
        let operator = matches!(what, "404" | "204");
        assert_eq!(error.class() == Class::NeedsOperator, operator, "{what}: {error:?}");
    }
}

#[tokio::test]
async fn wrong_manifests_are_not_taken() {
    let (parts, replies) = honest();
    let media = "application/vnd.oci.image.layer.v1.tar";
    let huge = json!({"schemaVersion": 2, "config": descriptor("x", &parts.config), "layers": [
        {"mediaType": media, "size": 9_u64 << 30, "digest": format!("sha256:{}", "a".repeat(64))}]});
    let many: Vec<_> = (0..60_u8)
        .map(|n| {
            json!({"mediaType": media, "size": 8_u64 << 30,
        "digest": format!("sha256:{}", sha256(&[n]))})
        })
        .collect();
    let many =
        json!({"schemaVersion": 2, "config": descriptor("x", &parts.config), "layers": many});
    let index = json!({"schemaVersion": 2, "manifests": [
        descriptor("application/vnd.oci.image.manifest.v1+json", b"missing")]});
    let cases = [
        ("no JSON", Reply::Good(b"<html>".to_vec())),
        ("without end", Reply::Endless(format!("{OK}\n\n").replace('\n', "\r\n").into_bytes())),
        ("silent", Reply::Silent(format!("{OK}\n\n{{").replace('\n', "\r\n").into_bytes())),
        ("announced as huge", raw(&format!("{OK}\nContent-Length: 5000000"), b"{}")),
        ("deep", Reply::Good("[".repeat(100_000).into_bytes())),
        ("a layer beyond the limit", Reply::Good(huge.to_string().into_bytes())),
        ("an image beyond the limit", Reply::Good(many.to_string().into_bytes())),
        ("an index that names nothing", Reply::Good(index.to_string().into_bytes())),
    ];
    for (what, reply) in cases {
        let liar = Liar::start(replies.clone()).await;
        liar.set("/v2/a/manifests/1", reply);
        let error = fails(&liar).await;
        assert!(liar.requests_for(&blob_path(&parts.config)).is_empty(), "{what}: {error:?}");
    }
    // By digest, an honest manifest of another image is a lie too.
    let liar = Liar::start(replies).await;
    let digest = "b".repeat(64);
    liar.set(&format!("/v2/a/manifests/sha256:{digest}"), Reply::Good(parts.manifest.clone()));
    let folder = tempdir().unwrap();
    let mut wanted = liar.order(folder.path());
    wanted.reference = wanted.reference.at(&digest);
    let error = pull(&wanted, &Meter::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongBytes { .. }), "{error:?}");
}

#[tokio::test]
async fn an_image_for_another_machine_is_refused_before_its_layers_come() {
    let parts = crate::image::parts("arm64", vec![noise(100, 1)]);
    let (_, mut replies) = honest();
    replies.insert("/v2/a/manifests/1".to_owned(), Reply::Good(parts.manifest.clone()));
    for blob in [&parts.config, &parts.layers[0]] {
        replies.insert(blob_path(blob), Reply::Good(blob.clone()));
    }
    let liar = Liar::start(replies).await;
    let error = fails(&liar).await;
    assert!(matches!(error, RegistryError::Unusable(_)), "{error:?}");
    assert!(liar.requests_for(&blob_path(&parts.layers[0])).is_empty());
}

#[tokio::test]
async fn a_range_that_is_ignored_or_wrong_is_outlived() {
    let (parts, replies) = honest();
    let layer = parts.layers[0].clone();
    for reply in [
        raw(&format!("{OK}\nContent-Length: {}", layer.len()), &layer),
        raw("HTTP/1.1 416 No\nContent-Length: 0", b""),
        raw(
            &format!(
                "HTTP/1.1 206 P\nConnection: close\nContent-Range: bytes 5-9/10\nContent-Length: {}",
                layer.len()
            ),
            &layer,
        ),
    ] {
        let liar = Liar::start(replies.clone()).await;
        liar.set(&blob_path(&layer), reply);
        let folder = tempdir().unwrap();
        let part = folder.path().join(format!("{}.part", sha256(&layer)));
        fs::write(&part, &layer[..10_000]).unwrap();
        let wanted = liar.order(folder.path());
        let path = blob_path(&layer);
        let replies = std::sync::Arc::clone(&liar.replies);
        let requests = std::sync::Arc::clone(&liar.requests);
        let good = Reply::Good(layer.clone());
        // The second time it behaves.
        let mend = tokio::spawn(async move {
            loop {
                let asked = requests.lock().unwrap().iter().filter(|r| r.contains(&path)).count();
                if asked > 0 {
                    replies.lock().unwrap().insert(path, good);
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        pull(&wanted, &Meter::default()).await.unwrap();
        mend.await.unwrap();
        let first = &liar.requests_for(&blob_path(&parts.layers[0]))[0];
        assert!(first.contains("range: bytes=10000-"), "{first}");
    }
}

#[tokio::test]
async fn redirects_are_followed_without_the_password_and_not_for_ever() {
    let (parts, replies) = honest();
    let layer = parts.layers[0].clone();
    let elsewhere = Liar::start(replies.clone()).await;
    let mut liar = Liar::start(replies).await;
    liar.endpoint.credentials =
        Some(Credentials { username: "alice".to_owned(), password: "wonderland".to_owned() });
    let want = raw("HTTP/1.1 401 No\nWWW-Authenticate: Basic realm=x\nContent-Length: 0", b"");
    liar.set("/v2/a/manifests/1", want);
    // The first answer asks for the password; from then on it is sent with each request to this host.
    let folder = tempdir().unwrap();
    let error = pull(&liar.order(folder.path()), &Meter::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error:?}");
    let sent = liar.requests_for("/v2/a/manifests/1");
    assert!(sent.len() == 2 && !sent[0].contains("authorization:"), "{sent:?}");
    assert!(sent[1].contains("authorization: Basic YWxpY2U6d29uZGVybGFuZA=="), "{sent:?}");

    let there = format!("http://{}{}", elsewhere.endpoint.host, blob_path(&layer));
    liar.set("/v2/a/manifests/1", Reply::Good(parts.manifest.clone()));
    let config = blob_path(&parts.config);
    liar.set(
        &config,
        raw("HTTP/1.1 401 No\nWWW-Authenticate: Basic realm=x\nContent-Length: 0", b""),
    );
    let good = Reply::Good(parts.config.clone());
    let (replies, requests) =
        (std::sync::Arc::clone(&liar.replies), std::sync::Arc::clone(&liar.requests));
    let path = config.clone();
    let mend = tokio::spawn(async move {
        while !requests.lock().unwrap().iter().any(|r| r.contains(&path)) {
            tokio::task::yield_now().await;
        }
        replies.lock().unwrap().insert(path, good);
    });
    liar.set(&blob_path(&layer), redirect(&there));
    pull(&liar.order(folder.path()), &Meter::default()).await.unwrap();
    mend.await.unwrap();
    assert!(liar.requests_for(&blob_path(&layer))[0].contains("authorization:"));
    let asked = elsewhere.requests_for(&blob_path(&layer));
    assert!(asked.len() == 1 && !asked[0].to_lowercase().contains("authorization"), "{asked:?}");

    for to in [
        blob_path(&layer),
        "ftp://x/y".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://".to_owned(),
    ] {
        liar.set(&blob_path(&layer), redirect(&to));
        liar.set(&config, Reply::Good(parts.config.clone()));
        let error = fails(&liar).await;
        assert!(matches!(error, RegistryError::Protocol { .. }), "{to}: {error:?}");
    }
}

#[tokio::test]
async fn tokens_are_fetched_and_used() {
    let (parts, mut replies) = honest();
    let answers = [
        (r#"{"token":"abc"}"#.to_owned(), true),
        (r#"{"access_token":"abc","expires_in":60}"#.to_owned(), true),
        (r#"{}"#.to_owned(), false),
        (r#"{"token":"a\nb"}"#.to_owned(), false),
        ("x".repeat(70_000), false),
    ];
    replies.insert("/token".to_owned(), Reply::Good(Vec::new()));
    for (answer, good) in answers {
        let mut liar = Liar::start(replies.clone()).await;
        liar.endpoint.credentials =
            Some(Credentials { username: "alice".to_owned(), password: "wonderland".to_owned() });
        let host = liar.endpoint.host.clone();
        liar.set("/token", Reply::Good(answer.into_bytes()));
        let challenge = format!(
            "HTTP/1.1 401 No\nWWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\nContent-Length: 0"
        );
        liar.set("/v2/a/manifests/1", raw(&challenge, b""));
        let (replies, requests) =
            (std::sync::Arc::clone(&liar.replies), std::sync::Arc::clone(&liar.requests));
        let manifest = Reply::Good(parts.manifest.clone());
        let mend = tokio::spawn(async move {
            while !requests.lock().unwrap().iter().any(|r| r.contains("/token")) {
                tokio::task::yield_now().await;
            }
            replies.lock().unwrap().insert("/v2/a/manifests/1".to_owned(), manifest);
        });
        let folder = tempdir().unwrap();
        let result = pull(&liar.order(folder.path()), &Meter::default()).await;
        mend.await.unwrap();
        assert_eq!(result.is_ok(), good, "{result:?}");
        let asked =
            liar.requests.lock().unwrap().iter().find(|r| r.contains("/token")).cloned().unwrap();
        assert!(asked.contains("service=s&scope=repository%3Aa%3Apull"), "{asked}");
        if good {
            let sent = liar.requests_for("/v2/a/manifests/1");
            assert!(sent[1].contains("authorization: Bearer abc"), "{sent:?}");
        }
    }
}

#[tokio::test]
async fn what_is_there_needs_no_room_and_is_kept_for_want_of_it() {
    let (parts, replies) = honest();
    let layer = parts.layers[0].clone();
    let liar = Liar::start(replies).await;
    let folder = tempdir().unwrap();
    let room = |bytes: usize| {
        let mut order = liar.order(folder.path());
        order.limits.room = bytes as u64;
        order
    };
    let missing = layer.len() + parts.config.len();
    // Nothing has come: somebody has to make room.
    let error = pull(&room(missing - 1), &Meter::default()).await.unwrap_err();
    assert_eq!(error.class(), Class::NeedsOperator, "{error:?}");
    assert!(error.to_string().contains(&format!("{missing} bytes of the image are missing")));
    // The line breaks, and what is free then is only enough for the rest.
    let cut = format!("{OK}\nContent-Length: {}", layer.len());
    liar.set(&blob_path(&layer), raw(&cut, &layer[..9000]));
    let (order, meter) = (room(missing), Meter::default());
    let error = pull(&order, &meter).await.unwrap_err();
    assert!(error.waits(), "{error:?}");
    assert_eq!(meter.missing(), Some(layer.len() as u64 - 9000));
    liar.set(&blob_path(&layer), Reply::Good(layer.clone()));
    let rest = layer.len() - 9000;
    let error = pull(&room(rest - 1), &Meter::default()).await.unwrap_err();
    assert!(error.waits(), "{error:?}");
    let part = folder.path().join(format!("{}.part", sha256(&layer)));
    assert_eq!(fs::metadata(&part).unwrap().len(), 9000, "what came stays");
    let meter = Meter::default();
    pull(&room(rest), &meter).await.unwrap();
    assert_eq!((meter.missing(), meter.done()), (Some(0), meter.total()));
    // All of it is there, or need not be fetched.
    pull(&room(0), &Meter::default()).await.unwrap();
    let other = tempdir().unwrap();
    let mut order = liar.order(other.path());
    order.limits.room = 0;
    order.have = [&layer, &parts.config].map(|blob| sha256(blob)).into();
    pull(&order, &Meter::default()).await.unwrap();
}
