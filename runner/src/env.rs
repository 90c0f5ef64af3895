//! The only place that reads the environment and the working directory.
//!
//! Options of `run` are read from the environment by their command-line definition (`cli`); everything
//! else that comes from there has its name here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Variables that hold a build's number, by the runner that sets them, in order of preference.
const BUILD_NUMBERS: [&str; 7] = [
    "DRONE_BUILD_NUMBER",
    "CI_PIPELINE_NUMBER",
    "CI_PIPELINE_ID",
    "BUILDKITE_BUILD_NUMBER",
    "CCCI_RUN_ID",
    // GitHub's, Forgejo's and Gitea's Actions; Jenkins.
    "GITHUB_RUN_ID",
    "BUILD_TAG",
];

/// Variables that hold the address of a build's page: Drone, Woodpecker and GitLab, Buildkite, Jenkins.
const BUILD_URLS: [&str; 4] = [
    "DRONE_BUILD_LINK",
    "CI_PIPELINE_URL",
    "BUILDKITE_BUILD_URL",
    "BUILD_URL",
];

/// Variables that children inherit; everything else of the step's environment stays here.
const INHERITED: [&str; 18] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TZ",
    "DOCKER_CONFIG",
    "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "PYENV_ROOT",
    "VIRTUAL_ENV",
];

/// Variables with our prefix that no option has: settings, and what a run tells its tests and hooks.
pub(crate) const KNOWN: [&str; 25] = [
    "CCCI_ACCEPT_SHARED_ENGINE",
    "CCCI_APPROVED_FILE",
    "CCCI_APP_LOCK_DIR",
    "CCCI_AS_SHIPPED",
    "CCCI_DEPLOY_COUNT_FILE",
    "CCCI_DEPS_FILE",
    "CCCI_DEPS_SKIP_REPORT",
    "CCCI_FORGES",
    "CCCI_FORGE_TOKEN",
    "CCCI_FORGE_TOKEN_FILE",
    "CCCI_FORGE_URL",
    "CCCI_FOR_DOMAIN",
    "CCCI_FOR_RECIPE",
    "CCCI_LOCAL_IMAGES",
    "CCCI_ONCE_DIR",
    "CCCI_OP",
    "CCCI_OP_STATE_FILE",
    "CCCI_QUICK",
    "CCCI_RECIPE",
    "CCCI_RUNS_DIR",
    "CCCI_RUN_ID",
    "CCCI_SKIP_FETCH",
    "CCCI_SRC_DIRS",
    "CCCI_STATE_DIR",
    "CCCI_WARM_DIR",
];

/// The prefix of our variables.
const PREFIX: &str = "CCCI_";

/// The prefix of the variables that supply secrets which may not be generated.
const SECRET_PREFIX: &str = "CCCI_SECRET_";

/// Returns a variable that is set and not empty.
pub(crate) fn var(name: &str) -> Option<String> {
    os_var(name).and_then(|value| value.into_string().ok())
}

fn os_var(name: &str) -> Option<OsString> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the images that every source may use, as the operator lists them: prefixes of repositories.
pub(crate) fn local_images() -> Vec<String> {
    let text = var("CCCI_LOCAL_IMAGES").unwrap_or_default();
    let names = text.split([',', ' ', '\t', '\n']);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns the variables that are set with our prefix, but for those that supply secrets.
pub(crate) fn set_with_our_prefix() -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    let vars = std::env::vars_os();
    let names = vars.filter(|(_, value)| !value.is_empty());
    names
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !name.starts_with(SECRET_PREFIX))
        .collect()
}

/// Returns the working directory, or `/` when it has been deleted under us.
pub(crate) fn working_dir() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

/// Returns the number that the CI runner gave the build, if one did.
pub(crate) fn build_number() -> Option<String> {
    BUILD_NUMBERS.iter().find_map(|name| var(name))
}

/// Returns the page of the build, if the CI runner says one: an address of the web, as it is shown as such.
pub(crate) fn build_url() -> Option<String> {
    let actions = || {
        let [server, repository, run] =
            ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"].map(var);
        Some(format!("{}/{}/actions/runs/{}", server?, repository?, run?))
    };
    let url = BUILD_URLS
        .iter()
        .find_map(|name| var(name))
        .or_else(actions);
    url.filter(|url| url.starts_with("https://") || url.starts_with("http://"))
}

/// Returns the home directory.
pub(crate) fn home() -> PathBuf {
    os_var("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from)
}

/// Returns a variable that names a path.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    os_var(name).map(PathBuf::from)
}

/// Returns the environment that every child starts from.
pub(crate) fn for_children() -> BTreeMap<OsString, OsString> {
    let mut vars: BTreeMap<OsString, OsString> = INHERITED
        .iter()
        .filter_map(|name| Some((OsString::from(name), os_var(name)?)))
        .collect();
    // Messages of tools are matched in one language only.
    vars.insert("LC_ALL".into(), "C.UTF-8".into());
    vars.entry("PATH".into())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    vars
}

/// Returns the whole environment, for a command that a person or a script runs through this program.
pub(crate) fn everything() -> BTreeMap<OsString, OsString> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    std::env::vars_os().collect()
}

/// Returns the environment of the runs that this program starts itself: an operator's settings, and nothing of
/// one run.
pub(crate) fn for_runs() -> BTreeMap<OsString, OsString> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    let all = std::env::vars_os();
    let mut vars = for_children();
    vars.extend(all.filter(|(name, _)| crate::commands::is_for_runs(name)));
    vars
}

/// Returns the secrets that the operator supplies, by their name in lower case.
pub(crate) fn supplied_secrets() -> BTreeMap<String, String> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    let vars = std::env::vars_os();
    vars.filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix(SECRET_PREFIX)?.to_lowercase();
        let value = value.into_string().ok()?;
        // Pipelines pass variables that are not set as empty ones.
        (!value.is_empty()).then_some((name, value))
    })
    .collect()
}

/// Returns whether the process was started by an init on purpose, and so is no orphan.
pub(crate) fn started_by_init() -> bool {
    // The pid tells a unit's main process from what that starts. An older systemd (before 248) does not say it, and
    // INVOCATION_ID alone is what every step of a runner inherits that is a unit; the main process of a unit there
    // leads a session of its own, which is no orphan's either.
    var("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == std::process::id().to_string())
}

/// Returns whether text may leave ASCII.
pub(crate) fn is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| var(name))
        .is_some_and(|locale| locale.to_lowercase().replace('-', "").contains("utf8"))
}
