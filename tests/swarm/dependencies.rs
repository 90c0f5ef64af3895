//! Apps that need another app beside them: deployed before, known to the tests, gone after, whatever happens.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::support::{Run, command, copy, git, read_results};

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

/// Looks for the two apps on the network of the host's apps.
const APART: &str = r#"#!/bin/sh
# requires: deps
set -eu
proxy=$(docker network inspect proxy --format '{{.ID}}')
needed=$(python3 -c 'import json, os; print(json.load(open(os.environ["CCCI_DEPS_FILE"]))["notes"]["stack"])')
for app in "$needed" "$(echo "$CCCI_APP_DOMAIN" | tr . _)"; do
    if docker service inspect "${app}_app" | grep -F "$proxy"; then echo "$app is on the host's network"; exit 1; fi
done
"#;

const PLAIN: &str = "#!/bin/sh\nrecipe-ci app http / >/dev/null\n";

/// A host with a forge that has the published recipe `notes`, and a recipe `client` that needs it.
pub(crate) struct Pair {
    pub(crate) env: SwarmEnv,
    client: PathBuf,
}

impl Pair {
    pub(crate) fn new(dependencies: &str) -> Self {
        Self::on(SwarmEnv::new(), dependencies)
    }

    fn on(mut env: SwarmEnv, dependencies: &str) -> Self {
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
            &format!("dependencies: [{dependencies}]\n"),
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

    pub(crate) fn start(&self, more: &[&str]) -> Run {
        let path = self.client.display().to_string();
        let args = ["run", &path].into_iter().chain(more.iter().copied());
        self.env.start(args)
    }

    fn published(&self, name: &str) -> PathBuf {
        self.env.root.join(format!("forge/coop-cloud/{name}.git"))
    }

    /// Publishes `notes` under another name as well.
    pub(crate) fn publish(&self, name: &str) {
        copy(&self.published("notes"), self.published(name));
    }

    /// Publishes the recipe's tree as it stands as a version that is newer than any.
    pub(crate) fn release(&self, name: &str) {
        let repository = self.published(name);
        git(&repository, &["add", "-A", "-f"]);
        git(&repository, &["commit", "-q", "-m", "chore: publish"]);
        git(&repository, &["tag", "-a", "-m", "it", "9.0.0+9.0.0"]);
    }

    /// Publishes a version of the recipe whose image exists nowhere.
    pub(crate) fn without_image(&self, name: &str) {
        let compose = self.published(name).join("compose.yml");
        self.env.edit(&compose, "recipe-ci/notes:2", ABSENT);
        self.release(name);
    }

    /// Returns what the client's tests saw in `CCCI_DEPS_FILE`, in the run of that id.
    #[track_caller]
    fn seen(&self, run: &str) -> Value {
        let file = harness::host_file::bytes(self.env.root.join(format!("deps-{run}"))).unwrap();
        serde_json::from_slice(&file).unwrap()
    }
}

/// An image of a registry that refuses connections.
pub(crate) const ABSENT: &str = "127.0.0.1:1/recipe-ci/absent:1";

/// Returns what the recipe's own tests came to: name, status and message of each.
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
    let own = |row: &(String, String, String)| !row.0.starts_with("generic: ");
    tests.map(row).filter(own).collect()
}

#[test]
fn an_app_logs_in_to_the_recipe_that_it_needs_and_both_are_gone_after() {
    let mut pair = Pair::new("notes");
    let before = "#!/bin/sh\n[ -s \"$CCCI_DEPS_FILE\" ] || { echo 'too early'; exit 1; }\n";
    pair.env.overlay("client", "install_steps.sh", before);
    pair.env.overlay("client", "custom/test_apart.sh", APART);
    let done = pair.start(&["--run-id", "1"]).finish();
    done.expect(0);
    let results = pair.env.results();
    let statuses: Vec<_> = rows(&results)
        .into_iter()
        .map(|(_, status, _)| status)
        .collect();
    assert_eq!(statuses, ["pass"; 3], "{results:#}");
    assert_eq!(results["deploy_count"], 2);
    let dependency = &results["dependencies"][0];
    assert_eq!(dependency["status"], "pass");
    // The newest published one, not the head of the branch.
    assert_eq!(dependency["version"], "0.2.0+1.1.0");

    let root = &pair.env.root;
    assert_eq!(
        harness::host_file::text(root.join("mode-1")).unwrap(),
        "600\n"
    );
    let file = pair.seen("1");
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
    // The test wrote it; it must be unreadable afterwards.
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
    let mut pair = Pair::on(SwarmEnv::of(2), "{recipe: notes, required: true}");
    let root = pair.env.root.display().to_string();
    let meeting = format!(
        "#!/bin/sh\n: >{root}/here-$CCCI_RUN_ID\ntries=0\n\
         until [ -e {root}/here-a ] && [ -e {root}/here-b ]; do\n\
         tries=$((tries + 1)); [ $tries -lt 2400 ] || exit 1; sleep 0.05\ndone\n"
    );
    pair.env
        .overlay("client", "custom/test_a_meeting.sh", &meeting);
    let start = |(id, pr)| pair.start(&["--run-id", id, "--pr", pr]);
    let runs = [("a", "1"), ("b", "2")].map(start);
    for run in runs {
        let done = run.finish();
        done.expect(0);
        // The other run's janitor may hold a lock file for a moment that is made and not held yet, and says no name.
        assert!(!done.stderr.contains("in flight (run"), "{}", done.stderr);
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
    for lightweight in [false, true] {
        let mut pair = Pair::new("{recipe: notes, required: true}");
        pair.env.with_abra("", "");
        if lightweight {
            git(&pair.published("notes"), &["tag", "snapshot"]);
        }
        by_abra(&pair, lightweight);
    }
}

fn by_abra(pair: &Pair, lightweight: bool) {
    let done = pair.start(&[]).finish();
    done.expect(0);
    let results = pair.env.results();
    assert_eq!(results["driver"], "abra", "{results:#}");
    let deviations = results["deviations"].to_string();
    let said = "dependency `notes`: tag snapshot is lightweight";
    assert_eq!(deviations.contains(said), lightweight, "{deviations}");
    let calls = harness::host_file::text(pair.env.root.join("abra/calls.jsonl")).unwrap();
    let pinned = |call: &&str| call.contains("\"deploy\"") && call.contains("\"0.2.0+1.1.0\"");
    assert_eq!(
        calls.lines().filter(pinned).count(),
        usize::from(!lightweight),
        "{calls}"
    );
    assert_eq!(results["deploy_count"], 2);
    assert!(
        rows(&results).iter().all(|(_, status, _)| status == "pass"),
        "{results:#}"
    );
    pair.env.assert_nothing_left();
}

/// Returns the statuses of the custom tests by name, without `custom/test_` and `.sh`.
#[track_caller]
fn statuses(results: &Value) -> Vec<String> {
    let short = |name: &str| {
        let name = name.rsplit_once("test_").map_or(name, |(_, name)| name);
        name.trim_end_matches(".sh").to_owned()
    };
    let rows = rows(results).into_iter();
    rows.map(|(name, status, _)| format!("{} {status}", short(&name)))
        .collect()
}

#[test]
fn two_dependencies_are_up_at_once_and_both_are_gone_after() {
    let mut pair = Pair::new("notes, board");
    pair.publish("board");
    let both = "#!/bin/sh\n# requires: deps\nset -eu\n\
        python3 -c 'import json, os\n\
        for one in json.load(open(os.environ[\"CCCI_DEPS_FILE\"])).values(): print(one[\"state_file\"])' |\n\
        while read -r file; do CCCI_OP_STATE_FILE=$file recipe-ci app http / >/dev/null; done\n";
    pair.env.overlay("client", "custom/test_both.sh", both);
    let done = pair.start(&["--run-id", "1"]).finish();
    done.expect(0);
    let results = pair.env.results();
    assert_eq!(
        statuses(&results),
        ["both pass", "login pass", "plain pass"]
    );
    assert_eq!(results["deploy_count"], 3);
    let (file, listed) = (pair.seen("1"), &results["dependencies"]);
    assert_eq!(file.as_object().unwrap().len(), 2, "{file:#}");
    // In the order of their names, which is also that of their locks.
    for (index, name) in ["board", "notes"].into_iter().enumerate() {
        assert_eq!(listed[index]["recipe"], name);
        assert_eq!(listed[index]["status"], "pass");
        assert_eq!(file[name]["domain"], listed[index]["domain"]);
    }
    assert_ne!(listed[0]["domain"], listed[1]["domain"]);
    assert_eq!(results["teardown"]["clean"], true);
    pair.env.assert_nothing_left();
}

/// Of the app itself a missing image is exit 3, because nothing can be said about the recipe then. Without a
/// dependency all of it can be said that does not need that one.
#[test]
fn a_dependency_whose_image_cannot_be_had_costs_only_the_tests_that_need_it() {
    for (declared, code) in [
        ("board, notes", 0),
        ("{recipe: board, required: true}, notes", 1),
    ] {
        let mut pair = Pair::new(declared);
        pair.publish("board");
        pair.without_image("board");
        for name in ["board", "notes"] {
            let test = format!("#!/bin/sh\n# requires: deps {name}\n");
            pair.env
                .overlay("client", &format!("custom/test_{name}.sh"), &test);
        }
        let done = pair.start(&[]).finish();
        done.expect(code);
        let results = pair.env.results();
        assert_eq!(
            statuses(&results),
            ["board unver", "login unver", "notes pass", "plain pass"]
        );
        let rows = rows(&results);
        let why = "dependency `board` failed: ";
        assert!(
            rows[0].2.starts_with(why) && rows[0].2.contains(ABSENT),
            "{rows:?}"
        );
        // What was never deployed is not counted.
        assert_eq!(results["deploy_count"], 2);
        let both: Vec<_> = (0..2)
            .map(|index| &results["dependencies"][index]["status"])
            .collect();
        assert_eq!(both, ["fail", "pass"]);
        assert_eq!(results["rungs"]["install"], "pass");
        let reason = results["reason"].as_str().unwrap_or_default();
        assert_eq!(
            reason.contains("required dependency `board` failed"),
            code == 1,
            "{reason}"
        );
        assert_eq!(
            done.stderr.contains("`recipe-ci run board` shows"),
            code == 1,
            "{}",
            done.stderr
        );
        pair.env.assert_nothing_left();
    }
}

/// What a dependency ships is somebody's code, as the head's is.
#[test]
fn a_dependencys_own_hooks_run_when_the_operator_approved_it_and_its_tests_never() {
    let mut pair = Pair::new("notes");
    let root = pair.env.root.display().to_string();
    let own = |name: &str, text: &str| {
        let text = format!("#!/bin/sh\necho {name} >>{root}/ran-$CCCI_RUN_ID\n{text}");
        pair.env
            .write(&format!("forge/coop-cloud/notes.git/tests/{name}"), &text);
    };
    own("provide", "echo '{\"own\": \"given\"}'\n");
    own("install_steps.sh", "");
    own("test_install.sh", "exit 1\n");
    own("custom/test_own.sh", "exit 1\n");
    pair.release("notes");
    let approved = pair
        .env
        .write("approved", "# nobody\n")
        .display()
        .to_string();
    pair.env.set("CCCI_APPROVED_FILE", approved);
    let ran = |run: &str| {
        let text = harness::host_file::text(pair.env.root.join(format!("ran-{run}")));
        text.unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let done = pair.start(&["--run-id", "1"]).finish();
    done.expect(0);
    assert_eq!(ran("1"), Vec::<String>::new());
    assert_eq!(pair.seen("1")["notes"]["provided"]["own"], Value::Null);
    let warnings = read_results(&pair.env.root.join("runs/1"))["warnings"].to_string();
    assert!(
        warnings.contains("dependency `notes`: ") && warnings.contains("not granted `run_code`"),
        "{warnings}"
    );

    pair.env.write("approved", "notes\n");
    let done = pair.start(&["--run-id", "2"]).finish();
    done.expect(0);
    assert_eq!(ran("2"), ["install_steps.sh", "provide"]);
    let provided = &pair.seen("2")["notes"]["provided"];
    // What the operator provides is there as well.
    assert_eq!(
        (&provided["own"], provided["token"].is_string()),
        (&"given".into(), true)
    );
    pair.env.assert_nothing_left();
}

/// With `CCCI_SKIP_FETCH=1` a dependency is what the operator staged: its newest version, or what lies there when
/// there is none. What lies there stays as it is.
#[test]
fn dependencies_are_taken_from_the_staged_checkouts_which_stay_as_they_are() {
    let mut pair = Pair::new("board, {recipe: notes, required: true}");
    pair.env.set("CCCI_SKIP_FETCH", "1");
    pair.env.set("CCCI_FORGE_URL", "file:///nowhere");
    let stage = |name: &str| {
        let to = pair.env.root.join(format!("home/.abra/recipes/{name}"));
        copy(&pair.published("notes"), to)
    };
    let (notes, board) = (stage("notes"), stage("board"));
    git(&board, &["tag", "-d", "0.1.0+1.0.0", "0.2.0+1.1.0"]);
    // Work that the operator has not committed.
    std::fs::write(notes.join("compose.yml"), "services: [").unwrap();
    let state = |at: &Path| {
        (
            git(at, &["rev-parse", "HEAD"]),
            git(at, &["status", "--porcelain"]),
        )
    };
    let before = (state(&notes), state(&board));
    let done = pair.start(&["--run-id", "1"]).finish();
    done.expect(0);
    let results = pair.env.results();
    assert_eq!(
        statuses(&results),
        ["login pass", "plain pass"],
        "{results:#}"
    );
    let versions: Vec<_> = (0..2)
        .map(|index| results["dependencies"][index]["version"].clone())
        .collect();
    assert_eq!(versions, [Value::Null, "0.2.0+1.1.0".into()]);
    let warnings = results["warnings"].to_string();
    let said = "dependency `board` has no published version; its staged checkout is deployed";
    assert!(warnings.contains(said), "{warnings}");
    assert_eq!((state(&notes), state(&board)), before);
    pair.env.assert_nothing_left();
}
