//! The node's identity: its id, its own certificate authority and the server certificate for HTTPS.
//!
//! Made once, at first boot, and kept. The validity starts before the machine's clock can be wrong and
//! is long, because a node that was in a box for two years must still show its page; what a client trusts
//! is the fingerprint on the console, until an SMO or a site puts a certificate of its own in place.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Everything that makes this node this node. Contains private keys.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The node's id; also the O-Cloud id.
    pub node_id: Uuid,
    /// The authority's certificate, PEM.
    pub ca_certificate: String,
    /// The authority's private key, PKCS #8 PEM.
    pub ca_key: String,
    /// The server certificate, PEM.
    pub server_certificate: String,
    /// The server's private key, PKCS #8 PEM.
    pub server_key: String,
}

/// An identity that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A certificate or key could not be made.
    #[error("the {what} could not be made")]
    Make {
        /// Which part.
        what: &'static str,
        /// The library's error.
        source: rcgen::Error,
    },
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a new identity. `node_id` is drawn by the caller; the keys come from the TLS provider's own source.
    pub fn make(node_id: Uuid, hostname: &str) -> Result<Self, IdentityError> {
        let ca_key = key("authority's key")?;
        let ca =
            ca_params(node_id).self_signed(&ca_key).map_err(failed("authority's certificate"))?;
        let server_key = key("server's key")?;
        let issuer = Issuer::new(ca_params(node_id), &ca_key);
        let server = server_params(node_id, hostname)?
            .signed_by(&server_key, &issuer)
            .map_err(failed("server's certificate"))?;
        Ok(Self {
            node_id,
            ca_certificate: ca.pem(),
            ca_key: ca_key.serialize_pem(),
            server_certificate: server.pem(),
            server_key: server_key.serialize_pem(),
        })
    }

    /// The chain for HTTPS: the server's certificate, then the authority's.
    pub fn chain(&self) -> String {
        format!("{}{}", self.server_certificate, self.ca_certificate)
    }

    /// The fingerprint that consoles show.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.server_certificate)
    }
}

fn failed(what: &'static str) -> impl FnOnce(rcgen::Error) -> IdentityError {
    move |source| IdentityError::Make { what, source }
}

fn key(what: &'static str) -> Result<KeyPair, IdentityError> {
    KeyPair::generate().map_err(failed(what))
}

fn base_params(common_name: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Skerry");
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

fn ca_params(node_id: Uuid) -> CertificateParams {
    let mut params = base_params(format!("Skerry node {node_id} authority"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params(node_id: Uuid, hostname: &str) -> Result<CertificateParams, IdentityError> {
    let mut params = base_params(format!("Skerry node {node_id}"));
    let dns =
        |name: String| name.try_into().map(SanType::DnsName).map_err(failed("host name entry"));
    params.subject_alt_names = vec![
        dns(hostname.to_owned())?,
        dns(format!("{hostname}.local"))?,
        dns("localhost".to_owned())?,
        SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
        SanType::IpAddress(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// SHA-256 over a certificate's DER form, as browsers show it: `AB:CD:…`. Empty for text that is no PEM.
pub fn fingerprint(certificate_pem: &str) -> String {
    use base64::Engine as _;
    let body: String = certificate_pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    let Ok(der) = base64::engine::general_purpose::STANDARD.decode(body.trim()) else {
        return String::new();
    };
    if der.is_empty() {
        return String::new();
    }
    Sha256::digest(&der).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_a_chain_and_keeps_its_keys_to_itself() {
        let identity = Identity::make(Uuid::from_u128(7), "skerry-0007").unwrap();
        assert_eq!(identity.chain().matches("BEGIN CERTIFICATE").count(), 2);
        assert!(identity.server_key.contains("PRIVATE KEY"));
        assert!(!format!("{identity:?}").contains("PRIVATE"));
        assert_eq!(identity.fingerprint().len(), 32 * 3 - 1);
        let text = serde_json::to_string(&identity).unwrap();
        let again: Identity = serde_json::from_str(&text).unwrap();
        assert_eq!(again.fingerprint(), identity.fingerprint());
    }

    #[test]
    fn no_pem_has_no_fingerprint() {
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----"] {
            assert_eq!(fingerprint(text), "");
        }
    }
}
