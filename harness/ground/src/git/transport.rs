//! libgit2's way to the network: [`http`](super::http) for `http` and `https` addresses alike.
//!
//! libgit2 is built without its own TLS. This module gives it ours, so that certificates, timeouts, redirects
//! and the token are decided in one place. Only fetching is supported.
//!
//! libgit2 asks a factory for a transport and tells it nothing but the remote. What belongs to one fetch,
//! its client and its first failure, is therefore a [`Session`] that is entered on the thread which fetches:
//! libgit2 calls back on the same thread.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, Once, PoisonError};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{ErrorClass, ErrorCode};
use reqwest::Url;
use reqwest::blocking::Response;

use super::http::{Client, TRANSFER_CEILING, TransportError, host};
use super::token::Token;

/// One fetch: its client, and what went wrong first.
pub(super) struct Session {
    client: Client,
    failure: Mutex<Option<TransportError>>,
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
        Ok(Arc::new(Self {
            client: Client::new(url, token)?,
            failure: Mutex::default(),
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
            Service::UploadPackLs => match self.0.client.advertisement(&url) {
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
            read: 0,
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
    /// How much of the answer was read.
    read: u64,
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
                .client
                .upload_pack(&self.url, body)
                .map_err(|e| self.fail(e))?;
            self.exchange = Exchange::Answer(response);
        }
        let Exchange::Answer(response) = &mut self.exchange else {
            return Ok(0);
        };
        let read = response.read(buffer).map_err(|source| {
            self.fail(TransportError::Broken {
                host: host(&self.url),
                source,
            })
        })?;
        self.read += read as u64;
        if self.read > TRANSFER_CEILING {
            let host = host(&self.url);
            return Err(self.fail(TransportError::TooLarge { host }));
        }
        Ok(read)
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
    crate::signal_thread::assert_elsewhere("a git repository is opened");
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        crate::tls::choose_provider();
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
