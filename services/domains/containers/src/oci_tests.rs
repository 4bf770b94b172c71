use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn descriptor(kind: &str, digit: &str, size: u64) -> Value {
    json!({"mediaType": kind, "digest": format!("sha256:{}", digit.repeat(64)), "size": size})
}

fn platform(mut descriptor: Value, os: &str, architecture: &str) -> Value {
    descriptor["platform"] = json!({"os": os, "architecture": architecture});
    descriptor
}

fn oci_image(layers: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", "c", 100), "layers": layers})
}

fn read(value: &Value) -> Result<Described, OciError> {
    describe(value.to_string().as_bytes(), None)
}

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[test]
fn both_forms_of_a_manifest_mean_the_same() {
    let oci = oci_image(&[descriptor(GZIP, "a", 5)]);
    let docker = json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
        "config": descriptor("application/vnd.docker.container.image.v1+json", "c", 100),
        "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", "a", 5)]});
    let found = read(&oci).unwrap();
    assert_eq!(read(&docker).unwrap(), found);
    let Described::Manifest(manifest) = found else { panic!("no manifest") };
    assert_eq!(manifest.layers[0].1, Compression::Gzip);
    assert_eq!((manifest.blobs().len(), manifest.size()), (2, 105));
}

#[test]
fn the_image_for_this_machine_is_chosen() {
    for (list, image) in [(OCI_INDEX, OCI_MANIFEST), (DOCKER_INDEX, DOCKER_MANIFEST)] {
        let index = json!({"schemaVersion": 2, "mediaType": list, "manifests": [
            platform(descriptor(image, "1", 9), "linux", "arm64"),
            platform(descriptor(image, "2", 9), "windows", "amd64"),
            platform(descriptor(image, "3", 9), "linux", "amd64"),
            platform(descriptor(image, "4", 9), "linux", "amd64"),
            platform(descriptor(image, "5", 9), "unknown", "unknown"),
        ]});
        let chosen = Blob { digest: "3".repeat(64), size: 9 };
        assert_eq!(read(&index), Ok(Described::Index(chosen)));
    }
    let only = json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, "1", 9)]});
    assert!(matches!(read(&only), Ok(Described::Index(_))), "no platform, but the only one");
}

#[test]
fn what_cannot_be_used_is_refused_with_the_reason() {
    let config = descriptor("application/vnd.oci.image.config.v1+json", "c", 100);
    let cases: Vec<(Value, &str)> = vec![
        (json!({"schemaVersion": 1}), "version 1"),
        (json!([]), "the manifest"),
        (json!({"schemaVersion": 2, "mediaType": "text/html"}), "text/html"),
        (json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}), "no image for"),
        (
            json!({"schemaVersion": 2, "manifests": [
                platform(descriptor(OCI_MANIFEST, "1", 9), "linux", "arm64")]}),
            "no image for",
        ),
        (
            json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, "1", 9),
                descriptor(OCI_MANIFEST, "2", 9)]}),
            "no image for",
        ),
        (
            json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, "1", 5 << 20)]}),
            "bytes",
        ),
        (oci_image(&[]), "0 layers"),
        (oci_image(&vec![descriptor(GZIP, "a", 1); 128]), "128 layers"),
        (oci_image(&[descriptor(GZIP, "a", 9 << 30)]), "bytes"),
        (
            oci_image(&[descriptor(
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                "a",
                1,
            )]),
            "not supported",
        ),
        (
            json!({"schemaVersion": 2, "config": config, "layers": [
                {"mediaType": GZIP, "size": 1, "digest": "sha256:../../x"}]}),
            "",
        ),
        (
            json!({"schemaVersion": 2, "config": config, "layers": [
                {"mediaType": GZIP, "size": -1, "digest": format!("sha256:{}", "a".repeat(64))}]}),
            "the manifest",
        ),
        (
            json!({"schemaVersion": 2, "config": config, "layers": [
                {"mediaType": GZIP, "size": 1, "digest": format!("sha512:{}", "a".repeat(128))}]}),
            "not a SHA-256",
        ),
    ];
    for (value, reason) in cases {
        let error = read(&value).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error} / {reason}");
    }
    let long = vec![b' '; usize::try_from(MAX_JSON).unwrap() + 1];
    assert!(describe(&long, None).unwrap_err().to_string().contains("4 MiB"));
}

#[test]
fn a_configuration_must_be_for_this_machine_and_fit_the_manifest() {
    let config = |architecture: &str, ids: Value| {
        json!({"os": "linux", "architecture": architecture,
            "rootfs": {"type": "layers", "diff_ids": ids}})
        .to_string()
    };
    let id = format!("sha256:{}", "a".repeat(64));
    let good = config("amd64", json!([id]));
    assert_eq!(configuration(good.as_bytes(), 1).unwrap().1, ["a".repeat(64)]);
    for bad in [
        config("arm64", json!([id])),
        config("amd64", json!([])),
        config("amd64", json!(["sha256:../x"])),
        "{}".to_owned(),
    ] {
        assert!(configuration(bad.as_bytes(), 1).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_digests_are_always_digests(
        at in 0_usize..400, byte in any::<u8>(), noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let _ = describe(&noise, None);
        let mut text = oci_image(&[descriptor(GZIP, "a", 5)]).to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(Described::Manifest(manifest)) = describe(&text, None) {
            prop_assert!(manifest.blobs().iter().all(|blob| is_sha256(&blob.digest)));
        }
    }
}
