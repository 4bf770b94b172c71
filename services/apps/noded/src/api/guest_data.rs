//! What guests learn through cloud-init: checked, with passwords turned into hashes before anything is kept.

use sha_crypt::{Sha512Params, sha512_simple};
use skerry_compute::check_yaml;
use skerry_ipc::Refusal;
use skerry_model::{Hidden, VmInit, VmSpec};

use super::refuse::{internal, wrong_field};

/// Rounds of the hash: the usual number, which any guest can do at every login.
const ROUNDS: usize = 5000;

/// Readies the data of a machine. What is not shown and was not given again stays as it was.
pub async fn ready(spec: &mut VmSpec, before: Option<&VmInit>) -> Result<(), Refusal> {
    let Some(init) = &mut spec.init else { return Ok(()) };
    init.keep_hidden(before);
    check_yaml(init).map_err(|(field, message)| wrong_field(field, message))?;
    if init.password.is_none() || init.password_is_hash() {
        return Ok(());
    }
    let plain = init.password.take().unwrap_or_default();
    let work = move || {
        let params = Sha512Params::new(ROUNDS).map_err(|error| format!("{error:?}"))?;
        sha512_simple(plain.reveal(), &params).map_err(|error| format!("{error:?}"))
    };
    let hash = tokio::task::spawn_blocking(work).await.map_err(internal)?.map_err(internal)?;
    init.password = Some(Hidden::new(hash));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn password(text: &str) -> String {
        let init = serde_json::json!({"image": "debian", "init": {"password": text}});
        let mut spec: VmSpec = serde_json::from_value(init).unwrap();
        ready(&mut spec, None).await.unwrap();
        spec.init.unwrap().password.unwrap().reveal().to_owned()
    }

    #[tokio::test]
    async fn passwords_are_kept_as_hashes() {
        let hash = password("swordfish").await;
        sha_crypt::sha512_check("swordfish", &hash).unwrap();
        assert!(sha_crypt::sha512_check("other", &hash).is_err());
        assert_eq!(password(&hash).await, hash, "a hash stays as it is");
    }
}
