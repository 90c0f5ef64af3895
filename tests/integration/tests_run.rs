//! `tests/flaky.sh`: which failed tests `tests/run` runs once more, and what it says of them.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Done, TestEnv, repository};

const HEAD: &str = "\
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.31s
     Running unittests src/lib.rs (target/debug/deps/harness-4a6ed59af1eff2c1)

running 1 test
test name::tests::a ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

";

/// What cargo and the test binary `path` print when `names` fail there.
fn part(path: &str, names: &[&str]) -> String {
    let mut text =
        format!("     Running {path} (target/debug/deps/x-b657608853855610)\n\nrunning 9 tests\n");
    let mut list = String::new();
    text.push_str("test a::passes ... ok\n\nfailures:\n\n");
    for name in names {
        text.push_str(&format!(
            "---- {name} stdout ----\n\nthread '{name}' panicked at x.rs:1:2:\nno\n\n\n"
        ));
        list.push_str(&format!("    {name}\n"));
    }
    let count = names.len();
    text.push_str(&format!(
        "failures:\n{list}\ntest result: FAILED. 8 passed; {count} failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.50s\n\n"
    ));
    text
}

fn end(targets: &[&str]) -> String {
    let count = targets.len();
    let plural = if count == 1 { "" } else { "s" };
    let list: String = targets
        .iter()
        .map(|target| format!("    `{target}`\n"))
        .collect();
    format!("error: {count} target{plural} failed:\n{list}")
}

const SWARM: &str = "../tests/swarm/main.rs";
const SWARM_TARGET: &str = "-p runner --test swarm";

/// A cargo that says how it was called; each test that the file `fails` names fails, and `lost` is not there.
const CARGO: &str = r#"#!/bin/sh
echo "$*" >>"$HOME/calls"
for word; do
    if [ "$before" = --exact ]; then name=$word; fi
    before=$word
done
if grep -qx "$name" "$HOME/fails"; then
    echo "said by $name"
    echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'
    exit 101
fi
if [ "$name" = lost ]; then echo 'test result: ok. 0 passed; 0 failed; 0 ignored'; else echo 'test result: ok. 1 passed; 0 failed; 0 ignored'; fi
"#;

struct Verdict {
    done: Done,
    calls: Vec<String>,
}

/// Judges a log; `fails` are the tests that fail once more.
fn judge(log: &str, args: &[&str], fails: &[&str]) -> Verdict {
    let mut env = TestEnv::new("unix:///nowhere/docker.sock");
    let cargo = env.write("bin/cargo", CARGO);
    std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
    env.prepend_path(cargo.parent().unwrap());
    env.write("home/fails", &fails.join("\n"));
    let log = env.write("tests.log", log);
    let mut script = env.program(repository().join("tests/flaky.sh"));
    script.arg(log).args(args);
    let done = env.follow(script).finish();
    let calls = harness::host_file::text(env.root.join("home/calls")).unwrap_or_default();
    Verdict {
        done,
        calls: calls.lines().map(str::to_owned).collect(),
    }
}

#[test]
fn a_test_of_the_engine_that_passes_alone_is_named_and_the_run_is_green() {
    let log = [
        HEAD,
        &part(SWARM, &["quick::one", "dead::two"]),
        &end(&[SWARM_TARGET]),
    ]
    .concat();
    let args = [
        "--features",
        "full",
        "--test-threads",
        "--",
        "--features",
        "no",
    ];
    let verdict = judge(&log, &args, &[]);
    verdict.done.expect(0);
    assert_eq!(
        verdict.calls,
        ["quick::one", "dead::two"].map(|name| format!(
            "test --workspace --locked --features full --test swarm -- --exact {name} --test-threads=1"
        ))
    );
    assert!(
        verdict.done.stdout.ends_with(
            "tests/run: flaky, passed alone: swarm::quick::one\ntests/run: flaky, passed alone: swarm::dead::two"
        ),
        "{}",
        verdict.done.stdout
    );
}

#[test]
fn a_test_that_fails_alone_too_is_red_beside_a_flaky_one() {
    let log = [
        HEAD,
        &part(SWARM, &["quick::one", "dead::two"]),
        &end(&[SWARM_TARGET]),
    ]
    .concat();
    let verdict = judge(&log, &[], &["quick::one"]);
    verdict.done.expect(1);
    let said = &verdict.done.stdout;
    assert!(said.contains("said by quick::one"), "{said}");
    assert!(
        said.ends_with(
            "tests/run: failed, and failed again alone: swarm::quick::one\ntests/run: flaky, passed alone: swarm::dead::two"
        ),
        "{said}"
    );
}

#[test]
fn a_test_that_cannot_be_found_again_did_not_pass() {
    let log = [HEAD, &part(SWARM, &["lost"]), &end(&[SWARM_TARGET])].concat();
    judge(&log, &[], &[]).done.expect(1);
}

#[test]
fn colours_do_not_hide_the_binary() {
    let log = [HEAD, &part(SWARM, &["quick::one"]), &end(&[SWARM_TARGET])].concat();
    let log = log
        .replace("     Running", "\x1b[1m\x1b[92m     Running\x1b[0m")
        .replace("error", "\x1b[1m\x1b[91merror\x1b[0m");
    judge(&log, &[], &[]).done.expect(0);
}

#[test]
fn everything_else_is_red_at_once() {
    let lib = "unittests src/lib.rs";
    let eight: Vec<String> = (1..=9).map(|number| format!("storm::t{number}")).collect();
    let names: Vec<&str> = eight.iter().map(String::as_str).collect();
    // The process was killed: no list, no result.
    let crash = "     Running ../tests/swarm/main.rs (target/debug/deps/swarm-b6)\n\nrunning 2 tests\n\
        error: test failed, to rerun pass `-p runner --test swarm`\n\n\
        Caused by:\n  process didn't exit successfully: `swarm-b6` (signal: 11, SIGSEGV: invalid memory reference)\n";
    let uncompiled = "error[E0425]: cannot find value `x` in this scope\n\
        error: could not compile `runner` (test \"swarm\") due to 1 previous error\n";
    let contend = "../tests/contend/main.rs";
    let integration = "../tests/integration/main.rs";
    // One fewer is named than failed.
    let unnamed = part(SWARM, &["quick::one", "quick::two"]).replace("    quick::two\n", "");
    let cases: [(&str, String, &str); 8] = [
        (
            "lib",
            [part(lib, &["name::a"]), end(&["-p harness --lib"])].concat(),
            "src/lib.rs",
        ),
        (
            "lib and swarm",
            [
                part(lib, &["name::a"]),
                part(SWARM, &["quick::one"]),
                end(&["-p harness --lib", SWARM_TARGET]),
            ]
            .concat(),
            "src/lib.rs",
        ),
        (
            "contend",
            [
                part(contend, &["storm"]),
                end(&["-p runner --test contend"]),
            ]
            .concat(),
            "contend",
        ),
        (
            "integration",
            [
                part(integration, &["once::a"]),
                end(&["-p runner --test integration"]),
            ]
            .concat(),
            "integration",
        ),
        (
            "crash",
            [crash, &end(&[SWARM_TARGET])].concat(),
            "something else",
        ),
        (
            "a crash beside a failed test",
            [
                &part(SWARM, &["quick::one"]),
                crash,
                &end(&["-p runner --test contend", SWARM_TARGET]),
            ]
            .concat(),
            "something else",
        ),
        ("compile error", uncompiled.to_owned(), "something else"),
        (
            "names are missing",
            [unnamed, end(&[SWARM_TARGET])].concat(),
            "1 are named",
        ),
    ];
    for (case, log, reason) in cases {
        let verdict = judge(&[HEAD, &log].concat(), &[], &[]);
        assert_eq!(verdict.calls, [""; 0], "{case}");
        verdict.done.expect(1);
        assert!(
            verdict
                .done
                .stdout
                .starts_with("tests/run: not run again: ")
                && verdict.done.stdout.contains(reason),
            "{case}: {}",
            verdict.done.stdout
        );
    }
    let log = |names| [HEAD, &part(SWARM, names), &end(&[SWARM_TARGET])].concat();
    let many = judge(&log(&names), &[], &[]);
    many.done.expect(1);
    assert!(
        many.done.stdout.contains("more than 8"),
        "{}",
        many.done.stdout
    );
    judge(&log(&names[..8]), &[], &[]).done.expect(0);
}
