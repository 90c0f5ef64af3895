//! How far the source of a run is trusted, once its commit is here.

use super::fetched::Checkout;
use crate::run::settings::{Origin, Settings};
use ground::git::checkout;
use ground::git::commit::CommitId;
use ground::git::source::{RemoteUrl, Source};
use recipe::release::Tree;
use recipe::trust::{Level, SourceKey, Subject, Trust, decide};

/// The ref under test, as the source has it.
#[derive(Debug, Clone, Copy, Default)]
struct Named<'a> {
    branches: &'a [String],
    is_default: bool,
    is_tag: bool,
    chosen: bool,
}

/// Returns the trust in a source that was fetched; `branch` is the one that led to the commit, if one did.
pub(super) fn of_fetched(
    settings: &Settings,
    source: &Source,
    tree: &Tree,
    tags: &[(String, CommitId)],
    branch: Option<&str>,
) -> Trust {
    let key = SourceKey::of(source);
    let url = match source {
        _ if settings.by_hand => return Trust::by_hand(key.as_str()),
        Source::Path(_) => return of_a_path(&key),
        // The operator named the directory of a forge; whoever sets SRC names any other.
        Source::Url(url) if url.local_path().is_some() => return of_a_path(&key),
        Source::Url(url) | Source::Forge { url, .. } => url,
    };
    let branches: Vec<String> = branch.map(str::to_owned).into_iter().collect();
    let reference = settings.reference.as_ref().map(|name| name.as_str());
    let is_tag = branch.is_none() && reference.is_some_and(|name| is_tag(name, tags, tree));
    let named = Named {
        branches: &branches,
        is_default: branch.is_some()
            && (reference.is_none() || tip(tree, None) == Some(tree.commit)),
        is_tag,
        chosen: false,
    };
    weigh(
        settings,
        &key,
        settings.published.has(&settings.recipe, url),
        tree,
        named,
    )
}

/// Returns the trust in a checkout that an earlier step staged.
///
/// What it is, its own git says: the commit, the remote that it was cloned from, and the branches that this had. No
/// proposal can write there. Who staged a proposal has its commit checked out, or changes that are not committed.
pub(super) fn of_staged(
    settings: &Settings,
    tree: &Tree,
    tags: &[(String, CommitId)],
    chosen: bool,
) -> Trust {
    let origin = checkout::remote_url(&tree.root).ok().flatten();
    let Some(url) = origin.as_deref().and_then(RemoteUrl::of_remote) else {
        let place = settings.host.staged(settings.recipe.as_str());
        return Trust::stranger(
            place.display().to_string(),
            "an earlier step staged it, and its remote `origin` is on no forge",
        );
    };
    let key = SourceKey::of_url(&url);
    if key.repository() != settings.recipe.as_str()
        && !settings.grants.has_alias(&key, &settings.recipe)
    {
        let why = format!(
            "it is staged as `{}`, and is another repository",
            settings.recipe
        );
        return Trust::stranger(key.as_str(), why);
    }
    let grant = settings.grants.sources.get(&key);
    let mut branches = grant.map_or_else(Vec::new, |grant| grant.branches.clone());
    branches.retain(|branch| tip(tree, Some(branch)) == Some(tree.commit));
    let named = Named {
        branches: &branches,
        is_default: tip(tree, None) == Some(tree.commit),
        is_tag: tags.iter().any(|(_, commit)| *commit == tree.commit),
        chosen,
    };
    weigh(
        settings,
        &key,
        settings.published.has(&settings.recipe, &url),
        tree,
        named,
    )
}

/// Returns the trust in a published version that the harness itself chose of a source that was fetched; `fetched` is
/// the commit of its default branch.
pub(in crate::run) fn of_version(
    settings: &Settings,
    checkout: &Checkout,
    fetched: CommitId,
) -> Trust {
    let tree = &checkout.tree;
    let Ok(Source::Forge { url, .. }) = settings.published.source(&settings.recipe) else {
        return checkout.trust.clone();
    };
    if settings.published.staged {
        return of_staged(settings, tree, &checkout.tags, true);
    }
    let named = Named {
        is_tag: true,
        is_default: is_in(tree, fetched),
        chosen: true,
        ..Named::default()
    };
    weigh(settings, &SourceKey::of_url(&url), true, tree, named)
}

/// Returns the trust in the commit that an upgrade starts from, which is never more than that in the head. `is_tag` says
/// whether it is a release, and not the tip of a branch.
///
/// A grant for a commit is one for what somebody read, and one for a branch for what only maintainers push: neither says
/// anything of a tag beside them, which may be on any commit.
pub(in crate::run) fn of_base(
    settings: &Settings,
    checkout: &Checkout,
    commit: CommitId,
    is_tag: bool,
) -> Trust {
    let head = &checkout.trust;
    let Level::Granted(grant) = &head.level else {
        return head.clone();
    };
    let tree = Tree {
        root: checkout.tree.root.clone(),
        commit,
        dirty: false,
    };
    let staged;
    let url = match &settings.origin {
        Origin::Repository(Source::Url(url) | Source::Forge { url, .. }) => Some(url),
        Origin::Repository(Source::Path(_)) => None,
        Origin::Staged => {
            let origin = checkout::remote_url(&tree.root).ok().flatten();
            staged = origin.as_deref().and_then(RemoteUrl::of_remote);
            staged.as_ref()
        }
    };
    let Some(url) = url else {
        return Trust::stranger(&head.source, "it is on no forge");
    };
    let mut branches = grant.branches.clone();
    branches.retain(|branch| tip(&tree, Some(branch)) == Some(commit));
    let named = Named {
        branches: &branches,
        is_default: tip(&tree, None) == Some(commit),
        is_tag,
        chosen: true,
    };
    let published = settings.published.has(&settings.recipe, url);
    weigh(settings, &SourceKey::of_url(url), published, &tree, named)
}

fn of_a_path(key: &SourceKey) -> Trust {
    Trust::stranger(
        key.as_str(),
        "a path in SRC may be a checkout of anybody's proposal",
    )
}

fn is_tag(name: &str, tags: &[(String, CommitId)], tree: &Tree) -> bool {
    let name = name.strip_prefix("refs/").unwrap_or(name);
    let name = name.strip_prefix("tags/").unwrap_or(name);
    tags.iter()
        .any(|(tag, commit)| tag == name && *commit == tree.commit)
}

/// Returns the tip of a branch of the source; without a name, of its default one.
fn tip(tree: &Tree, branch: Option<&str>) -> Option<CommitId> {
    let name = format!("refs/remotes/origin/{}", branch.unwrap_or("HEAD"));
    checkout::commit_of(&tree.root, &name).ok()
}

/// Returns whether the tree's commit is in the history of `commit`. What cannot be read is not.
fn is_in(tree: &Tree, commit: CommitId) -> bool {
    checkout::is_ancestor(&tree.root, tree.commit, commit).unwrap_or(false)
}

fn weigh(
    settings: &Settings,
    key: &SourceKey,
    published: bool,
    tree: &Tree,
    named: Named<'_>,
) -> Trust {
    let of = Subject {
        recipe: &settings.recipe,
        key,
        commit: tree.commit,
        dirty: tree.dirty,
        branches: named.branches,
        is_default: named.is_default,
        is_tag: named.is_tag,
        chosen: named.chosen,
        published,
    };
    decide(&settings.grants, of, |branch| {
        tip(tree, branch).is_some_and(|tip| is_in(tree, tip))
    })
}
