//! Which recipe is meant, and where it comes from.

use std::path::Path;

use harness::git::source::Source;
use harness::name::RecipeName;
use harness::run::settings::{Origin, Published};

use super::{UsageError, published, published_by, wrong};
use crate::cli::RunArgs;
use crate::env;

/// Works out the recipe's name and where it comes from; the last value says that a path was given by hand.
pub(super) fn source(
    args: &RunArgs,
    forge: Option<&str>,
    has_ref: bool,
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
    let origin = if let Some(path) = path {
        // A path needs no leading dot when it is plainly a directory.
        let path = base.join(path);
        Origin::Repository(Source::Path(path))
    } else if let Some(src) = src {
        Origin::Repository(parse(src, forge)?)
    } else if published_by(forge)? == Published::Staged {
        Origin::Staged
    } else if has_ref {
        return Err(wrong(
            format!("REF is given without SRC: nothing says whose `{recipe}` it is a ref of"),
            "set SRC to the OWNER/REPO, URL or path that has it, or leave REF unset for the published recipe",
        ));
    } else {
        Origin::Repository(published(&recipe, forge)?)
    };
    // Only what a person typed as a path is theirs. SRC comes from a pipeline, where a path may be a
    // checkout of anybody's proposal.
    Ok((recipe, origin, path.is_some()))
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
