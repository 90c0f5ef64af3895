use super::*;
use ground::outcome::Status;
use std::collections::BTreeMap;
use std::ffi::OsString;

fn processes() -> Processes {
    Processes::new(BTreeMap::from([(
        OsString::from("PATH"),
        OsString::from("/usr/local/bin:/usr/bin:/bin"),
    )]))
}

fn means<'a>(processes: &'a Processes, logs: &'a Path, redactor: &'a Redactor) -> TestSetup<'a> {
    TestSetup {
        processes,
        env: &[],
        logs,
        redactor,
        needs: no_needs(),
        retries: 0,
    }
}

fn no_needs() -> &'static Needs {
    static NONE: std::sync::LazyLock<Needs> = std::sync::LazyLock::new(Needs::default);
    &NONE
}

fn suite(files: &[(&str, &str)]) -> (tempfile::TempDir, Suite) {
    let root = tempfile::tempdir().unwrap();
    let from = root.path().join("from");
    for (name, text) in files {
        let path = from.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let mut suite = Suite::default();
    suite
        .add(Layer::Dir(Origin::Recipe, &from), &root.path().join("run"))
        .unwrap();
    (root, suite)
}

#[tokio::test(flavor = "current_thread")]
async fn exit_codes_are_pass_skip_and_fail() {
    let (root, suite) = suite(&[
        ("custom/test_a.sh", "exit 0"),
        ("custom/test_b.sh", "echo 'needs a camera'; exit 77"),
        ("custom/test_c.sh", "echo boom; exit 3"),
        ("custom/test_d.sh", "exit 4"),
        ("custom/test_install.sh", "exit 1"),
        ("custom/helper.sh", "exit 1"),
    ]);
    let ran = suite
        .run(
            Stage::Custom,
            means(&processes(), root.path(), &Redactor::default()),
        )
        .await
        .unwrap();
    let seen: Vec<_> = ran
        .iter()
        .map(|ran| {
            (
                ran.outcome.name.as_str(),
                ran.outcome.status,
                ran.outcome.message.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("custom/test_a.sh", Status::Pass, None),
            ("custom/test_b.sh", Status::Skip, Some("needs a camera")),
            ("custom/test_c.sh", Status::Fail, Some("exit code 3")),
            (
                "custom/test_d.sh",
                Status::Fail,
                Some("exit code 4, and it wrote nothing")
            ),
        ]
    );
    assert_eq!(ran[2].tail, ["boom"]);
}

/// Real pytest; `tests/run` installs it where it is missing.
fn with_pytest() -> Processes {
    #[expect(
        clippy::disallowed_methods,
        reason = "pytest is wherever the developer has it"
    )]
    let vars = ["PATH", "HOME"].map(|name| {
        (
            OsString::from(name),
            std::env::var_os(name).unwrap_or_default(),
        )
    });
    Processes::new(BTreeMap::from(vars))
}

#[tokio::test(flavor = "current_thread")]
async fn pytest_has_a_row_per_test_and_an_empty_file_is_a_failure() {
    let (root, suite) = suite(&[
        (
            "custom/test_rows.py",
            "import pytest\ndef test_good(): pass\ndef test_bad(): assert 1 == 2\n\
             @pytest.mark.skip(reason='no camera')\ndef test_later(): pass\n",
        ),
        ("test_upgrade.py", "import os\n"),
    ]);
    let (processes, redactor) = (with_pytest(), Redactor::default());
    let ran = suite
        .run(Stage::Custom, means(&processes, root.path(), &redactor))
        .await
        .unwrap();
    let mut seen: Vec<_> = ran
        .iter()
        .map(|ran| {
            (
                ran.outcome.name.rsplit("::").next().unwrap(),
                ran.outcome.status,
            )
        })
        .collect();
    seen.sort_by_key(|(name, _)| *name);
    assert_eq!(
        seen,
        [
            ("test_bad", Status::Fail),
            ("test_good", Status::Pass),
            ("test_later", Status::Skip)
        ]
    );
    let ran = suite
        .run(Stage::Upgrade, means(&processes, root.path(), &redactor))
        .await
        .unwrap();
    assert_eq!(ran.len(), 1);
    assert_eq!(ran[0].outcome.status, Status::Fail);
    assert!(
        ran[0]
            .outcome
            .message
            .as_deref()
            .unwrap()
            .contains("collected no test"),
        "{ran:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn what_needs_a_dependency_that_is_not_up_is_unverified_and_the_rest_runs() {
    let (root, suite) = suite(&[
        ("custom/test_a.sh", "# requires: deps\nexit 1"),
        ("custom/test_b.sh", "# requires: deps gitea\nexit 0"),
        (
            "custom/test_c.py",
            "import pytest\n@pytest.mark.requires_deps\ndef test_all(): assert 0\n\
             @pytest.mark.requires_deps('gitea')\ndef test_gitea(): pass\n\
             def test_none(): pass\n",
        ),
        // The recipe's own markers must stay its own.
        (
            "pytest.ini",
            "[pytest]\naddopts = --strict-markers\nmarkers = slow\n",
        ),
        ("install_steps.sh", "# requires: deps keycloak\nexit 1"),
    ]);
    let mut needs = Needs::default();
    needs.note("gitea", None);
    needs.note("keycloak", Some("no".to_owned()));
    let (processes, redactor) = (with_pytest(), Redactor::default());
    let means = TestSetup {
        needs: &needs,
        ..means(&processes, root.path(), &redactor)
    };
    let ran = suite.run(Stage::Custom, means).await.unwrap();
    let mut seen: Vec<_> = ran
        .iter()
        .map(|ran| (ran.outcome.name.as_str(), ran.outcome.status))
        .collect();
    seen.sort_by_key(|(name, _)| *name);
    assert_eq!(
        seen,
        [
            ("custom.test_c::test_all", Status::Unver),
            ("custom.test_c::test_gitea", Status::Pass),
            ("custom.test_c::test_none", Status::Pass),
            ("custom/test_a.sh", Status::Unver),
            ("custom/test_b.sh", Status::Pass),
        ]
    );
    let reason = Some("dependency `keycloak` failed: no");
    for ran in ran.iter().filter(|ran| ran.outcome.status == Status::Unver) {
        assert_eq!(ran.outcome.message.as_deref(), reason);
    }
    let Hooked { ran, failure, .. } = suite.hook("install_steps", means).await.unwrap();
    assert!(ran == 0 && failure.is_none());
    assert_eq!(
        suite.left_out(&needs).unwrap()[0].0,
        "recipe install_steps.sh"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn what_provide_prints_is_never_shown() {
    for (text, how) in [
        ("echo sesame; echo why >&2; exit 4", "exit code 4"),
        ("echo sesame", "it printed something that is no JSON object"),
        ("echo '[1]'", "it printed something that is no JSON object"),
    ] {
        let (root, suite) = suite(&[("provide.sh", text)]);
        let (processes, redactor) = (processes(), Redactor::default());
        let means = means(&processes, root.path(), &redactor);
        let failure = suite.provide(means).await.unwrap().unwrap_err();
        assert_eq!(
            (failure.name.as_str(), failure.how.as_str()),
            ("recipe provide.sh", how)
        );
        assert!(!failure.tail.join("").contains("sesame"), "{failure:?}");
    }
}

/// The operator adds to what the recipe has, and never takes its place.
#[tokio::test(flavor = "current_thread")]
async fn files_of_one_name_both_run_and_the_recipes_comes_first() {
    let root = tempfile::tempdir().unwrap();
    let ran = root.path().join("ran");
    let mut suite = Suite::default();
    for (origin, more) in [(Origin::Recipe, "1"), (Origin::Overlay, "2")] {
        let from = root.path().join("from").join(origin.name());
        let note = |what: &str| format!("echo {} {what} >>{}\n", origin.name(), ran.display());
        let python = format!(
            "def test_both(): open('{}', 'a').write('{} python\\n')\n",
            ran.display(),
            origin.name()
        );
        for (name, text) in [
            ("test_install.sh", note("install")),
            ("custom/test_same.sh", note("custom")),
            ("custom/test_same.py", python),
            ("ops/pre_backup.sh", note("hook")),
            (
                "provide.sh",
                format!("echo '{{\"{}\": true, \"both\": {more}}}'", origin.name()),
            ),
        ] {
            let path = from.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let to = root.path().join("run");
        suite.add(Layer::Dir(origin, &from), &to).unwrap();
    }
    let (processes, redactor) = (with_pytest(), Redactor::default());
    let means = means(&processes, root.path(), &redactor);
    let noted = || {
        let text = ground::host_file::text(&ran).unwrap();
        std::fs::remove_file(&ran).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let rows = suite.run(Stage::Install, means).await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.outcome.name.as_str()).collect();
    assert_eq!(names, ["test_install.sh"; 2]);
    assert_eq!(noted(), ["recipe install", "overlay install"]);

    let rows = suite.run(Stage::Custom, means).await.unwrap();
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(rows.iter().all(|row| row.outcome.status == Status::Pass));
    assert_eq!(
        noted(),
        [
            "recipe custom",
            "recipe python",
            "overlay custom",
            "overlay python"
        ]
    );
    let Hooked { ran, failure, .. } = suite.hook("ops/pre_backup", means).await.unwrap();
    assert!(ran == 2 && failure.is_none(), "{failure:?}");
    assert_eq!(noted(), ["recipe hook", "overlay hook"]);
    let provided = suite.provide(means).await.unwrap().unwrap();
    assert_eq!(
        serde_json::Value::Object(provided),
        serde_json::json!({ "recipe": true, "overlay": true, "both": 2 })
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_hook_that_fails_says_how_and_what_any_wrote_is_kept() {
    let (root, suite) = suite(&[
        ("ops/pre_backup.sh", "echo no disk >&2; exit 4"),
        ("ops/pre_restore.sh", "echo Access denied >&2"),
    ]);
    let (processes, redactor) = (processes(), Redactor::default());
    let run = |name: &'static str| suite.hook(name, means(&processes, root.path(), &redactor));
    let hooked = run("ops/pre_backup").await.unwrap();
    let failure = hooked.failure.unwrap();
    assert_eq!(
        (hooked.ran, failure.how.as_str(), failure.tail.as_slice()),
        (1, "exit code 4", &["no disk".to_owned()][..])
    );
    let hooked = run("ops/pre_restore").await.unwrap();
    assert!(hooked.failure.is_none());
    let words = vec!["Access denied".to_owned()];
    assert_eq!(hooked.said, [("recipe ops/pre_restore".to_owned(), words)]);
    let log = root.path().join("hook-recipe-ops-pre_restore.log");
    assert_eq!(ground::host_file::text(&log).unwrap(), "Access denied\n");
    let hooked = run("ops/pre_upgrade").await.unwrap();
    assert!(hooked.ran == 0 && hooked.failure.is_none());
}

#[tokio::test(flavor = "current_thread")]
async fn a_first_line_with_a_carriage_return_is_named() {
    let (root, suite) = suite(&[("ops/pre_backup", "")]);
    let script = suite.sources[0].dir.join("ops/pre_backup");
    engine::process::write_program(&script, "#!/bin/sh\r\nexit 0\r\n");
    let (processes, redactor) = (processes(), Redactor::default());
    let means = means(&processes, root.path(), &redactor);
    let hooked = suite.hook("ops/pre_backup", means).await.unwrap();
    let how = hooked.failure.unwrap().how;
    let words = "carriage return, so the system looks for `#!/bin/sh\\r`";
    assert!(how.contains(words), "{how}");
}

#[tokio::test(flavor = "current_thread")]
async fn pytest_that_dies_before_its_report_is_said_to_have_written_none() {
    let text = "import os\nos._exit(3)\n";
    let (root, suite) = suite(&[("custom/test_rows.py", text)]);
    let (processes, redactor) = (with_pytest(), Redactor::default());
    let means = means(&processes, root.path(), &redactor);
    let ran = suite.run(Stage::Custom, means).await.unwrap();
    let reason = ran[0].outcome.message.as_deref();
    assert_eq!(
        reason,
        Some("pytest ended with exit code 3 and wrote no report")
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_python_file_without_a_test_is_a_failure_beside_one_that_has_some() {
    let (root, suite) = suite(&[
        ("custom/test_good.py", "def test_one(): pass\n"),
        ("custom/test_empty.py", "def chekc_one(): assert 0\n"),
        (
            "custom/test_later.py",
            "import pytest\npytest.skip('no camera', allow_module_level=True)\n",
        ),
        (
            "custom/test_class.py",
            "class TestIt:\n    def test_one(self): pass\n",
        ),
    ]);
    let (processes, redactor) = (with_pytest(), Redactor::default());
    let ran = suite
        .run(Stage::Custom, means(&processes, root.path(), &redactor))
        .await
        .unwrap();
    let failed: Vec<_> = ran
        .iter()
        .filter(|ran| ran.outcome.status == Status::Fail)
        .map(|ran| ran.outcome.name.as_str())
        .collect();
    assert_eq!(failed, ["custom/test_empty.py"], "{ran:?}");
    assert_eq!(ran.len(), 4, "{ran:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_hook_that_cannot_be_started_is_a_failure_and_no_fault_of_the_host() {
    let (root, suite) = suite(&[
        ("ops/pre_backup", "#!/bin/sh\nexit 0\n"),
        ("install_steps.sh", "#!/no/such/interpreter\n"),
    ]);
    let script = suite.sources[0].dir.join("install_steps.sh");
    engine::process::write_program(&script, "#!/no/such/interpreter\n");
    let (processes, redactor) = (processes(), Redactor::default());
    for (name, why) in [
        ("ops/pre_backup", "Permission denied"),
        ("install_steps", "no interpreter `/no/such/interpreter`"),
    ] {
        let means = means(&processes, root.path(), &redactor);
        let Hooked { ran, failure, .. } = suite.hook(name, means).await.unwrap();
        let how = failure.unwrap().how;
        assert!(
            ran == 1 && how.starts_with("cannot be started: ") && how.contains(why),
            "{how}"
        );
    }
}

#[test]
fn a_host_without_room_for_a_process_is_not_the_files_fault() {
    use nix::libc;
    let fault = |code| is_the_files(&std::io::Error::from_raw_os_error(code));
    for code in [libc::EAGAIN, libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
        assert!(!fault(code), "{code}");
    }
    for code in [libc::EACCES, libc::ENOENT, libc::ENOEXEC, libc::ELOOP] {
        assert!(fault(code), "{code}");
    }
}

#[test]
fn what_will_run_is_listed() {
    let (_root, suite) = suite(&[
        ("test_install.py", ""),
        ("ops/verify_restore", ""),
        ("custom/test_x.py", ""),
        ("custom/conftest.py", ""),
        ("notes.txt", ""),
    ]);
    let lines = suite.describe().unwrap();
    assert_eq!(
        lines,
        [
            "recipe: test_install.py",
            "recipe: ops/verify_restore",
            "recipe: custom/test_x.py"
        ]
    );
    assert_eq!(
        suite.first_python_test().unwrap().as_deref(),
        Some("recipe: test_install.py")
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_test_that_fails_and_then_passes_is_flaky_only_where_that_was_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("theirs");
    std::fs::create_dir_all(dir.join("custom")).unwrap();
    let marker = root.path().join("ran");
    let text = format!(
        "#!/bin/sh\n[ -e {0} ] || {{ : >{0}; exit 3; }}\n",
        marker.display()
    );
    std::fs::write(dir.join("custom/test_once.sh"), text).unwrap();
    std::fs::write(dir.join("custom/test_never.sh"), "#!/bin/sh\nexit 4\n").unwrap();
    let mut suite = Suite::default();
    let layer = Layer::Dir(Origin::Overlay, &dir);
    suite.add(layer, &root.path().join("tests")).unwrap();
    let (processes, redactor) = (with_pytest(), Redactor::default());
    for (retries, once) in [(0, Status::Fail), (1, Status::Flaky)] {
        drop(std::fs::remove_file(&marker));
        let means = TestSetup {
            retries,
            ..means(&processes, root.path(), &redactor)
        };
        let ran = suite.run(Stage::Custom, means).await.unwrap();
        let status = |name: &str| {
            let of = ran.iter().find(|ran| ran.outcome.name.ends_with(name));
            of.unwrap().outcome.status
        };
        assert_eq!(
            (status("once.sh"), status("never.sh")),
            (once, Status::Fail)
        );
    }
}
