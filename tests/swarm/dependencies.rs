//! Apps that need another app beside them: deployed before, known to the tests, gone after, whatever happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::cancel::child_of;
use crate::engine::{SwarmEnv, objects_of};
use crate::support::{Run, command, read_results};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Prints the token of the notes app, which its recipe lets only its own container read.
const PROVIDE: &str = "#!/bin/sh\nset -eu\n\
    printf '{\"token\":\"%s\",\"for\":\"%s\"}' \"$(recipe-ci app exec -- cat /run/secrets/admin_token)\" \"$CCCI_FOR_DOMAIN\"\n";

/// Logs in to the dependency from within the app's own container, as the app would.
const LOGIN: &str = r#"#!/bin/sh
# requires: deps
set -eu
cp "$CCCI_DEPS_FILE" "ROOT/deps-$CCCI_RUN_ID"
stat -c %a "$CCCI_DEPS_FILE" >"ROOT/mode-$CCCI_RUN_ID"
entry() { python3 -c 'import json, os, sys; d = json.load(open(os.environ["CCCI_DEPS_FILE"]))["notes"]
for key in sys.argv[1:]: d = d[key]
print(d)' "$@"; }
echo "the token is $(entry provided token)"
url=http://$(entry stack)_app:8080/cgi-bin/notes
post() { recipe-ci app exec -- wget -q -O - --header "X-Admin-Token: $1" --post-data "from $CCCI_APP_DOMAIN" "$url"; }
if post wrong; then echo "anybody may log in"; exit 1; fi
post "$(entry provided token)"
CCCI_OP_STATE_FILE=$(entry state_file) recipe-ci app http /cgi-bin/notes | grep -F "from $CCCI_APP_DOMAIN"
"#;

const PLAIN: &str = "#!/bin/sh\nrecipe-ci app http / >/dev/null\n";

/// A host with a forge that has the published recipe `notes`, and a recipe `client` that needs it.
struct Pair {
    env: SwarmEnv,
    client: PathBuf,
}

impl Pair {
    fn new(dependency: &str) -> Self {
        Self::on(SwarmEnv::new(), dependency)
    }

    fn on(mut env: SwarmEnv, dependency: &str) -> Self {
        let copy = |from: &Path, to: PathBuf| {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            let copied = command("cp").arg("-a").arg(from).arg(&to).status().unwrap();
            assert!(copied.success());
            to
        };
        let notes = env.recipe("notes");
        let client = copy(&notes, env.root.join("recipes/client"));
        std::fs::remove_dir_all(client.join("tests")).unwrap();
        copy(&notes, env.root.join("forge/coop-cloud/notes.git"));
        let forge = format!("file://{}/forge", env.root.display());
        env.set("CCCI_FORGE_URL", forge);
        env.set("STAGES", "install,custom");
        env.overlay(
            "client",
            "recipe-ci.yml",
            &format!("dependencies: [{dependency}]\n"),
        );
        let root = env.root.display().to_string();
        env.overlay(
            "client",
            "custom/test_login.sh",
            &LOGIN.replace("ROOT", &root),
        );
        env.overlay("client", "custom/test_plain.sh", PLAIN);
        env.overlay("notes", "provide", PROVIDE);
        Self { env, client }
    }

    fn start(&self, more: &[&str]) -> Run {
        let path = self.client.display().to_string();
        let args = ["run", &path].into_iter().chain(more.iter().copied());
        self.env.start(args)
    }
}

#[track_caller]
fn rows(results: &Value) -> Vec<(String, String, String)> {
    let tiers = results["tiers"].as_array().unwrap();
    let custom = tiers.iter().find(|tier| tier["name"] == "custom").unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tests = custom["tests"].as_array().unwrap().iter();
    let row = |test: &Value| {
        (
            text(&test["name"]),
            text(&test["status"]),
            text(&test["message"]),
        )
    };
    tests.map(row).collect()
}

#[test]
fn an_app_logs_in_to_the_recipe_that_it_needs_and_both_are_gone_after() {
    let mut pair = Pair::new("notes");
    let before = "#!/bin/sh\n[ -s \"$CCCI_DEPS_FILE\" ] || { echo 'too early'; exit 1; }\n";
    pair.env.overlay("client", "install_steps.sh", before);
    let done = pair.start(&["--run-id", "1"]).finish();
    done.expect(0);
    let results = pair.env.results();
    let statuses: Vec<_> = rows(&results)
        .into_iter()
        .map(|(_, status, _)| status)
        .collect();
    assert_eq!(statuses, ["pass", "pass"], "{results:#}");
    assert_eq!(results["deploy_count"], 2);
    let dependency = &results["dependencies"][0];
    assert_eq!(dependency["status"], "pass");
    // The newest published one, not the head of the branch.
    assert_eq!(dependency["version"], "0.2.0+1.1.0");

    let root = &pair.env.root;
    assert_eq!(
        std::fs::read_to_string(root.join("mode-1")).unwrap(),
        "600\n"
    );
    let file: Value = serde_json::from_slice(&std::fs::read(root.join("deps-1")).unwrap()).unwrap();
    let notes = &file["notes"];
    assert_eq!(notes["domain"], dependency["domain"]);
    assert_eq!(
        notes["url"],
        format!("https://{}", notes["domain"].as_str().unwrap())
    );
    assert_eq!(notes["env"]["DOMAIN"], notes["domain"]);
    assert_eq!(notes["provided"]["for"], results["domain"]);
    let token = notes["provided"]["token"].as_str().unwrap();
    assert_eq!(token.len(), 32, "{file:#}");
    // The test wrote it; nobody may read it afterwards.
    let run_dir = root.join("runs/1");
    let grep = command("grep")
        .args(["-r", "-F", token])
        .arg(&run_dir)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    assert!(!done.stderr.contains(token), "{}", done.stderr);
    pair.env.assert_nothing_left();
}

#[test]
fn a_dependency_that_fails_costs_the_tests_that_need_it_and_the_verdict_only_where_it_is_required()
{
    for (declared, code) in [("notes", 0), ("{recipe: notes, required: true}", 1)] {
        let mut pair = Pair::new(declared);
        let required = code == 1;
        if required {
            pair.env
                .overlay("notes", "provide", "#!/bin/sh\necho no realm >&2\nexit 5\n");
        } else {
            // It deploys and never becomes healthy.
            let sick = "services:\n  app:\n    healthcheck:\n      test: [CMD, 'false']\n      start_period: 1s\n      retries: 100\n";
            pair.env.overlay("notes", "compose.ccci.yml", sick);
            pair.env
                .overlay("notes", "recipe-ci.yml", "timeouts: {deploy: 5}\n");
        }
        let hook = "#!/bin/sh\n# requires: deps notes\nexit 1\n";
        pair.env.overlay("client", "install_steps.sh", hook);
        let done = pair.start(&[]).finish();
        done.expect(code);
        let results = pair.env.results();
        let rows = rows(&results);
        let (why, log) = if required {
            ("overlay provide: exit code 5", "no realm")
        } else {
            ("converged", "log of service `app`")
        };
        assert_eq!(
            (rows[0].1.as_str(), rows[1].1.as_str()),
            ("unver", "pass"),
            "{rows:?}"
        );
        assert!(
            rows[0].2.contains("dependency `notes` failed") && rows[0].2.contains(why),
            "{rows:?}"
        );
        assert!(done.stderr.contains(log), "{}", done.stderr);
        assert_eq!(results["rungs"]["custom"], "unver");
        assert_eq!(results["rungs"]["install"], "pass");
        assert_eq!(results["dependencies"][0]["status"], "fail");
        assert_eq!(results["deploy_count"], 2);
        let warnings = results["warnings"].to_string();
        assert!(
            warnings.contains("overlay install_steps.sh does not run"),
            "{warnings}"
        );
        let reason = results["reason"].as_str().unwrap_or_default();
        assert_eq!(
            reason.contains("required dependency `notes` failed"),
            required,
            "{reason}"
        );
        pair.env.assert_nothing_left();
    }
}

#[test]
fn two_runs_that_need_the_same_recipe_have_one_each_at_the_same_time() {
    let mut pair = Pair::on(SwarmEnv::alone(), "{recipe: notes, required: true}");
    let root = pair.env.root.display().to_string();
    let meeting = format!(
        "#!/bin/sh\n: >{root}/here-$CCCI_RUN_ID\ntries=0\n\
         until [ -e {root}/here-a ] && [ -e {root}/here-b ]; do\n\
         tries=$((tries + 1)); [ $tries -lt 2400 ] || exit 1; sleep 0.05\ndone\n"
    );
    pair.env
        .overlay("client", "custom/test_a_meeting.sh", &meeting);
    let runs = ["a", "b"].map(|id| pair.start(&["--run-id", id, "--pr", id]));
    for run in runs {
        let done = run.finish();
        done.expect(0);
        assert!(!done.stderr.contains("app lock"), "{}", done.stderr);
    }
    let [one, other] = ["a", "b"].map(|id| {
        let results = read_results(&pair.env.root.join("runs").join(id));
        results["dependencies"][0]["domain"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    assert_ne!(one, other);
    pair.env.assert_nothing_left();
}

#[test]
fn abra_deploys_the_dependency_too() {
    let mut pair = Pair::new("{recipe: notes, required: true}");
    pair.env.with_abra("", "");
    let done = pair.start(&[]).finish();
    done.expect(0);
    let results = pair.env.results();
    assert_eq!(results["driver"], "abra", "{results:#}");
    assert_eq!(results["deploy_count"], 2);
    assert!(
        rows(&results).iter().all(|(_, status, _)| status == "pass"),
        "{results:#}"
    );
    pair.env.assert_nothing_left();
}

/// A run whose dependency is there and stays in its hook `provide`.
fn held() -> (Pair, Run) {
    let mut pair = Pair::new("notes");
    let root = pair.env.root.display().to_string();
    nix::unistd::mkfifo(&pair.env.root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let hook = format!("#!/bin/sh\n: >{root}/reached\nread -r never <{root}/fifo\n");
    pair.env.overlay("notes", "provide", &hook);
    let run = pair.start(&[]);
    wait_until(LONG, "the dependency is up", || {
        pair.env.root.join("reached").exists().then_some(())
    });
    assert!(!objects_of(&pair.env.zone).is_empty());
    (pair, run)
}

#[test]
fn a_cancel_while_a_dependency_is_deployed_leaves_nothing() {
    let (pair, run) = held();
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    assert_eq!(pair.env.results()["teardown"]["clean"], true);
    pair.env.assert_nothing_left();
}

#[test]
fn a_killed_worker_leaves_neither_app_nor_dependency() {
    let mut pair = Pair::new("notes");
    let root = pair.env.root.display().to_string();
    nix::unistd::mkfifo(&pair.env.root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let test = format!("#!/bin/sh\n: >{root}/reached\nread -r never <{root}/fifo\n");
    pair.env.overlay("client", "custom/test_stays.sh", &test);
    let run = pair.start(&[]);
    wait_until(LONG, "both are up", || {
        pair.env.root.join("reached").exists().then_some(())
    });
    kill(child_of(run.pid), Signal::SIGKILL).unwrap();
    let done = run.finish();
    done.expect(137);
    assert_eq!(pair.env.results()["verdict"], "orphaned");
    pair.env.assert_nothing_left();
}
