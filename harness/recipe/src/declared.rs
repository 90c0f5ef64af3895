//! What a recipe or its operator declares in `recipe-ci.yml`: settings and checks, no code.
//!
//! [`file`] has the types, from which the published schema is made; [`read`] reads one file and says what is
//! wrong with it, with its place; [`Declared`] is both files of a run as one, the operator's over the recipe's.

pub mod error;
pub mod file;
mod health;
pub mod read;
pub(crate) mod typed;
mod types;
mod variable;
pub mod variant;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backup::{BackupPlan, BackupProblem};
use crate::compose::Location;
use error::DeclaredError;
use file::{Check, Data, DeclaredFile, Dependency, Probe, Request, Verify};
use ground::name::{Domain, RecipeName};
use read::Read;
use variant::Variant;

/// The name of the file, in an overlay and in a recipe's `tests/`.
pub const FILE_NAME: &str = "recipe-ci.yml";

/// The statuses that count as serving when nothing is declared, in words.
const DEFAULT_STATUSES: &str = "200 to 299, 301, 302, 303, 307, 308";

/// The statuses that count as serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses<'a>(Option<&'a [u16]>);

impl<'a> Statuses<'a> {
    /// Returns the declared ones, or else the default.
    #[must_use]
    pub fn of(declared: Option<&'a [u16]>) -> Self {
        Self(declared)
    }

    /// Returns whether nothing is declared.
    #[must_use]
    pub fn is_default(self) -> bool {
        self.0.is_none()
    }

    /// Returns whether `status` counts; 404 never does.
    #[must_use]
    pub fn accept(self, status: u16) -> bool {
        match self.0 {
            Some(declared) => declared.contains(&status) && status != 404,
            None => matches!(status, 200..=299 | 301 | 302 | 303 | 307 | 308),
        }
    }
}

impl std::fmt::Display for Statuses<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(declared) => {
                let all: Vec<String> = declared.iter().map(u16::to_string).collect();
                f.write_str(&all.join(", "))
            }
            None => f.write_str(DEFAULT_STATUSES),
        }
    }
}

/// A rung that can be declared not applicable. Install and lint always apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// The upgrade.
    Upgrade,
    /// Backup and restore together.
    BackupRestore,
    /// The custom tests.
    Custom,
}

impl Rung {
    /// Every rung that can be declared.
    pub const ALL: [Self; 3] = [Self::Upgrade, Self::BackupRestore, Self::Custom];

    /// Returns its name in `expected_na` and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::BackupRestore => "backup_restore",
            Self::Custom => "custom",
        }
    }
}

/// Everything that is declared for a run.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    all: DeclaredFile,
    /// The place of every value, that of the file that won.
    marks: BTreeMap<String, Location>,
    /// Whether the recipe ships custom tests that do not run, because its source is not granted to run code.
    has_withheld_custom: bool,
}

impl Declared {
    /// Notes that the recipe ships custom tests that do not run, because its source is not granted to run code.
    pub fn withhold_custom(&mut self) {
        self.has_withheld_custom = true;
    }

    /// Returns whether [`Declared::withhold_custom`] was called.
    #[must_use]
    pub fn has_withheld_custom(&self) -> bool {
        self.has_withheld_custom
    }

    /// Lays `over` over what is there: its values win one by one, variables of `env` too; probes, checks and
    /// dependencies are added.
    ///
    /// # Errors
    /// [`DeclaredError`] when the two together contradict each other.
    pub fn lay_over(&mut self, over: Read) -> Result<(), DeclaredError> {
        let Read { file, mut marks } = over;
        let (probes, checks) = (self.all.ready.len(), self.all.checks.len());
        shift(&mut marks, "ready", probes);
        shift(&mut marks, "checks", checks);
        shift(&mut marks, "first_run", self.all.first_run.len());
        self.marks.extend(marks);
        let DeclaredFile {
            recipe: _,
            health,
            timeouts,
            env,
            upgrade_env,
            ready,
            first_run,
            backup,
            data,
            dependencies,
            canonical,
            expected_na,
            base,
            checks,
            variants,
        } = file;
        let all = &mut self.all;
        let file::Health {
            none,
            service,
            port,
            scheme,
            host,
            path,
            statuses,
            silent,
        } = health;
        // What is asked and that nothing is cannot both be meant; the later file knows better.
        let asks = service.is_some() || port.is_some() || scheme.is_some() || host.is_some();
        if none.is_some() {
            all.health = file::Health::default();
        } else if asks || path.is_some() || statuses.is_some() {
            all.health.none = None;
        }
        win(&mut all.health.none, none);
        win(&mut all.health.service, service);
        win(&mut all.health.port, port);
        win(&mut all.health.scheme, scheme);
        win(&mut all.health.host, host);
        win(&mut all.health.path, path);
        win(&mut all.health.statuses, statuses);
        win(&mut all.health.silent, silent);
        win(&mut all.timeouts.deploy, timeouts.deploy);
        win(&mut all.timeouts.http, timeouts.http);
        all.env.extend(env);
        all.upgrade_env.extend(upgrade_env);
        all.ready.extend(ready);
        all.first_run.extend(first_run);
        win(&mut all.backup.capable, backup.capable);
        win(&mut all.backup.verify, backup.verify);
        if !data.is_empty() {
            // Of a service one file speaks; a word about the whole app is the last one.
            let named = |one: &Data| data.iter().any(|over| over.service == one.service);
            let whole = data.iter().any(|over| over.service.is_none());
            all.data
                .retain(|one| !whole && one.service.is_some() && !named(one));
            all.data.extend(data);
        }
        for more in dependencies {
            let there = all.dependencies.iter_mut();
            match there.into_iter().find(|one| one.recipe == more.recipe) {
                Some(one) => win(&mut one.required, more.required),
                None => all.dependencies.push(more),
            }
        }
        win(&mut all.canonical, canonical);
        win(&mut all.expected_na.upgrade, expected_na.upgrade);
        win(
            &mut all.expected_na.backup_restore,
            expected_na.backup_restore,
        );
        win(&mut all.expected_na.custom, expected_na.custom);
        win(&mut all.base, base);
        all.checks.extend(checks);
        for (name, over) in variants {
            all.variants.entry(name).or_default().lay_over(over);
        }
        read::contradictions(&self.all, &self.marks)
    }

    /// Returns the path that has to serve; `/` when none is declared.
    #[must_use]
    pub fn health_path(&self) -> &str {
        self.all.health.path.as_deref().unwrap_or("/")
    }

    /// Returns what counts as serving, as declared.
    #[must_use]
    pub fn health(&self) -> &file::Health {
        &self.all.health
    }

    /// Returns the statuses that count as serving.
    #[must_use]
    pub fn accepted(&self) -> Statuses<'_> {
        Statuses::of(self.all.health.statuses.as_deref())
    }

    /// Returns how long a deploy may take to converge, when it is declared.
    #[must_use]
    pub fn deploy_timeout(&self) -> Option<Duration> {
        self.all.timeouts.deploy.map(Duration::from_secs)
    }

    /// Returns how long a converged app may take to serve and to be ready, when it is declared.
    #[must_use]
    pub fn http_timeout(&self) -> Option<Duration> {
        self.all.timeouts.http.map(Duration::from_secs)
    }

    /// Returns the variables that every version is deployed with.
    #[must_use]
    pub fn env(&self, recipe: &RecipeName, domain: &Domain) -> BTreeMap<String, String> {
        fill_in(&self.all.env, recipe, domain)
    }

    /// Returns the variants, by their names.
    #[must_use]
    pub fn variants(&self) -> &BTreeMap<String, Variant> {
        &self.all.variants
    }

    /// Returns the variables of the app of a variant beyond those of every app; none where there is no such variant.
    #[must_use]
    pub fn variant_env(
        &self,
        variant: &str,
        recipe: &RecipeName,
        domain: &Domain,
    ) -> BTreeMap<String, String> {
        let variant = self.all.variants.get(variant);
        variant.map_or_else(BTreeMap::new, |variant| {
            fill_in(&variant.env, recipe, domain)
        })
    }

    /// Returns the variables that only the upgrade to the head gets.
    #[must_use]
    pub fn upgrade_env(&self, recipe: &RecipeName, domain: &Domain) -> BTreeMap<String, String> {
        fill_in(&self.all.upgrade_env, recipe, domain)
    }

    /// Returns what has to answer before an app counts as up.
    #[must_use]
    pub fn ready(&self) -> &[Probe] {
        &self.all.ready
    }

    /// Returns the requests that a new app gets once.
    #[must_use]
    pub fn first_run(&self) -> &[Request] {
        &self.all.first_run
    }

    /// Returns whether the recipe can be backed up, where it is declared; else its labels say.
    #[must_use]
    pub fn backup_capable(&self) -> Option<bool> {
        self.all.backup.capable
    }

    /// Returns why there is no backup tier, or `None` when there is one. `labels` is what the labels say.
    #[must_use]
    pub fn no_backup(&self, labels: bool) -> Option<String> {
        match (self.backup_capable(), labels) {
            (Some(false), _) => Some(match self.not_applicable(Rung::BackupRestore) {
                Some(reason) => format!("declared not applicable: {reason}"),
                None => format!("{FILE_NAME} declares `backup.capable: false`"),
            }),
            (None, false) => Some(match self.not_applicable(Rung::BackupRestore) {
                Some(reason) => format!("declared not applicable: {reason}"),
                None => "the recipe has no backup labels".to_owned(),
            }),
            (Some(true), _) | (None, true) => None,
        }
    }

    /// Returns why the labels alone, of which `plan` was made, fail the backup: they promise to save what they do
    /// not, which no archive could show; or there is no backup, though the recipe asks for one in words that no
    /// backup tool follows or `base`, the version before it, had one. Declared to have none, it needs none.
    #[must_use]
    pub fn wrong_labels(&self, plan: &BackupPlan, base: bool) -> Option<String> {
        let listed = |problems: Vec<&BackupProblem>| {
            let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
            (!words.is_empty()).then(|| words.join("; "))
        };
        if self.no_backup(plan.is_backup_capable()).is_none() {
            return listed(plan.not_saved());
        }
        if self.backup_capable().is_some() || self.not_applicable(Rung::BackupRestore).is_some() {
            return None;
        }
        let what = match listed(plan.asked_in_vain()) {
            Some(wrong) => format!("nothing is backed up: {wrong}"),
            None if base => "the base is backed up and the head is not: no service has `backupbot.backup=true` in `deploy.labels`".to_owned(),
            None => return None,
        };
        Some(format!(
            "{what}; correct the labels, or say in `expected_na.backup_restore` of {FILE_NAME} why there is no backup"
        ))
    }

    /// Returns the check of a backup that is made before it counts.
    #[must_use]
    pub fn verify(&self) -> Option<&Verify> {
        self.all.backup.verify.as_ref()
    }

    /// Returns the databases that are declared, and why some are not asked.
    #[must_use]
    pub fn data(&self) -> &[Data] {
        &self.all.data
    }

    /// Returns the recipes that are deployed before this one.
    #[must_use]
    pub fn dependencies(&self) -> &[Dependency] {
        &self.all.dependencies
    }

    /// Returns whether a green run of this recipe is kept as its warm canonical.
    #[must_use]
    pub fn canonical(&self) -> bool {
        self.all.canonical.unwrap_or(false)
    }

    /// Returns why a rung is declared not to apply, if it is.
    #[must_use]
    pub fn not_applicable(&self, rung: Rung) -> Option<&str> {
        let na = &self.all.expected_na;
        match rung {
            Rung::Upgrade => na.upgrade.as_deref(),
            Rung::BackupRestore => na.backup_restore.as_deref(),
            Rung::Custom => na.custom.as_deref(),
        }
    }

    /// Returns the version that the upgrade starts from, if it is declared.
    #[must_use]
    pub fn base(&self) -> Option<&str> {
        self.all.base.as_deref()
    }

    /// Returns the HTTP checks of the head.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.all.checks
    }

    /// Returns where a value was declared, as `file:line:column`.
    #[must_use]
    pub fn place(&self, path: &str) -> String {
        typed::place(&self.marks, path).to_string()
    }

    /// Returns what the report should warn of: rungs that are declared not to apply and will run, and rungs
    /// that do not apply though the recipe does not say so.
    ///
    /// `runs` says of each rung whether it will run; `None` where it was not asked for.
    #[must_use]
    pub fn surprises(&self, runs: impl Fn(Rung) -> Option<bool>) -> Vec<String> {
        let mut lines = Vec::new();
        for rung in Rung::ALL {
            let name = rung.name();
            match (runs(rung), self.not_applicable(rung)) {
                (Some(true), Some(reason)) => lines.push(format!(
                    "stale: `expected_na.{name}` says \"{reason}\", and {name} runs; remove it ({})",
                    self.place(&format!("expected_na.{name}"))
                )),
                // That they do not run is said elsewhere.
                (Some(false), None) if rung == Rung::Custom && self.has_withheld_custom => {}
                // That a recipe has no version to upgrade from is no gap.
                (Some(false), None) if rung != Rung::Upgrade => lines.push(format!(
                    "undeclared: {name} does not apply, and no `expected_na.{name}` in {FILE_NAME} says why: a gap in the coverage?"
                )),
                _ => {}
            }
        }
        lines
    }
}

fn win<T>(there: &mut Option<T>, over: Option<T>) {
    if over.is_some() {
        *there = over;
    }
}

/// Items of an added list stand behind those that are there, and so do their places.
fn shift(marks: &mut BTreeMap<String, Location>, list: &str, by: usize) {
    if by == 0 {
        return;
    }
    let moved: Vec<(String, Location)> = marks
        .iter()
        .filter_map(|(path, place)| {
            let rest = path.strip_prefix(list)?.strip_prefix('[')?;
            let (index, rest) = rest.split_once(']')?;
            let index = index.parse::<usize>().ok()? + by;
            Some((format!("{list}[{index}]{rest}"), place.clone()))
        })
        .collect();
    marks.retain(|path, _| !path.starts_with(&format!("{list}[")));
    marks.extend(moved);
}

/// Only what a file cannot know is filled in; any other `$` stands for itself.
fn fill_in(
    env: &BTreeMap<String, String>,
    recipe: &RecipeName,
    domain: &Domain,
) -> BTreeMap<String, String> {
    let known = [
        ("${DOMAIN}", domain.to_string()),
        ("${STACK_NAME}", domain.stack().to_string()),
        ("${RECIPE}", recipe.to_string()),
    ];
    env.iter()
        .map(|(name, value)| {
            let filled = known.iter().fold(value.clone(), |text, (name, value)| {
                text.replace(name, value)
            });
            (name.clone(), filled)
        })
        .collect()
}

#[cfg(test)]
mod tests;
