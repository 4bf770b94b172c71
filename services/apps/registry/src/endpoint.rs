//! Where to pull from, and how.

use std::fmt;

use reqwest::Url;
use skerry_model::RegistryHost;

use crate::RegistryError;

/// A name and a password. Never shown: its debug form holds neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name.
    pub username: String,
    /// Password or access token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// A registry or a mirror of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its host.
    pub host: RegistryHost,
    /// Without TLS: whoever sits on the way can read the password and keep images away, though not change
    /// what a digest names. For laboratories.
    pub plain_http: bool,
    /// The certificates (PEM) to trust for it, instead of the public ones.
    pub ca_pem: Option<String>,
    /// Who to be. They are sent to this host and to the token service that it names, and to nobody else.
    pub credentials: Option<Credentials>,
}

impl Endpoint {
    /// A registry with a publicly trusted certificate and no password.
    pub const fn public(host: RegistryHost) -> Self {
        Self { host, plain_http: false, ca_pem: None, credentials: None }
    }

    /// The address of something below `/v2/`.
    pub(crate) fn url(&self, below: &str) -> Result<Url, RegistryError> {
        let scheme = if self.plain_http { "http" } else { "https" };
        // The registry behind this name answers under another one.
        let host = match self.host.as_str() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let text = format!("{scheme}://{host}/v2/{below}");
        Url::parse(&text).map_err(|_| RegistryError::Settings {
            host: self.host.clone(),
            why: "its address cannot be used".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_settings() {
        let mut endpoint = Endpoint::public("docker.io".parse().unwrap());
        let url = |endpoint: &Endpoint| endpoint.url("a/b/blobs/x").unwrap().to_string();
        assert_eq!(url(&endpoint), "https://registry-1.docker.io/v2/a/b/blobs/x");
        endpoint.host = "[fd00::1]:5000".parse().unwrap();
        endpoint.plain_http = true;
        assert_eq!(url(&endpoint), "http://[fd00::1]:5000/v2/a/b/blobs/x");
    }

    #[test]
    fn a_password_is_not_in_the_debug_form() {
        let credentials =
            Credentials { username: "anna".to_owned(), password: "secret".to_owned() };
        let endpoint =
            Endpoint { credentials: Some(credentials), ..Endpoint::public("x.y".parse().unwrap()) };
        let shown = format!("{endpoint:?}");
        assert!(!shown.contains("secret") && !shown.contains("anna"), "{shown}");
    }
}
