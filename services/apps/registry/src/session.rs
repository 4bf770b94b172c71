//! One repository at one registry or mirror: authorized requests, redirects, bounded answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RANGE,
    WWW_AUTHENTICATE,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use skerry_containers::oci::{Blob, MANIFEST_TYPES, MAX_JSON};
use tokio::time::timeout;

use crate::challenge::{self, Challenge};
use crate::{Endpoint, Limits, RegistryError, tls};

/// Most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// Most bytes of a token service's answer.
const MAX_TOKEN: u64 = 64 << 10;

/// What is asked for.
pub(crate) struct Ask<'a> {
    /// Below the repository: `manifests/latest`.
    pub below: &'a str,
    /// What to call it in an error.
    pub what: &'a str,
    /// From this byte on.
    pub from: u64,
}

/// A repository at an endpoint.
pub(crate) struct Session {
    /// Where.
    pub endpoint: Endpoint,
    path: String,
    limits: Limits,
    http: Client,
    /// The header that the registry wanted last.
    authorization: Mutex<Option<HeaderValue>>,
}

/// A document with what its sender calls it.
pub(crate) struct Received {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its media type, without parameters.
    pub media_type: Option<String>,
}

impl Session {
    /// For the repository at `path`.
    pub fn new(endpoint: Endpoint, path: &str, limits: Limits) -> Result<Self, RegistryError> {
        let settings = |why: String| RegistryError::Settings { host: endpoint.host.clone(), why };
        let tls = tls::client(endpoint.ca_pem.as_deref()).map_err(settings)?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(limits.connect)
            // Followed here, where it is known which requests carry a secret.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("skerry/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| settings(error.to_string()))?;
        let authorization = Mutex::new(None);
        Ok(Self { endpoint, path: path.to_owned(), limits, http, authorization })
    }

    /// Reads a manifest or an index by tag or digest.
    pub async fn manifest(&self, name: &str) -> Result<Received, RegistryError> {
        let below = format!("manifests/{name}");
        let what = format!("image {}:{name}", self.path);
        let ask = Ask { below: &below, what: &what, from: 0 };
        let read = async {
            let response = self.get(&ask).await?;
            let media_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
            let media_type = media_type
                .and_then(|text| text.split(';').next())
                .map(|text| text.trim().to_ascii_lowercase());
            Ok(Received { bytes: self.bounded(response, MAX_JSON).await?, media_type })
        };
        self.within(self.limits.document, read).await
    }

    /// Reads a blob that fits into memory; whoever asked must check its digest.
    pub async fn small(&self, blob: &Blob) -> Result<Vec<u8>, RegistryError> {
        let below = format!("blobs/sha256:{}", blob.digest);
        let what = format!("part sha256:{} of the image", blob.digest);
        let ask = Ask { below: &below, what: &what, from: 0 };
        let read = async {
            let response = self.get(&ask).await?;
            self.bounded(response, blob.size.min(MAX_JSON)).await
        };
        self.within(self.limits.document, read).await
    }

    /// Asks, with what the registry wants to see, and gives an answer with a good status.
    pub async fn get(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let (mut response, own) = self.follow(ask).await?;
        if response.status() == StatusCode::UNAUTHORIZED && own {
            let wanted = challenge_of(&response);
            drop(response);
            self.authorize(wanted, ask.what).await?;
            (response, _) = self.follow(ask).await?;
        }
        let (host, what) = (self.endpoint.host.clone(), ask.what.to_owned());
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(RegistryError::Denied { host, what })
            }
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound { host, what }),
            status => Err(RegistryError::Status { host, what, status }),
        }
    }

    /// Sends a request and follows redirects; tells also whether the answer is the registry's own.
    async fn follow(&self, ask: &Ask<'_>) -> Result<(Response, bool), RegistryError> {
        let start = self.endpoint.url(&format!("{}/{}", self.path, ask.below))?;
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let own = url.origin() == start.origin();
            let response = self.send(self.request(&url, ask, own)).await?;
            if !response.status().is_redirection() {
                return Ok((response, own));
            }
            url = self.target(&url, &response)?;
        }
        Err(self.misbehaves(format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn request(&self, url: &Url, ask: &Ask<'_>, own: bool) -> RequestBuilder {
        let mut request = self.http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if ask.below.starts_with("manifests/") {
            request = request.header(ACCEPT, MANIFEST_TYPES.join(", "));
        }
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A secret is for the registry itself, not for whomever it points to.
        match known.filter(|_| own) {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    fn target(&self, from: &Url, response: &Response) -> Result<Url, RegistryError> {
        let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|text| from.join(text).ok());
        let target = target.ok_or_else(|| self.misbehaves("a redirect without a usable target"))?;
        self.check_scheme(&target)?;
        Ok(target)
    }

    /// What begins under TLS stays under TLS.
    fn check_scheme(&self, url: &Url) -> Result<(), RegistryError> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.endpoint.plain_http => Ok(()),
            _ => Err(self.misbehaves("it points to an address without TLS")),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        let sent =
            async { request.send().await.map_err(|e| RegistryError::http(&self.endpoint.host, e)) };
        self.within(self.limits.connect + self.limits.idle, sent).await
    }

    /// Gets what the registry wants to see and keeps it for the next requests.
    async fn authorize(&self, wanted: Option<Challenge>, what: &str) -> Result<(), RegistryError> {
        let denied =
            || RegistryError::Denied { host: self.endpoint.host.clone(), what: what.to_owned() };
        let value = match wanted {
            Some(Challenge::Basic) => {
                let credentials = self.endpoint.credentials.as_ref().ok_or_else(denied)?;
                // The HTTP client knows how to write it; an unsent request is the way to ask.
                let request = self
                    .http
                    .get(self.endpoint.url("")?)
                    .basic_auth(&credentials.username, Some(&credentials.password));
                let request =
                    request.build().map_err(|e| RegistryError::http(&self.endpoint.host, e))?;
                request.headers().get(AUTHORIZATION).cloned().ok_or_else(denied)?
            }
            Some(Challenge::Bearer { realm, service }) => {
                self.token(&realm, service.as_deref(), what).await?
            }
            None => return Err(denied()),
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// Asks the token service for leave to read this repository, and for nothing more.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        what: &str,
    ) -> Result<HeaderValue, RegistryError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut url =
            Url::parse(realm).map_err(|_| self.misbehaves("its token service has no address"))?;
        self.check_scheme(&url)?;
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", self.path));
        let mut request = self.http.get(url);
        if let Some(credentials) = &self.endpoint.credentials {
            request = request.basic_auth(&credentials.username, Some(&credentials.password));
        }
        let read = async {
            let response = self.send(request).await?;
            let (host, what) = (self.endpoint.host.clone(), what.to_owned());
            match response.status() {
                StatusCode::OK => self.bounded(response, MAX_TOKEN).await,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    Err(RegistryError::Denied { host, what })
                }
                status => {
                    let what = "a token".to_owned();
                    Err(RegistryError::Status { host, what, status })
                }
            }
        };
        let bytes = self.within(self.limits.document, read).await?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let value = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let mut value = value.ok_or_else(|| self.misbehaves("its token service gives no token"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Reads a whole answer, unless it is longer than `limit`.
    async fn bounded(&self, mut response: Response, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let too_long = || self.misbehaves(format!("an answer of more than {limit} bytes"));
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut response).await? {
            if (bytes.len() + piece.as_ref().len()) as u64 > limit {
                return Err(too_long());
            }
            bytes.extend_from_slice(piece.as_ref());
        }
        Ok(bytes)
    }

    /// The next piece of an answer; `None` at its end.
    pub async fn piece(
        &self,
        response: &mut Response,
    ) -> Result<Option<impl AsRef<[u8]> + use<>>, RegistryError> {
        let next = async {
            response.chunk().await.map_err(|e| RegistryError::http(&self.endpoint.host, e))
        };
        self.within(self.limits.idle, next).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        match timeout(limit, work).await {
            Ok(result) => result,
            Err(_elapsed) => {
                let host = self.endpoint.host.clone();
                Err(RegistryError::Stalled { host, seconds: limit.as_secs() })
            }
        }
    }

    /// For answers that no registry gives.
    pub fn misbehaves(&self, why: impl Into<String>) -> RegistryError {
        RegistryError::Protocol { host: self.endpoint.host.clone(), why: why.into() }
    }

    /// For bytes that are not those of `what`.
    pub fn wrong_bytes(&self, what: impl Into<String>) -> RegistryError {
        RegistryError::WrongBytes { host: self.endpoint.host.clone(), what: what.into() }
    }
}

fn challenge_of(response: &Response) -> Option<Challenge> {
    let headers = response.headers().get_all(WWW_AUTHENTICATE);
    let texts: Vec<&str> = headers.iter().filter_map(|value| value.to_str().ok()).collect();
    challenge::read(&texts)
}
