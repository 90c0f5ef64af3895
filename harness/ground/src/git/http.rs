//! Git's smart HTTP protocol over `reqwest`: the two requests of a fetch, and what can go wrong with them.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::blocking::{RequestBuilder, Response};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{StatusCode, Url};

use super::token::Token;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent, before its answer and within it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The most that is read of one answer: 256 MiB.
pub(super) const TRANSFER_CEILING: u64 = 256 << 20;

/// How many redirects in a row are followed.
const MAX_REDIRECTS: usize = 5;

/// Some servers show git only to clients that look like git.
const USER_AGENT: &str = concat!("git/2 (recipe-ci ", env!("CARGO_PKG_VERSION"), ")");

/// Any user goes with a token as the password: so GitHub, GitLab, Gitea and Forgejo have it alike.
const TOKEN_USER: &str = "oauth2";

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";

/// A forge could not be asked, or refused. [`super::fetch::FetchError::fault`] says which of these are the host's.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The forge answered with something besides success.
    #[error("`{host}` answered {status} for `{path}`: {meaning}")]
    Status {
        /// The host, with a port that is not the default.
        host: String,
        /// The path that was asked for.
        path: String,
        /// The code.
        status: u16,
        /// Whether a token was sent.
        authorized: bool,
        /// What it means for a repository.
        meaning: &'static str,
    },
    /// No connection came up.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// The host.
        host: String,
        /// What the client says.
        source: reqwest::Error,
    },
    /// There is something at the other end, but no TLS with a certificate that is trusted.
    #[error("cannot agree on TLS with `{host}`")]
    Tls {
        /// The host.
        host: String,
        /// What the client says.
        source: reqwest::Error,
    },
    /// The forge was silent for too long.
    #[error("`{host}` was silent for {} s", IDLE_TIMEOUT.as_secs())]
    Silent {
        /// The host.
        host: String,
        /// What the client says.
        source: reqwest::Error,
    },
    /// The exchange broke off, before the answer or within it.
    #[error("the connection to `{host}` broke off")]
    Broken {
        /// The host.
        host: String,
        /// What the client says.
        source: io::Error,
    },
    /// The answer is larger than a recipe's repository may be.
    #[error("`{host}` sends more than {} MiB for one repository", TRANSFER_CEILING >> 20)]
    TooLarge {
        /// The host.
        host: String,
    },
    /// A web page or a login form instead of a repository.
    #[error("`{host}` answers for `{path}`, but not as a git server does")]
    NotGit {
        /// The host.
        host: String,
        /// The path that was asked for.
        path: String,
    },
    /// The repository is said to be on another host, which might be anyone's.
    #[error("`{host}` redirects to `{target}`; only redirects within a host are followed")]
    Redirect {
        /// The host that was asked.
        host: String,
        /// The origin that it points to.
        target: String,
    },
    /// The redirects do not end.
    #[error("`{host}` redirects more than {MAX_REDIRECTS} times")]
    Redirects {
        /// The host.
        host: String,
    },
    /// There is no HTTP client on this host, most likely for want of root certificates.
    #[error("cannot set up an HTTP client")]
    Client {
        /// What the client says.
        source: reqwest::Error,
    },
}

/// A client for one repository, which knows its token and where it has moved to.
pub(super) struct Client {
    client: reqwest::blocking::Client,
    token: Option<Token>,
    /// Where the repository is after the redirects of the first request.
    moved: Mutex<Option<Url>>,
}

impl Client {
    /// Returns a client for the repository at `url`. The process has a TLS provider by then.
    pub(super) fn new(url: &Url, token: Option<Token>) -> Result<Self, TransportError> {
        let mut builder = reqwest::blocking::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            // The blocking client counts this anew for every read of a body.
            .timeout(IDLE_TIMEOUT);
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|source| TransportError::Client { source })?;
        Ok(Self {
            client,
            token,
            moved: Mutex::default(),
        })
    }

    /// Asks which refs the repository has, and remembers where it was found.
    pub(super) fn advertisement(&self, repository: &Url) -> Result<Response, TransportError> {
        let mut url = repository.clone();
        url.set_path(&format!(
            "{}/info/refs",
            repository.path().trim_end_matches('/')
        ));
        url.set_query(Some("service=git-upload-pack"));
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(
                self.client.get(url.clone()).header(ACCEPT, ADVERTISEMENT),
                &url,
            )?;
            if !response.status().is_redirection() {
                let response = expect(response, &url, ADVERTISEMENT, self.opens(&url))?;
                *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = repository_of(&url);
                return Ok(response);
            }
            let target = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            let Some(mut target) = target.and_then(|value| url.join(value).ok()) else {
                return Err(TransportError::NotGit {
                    host: host(&url),
                    path: url.path().to_owned(),
                });
            };
            if !stays(&url, &target) {
                let target = target.origin().ascii_serialization();
                return Err(TransportError::Redirect {
                    host: host(&url),
                    target,
                });
            }
            // The client would turn these into a header of their own. Both fail only without a host.
            target
                .set_username("")
                .and_then(|()| target.set_password(None))
                .ok();
            url = target;
        }
        Err(TransportError::Redirects {
            host: host(repository),
        })
    }

    /// Sends what libgit2 has negotiated, and returns the answer with the pack.
    pub(super) fn upload_pack(
        &self,
        repository: &Url,
        body: Vec<u8>,
    ) -> Result<Response, TransportError> {
        let moved = self
            .moved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut url = moved.unwrap_or_else(|| repository.clone());
        url.set_path(&format!(
            "{}/git-upload-pack",
            url.path().trim_end_matches('/')
        ));
        let request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, REQUEST)
            .header(ACCEPT, RESULT);
        let response = self.send(request.body(body), &url)?;
        expect(response, &url, RESULT, self.opens(&url))
    }

    /// Returns whether a token goes with requests to `url`.
    fn opens(&self, url: &Url) -> bool {
        let token = self.token.as_ref();
        token.is_some_and(|token| token.secret_for(url).is_some())
    }

    fn send(&self, mut request: RequestBuilder, url: &Url) -> Result<Response, TransportError> {
        if let Some(secret) = self.token.as_ref().and_then(|token| token.secret_for(url)) {
            request = request.basic_auth(TOKEN_USER, Some(secret));
        }
        request
            .send()
            .map_err(|e| classify(e.without_url(), host(url)))
    }
}

fn classify(source: reqwest::Error, host: String) -> TransportError {
    if source.is_connect() && is_tls(&source) {
        TransportError::Tls { host, source }
    } else if source.is_connect() {
        TransportError::Connect { host, source }
    } else if source.is_timeout() {
        TransportError::Silent { host, source }
    } else {
        TransportError::Broken {
            host,
            source: io::Error::other(source),
        }
    }
}

/// Returns whether a connection came up, and failed at the handshake.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    // Nothing else reads while a connection is made, so nothing else can meet the end of one.
    error.is::<rustls::Error>()
        || io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof)
        // An `io::Error` shows the source of what it wraps, not the wrapped error itself.
        || io.and_then(io::Error::get_ref).is_some_and(|inner| is_tls(inner))
        || error.source().is_some_and(is_tls)
}

fn expect(
    response: Response,
    url: &Url,
    content_type: &str,
    authorized: bool,
) -> Result<Response, TransportError> {
    let (host, path) = (host(url), url.path().to_owned());
    let status = response.status();
    if !status.is_success() {
        let meaning = match status {
            StatusCode::UNAUTHORIZED if authorized => "it refuses the token",
            StatusCode::UNAUTHORIZED => {
                "there is no such repository, or it is for those with a token, and none was sent"
            }
            StatusCode::FORBIDDEN => "the token, or everyone without one, may not read it",
            StatusCode::NOT_FOUND if authorized => {
                "there is no such repository, or the token may not read it"
            }
            StatusCode::NOT_FOUND => "there is no such repository, or it is hidden without a token",
            StatusCode::TOO_MANY_REQUESTS => "it has been asked too often",
            _ if status.is_server_error() => "the server is at fault",
            _ => "git does not expect that",
        };
        return Err(TransportError::Status {
            host,
            path,
            status: status.as_u16(),
            authorized,
            meaning,
        });
    }
    let answered = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if answered
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim() == content_type)
    {
        Ok(response)
    } else {
        Err(TransportError::NotGit { host, path })
    }
}

/// Returns the host, with a port that is not the default.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// Returns whether a redirect keeps to the host, and takes nothing from `https` back to `http`.
fn stays(from: &Url, to: &Url) -> bool {
    let upgraded = from.scheme() == "http" && to.scheme() == "https" && from.host() == to.host();
    from.origin() == to.origin() || upgraded
}

fn repository_of(info_refs: &Url) -> Option<Url> {
    let mut url = info_refs.clone();
    url.set_path(info_refs.path().strip_suffix("/info/refs")?);
    url.set_query(None);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_host_and_never_leave_tls() {
        let stays =
            |from: &str, to: &str| stays(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
        assert!(stays("https://h/a", "https://h/b"));
        assert!(stays("http://h/a", "https://h/a"));
        assert!(!stays("https://h/a", "http://h/a"));
        assert!(!stays("https://h/a", "https://h.evil/a"));
        assert!(!stays("http://h:1/a", "http://h:2/a"));
    }

    #[test]
    fn loopback_is_never_asked_through_a_proxy() {
        for text in ["http://localhost:1/", "http://127.0.0.1/", "http://[::1]/"] {
            assert!(is_loopback(&Url::parse(text).unwrap()), "{text}");
        }
        assert!(!is_loopback(
            &Url::parse("https://git.example.org").unwrap()
        ));
    }
}
