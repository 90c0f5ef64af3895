//! Loading: read, parse, interpolate, bring to one form, merge, decode.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::canon::{Canon, Fault};
use super::yaml::{self, Document, join};
use super::{ComposeError, Location, Project, Warning, decode, extends, locate, merge};
use crate::recipe::interpolate::{interpolate, variables};
use crate::source_tree::{SourceFileError, SourceTree};

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
        let mut loader = Loader::default();
        for file in files {
            loader.add(root, file, vars)?;
        }
        loader.finish(root, files)
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
    let document = yaml::parse(&read(root, file)?, file)?;
    extends::check(root, file, &document)?;
    Ok(document)
}

/// Returns the text of `file`, which has to be inside `root`, symbolic links included.
pub(super) fn read(root: &Path, file: &str) -> Result<String, ComposeError> {
    let name = || file.to_owned();
    let failed = |source: SourceFileError| match source.is_of_the_path() {
        true => ComposeError::Outside { file: name() },
        false => ComposeError::Read {
            file: name(),
            source,
        },
    };
    let tree = SourceTree::open(root).map_err(failed)?;
    let text = tree.text(file).map_err(failed)?;
    text.ok_or_else(|| match holds_compose_file(&tree) {
        true => ComposeError::Missing { file: name() },
        false => ComposeError::NoComposeFile {
            root: root.to_owned(),
        },
    })
}

fn holds_compose_file(tree: &SourceTree) -> bool {
    let is_compose = |name: &str| {
        name.starts_with("compose.") && (name.ends_with(".yml") || name.ends_with(".yaml"))
    };
    let entries = tree.entries(".").ok().flatten();
    let mut entries = entries.iter().flatten();
    entries.any(|entry| entry.name.to_str().is_some_and(is_compose))
}

#[derive(Default)]
struct Loader {
    merged: Option<Value>,
    marks: BTreeMap<String, Location>,
    unset: BTreeSet<String>,
    warnings: Vec<Warning>,
    versions: Vec<(String, Option<String>)>,
    /// The variable that holds the version of a secret or a config, by the path of its name.
    version_variables: BTreeMap<String, String>,
}

impl Loader {
    fn add(
        &mut self,
        root: &Path,
        file: &str,
        vars: &BTreeMap<String, String>,
    ) -> Result<(), ComposeError> {
        let Document {
            mut value, marks, ..
        } = document(root, file)?;
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

        let version = self.version(&value, &place);
        self.versions.push((file.to_owned(), version));
        self.note_version_variables(&value);
        let mut unset = BTreeSet::new();
        self.interpolate(&mut value, "", &mut |path, text| {
            interpolate(text, vars, &mut unset).map_err(|problem| ComposeError::Interpolate {
                location: place(path),
                path: path.to_owned(),
                problem,
            })
        })?;
        self.unset.extend(unset);

        let mut canon = Canon {
            vars,
            warnings: Vec::new(),
        };
        canon.document(&mut value).map_err(invalid)?;
        let mut odd = canon.warnings;
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
        Ok(())
    }

    fn version(&mut self, document: &Value, place: &dyn Fn(&str) -> Location) -> Option<String> {
        match document.get("version")? {
            Value::String(version) => Some(version.clone()),
            Value::Null => None,
            other => {
                self.warnings.push(Warning {
                    location: place("version"),
                    path: "version".to_owned(),
                    message: "it must be a string: `docker stack deploy` refuses a number"
                        .to_owned(),
                });
                Some(other.to_string())
            }
        }
    }

    /// Notes which variable ends the name of a secret or config; after the interpolation nobody can tell.
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
                if let Some(variable) = names.into_iter().rfind(|name| name.ends_with("_VERSION")) {
                    self.version_variables.insert(path, variable.to_owned());
                }
            }
        }
    }

    fn interpolate(
        &mut self,
        value: &mut Value,
        path: &str,
        replace: &mut dyn FnMut(&str, &str) -> Result<String, ComposeError>,
    ) -> Result<(), ComposeError> {
        match value {
            // Docker looks the schema's version up before it interpolates.
            Value::String(_) if path == "version" => Ok(()),
            Value::String(text) => {
                *text = replace(path, text)?;
                Ok(())
            }
            Value::Array(items) => items.iter_mut().enumerate().try_for_each(|(index, item)| {
                self.interpolate(item, &format!("{path}[{index}]"), replace)
            }),
            Value::Object(entries) => entries
                .iter_mut()
                .try_for_each(|(key, entry)| self.interpolate(entry, &join(path, key), replace)),
            _ => Ok(()),
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
            schema_version: self
                .versions
                .iter()
                .find_map(|(_, version)| version.clone()),
            versions: self.versions,
            locations: self.marks,
        };
        decode::project(&merged, &self.version_variables, &mut project).map_err(|fault| {
            ComposeError::Invalid {
                location: project
                    .location(&fault.path)
                    .cloned()
                    .unwrap_or_else(|| start_of("compose.yml")),
                path: fault.path,
                reason: fault.reason,
            }
        })?;
        Ok(project)
    }
}

pub(super) fn start_of(file: &str) -> Location {
    Location {
        file: file.to_owned(),
        line: 1,
        column: 1,
    }
}
