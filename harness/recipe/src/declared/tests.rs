use super::*;
use crate::compose::Project;
use read::{KEYS, parse};

fn error(text: &str) -> String {
    parse(text, "recipe-ci.yml", Some("notes"))
        .unwrap_err()
        .to_string()
}

fn merged(texts: &[&str]) -> Result<Declared, DeclaredError> {
    let mut declared = Declared::default();
    for (index, text) in texts.iter().enumerate() {
        declared.lay_over(parse(text, &format!("{index}.yml"), None).unwrap())?;
    }
    Ok(declared)
}

#[test]
fn every_key_is_read() {
    let text = r#"
recipe: notes
health: {path: /api/health, statuses: [200, 204], silent: [admin]}
timeouts: {deploy: 1200, http: 60}
env: {COLOUR: blue, LIMIT: 0440, ON: true, HOST: "side.${DOMAIN}", PRICE: "$5"}
upgrade_env: {STEP: "2"}
ready:
  - http: /ready
    statuses: [204]
  - {tcp: 64738, service: app, stable: 5}
backup:
  capable: true
  verify: {command: "gzip -t /dump.gz", service: app, attempts: 2}
data: [{service: db, kind: postgresql, database: books, user: clerk}, {service: cache, none: a cache}]
dependencies: [keycloak, {recipe: gitea, required: true}]
canonical: true
expected_na: {custom: nothing to test}
base: 1.0.0+2
checks:
  - {path: /, title: Notes, contains: [a, b], assets: true}
"#;
    let mut declared = Declared::default();
    declared
        .lay_over(parse(text, "f", Some("notes")).unwrap())
        .unwrap();
    assert_eq!(
        (declared.health_path(), declared.accepted()),
        ("/api/health", Statuses::of(Some(&[200, 204])))
    );
    assert_eq!(declared.health().silent, Some(vec!["admin".to_owned()]));
    assert_eq!(declared.deploy_timeout(), Some(Duration::from_secs(1200)));
    assert_eq!(declared.http_timeout(), Some(Duration::from_secs(60)));
    let (recipe, zone) = ("notes".parse().unwrap(), "ci.localhost".parse().unwrap());
    let domain = Domain::parse("note-0a1b2c.ci.localhost", &zone).unwrap();
    let env = declared.env(&recipe, &domain);
    let pairs: Vec<String> = env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // Values are texts as written: an octal number and a boolean stay what they look like.
    assert_eq!(
        pairs.join(" "),
        "COLOUR=blue HOST=side.note-0a1b2c.ci.localhost LIMIT=0440 ON=true PRICE=$5"
    );
    assert_eq!(declared.upgrade_env(&recipe, &domain)["STEP"], "2");
    assert_eq!(
        (declared.ready().len(), declared.ready()[1].stable),
        (2, Some(5))
    );
    assert_eq!(declared.backup_capable(), Some(true));
    assert_eq!(declared.verify().unwrap().attempts, Some(2));
    let names: Vec<_> = declared.dependencies().iter().map(shown).collect();
    assert_eq!(names, ["keycloak None", "gitea Some(true)"]);
    let kinds: Vec<_> = declared.data().iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Some(crate::database::Kind::PostgreSql), None]);
    assert!(declared.canonical());
    assert_eq!(
        declared.not_applicable(Rung::Custom),
        Some("nothing to test")
    );
    assert_eq!(declared.base(), Some("1.0.0+2"));
    assert!(declared.checks()[0].assets);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_right_one() {
    for (text, words) in [
        (
            "helth: {path: /}\n",
            "recipe-ci.yml:1:1: there is no key `helth`; did you mean `health`?",
        ),
        (
            "health:\n  paht: /\n",
            "recipe-ci.yml:2:3: there is no key `paht`; did you mean `path`?",
        ),
        ("statuses: [200]\n", "did you mean `health.statuses`?"),
        (
            "checks:\n  - path: /\n    titel: x\n",
            "recipe-ci.yml:3:5: there is no key `titel`; did you mean `title`?",
        ),
        ("HEALTH_OK: [200]\n", "did you mean `health.statuses`?"),
        ("zzz: 1\n", "recipe-ci.yml:1:1: there is no key `zzz`"),
    ] {
        let error = error(text);
        assert!(error.contains(words), "{error}");
    }
    assert!(!error("zzz: 1\n").contains("did you mean"));
}

#[test]
fn wrong_types_and_values_have_a_place() {
    for (text, words) in [
        (
            "timeouts:\n  deploy: soon\n",
            "recipe-ci.yml:2:11: timeouts.deploy: give a whole number, and this is the text `soon`",
        ),
        (
            "checks: {path: /}\n",
            "recipe-ci.yml:1:9: checks: give a list, and this is a mapping",
        ),
        (
            "checks:\n  - status: 200\n",
            "recipe-ci.yml:2:5: checks[0]: `path` is missing",
        ),
        (
            "only words\n",
            "recipe-ci.yml:1:1: give a mapping, and this is the text",
        ),
        ("health:\n", "health: give a mapping, and this is empty"),
        (
            "health: {statuses: [200, x]}\n",
            "health.statuses[1]: give a whole",
        ),
        (
            "health: {statuses: [99]}\n",
            "health.statuses[0]: give a whole number from 100 to 599",
        ),
        (
            "timeouts: {deploy: 1.5}\n",
            "a whole number, and this is `1.5`",
        ),
        ("timeouts: {deploy: -1}\n", "1 to 86400"),
        ("ready: [{tcp: 70000}]\n", "1 to 65535"),
        ("ready: [{tcp: 1, stable: 0}]\n", "1 to 100"),
        (
            "env: {A: [1]}\n",
            "env.A: give a text or a number or true or false, and this is a list",
        ),
        (
            "base: 1.0\n",
            "base: give a text, and this is `1.0`; put it in quotes",
        ),
        (
            "backup: {verify: ls}\n",
            "backup.verify: give a mapping, and this is the text `ls`",
        ),
        (
            "dependencies: [5]\n",
            "dependencies[0]: give a text or a mapping, and this is `5`",
        ),
        (
            "checks: [{path: /, contains: 5}]\n",
            "checks[0].contains: give a text or a list",
        ),
        // What a reader that knows the types would take for one another, and an editor with the schema refuses.
        (
            "expected_na: {custom: true}\n",
            "expected_na.custom: give a text, and this is `true`",
        ),
        (
            "canonical: 'true'\n",
            "canonical: give true or false, and this is the text `true`",
        ),
        (
            "canonical: yes\n",
            "give true or false, and this is the text `yes`",
        ),
        ("health: [\n", "recipe-ci.yml:"),
        (
            "health: {}\nhealth: {}\n",
            "recipe-ci.yml:2:1: the key `health` occurs twice",
        ),
        (
            "health:\n  statuses: [200, 404]\n",
            "recipe-ci.yml:2:19: health.statuses[1]: 404 is what a gateway",
        ),
        ("health: {statuses: []}\n", "no status at all"),
        ("health: {path: x}\n", "begins with one `/`"),
        ("ready: [{http: /, statuses: [404]}]\n", "never be accepted"),
        ("timeouts: {http: 0}\n", "1 to 86400"),
        (
            "env: {DOMAIN: x}\n",
            "recipe-ci.yml:1:15: env.DOMAIN: recipe-ci sets this variable itself",
        ),
        ("env: {a-b: x}\n", "no name of a variable"),
        (
            "ready: [{http: /, tcp: 5}]\n",
            "exactly one of `http` and `tcp`",
        ),
        (
            "ready: [{service: app}]\n",
            "exactly one of `http` and `tcp`",
        ),
        ("ready: [{tcp: 5, port: 6}]\n", "it belongs to `http`"),
        ("backup: {verify: {command: ls, attempts: 9}}\n", "1 to 3"),
        ("dependencies: [a, {recipe: a}]\n", "named twice"),
        ("dependencies: [{required: true}]\n", "recipe"),
        ("dependencies: [../x]\n", "dependencies[0]"),
        ("expected_na: {custom: ''}\n", "give the reason"),
        ("checks: [{path: /, json: {a: 1}}]\n", "no JSON pointer"),
        (
            "recipe: gitea\n",
            "this file is for `gitea`, and it lies where `notes` looks",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(words), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(parse("# nothing\n", "f", None).is_ok());
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    for text in [
        "base: '1'\nexpected_na: {upgrade: no}\n",
        "upgrade_env: {A: b}\nexpected_na: {upgrade: no}\n",
        "backup: {capable: false, verify: {command: ls}}\n",
        "backup: {capable: true}\nexpected_na: {backup_restore: no}\n",
    ] {
        let error = error(text);
        assert!(error.contains("contradicts"), "{error}");
    }
    // Also when it takes both files.
    let error = merged(&["expected_na: {upgrade: no}\n", "\nbase: '1'\n"]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("1.yml:2:7: base: it contradicts"),
        "{error}"
    );
}

fn shown(one: &file::Dependency) -> String {
    format!("{} {:?}", one.recipe, one.required)
}

#[test]
fn the_operators_values_win_one_by_one_and_checks_are_added() {
    let declared = merged(&[
        "health: {path: /a, statuses: [200]}\nenv: {A: '1', B: '1'}\nchecks: [{path: /x}]\ndependencies: [x, {recipe: z, required: true}]\n",
        "health: {path: /b}\nenv: {B: '2'}\nchecks: [{path: /y}]\ndependencies: [{recipe: x, required: true}, y, z]\n",
    ])
    .unwrap();
    assert_eq!(
        (declared.health_path(), declared.accepted()),
        ("/b", Statuses::of(Some(&[200])))
    );
    assert_eq!(
        (
            declared.all.env["A"].as_str(),
            declared.all.env["B"].as_str()
        ),
        ("1", "2")
    );
    let paths: Vec<&str> = declared
        .checks()
        .iter()
        .map(|check| check.path.as_str())
        .collect();
    assert_eq!(paths, ["/x", "/y"]);
    assert_eq!(declared.place("checks[0].path"), "0.yml:3:17");
    assert_eq!(declared.place("checks[1].path"), "1.yml:3:17");
    let names: Vec<_> = declared.dependencies().iter().map(shown).collect();
    assert_eq!(names, ["x Some(true)", "z Some(true)", "y None"]);
}

#[test]
fn a_stale_and_an_undeclared_rung_are_said() {
    let none = Declared::default();
    let custom_only = |rung| Some(rung == Rung::Custom);
    let lines = none.surprises(custom_only);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("undeclared: backup_restore"),
        "{lines:?}"
    );
    let declared = merged(&["expected_na: {backup_restore: no data, custom: none}\n"]).unwrap();
    let lines = declared.surprises(custom_only);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("stale: `expected_na.custom`"),
        "{lines:?}"
    );
    assert!(declared.surprises(|_| None).is_empty());
    assert_eq!(
        declared.no_backup(false).unwrap(),
        "declared not applicable: no data"
    );
    assert_eq!(
        declared.no_backup(true),
        None,
        "labels that are there are exercised"
    );
    assert!(
        merged(&["backup: {capable: false}\n"])
            .unwrap()
            .no_backup(true)
            .is_some()
    );
    assert_eq!(
        merged(&["backup: {capable: true}\n"])
            .unwrap()
            .no_backup(false),
        None
    );
}

#[test]
fn a_backup_that_is_lost_fails_unless_it_is_declared() {
    let plan = |labels: &str| {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("services:\n  app:\n    image: a\n    deploy: {{labels: [{labels}]}}\n");
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        let files = ["compose.yml".to_owned()];
        BackupPlan::from_project(&Project::load(dir.path(), &files, &BTreeMap::new()).unwrap())
    };
    let none = Declared::default();
    let reason = none.wrong_labels(&plan(""), true).unwrap();
    assert!(
        reason.starts_with("the base is backed up and the head is not")
            && reason.contains("`expected_na.backup_restore` of recipe-ci.yml"),
        "{reason}"
    );
    for labels in ["'backupbot.backup=${X}'", "'backupbot.backup=1'"] {
        let reason = none.wrong_labels(&plan(labels), false).unwrap();
        assert!(reason.contains("neither `true` nor `false`"), "{reason}");
        for text in [
            "expected_na: {backup_restore: no data}\n",
            "backup: {capable: false}\n",
        ] {
            let declared = merged(&[text]).unwrap();
            assert_eq!(declared.wrong_labels(&plan(labels), true), None, "{text}");
            assert!(declared.no_backup(false).is_some());
        }
    }
    assert_eq!(none.wrong_labels(&plan(""), false), None);
    let good = plan("'backupbot.backup=true'");
    assert_eq!(none.wrong_labels(&good, true), None);
    // A promise that is not kept fails whatever is declared, unless nothing is backed up at all.
    let path = plan("'backupbot.backup=true', 'backupbot.backup.path=/tmp/dump'");
    for (text, fails) in [
        ("expected_na: {backup_restore: no data}\n", true),
        ("backup: {capable: true}\n", true),
        ("backup: {capable: false}\n", false),
    ] {
        let reason = merged(&[text]).unwrap().wrong_labels(&path, false);
        let said = reason.is_some_and(|reason| reason.contains("is on no volume of the stack"));
        assert_eq!(said, fails, "{text}");
    }
}

#[test]
fn a_missing_page_is_never_accepted() {
    assert!(!Statuses::of(None).accept(404));
    assert!(!Statuses::of(Some(&[404])).accept(404));
}

#[test]
fn statuses_that_serve_by_default_are_successes_and_redirects() {
    let default = Statuses::of(None);
    for status in [200, 204, 206, 301, 302, 303, 307, 308] {
        assert!(default.accept(status), "{status}");
    }
    for status in [300, 304, 400, 401, 403, 404, 500, 502, 503] {
        assert!(!default.accept(status), "{status}");
    }
}

#[test]
fn where_an_app_answers_is_declared_and_so_is_that_it_does_not() {
    let declared = merged(&["health: {none: it only sends mail}\n"]).unwrap();
    assert_eq!(
        declared.health().none.as_deref(),
        Some("it only sends mail")
    );
    // The operator knows better, one way and the other.
    let declared = merged(&["health: {none: x}\n", "health: {port: 80, scheme: tcp}\n"]).unwrap();
    assert_eq!(
        (declared.health().none.as_deref(), declared.health().port),
        (None, Some(80))
    );
    let declared = merged(&["health: {path: /a}\n", "health: {none: x}\n"]).unwrap();
    assert_eq!(
        (declared.health_path(), declared.health().none.is_some()),
        ("/", true)
    );
    for (text, words) in [
        (
            "health: none\n",
            "recipe-ci.yml:1:9: health: give a mapping, and this is the text `none`; where an app answers no request, say why: `health: {none: <reason>}`",
        ),
        ("health: {none: ''}\n", "health.none: give the reason"),
        (
            "health: {none: x, path: /}\n",
            "health.path: it contradicts `health.none`",
        ),
        ("health: {scheme: htps}\n", "unknown variant `htps`"),
        (
            "health: {scheme: tcp, path: /}\n",
            "health.path: it belongs to HTTP",
        ),
        (
            "health: {host: 'a b'}\n",
            "health.host: `a b` is not the app's",
        ),
        (
            "health: {host: 127.0.0.2}\n",
            "health.host: `127.0.0.2` is not the app's: give `${DOMAIN}` or a name below it",
        ),
        (
            "health: {host: cloud.example.org}\n",
            "`cloud.example.org` is not the app's",
        ),
        ("health: {host: 'x${DOMAIN}'}\n", "is not the app's"),
        ("health: {host: '.${DOMAIN}'}\n", "is not the app's"),
        ("health: {host: 'a@b.${DOMAIN}'}\n", "is not the app's"),
        ("health: {host: '${DOMAIN}.org'}\n", "is not the app's"),
        ("health: {port: 0}\n", "health.port: give"),
        (
            &format!("checks: [{{path: /, contains: [{}]}}]\n", "a, ".repeat(101)),
            "checks[0].contains: give at most 100 texts, and this is 101",
        ),
        ("health: {prot: 80}\n", "did you mean `port`?"),
    ] {
        let error = error(text);
        assert!(error.contains(words), "{text}: {error}");
    }
}

/// The published schema, the page and the list of keys are all of the types; this test writes nothing, it
/// says how to.
#[test]
fn the_published_schema_and_page_are_those_of_the_types() {
    let published = include_str!("../../../../docs/recipe-ci.schema.json");
    assert!(
        published == file::schema(),
        "run `recipe-ci overlay schema > docs/recipe-ci.schema.json`"
    );
    let schema: serde_json::Value = serde_json::from_str(published).unwrap();
    let mut keys = Vec::new();
    walk(&schema, &schema, "", &mut keys);
    let mut known: Vec<&str> = KEYS.to_vec();
    known.sort_unstable();
    keys.sort_unstable();
    assert_eq!(keys, known);
    let page = include_str!("../../../../docs/recipe-ci-yml.md");
    for key in KEYS {
        assert!(
            page.contains(&format!("`{key}`")),
            "docs/recipe-ci-yml.md lacks `{key}`"
        );
    }
}

#[test]
fn data_names_a_database_or_says_why_there_is_none() {
    for (text, words) in [
        ("data: none\n", "a mapping or a list"),
        (
            "data: {service: db}\n",
            "1:7: data: give `service` and `kind`",
        ),
        (
            "data: {service: db, kind: postgres}\n",
            "one of postgresql, mariadb",
        ),
        ("data: {service: db, kidn: redis}\n", "did you mean `kind`?"),
        ("data: {none: ''}\n", "give the reason"),
        ("data: {service: db, kind: redis, none: x}\n", "contradict"),
        (
            "data:\n  - {service: db, kind: redis}\n  - {none: x}\n",
            "3:5: data[1]: `none` without a service stands alone",
        ),
        (
            "data: [{service: db, none: x}, {service: db, none: y}]\n",
            "named twice",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(words), "{error}");
    }
    let of = |texts: &[&str]| {
        let declared = merged(texts).unwrap();
        let shown = declared.data().iter().map(|one| {
            let service = one.service.as_deref().unwrap_or("all");
            format!("{service} {}", one.none.is_some())
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    let recipes = "data: [{service: db, kind: redis}, {service: other, none: x}]\n";
    assert_eq!(of(&[recipes]), "db false, other true");
    let over = "data: {service: db, none: the operator knows}\n";
    assert_eq!(of(&[recipes, over]), "other true, db true");
    assert_eq!(of(&[recipes, "data: {none: y}\n"]), "all true");
    assert_eq!(of(&["data: {none: y}\n", recipes]), "db false, other true");
}

/// Collects the keys below `node`; a type of its own is a reference.
fn walk(root: &serde_json::Value, node: &serde_json::Value, path: &str, keys: &mut Vec<String>) {
    let node = resolve(root, node);
    if let Some(items) = node.get("items") {
        return walk(root, items, &format!("{path}[]"), keys);
    }
    let more = node.get("additionalProperties");
    if let Some(more) = more.filter(|more| more.is_object()) {
        return walk(root, more, &format!("{path}.*"), keys);
    }
    for (key, value) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        keys.push(path.clone());
        walk(root, value, &path, keys);
    }
}

fn resolve<'a>(root: &'a serde_json::Value, node: &'a serde_json::Value) -> &'a serde_json::Value {
    let target = |node: &'a serde_json::Value| {
        let name = node.get("$ref")?.as_str()?.rsplit('/').next()?;
        root.get("$defs")?.get(name)
    };
    let any = node["anyOf"].as_array();
    target(node)
        .or_else(|| any?.iter().find_map(target))
        .unwrap_or(node)
}
