//! Bad input: exit 2, with what, where and what next, before any side effect.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Done, TestEnv};

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

/// A refusal without a way out is half a message.
#[track_caller]
fn says_what_next(done: &Done) {
    let next = ["hint: ", "hint  ", "try '--help'"];
    assert!(
        next.iter().any(|word| done.stderr.contains(word)),
        "nothing says what to do next in\n{}",
        done.stderr
    );
}

/// Asserts that an argument was refused before anything was made.
#[track_caller]
fn refused(env: &TestEnv, done: &Done, words: &[&str]) {
    done.refused(words);
    says_what_next(done);
    assert_eq!(done.stdout, "");
    for dir in ["runs", "locks", "state", "home/.abra"] {
        assert!(!env.root.join(dir).exists(), "{dir} was made");
    }
    env.assert_quiet();
}

/// Asserts that what a recipe holds was refused: there is a report, no lock, and no engine was asked.
#[track_caller]
fn refused_content(env: &TestEnv, done: &Done, words: &[&str]) {
    done.refused(words);
    let results = env.results();
    // A finding with a rule's id, where it is the recipe's text.
    let rules = results["policy"].as_array().map_or(0, Vec::len);
    let verdict = if rules > 0 { "refused" } else { "usage" };
    assert_eq!(results["verdict"], verdict, "{results:#}");
    assert_eq!(results["exit_code"], 2, "{results:#}");
    assert!(results["reason"].is_string(), "{results:#}");
    assert_ne!(
        results["hints"].as_array().map_or(0, Vec::len),
        0,
        "{results:#}"
    );
    says_what_next(done);
    assert_eq!(results["deploy_count"], 0, "{results:#}");
    let locks = env.root.join("locks");
    assert_eq!(
        harness::host_file::entries(locks).unwrap().count(),
        0,
        "a lock file was made"
    );
    env.assert_quiet();
}

#[test]
fn recipe_names() {
    let env = env();
    for name in ["a/../b/..", "..", "Notes", "-notes", "no tes", "a..b"] {
        let option = format!("--recipe={name}");
        let done = env.run(["run", "--src", "/srv/x", &option]);
        refused(&env, &done, &["recipe name", name, "hint: "]);
    }
    let done = env.run(["run"]);
    refused(&env, &done, &["nothing to run", "hint: ", "RECIPE"]);
    let done = env.run(["run", &"a".repeat(300)]);
    refused(&env, &done, &["longer than 100 bytes", "hint: "]);
}

#[test]
fn refs() {
    let env = env();
    for name in ["-x", "--upload-pack=touch", "a..b", "a b", "a\u{7}b"] {
        let done = env.run(["run", "/srv/notes", "--ref", name]);
        refused(&env, &done, &["ref `"]);
    }
    let done = env.run(["run", "/srv/notes", "--ref", &"a".repeat(300)]);
    refused(&env, &done, &["longer than 250 bytes", "hint: "]);
    let mut env = env;
    env.set("REF", "main");
    let done = env.run(["run", "notes"]);
    refused(&env, &done, &["REF", "SRC", "`notes`", "hint: set SRC"]);
}

#[test]
fn a_ref_that_does_not_exist() {
    let env = env();
    let recipe = env.recipe("notes");
    let path = recipe.to_str().unwrap();
    let done = env.run(["run", path, "--ref", "no-such-branch"]);
    refused_content(&env, &done, &["no-such-branch", path, "no ref or commit"]);
}

#[test]
fn stages_deadlines_servers_gateways_and_runs() {
    let env = env();
    for (args, words) in [
        (
            ["--stages", "install,updrade"],
            ["stage `updrade` does not exist", "install, upgrade, backup"],
        ),
        (
            ["--stages", "install,restore"],
            ["stage `restore` needs `backup`", "hint: add `backup`"],
        ),
        (
            ["--deadline", "soon"],
            ["deadline `soon`", "hint: write it like"],
        ),
        (["--deadline", "0s"], ["deadline `0s`", "hint: "]),
        (["--server", "../x"], ["server `../x`", "name"]),
        (
            ["--gateway", "nobody:99999999"],
            ["nobody:99999999", "gateway"],
        ),
        (["--run-id", "../../x"], ["run id `../../x`", "not usable"]),
        (
            ["--overlays", "/no/such"],
            ["`/no/such` does not exist", "hint: "],
        ),
        (["--zone", "UPPER_case"], ["zone `UPPER_case`", "hint: "]),
        (
            ["--domain", "example.org"],
            ["domain `example.org`", "hint: "],
        ),
    ] {
        let done = env.run(["run", "/srv/notes", args[0], args[1]]);
        refused(&env, &done, &words);
    }
}

#[test]
fn a_zone_that_would_pass_dockers_name_limits() {
    let env = env();
    let zone = format!("{}.localhost", "a".repeat(60));
    let done = env.run(["run", "/srv/notes", "--zone", &zone]);
    refused(&env, &done, &["zone `", "hint: "]);
    // One that only the names of this recipe's objects make too long.
    let recipe = env.recipe("notes");
    let zone = format!("{}.localhost", "a".repeat(30));
    let done = env.run(["run", recipe.to_str().unwrap(), "--zone", &zone]);
    refused_content(&env, &done, &["`--zone`", "64"]);
}

#[test]
fn places_that_cannot_be_written() {
    for name in ["CCCI_RUNS_DIR", "CCCI_STATE_DIR", "CCCI_APP_LOCK_DIR"] {
        let mut env = env();
        let recipe = env.recipe("notes");
        // A file in the way stops root, too, whom no mode stops.
        let file = env.write("in-the-way", "");
        let place = file.join("dir").display().to_string();
        env.set(name, &*place);
        let done = env.run(["run".as_ref(), recipe.as_os_str()]);
        done.expect(2);
        for word in [&*place, "hint: ", name] {
            assert!(
                done.stderr.contains(word),
                "no `{word}` in\n{}",
                done.stderr
            );
        }
        assert!(env.run_dirs().is_empty(), "{name}: {:?}", env.run_dirs());
        env.assert_quiet();
    }
}

#[test]
fn sources_that_are_no_repository() {
    for (path, words) in [
        ("absent", ["does not exist", "absent"]),
        ("plain", ["not a git repository", "plain"]),
        ("empty", ["no commit", "empty"]),
    ] {
        let env = env();
        env.write("recipes/plain/compose.yml", "services: {}\n");
        let empty = env.root.join("recipes/empty");
        git2::Repository::init(&empty).unwrap();
        let path = env.root.join("recipes").join(path);
        let done = env.run(["run".as_ref(), path.as_os_str()]);
        refused_content(&env, &done, &words);
    }
}

#[test]
fn what_a_recipe_gets_wrong_is_named_with_its_place() {
    for (fixture, words) in [
        ("no-compose", vec!["no compose file", "compose.yml"]),
        ("bad-yaml", vec!["compose.yml:"]),
        ("alias-bomb", vec!["compose.yml", "alias"]),
        ("extends-cycle", vec!["compose.yml", "extends"]),
        ("required-variable", vec!["NOTES_MAX_BYTES", "compose.yml"]),
    ] {
        let env = env();
        let recipe = env.recipe(fixture);
        let done = env.run(["run".as_ref(), recipe.as_os_str()]);
        refused_content(&env, &done, &words);
    }
}

/// A quote that is missing on line 6 is found at a line and a column.
#[test]
fn an_error_of_yaml_has_line_and_column() {
    let env = env();
    let recipe = env.recipe("bad-yaml");
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(2);
    let place = done.stderr.split("compose.yml:").nth(1).unwrap();
    let mut numbers = place.split(':');
    for what in ["line", "column"] {
        let number = numbers.next().unwrap().trim();
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        assert!(digits.parse::<u32>().is_ok(), "no {what} in {place}");
    }
}

#[test]
fn a_plain_unset_variable_is_empty_with_a_warning() {
    let env = env();
    let recipe = env.recipe("notes");
    env.edit(
        &recipe.join("compose.yml"),
        "${NOTES_MAX_BYTES:-4096}",
        "${NOTES_NOWHERE}",
    );
    let done = env.run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
    done.expect(0);
    let plan: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(
        plan["warnings"].to_string().contains("NOTES_NOWHERE"),
        "{plan:#}"
    );
}

#[test]
fn a_token_file_that_cannot_be_read_and_a_token_without_a_forge() {
    let mut env = env();
    env.set("CCCI_FORGE_TOKEN", "t0ken-t0ken");
    let done = env.run(["run", "/srv/notes"]);
    refused(&env, &done, &["CCCI_FORGE_URL", "hint: "]);
    assert!(!done.stderr.contains("t0ken-t0ken"), "{}", done.stderr);
    let mut env = self::env();
    env.set("CCCI_FORGE_TOKEN_FILE", "/no/such/file");
    let done = env.run(["run", "/srv/notes"]);
    refused(&env, &done, &["/no/such/file"]);
}

#[test]
fn an_unreadable_list_of_approved_recipes_approves_nothing() {
    let mut env = env();
    env.set("CCCI_APPROVED_FILE", "/no/such/list");
    env.set("CCCI_FORGE_URL", "http://127.0.0.1:1");
    let done = env.run(["run", "notes"]);
    refused(&env, &done, &["/no/such/list", "hint: "]);
}

/// A person who stands beside the directory may have meant it; a pipeline means the published recipe.
#[test]
fn a_name_beside_a_directory_of_that_name_is_said_to_be_the_published_recipe() {
    let mut env = env();
    // What is only about words does not ask the real forge.
    env.set("CCCI_FORGE_URL", "http://127.0.0.1:1");
    std::fs::rename(env.recipe("notes"), env.root.join("notes")).unwrap();
    let words = "`notes` is the published recipe; for the directory here: `recipe-ci run ./notes`";
    for (name, said) in [("notes", true), ("./notes", false), ("ledger", false)] {
        let done = env.run(["run", "--dry-run", name]);
        assert_eq!(done.stderr.contains(words), said, "{name}: {}", done.stderr);
    }
}

/// The report of a run that was refused can be read by its owner and nobody is locked out of the directory.
#[test]
fn a_refused_run_keeps_its_report_readable() {
    let env = env();
    let recipe = env.recipe("bad-yaml");
    env.run(["run".as_ref(), recipe.as_os_str()]).expect(2);
    let dir = env.run_dirs().remove(0);
    let mode = dir
        .join("results.json")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_ne!(mode & 0o400, 0);
    assert!(!dir.join("abra").exists(), "the checkout is left");
}

#[test]
fn every_variable_that_is_empty_counts_as_unset() {
    let mut env = env();
    let recipe = env.recipe("notes");
    let text = harness::host_file::text(crate::support::repository().join("runner/src/cli.rs"));
    let text = text.unwrap();
    let names: Vec<&str> = text
        .split("env = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names.iter().filter(|name| **name != "CCCI_ZONE") {
        env.set(name, "");
    }
    let done = env.run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
    done.expect(0);
}

#[test]
fn two_sources_are_refused_and_neither_is_taken() {
    for (args, words) in [
        (
            vec!["run", "./notes", "--src", "./ledger"],
            ["./notes", "./ledger"],
        ),
        (
            vec!["run", "https://git.example.org/a/notes", "--src", "b/notes"],
            ["a/notes", "b/notes"],
        ),
    ] {
        let env = env();
        refused(&env, &env.run(&args), &words);
    }
    // A pipeline's SRC, forgotten in a shell, would lend its REF and its RECIPE to another repository.
    let mut env = env();
    env.set("SRC", "./ledger");
    let done = env.run(["run", "./notes"]);
    refused(
        &env,
        &done,
        &["two sources", "`./notes`", "`./ledger`", "SRC"],
    );
}

#[test]
fn a_flag_that_is_neither_yes_nor_no_is_refused() {
    for name in ["CCCI_SKIP_FETCH", "CCCI_QUICK"] {
        let mut env = env();
        env.set(name, "yes");
        let done = env.run(["run", "notes", "--dry-run"]);
        refused(&env, &done, &[name, "`yes`"]);
    }
    // It is `--quick`.
    for (value, code) in [("1", 2), ("true", 2), ("0", 0)] {
        let mut env = env();
        let recipe = env.recipe("notes");
        env.set("CCCI_QUICK", value);
        env.set("STAGES", "install");
        let done = env.run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
        done.expect(code);
        let is_refused = done.stderr.contains("a quick run is an upgrade");
        assert_eq!(is_refused, code == 2, "{value}: {}", done.stderr);
    }
}

/// From another working directory they would be other places, and other locks.
#[test]
fn places_that_depend_on_the_working_directory_are_refused() {
    for name in [
        "CCCI_APP_LOCK_DIR",
        "CCCI_RUNS_DIR",
        "CCCI_STATE_DIR",
        "CCCI_WARM_DIR",
        "CCCI_ONCE_DIR",
        "ABRA_DIR",
    ] {
        for command in [
            ["run", "./notes"],
            ["janitor", "--dry-run"],
            ["ps", "--json"],
        ] {
            let mut env = env();
            env.set(name, "some/where");
            refused(&env, &env.run(command), &[name, "`some/where`"]);
        }
    }
}

#[test]
fn an_abra_directory_that_cannot_be_used_leaves_no_run_directory() {
    let mut env = env();
    env.set("HOME", "/dev/null/home");
    let done = env.run(["run", "./notes", "--recipe", "notes", "--dry-run"]);
    done.expect(2);
    for word in ["/dev/null/home/.abra", "hint: ", "ABRA_DIR", "HOME"] {
        assert!(
            done.stderr.contains(word),
            "no `{word}` in\n{}",
            done.stderr
        );
    }
    assert_eq!(env.run_dirs(), Vec::<std::path::PathBuf>::new());
}
