//! What a run was asked to do, resolved: nothing behind this reads the environment.

mod bases;
mod variants;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::Choice;
use crate::event::OtherApp;
use crate::report::copy::Copy;
use crate::report::redact::Redactor;
use engine::dirs::HostDirs;
use engine::http::Gateway;
use engine::room::{Ceilings, Room};
use ground::git::source::{RemoteUrl, Source, SourceError};
use ground::git::token::Token;
use ground::name::{Domain, GitRef, RecipeName, RunId, Zone};
use ground::outcome::{Stage, Verdict};
use recipe::trust::{Grants, Level, SourceKey};

pub use bases::Bases;
pub use variants::Variants;

/// The hard deadline of a run when none is given; the predecessor's.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// How long teardown may take, on top of the deadline.
pub const TEARDOWN_BUDGET: Duration = Duration::from_secs(10 * 60);

/// Where the recipe comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A path, a URL or a repository on the forge.
    Repository(Source),
    /// The checkout that an earlier step staged in the canonical abra directory (`CCCI_SKIP_FETCH=1`).
    Staged,
}

/// Where published recipes come from, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The forge.
    pub url: String,
    /// Whose repositories.
    pub owner: String,
    /// Whether the checkouts that an earlier step staged in the canonical abra directory are taken instead
    /// (`CCCI_SKIP_FETCH=1`).
    pub staged: bool,
}

impl Published {
    /// Returns where the published `recipe` is on the forge.
    ///
    /// # Errors
    /// [`SourceError`] when the forge's address is none.
    pub fn source(&self, recipe: &RecipeName) -> Result<Source, SourceError> {
        let name = format!("{}/{recipe}", self.owner);
        Source::parse(&name, Some(&self.url), Path::new("/"))
    }

    /// Returns whether an address is that of the published `recipe`, however it is written.
    #[must_use]
    pub fn has(&self, recipe: &RecipeName, url: &RemoteUrl) -> bool {
        match self.source(recipe) {
            Ok(Source::Forge { url: ours, .. }) => {
                ours.scheme() == url.scheme() && SourceKey::of_url(&ours) == SourceKey::of_url(url)
            }
            _ => false,
        }
    }
}

/// What the gateway is on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayService {
    /// The service or container of this name.
    Named(String),
    /// No container: it reaches the apps on its own.
    None,
}

/// Which app a run tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lane {
    /// A new one.
    #[default]
    Cold,
    /// The recipe's warm app, where that can be done.
    Quick,
}

/// When the head is installed afresh in a run that upgrades a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fresh {
    /// At the same time as the base, where that can be done.
    #[default]
    Parallel,
    /// Before the base.
    Serial,
    /// Not at all: the install judges the base.
    Never,
}

impl Fresh {
    /// Returns the word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Serial => "serial",
            Self::Never => "never",
        }
    }
}

/// How long an app is held when nothing is said.
const HOLD: Duration = Duration::from_secs(60 * 60);

/// How long an app may be held.
const LONGEST_HOLD: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// When the app is held after the run, for a look at it, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Never.
    #[default]
    Never,
    /// When a tier failed.
    Failed(Duration),
    /// Also when every tier passed.
    Always(Duration),
}

impl Keep {
    /// Returns how long the app of a run is held that ended so; nothing when it is not.
    #[must_use]
    pub fn after(self, verdict: Verdict) -> Option<Duration> {
        match (self, verdict) {
            (Self::Failed(span) | Self::Always(span), Verdict::Failed)
            | (Self::Always(span), Verdict::Passed) => Some(span),
            _ => None,
        }
    }
}

/// A word for when to hold an app that is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "write `never`, or `failed` or `always` with a time of at most a week: `failed=2h`, `always=30m`"
)]
pub struct KeepError;

impl std::str::FromStr for Keep {
    type Err = KeepError;

    /// Reads `never`, `failed`, `always=30m`. Without a time the app is held for an hour.
    fn from_str(text: &str) -> Result<Self, KeepError> {
        let (when, span) = match text.split_once('=') {
            Some((when, span)) => (when, read_span(span.trim()).ok_or(KeepError)?),
            None if text == "never" => return Ok(Self::Never),
            None => (text, HOLD),
        };
        match when.trim() {
            "failed" => Ok(Self::Failed(span)),
            "always" => Ok(Self::Always(span)),
            _ => Err(KeepError),
        }
    }
}

fn read_span(text: &str) -> Option<Duration> {
    let span: jiff::SignedDuration = text.parse().ok()?;
    let span = Duration::try_from(span).ok()?;
    (!span.is_zero() && span <= LONGEST_HOLD).then_some(span)
}

/// A run on an engine of CI's own.
#[derive(Debug, Clone)]
pub struct OnCi {
    /// The room that the engine is in.
    pub room: Room,
    /// The operator's engine, which has images that no registry has.
    pub operators: String,
    /// What there is to know where the engine is for this run alone.
    pub own: Option<OwnEngine>,
}

/// An engine for one run alone.
#[derive(Debug, Clone)]
pub struct OwnEngine {
    /// What it may take.
    pub ceilings: Ceilings,
    /// Where CI's engine is, which may have the images.
    pub shared: Room,
    /// The places of this host, as runs on the operator's engine have them.
    pub host: HostDirs,
}

/// Everything that a run was asked to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The recipe's name.
    pub recipe: RecipeName,
    /// Where it comes from.
    pub origin: Origin,
    /// Where its dependencies come from.
    pub published: Published,
    /// What the operator grants to which source.
    pub grants: Arc<Grants>,
    /// Whether apps of strangers run where they may reach the overlay networks of others.
    pub accept_shared_engine: bool,
    /// Images that every source may use, wherever they come from: prefixes of repositories.
    pub local_images: Vec<String>,
    /// The page of the build that the run is a step of.
    pub build_url: Option<String>,
    /// What makes the same run again.
    pub repeat: Repeat,
    /// Where forms of the report go beside the run's directory.
    pub copies: Vec<Copy>,
    /// The ref under test; without one the work tree or the default branch.
    pub reference: Option<GitRef>,
    /// The pull request, as the forge numbers it.
    pub pr: Option<String>,
    /// Which stages to run.
    pub stages: Vec<Stage>,
    /// Which app is tested.
    pub lane: Lane,
    /// The version that the upgrade starts from, instead of the canonical or the newest release.
    pub base: Option<String>,
    /// From which versions it is upgraded, where that is not one.
    pub bases: Bases,
    /// Which of the declared variants are deployed beside it.
    pub variants: Variants,
    /// The variant that the app is of; a run is asked for none, and plans each of its variants so.
    pub variant: Option<String>,
    /// When the head is installed afresh, too.
    pub fresh: Fresh,
    /// The zone of run apps.
    pub zone: Zone,
    /// The app's domain.
    pub domain: Domain,
    /// Which driver was asked for.
    pub driver: Choice,
    /// abra's name of the server.
    pub server: String,
    /// The gateway to reach the app through, instead of directly.
    pub gateway: Option<Gateway>,
    /// What the gateway is on the engine, where that was said.
    pub gateway_service: Option<GatewayService>,
    /// The operator's directory of overlays.
    pub overlays: Option<PathBuf>,
    /// The hard deadline.
    pub deadline: Duration,
    /// How long teardown may take.
    pub teardown_budget: Duration,
    /// Whether the app is held after the run.
    pub keep: Keep,
    /// The id that the run was given.
    pub run_id: RunId,
    /// The engine.
    pub docker_host: String,
    /// What there is to know of CI's own engine, where that is the one.
    pub on_ci: Option<OnCi>,
    /// The host's places.
    pub host: HostDirs,
    /// The environment that every child starts from.
    pub child_env: BTreeMap<OsString, OsString>,
    /// The forge's token.
    pub token: Option<Token>,
    /// Whether a person typed the recipe's path.
    pub by_hand: bool,
    /// This binary, for the tests' `PATH`.
    pub exe: PathBuf,
    /// Values of secrets that recipes do not let anyone generate, by their name in lower case.
    pub supplied_secrets: BTreeMap<String, String>,
    /// Whether containers are checked for health as often as the recipe says, and no oftener.
    pub as_shipped: bool,
    /// How often a test of the recipe or the overlay that failed is run again.
    pub retries: u32,
    /// Makes the plan, prints it and stops.
    pub dry_run: bool,
}

impl Settings {
    /// Returns whether the source is the published recipe, or one that a person named by its path: only those become
    /// canonicals.
    #[must_use]
    pub fn is_published(&self) -> bool {
        match &self.origin {
            Origin::Repository(source) => {
                let published = self.published.source(&self.recipe);
                self.by_hand || published.is_ok_and(|published| published == *source)
            }
            Origin::Staged => false,
        }
    }

    /// Returns whether the versions of the recipe are those of a repository which a source of this trust owns: a stranger's
    /// fork has the tags that its owner leaves it, and an upgrade that loses all data is no upgrade without one.
    #[must_use]
    pub(super) fn has_anothers_versions(&self, level: &Level) -> bool {
        let Origin::Repository(Source::Url(url) | Source::Forge { url, .. }) = &self.origin else {
            return false;
        };
        *level == Level::Stranger && !self.published.has(&self.recipe, url)
    }

    /// Returns the same for the run of this id: an engine that is for one run alone is called after it.
    #[must_use]
    pub fn of_run(&self, run: &RunId) -> Self {
        let mut settings = self.clone();
        if let Some(OnCi {
            room,
            own: Some(own),
            ..
        }) = &mut settings.on_ci
        {
            *room = Room::of_run(&own.host.rooms, run);
            settings.docker_host = room.docker_host();
            settings.host = room.places(&own.host);
            let address = settings.docker_host.clone().into();
            settings.child_env.insert("DOCKER_HOST".into(), address);
        }
        settings
    }

    /// Returns what there is to know of the engine that is for this run alone.
    #[must_use]
    pub fn own_engine(&self) -> Option<&OwnEngine> {
        self.on_ci.as_ref()?.own.as_ref()
    }

    /// Returns the domain of the app in which the head is installed afresh, if that is asked for at all.
    pub(super) fn fresh_domain(&self) -> Option<Domain> {
        let is_asked = self.lane == Lane::Cold
            && self.fresh != Fresh::Never
            && self.stages.contains(&Stage::Install);
        is_asked.then(|| self.domain_of(&OtherApp::fresh()))
    }

    /// Returns the domain of another app of the run that is not under the domain of the one under test.
    pub(super) fn domain_of(&self, app: &OtherApp) -> Domain {
        Domain::for_other(&self.recipe, &app.to_string(), &self.domain, &self.zone)
    }

    /// Returns the token for a source: of the operator's published recipe, or of one that is granted it. Everybody
    /// else could have private repositories of the forge read to him.
    #[must_use]
    pub fn token_for(&self, source: &Source) -> Option<Token> {
        let (Source::Url(url) | Source::Forge { url, .. }) = source else {
            return None;
        };
        let grant = self.grants.sources.get(&SourceKey::of_url(url));
        let may = self.published.has(&self.recipe, url) || grant.is_some_and(|grant| grant.token);
        self.token.clone().filter(|_| may)
    }

    /// Returns what hides the secrets that the operator supplied.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        let redactor = Redactor::default();
        if let Some(token) = &self.token {
            token.hide_by(|secret| redactor.add(secret));
        }
        for secret in self.supplied_secrets.values() {
            redactor.add(secret);
        }
        redactor
    }
}

/// What makes a run again, typed into a shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repeat {
    /// The command without its stages.
    pub command: String,
    /// The stages that were asked for, as one word of a shell; absent where all are.
    pub stages: Option<String>,
}

impl Repeat {
    /// Returns what makes all of it again.
    #[must_use]
    pub fn all(&self) -> String {
        match &self.stages {
            Some(stages) => format!("{} --stages={stages}", self.command),
            None => self.command.clone(),
        }
    }

    /// Returns what makes just this tier again, with what it needs.
    #[must_use]
    pub fn only(&self, stage: Stage) -> String {
        let stages = match stage {
            // There is nothing to restore but what the run itself has backed up.
            Stage::Restore => "backup,restore",
            stage => stage.name(),
        };
        format!("{} --stages={stages}", self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::testing::Scene;
    use recipe::trust::Grant;

    #[test]
    fn a_hold_has_a_time_of_its_own_or_an_hour() {
        let hour = Duration::from_secs(3600);
        for (text, keep) in [
            ("never", Keep::Never),
            ("failed", Keep::Failed(hour)),
            ("failed=2h", Keep::Failed(2 * hour)),
            ("always=1h 30m", Keep::Always(hour + hour / 2)),
            ("always", Keep::Always(hour)),
        ] {
            assert_eq!(text.parse::<Keep>().unwrap(), keep, "{text}");
        }
        for wrong in [
            "",
            "2h",
            "sometimes",
            "never=2h",
            "failed=",
            "failed=0s",
            "failed=-1h",
            "failed=8d",
            "failed=169h",
        ] {
            assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
        }
        assert_eq!(Keep::Failed(hour).after(Verdict::Failed), Some(hour));
        // What was cancelled, or is the host's fault, shows nothing of the recipe.
        for verdict in [Verdict::Passed, Verdict::Cancelled, Verdict::Infra] {
            assert_eq!(Keep::Failed(hour).after(verdict), None, "{verdict}");
        }
        assert_eq!(Keep::Always(hour).after(Verdict::Passed), Some(hour));
        assert_eq!(Keep::Always(hour).after(Verdict::Deadline), None);
    }

    #[test]
    fn only_the_published_recipe_and_a_path_given_by_hand_become_canonicals() {
        let scene = Scene::new("", Grant::default());
        let is = |origin: &Origin, by_hand| {
            let settings = Settings {
                origin: origin.clone(),
                by_hand,
                ..scene.settings.clone()
            };
            settings.is_published()
        };
        let forge = Some("https://git.example.org");
        let origin =
            |text: &str| Origin::Repository(Source::parse(text, forge, Path::new("/srv")).unwrap());
        assert!(is(&origin("coop-cloud/notes"), false));
        for foreign in [
            "alice/notes",
            "https://git.example.com/coop-cloud/notes",
            "file:///srv/notes",
            "./notes",
        ] {
            assert!(!is(&origin(foreign), false), "{foreign}");
        }
        let has_anothers = |text: &str, level: Level| {
            let settings = Settings {
                origin: origin(text),
                ..scene.settings.clone()
            };
            settings.has_anothers_versions(&level)
        };
        assert!(has_anothers("alice/notes", Level::Stranger));
        assert!(has_anothers(
            "https://git.example.com/coop-cloud/notes",
            Level::Stranger
        ));
        // The published recipe, a proposal to it among it; a path, whose tags are those of whoever cloned it; what is granted.
        assert!(!has_anothers("coop-cloud/notes", Level::Stranger));
        assert!(!has_anothers("./notes", Level::Stranger));
        assert!(!has_anothers("alice/notes", Level::Granted(Box::default())));
        // A pipeline's SRC may be a path as well, which makes it a stranger's.
        assert!(is(&origin("./notes"), true));
        assert!(!is(&Origin::Staged, false));
    }
}
