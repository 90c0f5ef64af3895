//! What a run is going to do: planned, judged and said, before anything is made.

use super::blocking::{blocking, hiding};
use super::context::Context;
use super::dependencies::{self, Dependency, Named};
use super::draft::Draft;
use super::error::RunError;
use super::fetched::Fetched;
use super::other::Other;
use super::others::Company;
use super::plan::Plan;
use super::resolved::{self, Releases};
use super::settings::Settings;
use super::step::End;
use super::{closed, fresh, images, lint, network, others, plan_view, red, retry, routing, site};
use crate::driver::Chosen;
use crate::driver::stack::DeploySetup;
use crate::event::Event;
use crate::tier::timed;
use engine::swarm::Engine;
use engine::swarm::gateway::Gateway;
use ground::outcome::Phase;
use recipe::compose::resolve::Resolved;
use recipe::lint::Lint;
use recipe::policy::{Judged, Violation};
use recipe::trust::Level;

/// What a run is going to do: everything was judged, and nothing is made.
pub(super) struct Ready<'a> {
    /// The context of the app under test.
    pub(super) context: Context<'a>,
    pub(super) plan: Plan,
    pub(super) means: DeploySetup,
    pub(super) chosen: Chosen,
    pub(super) named: Vec<Named>,
    /// The dependencies, as they were read; a dry run reads none.
    pub(super) needed: Vec<Dependency>,
    /// What is deployed of them.
    beside: Vec<Judged>,
    /// The fresh install of the head, where there is one.
    pub(super) fresh: Option<Other<'a>>,
    /// The apps beside that, each with a row of its own.
    pub(super) others: Vec<Other<'a>>,
    resolved: Releases,
    deviations: Vec<String>,
    /// What the lint found, until it is said.
    lint: Option<Lint>,
    announced: bool,
}

impl<'a> Ready<'a> {
    /// Resolves and judges what `plan` deploys, and what it needs beside it.
    ///
    /// # Errors
    /// [`RunError`] for what cannot or may not be deployed.
    pub(super) async fn of(
        context: &Context<'a>,
        fetched: &Fetched,
        draft: Draft,
    ) -> Result<Self, RunError> {
        let Draft { mut plan, asked } = draft;
        let chosen = fetched.chosen.clone();
        let direct = match chosen.deploys_what_was_judged() {
            true => network::without_gateway(context, &plan),
            false => None,
        };
        let context = direct.unwrap_or_else(|| context.clone());
        let settings = &context.settings;
        let named = dependencies::named(settings, &plan.declared)?;
        let means = site::means(&context, &plan.trust, fetched.traits, &chosen);
        let resolved = resolved::judged(&context, &plan, &means)?;
        plan.warnings.extend(resolved.changed_volumes());
        let fresh = fresh::install(&context, &plan, (&resolved, &means), (&chosen, &named))?;
        let repository = context.dirs.recipe(settings.recipe.as_str());
        let pinned = plan.base.as_ref().map(|_| repository.as_path());
        let head = (&plan.head, &plan.trust.level);
        let deviations = chosen.deviations(resolved.deviations(), fetched.traits, head, pinned);
        let mut deviations = deviations.await.map_err(RunError::infra)?;
        let needed = async {
            match settings.dry_run {
                true => Ok(Vec::new()),
                false => read_dependencies(&context, &named).await,
            }
        };
        let taken = resolved::taken_by_docker(&context, &plan, &means, asked);
        let ((), needed) = futures_util::try_join!(taken, needed)?;
        let company = Company {
            plan: &plan,
            resolved: &resolved,
            fresh: fresh.as_ref(),
            named: &named,
        };
        let others = others::of(&context, fetched, company).await?;
        let names = named.iter().map(|one| &one.recipe);
        let there: Vec<_> = names.chain([&settings.recipe]).collect();
        let mut beside = Vec::new();
        for dependency in &needed {
            dependency.is_for(&chosen, &means)?;
            let judged = resolved::judge_dependency(&context, dependency, &means)?;
            let lines = judged.iter().flat_map(|one| &one.resolved().deviations);
            let lines = dependency.deviations(&chosen, lines.cloned().collect());
            deviations.extend(lines.await?);
            beside.extend(judged);
            plan.customization.extend(dependency.customization());
            plan.warnings.extend(dependency.warnings(&there));
        }
        Ok(Self {
            context,
            plan,
            means,
            chosen,
            named,
            needed,
            beside,
            fresh,
            others,
            resolved,
            deviations,
            lint: None,
            announced: false,
        })
    }

    /// Says what is going to be done, once.
    pub(super) fn announce(&mut self) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        plan_view::announce(
            &self.context,
            &self.plan,
            (&self.named, self.fresh.as_ref(), &self.others),
            &self.chosen,
            &self.deviations,
        );
        self.say_of_others();
        self.say_lint();
    }

    /// Ends a run that only shows its plan.
    pub(super) fn dry_run(&mut self) -> End {
        if !self.context.settings.dry_run {
            return End::Done;
        }
        self.announce();
        let faults = routing::faults(&self.plan, &self.context.settings);
        let view = plan_view::view(
            &self.context,
            &self.plan,
            &self.resolved,
            (&self.named, self.fresh.as_ref(), &self.others),
            &self.chosen,
            self.deviations.clone(),
            &faults,
        );
        routing::is_red(&self.context, &faults);
        End::Over(Some(view))
    }

    /// Says what of the other apps is not so of the app under test as well.
    fn say_of_others(&self) {
        let known = self.resolved.warnings();
        for other in &self.others {
            let events = &other.context.events;
            let new = other.plan.warnings.iter();
            for line in new.filter(|line| !self.plan.warnings.contains(line)) {
                events.warn(line.clone());
            }
            let Some(resolved) = &other.resolved else {
                continue;
            };
            let new = resolved.deviations().into_iter();
            for line in new.filter(|line| !self.deviations.contains(line)) {
                events.emit(&Event::Deviation(line));
            }
            let found = resolved.warnings();
            let is_new = |one: &&Violation| !known.iter().any(|known| known.is_same(one));
            let new: Vec<_> = found.iter().filter(is_new).cloned().collect();
            resolved::say(&other.context, &new);
        }
    }

    /// Lints the head.
    ///
    /// # Errors
    /// As of [`lint::found`].
    pub(super) async fn lint(&mut self) -> Result<(), RunError> {
        self.lint = Some(lint::found(&self.context, &self.plan).await?);
        if self.announced {
            self.say_lint();
        }
        Ok(())
    }

    fn say_lint(&mut self) {
        if let Some(lint) = self.lint.take() {
            let event = Event::LintFinished(Box::new(lint));
            self.context.events.emit(&event);
        }
    }

    /// Ends a run that is red before the deploy.
    pub(super) fn red_at_once(&mut self) -> End {
        let faults = routing::faults(&self.plan, &self.context.settings);
        if self.plan.masks.is_none() && faults.is_empty() {
            self.others.retain(|other| !other.is_decided());
            return End::Done;
        }
        self.announce();
        match &self.plan.masks {
            Some(reason) => red::masked(&self.context, reason),
            None => drop(routing::is_red(&self.context, &faults)),
        }
        End::Over(None)
    }

    /// Refuses tests that this host cannot run.
    ///
    /// # Errors
    /// [`RunError::Infra`] with what is missing.
    pub(super) async fn can_test(&self) -> Result<(), RunError> {
        let suite = self.plan.suite.clone();
        let first = blocking(move || suite.first_python_test().map_err(RunError::infra));
        match first.await? {
            Some(file) if self.context.processes.which("pytest").is_none() => {
                Err(RunError::Infra {
                    error: format!("`{file}` needs pytest, which is not on this host").into(),
                    hints: vec![
                        "apt-get install python3-pytest, or `pip install pytest`".to_owned(),
                    ],
                })
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that the host is closed to the app's containers.
    ///
    /// # Errors
    /// As [`closed::close`].
    pub(super) async fn close_the_host(&self, engine: &Engine) -> Result<(), RunError> {
        let beside = self.beside.iter().map(Judged::resolved);
        let projects = self.all().chain(beside);
        let level = &self.plan.trust.level;
        self.context.held.borrow_mut().is_strangers = *level == Level::Stranger;
        closed::close(&self.context, level, projects, engine).await
    }

    /// Makes sure, without a change to anything, that the engine has what is deployed on, and that images which lie there
    /// are everybody's; returns the gateway whose containers join networks of the run.
    ///
    /// # Errors
    /// [`RunError`] with what the host lacks.
    pub(super) async fn host(&self, engine: &Engine) -> Result<Option<Gateway>, RunError> {
        let projects = self.all().map(|release| &release.project);
        network::proxy_is_there(engine, projects).await?;
        let gateway = network::gateway(engine, &self.context.settings, &self.means).await?;
        for plan in self.plans() {
            images::judge(&self.context, engine, plan, &self.means).await?;
        }
        Ok(gateway)
    }

    /// Returns everything that is deployed of the recipe under test, in whichever app.
    fn all(&self) -> impl Iterator<Item = &Resolved> {
        let others = self.others.iter();
        let others = others.filter_map(|other| other.resolved.as_ref());
        self.resolved.all().chain(others.flat_map(Releases::all))
    }

    /// Returns the plans of all apps of the recipe whose images are judged and pulled.
    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan> {
        let others = self.others.iter().map(|other| &other.plan);
        std::iter::once(&self.plan).chain(others)
    }
}

/// Reads the dependencies one after the other; all of their secrets are known afterwards.
async fn read_dependencies(
    context: &Context<'_>,
    named: &[Named],
) -> Result<Vec<Dependency>, RunError> {
    let mut all = Vec::new();
    for one in named {
        let what = format!("fetch of dependency `{}`", one.recipe);
        let read = retry::twice(&context.events, &what, async || {
            let (settings, dirs) = (Settings::clone(&context.settings), context.dirs.clone());
            let one = one.clone();
            hiding(&context.redactor, move |hide| {
                dependencies::read(&settings, &dirs, one, hide)
            })
            .await
        });
        let what = one.recipe.to_string();
        all.push(timed(&context.events, Phase::Fetch, what, read).await?);
    }
    Ok(all)
}
