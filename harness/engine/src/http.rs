//! Reaching the app over HTTP, as its users' gateway would or through that gateway.

pub mod cookies;
mod fault;
pub mod follow;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Method, Url};

use crate::wait::Stopwatch;
pub use cookies::Cookies;
pub use fault::GatewayFault;
pub use follow::{End, Ended, MOST_REDIRECTS, Next};
use ground::name::{Domain, Zone};

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

impl HttpError {
    /// Returns whether what answered does not speak TLS.
    #[must_use]
    pub fn is_no_tls(&self) -> bool {
        let Self::NoAnswer(error) = self else {
            return false;
        };
        matches!(
            fault::tls_error(error),
            Some(rustls::Error::InvalidMessage(_))
        )
    }

    /// Returns whether nothing listens at the port.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let Self::NoAnswer(error) = self else {
            return false;
        };
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let io = cause.downcast_ref::<std::io::Error>();
            if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
                return true;
            }
            source = cause.source();
        }
        false
    }
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
        /// Whether to speak TLS to it. As a gateway that is told so, any certificate will do.
        tls: bool,
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
    /// Certificates, as PEM, of authorities that are trusted beside those of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
}

impl Gateway {
    /// Returns its address as it is written in an option.
    #[must_use]
    pub fn shown(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

/// Returns whether `text` holds certificates that can be trusted, at least one.
#[must_use]
pub fn has_certificates(text: &str) -> bool {
    ground::tls::choose_provider();
    Certificate::from_pem_bundle(text.as_bytes()).is_ok_and(|all| !all.is_empty())
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
            .map(|address| Self {
                address,
                tls,
                authorities: None,
            })
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
    /// The host that is asked for; the app's domain by default.
    pub host: Option<String>,
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

/// Every name is the gateway's.
#[derive(Debug)]
struct All(SocketAddr);

impl reqwest::dns::Resolve for All {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let all: reqwest::dns::Addrs = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(all)))
    }
}

/// A client for one app.
#[derive(Debug, Clone)]
pub struct Http {
    direct: Client,
    domain: String,
    gateway: Option<(Gateway, Client)>,
}

fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(REQUEST_LIMIT)
        .connect_timeout(Duration::from_secs(5))
}

impl Http {
    /// Creates a client for the app of `domain`, directly and through `gateway` when one is given.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn new(domain: &Domain, gateway: Option<&Gateway>) -> Result<Self, HttpError> {
        ground::tls::choose_provider();
        // A container has a certificate of its own making, if any. Loading the system's roots costs time and memory in
        // every run.
        let direct = builder()
            .tls_certs_only([])
            .tls_danger_accept_invalid_certs(true)
            .build()
            .map_err(HttpError::Setup)?;
        let through = |gateway: &Gateway| {
            let mut builder = builder().dns_resolver(Arc::new(All(gateway.address)));
            if let Some(text) = &gateway.authorities {
                let more = Certificate::from_pem_bundle(text.as_bytes());
                builder = builder.tls_certs_merge(more.map_err(HttpError::Setup)?);
            }
            let client = builder.build().map_err(HttpError::Setup)?;
            Ok((gateway.clone(), client))
        };
        Ok(Self {
            direct,
            domain: domain.to_string(),
            gateway: gateway.map(through).transpose()?,
        })
    }

    /// Asks the app behind `way`.
    ///
    /// # Errors
    /// [`HttpError`] when there is no answer; any status is an answer.
    pub async fn ask(&self, way: &Way, question: &Question) -> Result<Answer, HttpError> {
        let host = question.host.as_deref().unwrap_or(&self.domain);
        match way {
            Way::Direct { address, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                let url = format!(
                    "{scheme}://{}{}",
                    SocketAddr::new(*address, *port),
                    question.path
                );
                self.send(&self.direct, &url, Some(host), question).await
            }
            Way::Gateway(gateway) => {
                let url = gateway_url(gateway, host, &question.path)?;
                let client = self.gateway.as_ref().map_or(&self.direct, |(_, own)| own);
                self.send(client, &url, None, question).await
            }
        }
    }

    /// `direct` is the host to name where the URL does not.
    async fn send(
        &self,
        client: &Client,
        url: &str,
        direct: Option<&str>,
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
        let mut request = client
            .request(method, url)
            .headers(headers(direct, question)?);
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

    /// Returns what the gateway says at `path` to a domain that no app has, to tell its own page from the app's: a route
    /// for a path alone answers for every domain.
    ///
    /// `None` without a gateway, or when it does not answer such a domain at all.
    pub async fn fallback(&self, zone: &Zone, path: &str) -> Option<Answer> {
        let (gateway, client) = self.gateway.as_ref()?;
        let unused = format!("unused-{:08x}.{zone}", rand::random::<u32>());
        let url = gateway_url(gateway, &unused, path).ok()?;
        self.send(client, &url, None, &Question::get(path))
            .await
            .ok()
    }

    /// Asks the gateway for the app's domain, which it need not know yet.
    ///
    /// # Errors
    /// [`GatewayFault`] when it cannot be reached or is not to be trusted; any answer is good.
    pub async fn examine(&self) -> Result<(), GatewayFault> {
        let Some((gateway, client)) = &self.gateway else {
            return Ok(());
        };
        let Ok(url) = gateway_url(gateway, &self.domain, "/") else {
            return Ok(());
        };
        match self.send(client, &url, None, &Question::get("/")).await {
            Err(HttpError::NoAnswer(error)) => Err(GatewayFault::of(gateway, &self.domain, &error)),
            _ => Ok(()),
        }
    }
}

/// Returns the URL of `path` at `host` behind `gateway`.
///
/// The client resolves every name to the gateway's address, and resolves no address: hyper-util connects to an IP that
/// stands in a URL (`client/legacy/connect/http.rs`). So an IP, in any of the forms that a URL has for it, is refused.
fn gateway_url(gateway: &Gateway, host: &str, path: &str) -> Result<String, HttpError> {
    let scheme = if gateway.tls { "https" } else { "http" };
    let url = format!("{scheme}://{host}:{}{path}", gateway.address.port());
    match Url::parse(&url).as_ref().map(Url::domain) {
        Ok(Some(_)) => Ok(url),
        _ => Err(HttpError::Invalid(host.to_owned(), "name of a host")),
    }
}

/// A direct request carries what Traefik would have added: apps that insist on https look for it.
fn headers(direct: Option<&str>, question: &Question) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| HttpError::Invalid(name.to_owned(), "header name"))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| HttpError::Invalid(name.to_string(), "header value"))?;
        headers.append(name, value);
        Ok::<(), HttpError>(())
    };
    if let Some(host) = direct {
        add(HOST.as_str(), host)?;
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", host),
            ("x-forwarded-server", "gateway"),
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn examined(
        address: SocketAddr,
        tls: bool,
        authorities: Option<&str>,
    ) -> Result<(), String> {
        let zone = "ci.localhost".parse().unwrap();
        let domain = Domain::parse("note-0a1b2c.ci.localhost", &zone).unwrap();
        let gateway = Gateway {
            address,
            tls,
            authorities: authorities.map(str::to_owned),
        };
        let http = Http::new(&domain, Some(&gateway)).unwrap();
        http.examine()
            .await
            .map_err(|fault| format!("{fault}; {}", fault.hint()))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_gateway_is_examined_without_an_app_behind_it() {
        use testing::{AUTHORITY, OF_ANOTHER, OF_THE_ZONE, page, serve};
        let not_found = |_: &str| page(404, "", "404 page not found\n");
        let plain = serve(None, not_found);
        let secure = serve(Some(OF_THE_ZONE), not_found);
        let other = serve(Some(OF_ANOTHER), not_found);
        assert_eq!(examined(plain, false, None).await, Ok(()));
        assert_eq!(examined(secure, true, Some(AUTHORITY)).await, Ok(()));
        // Not one that is closed: another test may get its port.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        for (address, authorities, words) in [
            (closed.local_addr().unwrap(), None, "refused"),
            (secure, None, "--gateway-ca"),
            (
                other,
                Some(AUTHORITY),
                "its certificate is not one of `note-0a1b2c.ci.localhost`",
            ),
            (plain, None, "it does not speak TLS"),
        ] {
            let fault = examined(address, true, authorities).await.unwrap_err();
            let gateway = format!("the gateway https://{address} cannot be used: ");
            assert!(
                fault.starts_with(&gateway) && fault.contains(words),
                "{words}: {fault}"
            );
        }
        assert!(has_certificates(AUTHORITY));
        assert!(!has_certificates("") && !has_certificates("no certificate"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_address_as_host_does_not_change_where_a_request_goes() {
        let gateway = testing::serve(None, |_| testing::page(200, "", "gateway"));
        let victim = std::net::TcpListener::bind(("127.0.0.2", gateway.port())).unwrap();
        victim.set_nonblocking(true).unwrap();
        let zone = "ci.localhost".parse().unwrap();
        let domain = Domain::parse("note-0a1b2c.ci.localhost", &zone).unwrap();
        let gateway: Gateway = format!("http://{gateway}").parse().unwrap();
        let http = Http::new(&domain, Some(&gateway)).unwrap();
        let way = Way::Gateway(gateway);
        for host in ["127.0.0.2", "0x7f.2", "2130706434", "127.0.0.2.", "[::1]"] {
            let question = Question {
                host: Some(host.to_owned()),
                ..Question::get("/latest/meta-data/iam")
            };
            let refused = http.ask(&way, &question).await.unwrap_err().to_string();
            let words = format!("`{host}` is not a valid name of a host");
            assert_eq!(refused, words);
        }
        let asked = victim.accept().map(drop).unwrap_err().kind();
        assert_eq!(asked, std::io::ErrorKind::WouldBlock);
        let named = Question {
            host: Some("www.note-0a1b2c.ci.localhost".to_owned()),
            ..Question::get("/")
        };
        assert_eq!(http.ask(&way, &named).await.unwrap().status, 200);
    }

    #[test]
    fn gateways_are_addresses_with_a_scheme() {
        let parse = |text: &str| text.parse::<Gateway>();
        assert_eq!(
            parse("127.0.0.1").unwrap(),
            Gateway {
                address: "127.0.0.1:443".parse().unwrap(),
                tls: true,
                authorities: None,
            }
        );
        assert_eq!(
            parse("http://[::1]:81").unwrap(),
            Gateway {
                address: "[::1]:81".parse().unwrap(),
                tls: false,
                authorities: None,
            }
        );
        assert!(parse("traefik.local").is_err());
    }
}
