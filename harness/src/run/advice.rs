//! What to do next about input that is wrong: every refusal says what, where, and this.

use ground::git::fetch::FetchError;
use ground::git::http::TransportError;
use recipe::compose::ComposeError;
use recipe::interpolate::InterpolateError;
use recipe::release::ReleaseError;

/// What to do about a head that cannot be read with the env file of an app that is to be upgraded.
pub(super) const ON_UPGRADE: &str = "give a new variable a default, keep a compose file that env files name, \
     or write into `upgrade_env` of recipe-ci.yml what every operator has to set first";

/// Returns what to do about a recipe that cannot be fetched.
pub(super) fn on_fetch(error: &FetchError) -> &'static str {
    match error {
        FetchError::UnknownRef { .. } => {
            "name one that it has with `--ref` (REF), or push the commit first"
        }
        FetchError::AmbiguousRef { .. } => {
            "give the whole commit id, or the full name below `refs/`"
        }
        FetchError::NoCommit { .. } => "commit the recipe first",
        FetchError::TooManyRefs { .. } => {
            "delete the branches and tags that nothing needs; every one of them becomes a file on this host"
        }
        FetchError::Source(_)
        | FetchError::SourceMissing { .. }
        | FetchError::NotARepository { .. } => {
            "give the root of the recipe's git repository, or its URL or OWNER/REPO with `--src` (SRC)"
        }
        FetchError::SubDirectory { .. } => "run it with the root of the repository",
        FetchError::DestinationInside { .. } => {
            "choose a runs directory outside of the recipe with CCCI_RUNS_DIR"
        }
        FetchError::Content(error) if error.is_the_repositorys() => {
            "docs/operating.md says what a recipe's repository may hold"
        }
        FetchError::Transport(TransportError::TooLarge { .. })
        | FetchError::Memory { .. }
        | FetchError::Unpacking { .. } => {
            "docs/operating.md says what a recipe's repository may hold"
        }
        FetchError::Transport(TransportError::Status {
            status: 401 | 404,
            authorized: false,
            ..
        }) => {
            "check OWNER/REPO; for a private repository, give CCCI_FORGE_TOKEN, and grant the source `token: true` in grants.yml"
        }
        FetchError::Transport(TransportError::Status { status: 404, .. }) => {
            "check OWNER/REPO, and what the token (CCCI_FORGE_TOKEN) may read"
        }
        FetchError::Partial { .. } | FetchError::Content(_) => {
            "fetch the whole repository, not a part of it"
        }
        FetchError::Transport(_) => {
            "check the address, the token (CCCI_FORGE_TOKEN) and whether this host reaches the forge"
        }
        FetchError::DiskFull { .. } => {
            "make room in the runs directory; old run directories may go"
        }
        FetchError::DestinationExists { .. } | FetchError::Git { .. } | FetchError::Io { .. } => {
            "`recipe-ci doctor` says what is wrong with this host"
        }
    }
}

/// Returns what to do about a recipe whose files cannot be read.
pub(super) fn on_release(error: &ReleaseError) -> &'static str {
    match error {
        ReleaseError::Compose(error) => on_compose(error),
        ReleaseError::Env(error) if error.is_too_much() => {
            "docs/operating.md says what a recipe's repository may hold"
        }
        ReleaseError::Env(_) => "correct that line of .env.sample",
        ReleaseError::File(error) => error.advice(),
    }
}

/// Returns whether the value at `path` of a compose file is the name of a file.
pub(super) fn names_a_file(path: &str) -> bool {
    let of_objects = path.starts_with("secrets.") || path.starts_with("configs.");
    of_objects && path.ends_with(".file") || path.contains(".env_file")
}

fn on_compose(error: &ComposeError) -> &'static str {
    match error {
        ComposeError::NoComposeFile { .. } => {
            "put a compose.yml into the root of the recipe, or name the files in COMPOSE_FILE of .env.sample"
        }
        ComposeError::Missing { .. }
        | ComposeError::Outside { .. }
        | ComposeError::TooManyFiles => "correct COMPOSE_FILE in .env.sample",
        ComposeError::Interpolate {
            problem: InterpolateError::TooLong,
            ..
        } => "docs/operating.md says what a recipe's repository may hold",
        ComposeError::Interpolate { .. } => {
            "give the variable a value in .env.sample, or a default in the compose file"
        }
        ComposeError::Extends { .. } | ComposeError::ExtendsCycle { .. } => {
            "write the service out in full: `docker stack deploy` does not know `extends`"
        }
        ComposeError::TooLarge { .. } => "write the values out instead of nesting aliases",
        ComposeError::Read { source, .. } => source.advice(),
        ComposeError::Invalid { path, .. } if names_a_file(path) => {
            "put the file itself there; docs/operating.md says what a recipe's repository may hold"
        }
        ComposeError::Yaml { .. }
        | ComposeError::DuplicateKey { .. }
        | ComposeError::Invalid { .. } => {
            "correct the file at that place; `docker stack config --compose-file FILE` reads it the same way"
        }
    }
}
