//! The plan as it is said and printed.

use super::Context;
use super::dependencies::Named;
use super::needs;
use super::plan::{NoBase, Plan, PlanView};
use super::resolved::Releases;
use super::routing::RoutingFault;
use crate::driver::Chosen;
use crate::event::{Event, Planned};
use crate::recipe::backup::BackupPlan;
use crate::tier;

/// Says what the run is going to do.
pub(super) fn announce(
    context: &Context<'_>,
    plan: &Plan,
    dependencies: &[Named],
    chosen: &Chosen,
    deviations: &[String],
) {
    let settings = &context.settings;
    context.events.emit(&Event::Planned(Box::new(Planned {
        head_commit: plan.head.commit.clone(),
        head_version: plan.shown_version(),
        base_version: plan.base.as_ref().map(|base| base.version.clone()),
        base_kind: plan.base.as_ref().map(|base| base.kind.name().to_owned()),
        driver: chosen.name().to_owned(),
        driver_reason: chosen.reason.clone(),
        stages: settings.stages.clone(),
        customization: plan.customization.clone(),
        dependencies: dependencies.iter().map(Into::into).collect(),
        deploys_expected: deploy_count(dependencies.len()),
    })));
    for line in deviations {
        context.events.emit(&Event::Deviation(line.clone()));
    }
    for line in &plan.warnings {
        context.events.warn(line.clone());
    }
}

/// Each app is deployed once.
fn deploy_count(dependencies: usize) -> u32 {
    1 + u32::try_from(dependencies).unwrap_or(u32::MAX - 1)
}

/// Returns the plan as `--dry-run` prints it.
pub(super) fn view(
    context: &Context<'_>,
    plan: &Plan,
    resolved: &Releases,
    named: &[Named],
    chosen: &Chosen,
    deviations: Vec<String>,
    routing: &[RoutingFault],
) -> String {
    let settings = &context.settings;
    let secrets = crate::recipe::secret::plan(&plan.head.project, &plan.head.env, &plan.head.vars)
        .unwrap_or_default();
    let backups = BackupPlan::from_project(&plan.head.project);
    let no_base = plan.no_base.as_ref().map(|reason| match reason {
        NoBase::Structural(reason) => reason.clone(),
        NoBase::Broken(reason) => format!("base-broken: {reason}"),
    });
    let view = PlanView {
        recipe: settings.recipe.as_str(),
        trust: (&plan.trust).into(),
        head_commit: &plan.head.commit,
        uncommitted_changes: plan.head.dirty,
        head_version: plan.shown_version(),
        base_version: plan.base.as_ref().map(|base| base.version.as_str()),
        base_kind: plan.base.as_ref().map(|base| base.kind),
        no_base,
        quick: settings.quick,
        domain: settings.domain.as_str(),
        stack: settings.domain.stack().to_string(),
        driver: chosen.name(),
        driver_reason: &chosen.reason,
        tiers: plan.tiers(settings),
        compose_files: &plan.head.project.files,
        images: plan.images(),
        secrets: secrets.into_iter().map(|spec| spec.full_name).collect(),
        backed_up_volumes: backups
            .volumes
            .into_iter()
            .map(|volume| volume.volume)
            .collect(),
        customization: &plan.customization,
        deviations,
        warnings: &plan.warnings,
        dependencies: named.iter().map(Into::into).collect(),
        canonical: plan.declared.canonical(),
        host_needs: needs::of_host(resolved.head.resolved().document()),
        deploy_timeout_s: plan
            .declared
            .deploy_timeout()
            .unwrap_or_else(|| tier::timeout_of(&plan.head, &settings.domain))
            .as_secs(),
        deploy_count: deploy_count(named.len()),
        policy: resolved.warnings(),
        routing,
        project: resolved.head.resolved().document(),
        base_project: resolved
            .base
            .as_ref()
            .map(|base| base.resolved().document()),
    };
    serde_json::to_string_pretty(&view).expect("a plan of strings and numbers is valid JSON")
}
