//! The releases of a run as they are deployed: what is judged, shown and held against the engine.

use super::plan::Plan;
use super::settings::Settings;
use super::{RunError, usage};
use crate::driver::stack::{Means, Stamp};
use crate::recipe::compose::resolve::Resolved;
use crate::recipe::release::Release;

/// Every release that a run deploys, resolved.
#[derive(Debug)]
pub(super) struct Releases {
    /// The head as a new app.
    pub(super) head: Resolved,
    /// The base.
    pub(super) base: Option<Resolved>,
    /// The head as an upgrade of the base, where there is one that can be upgraded.
    pub(super) upgraded: Option<Resolved>,
}

/// Resolves the releases of `plan`.
///
/// # Errors
/// [`RunError::Usage`] for what depends on the place or the person that deploys.
pub(super) fn of(plan: &Plan, settings: &Settings, means: &Means) -> Result<Releases, RunError> {
    let stack = settings.domain.stack();
    let resolve =
        |release: &Release, stamp: &Stamp| means.resolve(release, &stack, stamp).map_err(usage);
    let head_stamp = plan.head_stamp(settings);
    let base = match (&plan.base, plan.base_stamp(settings)) {
        (Some(base), Some(stamp)) => Some(resolve(&base.release, &stamp)?),
        _ => None,
    };
    let upgraded = match plan.base.as_ref().map(|base| &base.upgraded) {
        Some(Ok(release)) => Some(resolve(release, &head_stamp)?),
        _ => None,
    };
    Ok(Releases {
        head: resolve(&plan.head, &head_stamp)?,
        base,
        upgraded,
    })
}

impl Releases {
    /// Returns all of them, the base first, as they are deployed.
    pub(super) fn all(&self) -> impl Iterator<Item = &Resolved> {
        self.base
            .iter()
            .chain([&self.head])
            .chain(self.upgraded.iter())
    }

    /// Returns what is deployed otherwise than the recipe says, each once.
    pub(super) fn deviations(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.all().flat_map(|resolved| &resolved.deviations) {
            if !lines.contains(line) {
                lines.push(line.clone());
            }
        }
        lines
    }
}
