//! The command line itself.

use crate::support::TestEnv;

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

#[test]
fn version_and_help_are_data_on_stdout() {
    let env = env();
    let done = env.run(["--version"]);
    done.expect(0);
    assert_eq!(
        done.stdout,
        format!("recipe-ci {}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(done.stderr, "");
    for args in [
        vec!["--help"],
        vec!["run", "--help"],
        vec!["help", "janitor"],
    ] {
        let done = env.run(&args);
        done.expect(0);
        assert!(
            done.stdout.contains("Usage: recipe-ci"),
            "{args:?}: {}",
            done.stdout
        );
    }
}

#[test]
fn every_shell_has_completions_and_there_is_a_manual_page() {
    let env = env();
    for shell in ["bash", "zsh", "fish"] {
        let done = env.run(["completions", shell]);
        done.expect(0);
        assert!(done.stdout.contains("janitor"), "{shell}");
    }
    let done = env.run(["man"]);
    done.expect(0);
    assert!(done.stdout.contains(".TH recipe-ci 1"), "{}", done.stdout);
    let done = env.run(["man", "janitor", "arm"]);
    done.expect(0);
    assert!(
        done.stdout.contains(".TH recipe-ci-janitor-arm 1") && done.stdout.contains("restart"),
        "{}",
        done.stdout
    );
    let done = env.run(["man", "janitor", "harm"]);
    done.expect(2);
    assert!(
        done.stderr.contains("no command `janitor harm`") && done.stderr.contains("--help"),
        "{}",
        done.stderr
    );
}

#[test]
fn what_does_not_exist_is_refused_with_what_does() {
    let env = env();
    for (args, word) in [
        (vec!["rum"], "run"),
        (vec!["run", "x", "--stage", "install"], "--stages"),
        (vec!["run", "x", "--keep", "sometimes"], "`failed=2h`"),
        (vec!["run", "x", "--driver", "helm"], "stack"),
        (vec!["completions", "basic"], "bash"),
        (vec![], "Usage"),
    ] {
        let done = env.run(&args);
        done.expect(2);
        assert!(done.stderr.contains(word), "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
}

#[test]
fn closed_output_is_no_panic() {
    let env = env();
    for script in [
        "\"$0\" --help >&-; exit 0",
        "\"$0\" completions bash | true",
    ] {
        let mut shell = env.program("sh");
        shell.args(["-c", script, crate::support::binary()]);
        let done = env.follow(shell).finish();
        done.expect(0);
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    }
}

/// The janitor on a host whose engine is away must not look like a clean sweep.
#[test]
fn a_janitor_without_an_engine_says_so() {
    let env = env();
    let done = env.run(["janitor"]);
    done.expect(3);
    assert!(
        done.stderr.contains("/nowhere/docker.sock"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("recipe-ci doctor"), "{}", done.stderr);
}

#[test]
fn an_error_is_said_as_error_cause_and_hint() {
    let env = env();
    let run = env.start(["janitor", "--dry-run"]);
    run.wait_line("error: ");
    run.wait_line("hint: ");
    assert!(!run.stderr().contains("panicked"), "{}", run.stderr());
    run.finish().expect(3);
    env.assert_quiet();
}
