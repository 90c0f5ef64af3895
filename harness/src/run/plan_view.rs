//! The plan as it is said and printed.

use serde::Serialize;

use super::base::{BaseKind, NoBase};
use super::context::Context;
use super::dependencies::{Named, NamedView};
use super::needs;
use super::other::Other;
use super::plan::{self, Plan};
use super::resolved::Releases;
use super::routing::RoutingFault;
use super::settings::{Lane, Settings};
use crate::driver::Chosen;
use crate::event::{Event, Planned, PlannedOther};
use crate::tier;
use ground::git::commit::CommitId;
use ground::outcome::Stage;
use recipe::backup::BackupPlan;
use recipe::compose::resolve::escaped;
use recipe::policy::Violation;
use recipe::trust::TrustView;

/// The plan as `--dry-run` prints it.
#[derive(Debug, Serialize)]
struct PlanView<'a> {
    /// The recipe.
    recipe: &'a str,
    /// How far its source is trusted.
    trust: TrustView,
    /// The commit under test.
    head_commit: CommitId,
    /// Whether uncommitted changes lie over it.
    uncommitted_changes: bool,
    /// Its version label.
    head_version: Option<String>,
    /// The version to upgrade from.
    base_version: Option<&'a str>,
    /// How it was chosen.
    base_kind: Option<BaseKind>,
    /// Why there is none.
    no_base: Option<String>,
    /// Whether it is a quick run, on the recipe's warm app.
    quick: bool,
    /// The app's domain.
    domain: &'a str,
    /// The app's stack.
    stack: String,
    /// Which driver.
    driver: &'a str,
    /// Why this driver.
    driver_reason: &'a str,
    /// The stages with what is known of each.
    tiers: Vec<TierView>,
    /// Compose files of the head.
    compose_files: &'a [String],
    /// Every image that is needed.
    images: Vec<String>,
    /// Secrets to make.
    secrets: Vec<String>,
    /// Volumes that are backed up.
    backed_up_volumes: Vec<String>,
    /// Settings, tests, hooks and overlays.
    customization: &'a [String],
    /// Recipes that are deployed before it.
    dependencies: Vec<NamedView>,
    /// The fresh install of the head beside an upgrade.
    fresh: Option<PlannedOther>,
    /// The apps beside that, each with what its tiers will do.
    others: Vec<OtherView>,
    /// Whether a green run is kept as the warm canonical.
    canonical: bool,
    /// Departures from the recipe that this host forces.
    deviations: Vec<String>,
    /// Remarks.
    warnings: &'a [String],
    /// What must be on the host before the deploy, beyond Docker.
    host_needs: Vec<String>,
    /// How long a deploy may take, in seconds.
    deploy_timeout_s: u64,
    /// How many deploys the run should count.
    deploy_count: u32,
    /// What the host's policy has against it.
    policy: Vec<Violation>,
    /// What would keep an operator's users from the app. Such a run is red.
    routing: &'a [RoutingFault],
    /// The head as it is deployed: every variable substituted, every name final.
    project: &'a serde_json::Value,
    /// The base in the same way.
    base_project: Option<&'a serde_json::Value>,
}

/// Another app in the plan.
#[derive(Debug, Serialize)]
struct OtherView {
    #[serde(flatten)]
    planned: PlannedOther,
    /// Its tiers, with what is known of each.
    tiers: Vec<TierView>,
    /// Every image that it needs.
    images: Vec<String>,
    /// What is wrong with the head's files where they make up this app alone. It is red then.
    fault: Option<String>,
}

impl OtherView {
    fn of(other: &Other<'_>) -> Self {
        let settings = &other.context.settings;
        let mut tiers = other.plan.tiers(settings);
        tiers.retain(|tier| settings.stages.contains(&tier.name));
        Self {
            planned: other.planned(),
            tiers,
            images: other.plan.images(),
            fault: other.fault().map(str::to_owned),
        }
    }
}

/// A tier in the plan.
#[derive(Debug, Serialize)]
struct TierView {
    /// The stage.
    name: Stage,
    /// `run`, `skip` or `unver`.
    will: &'static str,
    /// Why, when it will not run.
    reason: Option<String>,
}

impl Plan {
    /// Returns what each tier will do.
    fn tiers(&self, settings: &Settings) -> Vec<TierView> {
        let labels = BackupPlan::from_project(&self.head.project).is_backup_capable();
        let wrong = plan::wrong_labels(&self.declared, &self.head, self.base.as_ref());
        let no_backup = self.declared.no_backup(labels).filter(|_| wrong.is_none());
        let view = |name, will, reason: Option<String>| TierView { name, will, reason };
        Stage::ALL
            .into_iter()
            .map(|stage| {
                if !settings.stages.contains(&stage) {
                    let why = settings.lane.flow().left_out;
                    return view(stage, "unver", Some(why.to_owned()));
                }
                match (stage, &self.no_base) {
                    (Stage::Upgrade, Some(none)) => {
                        view(stage, none.status().name(), Some(none.to_string()))
                    }
                    (Stage::Backup | Stage::Restore, _) if no_backup.is_some() => {
                        view(stage, "skip", no_backup.clone())
                    }
                    // What cannot be read is for the run to say.
                    (Stage::Custom, _) if !self.suite.has_custom_tier().unwrap_or(true) => {
                        let reason = tier::custom::none(&self.declared);
                        view(stage, "skip", Some(reason))
                    }
                    _ => view(stage, "run", None),
                }
            })
            .collect()
    }
}

/// Says what the run is going to do.
pub(super) fn announce(
    context: &Context<'_>,
    plan: &Plan,
    (dependencies, fresh, others): (&[Named], Option<&Other<'_>>, &[Other<'_>]),
    chosen: &Chosen,
    deviations: &[String],
) {
    let settings = &context.settings;
    context.events.emit(&Event::Planned(Box::new(Planned {
        head_commit: plan.head.commit,
        head_version: plan.shown_version(),
        base_version: plan.base.as_ref().map(|base| base.version.clone()),
        base_kind: plan.base.as_ref().map(|base| base.kind.name().to_owned()),
        driver: chosen.name().to_owned(),
        driver_reason: chosen.reason.clone(),
        stages: settings.stages.clone(),
        customization: plan.customization.clone(),
        dependencies: dependencies.iter().map(Into::into).collect(),
        fresh: fresh.map(Other::planned),
        others: others.iter().map(Other::planned).collect(),
        deploys_expected: deploy_count(dependencies.len(), fresh, others),
    })));
    for line in deviations {
        context.events.emit(&Event::Deviation(line.clone()));
    }
    for line in &plan.warnings {
        context.events.warn(line.clone());
    }
}

/// Each app is deployed once.
fn deploy_count(dependencies: usize, fresh: Option<&Other<'_>>, others: &[Other<'_>]) -> u32 {
    let others = others.iter().filter(|other| other.is_deployed()).count();
    let all = 1 + usize::from(fresh.is_some()) + others + dependencies;
    u32::try_from(all).unwrap_or(u32::MAX)
}

/// Returns the plan as `--dry-run` prints it.
pub(super) fn view(
    context: &Context<'_>,
    plan: &Plan,
    resolved: &Releases,
    (named, fresh, others): (&[Named], Option<&Other<'_>>, &[Other<'_>]),
    chosen: &Chosen,
    deviations: Vec<String>,
    routing: &[RoutingFault],
) -> String {
    let settings = &context.settings;
    let secrets = recipe::secret::plan(&plan.head.project, &plan.head.env, &plan.head.vars)
        .unwrap_or_default();
    let backups = BackupPlan::from_project(&plan.head.project);
    let no_base = plan.no_base.as_ref().map(NoBase::to_string);
    let view = PlanView {
        recipe: settings.recipe.as_str(),
        trust: (&plan.trust).into(),
        head_commit: plan.head.commit,
        uncommitted_changes: plan.head.dirty,
        head_version: plan.shown_version(),
        base_version: plan.base.as_ref().map(|base| base.version.as_str()),
        base_kind: plan.base.as_ref().map(|base| base.kind),
        no_base,
        quick: settings.lane == Lane::Quick,
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
        fresh: fresh.map(Other::planned),
        others: others.iter().map(OtherView::of).collect(),
        canonical: plan.declared.canonical(),
        host_needs: needs::of_host(resolved.head.resolved().document()),
        deploy_timeout_s: plan
            .declared
            .deploy_timeout()
            .unwrap_or_else(|| tier::timeout_of(&plan.head, &settings.domain))
            .as_secs(),
        deploy_count: deploy_count(named.len(), fresh, others),
        policy: resolved.warnings(),
        routing,
        project: resolved.head.resolved().document(),
        base_project: resolved
            .base
            .as_ref()
            .map(|base| base.resolved().document()),
    };
    let text = serde_json::to_string_pretty(&view);
    unprintable_escaped(&text.expect("a plan of strings and numbers is valid JSON"))
}

/// Returns JSON in which what a terminal takes for a command is escaped: serde_json leaves C1 controls and marks of
/// direction, which are valid in texts only, as they are.
fn unprintable_escaped(json: &str) -> String {
    let is_unprintable = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    escaped(json, is_unprintable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_takes_for_a_command_is_escaped_and_means_the_same() {
        let said = "a\u{202e}b\u{9b}31m\u{7f}é";
        let json = serde_json::to_string(said).unwrap();
        let escaped = unprintable_escaped(&json);
        assert_eq!(escaped, r#""a\u202eb\u009b31m\u007fé""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), said);
    }
}
