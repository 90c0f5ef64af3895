//! What is laid over a recipe, as the plan needs it: copies beside compose files, judged before they count.

use super::advice;
use super::base::Base;
use super::error::RunError;
use super::fetched::Checkout;
use super::settings::{Origin, Settings};
use crate::overlay::environment::{Judged, put_beside};
use crate::overlay::{Found, OverlayError};
use ground::outcome::Stage;
use recipe::declared::Declared;
use recipe::release::{Additions, AppName, Release, ReleaseError, Tree};

/// What laying overlays over the versions came to.
#[derive(Debug, Default)]
pub(super) struct Overlaid {
    /// Why an overlay makes the run red.
    pub(super) masks: Option<String>,
    /// The compose files that are laid over the head.
    pub(super) beside_head: Vec<String>,
    /// Why the base cannot be read with its overlays.
    pub(super) base_broken: Option<String>,
    /// Repairs that were not applied.
    pub(super) stale: Vec<String>,
}

/// Returns the run's error for an overlay that cannot be used.
pub(super) fn wrong(error: OverlayError) -> RunError {
    let hints = vec![error.advice().to_owned()];
    if error.is_the_hosts() {
        RunError::Infra {
            error: error.into(),
            hints,
        }
    } else {
        RunError::Usage {
            error: error.into(),
            hints,
        }
    }
}

/// Refuses declared probes and commands of services that the head does not have.
///
/// # Errors
/// [`RunError::Usage`] with the place.
pub(super) fn check_services(declared: &Declared, head: &Release) -> Result<(), RunError> {
    let probes = declared.ready().iter().enumerate().map(|(index, probe)| {
        let path = format!("ready[{index}].service");
        (path, probe.service.as_deref())
    });
    let verify = declared.verify().map(|verify| {
        (
            "backup.verify.service".to_owned(),
            verify.service.as_deref(),
        )
    });
    let health = declared.health().service.as_deref();
    let health = health.map(|service| ("health.service".to_owned(), Some(service)));
    for (path, service) in probes.chain(verify).chain(health) {
        let Some(service) = service else { continue };
        if head.project.service(service).is_some() {
            continue;
        }
        let names: Vec<&str> = head
            .project
            .services
            .iter()
            .map(|s| s.name.as_str())
            .collect();
        return Err(RunError::Usage {
            error: format!(
                "{}: {path}: the recipe has no service `{service}`",
                declared.place(&path)
            )
            .into(),
            hints: vec![format!("its services: {}", names.join(", "))],
        });
    }
    Ok(())
}

/// Returns the variants that the run deploys, each with its stages as far as they are asked for.
///
/// # Errors
/// [`RunError::Usage`] when one was named that is not declared.
pub(super) fn variants(
    settings: &Settings,
    declared: &Declared,
) -> Result<Vec<(String, Vec<Stage>)>, RunError> {
    // A variant's own plan has none.
    if settings.variant.is_some() {
        return Ok(Vec::new());
    }
    let all = declared.variants();
    if let Some(name) = settings.variants.unknown(|name| all.contains_key(name)) {
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        let known = match known.is_empty() {
            true => "it declares none".to_owned(),
            false => format!("its variants: {}", known.join(", ")),
        };
        return Err(RunError::Usage {
            error: format!("the recipe has no variant `{name}`").into(),
            hints: vec![known],
        });
    }
    let asked = |stages: Vec<Stage>| {
        let mut stages = stages;
        stages.retain(|stage| settings.stages.contains(stage));
        stages
    };
    let deployed = all.iter().filter(|(name, _)| settings.variants.has(name));
    let deployed = deployed.map(|(name, variant)| (name.clone(), asked(variant.stages())));
    Ok(deployed.filter(|(_, stages)| !stages.is_empty()).collect())
}

/// Returns how the run itself departs from a whole one, for the report's `customization`.
pub(super) fn departures(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    if matches!(settings.origin, Origin::Staged) {
        lines.push("setting: CCCI_SKIP_FETCH=1: the staged checkout was taken".to_owned());
    }
    let left_out: Vec<&str> = Stage::ALL
        .iter()
        .filter(|stage| !settings.stages.contains(stage))
        .map(|stage| stage.name())
        .collect();
    if !left_out.is_empty() {
        lines.push(format!("setting: stages left out: {}", left_out.join(", ")));
    }
    if let Some(base) = &settings.base {
        lines.push(format!("setting: the base is {base}"));
    }
    lines
}

/// Lays the compose files of overlays over head and base, and reads both again with them. `proposal` says that the
/// head is under test, and not a dependency; of a `variant` the copies have names of their own, because its services are
/// others.
///
/// # Errors
/// [`RunError`] when an overlay does what it may not, or the head cannot be read with it.
pub(super) fn lay(
    found: &Found,
    checkout: &Checkout,
    app: AppName<'_>,
    head: &mut Release,
    mut base: Option<&mut Base>,
    additions: &Additions,
    (proposal, variant): (bool, Option<&str>),
) -> Result<Overlaid, RunError> {
    let mut laid = Overlaid::default();
    let version = base.as_ref().map(|base| base.version.clone());
    let (repairs, stale): (Vec<_>, Vec<_>) = found
        .repairs
        .iter()
        .partition(|repair| repair.stale(version.as_deref()).is_none());
    laid.stale = stale
        .into_iter()
        .filter_map(|repair| repair.stale(version.as_deref()))
        .collect();
    if found.tunings.is_empty() && repairs.is_empty() {
        return Ok(laid);
    }
    let published = if proposal {
        base.as_ref().map(|base| &base.release.project)
    } else {
        // Nothing was changed in it, so nothing that was can be hidden.
        Some(&head.project)
    };
    for tuning in &found.tunings {
        if let Judged::Masks(reason) = tuning.judge(&head.project, published).map_err(wrong)? {
            laid.masks = Some(reason);
            return Ok(laid);
        }
    }
    let beside = |release: &Release| {
        let mut names = Vec::new();
        for tuning in &found.tunings {
            if let Some(copy) = tuning.render(&release.project) {
                let name = tuning.copy_name(variant);
                put_beside(&release.root, &name, &copy)?;
                names.push(name);
            }
        }
        Ok(names)
    };
    let mut for_head = Additions {
        env: additions.env.clone(),
        compose: beside(head).map_err(wrong)?,
    };
    laid.beside_head.clone_from(&for_head.compose);
    *head = Release::read(&checkout.tree, app, &for_head).map_err(unreadable)?;
    let Some(base) = base.as_mut() else {
        return Ok(laid);
    };
    let mut for_base = Additions {
        env: additions.env.clone(),
        compose: beside(&base.release).map_err(wrong)?,
    };
    for repair in repairs {
        let copy = repair.render(&base.release.project);
        put_beside(&base.release.root, &repair.copy_name(), &copy).map_err(wrong)?;
        for_base.compose.push(repair.copy_name());
    }
    let tree = Tree {
        root: base.release.root.clone(),
        commit: base.release.commit,
        dirty: false,
    };
    // It was read with a new app's env file, or with the one that the app has.
    let env = base.release.env.clone();
    match Release::with_env(&tree, app, env, &for_base, Vec::new()) {
        Ok(release) => base.release = release,
        Err(error) => {
            let text = ground::error::chain(&error);
            laid.base_broken = Some(format!("published version {}: {text}", base.version));
            return Ok(laid);
        }
    }
    // Without any overlay it cannot be read either: the reason stays.
    if base.upgraded.is_err() {
        return Ok(laid);
    }
    // The app keeps its env file through the upgrade; the repair goes, what is for the upgrade stays.
    for_head.env = std::mem::take(&mut base.upgrade_env);
    let env = base.release.env.clone();
    let again = Release::with_env(&checkout.tree, app, env, &for_head, Vec::new());
    base.upgraded = Ok(again.map_err(unreadable)?);
    base.upgrade_env = for_head.env;
    Ok(laid)
}

/// Returns the run's error for a head that cannot be read.
pub(super) fn unreadable(error: ReleaseError) -> RunError {
    let hints = vec![advice::on_release(&error).to_owned()];
    RunError::Usage {
        error: error.into(),
        hints,
    }
}
