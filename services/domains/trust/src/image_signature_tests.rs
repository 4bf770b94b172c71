use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SigningKey};
use serde_json::{Value, json};

use super::*;

const REPOSITORY: &str = "localhost:5000/lab/app";

struct Signer(KeyPair);

impl Signer {
    fn new() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    fn key(&self) -> ImageKey {
        ImageKey::from_pem(&self.0.public_key_pem()).unwrap()
    }

    fn sign(&self, payload: &[u8]) -> (Vec<u8>, String) {
        (payload.to_vec(), STANDARD.encode(self.0.sign(payload).unwrap()))
    }
}

fn digest() -> String {
    "a1".repeat(32)
}

/// As cosign writes it.
fn payload(repository: &str, digest: &str) -> Value {
    json!({"critical": {"identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": format!("sha256:{digest}")},
        "type": "cosign container image signature"}, "optional": null})
}

fn verify(keys: &[ImageKey], claims: &[(Vec<u8>, String)]) -> Result<String, SignatureFault> {
    let claims: Vec<SignedClaim<'_>> =
        claims.iter().map(|(payload, signature)| SignedClaim { payload, signature }).collect();
    let pulled = format!("{REPOSITORY}:1").parse().unwrap();
    verify_image(keys, &digest(), &pulled, &claims)
}

fn good(signer: &Signer) -> (Vec<u8>, String) {
    signer.sign(payload(REPOSITORY, &digest()).to_string().as_bytes())
}

#[test]
fn a_signature_by_one_of_the_keys_is_enough_among_many() {
    let signer = Signer::new();
    let edwards = Signer(KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let keys = [signer.key(), edwards.key()];
    assert_eq!(verify(&keys, &[good(&signer)]).unwrap(), signer.key().id());
    assert_eq!(verify(&keys, &[good(&edwards)]).unwrap(), edwards.key().id());
    let mut many: Vec<_> = (0..40).map(|_| good(&Signer::new())).collect();
    assert_eq!(verify(&keys, &many), Err(SignatureFault::OtherKey { count: 40 }));
    many.insert(20, good(&signer));
    assert_eq!(verify(&keys, &many).unwrap(), signer.key().id());
    // The tag in a signature says nothing.
    let tagged = payload(&format!("{REPOSITORY}:other"), &digest()).to_string();
    assert!(verify(&keys, &[signer.sign(tagged.as_bytes())]).is_ok());
}

#[test]
fn the_names_of_the_public_registry_are_one() {
    let signer = Signer::new();
    let text = payload("index.docker.io/library/busybox", &digest()).to_string();
    let (payload, signature) = signer.sign(text.as_bytes());
    let claim = SignedClaim { payload: &payload, signature: &signature };
    let pulled = "busybox:1.36".parse().unwrap();
    assert!(verify_image(&[signer.key()], &digest(), &pulled, &[claim]).is_ok());
}

#[test]
fn every_other_signature_is_refused_with_the_reason() {
    let signer = Signer::new();
    let keys = [signer.key()];
    let one = SignatureFault::OtherKey { count: 1 };
    assert_eq!(verify(&keys, &[]), Err(SignatureFault::Missing));
    assert_eq!(verify(&keys, &[good(&Signer::new())]), Err(one.clone()), "wrong key");
    assert_eq!(verify(&[], &[good(&signer)]), Err(one.clone()), "no key");
    let (mut tampered, signature) = good(&signer);
    tampered[30] ^= 1;
    assert_eq!(verify(&keys, &[(tampered, signature.clone())]), Err(one.clone()), "tampered");
    let (right, _) = good(&signer);
    for wrong in ["", "!", &signature[4..], &"A".repeat(5000)] {
        assert_eq!(verify(&keys, &[(right.clone(), wrong.to_owned())]), Err(one.clone()));
    }
    let mut large = payload(REPOSITORY, &digest());
    large["optional"] = json!("x".repeat(MAX_PAYLOAD));
    let large = signer.sign(large.to_string().as_bytes());
    assert_eq!(verify(&keys, &[large]), Err(one), "oversized");

    let signed = |value: &Value| signer.sign(value.to_string().as_bytes());
    let other = "b2".repeat(32);
    let fault = verify(&keys, &[signed(&payload(REPOSITORY, &other))]).unwrap_err();
    assert_eq!(fault, SignatureFault::OtherImage { signed: other.clone() });
    for wrong in ["localhost:5000/lab/other", "localhost:5001/lab/app", "lab/app"] {
        let fault = verify(&keys, &[signed(&payload(wrong, &digest()))]).unwrap_err();
        assert!(matches!(fault, SignatureFault::OtherRepository { .. }), "{wrong}: {fault:?}");
    }
    // Of several faults the nearest to a good signature is told.
    let several = [
        good(&Signer::new()),
        signed(&payload("localhost:5000/x", &digest())),
        signed(&payload(REPOSITORY, &other)),
    ];
    let fault = verify(&keys, &several).unwrap_err();
    assert!(fault.to_string().contains("for another repository: localhost:5000/x"), "{fault}");
}

#[test]
fn what_a_known_key_signed_for_another_use_is_no_signature_of_an_image() {
    let signer = Signer::new();
    let edit = |change: fn(&mut Value)| {
        let mut value = payload(REPOSITORY, &digest());
        change(&mut value);
        value.to_string()
    };
    for text in [
        "{}".to_owned(),
        "x".to_owned(),
        edit(|v| v["critical"]["type"] = json!("atomic container signature")),
        edit(|v| v["critical"]["image"]["docker-manifest-digest"] = json!("sha512:00")),
        edit(|v| v["critical"]["identity"]["docker-reference"] = json!("")),
        edit(|v| v["critical"]["more"] = json!(1)),
        edit(|v| v["critical"]["image"] = json!({})),
    ] {
        let fault = verify(&[signer.key()], &[signer.sign(text.as_bytes())]).unwrap_err();
        assert!(matches!(fault, SignatureFault::Payload { .. }), "{text}: {fault:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_confuse_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let pulled = REPOSITORY.parse().unwrap();
        prop_assert!(check(&bytes, &digest(), &pulled).is_err());
    }

    /// Whatever is put in the place of one byte: what passes still says the same.
    #[test]
    fn a_changed_document_passes_only_with_the_same_meaning(
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let pulled = REPOSITORY.parse().unwrap();
        let mut bytes = payload(REPOSITORY, &digest()).to_string().into_bytes();
        let before: Payload = serde_json::from_slice(&bytes).unwrap();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if check(&bytes, &digest(), &pulled).is_ok() {
            let after: Payload = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(after, before);
        }
    }

    #[test]
    fn any_document_in_form_is_read_for_what_it_says(
        repository in "[a-z]{1,8}/[a-z]{1,8}", digest in "[0-9a-f]{64}", more in ".{0,40}",
    ) {
        let pulled: ImageReference = repository.parse().unwrap();
        let mut value = payload(&repository, &digest);
        value["optional"] = json!({ "note": more });
        let bytes = value.to_string();
        prop_assert_eq!(check(bytes.as_bytes(), &digest, &pulled), Ok(()));
        prop_assert!(check(bytes.as_bytes(), &super::tests::digest(), &pulled).is_err());
    }
}
