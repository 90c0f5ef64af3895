//! Recipes that the one under test needs beside it: named, read, deployed before it, made known to its tests.
//!
//! Each is an app of its own with a run app's domain and lock, so that the supervisor and the janitor know what
//! to do with it. What goes wrong with one is never the fault of the recipe under test: it costs the tests that
//! need it, and the verdict only where it is declared required.

mod published;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

pub(super) use published::{Dependency, read};
use serde::Serialize;
use serde_json::Value;

use super::bench::{Parts, bench, test_env};
use super::context::{Context, Missing};
use super::error::RunError;
use super::settings::Settings;
use super::{remake, repeat};
use crate::driver::Driver;
use crate::driver::stack::Stamp;
use crate::event::{Event, PlannedDependency};
use crate::overlay::manifest::looks_secret;
use crate::suite::Needs;
use crate::tier::{self, TierError};
use engine::dirs::RunDirs;
use engine::lock::DomainLock;
use engine::record;
use engine::swarm::EngineError;
use ground::name::{Domain, RecipeName};
use ground::outcome::{DependencyOutcome, Status};
use recipe::compose::pace::Pace;
use recipe::compose::shared::SharedNetwork;
use recipe::declared::Declared;
use recipe::release::Release;

/// A dependency as it is declared, with the domain that it will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The recipe.
    pub(super) recipe: RecipeName,
    /// Whether the run is red without it.
    pub(super) required: bool,
    /// Its app's domain in this run.
    pub(super) domain: Domain,
}

/// A dependency as `--dry-run` prints it.
#[derive(Debug, Serialize)]
pub(super) struct NamedView {
    recipe: String,
    required: bool,
    domain: String,
}

impl From<&Named> for NamedView {
    fn from(named: &Named) -> Self {
        Self {
            recipe: named.recipe.to_string(),
            required: named.required,
            domain: named.domain.to_string(),
        }
    }
}

impl From<&Named> for PlannedDependency {
    fn from(named: &Named) -> Self {
        Self {
            recipe: named.recipe.to_string(),
            domain: named.domain.to_string(),
        }
    }
}

/// Returns the declared dependencies in the order of their names, which is also that of their locks.
///
/// # Errors
/// [`RunError::Usage`] when the recipe needs itself, or two apps would share a domain.
pub(super) fn named(settings: &Settings, declared: &Declared) -> Result<Vec<Named>, RunError> {
    let wrong = |index: usize, reason: String| RunError::Usage {
        error: format!(
            "{}: {reason}",
            declared.place(&format!("dependencies[{index}]"))
        )
        .into(),
        hints: vec!["correct `dependencies` in recipe-ci.yml".to_owned()],
    };
    let mut all: Vec<Named> = Vec::new();
    for (index, one) in declared.dependencies().iter().enumerate() {
        let recipe: RecipeName = (one.recipe.parse())
            .map_err(|error: ground::name::NameError| wrong(index, error.to_string()))?;
        if recipe == settings.recipe {
            return Err(wrong(index, format!("`{recipe}` cannot need itself")));
        }
        let domain = Domain::for_dependency(&recipe, &settings.domain, &settings.zone);
        // A run would wait for its own lock.
        if domain == settings.domain || all.iter().any(|other| other.domain == domain) {
            let reason = format!("`{recipe}` gets the domain {domain}, which this run has already");
            return Err(wrong(index, reason));
        }
        all.push(Named {
            recipe,
            required: one.required.unwrap_or(false),
            domain,
        });
    }
    all.sort_by(|one, other| one.recipe.cmp(&other.recipe));
    Ok(all)
}

/// What the tests learn of a dependency that is up.
#[derive(Debug, Serialize)]
struct Entry {
    domain: String,
    url: String,
    stack: String,
    version: Option<String>,
    state_file: String,
    env: BTreeMap<String, String>,
    provided: serde_json::Map<String, Value>,
}

/// Deploys every dependency in turn and writes what tests and hooks may know of them; returns which are up.
///
/// # Errors
/// [`RunError`] when the host fails; a dependency that does not come up is no error.
pub(super) async fn bring_up(
    context: &Context<'_>,
    dependencies: Vec<Dependency>,
    locks: Vec<Rc<DomainLock>>,
    driver: &Driver,
) -> Result<Needs, RunError> {
    let mut needs = Needs::default();
    if dependencies.is_empty() {
        return Ok(needs);
    }
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for (dependency, lock) in dependencies.into_iter().zip(locks) {
        let named = dependency.named.clone();
        let version = dependency.version.clone();
        let recipe = named.recipe.to_string();
        context.events.notice(format!(
            "== dependency {} at {} ==",
            dependency.shown(),
            named.domain
        ));
        let failed = match deploy(context, dependency, lock, driver).await? {
            Ok(entry) => {
                entries.insert(recipe.clone(), entry);
                None
            }
            Err(reason) => Some(reason),
        };
        if let Some(reason) = &failed {
            context.events.warn(format!(
                "dependency `{recipe}` failed: {reason}; what needs it is not verified"
            ));
            let mut held = context.held.borrow_mut();
            held.dependency_failed = true;
            if named.required {
                held.missing.get_or_insert_with(|| Missing {
                    recipe: recipe.clone(),
                    reason: reason.clone(),
                });
            }
        }
        let status = if failed.is_none() {
            Status::Pass
        } else {
            Status::Fail
        };
        let outcome = DependencyOutcome {
            recipe: recipe.clone(),
            domain: named.domain.to_string(),
            version,
            required: named.required,
            status,
            reason: failed.clone(),
        };
        context
            .events
            .emit(&Event::DependencyFinished(Box::new(outcome)));
        needs.note(&recipe, failed);
    }
    let text = serde_json::to_string_pretty(&entries).expect("texts are valid JSON");
    write_private(&context.dirs.state_file("deps"), &text)?;
    write_private(&context.dirs.state_file("deps-skip"), &needs.to_json())?;
    Ok(needs)
}

/// Deploys one dependency and asks what it provides; the inner error is why it is not up.
async fn deploy(
    context: &Context<'_>,
    dependency: Dependency,
    lock: Rc<DomainLock>,
    driver: &Driver,
) -> Result<Result<Entry, String>, RunError> {
    let settings = &context.settings;
    let Dependency {
        named,
        version,
        plan,
        dirs,
        pins,
        ..
    } = dependency;
    let plan = match plan {
        Ok(plan) => *plan,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut means = published::means(&named, &plan, &driver.site().means);
    means.terms.pins = pins;
    let stamp = Stamp {
        recipe: named.recipe.clone(),
        chaos: version.is_none(),
        version: version.clone().or_else(|| plan.head_version.clone()),
    };
    let gateway = match &means.shared {
        SharedNetwork::Own(own) if !own.gateway => None,
        _ => settings.gateway.clone(),
    };
    let level = means.terms.level.clone();
    let driver = driver.for_app(&named.recipe, &dirs, means);
    let told = &driver.site().deploys;
    context.held.borrow_mut().count_with(lock.domain(), told);
    let parts = Parts {
        recipe: named.recipe.clone(),
        driver,
        lock,
        gateway,
        test_env: env_of(context, &named, &dirs)?,
        needs: Needs::default(),
    };
    let mut bench = bench(context, &plan, parts, plan.head.clone())?;
    context.count_deploy(&named.domain)?;
    let mut up = tier::install::bring_up(&mut bench, &stamp, &mut Vec::new()).await?;
    if up.is_err()
        && let Some(reason) = repeat::because_of_pace(&bench).await?
    {
        let what = format!("dependency `{}`, as shipped", named.recipe);
        context.events.emit(&Event::Retried { what, reason });
        let next = (vec![&bench.current], level);
        remake::make_room(context, &bench.driver, &bench.lock, next).await?;
        bench.driver.set_pace(Pace::AsShipped);
        context.count_deploy(&named.domain)?;
        up = tier::install::bring_up(&mut bench, &stamp, &mut Vec::new()).await?;
    }
    if let Err(not_up) = up {
        return Ok(Err(format!("{}: {}", not_up.what, not_up.reason)));
    }
    bench.note_state()?;
    let provided = match bench.provide().await? {
        Ok(provided) => provided,
        Err(failure) => {
            context.events.emit(&Event::FailureOutput {
                title: failure.name.clone(),
                lines: failure.tail,
                log: None,
            });
            return Ok(Err(format!("{}: {}", failure.name, failure.how)));
        }
    };
    for secret in secrets_in(&provided, named.domain.as_str()) {
        context.redactor.add(secret);
    }
    Ok(Ok(Entry {
        domain: named.domain.to_string(),
        url: format!("https://{}", named.domain),
        stack: named.domain.stack().to_string(),
        version,
        state_file: dirs.state_file("op-state").display().to_string(),
        env: public_env(&bench.current),
        provided,
    }))
}

/// Returns what the dependency's own hooks get: they see it as any recipe's hooks see their app, and for whom it
/// is.
fn env_of(
    context: &Context<'_>,
    named: &Named,
    dirs: &RunDirs,
) -> Result<Vec<(String, String)>, RunError> {
    let settings = &context.settings;
    let mut env = test_env(context)?;
    env.retain(|(name, _)| !name.starts_with("CCCI_DEPS_"));
    let state = dirs.state_file("op-state").display().to_string();
    let ours = [
        ("CCCI_RECIPE", named.recipe.to_string()),
        ("RECIPE", named.recipe.to_string()),
        ("CCCI_APP_DOMAIN", named.domain.to_string()),
        ("CCCI_OP_STATE_FILE", state),
        ("CCCI_FOR_RECIPE", settings.recipe.to_string()),
        ("CCCI_FOR_DOMAIN", settings.domain.to_string()),
    ];
    // The last one of a name counts.
    env.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    Ok(env)
}

/// Returns the app's env file without what looks like a secret: that belongs into what `provide` prints.
fn public_env(release: &Release) -> BTreeMap<String, String> {
    let names = release.env.keys().into_iter();
    let vars = names.filter_map(|name| release.vars.get_key_value(name));
    vars.filter(|(name, _)| !looks_secret(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns every text that may be a secret: all but those that name the domain under a harmless key.
/// An address with a password or a query is none of these.
fn secrets_in<'a>(provided: &'a serde_json::Map<String, Value>, domain: &str) -> Vec<&'a str> {
    fn walk<'a>(key: &str, value: &'a Value, domain: &str, found: &mut Vec<&'a str>) {
        match value {
            Value::String(text) => {
                let address = text.contains(domain) && !text.contains(['@', '?']);
                if !address || looks_secret(key) {
                    found.push(text);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(key, item, domain, found)),
            Value::Object(map) => map
                .iter()
                .for_each(|(key, item)| walk(key, item, domain, found)),
            // Numbers and flags are too short to be told from any other.
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (key, value) in provided {
        walk(key, value, domain, &mut found);
    }
    found
}

/// Writes a file that only its owner may read; it is removed with the run's state.
fn write_private(path: &Path, text: &str) -> Result<(), RunError> {
    let written = record::write_private(path, text.as_bytes());
    written.map_err(|source| {
        RunError::infra(TierError::State {
            path: path.to_owned(),
            source,
        })
    })
}

/// Splits what kept an image away: a registry that does not have it is the dependency's failure.
///
/// # Errors
/// [`RunError`] when the engine fails.
pub(super) fn missing_image(error: EngineError) -> Result<String, RunError> {
    match error {
        EngineError::Pull { .. }
        | EngineError::NotPublic { .. }
        | EngineError::CrashesEngine { .. } => Ok(ground::error::chain(&error)),
        error => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_provided_is_hidden_but_addresses() {
        let Value::Object(provided) = json!({
            "token": "sesame", "issuer": "https://key.test/realms/x", "n": 4711,
            "deep": [{"user": "admin"}, "https://u:pw@key.test/"],
            "client_secret": "key.test", "hook": "https://key.test/?t=1",
        }) else {
            unreachable!()
        };
        let mut hidden = secrets_in(&provided, "key.test");
        hidden.sort_unstable();
        assert_eq!(
            hidden,
            [
                "admin",
                "https://key.test/?t=1",
                "https://u:pw@key.test/",
                "key.test",
                "sesame"
            ]
        );
    }

    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deps");
        write_private(&path, "{}").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
