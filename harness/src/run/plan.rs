//! The plan: everything that can be known before anything is made.

mod releases;
mod remarks;
pub(super) mod supplied;

use std::collections::BTreeMap;

use super::base::choice::{self, RequestedBase};
use super::base::several;
use super::base::{Base, BaseKind, Chosen, NoBase};
use super::error::{RunError, usage};
use super::fetched::{Checkout, Subject};
use super::settings::{Lane, Origin, Settings};
use super::told::Told;
use super::{advice, incomplete, overlaid, trusted};
use crate::overlay::{self, Found, Places};
use crate::suite::Suite;
use engine::dirs::RunDirs;
use ground::error::chain;
use ground::git::commit::CommitId;
use ground::git::{checkout, fetch, snapshot, tags, worktree};
use ground::name::Domain;
use ground::outcome::Stage;
use recipe::backup::BackupPlan;
use recipe::declared::{Declared, Rung};
use recipe::env::EnvFile;
use recipe::release::{Additions, AppName, Release, ReleaseError, Tree};
use recipe::trust::{Trust, list};

/// What a run will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The head as a new app of it would be deployed.
    pub head: Release,
    /// The head as another new app, where the run may install it afresh under a domain of its own.
    pub fresh: Option<Release>,
    /// The head's version label, if it has one.
    pub head_version: Option<String>,
    /// The base, with its tag; absent when the head is deployed at once.
    pub base: Option<Base>,
    /// Why there is no base, when an upgrade was asked for.
    pub no_base: Option<NoBase>,
    /// The versions beside the base from which it is upgraded in apps of their own, the newest first.
    pub older: Vec<String>,
    /// The variants of the head that are deployed in apps of their own, each with its stages.
    pub variants: Vec<(String, Vec<Stage>)>,
    /// What of the files beside the compose files matters to who uses an app.
    pub told: Told,
    /// The tests and hooks.
    pub suite: Suite,
    /// What is declared in `recipe-ci.yml`.
    pub declared: Declared,
    /// Why an overlay makes the run red before anything is deployed: it hides what the head changed.
    pub masks: Option<String>,
    /// A line for everything that is laid over the recipe.
    pub customization: Vec<String>,
    /// Remarks for the report.
    pub warnings: Vec<String>,
    /// How far its source is trusted.
    pub trust: Trust,
}

/// Fetches the recipe into the run's own directory. Blocking: it is run beside the worker's thread.
///
/// # Errors
/// [`RunError::Usage`] when the source or the ref does not exist, [`RunError::Infra`] when it cannot be had.
pub(super) fn fetch(settings: &Settings, dirs: &RunDirs) -> Result<Checkout, RunError> {
    let destination = dirs.recipe(settings.recipe.as_str());
    match &settings.origin {
        Origin::Repository(source) => {
            let request = fetch::FetchRequest {
                source: source.clone(),
                reference: settings.reference.clone(),
                destination,
                token: settings.token_for(source),
            };
            let fetched =
                fetch::fetch(&request).map_err(|error| incomplete::not_fetched(settings, error))?;
            let tags: Vec<_> = fetched
                .tags
                .into_iter()
                .map(|tag| (tag.name, tag.commit))
                .collect();
            let tree = Tree {
                root: fetched.destination,
                commit: fetched.commit,
                dirty: fetched.dirty,
            };
            let tip = tip_of(&tree)?;
            let trust =
                trusted::of_fetched(settings, source, &tree, &tags, fetched.branch.as_deref());
            Ok(Checkout {
                tree,
                tags,
                shallow: fetched.shallow,
                tip,
                remarks: fetched.remarks,
                trust,
                barred: None,
            })
        }
        Origin::Staged => {
            let staged = settings.host.staged(settings.recipe.as_str());
            snapshot::copy_tree(&staged, &destination).map_err(|error| RunError::Usage {
                error: error.into(),
                hints: vec![
                    "stage the recipe's checkout there first, or leave CCCI_SKIP_FETCH unset"
                        .to_owned(),
                ],
            })?;
            worktree::put_pointers_back(&destination).map_err(RunError::infra)?;
            let commit = checkout::commit_of(&destination, "HEAD").map_err(usage)?;
            let tags = tags::tags(&destination).map_err(RunError::infra)?;
            let tags: Vec<_> = tags.into_iter().map(|tag| (tag.name, tag.commit)).collect();
            let tree = Tree {
                // The copy has the changes as well.
                dirty: worktree::is_dirty(&destination).map_err(RunError::infra)?,
                root: destination,
                commit,
            };
            let tip = tip_of(&tree)?;
            let trust = trusted::of_staged(settings, &tree, &tags, false);
            Ok(Checkout {
                shallow: checkout::is_shallow(&tree.root).map_err(RunError::infra)?,
                tree,
                tags,
                tip,
                remarks: Vec::new(),
                trust,
                barred: None,
            })
        }
    }
}

/// Returns the tip of the branch that the head would be merged into, if there is one to which the head is
/// something new: from a tip that has the head in its history it would be a downgrade.
fn tip_of(head: &Tree) -> Result<Option<CommitId>, RunError> {
    let is_merged =
        |tip: &checkout::Tip| checkout::is_ancestor(&head.root, head.commit, tip.commit);
    let tip = checkout::target_branch_tip(&head.root).map_err(RunError::infra)?;
    match tip {
        Some(tip) if is_merged(&tip).map_err(RunError::infra)? => Ok(None),
        tip => Ok(tip.map(|tip| tip.commit)),
    }
}

/// Makes the plan. Nothing of the app exists afterwards. Blocking, like [`fetch`].
///
/// `judge` has the head that the source alone made, before its base is read: a head that is refused needs none. `hide` has
/// the values that nobody may see, before anything is said of them.
///
/// # Errors
/// [`RunError::Usage`] for everything that is wrong with the recipe's text, and what `judge` returns.
pub(super) fn make(
    settings: &Settings,
    dirs: &RunDirs,
    checkout: &Checkout,
    subject: &Subject,
    judge: impl FnOnce(&Release) -> Result<(), RunError>,
    hide: &dyn Fn(&[String]),
) -> Result<Plan, RunError> {
    let app = AppName {
        recipe: &settings.recipe,
        domain: &settings.domain,
    };
    incomplete::has_its_tests(&checkout.tree)?;
    let found = overlay::find(Places {
        recipe: &settings.recipe,
        tree: &checkout.tree.root,
        trust: &checkout.trust,
        overlays: settings.overlays.as_deref(),
        tests: &dirs.tests,
    })
    .map_err(overlaid::wrong)?;
    // A refusal repeats what a stranger wrote, and that may name a variable of the operator's.
    hide(&found.secrets);
    let env_of = |domain: &Domain| {
        let mut env = found.declared.env(&settings.recipe, domain);
        if let Some(variant) = &settings.variant {
            env.extend(
                found
                    .declared
                    .variant_env(variant, &settings.recipe, domain),
            );
        }
        env
    };
    let additions = Additions {
        env: env_of(&settings.domain),
        compose: Vec::new(),
    };
    let mut head = Release::read(&checkout.tree, app, &additions).map_err(|error| {
        let hints = vec![advice::on_release(&error).to_owned()];
        RunError::Usage {
            error: error.into(),
            hints,
        }
    })?;
    check_names(settings, &head)?;
    supplied::check(settings, &checkout.trust, &head)?;
    let head_version = head.version_label(&settings.domain);
    // What the operator lays over it may make it another.
    if found.tunings.is_empty() && found.repairs.is_empty() {
        judge(&head)?;
    }
    let mut warnings = checkout.remarks.clone();
    if settings.grants.approved.contains(&settings.recipe) {
        warnings.push(list::is_deprecated(&settings.recipe, &checkout.trust));
    }
    warnings.extend(head.remarks.iter().cloned());
    overlaid::check_services(&found.declared, &head)?;

    let proposal = *subject != Subject::Dependency;
    let does_not_apply = found.declared.not_applicable(Rung::Upgrade);
    let is_upgraded = settings.stages.contains(&Stage::Upgrade) && does_not_apply.is_none();
    let mut older = match is_upgraded && *subject == Subject::Proposal {
        true => several::of(settings, checkout, head_version.as_deref(), &mut warnings)?,
        false => Vec::new(),
    };
    let newest = (!older.is_empty()).then(|| older.remove(0));
    let (mut base, mut no_base) = if !settings.stages.contains(&Stage::Upgrade) {
        (None, None)
    } else if let Some(reason) = does_not_apply {
        let reason = format!("declared not applicable: {reason}");
        (None, Some(NoBase::Structural(reason)))
    } else if let Some(reason) = &checkout.barred {
        (None, Some(NoBase::Withheld(reason.clone())))
    } else {
        let wanted = match &newest {
            Some(version) => Some(RequestedBase::asked(version)),
            None => RequestedBase::of(settings, &found.declared),
        };
        let theirs = proposal && settings.has_anothers_versions(&checkout.trust.level);
        let published = format!(
            "SRC={}/{} with PR or REF upgrades from the published ones",
            settings.published.owner, settings.recipe
        );
        let version = head_version.as_deref();
        match choice::choose(
            (settings, subject),
            wanted,
            checkout,
            version,
            &mut warnings,
        )? {
            Ok(chosen) => {
                if theirs {
                    warnings.push(format!(
                        "{} is a version of the proposal's own repository, whose owner decides which there are; {published}",
                        chosen.in_words()
                    ));
                }
                let upgrade_env = found.declared.upgrade_env(app.recipe, app.domain);
                let kit = (&additions, upgrade_env);
                match read_base((settings, subject), dirs, checkout, &chosen, app, kit) {
                    Ok(base) => (Some(base), None),
                    Err(reason) => {
                        incomplete::holds_the_base(settings, checkout, &chosen)?;
                        let reason = format!("{}: {reason}", chosen.in_words());
                        (None, Some(NoBase::Broken(reason)))
                    }
                }
            }
            Err(reason) if theirs => {
                let reason = format!(
                    "{reason}: it is the proposal's own repository, whose owner decides which versions there are; {published}"
                );
                (None, Some(NoBase::Theirs(reason)))
            }
            Err(reason) => (None, Some(NoBase::Structural(reason))),
        }
    };
    let variants = match *subject == Subject::Proposal && settings.lane == Lane::Cold {
        true => overlaid::variants(settings, &found.declared)?,
        false => Vec::new(),
    };
    let told = Told::of(&head, base.as_ref(), head_version.as_deref());
    let over = base.as_mut();
    let whose = (proposal, settings.variant.as_deref());
    let laid = overlaid::lay(&found, checkout, app, &mut head, over, &additions, whose)?;
    if let Some(reason) = laid.base_broken {
        base = None;
        no_base = Some(NoBase::Broken(reason));
    }
    if let Some(reason) = base.as_ref().and_then(|base| {
        let lacks = supplied::withheld_from_base(settings, &checkout.trust, base)?;
        Some(format!(
            "{}: {}; {}",
            base.in_words(),
            lacks.error,
            lacks.hint
        ))
    }) {
        base = None;
        no_base = Some(NoBase::Withheld(reason));
    }
    let fresh = match settings.fresh_domain() {
        Some(domain) if proposal && base.is_some() => {
            let app = AppName {
                domain: &domain,
                ..app
            };
            let additions = Additions {
                env: env_of(&domain),
                compose: laid.beside_head,
            };
            let release = Release::read(&checkout.tree, app, &additions);
            Some(release.map_err(overlaid::unreadable)?)
        }
        _ => None,
    };
    if settings.stages.contains(&Stage::Upgrade) {
        warnings.extend(laid.stale);
    }
    if let Some(Err(reason)) = base.as_ref().map(|base| &base.upgraded) {
        warnings.push(format!("the upgrade is going to fail: {reason}"));
    }
    let backups = BackupPlan::from_project(&head.project);
    warnings.extend(backups.problems.iter().map(ToString::to_string));
    let labels = wrong_labels(&found.declared, &head, base.as_ref());
    if let (true, Some(reason)) = (settings.stages.contains(&Stage::Backup), &labels) {
        warnings.push(format!("the backup is going to fail: {reason}"));
    }
    warnings.extend(remarks::of(settings, &found.declared, &head, &backups));
    let Found {
        declared,
        suite,
        manifest,
        warnings: remarks,
        ..
    } = found;
    warnings.extend(remarks);
    let suite = match &settings.variant {
        Some(variant) => suite.of_variant(variant),
        None => suite,
    };
    let asked = |stage| settings.stages.contains(&stage);
    let has_custom = suite.has_custom_tests().map_err(RunError::infra)?;
    warnings.extend(declared.surprises(|rung| match rung {
        Rung::Upgrade => asked(Stage::Upgrade).then_some(base.is_some()),
        Rung::BackupRestore => {
            let none = declared.no_backup(backups.is_backup_capable()).is_some();
            asked(Stage::Backup).then_some(!none || labels.is_some())
        }
        Rung::Custom => asked(Stage::Custom).then_some(has_custom),
    }));
    if let (Some(reason), Some(web)) = (&declared.health().none, head.project.web()) {
        warnings.push(format!(
            "`health.none` says \"{reason}\", and service `{}` has a web port, which is not checked ({})",
            web.service,
            declared.place("health.none")
        ));
    }
    let mut customization = overlaid::departures(settings);
    customization.extend(manifest);
    Ok(Plan {
        head,
        fresh,
        head_version,
        base,
        no_base,
        older,
        variants,
        told,
        suite,
        declared,
        masks: laid.masks,
        customization,
        warnings,
        trust: checkout.trust.clone(),
    })
}

/// Docker refuses longer names, but only in the middle of a deploy.
fn check_names(settings: &Settings, head: &Release) -> Result<(), RunError> {
    let stack = settings.domain.stack();
    let problems = head.project.object_name_problems(stack.as_str());
    let Some(problem) = problems.first() else {
        return Ok(());
    };
    // What fits below a zone of the usual length is not the recipe's fault.
    let of_zone = problem.would_fit(stack.as_str(), recipe::lint::NOMINAL_STACK.len());
    Err(RunError::Usage {
        error: match of_zone {
            true => problem.to_string().into(),
            false => problem.clone().into(),
        },
        hints: vec![
            "choose a shorter zone with `--zone`, or shorten the name in the recipe".to_owned(),
        ],
    })
}

/// Reads the base from its own tree. What is wrong with it is a reason, not an error: a published version
/// cannot be changed any more, and the head is not to blame for it.
fn read_base(
    (settings, subject): (&Settings, &Subject),
    dirs: &RunDirs,
    checkout: &Checkout,
    chosen: &Chosen,
    app: AppName<'_>,
    (additions, upgrade_env): (&Additions, BTreeMap<String, String>),
) -> Result<Base, String> {
    let root = dirs.base.join(settings.recipe.as_str());
    snapshot::export(&checkout.tree.root, chosen.commit, &root)
        .map_err(|error| error.to_string())?;
    let tree = Tree {
        root,
        commit: chosen.commit,
        dirty: false,
    };
    let release = match subject {
        Subject::Upgrade { env } => EnvFile::parse(env, "env")
            .map_err(ReleaseError::from)
            .and_then(|env| Release::with_env(&tree, app, env, additions, Vec::new())),
        Subject::Proposal | Subject::Dependency => Release::read(&tree, app, additions),
    }
    .map_err(|error| error.to_string())?;
    let more = Additions {
        env: upgrade_env,
        compose: Vec::new(),
    };
    let env = release.env.clone();
    let upgraded = Release::with_env(&checkout.tree, app, env, &more, Vec::new());
    let upgraded = upgraded.map_err(|error| {
        format!(
            "an app with the env file of {} cannot be upgraded to the head: {}; {}",
            chosen.in_words(),
            chain(&error),
            advice::ON_UPGRADE
        )
    });
    let label = match chosen.kind {
        BaseKind::Ref => release.version_label(app.domain),
        _ => Some(chosen.version.clone()),
    };
    let is_tag = chosen.kind != BaseKind::Ref;
    Ok(Base {
        version: chosen.version.clone(),
        label,
        kind: chosen.kind,
        release,
        upgraded,
        upgrade_env: more.env,
        trust: trusted::of_base(settings, checkout, chosen.commit, is_tag),
    })
}

/// Returns why the backup labels fail the backup of what is deployed at last, if they do.
pub(super) fn wrong_labels(
    declared: &Declared,
    head: &Release,
    base: Option<&Base>,
) -> Option<String> {
    let upgraded = base.and_then(|base| base.upgraded.as_ref().ok());
    let labels = BackupPlan::from_project(&upgraded.unwrap_or(head).project);
    declared.wrong_labels(&labels, base.is_some_and(Base::is_backed_up))
}
