//! Sources that are a part of a repository: shallow and partial clones, tests in submodules. What they lack is said with the command that
//! fetches it, before anything is made; decision 0122 says why it is not fetched here.

use std::path::PathBuf;

use super::advice;
use super::base::Chosen;
use super::error::RunError;
use super::fetched::Checkout;
use super::settings::{Origin, Settings};
use ground::git::content::ContentError;
use ground::git::fetch::FetchError;
use ground::git::files::CommitFiles;
use ground::git::source::Source;
use ground::git::{Fault, GitError, stand_in};
use ground::source_tree::SourceFileError;
use recipe::TESTS;
use recipe::release::Tree;

/// Returns where on this host the source is.
fn place(settings: &Settings) -> Option<PathBuf> {
    match &settings.origin {
        Origin::Repository(Source::Path(path)) => Some(path.clone()),
        Origin::Repository(Source::Url(url) | Source::Forge { url, .. }) => url.local_path(),
        Origin::Staged => Some(settings.host.staged(settings.recipe.as_str())),
    }
}

fn command(settings: &Settings, arguments: &str) -> String {
    match place(settings) {
        Some(path) => format!("`git -C {} {arguments}`", path.display()),
        None => format!("there, `git {arguments}`"),
    }
}

/// Returns the command that gets the history that a shallow clone lacks.
pub(super) fn deepen(settings: &Settings) -> String {
    command(settings, "fetch --unshallow --tags")
}

/// Returns the command that gets the files that a partial clone lacks; `--refetch` is of git 2.36.
fn fill(settings: &Settings) -> String {
    command(settings, "fetch --refetch --no-filter --tags")
}

fn named(settings: &Settings) -> String {
    match (place(settings), &settings.origin) {
        (Some(path), _) => path.display().to_string(),
        (None, Origin::Repository(source)) => source.to_string(),
        (None, Origin::Staged) => settings.recipe.to_string(),
    }
}

fn without_the_upgrade(settings: &Settings) -> String {
    let others = settings.stages.iter();
    let others = others.filter(|stage| stage.name() != "upgrade");
    let others: Vec<_> = others.map(|stage| stage.name()).collect();
    match others.is_empty() {
        true => "an upgrade needs a base".to_owned(),
        false => format!("or leave the upgrade out: `--stages {}`", others.join(",")),
    }
}

/// Returns the refusal of an upgrade whose base a shallow clone may hide: no base would be green by ignorance.
pub(super) fn hides_the_base(settings: &Settings) -> RunError {
    RunError::Usage {
        error: format!(
            "`{}` is a shallow clone without an older version: whether there is one to upgrade from cannot be seen in it",
            named(settings)
        )
        .into(),
        hints: vec![
            format!("{} gets the whole history with its tags", deepen(settings)),
            without_the_upgrade(settings),
        ],
    }
}

/// Refuses a base whose files a partial clone lacks.
///
/// # Errors
/// [`RunError::Usage`] with what is missing.
pub(super) fn holds_the_base(
    settings: &Settings,
    checkout: &Checkout,
    chosen: &Chosen,
) -> Result<(), RunError> {
    match CommitFiles::open(&checkout.tree.root, chosen.commit) {
        Err(GitError::Content(ContentError::Missing { path, .. })) => Err(RunError::Usage {
            error: format!(
                "`{}` is a partial clone: it lacks the content of `{path}` in {}, the base of the upgrade",
                named(settings),
                chosen.in_words()
            )
            .into(),
            hints: vec![
                format!("{} gets all files of all commits", fill(settings)),
                without_the_upgrade(settings),
            ],
        }),
        _ => Ok(()),
    }
}

/// Returns why a source could not be fetched, and what to do.
pub(super) fn not_fetched(settings: &Settings, error: FetchError) -> RunError {
    let hints = vec![match &error {
        FetchError::Partial { .. } => {
            format!("{} gets all files of all commits", fill(settings))
        }
        error => advice::on_fetch(error).to_owned(),
    }];
    match error.fault() {
        Fault::Usage => RunError::Usage {
            error: error.into(),
            hints,
        },
        Fault::Infrastructure => RunError::Infra {
            error: error.into(),
            hints,
        },
    }
}

/// Refuses tests that are in a submodule: they would not run, and nothing would say so.
///
/// # Errors
/// [`RunError::Usage`] with the submodule.
pub(super) fn has_its_tests(tree: &Tree) -> Result<(), RunError> {
    let stand_ins = stand_in::stand_ins(&tree.root).map_err(RunError::infra)?;
    let mut submodules = stand_ins.submodules.iter();
    match submodules.find(|path| path.starts_with(TESTS)) {
        Some(path) => {
            let error = SourceFileError::submodule(path);
            let hints = vec![error.advice().to_owned()];
            let error = error.into();
            Err(RunError::Usage { error, hints })
        }
        None => Ok(()),
    }
}
