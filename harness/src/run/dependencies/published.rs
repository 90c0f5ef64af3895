//! A dependency as it was published: fetched, read, and what is said of it before it is deployed.

use super::Named;
use crate::driver::Chosen;
use crate::driver::stack::{DeploySetup, NotDeployable, Stamp};
use crate::overlay::{self, OverlayError, Places};
use crate::run::error::{AnyError, RunError, usage};
use crate::run::fetched::{Checkout, Subject};
use crate::run::plan::{self, Plan};
use crate::run::settings::{Origin, Settings};
use crate::run::trusted;
use crate::run::{network, ownership, resolved};
use engine::dirs::RunDirs;
use ground::git::checkout;
use ground::name::RecipeName;
use ground::outcome::Stage;
use ground::pins::Pins;
use ground::source_tree::SourceFileError;
use recipe::compose::shared::SharedNetwork;
use recipe::policy::{Judged, Terms, Violation};
use recipe::release::{Release, ReleaseError};
use recipe::secret::SecretError;
use recipe::trust::{Level, Trust};
use recipe::version::TagList;

/// A dependency that was read.
#[derive(Debug)]
pub(in crate::run) struct Dependency {
    /// Which.
    pub(super) named: Named,
    /// Its newest published version, if there is one.
    pub(super) version: Option<String>,
    /// What is deployed where there is none.
    otherwise: &'static str,
    /// What its deploy needs, or why it cannot be deployed.
    pub(super) plan: Result<Box<Plan>, String>,
    /// Its own places within the run's.
    pub(super) dirs: RunDirs,
    /// What its images are deployed as.
    pub(in crate::run) pins: Pins,
}

/// Returns what a dependency is judged by in a run with `means`. What a person runs by hand includes what it needs.
pub(super) fn terms(named: &Named, trust: &Trust, means: &DeploySetup) -> Terms {
    Terms {
        level: match &means.terms.level {
            Level::ByHand => Level::ByHand,
            Level::Stranger | Level::Granted(_) => trust.level.clone(),
        },
        domain: named.domain.to_string(),
        ..means.terms.clone()
    }
}

/// Returns how a dependency is deployed in a run with `means`: on the network of the app that needs it.
pub(super) fn means(named: &Named, plan: &Plan, means: &DeploySetup) -> DeploySetup {
    let mut theirs = DeploySetup {
        terms: terms(named, &plan.trust, means),
        ..means.clone()
    };
    if let SharedNetwork::Own(own) = &mut theirs.shared {
        own.guest = true;
        let domain = named.domain.as_str();
        let fits = network::no_way_through(&plan.trust, domain, ownership::releases(plan));
        own.gateway &= theirs.terms.level == Level::ByHand || fits.is_none();
    }
    theirs
}

/// Fetches and reads a dependency at its newest published version. Nothing of it exists afterwards. Blocking; `hide` has the
/// values that nobody may see.
///
/// # Errors
/// [`RunError`] when it cannot be fetched, or what the operator wrote about it is wrong. A published version that
/// cannot be read is a broken dependency.
pub(in crate::run) fn read(
    settings: &Settings,
    dirs: &RunDirs,
    named: Named,
    hide: &dyn Fn(&[String]),
) -> Result<Dependency, RunError> {
    let recipe = &named.recipe;
    read_it(settings, dirs, &named, hide).map_err(|error| about(recipe, error))
}

/// What went wrong with a dependency; the source says what it was.
#[derive(Debug, thiserror::Error)]
#[error("dependency `{recipe}`")]
struct OfDependency {
    recipe: RecipeName,
    #[source]
    source: AnyError,
}

fn about(recipe: &RecipeName, error: RunError) -> RunError {
    let of = |source| {
        let recipe = recipe.clone();
        OfDependency { recipe, source }.into()
    };
    match error {
        RunError::Usage { error, hints } => RunError::Usage {
            error: of(error),
            hints,
        },
        RunError::Infra { error, hints } => RunError::Infra {
            error: of(error),
            hints,
        },
        refused @ RunError::Refused { .. } => refused,
    }
}

fn read_it(
    settings: &Settings,
    dirs: &RunDirs,
    named: &Named,
    hide: &dyn Fn(&[String]),
) -> Result<Dependency, RunError> {
    let recipe = &named.recipe;
    let (origin, otherwise) = if settings.published.staged {
        (Origin::Staged, "its staged checkout")
    } else {
        let source = settings.published.source(recipe).map_err(usage)?;
        (Origin::Repository(source), "its default branch")
    };
    // A dependency is planned as a run would be that only installs it.
    let theirs = Settings {
        recipe: recipe.clone(),
        domain: named.domain.clone(),
        origin,
        by_hand: false,
        reference: None,
        base: None,
        stages: vec![Stage::Install],
        ..settings.clone()
    };
    let dirs = dirs.of_dependency(recipe).map_err(RunError::infra)?;
    let mut checkout = plan::fetch(&theirs, &dirs)?;
    let tags = TagList::from_names(checkout.tags.iter().map(|(name, _)| name.as_str()));
    let version = tags.newest().map(ToString::to_string);
    if let Some(version) = &version {
        let tree = &mut checkout.tree;
        let tag = format!("refs/tags/{version}");
        let fetched = tree.commit;
        tree.commit = checkout::checkout(&tree.root, &tag).map_err(RunError::infra)?;
        tree.dirty = false;
        checkout.trust = trusted::of_version(&theirs, &checkout, fetched);
    }
    let plan = match plan::make(
        &theirs,
        &dirs,
        &checkout,
        &Subject::Dependency,
        |_| Ok(()),
        hide,
    ) {
        Ok(plan) => Ok(Box::new(plan)),
        Err(RunError::Usage { error, .. })
            if error.is::<ReleaseError>()
                || error.is::<SecretError>()
                || error.is::<SourceFileError>()
                || (error.is::<OverlayError>() && ships_nonsense(&theirs, &checkout, &dirs)) =>
        {
            Err(ground::error::chain(&*error))
        }
        Err(error) => return Err(error),
    };
    Ok(Dependency {
        named: named.clone(),
        version,
        otherwise,
        plan,
        dirs,
        pins: Pins::default(),
    })
}

/// Returns whether what the version itself ships in `tests/` cannot be read, without what the operator laid over
/// it: that is not bad input.
fn ships_nonsense(theirs: &Settings, checkout: &Checkout, dirs: &RunDirs) -> bool {
    let Ok(copies) = tempfile::tempdir_in(&dirs.state) else {
        return false;
    };
    let alone = Places {
        recipe: &theirs.recipe,
        tree: &checkout.tree.root,
        trust: &checkout.trust,
        overlays: None,
        tests: copies.path(),
    };
    overlay::find(alone).is_err_and(|error| !error.is_the_hosts())
}

impl Dependency {
    /// Returns what it is deployed as, if it can be read.
    pub(in crate::run) fn releases(&self) -> Vec<&Release> {
        let plan = self.plan.as_ref().ok();
        plan.map_or_else(Vec::new, |plan| ownership::releases(plan))
    }

    /// Returns its recipe's name.
    pub(in crate::run) fn name(&self) -> &str {
        self.named.recipe.as_str()
    }

    /// Returns what it is: `notes 0.2.0+1.1.0`.
    pub(super) fn shown(&self) -> String {
        let version = self.version.as_deref().unwrap_or(self.otherwise);
        format!("{} {version}", self.named.recipe)
    }

    /// Returns what it is judged by in a run with `means`.
    pub(in crate::run) fn terms(&self, means: &DeploySetup) -> Terms {
        match &self.plan {
            Ok(plan) => terms(&self.named, &plan.trust, means),
            Err(_) => means.terms.clone(),
        }
    }

    /// Makes sure that the driver of a run with `means` may deploy it.
    ///
    /// # Errors
    /// [`RunError::Usage`] for abra, which deploys what was not judged, where it is not granted to its source.
    pub(in crate::run) fn is_for(
        &self,
        chosen: &Chosen,
        means: &DeploySetup,
    ) -> Result<(), RunError> {
        let Ok(plan) = &self.plan else {
            return Ok(());
        };
        let reason = match self.terms(means).level {
            Level::ByHand => None,
            Level::Stranger | Level::Granted(_) => chosen.not_for(&plan.trust),
        };
        let Some(reason) = reason else {
            return Ok(());
        };
        let grant = (plan.trust).how_to_grant(Some(plan.head.commit), &["driver: abra"]);
        Err(RunError::Usage {
            error: format!("dependency `{}`: {reason}", self.named.recipe).into(),
            hints: vec![format!("choose `--driver stack`; or {grant}")],
        })
    }

    /// Judges it as the run with `means` deploys it; `None` when it cannot be deployed at all.
    ///
    /// # Errors
    /// [`RunError::Refused`] for what the policy is against, with the lines that would grant it.
    pub(in crate::run) fn judge(&self, means: &DeploySetup) -> Result<Option<Judged>, RunError> {
        let Ok(plan) = &self.plan else {
            return Ok(None);
        };
        let means = self::means(&self.named, plan, means);
        let stamp = Stamp {
            recipe: self.named.recipe.clone(),
            version: self.version.clone(),
            chaos: self.version.is_none(),
        };
        let stack = self.named.domain.stack();
        match means.resolve(&plan.head, &stack, &stamp) {
            Ok(judged) => Ok(Some(judged)),
            Err(NotDeployable::Compose(error)) => Err(usage(error)),
            Err(NotDeployable::Policy(refused)) => {
                let found = self.as_its_own(&refused.violations);
                let hints = resolved::ways_out(&found, &plan.trust, plan.head.commit);
                Err(RunError::Refused {
                    found,
                    hints,
                    view: None,
                })
            }
        }
    }

    /// Returns what the policy found, as a reader of the run's report has to understand it.
    pub(in crate::run) fn as_its_own(&self, found: &[Violation]) -> Vec<Violation> {
        let mut found = found.to_vec();
        for one in &mut found {
            let whose = format!("dependency `{}`: ", self.named.recipe);
            one.message.insert_str(0, &whose);
        }
        found
    }

    /// Returns the images that it needs.
    pub(in crate::run) fn images(&self) -> Vec<String> {
        self.plan
            .as_ref()
            .map_or_else(|_| Vec::new(), |plan| plan.images())
    }

    /// Notes why it cannot be deployed.
    pub(in crate::run) fn broken(&mut self, reason: String) {
        self.plan = Err(reason);
    }

    /// Returns what is laid over it, for the report.
    pub(in crate::run) fn customization(&self) -> Vec<String> {
        let mut lines = vec![format!("dependency: {}", self.shown())];
        if let Ok(plan) = &self.plan {
            let line = |line: &String| format!("dependency {}: {line}", self.named.recipe);
            lines.extend(
                plan.customization
                    .iter()
                    .filter(|line| !line.starts_with("setting: "))
                    .map(line),
            );
        }
        lines
    }

    /// Returns what it is deployed with that it does not say, for the report; `judged` is what its judged project has
    /// more.
    ///
    /// # Errors
    /// [`RunError`] when its tags cannot be read.
    pub(in crate::run) async fn deviations(
        &self,
        chosen: &Chosen,
        judged: Vec<String>,
    ) -> Result<Vec<String>, RunError> {
        let plan = self.plan.as_ref().ok().filter(|_| self.version.is_some());
        let pinned = plan.map(|plan| plan.head.root.as_path());
        let lines = chosen.deviations_of_dependency(judged, pinned).await;
        let lines = lines.map_err(RunError::infra)?.into_iter();
        let recipe = &self.named.recipe;
        Ok(lines
            .map(|line| format!("dependency `{recipe}`: {line}"))
            .collect())
    }

    /// Returns remarks for the report; `there` are the recipes that the run deploys.
    pub(in crate::run) fn warnings(&self, there: &[&RecipeName]) -> Vec<String> {
        let recipe = &self.named.recipe;
        let mut lines = Vec::new();
        if self.version.is_none() {
            lines.push(format!(
                "dependency `{recipe}` has no published version; {} is deployed",
                self.otherwise
            ));
        }
        if let Ok(plan) = &self.plan {
            lines.extend(
                plan.warnings
                    .iter()
                    .map(|line| format!("dependency `{recipe}`: {line}")),
            );
            let theirs = plan.declared.dependencies().iter();
            let names: Vec<&str> = theirs
                .map(|one| one.recipe.as_str())
                .filter(|name| there.iter().all(|recipe| recipe.as_str() != *name))
                .collect();
            if !names.is_empty() {
                lines.push(format!(
                    "dependency `{recipe}` has dependencies of its own ({}), which are not deployed: name them in the recipe under test as well",
                    names.join(", ")
                ));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::retry::Transient as _;
    use ground::git::fetch::FetchError;
    use ground::git::http::TransportError;

    #[test]
    fn a_forge_that_stumbles_is_asked_again_for_a_dependency_too() {
        let said = |status| {
            let error = FetchError::from(TransportError::Status {
                host: "forge".to_owned(),
                path: "/x/info/refs".to_owned(),
                status,
                authorized: false,
                meaning: "it stumbled",
            });
            about(&"notes".parse().unwrap(), RunError::infra(error))
        };
        assert!(said(503).is_transient());
        assert!(!said(403).is_transient());
        assert_eq!(
            said(503).in_words(),
            "dependency `notes`: `forge` answered 503 for `/x/info/refs`: it stumbled"
        );
        let wrong = RunError::infra(std::io::Error::other("the disk"));
        assert!(!about(&"notes".parse().unwrap(), wrong).is_transient());
    }
}
