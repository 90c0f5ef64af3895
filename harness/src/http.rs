//! Reaching the app over HTTP, as its users' gateway would or through that gateway.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};

use crate::name::{Domain, Zone};
use crate::wait::Stopwatch;

/// How much of an answer is kept, in bytes.
const BODY_LIMIT: usize = 4 << 20;

/// How long one request may take: an app that needs longer for its front page is not serving yet.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// Why a request got no answer, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer.
    #[error("no answer: {}", chain(.0))]
    NoAnswer(#[source] reqwest::Error),
    /// The client cannot be set up.
    #[error("failed to set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// What was asked for is no request.
    #[error("`{0}` is not a valid {1}")]
    Invalid(String, &'static str),
}

/// reqwest hides the cause (`connection refused`) two sources deep.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    if text.is_empty() {
        error.to_string()
    } else {
        text
    }
}

/// The way to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To the container itself, with what a gateway would add.
    Direct {
        /// The container's address.
        address: IpAddr,
        /// The port that the recipe tells its gateway.
        port: u16,
    },
    /// Through the host's gateway.
    Gateway(Gateway),
}

/// A gateway: a reverse proxy that knows the app by its domain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Gateway {
    /// Where to connect.
    pub address: SocketAddr,
    /// Whether to speak TLS to it.
    pub tls: bool,
}

/// A gateway that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "gateway `{0}` is not usable: give an IP address with an optional port, after `http://` or `https://`"
)]
pub struct GatewayError(pub String);

impl std::str::FromStr for Gateway {
    type Err = GatewayError;

    fn from_str(text: &str) -> Result<Self, GatewayError> {
        let (tls, rest) = match text.strip_prefix("http://") {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix("https://").unwrap_or(text)),
        };
        let port = if tls { 443 } else { 80 };
        rest.parse::<SocketAddr>()
            .or_else(|_| rest.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)))
            .map(|address| Self { address, tls })
            .map_err(|_| GatewayError(text.to_owned()))
    }
}

/// What to ask of an app.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The method; GET when empty.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Headers beyond the usual.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Vec<u8>>,
}

impl Question {
    /// Creates a GET of `path`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }
}

/// What an app answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, up to 4 MiB.
    pub body: Vec<u8>,
    /// How long it took.
    pub elapsed: Duration,
}

/// A client for one app.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    domain: String,
    gateway: Option<Gateway>,
}

impl Http {
    /// Creates a client for the app of `domain`, through `gateway` when one is given.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn new(domain: &Domain, gateway: Option<&Gateway>) -> Result<Self, HttpError> {
        crate::tls::choose_provider();
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(REQUEST_LIMIT)
            .connect_timeout(Duration::from_secs(5));
        builder = match gateway {
            Some(gateway) => builder.resolve(domain.as_str(), gateway.address),
            // Plain HTTP needs no roots; loading the system's costs time and memory in every run.
            None => builder.tls_certs_only([]),
        };
        let client = builder.build().map_err(HttpError::Setup)?;
        Ok(Self {
            client,
            domain: domain.to_string(),
            gateway: gateway.cloned(),
        })
    }

    /// Asks the app behind `way`.
    ///
    /// # Errors
    /// [`HttpError`] when there is no answer; any status is an answer.
    pub async fn ask(&self, way: &Way, question: &Question) -> Result<Answer, HttpError> {
        let url = match way {
            Way::Direct { address, port } => format!(
                "http://{}{}",
                SocketAddr::new(*address, *port),
                question.path
            ),
            Way::Gateway(gateway) => self.gateway_url(gateway, &self.domain, &question.path),
        };
        self.send(&url, matches!(way, Way::Direct { .. }), question)
            .await
    }

    fn gateway_url(&self, gateway: &Gateway, domain: &str, path: &str) -> String {
        let scheme = if gateway.tls { "https" } else { "http" };
        format!("{scheme}://{domain}:{}{path}", gateway.address.port())
    }

    async fn send(
        &self,
        url: &str,
        direct: bool,
        question: &Question,
    ) -> Result<Answer, HttpError> {
        let watch = Stopwatch::start();
        let method = if question.method.is_empty() {
            "GET"
        } else {
            &question.method
        };
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| HttpError::Invalid(question.method.clone(), "HTTP method"))?;
        let mut request = self
            .client
            .request(method, url)
            .headers(self.headers(direct, question)?);
        if let Some(body) = &question.body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await.map_err(HttpError::NoAnswer)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            })
            .collect();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(HttpError::NoAnswer)? {
            let room = BODY_LIMIT.saturating_sub(body.len());
            body.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Ok(Answer {
            status,
            headers,
            body,
            elapsed: watch.elapsed(),
        })
    }

    /// A direct request carries what Traefik would have added: apps that insist on https look for it.
    fn headers(&self, direct: bool, question: &Question) -> Result<HeaderMap, HttpError> {
        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &str| {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| HttpError::Invalid(name.to_owned(), "header name"))?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| HttpError::Invalid(name.to_string(), "header value"))?;
            headers.append(name, value);
            Ok::<(), HttpError>(())
        };
        if direct {
            add(HOST.as_str(), &self.domain)?;
            for (name, value) in [
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", self.domain.as_str()),
                ("x-forwarded-port", "443"),
            ] {
                add(name, value)?;
            }
        }
        for (name, value) in &question.headers {
            add(name, value)?;
        }
        Ok(headers)
    }

    /// Returns what the gateway says to a domain that no app has, to tell its own page from the app's.
    ///
    /// `None` without a gateway, or when it does not answer such a domain at all.
    pub async fn fallback(&self, zone: &Zone) -> Option<Answer> {
        let gateway = self.gateway.as_ref()?;
        let nobody = format!("nobody-{:08x}.{zone}", rand::random::<u32>());
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(REQUEST_LIMIT)
            .resolve(&nobody, gateway.address)
            .build()
            .ok()?;
        let other = Self {
            client,
            domain: nobody.clone(),
            gateway: None,
        };
        other
            .send(
                &other.gateway_url(gateway, &nobody, "/"),
                false,
                &Question::get("/"),
            )
            .await
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_addresses_with_a_scheme() {
        let parse = |text: &str| text.parse::<Gateway>();
        assert_eq!(
            parse("127.0.0.1").unwrap(),
            Gateway {
                address: "127.0.0.1:443".parse().unwrap(),
                tls: true
            }
        );
        assert_eq!(
            parse("http://[::1]:81").unwrap(),
            Gateway {
                address: "[::1]:81".parse().unwrap(),
                tls: false
            }
        );
        assert!(parse("traefik.local").is_err());
    }
}
