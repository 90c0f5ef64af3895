//! What tiers work with.

use std::cell::RefCell;
use std::rc::Rc;

use super::context::Context;
use super::error::RunError;
use super::plan::Plan;
use crate::driver::Driver;
use crate::suite::Needs;
use crate::tier::{self, Bench, TierError};
use engine::http::{Gateway, Http};
use engine::lock::DomainLock;
use engine::swarm::holder::Holders;
use ground::name::RecipeName;
use recipe::release::Release;

/// Whose bench it is.
pub(super) struct Parts {
    pub(super) recipe: RecipeName,
    pub(super) driver: Driver,
    /// Proof that the app is ours.
    pub(super) lock: Rc<DomainLock>,
    /// The gateway to reach it through, instead of directly.
    pub(super) gateway: Option<Gateway>,
    /// What its tests and hooks get in their environment.
    pub(super) test_env: Vec<(String, String)>,
    /// The dependencies, as far as they are up.
    pub(super) needs: Needs,
}

impl Parts {
    /// Returns those of the context's own app.
    pub(super) fn of_app(
        context: &Context<'_>,
        driver: Driver,
        lock: Rc<DomainLock>,
        needs: Needs,
    ) -> Result<Self, RunError> {
        Ok(Self {
            recipe: context.settings.recipe.clone(),
            driver,
            lock,
            gateway: context.settings.gateway.clone(),
            test_env: test_env(context)?,
            needs,
        })
    }
}

/// Returns what the tiers of `plan` work with, `current` being what is deployed first.
pub(super) fn bench(
    context: &Context<'_>,
    plan: &Plan,
    parts: Parts,
    current: Release,
) -> Result<Bench, RunError> {
    let settings = &context.settings;
    let domain = parts.lock.domain();
    let http = Http::new(domain, parts.gateway.as_ref()).map_err(RunError::infra)?;
    Ok(Bench {
        driver: parts.driver,
        lock: parts.lock,
        recipe: parts.recipe,
        zone: settings.zone.clone(),
        events: context.events.clone(),
        redactor: context.redactor.clone(),
        suite: plan.suite.clone(),
        declared: plan.declared.clone(),
        head_root: plan.head.root.clone(),
        test_env: parts.test_env,
        gateway: parts.gateway,
        http,
        settled: RefCell::default(),
        current,
        seeds: tier::seed::Seeds::default(),
        holders: Holders::default(),
        databases: tier::database::Databases::default(),
        converged: RefCell::default(),
        overdue: RefCell::default(),
        retries: settings.retries,
        needs: parts.needs,
        said: RefCell::default(),
    })
}

/// What every test and hook gets in its environment.
pub(super) fn test_env(context: &Context<'_>) -> Result<Vec<(String, String)>, RunError> {
    let (settings, dirs) = (&context.settings, &context.dirs);
    let link = dirs.bin.join("recipe-ci");
    match std::os::unix::fs::symlink(&settings.exe, &link) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(RunError::infra(TierError::State { path: link, source })),
    }
    let inherited = context
        .processes
        .base_var("PATH")
        .map(|path| path.to_string_lossy().into_owned());
    let path = match inherited {
        Some(inherited) => format!("{}:{inherited}", dirs.bin.display()),
        None => dirs.bin.display().to_string(),
    };
    let file = |name: &str| dirs.state_file(name).display().to_string();
    Ok([
        ("PATH", path),
        ("CCCI_RECIPE", settings.recipe.to_string()),
        ("RECIPE", settings.recipe.to_string()),
        ("CCCI_APP_DOMAIN", settings.domain.to_string()),
        ("CCCI_RUN_ID", dirs.id.to_string()),
        ("ABRA_DIR", dirs.abra.display().to_string()),
        ("CCCI_VARIANT", settings.variant.clone().unwrap_or_default()),
        ("CCCI_DEPLOY_COUNT_FILE", file("deploy-count")),
        ("CCCI_OP_STATE_FILE", file("op-state")),
        ("CCCI_DEPS_FILE", file("deps")),
        ("CCCI_DEPS_SKIP_REPORT", file("deps-skip")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec())
}
