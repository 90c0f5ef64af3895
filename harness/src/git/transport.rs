//! Git's smart HTTP protocol over `reqwest`, for `http` and `https` alike.
//!
//! libgit2 is built without its own TLS and HTTP. This module gives it both, so that certificates, timeouts,
//! redirects and the token are decided in one place. Only fetching is supported.
//!
//! libgit2 asks a factory for a transport and tells it nothing but the remote. What belongs to one fetch,
//! its token and its first failure, is therefore a [`Session`] that is entered on the thread which fetches:
//! libgit2 calls back on the same thread.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{ErrorClass, ErrorCode};
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{StatusCode, Url};

use super::token::Token;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent, before its answer and within it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How many redirects in a row are followed.
const MAX_REDIRECTS: usize = 5;

/// Some servers show git only to clients that look like git.
const USER_AGENT: &str = concat!("git/2 (recipe-ci ", env!("CARGO_PKG_VERSION"), ")");

/// Any user goes with a token as the password: so GitHub, GitLab, Gitea and Forgejo have it alike.
const TOKEN_USER: &str = "oauth2";

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";

/// A forge could not be asked, or refused. Always a matter of infrastructure.
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

/// One fetch: its client, its token, and what went wrong first.
pub(super) struct Session {
    client: Client,
    token: Option<Token>,
    failure: Mutex<Option<TransportError>>,
    /// Where the repository is after the redirects of the first request.
    moved: Mutex<Option<Url>>,
}

thread_local! {
    static SESSION: RefCell<Option<Arc<Session>>> = const { RefCell::new(None) };
}

/// Ends the session on this thread when it goes.
#[must_use]
pub(super) struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        SESSION.with_borrow_mut(Option::take);
    }
}

impl Session {
    /// Returns a session for the repository at `url`.
    pub(super) fn new(url: &Url, token: Option<Token>) -> Result<Arc<Self>, TransportError> {
        prepare();
        let mut builder = Client::builder()
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
        Ok(Arc::new(Self {
            client,
            token,
            failure: Mutex::default(),
            moved: Mutex::default(),
        }))
    }

    /// Makes this the session of every fetch on the calling thread, until the guard goes.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        SESSION.with_borrow_mut(|slot| *slot = Some(Arc::clone(self)));
        Entered(())
    }

    /// Returns the first failure since the last call.
    pub(super) fn take_failure(&self) -> Option<TransportError> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn keep(&self, failure: TransportError) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(failure);
    }

    /// Asks which refs the repository has, and remembers where it was found.
    fn advertisement(&self, repository: &Url) -> Result<Response, TransportError> {
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
                let response = expect(response, &url, ADVERTISEMENT)?;
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
    fn upload_pack(&self, repository: &Url, body: Vec<u8>) -> Result<Response, TransportError> {
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
        expect(self.send(request.body(body), &url)?, &url, RESULT)
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

fn expect(response: Response, url: &Url, content_type: &str) -> Result<Response, TransportError> {
    let (host, path) = (host(url), url.path().to_owned());
    let status = response.status();
    if !status.is_success() {
        let meaning = match status {
            StatusCode::UNAUTHORIZED => "it wants a token, or refuses the one it got",
            StatusCode::FORBIDDEN => "the token, or everyone without one, may not read it",
            StatusCode::NOT_FOUND => "there is no such repository, or it is hidden without a token",
            StatusCode::TOO_MANY_REQUESTS => "it has been asked too often",
            _ if status.is_server_error() => "the server is at fault",
            _ => "git does not expect that",
        };
        return Err(TransportError::Status {
            host,
            path,
            status: status.as_u16(),
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

fn host(url: &Url) -> String {
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

struct Smart(Arc<Session>);

impl SmartSubtransport for Smart {
    fn action(
        &self,
        url: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let net =
            |message: &str| git2::Error::new(ErrorCode::GenericError, ErrorClass::Net, message);
        let url = Url::parse(url).map_err(|e| net(&e.to_string()))?;
        let exchange = match action {
            Service::UploadPackLs => match self.0.advertisement(&url) {
                Ok(response) => Exchange::Answer(response),
                Err(failure) => {
                    let error = net(&failure.to_string());
                    self.0.keep(failure);
                    return Err(error);
                }
            },
            Service::UploadPack => Exchange::Question(Vec::new()),
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(net("pushing is not supported"));
            }
        };
        Ok(Box::new(Stream {
            session: Arc::clone(&self.0),
            url,
            exchange,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

enum Exchange {
    Question(Vec<u8>),
    Answer(Response),
}

/// One request and its answer: what is written before the first read is the request.
struct Stream {
    session: Arc<Session>,
    url: Url,
    exchange: Exchange,
}

impl Stream {
    fn fail(&self, failure: TransportError) -> io::Error {
        let error = io::Error::other(failure.to_string());
        self.session.keep(failure);
        error
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Exchange::Question(body) = &mut self.exchange {
            let body = std::mem::take(body);
            let response = self
                .session
                .upload_pack(&self.url, body)
                .map_err(|e| self.fail(e))?;
            self.exchange = Exchange::Answer(response);
        }
        let Exchange::Answer(response) = &mut self.exchange else {
            return Ok(0);
        };
        response.read(buffer).map_err(|source| {
            self.fail(TransportError::Broken {
                host: host(&self.url),
                source,
            })
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.exchange {
            Exchange::Question(body) => body.write(bytes),
            Exchange::Answer(_) => Err(io::Error::other("the request has been sent already")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Readies libgit2 for this process: our HTTP, and repositories of any owner.
///
/// Every function of [`super`] that opens or makes a repository calls this first.
pub(super) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::CryptoProvider::get_default().is_none()
            && rustls::crypto::ring::default_provider()
                .install_default()
                .is_err()
        {
            tracing::debug!("another thread has chosen the TLS provider first");
        }
        if let Err(error) = register() {
            // A fetch over HTTP will say so itself; nothing else depends on it.
            tracing::error!(%error, "cannot give libgit2 its HTTP transport");
        }
    });
}

fn transport(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let session = SESSION.with_borrow(Clone::clone);
    let session = session
        .ok_or_else(|| git2::Error::from_str("no session has been entered on this thread"))?;
    Transport::smart(remote, true, Smart(session))
}

/// Registers the transport, and switches libgit2's check of a repository's owner off.
///
/// The check protects tools that execute what a repository's configuration names: hooks, pagers, monitors,
/// filter drivers. libgit2 executes none of them. A CI checkout that belongs to another user, as
/// in a container or under a service account, has to be readable.
#[expect(
    unsafe_code,
    reason = "libgit2's process-wide settings have no safe form"
)]
fn register() -> Result<(), git2::Error> {
    // SAFETY: these calls change global state of libgit2 and must not run beside the creation of transports
    // or repositories. The only caller is the `Once` in `prepare`, which every use of libgit2 in this crate
    // passes first and waits for.
    unsafe {
        git2::opts::set_verify_owner_validation(false)?;
        git2::transport::register("http", transport)?;
        git2::transport::register("https", transport)
    }
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
