//! Names of commits: how a text is resolved, and which names come close to one that does not exist.

use git2::{ErrorCode, ObjectType, Oid, Repository};

/// Shortest abbreviation of a commit that is looked up, as git itself has it.
const SHORTEST_PREFIX: usize = 4;

/// How many names a refusal lists.
const CLOSE_NAMES: usize = 5;

/// Why a text names no commit.
#[derive(Debug)]
pub(super) enum Unresolved {
    /// Nothing has the name.
    Unknown,
    /// An abbreviation that fits several objects.
    Ambiguous,
    /// The repository could not be read.
    Git(git2::Error),
}

/// A commit and the full name of the ref that led to it.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) commit: Oid,
    pub(super) name: Option<String>,
}

/// Returns what is said where `text` was taken for a branch and is the name of a tag with another commit, too.
pub(super) fn also_a_tag(text: &str) -> String {
    format!(
        "`{text}` is a branch and a tag of another commit: the branch was taken; give `refs/tags/{text}` for the tag"
    )
}

/// Returns whether the text can be a full or an abbreviated commit.
pub(super) fn is_hex(text: &str) -> bool {
    (SHORTEST_PREFIX..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns the commit that `text` names: a full id, a `refs/…`, a ref in the first of `namespaces` that has
/// it, or an abbreviated id. Annotated tags are peeled.
pub(super) fn resolve(
    repo: &Repository,
    text: &str,
    namespaces: &[&str],
) -> Result<Resolved, Unresolved> {
    if text.len() == 40 && is_hex(text) {
        return by_prefix(repo, text);
    }
    let full = (text == "HEAD" || text.starts_with("refs/")).then(|| text.to_owned());
    let candidates = full
        .into_iter()
        .chain(namespaces.iter().map(|space| format!("{space}{text}")));
    for name in candidates {
        match repo.find_reference(&name) {
            Ok(reference) => match reference.peel_to_commit() {
                Ok(commit) => {
                    return Ok(Resolved {
                        commit: commit.id(),
                        name: Some(name),
                    });
                }
                // A ref to nothing, or to a file: git has such tags, but a recipe cannot be one.
                Err(e) if absent(&e) => {}
                Err(e) => return Err(Unresolved::Git(e)),
            },
            Err(e) if absent(&e) => {}
            Err(e) => return Err(Unresolved::Git(e)),
        }
    }
    if is_hex(text) {
        by_prefix(repo, text)
    } else {
        Err(Unresolved::Unknown)
    }
}

/// Returns the commit with this full or abbreviated id, or the one that a tag object with it is about.
pub(super) fn by_prefix(repo: &Repository, prefix: &str) -> Result<Resolved, Unresolved> {
    let found = match repo.find_object_by_prefix(prefix, Some(ObjectType::Commit)) {
        Err(e) if absent(&e) => repo.find_object_by_prefix(prefix, Some(ObjectType::Tag)),
        other => other,
    };
    match found.and_then(|object| object.peel_to_commit()) {
        Ok(commit) => Ok(Resolved {
            commit: commit.id(),
            name: None,
        }),
        Err(e) if e.code() == ErrorCode::Ambiguous => Err(Unresolved::Ambiguous),
        Err(e) if absent(&e) => Err(Unresolved::Unknown),
        Err(e) => Err(Unresolved::Git(e)),
    }
}

fn absent(error: &git2::Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::NotFound | ErrorCode::InvalidSpec | ErrorCode::Peel | ErrorCode::UnbornBranch
    )
}

/// Returns the few of `names` that look most like `wanted`, the closest first.
pub(super) fn close_names<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let part = lower.contains(&wanted) || wanted.contains(&lower);
            (
                if part {
                    0
                } else {
                    strsim::levenshtein(&wanted, &lower)
                },
                name,
            )
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored
        .into_iter()
        .take(CLOSE_NAMES)
        .map(|(_, name)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_names_come_first_and_are_few() {
        let names = [
            "main",
            "master",
            "1.0.0",
            "1.1.0",
            "feature/x",
            "feature/y",
            "zzz",
        ];
        let close = close_names("mains", names);
        assert_eq!(close[0], "main");
        assert_eq!(close.len(), 5);
        assert_eq!(
            close_names("feature", names)[..2],
            ["feature/x", "feature/y"]
        );
        assert!(close_names("x", []).is_empty());
    }
}
