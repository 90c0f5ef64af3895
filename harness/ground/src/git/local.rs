//! Fetching from a repository on this host.
//!
//! Objects are copied through libgit2, not as files: this reads worktrees, alternates and shallow clones alike,
//! shares no file with the source, and neither locks nor writes anything there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Reference, Repository};

use super::content::{self, ContentError};
use super::fetch::error::{FetchError, Landing, bounded};
use super::reference::{self, Resolved, Unresolved, also_a_tag};
use super::{open_exactly, worktree};
use crate::name::GitRef;

/// Where names are looked up in a source: branches first, as `git checkout` does.
const NAMESPACES: [&str; 5] = [
    "refs/heads/",
    "refs/tags/",
    "refs/remotes/origin/",
    "refs/remotes/",
    "refs/",
];

const ORIGIN: &str = "refs/remotes/origin/";
const ORIGIN_HEAD: &str = "refs/remotes/origin/HEAD";

/// What of the source is wanted when no reference is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// What is committed.
    Committed,
    /// What is committed and what is not.
    WorkTree,
}

/// Brings the objects and refs of the repository at `path` into `into`, and says what to check out.
pub(super) fn bring(
    into: &Repository,
    path: &Path,
    reference: Option<&GitRef>,
    extent: Extent,
) -> Result<Landing, FetchError> {
    let source = open_root(path)?;
    let failed = |doing| move |source| FetchError::git(doing, path, source);
    let resolved = match reference {
        Some(reference) => find(&source, path, reference)?,
        None => head(&source, path)?,
    };
    let completeness = match is_partial(&source) {
        true => Completeness::Partial,
        false => Completeness::Whole,
    };
    // Before it is copied: what is refused takes no room.
    content::check(&source, resolved.commit).map_err(|error| match error {
        ContentError::Missing { .. } if completeness == Completeness::Partial => {
            FetchError::Partial {
                path: path.to_owned(),
                source: error,
            }
        }
        error => error.into(),
    })?;
    let changes = if reference.is_none() && extent == Extent::WorkTree {
        apart(&source, into)?;
        worktree::changes(&source).map_err(failed("read the status of"))?
    } else {
        Vec::new()
    };
    let refs = published(&source).map_err(failed("list the refs of"))?;
    bounded(refs.len(), &path.display().to_string())?;
    let roots = refs
        .iter()
        .map(|(_, target)| *target)
        .chain([resolved.commit]);
    let cut = copy_objects(&source, into, roots, completeness);
    let cut = cut.map_err(failed("copy the objects of"))?;
    cut_off(into, &cut).map_err(|e| FetchError::Io {
        doing: "write",
        path: into.path().join("shallow"),
        source: e,
    })?;
    for (name, target) in refs {
        // A local branch `x` and a remote one `x/y` cannot both be there; the one that came first stays.
        if let Err(error) = into.reference(&name, target, false, "fetch") {
            tracing::debug!(%name, %error, "a ref of the source is left out");
        }
    }
    if let Some(target) = default_branch(&source) {
        into.reference_symbolic(ORIGIN_HEAD, &target, true, "fetch")
            .map_err(failed("set the head of"))?;
    }
    let branch = resolved
        .name
        .as_deref()
        .and_then(|name| name.strip_prefix("refs/heads/"))
        .map(str::to_owned);
    let root = source.workdir().unwrap_or(path).to_owned();
    let short = branch.as_deref().filter(|branch| {
        let asked = reference.is_some_and(|reference| reference.as_str() == *branch);
        let tag = source.find_reference(&format!("refs/tags/{branch}"));
        let tag = tag.and_then(|tag| tag.peel_to_commit());
        asked && tag.is_ok_and(|commit| commit.id() != resolved.commit)
    });
    let remarks = short.map(also_a_tag).into_iter().collect();
    Ok(Landing {
        commit: resolved.commit,
        branch,
        overlay: Some((root, changes)).filter(|(_, c)| !c.is_empty()),
        remarks,
    })
}

/// Opens the repository whose work tree, or which itself, is `path`.
fn open_root(path: &Path) -> Result<Repository, FetchError> {
    if !path.exists() {
        return Err(FetchError::SourceMissing {
            path: path.to_owned(),
        });
    }
    let not_a_repository = |source| FetchError::NotARepository {
        path: path.to_owned(),
        source,
    };
    let inside = |root: PathBuf| FetchError::SubDirectory {
        path: path.to_owned(),
        root,
    };
    let repo = open_exactly(path).map_err(|source| match Repository::discover(path) {
        Ok(outer) if source.code() == ErrorCode::NotFound => {
            inside(outer.workdir().unwrap_or(outer.path()).to_owned())
        }
        _ => not_a_repository(source),
    })?;
    match repo.workdir() {
        // The `.git` of a work tree opens as well, but it is not what a recipe's files are in.
        Some(root) if root.canonicalize().ok() != path.canonicalize().ok() => {
            Err(inside(root.to_owned()))
        }
        _ => Ok(repo),
    }
}

/// Refuses a destination that would count as a part of the work tree.
fn apart(source: &Repository, into: &Repository) -> Result<(), FetchError> {
    let real = |repo: &Repository| repo.workdir().and_then(|path| path.canonicalize().ok());
    let (Some(root), Some(path)) = (real(source), real(into)) else {
        return Ok(());
    };
    let ignored = |inside: &Path| source.is_path_ignored(inside).unwrap_or(false);
    match path.strip_prefix(&root) {
        Ok(inside) if !ignored(inside) => Err(FetchError::DestinationInside { path, root }),
        _ => Ok(()),
    }
}

/// Returns whether git left objects of the repository at its origin: partial-clone in git's technical documentation.
fn is_partial(source: &Repository) -> bool {
    let promisors = || {
        let config = source.config()?.snapshot()?;
        let mut entries = config.entries(Some(r"^remote\..*\.promisor$"))?;
        let mut found = false;
        while let Some(entry) = entries.next() {
            found |= entry?.value().is_ok_and(|value| value == "true");
        }
        Ok::<_, git2::Error>(found)
    };
    promisors().unwrap_or(false)
}

fn head(source: &Repository, path: &Path) -> Result<Resolved, FetchError> {
    let head = source.head().and_then(|head| {
        let commit = head.peel_to_commit()?.id();
        Ok(Resolved {
            commit,
            name: head.name().ok().map(str::to_owned),
        })
    });
    head.map_err(|e| match e.code() {
        ErrorCode::UnbornBranch | ErrorCode::NotFound => FetchError::NoCommit {
            origin: path.display().to_string(),
        },
        _ => FetchError::git("read the head of", path, e),
    })
}

fn find(source: &Repository, path: &Path, name: &GitRef) -> Result<Resolved, FetchError> {
    let origin = path.display().to_string();
    reference::resolve(source, name.as_str(), &NAMESPACES).map_err(|unresolved| match unresolved {
        Unresolved::Unknown => {
            let names: Vec<String> = source
                .references()
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|reference| reference.name().ok().map(str::to_owned))
                .collect();
            FetchError::unknown(name.as_str(), origin, names.iter().map(String::as_str))
        }
        Unresolved::Ambiguous => FetchError::AmbiguousRef {
            reference: name.to_string(),
            origin,
        },
        Unresolved::Git(e) => FetchError::git("look up a ref of", path, e),
    })
}

/// Returns the refs that the new repository gets, under their new names: the tags, and as remote branches those
/// that the source knows of its own origin, before its local ones.
///
/// What the origin has is what a change is measured against; a local `main` may hold the very change.
fn published(source: &Repository) -> Result<Vec<(String, Oid)>, git2::Error> {
    let mut refs = HashMap::new();
    for reference in source.references()? {
        // One broken ref, such as an `origin/HEAD` to a branch that is gone, does not spoil the others.
        let Ok(reference) = reference else { continue };
        let Some((name, target)) = named_commit(&reference) else {
            continue;
        };
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            refs.entry(format!("{ORIGIN}{branch}")).or_insert(target);
        } else if name.starts_with(ORIGIN) || name.starts_with("refs/tags/") {
            refs.insert(name, target);
        }
    }
    let mut refs: Vec<_> = refs.into_iter().collect();
    refs.sort();
    Ok(refs)
}

fn named_commit(reference: &Reference<'_>) -> Option<(String, Oid)> {
    reference.peel_to_commit().ok()?;
    Some((reference.name().ok()?.to_owned(), reference.target()?))
}

fn default_branch(source: &Repository) -> Option<String> {
    let known = source.find_reference(ORIGIN_HEAD).ok();
    let target = match known {
        Some(head) => head.resolve().ok()?.name().ok()?.to_owned(),
        // Only a bare repository's HEAD says which branch is the default; a work tree's says what is worked on.
        None if source.is_bare() => {
            let head = source.head().ok()?;
            format!("{ORIGIN}{}", head.name().ok()?.strip_prefix("refs/heads/")?)
        }
        None => return None,
    };
    target.starts_with(ORIGIN).then_some(target)
}

/// Whether a source has every object that its commits lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completeness {
    /// One that is missing is damage.
    Whole,
    /// Files and directories may be missing.
    Partial,
}

/// Copies every object that is reachable from `roots`; returns the commits at which the source's history is
/// cut off, because a parent is not there.
fn copy_objects(
    from: &Repository,
    to: &Repository,
    roots: impl Iterator<Item = Oid>,
    completeness: Completeness,
) -> Result<Vec<Oid>, git2::Error> {
    let odb = from.odb()?;
    let may_lack = |kind| {
        completeness == Completeness::Partial
            && [ObjectType::Tree, ObjectType::Blob].contains(&kind)
    };
    let mut pack = from.packbuilder()?;
    let mut seen = HashSet::new();
    let mut cut = Vec::new();
    let mut open: Vec<(Oid, ObjectType)> = Vec::new();
    for root in roots {
        open.push((root, odb.read_header(root)?.1));
    }
    while let Some((id, kind)) = open.pop() {
        if !seen.insert(id) || (may_lack(kind) && !odb.exists(id)) {
            continue;
        }
        pack.insert_object(id, None)?;
        match kind {
            ObjectType::Commit => {
                let commit = from.find_commit(id)?;
                open.push((commit.tree_id(), ObjectType::Tree));
                // From the raw commit: what is parsed has the parents beyond the cut removed, or not, depending
                // on where the file with the cuts lies.
                let parents = parents(odb.read(id)?.data());
                let here = parents.iter().filter(|parent| odb.exists(**parent)).count();
                if here < parents.len() {
                    cut.push(id);
                } else {
                    open.extend(
                        parents
                            .into_iter()
                            .map(|parent| (parent, ObjectType::Commit)),
                    );
                }
            }
            ObjectType::Tree => {
                // Submodules are commits of another repository.
                let tree = from.find_tree(id)?;
                let inside = tree
                    .iter()
                    .filter_map(|entry| Some((entry.id(), entry.kind()?)));
                open.extend(inside.filter(|(_, kind)| *kind != ObjectType::Commit));
            }
            ObjectType::Tag => {
                let tag = from.find_tag(id)?;
                open.push((
                    tag.target_id(),
                    tag.target_type().unwrap_or(ObjectType::Commit),
                ));
            }
            _ => {}
        }
    }
    let target = to.odb()?;
    let mut writer = target.packwriter()?;
    let mut failure = None;
    let walked = pack.foreach(|bytes| {
        failure = writer.write_all(bytes).err();
        failure.is_none()
    });
    // The cause, not the abort that it led to.
    failure.map_or(walked, |e| Err(git2::Error::from_str(&e.to_string())))?;
    writer.commit()?;
    Ok(cut)
}

/// Notes in the copy where its history ends before its beginning.
fn cut_off(copy: &Repository, cut: &[Oid]) -> std::io::Result<()> {
    if cut.is_empty() {
        return Ok(());
    }
    let lines: String = cut.iter().map(|id| format!("{id}\n")).collect();
    fs::write(copy.path().join("shallow"), lines)
}

fn parents(commit: &[u8]) -> Vec<Oid> {
    let header = commit
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.is_empty());
    let ids = header.filter_map(|line| std::str::from_utf8(line.strip_prefix(b"parent ")?).ok());
    ids.filter_map(|id| Oid::from_str(id).ok()).collect()
}

#[cfg(test)]
mod tests;
