//! From what was typed and what the environment says to what a run does. Refuses what is wrong before
//! anything is touched.

mod approved;
mod apps;
mod build;
mod engine;
mod gateway;
mod grants;
mod places;
mod releases;
mod source;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use harness::doctor::Subject;
use harness::driver::Choice;
use harness::name::{Domain, GitRef, Zone, legible};
use harness::outcome::Stage;
use harness::overlay::looks_like_one_recipe;
use harness::process::Processes;
use harness::run::settings::{Fresh, GatewayService, Settings, TEARDOWN_BUDGET};

use crate::cli::{DriverChoice, EngineChoice, FreshChoice, RunArgs, parse_engine};
use crate::env;

use approved::{approved_list, names_on};
use apps::{bases, lane, variants};
pub(crate) use engine::disk;
use engine::on_ci;
use gateway::gateway;
pub(crate) use grants::{grants, of_the_environment, unusable};
pub(crate) use places::{
    docker_host, ensure_engine, host_dirs, is_on_ci, operators_dirs, places, room,
};
use places::{docker_host_of, host_dirs_of, of_context};
pub(crate) use releases::{published, published_by, releases};
use source::source;
pub(crate) use source::taken_for_a_name;
use token::token;

/// Where published recipes are when nothing else is said.
const PUBLIC_FORGE: &str = "https://git.coopcloud.tech";

/// The organisation of the published recipes there.
const PUBLIC_OWNER: &str = "coop-cloud";

/// The zone when none is given: names in it lead nowhere outside the host.
const DEFAULT_ZONE: &str = "ci.localhost";

/// The hard deadline when none is given.
const DEFAULT_DEADLINE: &str = "60m";

/// What to do about a CCCI_ACCEPT_SHARED_ENGINE that is neither.
const ACCEPT_HINT: &str = "set CCCI_ACCEPT_SHARED_ENGINE to 1 or 0, or leave it out";

/// What to do about a CCCI_AS_SHIPPED that is neither.
const AS_SHIPPED_HINT: &str =
    "set it to 1 to leave the recipe's health checks as they are, or leave it unset";

/// Pipelines pass variables that are not set as empty ones: empty counts as unset everywhere.
fn or_default<'a>(given: &'a Option<String>, default: &'a str) -> &'a str {
    given
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .unwrap_or(default)
}

/// Something wrong with the command line or the environment.
#[derive(Debug)]
pub(crate) struct UsageError {
    /// What is wrong.
    pub(crate) error: Box<dyn std::error::Error>,
    /// What to do.
    pub(crate) hints: Vec<String>,
}

fn wrong(error: impl Into<Box<dyn std::error::Error>>, hint: &str) -> UsageError {
    let hints = if hint.is_empty() {
        Vec::new()
    } else {
        vec![hint.to_owned()]
    };
    UsageError {
        error: error.into(),
        hints,
    }
}

/// What to do about a state directory that cannot be used.
pub(crate) const STATE_HINT: &str = "choose another state directory with CCCI_STATE_DIR";

/// Returns the zone that was given, or the default.
///
/// # Errors
/// [`UsageError`] when it is not one.
pub(crate) fn zone(given: &Option<String>) -> Result<Zone, UsageError> {
    or_default(given, DEFAULT_ZONE)
        .parse()
        .map_err(|error| wrong(error, "give another one with `--zone`"))
}

/// Returns the hard deadline that was given, or the default.
///
/// # Errors
/// [`UsageError`] when it is not one.
pub(crate) fn deadline_or_default(given: &Option<String>) -> Result<Duration, UsageError> {
    deadline(or_default(given, DEFAULT_DEADLINE))
}

/// Returns the span that the option `name` was given, or `default`.
///
/// # Errors
/// [`UsageError`] when it is no span between 10 ms and a day.
pub(crate) fn duration(
    name: &str,
    given: &Option<String>,
    default: Duration,
) -> Result<Duration, UsageError> {
    let Some(text) = given else {
        return Ok(default);
    };
    let hint = "write it as `10m` or `30s`";
    let parsed = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok());
    match parsed {
        Some(span) if (Duration::from_millis(10)..=Duration::from_secs(86_400)).contains(&span) => {
            Ok(span)
        }
        _ => Err(wrong(
            format!("{name} `{text}` is not a span between 10 ms and a day"),
            hint,
        )),
    }
}

/// The variables that name places of the host, which every command must understand alike.
const PLACES: [&str; 6] = [
    "CCCI_APP_LOCK_DIR",
    "CCCI_RUNS_DIR",
    "CCCI_STATE_DIR",
    "CCCI_WARM_DIR",
    "CCCI_ONCE_DIR",
    "ABRA_DIR",
];

/// Makes sure that the places of the host are the same from every working directory: of two commands with two lock
/// directories one takes the other's live apps for orphans.
///
/// # Errors
/// [`UsageError`] that names the variable.
pub(crate) fn ensure_absolute_places() -> Result<(), UsageError> {
    for name in PLACES {
        if let Some(path) = env::path(name)
            && path.is_relative()
        {
            return Err(wrong(
                format!("{name} is the relative path `{}`", path.display()),
                "give an absolute one: it must be the same place from every working directory",
            ));
        }
    }
    let named = env::var("CCCI_ENGINE").unwrap_or_default();
    parse_engine(&named)
        .map_err(|error| wrong(format!("CCCI_ENGINE is `{named}`: {error}"), ""))?;
    Ok(())
}

/// Returns whether a variable says yes; one that is not set says no.
///
/// # Errors
/// [`UsageError`] when it says neither: whichever it was taken for, something else would be tested than was meant.
fn flag(name: &str, hint: &str) -> Result<bool, UsageError> {
    match env::var(name).as_deref() {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(other) => Err(wrong(format!("{name} is `{other}`"), hint)),
    }
}

/// Returns where background tasks are.
pub(crate) fn once_dir() -> PathBuf {
    env::path("CCCI_ONCE_DIR").unwrap_or_else(|| operators_dirs().state.join("once"))
}

fn absolute(path: PathBuf) -> PathBuf {
    env::working_dir().join(path)
}

fn nix_is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Returns what `doctor` looks at.
///
/// # Errors
/// [`UsageError`] when the zone or the gateway in the environment cannot be used.
pub(crate) fn subject() -> Result<Subject, UsageError> {
    let zone = env::var("CCCI_ZONE").unwrap_or_else(|| DEFAULT_ZONE.to_owned());
    let gateway = gateway(
        env::var("CCCI_GATEWAY").as_deref(),
        env::path("CCCI_GATEWAY_CA").as_deref(),
    )?;
    Ok(Subject {
        docker_host: docker_host(),
        room: room(),
        on_ci: is_on_ci(),
        dirs: host_dirs(),
        processes: Processes::new(env::for_children()),
        zone: zone
            .parse()
            .map_err(|error| wrong(error, "correct or unset CCCI_ZONE"))?,
        gateway,
        grants: of_the_environment(),
        root: PathBuf::from("/"),
    })
}

/// Returns what the gateway is said to be on the engine.
fn gateway_service(text: Option<&str>) -> Result<Option<GatewayService>, UsageError> {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c));
    match text.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some("none") => Ok(Some(GatewayService::None)),
        Some(name) if name.contains(odd) => Err(wrong(
            format!("`{name}` is no name of a service or a container"),
            "give the gateway's name as `docker service ls` shows it in `--gateway-service` (CCCI_GATEWAY_SERVICE), or `none`",
        )),
        Some(name) => Ok(Some(GatewayService::Named(name.to_owned()))),
    }
}

/// Resolves the arguments of `run`.
///
/// # Errors
/// [`UsageError`]; nothing has been created then.
pub(crate) fn resolve(args: &RunArgs) -> Result<Settings, UsageError> {
    let zone = zone(&args.zone)?;
    let stages = stages(args.stages.as_deref())?;
    let reference: Option<GitRef> = match args.reference.as_deref().filter(|text| !text.is_empty())
    {
        Some(text) => Some(text.parse().map_err(|error| {
            wrong(error, "give a branch, a tag or a commit with `--ref` (REF)")
        })?),
        None => None,
    };
    let host = host_dirs_of(args.engine);
    let mut child_env = env::for_children();
    let on_ci = on_ci(args)?;
    // What hooks and tests ask is the engine of their run.
    let is_elsewhere = match args.engine {
        EngineChoice::Ci => true,
        EngineChoice::Host => matches!(of_context(), Ok(Some(_))),
        EngineChoice::Run => false,
    };
    if is_elsewhere {
        child_env.insert("DOCKER_HOST".into(), docker_host_of(args.engine).into());
    }
    let forge = env::var("CCCI_FORGE_URL");
    let overlays = overlays(args)?;
    let mut grants = grants(args.grants.as_deref(), overlays.as_deref())?;
    if let Some(list) = approved_list(overlays.as_deref()) {
        grants.approved = names_on(&list)?;
    }
    let (recipe, origin, by_hand) = source(args, forge.as_deref(), reference.is_some(), &grants)?;
    let pr = pull_request(args.pr.as_deref())?;
    let domain = match args.domain.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Domain::parse(text, &zone).map_err(|error| {
            wrong(
                error,
                "leave CCCI_APP_DOMAIN unset, or set the zone that it is in",
            )
        })?,
        None => {
            let reference = reference
                .as_ref()
                .map_or("", |reference| reference.as_str());
            Domain::for_run(&recipe, pr.as_deref().unwrap_or_default(), reference, &zone)
        }
    };
    let gateway = gateway(args.gateway.as_deref(), args.gateway_ca.as_deref())?;
    let gateway_service = gateway_service(args.gateway_service.as_deref())?;
    let lane = lane(args, &stages)?;
    let run_id = args.run_id.clone().or_else(env::build_number);
    // What makes it unique is the pid of the supervisor: this is before the worker is made.
    let run_id = run_id.unwrap_or_else(|| format!("manual-{}", std::process::id()));
    Ok(Settings {
        by_hand,
        recipe,
        origin,
        published: published_by(forge.as_deref())?,
        grants: Arc::new(grants),
        reference,
        pr,
        lane,
        bases: bases(args, &stages, lane)?,
        variants: variants(args)?,
        variant: None,
        stages,
        base: args.base.clone().filter(|base| !base.is_empty()),
        zone,
        domain,
        driver: match args.driver {
            DriverChoice::Auto => Choice::Auto,
            DriverChoice::Stack => Choice::Stack,
            DriverChoice::Abra => Choice::Abra,
        },
        server: server(or_default(&args.server, "default"))?,
        gateway,
        gateway_service,
        overlays,
        deadline: deadline_or_default(&args.deadline)?,
        teardown_budget: TEARDOWN_BUDGET,
        fresh: match args.fresh {
            FreshChoice::Parallel => Fresh::Parallel,
            FreshChoice::Serial => Fresh::Serial,
            FreshChoice::Never => Fresh::Never,
        },
        keep: args.keep,
        run_id: run_id
            .parse()
            .map_err(|error| wrong(error, "give another one with `--run-id` (CCCI_RUN_ID)"))?,
        docker_host: docker_host_of(args.engine),
        on_ci,
        host,
        child_env,
        token: token(forge.as_deref())?,
        exe: own_program()
            .map_err(|error| wrong(format!("this program cannot find itself: {error}"), ""))?,
        supplied_secrets: env::supplied_secrets(),
        accept_shared_engine: args.accept_shared_engine
            || flag("CCCI_ACCEPT_SHARED_ENGINE", ACCEPT_HINT)?,
        local_images: env::local_images(),
        retries: args.retries,
        as_shipped: args.as_shipped || flag("CCCI_AS_SHIPPED", AS_SHIPPED_HINT)?,
        dry_run: args.dry_run,
        build_url: env::build_url(),
        repeat: build::repeat(args),
        copies: build::copies(args)?,
    })
}

/// Returns the operator's directory of overlays.
///
/// # Errors
/// [`UsageError`] when it does not exist, or is the overlay of one recipe.
fn overlays(args: &RunArgs) -> Result<Option<PathBuf>, UsageError> {
    let overlays = args
        .overlays
        .clone()
        .filter(|dir| !dir.as_os_str().is_empty())
        .map(absolute);
    if let Some(dir) = &overlays
        && !dir.is_dir()
    {
        return Err(wrong(
            format!("overlay directory `{}` does not exist", dir.display()),
            "give an existing one with `--overlays`, or leave CCCI_TESTS_DIR unset",
        ));
    }
    if let Some(dir) = &overlays
        && let Some(file) = looks_like_one_recipe(dir)
    {
        return Err(wrong(
            format!(
                "`{}` is the overlay of one recipe: it has `{file}`",
                dir.display()
            ),
            "give the directory above it, which has one sub-directory per recipe",
        ));
    }
    Ok(overlays)
}

/// Returns the number of the pull request.
///
/// # Errors
/// [`UsageError`] when it is not one: reports and names are made of it.
fn pull_request(text: Option<&str>) -> Result<Option<String>, UsageError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Some(text.to_owned()));
    }
    Err(wrong(
        format!("pull request `{}` is no number", legible(text)),
        "give 1 to 9 digits with `--pr` (PR), or leave it unset",
    ))
}

/// Returns the file of this program.
///
/// # Errors
/// What the system says.
pub(crate) fn own_program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

fn stages(text: Option<&str>) -> Result<Vec<Stage>, UsageError> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(Stage::ALL.to_vec());
    };
    let mut asked = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        asked.push(
            name.parse::<Stage>()
                .map_err(|error| wrong(error, "separate them by commas in `--stages`"))?,
        );
    }
    if asked.is_empty() {
        return Err(wrong(
            format!("`{text}` names no stage"),
            "leave STAGES unset for all of them",
        ));
    }
    if asked.contains(&Stage::Restore) && !asked.contains(&Stage::Backup) {
        return Err(wrong(
            "stage `restore` needs `backup`: a run restores what it saved itself",
            "add `backup` to the stages, or leave `restore` out",
        ));
    }
    // Whatever the order on the command line, a run has its own.
    Ok(Stage::ALL
        .into_iter()
        .filter(|stage| asked.contains(stage))
        .collect())
}

fn deadline(text: &str) -> Result<Duration, UsageError> {
    let hint = "write it like `45m`, `1h 30m` or `90s`";
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| wrong(format!("deadline `{text}` is not a duration"), hint))?;
    match Duration::try_from(span) {
        Ok(span) if !span.is_zero() && span <= Duration::from_secs(7 * 24 * 3600) => Ok(span),
        _ => Err(wrong(
            format!("deadline `{text}` is not between a second and a week"),
            hint,
        )),
    }
}

fn server(name: &str) -> Result<String, UsageError> {
    let plain = !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if plain {
        Ok(name.to_owned())
    } else {
        Err(wrong(
            format!("server `{name}` is not a name of a server"),
            "give abra's name of it with `--server` (CCCI_SERVER); the local one is `default`",
        ))
    }
}

#[cfg(test)]
mod tests;
