//! The recipe as the rules see it: every compose file with its lines, and each deploy that they make up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::finding::Hit;
use super::history::History;
use super::published::Published;
use super::{LintError, Subject};
use crate::compose::model::Service;
use crate::compose::yaml::{Document, join};
use crate::compose::{ComposeError, Location, Project, compose_files, load};
use crate::env::{EnvError, EnvFile, abra_sh};
use crate::interpolate::{Budget, InterpolateError, interpolate, interpolate_within};
use crate::sample::mentioned;
use ground::source_tree::{Kind, SourceFileError, SourceTree, TEXT_CEILING};

/// How deep compose files are looked for; the deepest that was seen in a recipe is in a folder.
const DEPTH: usize = 3;

/// A recipe.
pub(super) struct View {
    /// Its tree.
    pub(super) tree: SourceTree,
    /// The name of the stack that names are measured with.
    pub(super) stack: String,
    /// Every compose file that could be read, those of the default deploy first.
    pub(super) files: Vec<File>,
    /// The deploy of a new app, then one for each optional file, on top of it; those that load.
    pub(super) deploys: Vec<Project>,
    /// Whether the first of them is the deploy of a new app.
    pub(super) has_default: bool,
    /// Every service once, as the first deploy that has it makes it.
    pub(super) services: Vec<Member>,
    /// What cannot be loaded.
    pub(super) broken: Vec<Hit>,
    /// `.env.sample`: absent, malformed, or its text and content.
    pub(super) sample: Result<Option<EnvFile>, Hit>,
    /// The text of `abra.sh`.
    pub(super) abra_sh: Option<String>,
    /// The text of `README.md`.
    pub(super) readme: Option<String>,
    /// The variables of a new app.
    pub(super) vars: BTreeMap<String, String>,
    /// The repository's history, or why there is none.
    pub(super) history: Result<History, String>,
    /// The last version, or why there is none to compare with; [`super::upgrade::compare`] says it.
    pub(super) published: Result<Published, String>,
}

/// A compose file, as written.
pub(super) struct File {
    pub(super) name: String,
    pub(super) document: Document,
}

/// A service in a deploy.
pub(super) struct Member {
    pub(super) service: Service,
    /// The deploy, in [`View::deploys`].
    pub(super) deploy: usize,
}

/// A label, as written in one file.
pub(super) struct Label<'a> {
    pub(super) service: &'a str,
    /// Its key, as docker has it.
    pub(super) key: String,
    /// Whether it stands below `deploy`.
    pub(super) in_deploy: bool,
    pub(super) place: &'a Location,
}

impl View {
    pub(super) fn load(subject: &Subject<'_>) -> Result<Self, LintError> {
        let root = subject.root;
        let tree = SourceTree::open(root)?;
        let (sample, abra_sh) = (tree.text(".env.sample")?, tree.text("abra.sh")?);
        is_bounded(subject.stack, sample.as_deref(), abra_sh.as_deref())?;
        // Nothing but the lint reads it, so a stray byte in it is no reason to stop.
        let readme = tree.bytes("README.md", TEXT_CEILING)?;
        let readme = readme.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let suggested = mentioned(sample.as_deref().unwrap_or_default());
        let mut view = Self {
            tree,
            stack: subject.stack.to_owned(),
            files: Vec::new(),
            deploys: Vec::new(),
            has_default: false,
            services: Vec::new(),
            broken: Vec::new(),
            sample: Ok(None),
            abra_sh,
            readme,
            vars: BTreeMap::new(),
            history: History::of(subject)?,
            published: Err("it was not looked at".to_owned()),
        };
        let (vars, sample) = variables(&view.stack, sample, view.abra_sh.as_deref());
        (view.vars, view.sample) = (vars, sample);
        let default = compose_files(&view.vars);
        let mut found = Vec::new();
        find_compose_files(&view.tree, Path::new(""), 0, &mut found)?;
        let is_there =
            |file: &String| !matches!(view.tree.kind(file), Ok(None | Some(Kind::Directory)));
        if found.is_empty() && !default.iter().any(is_there) {
            return Err(LintError::NoRecipe {
                root: root.to_owned(),
            });
        }
        let optional: Vec<String> = found
            .into_iter()
            .filter(|file| !default.contains(file))
            .collect();
        for file in default.iter().chain(&optional) {
            match load::document(root, file) {
                Ok(document) => view.files.push(File {
                    name: file.clone(),
                    document,
                }),
                Err(error) => view.break_with(error)?,
            }
        }
        view.load_deploys(root, &default, &optional, suggested)?;
        Ok(view)
    }

    fn load_deploys(
        &mut self,
        root: &Path,
        default: &[String],
        optional: &[String],
        suggested: BTreeMap<String, String>,
    ) -> Result<(), LintError> {
        let complete = |project: Project| project.check_deployable(|_, _| false).map(|()| project);
        match Project::load(root, default, &self.vars).and_then(complete) {
            Ok(project) => {
                self.has_default = true;
                self.deploys.push(project);
            }
            Err(error) => self.break_with(error)?,
        }
        // What an operator sets when they take the file: the values that .env.sample has as a comment.
        let mut with_suggested = suggested;
        with_suggested.extend(self.vars.clone());
        for file in optional {
            let mut files = default.to_vec();
            files.push(file.clone());
            let mut loaded = Project::load(root, &files, &self.vars);
            if let Err(ComposeError::Interpolate { .. }) = loaded {
                loaded = Project::load(root, &files, &with_suggested);
            }
            // It may be meant to be taken with another optional file.
            let elsewhere = |section: &str, name: &str| {
                let declares = |file: &File| file.document.value[section].get(name).is_some();
                self.files.iter().any(declares)
            };
            let complete = |project: Project| project.check_deployable(elsewhere).map(|()| project);
            match loaded.and_then(complete) {
                Ok(project) => self.deploys.push(project),
                Err(error) => self.break_with(error)?,
            }
        }
        for (deploy, project) in self.deploys.iter().enumerate() {
            for service in &project.services {
                let known = self
                    .services
                    .iter_mut()
                    .find(|member| member.service.name == service.name);
                let member = Member {
                    service: service.clone(),
                    deploy,
                };
                match known {
                    // Two optional files may share a service that only one of them gives an image.
                    Some(known) if known.service.image.is_none() && service.image.is_some() => {
                        if known.deploy > 0 || !self.has_default {
                            *known = member;
                        }
                    }
                    Some(_) => {}
                    None => self.services.push(member),
                }
            }
        }
        Ok(())
    }

    /// Notes what is wrong in a compose file. One that no recipe may have ends the lint.
    fn break_with(&mut self, error: ComposeError) -> Result<(), LintError> {
        match error {
            ComposeError::Read { source, .. } => return Err(source.into()),
            ComposeError::Interpolate {
                problem: InterpolateError::TooLong,
                ..
            }
            | ComposeError::TooManyFiles => return Err(error.into()),
            _ => {}
        }
        let error = &error;
        let mut message = ground::error::chain(error);
        let place = error.location();
        if let Some(place) = place
            && let Some(rest) = message.strip_prefix(&format!("{place}: "))
        {
            message = rest.to_owned();
        }
        let file = match error {
            ComposeError::Missing { .. } | ComposeError::Outside { .. } => {
                Some(".env.sample".to_owned())
            }
            _ => place.map(|place| place.file.clone()),
        };
        let line = match (error, &self.sample) {
            (ComposeError::Missing { .. } | ComposeError::Outside { .. }, Ok(Some(sample))) => {
                sample
                    .line_of("COMPOSE_FILE")
                    .and_then(|line| line.try_into().ok())
            }
            _ => place.map(|place| place.line),
        };
        // The line of `.env.sample` is no place of the error's.
        let column = place
            .filter(|place| Some(place.line) == line)
            .map(|place| place.column);
        let hit = Hit {
            file,
            line,
            column,
            message,
        };
        if !self.broken.contains(&hit) {
            self.broken.push(hit);
        }
        Ok(())
    }

    /// Returns the deploy of a new app.
    pub(super) fn default_deploy(&self) -> Result<&Project, String> {
        self.deploys
            .first()
            .filter(|_| self.has_default)
            .ok_or_else(|| "the compose files do not load, see C015".to_owned())
    }

    /// Returns the place of `path`: in the last file of the default deploy that has it, else in the first
    /// that has it, else that of the nearest key above it.
    pub(super) fn place(&self, path: &str) -> Option<&Location> {
        let default = self
            .default_deploy()
            .map_or(0, |project| project.files.len())
            .min(self.files.len());
        let (own, others) = self.files.split_at(default);
        let mut path = path;
        loop {
            let found = own.iter().rev().chain(others);
            let found = found.filter_map(|file| file.document.key(path)).next();
            if found.is_some() || path.is_empty() {
                return found;
            }
            path = path.rfind(['.', '[']).map_or("", |at| &path[..at]);
        }
    }

    /// Returns a hit at `path` of the compose files.
    pub(super) fn hit(&self, path: &str, message: impl Into<String>) -> Hit {
        match self.place(path) {
            Some(place) => at(place, message),
            None => in_file("compose.yml", Some(1), message),
        }
    }

    /// Returns `text` with its variables filled in, as it is where that fails.
    pub(super) fn fill_in(&self, text: &str) -> String {
        interpolate(text, &self.vars, &mut BTreeSet::new()).unwrap_or_else(|_| text.to_owned())
    }

    /// Returns every label of every file.
    pub(super) fn labels(&self) -> Vec<Label<'_>> {
        let mut labels = Vec::new();
        let mut budget = Budget::default();
        for (file, name, service) in self.raw_services() {
            for (in_deploy, section) in [(true, "deploy.labels"), (false, "labels")] {
                let path = format!("services.{name}.{section}");
                let list = section
                    .split('.')
                    .try_fold(service, |value, key| value.get(key));
                let mut add = |key: String, path: &str| {
                    if let Some(place) = file.document.key(path) {
                        labels.push(Label {
                            service: name,
                            key,
                            in_deploy,
                            place,
                        });
                    }
                };
                match list {
                    Some(Value::Object(map)) => {
                        // Docker does not fill in variables of keys.
                        map.keys()
                            .for_each(|key| add(key.clone(), &join(&path, key)));
                    }
                    Some(Value::Array(items)) => {
                        for (index, item) in items.iter().enumerate() {
                            let item = item.as_str().unwrap_or_default();
                            let none = &mut BTreeSet::new();
                            let text = interpolate_within(&mut budget, item, &self.vars, none);
                            let text = text.unwrap_or_else(|_| item.to_owned());
                            let key = text.split('=').next().unwrap_or_default();
                            add(key.to_owned(), &format!("{path}[{index}]"));
                        }
                    }
                    _ => {}
                }
            }
        }
        labels
    }

    /// Returns every service of every file, as written.
    pub(super) fn raw_services(&self) -> impl Iterator<Item = (&File, &str, &Value)> {
        self.files.iter().flat_map(|file| {
            let services = file
                .document
                .value
                .get("services")
                .and_then(Value::as_object);
            services
                .into_iter()
                .flatten()
                .map(move |(name, service)| (file, name.as_str(), service))
        })
    }
}

/// Returns a hit at a place in a compose file.
pub(super) fn at(place: &Location, message: impl Into<String>) -> Hit {
    Hit {
        column: Some(place.column),
        ..in_file(&place.file, Some(place.line), message)
    }
}

/// Returns a hit in a file.
pub(super) fn in_file(file: &str, line: Option<u64>, message: impl Into<String>) -> Hit {
    Hit {
        file: Some(file.to_owned()),
        line,
        column: None,
        message: message.into(),
    }
}

/// Refuses variables that are more than a recipe may have. Other faults are findings.
fn is_bounded(stack: &str, sample: Option<&str>, abra_sh: Option<&str>) -> Result<(), EnvError> {
    let base = BTreeMap::from([("STACK_NAME".to_owned(), stack.to_owned())]);
    let sample = EnvFile::parse(sample.unwrap_or_default(), ".env.sample");
    match sample.and_then(|file| file.resolve(&base)) {
        Err(error) if error.is_too_much() => Err(error),
        _ => abra_sh::exports(abra_sh.unwrap_or_default()).map(drop),
    }
}

/// Returns the variables of a new app, and its `.env.sample`.
pub(super) fn variables(
    stack: &str,
    sample: Option<String>,
    abra_sh: Option<&str>,
) -> (BTreeMap<String, String>, Result<Option<EnvFile>, Hit>) {
    let base = BTreeMap::from([("STACK_NAME".to_owned(), stack.to_owned())]);
    let malformed = |error: &dyn std::error::Error| {
        let text = error.to_string();
        let rest = text.strip_prefix(".env.sample:").unwrap_or(&text);
        let (line, message) = rest.split_once(": ").unwrap_or(("", rest));
        in_file(".env.sample", line.parse().ok(), message)
    };
    let mut vars = BTreeMap::new();
    let sample = match sample.map(|text| readable(text, &base)) {
        None => Ok(None),
        Some((file, found, error)) => {
            vars = found;
            match error {
                None => Ok(file),
                Some(error) => Err(malformed(&error)),
            }
        }
    };
    // What is wrong there is said where abra.sh is looked at.
    let exports = abra_sh.and_then(|text| abra_sh::exports(text).ok());
    vars.extend(exports.unwrap_or_default().vars);
    vars.extend(base);
    (vars, sample)
}

/// How many malformed lines are passed over.
const MOST_MALFORMED: usize = 50;

/// Returns what can be read of a `.env.sample`, its variables, and what is wrong with the first line that cannot: one
/// malformed line is no reason to take every other for absent.
fn readable(
    mut text: String,
    base: &BTreeMap<String, String>,
) -> (Option<EnvFile>, BTreeMap<String, String>, Option<EnvError>) {
    let mut first = None;
    for _ in 0..MOST_MALFORMED {
        let file = EnvFile::parse(&text, ".env.sample");
        let read = file.and_then(|file| file.resolve(base).map(|vars| (file, vars)));
        let error = match read {
            Ok((file, vars)) => return (Some(file), vars, first),
            Err(error) => error,
        };
        let wrong = error.line();
        let lines = (1..).zip(text.split_inclusive('\n'));
        text = lines
            .map(|(number, line)| if number == wrong { "\n" } else { line })
            .collect();
        let again = first.get_or_insert(error);
        if again.is_too_much() {
            break;
        }
    }
    (None, BTreeMap::new(), first)
}

/// Adds to `found` the compose files in and below `folder`: `compose.yml` at the top, `compose.<feature>.yml` there
/// and in folders.
fn find_compose_files(
    tree: &SourceTree,
    folder: &Path,
    depth: usize,
    found: &mut Vec<String>,
) -> Result<(), SourceFileError> {
    let here = match depth {
        0 => Path::new("."),
        _ => folder,
    };
    for entry in tree.entries(here)?.unwrap_or_default() {
        let name = entry.name.to_string_lossy();
        // What is below `tests` is for CI, and no operator's.
        if name.starts_with('.') || name == "tests" || name == "node_modules" {
            continue;
        }
        let path = folder.join(&entry.name);
        match entry.kind {
            Kind::Directory if depth + 1 < DEPTH => {
                find_compose_files(tree, &path, depth + 1, found)?;
            }
            Kind::File => found.extend(
                path.to_str()
                    .filter(|path| is_compose_file(path))
                    .map(str::to_owned),
            ),
            _ => {}
        }
    }
    Ok(())
}

/// Returns whether `path`, relative to the root of a recipe, is that of a compose file.
pub(super) fn is_compose_file(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name
        .strip_suffix(".yml")
        .or_else(|| name.strip_suffix(".yaml"));
    stem.is_some_and(|stem| {
        stem == "compose" && folder.is_empty()
            || stem
                .strip_prefix("compose.")
                .is_some_and(|feature| !feature.is_empty())
    }) && !path.starts_with("tests/")
}
