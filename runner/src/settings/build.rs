//! What a run says of the build that it is a step of, and how it is made again.

use std::io::ErrorKind;

use harness::report::copy::Copy;
use harness::report::papers::{JUNIT, PAGE};
use harness::run::settings::Repeat;

use super::{UsageError, wrong};
use crate::cli::RunArgs;
use crate::env;

/// Returns where files of the report go beside the run's directory.
///
/// # Errors
/// [`UsageError`] where a file cannot be written without leaving the working directory. That is a checkout in many
/// pipelines, and what a stranger's link in it leads to is not to be written.
pub(super) fn copies(args: &RunArgs) -> Result<Vec<Copy>, UsageError> {
    let asked = [
        ("--junit", &args.junit, JUNIT),
        ("--html", &args.html, PAGE),
    ];
    let mut copies = Vec::new();
    for (option, path, file) in asked {
        let Some(path) = path.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
            continue;
        };
        let here = env::working_dir();
        let path = here.join(path);
        let refuse = |why: String| {
            wrong(
                format!("{why}, so nothing can be written to `{}`", path.display()),
                &format!("name a file in a directory that exists with `{option}`"),
            )
        };
        for at in path.ancestors().take_while(|at| **at != here) {
            let kind = at.symlink_metadata().map(|found| found.file_type());
            match kind {
                Ok(kind) if kind.is_symlink() && (at == path || at.starts_with(&here)) => {
                    return Err(refuse(format!("`{}` is a link", at.display())));
                }
                Ok(kind) if at == path && !kind.is_file() => {
                    return Err(refuse("it is no file".to_owned()));
                }
                Ok(_) => {}
                Err(error) if at == path && error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(refuse(format!("`{}`: {error}", at.display()))),
            }
        }
        copies.push(Copy { file, path });
    }
    Ok(copies)
}

/// Returns what makes the same run again: what was asked for, wherever it was said.
pub(super) fn repeat(args: &RunArgs) -> Repeat {
    let mut words = vec!["recipe-ci".to_owned(), "run".to_owned()];
    if let Some(target) = &args.target {
        words.push(word(target));
    }
    for (option, value) in [
        ("--recipe", &args.recipe),
        ("--src", &args.src),
        ("--ref", &args.reference),
        ("--pr", &args.pr),
        ("--base", &args.base),
        ("--bases", &args.bases),
        ("--variants", &args.variants),
    ] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            words.push(format!("{option}={}", word(value)));
        }
    }
    if args.quick {
        words.push("--quick".to_owned());
    }
    let stages = args.stages.as_ref().filter(|value| !value.is_empty());
    Repeat {
        command: words.join(" "),
        stages: stages.map(|stages| word(stages)),
    }
}

/// Returns `text` as one word of a shell.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use harness::outcome::Stage;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_run_is_made_again_with_what_was_asked_for() {
        let again = |args: &[&str]| {
            let words = ["recipe-ci", "run"].into_iter().chain(args.iter().copied());
            match Cli::try_parse_from(words).unwrap().command {
                Command::Run(args) => repeat(&args),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(again(&["./notes"]).all(), "recipe-ci run ./notes");
        let upgrade = again(&["./notes", "--stages", "install,upgrade"]);
        assert_eq!(
            upgrade.all(),
            "recipe-ci run ./notes --stages=install,upgrade"
        );
        assert_eq!(
            upgrade.only(Stage::Restore),
            "recipe-ci run ./notes --stages=backup,restore"
        );
        assert_eq!(
            again(&["--src", "alice/notes", "--ref", "it's; rm -rf /", "--pr=7"]).all(),
            r"recipe-ci run --src=alice/notes --ref='it'\''s; rm -rf /' --pr=7"
        );
    }
}
