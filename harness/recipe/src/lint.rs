//! Static checks of a recipe: abra's rules, and what broke runs in practice.
//!
//! The rules are data ([`rules::RULES`]), each with a check over one loaded view of the recipe. Every compose
//! file counts, optional ones too: an optional file is judged on top of the files that a new app deploys. A
//! rule that cannot be checked here (the catalogue is on the network) is skipped with the reason, never
//! passed. Nothing here asks the network, or runs anything of the recipe. What is found changes no verdict; a run
//! looks for faults of routing by itself.

mod configs;
mod data;
pub mod finding;
pub mod gitlab;
mod history;
mod label;
mod proposal;
mod published;
mod repository;
mod routing;
pub mod rules;
pub mod sarif;
mod service;
mod sibling;
mod stand_in;
mod swarm;
mod upgrade;
mod view;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::compose::ComposeError;
use crate::env::EnvError;
use crate::policy;
pub use finding::{Finding, Lint, Severity, Skipped};
use ground::excerpt;
use ground::git::commit::CommitId;
use ground::git::{GitError, checkout, snapshot, worktree};
use ground::outcome::Status;
use ground::source_tree::SourceFileError;
use rules::RULES;
use view::View;

/// The stack that names are measured with where there is no run: one of the default zone.
pub const NOMINAL_STACK: &str = "lint-000000_ci_localhost";

/// What to lint.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The tree of the recipe.
    pub root: &'a Path,
    /// Its repository, where there is one.
    pub repository: Option<Repository<'a>>,
    /// The name of the stack that names are measured with.
    pub stack: &'a str,
    /// Whether it is said what the policy would refuse in a stranger's proposal. A run says what its own policy
    /// finds.
    pub proposal: bool,
}

/// The repository that a tree belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Repository<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// The commit of the tree.
    pub commit: CommitId,
    /// Whether the tree has uncommitted changes over that commit.
    pub dirty: bool,
}

/// Why a recipe cannot be linted.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// There is no such directory.
    #[error("there is no directory `{}`", path.display())]
    NoDirectory {
        /// Where one was expected.
        path: PathBuf,
    },
    /// There is no recipe.
    #[error("`{}` is no recipe: it has no compose.yml", root.display())]
    NoRecipe {
        /// Where one was expected.
        root: PathBuf,
    },
    /// The recipe has a file that a recipe may not have.
    #[error(transparent)]
    File(#[from] SourceFileError),
    /// The variables are more than a recipe may have.
    #[error(transparent)]
    Variables(#[from] EnvError),
    /// The compose files are more than a recipe may have.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// There is no place for the files of a commit.
    #[error("failed to make a temporary directory")]
    Unpack {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The repository could not be read.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl LintError {
    /// Returns the rule by which a run refuses what cannot be linted; `None` where a run is never made.
    #[must_use]
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::File(_) | Self::Variables(_) | Self::Compose(_) => Some(policy::rules::FILE.id),
            Self::NoDirectory { .. }
            | Self::NoRecipe { .. }
            | Self::Unpack { .. }
            | Self::Git(_) => None,
        }
    }
}

/// Checks every rule on the tree of `subject`.
///
/// # Errors
/// [`LintError`] when there is no recipe, or it cannot be read; what is wrong in its text is a finding.
pub fn check(subject: &Subject<'_>) -> Result<Lint, LintError> {
    let mut view = View::load(subject)?;
    view.published = upgrade::compare(&view, subject.root);
    let mut lint = Lint {
        status: Status::Pass,
        reason: None,
        ..Lint::default()
    };
    for rule in RULES {
        match (rule.check)(&view) {
            Err(reason) => lint.skipped.push(Skipped {
                id: rule.id.to_owned(),
                reason,
            }),
            Ok(hits)
                if hits.is_empty() && !view.broken.is_empty() && rule.reads_compose_files() =>
            {
                lint.skipped.push(Skipped {
                    id: rule.id.to_owned(),
                    reason: "it holds where it could be checked, but a compose file cannot be loaded, see C015".to_owned(),
                });
            }
            Ok(hits) if hits.is_empty() => lint.passed.push(rule.id.to_owned()),
            Ok(hits) => lint.findings.extend(hits.into_iter().map(|hit| Finding {
                id: rule.id.to_owned(),
                severity: rule.severity,
                title: rule.title.to_owned(),
                file: hit.file,
                line: hit.line,
                column: hit.column,
                source: None,
                message: hit.message,
                why: rule.why.to_owned(),
                fix: rule.fix.to_owned(),
            })),
        }
    }
    if subject.proposal {
        lint.findings
            .extend(proposal::findings(&view, subject.root));
    }
    let mut texts = BTreeMap::new();
    for found in &mut lint.findings {
        let (Some(file), Some(line)) = (&found.file, found.line) else {
            continue;
        };
        // What is no text of the tree has no line to show: a file of the overlay, one that is no text.
        let text = texts
            .entry(file.clone())
            .or_insert_with(|| view.tree.text(file).ok().flatten());
        found.source = text.as_ref().and_then(|text| excerpt::line(text, line));
    }
    lint.findings.sort_by(|a, b| {
        let key = |found: &Finding| (found.severity, found.file.clone(), found.line);
        key(a).cmp(&key(b))
    });
    let errors = lint.count(Severity::Error);
    if errors > 0 {
        let mut ids: Vec<&str> = lint
            .findings
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .map(|found| found.id.as_str())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        lint.reason = Some(format!("rules that must hold do not: {}", ids.join(", ")));
        lint.status = Status::Fail;
    }
    Ok(lint)
}

/// Lints the recipe at `path`: its work tree, or what `reference` names in its repository.
///
/// # Errors
/// As [`check`]; [`GitError::UnknownRef`] when the repository has no such ref.
pub fn lint(path: &Path, reference: Option<&str>) -> Result<Lint, LintError> {
    let has_repository = path.join(".git").exists();
    let Some(reference) = reference else {
        if !path.is_dir() {
            let path = path.to_owned();
            return Err(LintError::NoDirectory { path });
        }
        // A repository without a commit has no history, and is linted as a directory.
        let commit = match has_repository {
            true => checkout::commit_of(path, "HEAD").ok(),
            false => None,
        };
        let repository = match commit {
            Some(commit) => Some(Repository {
                path,
                commit,
                dirty: worktree::is_dirty(path)?,
            }),
            None => None,
        };
        return check(&Subject {
            root: path,
            repository,
            stack: NOMINAL_STACK,
            proposal: true,
        });
    };
    let commit = checkout::commit_of(path, reference)?;
    let unpacked = tempfile::tempdir().map_err(|source| LintError::Unpack { source })?;
    let root = unpacked.path().join("recipe");
    snapshot::export(path, commit, &root)?;
    check(&Subject {
        root: &root,
        repository: Some(Repository {
            path,
            commit,
            dirty: false,
        }),
        stack: NOMINAL_STACK,
        proposal: true,
    })
}

#[cfg(test)]
mod tests;
