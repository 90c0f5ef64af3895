//! Fetching from a server over HTTP.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use git2::{AutotagOption, Direction, FetchOptions, Oid, Remote, RemoteCallbacks, Repository};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::fetch::error::{FetchError, Landing, bounded};
use super::reference::{self, Resolved, Unresolved, also_a_tag, is_hex};
use super::source::RemoteUrl;
use super::token::Token;
use super::transport::Session;
use crate::name::GitRef;

const BRANCHES: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";
const ORIGIN: &str = "refs/remotes/origin/";

/// A ref that the server says it has.
struct Advertised {
    name: String,
    target: Oid,
    /// The branch that `HEAD` stands for.
    symbolic: Option<String>,
}

/// What has to be found among the refs.
enum RefQuery {
    Head,
    /// The full name of a ref that is advertised.
    Ref(String),
    /// A full or abbreviated commit.
    Commit(String),
}

/// How much processor time the objects of a repository may take to be unpacked. A hundred bytes of a pack can be a hundred
/// megabytes of zeros that libgit2 hashes, and its progress does not say so: 1 MB took 80 s. Linux's history takes longer
/// than this; no recipe's does.
const UNPACKING: Duration = Duration::from_secs(60);

struct Server<'a> {
    repo: &'a Repository,
    session: Arc<Session>,
    origin: String,
    /// What [`UNPACKING`] says.
    unpacking: Duration,
}

/// Returns how long this thread has had a processor. What cannot be told counts as nothing.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    let of = |time: nix::sys::time::TimeVal| {
        let micros = u64::try_from(time.num_microseconds()).unwrap_or_default();
        Duration::from_micros(micros)
    };
    usage.map_or(Duration::ZERO, |usage| {
        of(usage.user_time()).saturating_add(of(usage.system_time()))
    })
}

/// Brings every branch and tag of the server's repository, and whatever the reference needs besides.
pub(super) fn bring(
    into: &Repository,
    url: &RemoteUrl,
    reference: Option<&GitRef>,
    token: Option<&Token>,
) -> Result<Landing, FetchError> {
    let session = Session::new(url.url(), token.cloned())?;
    let _entered = session.enter();
    let server = Server {
        repo: into,
        session,
        origin: url.to_string(),
        unpacking: UNPACKING,
    };
    let mut remote = server.remote(url)?;
    let refs = server.list(&mut remote)?;
    let wanted = server.pick(&refs, reference)?;
    let extra = extra(&refs, &wanted);
    let mut remarks = Vec::new();
    let mut specs = vec![
        format!("+{BRANCHES}*:{ORIGIN}*"),
        format!("+{TAGS}*:{TAGS}*"),
    ];
    specs.extend(extra.map(|(there, here)| format!("+{there}:{here}")));
    server.fetch(&mut remote, &specs)?;
    let head = refs
        .iter()
        .find(|found| found.name == "HEAD")
        .and_then(|head| head.symbolic.as_deref());
    let head = head.and_then(|name| name.strip_prefix(BRANCHES));
    if let Some(branch) = head {
        let target = format!("refs/remotes/origin/{branch}");
        into.reference_symbolic("refs/remotes/origin/HEAD", &target, true, "fetch")
            .map_err(|e| server.failed("set the head of", e))?;
    }
    let (commit, branch) = match wanted {
        RefQuery::Head => (server.advertised_commit(&refs, "HEAD")?, head),
        RefQuery::Ref(ref name) => (
            server.advertised_commit(&refs, name)?,
            name.strip_prefix(BRANCHES),
        ),
        RefQuery::Commit(ref id) => (server.commit(&mut remote, &refs, id)?, None),
    };
    let asked = |branch: &&str| reference.is_some_and(|reference| reference.as_str() == *branch);
    if let Some(branch) = branch.filter(asked)
        && let Ok(tag) = server.advertised_commit(&refs, &format!("{TAGS}{branch}"))
        && tag != commit
    {
        remarks.push(also_a_tag(branch));
    }
    Ok(Landing {
        commit,
        branch: branch.map(str::to_owned),
        overlay: None,
        remarks,
    })
}

/// Returns the names of the server's tags, without fetching anything.
pub(super) fn tag_names(url: &RemoteUrl, token: Option<&Token>) -> Result<Vec<String>, FetchError> {
    let session = Session::new(url.url(), token.cloned())?;
    let _entered = session.enter();
    let failed = |error| match session.take_failure() {
        Some(failure) => FetchError::Transport(failure),
        None => FetchError::git("list the refs of", url.to_string().as_ref(), error),
    };
    let mut remote = Remote::create_detached(url.as_str()).map_err(failed)?;
    remote.connect(Direction::Fetch).map_err(failed)?;
    let refs = remote.list().map_err(failed)?;
    Ok(refs
        .iter()
        .filter_map(|found| found.name().strip_prefix(TAGS))
        .filter(|name| !name.ends_with("^{}"))
        .map(str::to_owned)
        .collect())
}

/// Returns whether the new repository gets a ref in any case: a branch or a tag.
fn is_usual(name: &str) -> bool {
    name.starts_with(BRANCHES) || name.starts_with(TAGS)
}

/// Returns what to fetch besides branches and tags so that the wanted commit is among it, if that is known yet:
/// its name there and here.
fn extra(refs: &[Advertised], wanted: &RefQuery) -> Option<(String, String)> {
    let name = match wanted {
        RefQuery::Ref(name) => name,
        RefQuery::Head => {
            let head = refs.iter().find(|found| found.name == "HEAD")?;
            let detached = !refs
                .iter()
                .any(|found| is_usual(&found.name) && found.target == head.target);
            return detached.then(|| ("HEAD".to_owned(), "refs/fetched/HEAD".to_owned()));
        }
        RefQuery::Commit(id) => {
            let mut fitting = refs
                .iter()
                .filter(|found| found.target.to_string().starts_with(id.as_str()));
            &fitting.find(|found| found.name.starts_with("refs/"))?.name
        }
    };
    (!is_usual(name)).then(|| (name.clone(), name.clone()))
}

impl Server<'_> {
    fn failed(&self, doing: &'static str, error: git2::Error) -> FetchError {
        match self.session.take_failure() {
            Some(failure) => FetchError::Transport(failure),
            None => FetchError::git(doing, self.origin.as_ref(), error),
        }
    }

    fn remote(&self, url: &RemoteUrl) -> Result<Remote<'_>, FetchError> {
        let failed = |e| self.failed("set up", e);
        let remote = self.repo.remote("origin", url.as_str()).map_err(failed)?;
        if remote.url() == Ok(url.as_str()) {
            return Ok(remote);
        }
        self.insist(url)?;
        self.repo.find_remote("origin").map_err(failed)
    }

    /// Overrules the user's configuration where it rewrites the address, as those do who push over ssh.
    ///
    /// What is fetched has to be what was asked for, on every host; the longest rule wins, and this one is
    /// the whole address.
    fn insist(&self, url: &RemoteUrl) -> Result<(), FetchError> {
        let failed = |e| self.failed("set up", e);
        let mut config = self
            .repo
            .config()
            .and_then(|c| c.open_level(git2::ConfigLevel::Local))
            .map_err(failed)?;
        config
            .set_str(&format!("url.{url}.insteadOf"), url.as_str())
            .map_err(failed)
    }

    fn list(&self, remote: &mut Remote<'_>) -> Result<Vec<Advertised>, FetchError> {
        remote
            .connect(Direction::Fetch)
            .map_err(|e| self.failed("connect to", e))?;
        let heads = remote
            .list()
            .map_err(|e| self.failed("list the refs of", e))?;
        let refs = heads
            .iter()
            .filter(|head| !head.name().ends_with("^{}"))
            .map(|head| Advertised {
                name: head.name().to_owned(),
                target: head.oid(),
                symbolic: head.symref_target().map(str::to_owned),
            });
        let refs: Vec<Advertised> = refs.collect();
        let count = refs.iter().filter(|found| is_usual(&found.name)).count();
        bounded(count, &self.origin)?;
        Ok(refs)
    }

    fn pick(
        &self,
        refs: &[Advertised],
        reference: Option<&GitRef>,
    ) -> Result<RefQuery, FetchError> {
        let has = |name: &str| refs.iter().any(|found| found.name == name);
        let no_commit = || FetchError::NoCommit {
            origin: self.origin.clone(),
        };
        let text = reference.map_or("HEAD", GitRef::as_str);
        if text == "HEAD" {
            return if has("HEAD") {
                Ok(RefQuery::Head)
            } else {
                Err(no_commit())
            };
        }
        if refs.is_empty() {
            return Err(no_commit());
        }
        if text.len() == 40 && is_hex(text) {
            return Ok(RefQuery::Commit(text.to_ascii_lowercase()));
        }
        // Branches first, as `git checkout` does.
        for name in [
            text.to_owned(),
            format!("{BRANCHES}{text}"),
            format!("{TAGS}{text}"),
            format!("refs/{text}"),
        ] {
            if name.starts_with("refs/") && has(&name) {
                return Ok(RefQuery::Ref(name));
            }
        }
        if is_hex(text) {
            Ok(RefQuery::Commit(text.to_ascii_lowercase()))
        } else {
            Err(self.unknown(refs, text))
        }
    }

    fn unknown(&self, refs: &[Advertised], text: &str) -> FetchError {
        FetchError::unknown(
            text,
            self.origin.clone(),
            refs.iter().map(|found| found.name.as_str()),
        )
    }

    fn fetch(&self, remote: &mut Remote<'_>, specs: &[String]) -> Result<(), FetchError> {
        let mut options = FetchOptions::new();
        options
            .download_tags(AutotagOption::None)
            .update_fetchhead(false);
        let begun = processor_time();
        let is_over = Rc::new(Cell::new(false));
        let over = Rc::clone(&is_over);
        let most = self.unpacking;
        let mut callbacks = RemoteCallbacks::new();
        // Asked after each object, and after each delta that is resolved; an object is bounded by `memory`.
        callbacks.transfer_progress(move |_| {
            over.set(processor_time().saturating_sub(begun) > most);
            !over.get()
        });
        options.remote_callbacks(callbacks);
        remote
            .fetch(specs, Some(&mut options), Some("fetch"))
            .map_err(|error| {
                if is_over.get() {
                    return FetchError::Unpacking {
                        place: self.origin.clone(),
                        most,
                    };
                }
                self.failed("fetch from", error)
            })
    }

    fn advertised_commit(&self, refs: &[Advertised], name: &str) -> Result<Oid, FetchError> {
        let target = refs
            .iter()
            .find(|found| found.name == name)
            .map(|found| found.target);
        let object = target.and_then(|target| self.repo.find_object(target, None).ok());
        let commit = object.and_then(|object| object.peel_to_commit().ok());
        commit
            .map(|commit| commit.id())
            .ok_or_else(|| self.unknown(refs, name))
    }

    /// Finds a commit in what has been fetched; else asks for it by its id; else among all pull requests.
    fn commit(
        &self,
        remote: &mut Remote<'_>,
        refs: &[Advertised],
        id: &str,
    ) -> Result<Oid, FetchError> {
        if let Some(commit) = self.look_up(id)? {
            return Ok(commit);
        }
        // Not every server allows this, and it says no in many ways; what is wrong for good shows below.
        if id.len() == 40 {
            match self.fetch(remote, &[format!("+{id}:refs/fetched/{id}")]) {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(%error, %id, "the server does not give the commit by its id");
                }
            }
            if let Some(commit) = self.look_up(id)? {
                return Ok(commit);
            }
        }
        let pulls: Vec<String> = refs
            .iter()
            .map(|found| found.name.as_str())
            .filter(|name| {
                name.starts_with("refs/pull/") || name.starts_with("refs/merge-requests/")
            })
            .filter(|name| name.ends_with("/head"))
            .map(|name| format!("+{name}:{name}"))
            .collect();
        bounded(pulls.len(), &self.origin)?;
        if !pulls.is_empty() {
            self.fetch(remote, &pulls)?;
        }
        self.look_up(id)?.ok_or_else(|| self.unknown(refs, id))
    }

    fn look_up(&self, id: &str) -> Result<Option<Oid>, FetchError> {
        match reference::by_prefix(self.repo, id) {
            Ok(Resolved { commit, .. }) => Ok(Some(commit)),
            Err(Unresolved::Unknown) => Ok(None),
            Err(Unresolved::Ambiguous) => Err(FetchError::AmbiguousRef {
                reference: id.to_owned(),
                origin: self.origin.clone(),
            }),
            Err(Unresolved::Git(e)) => Err(self.failed("look up a commit of", e)),
        }
    }
}

#[cfg(test)]
mod tests;
