//! What `.env.sample` lost between two versions, of which a new app is made.
//!
//! An upgrade keeps the env file that an app has, and a run sets the domain and the certificates of its apps itself; so
//! nothing that is deployed shows it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::compose::{ComposeError, Project, compose_files};
use super::env::{EnvFile, abra_sh};
use super::interpolate::InterpolateError;
use ground::source_tree::SourceTree;

/// The rule about it.
pub const RULE: &str = "C027";

/// Something that a version's `.env.sample` has, and the next one's does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// A variable whose value the compose files write into theirs, which is empty then.
    Empty(String),
    /// A variable that a service is only handed. It is absent there, and the app may have a value of its own.
    Absent(String),
    /// A compose file that is still there, and no part of a new app any more.
    File(String),
}

impl Lost {
    /// Returns whether a new app is sure to miss it.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        !matches!(self, Self::Absent(_))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHERE: &str = "which the version before has and the compose files take from there";
        match self {
            Self::Empty(name) => write!(f, "`{name}` is gone, {WHERE}: it is empty in a new app"),
            Self::Absent(name) => write!(f, "`{name}` is gone, {WHERE}: a new app is not given it"),
            Self::File(file) => write!(
                f,
                "`{file}` is gone from COMPOSE_FILE, though it is still there: a new app is deployed without it"
            ),
        }
    }
}

/// Returns what the compose files at `root` take from `.env.sample` and only the one at `before` sets. `vars` are the
/// variables of an app of the head. One that stands in a comment is not lost: operators are shown it.
#[must_use]
pub fn lost(before: &Path, root: &Path, vars: &BTreeMap<String, String>) -> Vec<Lost> {
    let text = |root: &Path, path: &str| SourceTree::open(root).ok()?.text(path).ok().flatten();
    let sample = |root: &Path| text(root, ".env.sample");
    // Of one that is not there or cannot be read R008 has more to say.
    let (Some(before), Some(now)) = (sample(before), sample(root)) else {
        return Vec::new();
    };
    let Ok(before) = EnvFile::parse(&before, ".env.sample") else {
        return Vec::new();
    };
    let own = EnvFile::parse(&now, ".env.sample").ok();
    let set = own.as_ref().map_or_else(Vec::new, EnvFile::keys);
    let mut lost = lost_files(&before, own.as_ref(), &now, root);
    let shown = mentioned(&now);
    let exports = abra_sh::exports(&text(root, "abra.sh").unwrap_or_default());
    let exports = exports.map(|exports| exports.vars).unwrap_or_default();
    let is_there = |name: &&str| {
        set.contains(name)
            || shown.contains_key(*name)
            || exports.iter().any(|(exported, _)| exported == name)
    };
    let keys = before.keys().into_iter();
    let missing: Vec<&str> = keys.filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return lost;
    }
    let mut without = vars.clone();
    for name in &missing {
        without.remove(*name);
    }
    match Project::load(root, &compose_files(&without), &without) {
        Ok(project) => {
            let is_named = |name: &str| {
                let mut services = project.services.iter();
                services.any(|one| one.environment.get(name) == Some(&None))
            };
            for name in missing {
                if project.unset.iter().any(|unset| unset == name) {
                    lost.push(Lost::Empty(name.to_owned()));
                } else if is_named(name) {
                    lost.push(Lost::Absent(name.to_owned()));
                }
            }
        }
        Err(ComposeError::Interpolate {
            problem: InterpolateError::Required { name, .. },
            ..
        }) if missing.contains(&name.as_str()) => lost.push(Lost::Empty(name)),
        // What else is wrong is said where the head is read.
        Err(_) => {}
    }
    lost
}

/// Returns the files that a new app of the version before is made of, and one of the sample `now`, which is `own`, is not. One that
/// stands in a comment there is a choice.
fn lost_files(before: &EnvFile, own: Option<&EnvFile>, now: &str, root: &Path) -> Vec<Lost> {
    let files = |sample: &EnvFile| -> Option<Vec<String>> {
        Some(compose_files(&sample.resolve(&BTreeMap::new()).ok()?))
    };
    let (Some(then), Some(own)) = (files(before), own.and_then(files)) else {
        return Vec::new();
    };
    let tree = SourceTree::open(root);
    let is_there = |file: &String| {
        let tree = tree.as_ref();
        tree.is_ok_and(|tree| tree.has_file(file).unwrap_or_default())
    };
    let gone = then.into_iter().filter(|file| !own.contains(file));
    let gone = gone.filter(|file| is_there(file) && !now.contains(file.as_str()));
    gone.map(Lost::File).collect()
}

/// Returns the variables that a `.env.sample` sets or has as comments, such as `#SMTP_HOST=mail.example.com`, with the
/// values there.
#[must_use]
pub fn mentioned(sample: &str) -> BTreeMap<String, String> {
    let mut vars = BTreeMap::new();
    for line in sample.lines() {
        let line = line.trim_start().trim_start_matches(['#', ' ']);
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        if !key.is_empty() && key.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            // An empty suggestion would not satisfy a variable that is required.
            let value = Some(value.trim().trim_matches(['"', '\'']));
            let value = value.filter(|value| !value.is_empty()).unwrap_or("x");
            vars.insert(key.to_owned(), value.to_owned());
        }
    }
    vars
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "TYPE=a\nDOMAIN=a.example.com\nLOG=info\nMAIL=m\nPORT=1\nOLD=1\nNAMED=x\nKEPT=1\n#HINT=2\n";
    const COMPOSE: &str = "services:\n  app:\n    image: a\n    environment:\n      - LOG=${LOG}\n      - PORT=${PORT:-2}\n      \
        - NAMED\n      - KEPT=${KEPT}\n      - HINT=${HINT}\n      - MAIL=${MAIL}\n    deploy: {labels: {rule: '${DOMAIN}'}}\n";

    fn names(now: &str, compose: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("compose.yml", compose),
            (".env.sample", now),
            ("abra.sh", "export OLD=2\nexport KEPT=2\n"),
        ] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let before = tempfile::tempdir().unwrap();
        std::fs::write(before.path().join(".env.sample"), BEFORE).unwrap();
        let vars = EnvFile::parse(now, ".env.sample").unwrap();
        let mut vars = vars.resolve(&BTreeMap::new()).unwrap();
        // As a run sets it, whatever the sample has.
        vars.insert("DOMAIN".to_owned(), "a.test".to_owned());
        vars.insert("KEPT".to_owned(), "2".to_owned());
        let lost = lost(before.path(), dir.path(), &vars);
        lost.iter().map(|one| format!("{one:?}")).collect()
    }

    #[test]
    fn what_a_new_app_would_miss_is_lost() {
        let kept = "TYPE=a\n";
        let expected = [
            r#"Empty("DOMAIN")"#,
            r#"Empty("LOG")"#,
            r#"Empty("MAIL")"#,
            r#"Absent("NAMED")"#,
        ];
        assert_eq!(names(kept, COMPOSE), expected);
        // A comment is a choice.
        let commented = "TYPE=a\n# DOMAIN=b\n#LOG=\n## MAIL=c\n#NAMED=d\n";
        assert_eq!(names(commented, COMPOSE), [""; 0]);
        assert_eq!(names(BEFORE, COMPOSE), [""; 0]);
        // What sets a variable is the env file's to say.
        let exported = BEFORE.replace("LOG=", "export LOG=");
        assert_eq!(names(&exported, COMPOSE), [""; 0]);
        let required = COMPOSE.replace("${LOG}", "${LOG:?which}");
        assert_eq!(names(kept, &required), [r#"Empty("LOG")"#]);
        assert_eq!(names(kept, "services: 5\n"), [""; 0]);
    }
    #[test]
    fn a_compose_file_that_a_new_app_is_made_without_is_lost() {
        let (before, now) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let both = "COMPOSE_FILE=compose.yml\nCOMPOSE_FILE=\"$COMPOSE_FILE:compose.db.yml\"\n";
        std::fs::write(before.path().join(".env.sample"), both).unwrap();
        std::fs::write(
            now.path().join("compose.yml"),
            "services: {app: {image: a}}\n",
        )
        .unwrap();
        let of = |sample: &str| {
            std::fs::write(now.path().join(".env.sample"), sample).unwrap();
            lost(before.path(), now.path(), &BTreeMap::new())
        };
        // It is no part of the recipe any more.
        assert_eq!(of("COMPOSE_FILE=compose.yml\n"), []);
        std::fs::write(now.path().join("compose.db.yml"), "services: {}\n").unwrap();
        let gone = [Lost::File("compose.db.yml".to_owned())];
        assert_eq!(of("COMPOSE_FILE=compose.yml\n"), gone);
        assert_eq!(of("TYPE=a\n"), gone);
        let choice = "COMPOSE_FILE=compose.yml\n#COMPOSE_FILE=compose.yml:compose.db.yml\n";
        assert_eq!(of(choice), []);
        assert_eq!(of(both), []);
    }
}
