//! What is deployed of a project is what Docker's own client makes of the recipe's files.
//!
//! Each project is deployed twice to an engine that only remembers: by `docker stack deploy` of the recipe's files with
//! the recipe's variables as its environment, as an operator does, and by the same client from the one file that a run
//! writes. The requests have to be equal, and what Docker refuses has to be refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::driver::readback::{self, Deployer};
use harness::name::Domain;
use harness::recipe::compose::resolve::{Deployment, Resolved};
use harness::recipe::compose::{ComposeError, Project};
use harness::swarm::spec::{StackSpec, kept};
use serde_json::Value;

use crate::cases::{self, Case};
use crate::recorder::{Kind, Recorder, Request};
use crate::support::{command, locked, variable};

/// How many projects are deployed at a time: a client waits as often as it works.
const THREADS: usize = 3;

/// One of so many cases is deployed with older clients.
const OLDER: usize = 3;

/// How many projects are put together by chance.
const CHANCES: u64 = 150;

/// What our own refusals begin with.
const OURS: &str = "(ours) ";

/// The stack of every project.
const STACK: &str = "x-00aa11_ci";

/// What the swarm has before anything is deployed.
const EXISTING: [(Kind, &str); 4] = [
    (Kind::Network, "proxy"),
    (Kind::Network, "ext_net"),
    (Kind::Secret, "ext_secret"),
    (Kind::Config, "ext_config"),
];

/// A client of Docker.
pub(crate) struct Client {
    pub(crate) program: PathBuf,
    /// The newest schema that it knows.
    pub(crate) schema: &'static str,
    major: u32,
}

/// The first client whose rules are ours; what older ones merge otherwise is said where they are tested.
const RULES: u32 = 28;

/// Returns the newest client of this host whose rules are ours; none where the host has none and that was said already.
///
/// Debian's own is older. A test that passes without what it needs shows nothing, so it fails unless `tests/run` has said
/// at its end that it was left out.
pub(crate) fn newest() -> Option<Client> {
    let found = clients().into_iter().find(|client| client.major >= RULES);
    assert!(
        found.is_some() || variable("TESTS_OLD_DOCKER").is_some(),
        "no Docker client {RULES} or newer is on PATH: put one there (https://download.docker.com/linux/static/stable), \
         or set TESTS_OLD_DOCKER=1 to leave out what needs it"
    );
    found
}

/// Returns every client on this host, the newest first.
pub(crate) fn clients() -> Vec<Client> {
    let path = variable("PATH").unwrap_or_default();
    let mut clients: Vec<Client> = Vec::new();
    for dir in path.split(':').chain(["/usr/local/bin", "/usr/bin"]) {
        let program = Path::new(dir).join("docker");
        if !program.is_file() || clients.iter().any(|client| client.program == program) {
            continue;
        }
        let output = command(&program).arg("--version").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.strip_prefix("Docker version ").unwrap();
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        let major = numbers.next().unwrap();
        let version = (major, numbers.next().unwrap());
        clients.push(Client {
            program,
            schema: harness::host::newest_schema(version),
            major,
        });
    }
    clients.sort_by_key(|client| std::cmp::Reverse(client.major));
    clients.dedup_by_key(|client| client.major);
    assert!(!clients.is_empty(), "there is no docker on this host");
    clients
}

/// What came of a deploy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    Deployed(Vec<Request>),
    Refused(String),
}

/// Where one project after another is deployed.
pub(crate) struct Bench {
    root: PathBuf,
    recorder: Recorder,
}

impl Bench {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self::with(root, &EXISTING)
    }

    /// Returns one in `root` whose swarm has these objects.
    pub(crate) fn with(root: PathBuf, existing: &[(Kind, &str)]) -> Self {
        std::fs::create_dir_all(&root).unwrap();
        let recorder = Recorder::start(root.join("engine.sock"), existing);
        Self { root, recorder }
    }

    /// Has a client deploy the file that a run writes as `stack`; returns what it says when it refuses, and every
    /// request.
    pub(crate) fn deploy_resolved(
        &self,
        client: &Client,
        resolved: &Resolved,
        stack: &str,
    ) -> (Option<String>, Vec<Request>) {
        let state = self.root.join("state");
        std::fs::create_dir_all(&state).unwrap();
        let (document, contents) = resolved.render(&state, "file");
        for (path, content) in contents {
            std::fs::write(path, content).unwrap();
        }
        let file = state.join("compose.json");
        std::fs::write(&file, document.to_string()).unwrap();
        self.ask(client, &[file], &BTreeMap::new(), stack)
    }

    /// Writes the files of a case; returns the recipe's directory.
    pub(crate) fn recipe(&self, case: &Case) -> PathBuf {
        let root = self.root.join("recipe");
        drop(std::fs::remove_dir_all(&root));
        let files = cases::FILES.map(|(path, content)| (path, content.to_vec()));
        let own = case
            .files
            .iter()
            .map(|(path, text)| (path.as_str(), text.clone().into_bytes()));
        for (path, content) in files.into_iter().chain(own) {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    /// Has a client deploy these files with these variables and no others.
    fn ask(
        &self,
        client: &Client,
        files: &[PathBuf],
        vars: &BTreeMap<String, String>,
        stack: &str,
    ) -> (Option<String>, Vec<Request>) {
        let mut command = command(&client.program);
        command
            .env_clear()
            .envs(vars)
            .current_dir(&self.root)
            .arg("--config")
            .arg(self.root.join("docker"))
            .args(["--host", &self.recorder.address()])
            .args(["stack", "deploy", "--prune", "--resolve-image", "never"]);
        if harness::host::supports_detach_flag((client.major, 0)) {
            command.arg("--detach=true");
        }
        for file in files {
            command.arg("--compose-file").arg(file);
        }
        let output = command.arg(stack).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        (
            (!output.status.success()).then_some(said),
            self.recorder.take(),
        )
    }

    /// Deploys the recipe's own files, as an operator does.
    pub(crate) fn plain(&self, client: &Client, case: &Case) -> End {
        let root = self.recipe(case);
        let files: Vec<PathBuf> = case.files.iter().map(|(path, _)| root.join(path)).collect();
        end(self.ask(client, &files, &cases::variables(), STACK))
    }

    /// Returns what a run makes of them, or why it refuses them.
    fn ours(&self, client: &Client, case: &Case) -> Result<Resolved, ComposeError> {
        let files: Vec<String> = case.files.iter().map(|(path, _)| path.clone()).collect();
        read(&self.recipe(case), &files, client)
    }

    /// Deploys what a run makes of them; returns also where the client asks for something else than the run takes for
    /// what it should ask for.
    pub(crate) fn resolved(&self, client: &Client, case: &Case) -> (End, Option<String>) {
        match self.ours(client, case) {
            Ok(resolved) => {
                let asked = self.deploy_resolved(client, &resolved, STACK);
                let unlike = match asked.0 {
                    None => unlike(&resolved, &asked.1),
                    Some(_) => None,
                };
                (end(asked), unlike)
            }
            Err(error) => (End::Refused(format!("{OURS}{error}")), None),
        }
    }
}

/// Returns what a run makes of the files of the recipe at `root`, or why it refuses them.
pub(crate) fn read(
    root: &Path,
    files: &[String],
    client: &Client,
) -> Result<Resolved, ComposeError> {
    let deployment = Deployment {
        stack: STACK.to_owned(),
        schema: client.schema.to_owned(),
        ..Deployment::default()
    };
    let mut project = Project::load(root, files, &cases::variables())?;
    project.check_deployable(|_, _| false)?;
    project.read_contents(root)?;
    project.resolve(root, &deployment)
}

/// Returns what the read-back after a deploy would say of the services that were asked for.
fn unlike(resolved: &Resolved, requests: &[Request]) -> Option<String> {
    let made = requests.iter().filter(|one| one.path == "services/create");
    let services = made.map(|one| (one.name().to_owned(), kept(&one.body)));
    let there = StackSpec {
        services: services.collect(),
        configs: BTreeMap::new(),
    };
    let domain = Domain::parse(&STACK.replace('_', "."), &"ci".parse().unwrap()).unwrap();
    readback::difference(resolved, &domain.stack(), &there, Deployer::Docker)
}

fn end((refused, requests): (Option<String>, Vec<Request>)) -> End {
    if let Some(reason) = refused {
        return End::Refused(reason);
    }
    let mut requests: Vec<Request> = requests.into_iter().filter(Request::changes).collect();
    requests
        .iter_mut()
        .for_each(|request| settle(&mut request.body));
    // The client goes through maps, whose order is another every time.
    requests.sort_by(|one, other| (&one.path, one.name()).cmp(&(&other.path, other.name())));
    End::Deployed(requests)
}

/// Brings into one order what Docker goes through in the order of a map, and makes one of what is in a list twice: one
/// file must not repeat it, so that only files that are merged can.
fn settle(spec: &mut Value) {
    for list in ["Secrets", "Configs"] {
        let list = spec.pointer_mut(&format!("/TaskTemplate/ContainerSpec/{list}"));
        if let Some(Value::Array(items)) = list {
            items.sort_by_key(Value::to_string);
        }
    }
    for list in ["Hosts", "DNSConfig/Nameservers", "DNSConfig/Search"] {
        let list = spec.pointer_mut(&format!("/TaskTemplate/ContainerSpec/{list}"));
        if let Some(Value::Array(items)) = list {
            let mut seen = Vec::new();
            items.retain(|item| {
                !seen.contains(item) && {
                    seen.push(item.clone());
                    true
                }
            });
        }
    }
}

/// Returns what is wrong with how the case ends, if anything is.
pub(crate) fn judge(case: &Case, plain: &End, resolved: &(End, Option<String>)) -> Option<String> {
    let (resolved, unlike) = resolved;
    if let Some(unlike) = unlike {
        return Some(format!("a run would be red for it: {unlike}"));
    }
    match (plain, resolved) {
        (End::Deployed(plain), End::Deployed(resolved)) if plain == resolved => None,
        (End::Deployed(plain), End::Deployed(resolved)) => Some(difference(plain, resolved)),
        (End::Refused(_), End::Refused(ours)) if ours.starts_with(OURS) => None,
        (End::Refused(why), End::Refused(_))
            if ELSEWHERE.iter().any(|(words, _)| why.contains(words)) =>
        {
            None
        }
        // It may have made something by then.
        (End::Refused(why), End::Refused(_)) => Some(format!(
            "docker refuses it at the deploy, and we do not: {why}"
        )),
        (End::Refused(why), End::Deployed(_)) => {
            Some(format!("docker refuses it, and it is deployed: {why}"))
        }
        (End::Deployed(_), End::Refused(_)) if stricter(case) => None,
        (End::Deployed(_), End::Refused(why)) => {
            Some(format!("docker takes it, and it is refused: {why}"))
        }
    }
}

/// What Docker takes and a run refuses, with the reason.
const STRICTER: [(&str, &str); 9] = [
    (
        "service: restart always and some times",
        "clients before 29 drop the number, and later ones pass it on",
    ),
    (
        "service: environment with a date",
        "Docker writes a time and a zone behind it, which is never meant",
    ),
    (
        "service: volumes of home",
        "what is mounted must not depend on who deploys",
    ),
    (
        "service: volumes of home in the long form",
        "what is mounted must not depend on who deploys",
    ),
    (
        "service: volumes with no target",
        "the engine takes no mount without a target",
    ),
    (
        "service: ports in the long form with no target",
        "the engine takes no port without a target",
    ),
    (
        "services.*.ports.[]: {}",
        "the engine takes no port without a target",
    ),
    (
        "service: environment with an empty name",
        "no program can read it",
    ),
    (
        "service: required and unset before a variable",
        "the recipe says that it must be set",
    ),
];

/// What Docker's client refuses at the deploy, and who refuses it before.
const ELSEWHERE: [(&str, &str); 3] = [
    (
        "invalid image reference",
        "the policy, as P002, for everybody",
    ),
    (
        "declared as external, but could not be found",
        "the plan lists it in `host_needs`, and the engine is asked before the deploy",
    ),
    (
        "secret not found",
        "a secret of the operator, which is granted",
    ),
];

/// What newer clients merge or read otherwise than those before 23, and why that is no loss: one recipe means the same
/// on every host, and what the newer ones do is what its author sees.
const CHANGED: [(&str, &str); 9] = [
    (
        "merged: command",
        "they append the second file's words to the first's",
    ),
    ("merged: deploy", "a 0 of the second file does not count"),
    (
        "merged: healthcheck",
        "a 0 of the second file does not count",
    ),
    (
        "merged: volumes by target",
        "they append mounts, of which the engine refuses two at one target",
    ),
    (
        "merged: volumes in the first file only, out of order",
        "they do not sort",
    ),
    (
        "merged: volumes of the long over the short form",
        "they append mounts",
    ),
    (
        "merged: volumes twice at one target in the first file",
        "they append mounts",
    ),
    (
        "service: extra_hosts as a list",
        "they know no `=` and no brackets",
    ),
    ("service: extra_hosts as a mapping", "they know no brackets"),
];

fn stricter(case: &Case) -> bool {
    STRICTER.iter().any(|(name, _)| *name == case.name)
}

/// Returns the first requests that differ, as far as they do.
fn difference(plain: &[Request], resolved: &[Request]) -> String {
    let names = |requests: &[Request]| -> Vec<String> {
        requests
            .iter()
            .map(|request| format!("{} {}", request.path, request.name()))
            .collect()
    };
    let (ours, theirs) = (names(resolved), names(plain));
    if ours != theirs {
        return format!("the requests differ:\n  docker {theirs:?}\n  ours   {ours:?}");
    }
    let mut lines = Vec::new();
    for (plain, resolved) in plain.iter().zip(resolved) {
        compare(
            &format!("{} {}", plain.path, plain.name()),
            &plain.body,
            &resolved.body,
            &mut lines,
        );
    }
    lines.join("\n")
}

fn compare(path: &str, plain: &Value, resolved: &Value, lines: &mut Vec<String>) {
    match (plain, resolved) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> =
                one.keys().chain(other.keys()).collect();
            for key in keys {
                let null = Value::Null;
                let (one, other) = (
                    one.get(key).unwrap_or(&null),
                    other.get(key).unwrap_or(&null),
                );
                compare(&format!("{path}.{key}"), one, other, lines);
            }
        }
        (one, other) if one != other => {
            lines.push(format!("{path}:\n  docker {one}\n  ours   {other}"));
        }
        _ => {}
    }
}

/// Does `work` for every case on some threads, each with a bench of its own; returns what is wrong.
pub(crate) fn each(
    cases: &[Case],
    work: impl Fn(&Bench, &Case) -> Option<String> + Sync,
) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let bench = Bench::new(dir.path().join(thread.to_string()));
            let (next, wrong, work) = (&next, &wrong, &work);
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(what) = work(&bench, case) {
                        locked(wrong).push(format!("{}: {what}", case.name));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    wrong
}

#[test]
fn what_is_deployed_is_what_docker_makes_of_the_recipes_files() {
    let Some(newest) = &newest() else { return };
    let cases = cases::by_hand();
    let wrong = each(&cases, |bench, case| {
        let plain = bench.plain(newest, case);
        let refused = matches!(plain, End::Refused(_));
        if case.refused.is_some_and(|said| said != refused) {
            return Some(format!("the case is marked wrongly: {plain:?}"));
        }
        judge(case, &plain, &bench.resolved(newest, case))
    });
    assert_right(&cases, &wrong);
}

#[test]
fn what_an_older_client_takes_is_deployed_as_it_deploys_it() {
    for client in clients().iter().filter(|client| client.major < RULES) {
        // The rules are the newest client's: what it refuses is refused, and what an older one does not take yet is
        // deployed, because the newest does.
        let changed = |case: &Case| CHANGED.iter().any(|(name, _)| *name == case.name);
        let taken = cases::by_hand()
            .into_iter()
            .filter(|case| case.refused == Some(false));
        let cases: Vec<Case> = taken.filter(|case| !changed(case)).step_by(OLDER).collect();
        let wrong = each(&cases, |bench, case| match bench.plain(client, case) {
            End::Refused(_) => None,
            plain => judge(case, &plain, &bench.resolved(client, case)),
        });
        assert_right(&cases, &wrong);
    }
}

#[test]
fn what_is_put_together_by_chance_is_deployed_as_docker_deploys_it() {
    let Some(newest) = &newest() else { return };
    let without = STRICTER.map(|(name, _)| name);
    let cases: Vec<Case> = (0..CHANCES)
        .map(|seed| cases::by_chance(seed, &without))
        .collect();
    judge_all(newest, &cases);
}

/// Holds what this client makes of each case against what we make of it.
#[track_caller]
pub(crate) fn judge_all(client: &Client, cases: &[Case]) {
    let wrong = each(cases, |bench, case| {
        judge(
            case,
            &bench.plain(client, case),
            &bench.resolved(client, case),
        )
    });
    assert_right(cases, &wrong);
}

#[track_caller]
pub(crate) fn assert_right(cases: &[Case], wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}
