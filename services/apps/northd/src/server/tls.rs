//! The server's certificate and key, as the node daemon hands them out.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain is no PEM text with certificates.
    #[error("the server certificate that the node daemon gave cannot be read")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// No certificate.
    #[error("the node daemon gave no server certificate")]
    NoCertificate,
    /// The key is no PEM text with a key. The source is not kept, since it may quote the key.
    #[error("the server key that the node daemon gave cannot be read")]
    Key,
    /// Certificate and key do not go together, or are of an unknown kind.
    #[error("the server certificate and key that the node daemon gave cannot be used")]
    Rejected(#[source] rustls::Error),
}

/// A certificate chain with its key, ready for connections.
#[derive(Clone)]
pub struct TlsIdentity {
    pub(super) config: Arc<ServerConfig>,
}

impl TlsIdentity {
    /// From PEM texts.
    pub fn from_pem(certificates: &str, private_key: &str) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(TlsError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key =
            PrivateKeyDer::from_pem_slice(private_key.as_bytes()).map_err(|_| TlsError::Key)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Rejected)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Rejected)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }
}
