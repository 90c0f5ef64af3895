//! A base that the grant of the head does not cover.
//!
//! Anyone who may push a tag chooses what is upgraded from. What somebody read, or what a protected branch has, is granted
//! secrets and paths of the host; a tag beside it is a stranger's. Neither what the base's own files ask for, nor what its
//! env file makes of the head, nor what its containers leave on the volumes may come by the grant. So it is a base only
//! where the grant has no part in either deploy. Otherwise there is no base, for that reason: the upgrade is `unver`, which is
//! neither the head's fault nor a pass.

use super::base::Base;
use super::context::Context;
use super::network::no_way_through;
use super::plan::{Plan, supplied};
use super::resolved;
use crate::driver::Chosen;
use crate::driver::stack::{DeploySetup, NotDeployable, Stamp};
use recipe::policy::Terms;
use recipe::release::Release;

/// Returns why nothing is upgraded from the base of `plan`, where it needs the head's grant and is not covered by it.
/// `means` is how the head is deployed.
pub(super) fn reason(
    context: &Context<'_>,
    plan: &Plan,
    means: &DeploySetup,
    chosen: &Chosen,
) -> Option<String> {
    let base = plan.base.as_ref()?;
    if base.trust.level == plan.trust.level {
        return None;
    }
    let needs = needed(context, plan, base, means, chosen)?;
    let commit = base.release.commit;
    // A list of approved recipes, which is no entry, grants this.
    let values: &[&str] = if base.trust.has_entry {
        &[]
    } else {
        &["run_code: true"]
    };
    Some(format!(
        "{}: no grant in grants.yml covers its commit {commit}, and without one {needs}; {}",
        base.in_words(),
        base.trust.how_to_grant(Some(commit), values)
    ))
}

fn needed(
    context: &Context<'_>,
    plan: &Plan,
    base: &Base,
    means: &DeploySetup,
    chosen: &Chosen,
) -> Option<String> {
    let settings = &context.settings;
    if let Some(reason) = chosen.not_for(&base.trust) {
        return Some(reason);
    }
    if let Some(lacks) = supplied::withheld_from_base(settings, &base.trust, base) {
        return Some(format!("it is refused: {}", lacks.error));
    }
    let upgraded = base.upgraded.as_ref().ok();
    let releases = || std::iter::once(&base.release).chain(upgraded);
    let domain = settings.domain.as_str();
    if no_way_through(&plan.trust, domain, releases())
        != no_way_through(&base.trust, domain, releases())
    {
        return Some("the gateway may not reach it".to_owned());
    }
    let lower = DeploySetup {
        terms: Terms {
            level: base.trust.level.clone(),
            ..means.terms.clone()
        },
        ..means.clone()
    };
    let images = releases().flat_map(|release| release.project.images());
    let mut images = images.filter(|name| lower.terms.puller(name) != means.terms.puller(name));
    if let Some(image) = images.next() {
        return Some(format!("image `{image}` is not for it"));
    }
    let stack = settings.domain.stack();
    let differs = |release: &Release, stamp: &Stamp, what: &str| {
        let judged = match lower.resolve(release, &stack, stamp) {
            Ok(judged) => judged,
            Err(NotDeployable::Policy(refused)) => {
                let why = resolved::in_words(&refused.violations)?;
                return Some(format!("{what} is refused: {why}"));
            }
            // That is said where it is judged as the head is.
            Err(NotDeployable::Compose(_)) => return None,
        };
        let with_grant = means.resolve(release, &stack, stamp).ok()?;
        let same = judged.resolved().document() == with_grant.resolved().document();
        (!same).then(|| format!("{what} would be deployed otherwise"))
    };
    let base_differs = plan
        .base_stamp(settings)
        .and_then(|stamp| differs(&base.release, &stamp, "it"));
    base_differs.or_else(|| {
        let stamp = plan.head_stamp(settings);
        upgraded.and_then(|head| differs(head, &stamp, "the head with its env file"))
    })
}
