//! Which recipe is meant, where it comes from, and whether it may be asked for there.

use std::path::{Path, PathBuf};

use harness::git::enclosed::way_out;
use harness::git::source::{RemoteUrl, Source};
use harness::host_file;
use harness::name::RecipeName;
use harness::run::settings::Origin;
use harness::trust::read::forge as parse_forge;
use harness::trust::{Grants, SourceKey};

use super::{PUBLIC_FORGE, UsageError, published, published_by, wrong};
use crate::cli::RunArgs;
use crate::env;

/// Works out the recipe's name and where it comes from; the last value says that a path was given by hand.
pub(super) fn source(
    args: &RunArgs,
    forge: Option<&str>,
    has_ref: bool,
    grants: &Grants,
) -> Result<(RecipeName, Origin, bool), UsageError> {
    let base = env::working_dir();
    let target = args.target.as_deref();
    let is_path =
        |text: &str| !text.contains("://") && (text.contains('/') || text == "." || text == "..");
    let name_given = args.recipe.as_deref().filter(|name| !name.is_empty());
    let path = target.filter(|text| is_path(text));
    let url = target.filter(|text| text.contains("://"));
    let src = args.src.as_deref().filter(|src| !src.is_empty());
    if let (Some(target), Some(src)) = (path.or(url), src)
        && src != target
    {
        return Err(wrong(
            format!("there are two sources: `{target}`, and `{src}` of `--src` (SRC)"),
            "leave one of them out; without a path on the command line a pipeline's SRC, REF and RECIPE count",
        ));
    }
    let src = url.or(src);
    let text = path.or(src);
    let plain = target.filter(|text| !is_path(text) && !text.contains("://"));
    let name = match (plain, name_given) {
        (Some(name), _) | (None, Some(name)) => name.to_owned(),
        (None, None) => match text {
            Some(text) => last_part(text, &base),
            None => {
                return Err(wrong(
                    "there is nothing to run",
                    "name a recipe or the path of its repository: `recipe-ci run ./my-recipe`, or set RECIPE",
                ));
            }
        },
    };
    let recipe: RecipeName = name.parse().map_err(|error| {
        wrong(
            error,
            if text.is_some() {
                "give the recipe's name with `--recipe`"
            } else {
                "a recipe's name is like `custom-html`; a repository is given as `./path` or with `--src`"
            },
        )
    })?;
    let parse = |text: &str, forge: Option<&str>| {
        Source::parse(text, forge, &base)
            .map_err(|error| wrong(error, "see `recipe-ci run --help` for `--src`"))
    };
    // Only what a person typed as a path is theirs. SRC comes from a pipeline, where a path may be a
    // checkout of anybody's proposal.
    if let Some(path) = path {
        // A path needs no leading dot when it is plainly a directory.
        let typed = if Path::new(path).is_absolute() {
            path.to_owned()
        } else {
            format!("./{path}")
        };
        let source = parse(&typed, forge)?;
        return Ok((recipe, Origin::Repository(source), true));
    }
    let origin = if let Some(src) = src {
        let source = parse(src, forge)?;
        let key = SourceKey::of(&source);
        let name = match &source {
            Source::Path(_) => last_part(src, &base),
            _ => key.repository().to_owned(),
        };
        if name != recipe.as_str() && !grants.has_alias(&key, &recipe) {
            return Err(other_name(&recipe, &name, &key));
        }
        Origin::Repository(may_be_asked(source, url.is_some(), forge, grants)?)
    } else if published_by(forge)?.staged {
        Origin::Staged
    } else if has_ref {
        return Err(wrong(
            format!("REF is given without SRC: nothing says whose `{recipe}` it is a ref of"),
            "set SRC to the OWNER/REPO or URL that has it, or leave REF unset for the published recipe",
        ));
    } else {
        Origin::Repository(published(&recipe, forge)?)
    };
    Ok((recipe, origin, false))
}

/// Returns the refusal of a recipe's name that is not the repository's: overlays and warm data go by names.
fn other_name(recipe: &RecipeName, name: &str, key: &SourceKey) -> UsageError {
    UsageError {
        error: format!(
            "the source is the repository `{name}`, and the recipe is said to be `{recipe}`"
        )
        .into(),
        hints: vec![
            format!("leave RECIPE unset, or set it to `{name}`"),
            format!(
                "an operator who trusts the source adds to the entry of `{key}` in grants.yml: `aliases: [{recipe}]`"
            ),
        ],
    }
}

/// Returns `source` where it may be asked: on a forge that is listed, or in a directory that is. `typed` says that a
/// person gave its address on the command line, which lists it.
fn may_be_asked(
    source: Source,
    typed: bool,
    forge: Option<&str>,
    grants: &Grants,
) -> Result<Source, UsageError> {
    match &source {
        Source::Path(path) => inside(path).map(Source::Path),
        // The operator's own forge, whatever it is.
        Source::Forge { .. } => Ok(source),
        Source::Url(_) if typed => Ok(source),
        Source::Url(url) => match url.local_path() {
            Some(path) => inside(&path).map(|_| source),
            None if is_listed(url, forge, grants)? => Ok(source),
            None => Err(unlisted(url)),
        },
    }
}

/// Returns whether the forge of an address may be asked.
fn is_listed(url: &RemoteUrl, forge: Option<&str>, grants: &Grants) -> Result<bool, UsageError> {
    let known = [Some(PUBLIC_FORGE), forge].into_iter().flatten();
    let mut known = known.filter_map(|text| RemoteUrl::parse(text).ok());
    if known.any(|known| known.is_beside(url)) || grants.forges.iter().any(|one| one.is_beside(url))
    {
        return Ok(true);
    }
    let named = env::var("CCCI_FORGES").unwrap_or_default();
    for text in named
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let one = parse_forge(text).map_err(|reason| {
            wrong(
                format!("CCCI_FORGES: {reason}"),
                "give the URLs of forges, separated by commas: `https://git.example.org`",
            )
        })?;
        if one.is_beside(url) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unlisted(url: &RemoteUrl) -> UsageError {
    UsageError {
        error: format!("`{url}` is on a forge that this host does not ask").into(),
        hints: vec![
            "an operator lists it under `forges:` in grants.yml, or in CCCI_FORGES".to_owned(),
            format!("for a look by hand: `recipe-ci run {url}`"),
        ],
    }
}

/// Returns the path of a source as it really is, where it is in a directory that the operator lists.
fn inside(path: &Path) -> Result<PathBuf, UsageError> {
    let listed = env::path("CCCI_SRC_DIRS").unwrap_or_default();
    let mut dirs = Vec::new();
    for dir in std::env::split_paths(&listed).filter(|dir| !dir.as_os_str().is_empty()) {
        if dir.is_relative() {
            return Err(wrong(
                format!("CCCI_SRC_DIRS has the relative path `{}`", dir.display()),
                "give absolute ones, separated by `:`",
            ));
        }
        // One that is not there holds nothing.
        dirs.extend(dir.canonicalize().ok());
    }
    let refused = || UsageError {
        error: format!(
            "SRC is the path `{}`, which is in no directory that this host takes sources from",
            path.display()
        )
        .into(),
        hints: vec![
            "an operator lists the directories in CCCI_SRC_DIRS, separated by `:`".to_owned(),
            format!("for your own directory: `recipe-ci run {}`", path.display()),
        ],
    };
    let is_inside = |path: &Path| dirs.iter().any(|dir| path.starts_with(dir));
    let real = path.canonicalize().map_err(|_| refused())?;
    // A work tree may be a file that says where its repository is.
    let git = real.join(".git");
    let repository = if git.is_file() {
        let text = host_file::text(&git).map_err(|_| refused())?;
        let place = text
            .trim_ascii()
            .strip_prefix("gitdir:")
            .unwrap_or_default();
        real.join(place.trim_ascii())
            .canonicalize()
            .map_err(|_| refused())?
    } else {
        // A bare repository has none.
        git.canonicalize().unwrap_or_else(|_| real.clone())
    };
    if !is_inside(&real) || !is_inside(&repository) {
        return Err(refused());
    }
    // Where `.git` is no repository, libgit2 takes what is beside it for a bare one.
    let beside = real.join("objects").exists().then(|| real.clone());
    let found = way_out(&repository, &is_inside).and_then(|found| match (found, beside) {
        (None, Some(beside)) => way_out(&beside, &is_inside),
        (found, _) => Ok(found),
    });
    match found {
        Ok(None) => Ok(real),
        Ok(Some(place)) => Err(UsageError {
            error: format!(
                "SRC is the path `{}`, whose repository uses `{}`, which is in no directory that this host takes sources from",
                path.display(),
                place.display()
            )
            .into(),
            hints: vec!["clone it with `git clone --no-local --dissociate`".to_owned()],
        }),
        Err(error) => Err(wrong(
            format!("the repository of SRC, `{}`, cannot be read: {error}", path.display()),
            "clone it anew",
        )),
    }
}

/// Returns what a person should know who named a recipe beside a directory of that name, and may have meant that.
pub(crate) fn taken_for_a_name(args: &RunArgs) -> Option<String> {
    let name = args.target.as_deref().filter(|text| !text.contains('/'))?;
    let is_named = args.src.as_deref().is_none_or(str::is_empty);
    let there = env::working_dir().join(name).join("compose.yml").is_file();
    (is_named && there && !name.starts_with('.')).then(|| {
        format!("== `{name}` is the published recipe; for the directory here: `recipe-ci run ./{name}` ==")
    })
}

/// Returns the name that a source suggests: its last part, without `.git`.
fn last_part(text: &str, base: &Path) -> String {
    let trimmed = text.trim_end_matches('/');
    let last = trimmed.rsplit('/').next().unwrap_or(trimmed);
    let last = if last.is_empty() || last == "." || last == ".." {
        let path = base.join(text);
        let path = path.canonicalize().unwrap_or(path);
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    } else {
        last.to_owned()
    };
    last.strip_suffix(".git").map(str::to_owned).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_from_the_last_part_of_a_source() {
        let base = Path::new("/srv/notes");
        assert_eq!(last_part("https://x/y/notes.git", base), "notes");
        assert_eq!(last_part("./a/b/", base), "b");
        assert_eq!(last_part(".", base), "notes");
    }
}
