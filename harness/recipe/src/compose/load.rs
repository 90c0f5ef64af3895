//! Loading: read, parse, interpolate, bring to one form, merge, decode.
//!
//! The merged document is kept whole, keys that the model does not know included: it is what is deployed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::canon::{Canon, Fault, SECTIONS};
use super::file::{inside, read};
use super::references::Reference;
use super::yaml::{self, Document, join};
use super::{
    ComposeError, Location, Project, Warning, cast, decode, expansion, extends, locate, merge,
    references, schema,
};
use crate::interpolate::{Budget, interpolate_within, variables};
use ground::source_tree::SourceTree;

/// What reading one `env_file` takes at least of the text that all files may come to.
const ENV_FILE_COST: usize = 64 << 10;

/// The most bytes of all secrets and configs that one project reads from files.
const CONTENTS_CEILING: usize = 16 << 20;

/// The most files that make up one project.
const FILES_CEILING: usize = 50;

impl Project {
    /// Returns the project of these files in the recipe at `root`, interpolated with `vars`.
    ///
    /// # Errors
    /// [`ComposeError`] at the first fault that docker would refuse as well, with its place.
    pub fn load(
        root: &Path,
        files: &[String],
        vars: &BTreeMap<String, String>,
    ) -> Result<Self, ComposeError> {
        if files.len() > FILES_CEILING {
            return Err(ComposeError::TooManyFiles);
        }
        let mut loader = Loader {
            base: base_of(files),
            ..Loader::default()
        };
        for file in files {
            loader.add(root, file, vars)?;
        }
        loader.finish(root, files)
    }

    /// Reads the files that secrets and configs name, so that nothing is left to be read at the deploy.
    ///
    /// # Errors
    /// [`ComposeError::Invalid`] at the file's name, for one that is missing, outside the recipe, or larger than
    /// Swarm takes.
    pub fn read_contents(&mut self, root: &Path) -> Result<(), ComposeError> {
        let secrets = self.secrets.iter().map(|secret| {
            let path = join("secrets", &secret.key);
            (path, secret.external, &secret.file, MAX_SECRET)
        });
        let configs = self.configs.iter().map(|config| {
            let path = join("configs", &config.key);
            (path, config.external, &config.file, MAX_CONFIG)
        });
        let mut contents = BTreeMap::new();
        let mut left = CONTENTS_CEILING;
        for (path, external, file, limit) in secrets.chain(configs) {
            let (false, Some(file)) = (external, file) else {
                continue;
            };
            let content = inside(&self.base, file)
                .and_then(|file| read_bytes(root, &file, limit))
                .and_then(|content| {
                    let rest = left.checked_sub(content.len());
                    left = rest.ok_or("makes the files of secrets and configs more than 16 MiB")?;
                    Ok(content)
                })
                .map_err(|reason| {
                    let fault = Fault {
                        path: join(&path, "file"),
                        reason: format!("`{file}` {reason}"),
                    };
                    self.invalid(fault)
                })?;
            contents.insert(path, content);
        }
        self.contents = contents;
        Ok(())
    }

    /// Fills in the typed parts from the document.
    pub(super) fn decode(&mut self) -> Result<(), ComposeError> {
        let (document, variables) = (self.document.clone(), self.version_variables.clone());
        decode::project(&document, &variables, self).map_err(|fault| self.invalid(fault))
    }

    /// Returns a fault with its place.
    pub(super) fn invalid(&self, fault: Fault) -> ComposeError {
        ComposeError::Invalid {
            location: self
                .location(&fault.path)
                .cloned()
                .unwrap_or_else(|| start_of("compose.yml")),
            path: fault.path,
            reason: fault.reason,
        }
    }

    /// Returns the place of a value, if a file has this very path.
    #[must_use]
    pub fn exact_location(&self, path: &str) -> Option<&Location> {
        self.locations.get(path)
    }

    /// Returns whether a value stands as it is in what the operator laid over the recipe.
    #[must_use]
    pub fn is_overlaid(&self, path: &str) -> bool {
        self.exact_location(path)
            .is_some_and(Location::is_of_overlay)
    }

    /// Returns the names of the variables that the files refer to, sorted.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(String::as_str)
    }

    /// Returns the place of a value, such as `services.app.image`, or of the nearest key above it.
    ///
    /// Of a value that several files set, it is the place in the last one.
    #[must_use]
    pub fn location(&self, path: &str) -> Option<&Location> {
        locate(&self.locations, path)
    }
}

/// Returns the parsed `file` of the recipe at `root`, with `extends` refused and nothing else looked at.
pub(crate) fn document(root: &Path, file: &str) -> Result<Document, ComposeError> {
    let document = yaml::parse_first(&read(root, file)?, file)?;
    extends::check(root, file, &document)?;
    Ok(document)
}

/// Returns the directory that relative paths of a project are meant from, relative to its root: that of the first
/// compose file, whichever file has the path.
fn base_of(files: &[String]) -> String {
    let parent = files.first().and_then(|file| Path::new(file).parent());
    parent.map_or(String::new(), |dir| dir.display().to_string())
}

/// Returns the content of a file that a compose file names, of at most `limit` bytes.
fn read_bytes(root: &Path, path: &str, limit: usize) -> Result<Vec<u8>, String> {
    let tree = SourceTree::open(root).map_err(|error| error.to_string())?;
    match tree.bytes(path, limit as u64) {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err("does not exist".to_owned()),
        Err(error) => Err(error.reason()),
    }
}

/// Returns the text of a file that a compose file names.
fn read_beside(root: &Path, path: &str) -> Result<String, String> {
    let tree = SourceTree::open(root).map_err(|error| error.to_string())?;
    match tree.text(path) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err("does not exist".to_owned()),
        Err(error) => Err(error.reason()),
    }
}

/// Most bytes of a secret: `MaxSecretSize` in swarmkit's `api/validation/secrets.go`.
const MAX_SECRET: usize = 500 * 1024;

/// Most bytes of a config, of the engines that take least: `MaxConfigSize` in swarmkit's
/// `manager/controlapi/config.go` was 500 KiB before it became 1000.
const MAX_CONFIG: usize = 1000 * 1024;

/// Most values and keys of all files together; one may have `yaml::MAX_NODES`.
const MOST_VALUES: usize = 12_000;

#[derive(Default)]
struct Loader {
    /// Where relative paths are meant from, relative to the root.
    base: String,
    merged: Option<Value>,
    marks: BTreeMap<String, Location>,
    unset: BTreeSet<String>,
    /// The variables that the files refer to.
    variables: BTreeSet<String>,
    /// How many values and keys the files have.
    values: usize,
    /// How much text all files may still come to.
    budget: Budget,
    warnings: Vec<Warning>,
    /// The first file and its version, as `3.x`.
    version: Option<(String, u32)>,
    versions: Vec<(String, Option<String>)>,
    /// The variable that holds the version of a secret or a config, by the path of its name.
    version_variables: BTreeMap<String, String>,
    /// What the services of each file name, with the place.
    references: Vec<(Reference, Location)>,
}

impl Loader {
    fn add(
        &mut self,
        root: &Path,
        file: &str,
        vars: &BTreeMap<String, String>,
    ) -> Result<(), ComposeError> {
        let Document {
            mut value,
            marks,
            keys,
            dates,
        } = document(root, file)?;
        self.values += marks.len() + keys.len();
        if self.values > MOST_VALUES {
            return Err(ComposeError::TooLarge {
                location: start_of(file),
                limit: format!("at most {MOST_VALUES} values in all files together"),
            });
        }
        let place = |path: &str| {
            locate(&marks, path)
                .cloned()
                .unwrap_or_else(|| start_of(file))
        };
        let invalid = |fault: Fault| ComposeError::Invalid {
            location: place(&fault.path),
            path: if fault.path.is_empty() {
                "file".to_owned()
            } else {
                fault.path
            },
            reason: fault.reason,
        };

        self.version(&value, file).map_err(invalid)?;
        let section_of = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
        if let Some(path) = dates
            .into_iter()
            .find(|path| SECTIONS.contains(&&*section_of(path)))
        {
            // In some places Docker refuses it, in others it writes a time and a zone behind it.
            let reason = "it is a date to Docker; write it in quotes".to_owned();
            return Err(invalid(Fault { path, reason }));
        }
        self.note_version_variables(&value);
        let (mut unset, mut named) = (BTreeSet::new(), BTreeSet::new());
        let mut budget = self.budget.clone();
        let sections = value.as_object_mut().into_iter().flatten();
        for (section, section_value) in sections {
            // Extensions too, of which nothing is deployed.
            replace_strings(section_value, section, &mut |path, text| {
                named.extend(variables(text).into_iter().map(str::to_owned));
                let plain = interpolate_within(&mut budget, text, vars, &mut unset);
                let plain = plain.map_err(|problem| ComposeError::Interpolate {
                    location: place(path),
                    path: path.to_owned(),
                    problem,
                })?;
                if plain == text {
                    return Ok(Value::String(plain));
                }
                cast::cast(path, plain).map_err(|reason| ComposeError::Invalid {
                    location: place(path),
                    path: path.to_owned(),
                    reason,
                })
            })?;
        }
        self.unset.extend(unset);
        self.variables.extend(named);
        expansion::spend(&value, vars, &mut budget).map_err(invalid)?;
        schema::check(&value).map_err(invalid)?;

        let budget = RefCell::new(budget);
        let read = |path: &str| {
            let text = read_beside(root, path)?;
            // A short one may name variables that are long.
            let spent = budget.borrow_mut().spend(text.len().max(ENV_FILE_COST));
            spent.map_err(|_| "is one env_file too many, or they are too large".to_owned())?;
            Ok(text)
        };
        let mut canon = Canon {
            vars,
            base: &self.base,
            read: &read,
            warnings: Vec::new(),
            moved: Vec::new(),
        };
        canon.document(&mut value).map_err(invalid)?;
        let moved = canon.moved.into_iter();
        let moved: Vec<_> = moved
            .filter_map(|(path, from)| Some((path, marks.get(&from)?.clone())))
            .collect();
        let mut odd = canon.warnings;
        for reference in references::of(&value) {
            let from = moved.iter().find(|(path, _)| *path == reference.path);
            let location = from.map_or_else(|| place(&reference.path), |(_, from)| from.clone());
            self.references.push((reference, location));
        }
        self.budget = budget.into_inner();
        match &mut self.merged {
            None => self.merged = Some(value),
            Some(base) => merge::merge(base, value, &mut |path, message| {
                odd.push((path.to_owned(), message.to_owned()));
            }),
        }
        self.warnings
            .extend(odd.into_iter().map(|(path, message)| Warning {
                location: place(&path),
                path,
                message,
            }));
        self.marks.extend(marks);
        self.marks.extend(moved);
        Ok(())
    }

    /// Notes the version of a file, which has to be that of the files before.
    fn version(&mut self, document: &Value, file: &str) -> Result<(), Fault> {
        let version = schema::version_of(document)?;
        if let Some((first, earlier)) = &self.version
            && *earlier != version
        {
            let reason = format!(
                "docker refuses files of different versions: `{first}` has 3.{earlier}, this one 3.{version}"
            );
            return super::canon::fault("version", reason);
        }
        self.version.get_or_insert((file.to_owned(), version));
        let text = document.get("version").and_then(Value::as_str);
        self.versions
            .push((file.to_owned(), text.map(str::to_owned)));
        Ok(())
    }

    /// Notes which variable ends the name of a secret or config; after the interpolation it is lost.
    fn note_version_variables(&mut self, document: &Value) {
        for section in ["secrets", "configs"] {
            let entries = document.get(section).and_then(Value::as_object);
            for (key, entry) in entries.into_iter().flatten() {
                let path = join(section, key);
                self.version_variables.remove(&path);
                let name = entry
                    .get("name")
                    .or_else(|| entry.get("external")?.get("name"));
                let names = name
                    .and_then(Value::as_str)
                    .map(variables)
                    .unwrap_or_default();
                let version = names.iter().rfind(|name| name.ends_with("_VERSION"));
                // abra takes any variable of the name for that of the secret.
                let own = || names.iter().rfind(|name| name.starts_with("SECRET_"));
                if let Some(variable) = version.or_else(|| own().filter(|_| section == "secrets")) {
                    self.version_variables.insert(path, (*variable).to_owned());
                }
            }
        }
    }

    fn finish(self, root: &Path, files: &[String]) -> Result<Project, ComposeError> {
        let Some(merged) = self.merged else {
            return Err(ComposeError::NoComposeFile {
                root: root.to_owned(),
            });
        };
        let mut project = Project {
            files: files.to_vec(),
            services: Vec::new(),
            volumes: Vec::new(),
            networks: Vec::new(),
            secrets: Vec::new(),
            configs: Vec::new(),
            unset: self.unset.into_iter().collect(),
            warnings: self.warnings,
            variables: self.variables,
            schema_version: self
                .versions
                .iter()
                .find_map(|(_, version)| version.clone()),
            versions: self.versions,
            document: merged,
            version_variables: self.version_variables,
            base: self.base,
            contents: BTreeMap::new(),
            references: self.references,
            locations: self.marks,
        };
        project.decode()?;
        Ok(project)
    }
}

/// Replaces every string in `value`, which is at `path`, by what `replace` returns for its path and text.
fn replace_strings(
    value: &mut Value,
    path: &str,
    replace: &mut dyn FnMut(&str, &str) -> Result<Value, ComposeError>,
) -> Result<(), ComposeError> {
    match value {
        Value::String(text) => {
            *value = replace(path, text)?;
            Ok(())
        }
        Value::Array(items) => items.iter_mut().enumerate().try_for_each(|(index, item)| {
            replace_strings(item, &format!("{path}[{index}]"), replace)
        }),
        Value::Object(entries) => entries
            .iter_mut()
            .try_for_each(|(key, entry)| replace_strings(entry, &join(path, key), replace)),
        _ => Ok(()),
    }
}

pub(super) fn start_of(file: &str) -> Location {
    Location {
        file: file.to_owned(),
        line: 1,
        column: 1,
    }
}
