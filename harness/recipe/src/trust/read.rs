//! Reading `grants.yml`: whose file it is, and what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::grant::{self, Grant, GrantsFile};
use super::key::SourceKey;
use crate::compose::Location;
use crate::declared::error::DeclaredError;
use crate::declared::typed::{self, Typed, Words, place};
use ground::git::commit::CommitId;
use ground::git::source::RemoteUrl;
use ground::host_file;
use ground::name::{GitRef, RecipeName};

/// The name of the file in the operator's directory of overlays.
pub const FILE_NAME: &str = "grants.yml";

/// How large the file may be, in bytes.
const MOST: u64 = 1 << 20;

/// Every key that the file can have, those of lists with `[]`, those of mappings with `*`. A test holds them against
/// the schema.
const KEYS: [&str; 38] = [
    "forges",
    "sources",
    "sources.*.branches",
    "sources.*.commits",
    "sources.*.releases",
    "sources.*.aliases",
    "sources.*.run_code",
    "sources.*.token",
    "sources.*.secrets",
    "sources.*.binds",
    "sources.*.binds[].path",
    "sources.*.binds[].write",
    "sources.*.ports",
    "sources.*.foreign",
    "sources.*.foreign.networks",
    "sources.*.foreign.volumes",
    "sources.*.foreign.secrets",
    "sources.*.foreign.configs",
    "sources.*.images",
    "sources.*.capabilities",
    "sources.*.keys",
    "sources.*.volume_options",
    "sources.*.routers",
    "sources.*.labels",
    "sources.*.routers.hosts",
    "sources.*.routers.entrypoints",
    "sources.*.routers.names",
    "sources.*.routers.priority",
    "sources.*.template_driver",
    "sources.*.driver",
    "sources.*.ceilings",
    "sources.*.ceilings.replicas",
    "sources.*.ceilings.services",
    "sources.*.ceilings.tasks",
    "sources.*.ceilings.memory",
    "sources.*.ceilings.cpus",
    "sources.*.ceilings.pids",
    "sources.*.ceilings.log_size",
];

const WORDS: Words = Words {
    keys: &KEYS,
    formerly: &[],
};

/// What the operator grants, read and checked.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// The file, as errors and hints call it; absent without one.
    pub file: Option<PathBuf>,
    /// Forges that may be asked besides the others.
    pub forges: Vec<RemoteUrl>,
    /// What each source may do beyond a stranger.
    pub sources: BTreeMap<SourceKey, Grant>,
    /// The names on the list of approved recipes, which this file replaces: [`super::list`].
    pub approved: BTreeSet<RecipeName>,
}

impl Grants {
    /// Returns what reports call the file.
    #[must_use]
    pub fn file_in_words(&self) -> String {
        match &self.file {
            Some(path) => format!("`{}`", path.display()),
            None => FILE_NAME.to_owned(),
        }
    }

    /// Returns whether the source may be tested as this recipe though its repository has another name.
    #[must_use]
    pub fn has_alias(&self, key: &SourceKey, recipe: &RecipeName) -> bool {
        let mut aliases = self
            .sources
            .get(key)
            .into_iter()
            .flat_map(|grant| &grant.aliases);
        aliases.any(|alias| alias == recipe.as_str())
    }
}

/// Why `grants.yml` cannot be used. A file that cannot be used grants nothing, and stops the run.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    /// It cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another user may have written it.
    #[error("`{}` {reason}, so it is not known who wrote it", path.display())]
    Owner {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What it says is wrong.
    #[error(transparent)]
    Wrong(#[from] DeclaredError),
}

impl GrantsError {
    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        let advice = match self {
            Self::Read { .. } => {
                "make it a readable text in UTF-8 of at most 1 MiB, or name another with `--grants` (CCCI_GRANTS)"
            }
            Self::Owner { path, .. } => {
                return format!(
                    "it belongs to root or to the user that runs recipe-ci, and nobody else may write it: `chmod go-w {}`",
                    path.display()
                );
            }
            Self::Wrong(DeclaredError::UnknownKey { .. }) => {
                "`recipe-ci grants schema` lists every key, for an editor as well"
            }
            Self::Wrong(_) => {
                "change the file at that place; `recipe-ci grants check` reads it the same way"
            }
        };
        advice.to_owned()
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// [`GrantsError`].
pub fn read(path: &Path) -> Result<Grants, GrantsError> {
    let failed = |source| GrantsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = host_file::open(path).map_err(failed)?;
    // Of the file that is open, whatever lies at the path by now.
    let data = file.metadata().map_err(failed)?;
    if let Some(reason) = anothers(&data) {
        return Err(GrantsError::Owner {
            path: path.to_owned(),
            reason,
        });
    }
    if !data.is_file() || data.len() > MOST {
        return Err(failed(std::io::Error::other(
            "it is no regular file of at most 1 MiB",
        )));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(failed)?;
    let mut grants = parse(&text, &path.display().to_string())?;
    grants.file = Some(path.to_owned());
    Ok(grants)
}

/// Returns why another user may have written a file, if one may have.
fn anothers(data: &std::fs::Metadata) -> Option<String> {
    let own = nix::unistd::geteuid().as_raw();
    if data.uid() != 0 && data.uid() != own {
        return Some(format!("belongs to the user {}", data.uid()));
    }
    let mode = data.mode() & 0o7777;
    (mode & 0o022 != 0).then(|| format!("may be written by others (mode {mode:04o})"))
}

/// Parses the text of a file; `shown` is what errors call it.
///
/// # Errors
/// [`DeclaredError`], which has the place.
pub fn parse(text: &str, shown: &str) -> Result<Grants, DeclaredError> {
    let Typed { value, marks } = typed::read(text, shown, &grant::schema_value(), &WORDS)?;
    let file: GrantsFile = value.unwrap_or_default();
    let wrong = |path: String, reason: String| DeclaredError::Value {
        location: found(&marks, &path, shown),
        path,
        reason,
    };
    let mut grants = Grants::default();
    for (index, text) in file.forges.iter().enumerate() {
        let forge = forge(text).map_err(|reason| wrong(format!("forges[{index}]"), reason))?;
        grants.forges.push(forge);
    }
    for (name, grant) in file.sources {
        let at = format!("sources.{name}");
        let key: SourceKey = name
            .parse()
            .map_err(|error: super::key::KeyError| wrong(at.clone(), error.to_string()))?;
        if let Some((path, reason)) = fault(&grant) {
            let at = if path.is_empty() {
                at
            } else {
                format!("{at}.{path}")
            };
            return Err(wrong(at, reason));
        }
        if grants.sources.insert(key.clone(), grant).is_some() {
            return Err(wrong(at, format!("`{key}` has two grants; make them one")));
        }
    }
    Ok(grants)
}

fn found(marks: &BTreeMap<String, Location>, path: &str, shown: &str) -> Location {
    Location {
        file: shown.to_owned(),
        ..place(marks, path)
    }
}

/// Parses the address of a forge.
///
/// # Errors
/// A sentence when it is not one over HTTP.
pub fn forge(text: &str) -> Result<RemoteUrl, String> {
    let url = RemoteUrl::parse(text).map_err(|error| error.to_string())?;
    if url.local_path().is_some() {
        return Err(
            "a forge is asked over https or http; directories are listed in CCCI_SRC_DIRS"
                .to_owned(),
        );
    }
    Ok(url)
}

/// The values below a key, and what says what is wrong with one.
type List<'a> = (
    &'static str,
    &'a [String],
    &'a dyn Fn(&String) -> Option<String>,
);

/// Returns the first value of a grant that cannot be meant, with the keys that lead to it.
fn fault(grant: &Grant) -> Option<(String, String)> {
    if grant.branches.is_empty() && grant.commits.is_empty() {
        let reason = "name the protected `branches` or the `commits` that it holds for";
        return Some((String::new(), reason.to_owned()));
    }
    let branch = |text: &String| {
        if text.starts_with("refs/") {
            return Some("give the branch's name, such as `main`".to_owned());
        }
        text.parse::<GitRef>().err().map(|error| error.to_string())
    };
    let commit = |text: &String| {
        text.parse::<CommitId>()
            .err()
            .map(|error| error.to_string())
    };
    let alias = |text: &String| {
        text.parse::<RecipeName>()
            .err()
            .map(|error| error.to_string())
    };
    let name = |text: &String| {
        let is_one = !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        (!is_one).then(|| format!("`{text}` is no name"))
    };
    let host = |text: &String| {
        let reason = name(&text.strip_prefix("*.").unwrap_or(text).to_owned());
        reason.map(|_| {
            format!("`{text}` is no host; write `example.org`, or `*.example.org` for all below it")
        })
    };
    let port = |text: &String| {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let is_one = number.parse::<u16>().is_ok_and(|number| number > 0)
            && number.bytes().all(|b| b.is_ascii_digit())
            && ["tcp", "udp", "sctp"].contains(&protocol);
        (!is_one).then(|| format!("`{text}` is no port; write `8080` or `53/udp`"))
    };
    let image = |text: &String| {
        let is_one = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c));
        (!is_one).then(|| {
            format!("`{text}` is no registry or repository; write `registry.example.org/team`")
        })
    };
    let capability = |text: &String| {
        if text.starts_with("CAP_") {
            return Some("leave `CAP_` out".to_owned());
        }
        let is_one = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        (!is_one).then(|| format!("`{text}` is no capability; write it like `NET_ADMIN`"))
    };
    let foreign = &grant.foreign;
    let listed = match &grant.volume_options {
        grant::VolumeOptions::Listed(keys) => keys.as_slice(),
        grant::VolumeOptions::All(_) => &[],
    };
    let lists: [List<'_>; 15] = [
        ("branches", &grant.branches, &branch),
        ("commits", &grant.commits, &commit),
        ("aliases", &grant.aliases, &alias),
        ("secrets", &grant.secrets, &name),
        ("ports", &grant.ports, &port),
        ("foreign.networks", &foreign.networks, &name),
        ("foreign.volumes", &foreign.volumes, &name),
        ("foreign.secrets", &foreign.secrets, &name),
        ("foreign.configs", &foreign.configs, &name),
        ("images", &grant.images, &image),
        ("capabilities", &grant.capabilities, &capability),
        ("volume_options", listed, &name),
        ("routers.hosts", &grant.routers.hosts, &host),
        ("routers.entrypoints", &grant.routers.entrypoints, &name),
        ("labels", &grant.labels, &name),
    ];
    let in_lists = lists.iter().find_map(|(path, values, check)| {
        values.iter().enumerate().find_map(|(index, value)| {
            check(value).map(|reason| (format!("{path}[{index}]"), reason))
        })
    });
    in_lists.or_else(|| {
        grant.binds.iter().enumerate().find_map(|(index, bind)| {
            let plain = bind.path.is_absolute()
                && bind
                    .path
                    .components()
                    .all(|part| !matches!(part, std::path::Component::ParentDir));
            (!plain).then(|| {
                let reason = "give the absolute path, without `..`";
                (format!("binds[{index}].path"), reason.to_owned())
            })
        })
    })
}

#[cfg(test)]
mod tests;
