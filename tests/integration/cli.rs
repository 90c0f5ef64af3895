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
fn a_variable_that_is_no_setting_is_said_with_the_nearest_and_every_documented_one_is_known() {
    let mut env = env();
    env.set("CCCI_DEADLNE", "1s");
    let done = env.run(["janitor"]);
    let words = "CCCI_DEADLNE is no setting, and counts for nothing; did you mean CCCI_DEADLINE?";
    assert!(done.stderr.contains(words), "{}", done.stderr);
    assert_eq!(done.stderr.matches("is no setting").count(), 1);

    let mut env = TestEnv::new("unix:///nowhere/docker.sock");
    let name = regex::Regex::new(r"CCCI_[A-Z]+(?:_[A-Z]+)*").unwrap();
    let mut count = 0;
    for page in [
        "operating",
        "recipe-tests",
        "quick-lane",
        "runners",
        "results",
        "security",
    ] {
        let text = crate::tidy::read(&crate::support::repository().join(format!("docs/{page}.md")));
        for found in name.find_iter(&text) {
            let is_of_the_page = ["CCCI_SECRET", "CCCI_DEADLNE"].contains(&found.as_str());
            if !is_of_the_page && found.as_str() != "CCCI_ENGINE" {
                count += 1;
                env.set(found.as_str(), "/1");
            }
        }
    }
    assert!(count > 30, "only {count} were found");
    let done = env.run(["janitor"]);
    assert!(!done.stderr.contains("is no setting"), "{}", done.stderr);
}

#[test]
fn colours_are_as_asked_for() {
    let env = env();
    let coloured = |args: &[&str]| {
        let done = env.run(args);
        done.stderr.contains('\u{1b}')
    };
    assert!(!coloured(&["janitor"]), "a pipe is no terminal");
    assert!(coloured(&["--color=always", "janitor"]));
    assert!(coloured(&["janitor", "--color", "always"]));
    assert!(!coloured(&["--color=never", "janitor"]));
}

#[test]
fn help_and_manual_have_values_examples_and_exit_codes() {
    let env = env();
    let help = env.run(["run", "--help"]);
    let man = env.run(["man", "run"]);
    for words in ["parallel", "recipe-ci run keycloak", "142 the deadline"] {
        assert!(help.stdout.contains(words), "{words}: {}", help.stdout);
        let plain = man.stdout.replace("\\-", "-");
        assert!(plain.contains(words), "{words}: {plain}");
    }
    let done = env.run(["completions", "bash"]);
    assert!(
        done.stdout.contains("parallel serial never"),
        "{}",
        done.stdout
    );
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
