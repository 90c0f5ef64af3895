//! Which dependencies are up, and which tests and hooks have to do without them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::SuiteError;

use ground::host_file;

/// How an executable says that it needs dependencies: a comment in its first lines, with their names or, for
/// all of them, none.
const MARK: &str = "requires: deps";

/// How many lines may hold the mark.
const MARK_LINES: usize = 10;

/// How much of a file is read for it, in bytes.
const MARK_BYTES: u64 = 4096;

/// What the reason of a Python test begins with that was kept from running.
const UNVERIFIED: &str = "recipe-ci: unverified: ";

/// The name of the plugin for pytest.
pub(super) const PLUGIN: &str = "recipe_ci_deps";

/// Registers the marker and keeps tests from running whose dependencies are not up. A plugin and not `-o markers`,
/// which would replace the markers that a recipe's own configuration has.
const PLUGIN_TEXT: &str = r#""""Part of recipe-ci: a test that is marked requires_deps does not run without its dependencies."""
import json
import os

import pytest

with open(os.path.splitext(__file__)[0] + ".json", encoding="utf-8") as file:
    REASONS = json.load(file)


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "requires_deps(*recipes): needs these dependencies of recipe-ci.yml; without names all of them",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    for mark in item.iter_markers("requires_deps"):
        for name in mark.args or ("",):
            reason = REASONS.get(name, "`%s` is no declared dependency" % name)
            if reason:
                pytest.skip("recipe-ci: unverified: " + reason)
"#;

/// The dependencies of a run, each up or with the reason why it is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs(BTreeMap<String, Option<String>>);

impl Needs {
    /// Notes what became of a dependency; `failed` is the reason why it is not up.
    pub fn note(&mut self, recipe: &str, failed: Option<String>) {
        self.0.insert(recipe.to_owned(), failed);
    }

    /// Returns why something that needs the dependencies `wanted` cannot run; none named are all of them.
    #[must_use]
    pub fn unmet(&self, wanted: &[String]) -> Option<String> {
        let failed = |recipe: &str| match self.0.get(recipe) {
            None => Some(format!("`{recipe}` is no declared dependency")),
            Some(None) => None,
            Some(Some(reason)) => Some(format!("dependency `{recipe}` failed: {reason}")),
        };
        if wanted.is_empty() {
            if self.0.is_empty() {
                return Some("no dependency is declared".to_owned());
            }
            return self.0.keys().find_map(|recipe| failed(recipe));
        }
        wanted.iter().find_map(|recipe| failed(recipe))
    }

    /// Returns why `file` cannot run: what it needs is not up. `None` also for a file that needs nothing.
    pub(super) fn unmet_by(&self, file: &Path) -> Option<String> {
        self.unmet(&wanted_by(file)?)
    }

    /// Returns each dependency with null where it is up, or the reason why it is not.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("texts are valid JSON")
    }

    /// Writes the plugin for pytest beside the copied tests; returns its directory.
    ///
    /// # Errors
    /// [`SuiteError::Read`] with the place.
    pub(super) fn write_plugin(&self, tests: &Path) -> Result<PathBuf, SuiteError> {
        let dir = tests.join(".pytest-plugin");
        let mut reasons: BTreeMap<&str, Option<String>> = BTreeMap::from([("", self.unmet(&[]))]);
        for recipe in self.0.keys() {
            reasons.insert(recipe, self.unmet(std::slice::from_ref(recipe)));
        }
        let reasons = serde_json::to_string(&reasons).expect("texts are valid JSON");
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(dir.join(format!("{PLUGIN}.py")), PLUGIN_TEXT))
            .and_then(|()| std::fs::write(dir.join(format!("{PLUGIN}.json")), reasons))
            .map_err(|source| SuiteError::Read {
                path: dir.clone(),
                source,
            })?;
        Ok(dir)
    }
}

/// Returns the reason in the message of a Python test that the plugin kept from running.
pub(super) fn unverified(message: &str) -> Option<&str> {
    message.strip_prefix(UNVERIFIED)
}

/// Returns the dependencies that a file says it needs: none named are all of them. `None` when it says nothing.
fn wanted_by(file: &Path) -> Option<Vec<String>> {
    let mut start = Vec::new();
    let opened = host_file::open(file).ok()?;
    opened.take(MARK_BYTES).read_to_end(&mut start).ok()?;
    let start = String::from_utf8_lossy(&start);
    start.lines().take(MARK_LINES).find_map(|line| {
        let comment = line.trim_start().trim_start_matches(['#', '/', '-', ';']);
        let is_comment = comment.len() < line.trim_start().len();
        let rest = comment.trim().strip_prefix(MARK).filter(|_| is_comment)?;
        if !(rest.is_empty() || rest.starts_with([' ', '\t', ','])) {
            return None;
        }
        let names = rest.split([' ', '\t', ',']).filter(|name| !name.is_empty());
        Some(names.map(str::to_owned).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_failed() -> Needs {
        let mut needs = Needs::default();
        needs.note("gitea", None);
        needs.note("keycloak", Some("converged: no".to_owned()));
        needs
    }

    #[test]
    fn a_need_is_met_when_all_that_it_names_is_up() {
        let needs = one_failed();
        let unmet = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            needs.unmet(&names)
        };
        assert_eq!(unmet(&["gitea"]), None);
        let failed = Some("dependency `keycloak` failed: converged: no".to_owned());
        assert_eq!(unmet(&[]), failed);
        assert_eq!(unmet(&["gitea", "keycloak"]), failed);
        assert_eq!(
            unmet(&["gitae"]).unwrap(),
            "`gitae` is no declared dependency"
        );
        // Nothing declared is nothing that could meet a need.
        assert_eq!(
            Needs::default().unmet(&[]).unwrap(),
            "no dependency is declared"
        );
    }

    #[test]
    fn the_mark_is_a_comment_near_the_top() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test_x");
        let wanted = |text: &str| {
            std::fs::write(&file, text).unwrap();
            wanted_by(&file).map(|names| names.join("+"))
        };
        assert_eq!(wanted("#!/bin/sh\n# requires: deps\n").as_deref(), Some(""));
        assert_eq!(
            wanted("#!/usr/bin/node\n// requires: deps gitea, keycloak\n").as_deref(),
            Some("gitea+keycloak")
        );
        for text in [
            "#!/bin/sh\necho requires: deps\n",
            "requires: deps\n",
            "# requires: depsolver\n",
            "",
        ] {
            assert_eq!(wanted(text), None, "{text}");
        }
        let late = format!("{}# requires: deps\n", "#\n".repeat(MARK_LINES));
        assert_eq!(wanted(&late), None);
    }
}
