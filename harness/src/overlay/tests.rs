use super::*;

struct Host {
    dir: tempfile::TempDir,
    recipe: RecipeName,
}

impl Host {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self {
            dir,
            recipe: "notes".parse().unwrap(),
        }
    }

    fn find(&self, trusted: bool) -> Result<Found, OverlayError> {
        let root = self.dir.path();
        let trust = match trusted {
            true => Trust::by_hand("/notes"),
            false => Trust::stranger("h/alice/notes", "nothing grants it"),
        };
        find(Places {
            recipe: &self.recipe,
            tree: &root.join("tree"),
            trust: &trust,
            overlays: Some(&root.join("overlays")),
            tests: &root.join("copies"),
        })
    }
}

const LOOSE: &str = "health: {path: /x, statuses: [200, 500]}\nenv: {API_TOKEN: abcdefghij}\n\
                     expected_na: {upgrade: no}\nbackup: {verify: {command: touch /pwned}}\n\
                     checks: [{path: /own}]\n";

#[test]
fn a_strangers_file_can_only_demand_more() {
    let host = Host::new(&[
        (
            "tree/tests/recipe-ci.yml",
            LOOSE
                .replace("backup: {verify: {command: touch /pwned}}\n", "")
                .as_str(),
        ),
        ("tree/tests/install_steps.sh", "rm -rf /"),
        (
            "tree/tests/compose.ccci.yml",
            "services: {app: {environment: {A: b}}}",
        ),
        ("tree/tests/previous/VERSION", "1"),
    ]);
    let found = host.find(false).unwrap();
    assert_eq!(found.declared.health_path(), "/x");
    assert!(found.declared.accepted().is_default(), "an error would do");
    assert!(
        found
            .declared
            .not_applicable(recipe::declared::Rung::Upgrade)
            .is_none()
    );
    assert_eq!(found.declared.checks().len(), 1);
    assert_eq!(found.suite.describe().unwrap(), [""; 0]);
    assert!(
        !host.dir.path().join("copies").exists(),
        "a stranger's files were copied"
    );
    assert!(found.tunings.is_empty() && found.repairs.is_empty());
    let manifest = found.manifest.join("\n");
    for line in [
        "recipe: recipe-ci.yml: 1 HTTP checks",
        "recipe: recipe-ci.yml: health.path = /x",
        "recipe: recipe-ci.yml: health.statuses = [200,500] (not applied: its source is not granted `run_code`)",
        "recipe: recipe-ci.yml: env.API_TOKEN = (hidden) (not applied: its source is not granted `run_code`)",
        "recipe: install_steps.sh (not run: its source is not granted `run_code`)",
        "recipe: compose.ccci.yml (not applied: its source is not granted `run_code`)",
    ] {
        assert!(manifest.contains(line), "no `{line}` in\n{manifest}");
    }
    assert!(!manifest.contains("abcdefghij"), "{manifest}");
    assert_eq!(found.secrets, ["abcdefghij"]);
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
}

/// A recipe with a login page, or one that speaks TLS, is no stranger's trick; one that answers no request may be.
#[test]
fn a_stranger_says_where_its_app_answers_and_not_that_it_need_not() {
    let found = |health: &str| {
        let host = Host::new(&[("tree/tests/recipe-ci.yml", health)]);
        host.find(false).unwrap().declared
    };
    let declared = found(
        "health: {service: web, port: 8443, scheme: https, statuses: [401, 403], host: 'a.${DOMAIN}'}\n",
    );
    let health = declared.health();
    assert_eq!(
        (health.service.as_deref(), health.port),
        (Some("web"), Some(8443))
    );
    assert_eq!(health.scheme, Some(recipe::declared::file::Scheme::Https));
    assert_eq!(health.host.as_deref(), Some("a.${DOMAIN}"));
    assert!(declared.accepted().accept(401) && !declared.accepted().accept(200));
    for loose in [
        "{none: it is a library}",
        "{scheme: tcp}",
        "{statuses: [200, 400]}",
        "{statuses: [500]}",
        "{silent: [admin]}",
    ] {
        let declared = found(&format!("health: {loose}\n"));
        assert_eq!(*declared.health(), Default::default(), "{loose}");
    }
}

#[test]
fn what_is_trusted_counts_and_the_operator_wins() {
    let host = Host::new(&[
        (
            "tree/tests/recipe-ci.yml",
            "health: {path: /own}\ntimeouts: {http: 5}\n",
        ),
        ("tree/tests/ops/pre_backup", ""),
        ("overlays/notes/recipe-ci.yml", "health: {path: /ours}\n"),
        ("overlays/notes/custom/test_x.sh", ""),
        (
            "overlays/notes/compose.ccci.yml",
            "services: {app: {environment: {A: b}}}",
        ),
        ("overlays/ledger/recipe-ci.yml", "broken: ["),
    ]);
    let found = host.find(true).unwrap();
    assert_eq!(found.declared.health_path(), "/ours");
    assert!(found.declared.http_timeout().is_some());
    assert_eq!(
        found.suite.describe().unwrap(),
        ["recipe: ops/pre_backup", "overlay: custom/test_x.sh"]
    );
    let manifest = found.manifest.join("\n");
    assert!(
        manifest.contains("overlay: 0 tests of tiers, 1 custom tests, 0 hooks"),
        "{manifest}"
    );
    assert!(manifest.contains("overlay: compose.ccci.yml"), "{manifest}");
    assert_eq!(found.tunings.len(), 1);
}

#[test]
fn a_link_out_of_the_recipe_is_not_read() {
    let host = Host::new(&[("secret.yml", "root: hash"), ("tree/tests/x", "")]);
    let link = host.dir.path().join("tree/tests/recipe-ci.yml");
    std::os::unix::fs::symlink(host.dir.path().join("secret.yml"), link).unwrap();
    for trusted in [true, false] {
        let error = host.find(trusted).unwrap_err();
        assert!(matches!(error, OverlayError::File(_)), "{error}");
    }
}

/// Makes `at`, a path below the host's directory, a link to `to`.
fn link(host: &Host, at: &str, to: &str) {
    let at = host.dir.path().join(at);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(to, at).unwrap();
}

#[test]
fn what_links_of_an_overlay_lead_to_is_copied() {
    let host = Host::new(&[
        ("overlays/_shared/pg.sh", "pg"),
        ("overlays/_shared/custom/test_x.sh", "x"),
        ("overlays/notes/recipe-ci.yml", ""),
        ("tree/scripts/seed.sh", "seed"),
    ]);
    link(
        &host,
        "overlays/notes/ops/pre_backup.sh",
        "../../_shared/pg.sh",
    );
    link(&host, "overlays/notes/custom", "../_shared/custom");
    // An editor's lock; hidden files are left alone.
    link(&host, "overlays/notes/.#lock", "me@here.1234");
    link(
        &host,
        "tree/tests/ops/pre_upgrade.sh",
        "../../scripts/seed.sh",
    );
    let found = host.find(true).unwrap();
    assert_eq!(
        found.suite.describe().unwrap(),
        [
            "recipe: ops/pre_upgrade.sh",
            "overlay: ops/pre_backup.sh",
            "overlay: custom/test_x.sh"
        ]
    );
    let copy = host.dir.path().join("copies/overlay/ops/pre_backup.sh");
    assert_eq!(ground::host_file::text(copy).unwrap(), "pg");
}

#[test]
fn a_link_that_cannot_be_followed_is_said() {
    for (at, to) in [
        ("tree/tests/ops/pre_backup.sh", "/bin/true"),
        ("tree/tests/custom", "../../outside"),
        ("tree/tests/ops/pre_backup", "gone"),
        ("overlays/notes/ops/pre_backup", "gone"),
        ("overlays/notes/custom", "../notes"),
    ] {
        let host = Host::new(&[
            ("tree/tests/test_install.sh", ""),
            ("overlays/notes/test_install.sh", ""),
            ("outside/test_x.sh", ""),
        ]);
        link(&host, at, to);
        let error = host.find(true).unwrap_err();
        assert!(!error.is_the_hosts(), "{error}");
        let at = at.trim_start_matches("tree/");
        assert!(error.to_string().contains(at), "{error}");
    }
}

#[test]
fn what_nothing_runs_is_said_and_not_counted() {
    let host = Host::new(&[
        ("overlays/notes/ops/pre_instal", ""),
        ("overlays/notes/ops/pre_restore", ""),
        ("overlays/notes/ops/verify_install.sh", ""),
        ("overlays/notes/ops/seed.sql", ""),
        ("overlays/notes/test_instal.sh", ""),
        ("overlays/notes/test_custom.py", ""),
        ("overlays/notes/custom/test_upgrade.sh", ""),
        ("overlays/notes/custom/test_list.txt", ""),
        ("overlays/notes/custom/test_x.py", ""),
    ]);
    let found = host.find(true).unwrap();
    assert_eq!(
        found.manifest,
        [
            "overlay: 0 tests of tiers, 2 custom tests, 2 hooks",
            "overlay: ops/pre_restore",
            "overlay: ops/verify_install.sh",
            "overlay: custom/test_list.txt",
            "overlay: custom/test_x.py",
        ]
    );
    assert_eq!(
        found.warnings,
        [
            "overlay: test_custom.py is no test of a tier: nothing runs it",
            "overlay: test_instal.sh is no test of a tier: nothing runs it",
            "overlay: ops/pre_instal is no hook: nothing runs it",
            "overlay: ops/pre_restore is not executable: it cannot be started",
            "overlay: custom/test_list.txt is not executable: it cannot be started",
            "overlay: custom/test_upgrade.sh is a test of a tier, whose place is beside `custom/`: nothing runs it",
        ]
    );
}

#[test]
fn the_overlay_of_one_recipe_is_not_the_directory_of_all() {
    let host = Host::new(&[
        ("a/recipe-ci.yml", ""),
        ("b/ops/pre_backup.sh", ""),
        ("c/ops/recipe-ci.yml", ""),
    ]);
    let look = |name: &str| looks_like_one_recipe(&host.dir.path().join(name));
    assert_eq!(look("a"), Some("recipe-ci.yml"));
    assert_eq!(look("b"), Some("ops"));
    assert_eq!(look("c"), None, "a recipe may be called ops");
}
