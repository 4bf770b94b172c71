//! Whom to trust when connecting.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Most certificates of one registry's own CA.
const MAX_CERTIFICATES: usize = 32;

/// TLS that trusts the public authorities, or only those in `ca_pem`.
///
/// The public ones are part of the program: an appliance has no folder of certificates that somebody tends.
pub fn client(ca_pem: Option<&str>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            let found: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(pem.as_bytes()).take(MAX_CERTIFICATES).collect();
            let found = found.map_err(|error| format!("its CA is not PEM: {error}"))?;
            if found.is_empty() {
                return Err("its CA holds no certificate".to_owned());
            }
            for certificate in found {
                roots.add(certificate).map_err(|error| format!("its CA: {error}"))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_must_hold_certificates() {
        assert!(client(None).is_ok());
        for bad in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(client(Some(bad)).is_err(), "{bad}");
        }
    }
}
