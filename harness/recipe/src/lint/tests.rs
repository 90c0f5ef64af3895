//! A clean recipe, and for each rule the one change that breaks it.

mod declared;
mod log;
mod upgrade;

use std::collections::BTreeSet;
use std::fs;

use super::*;
use ground::git::testing::Fixture;

const COMPOSE: &str = r#"version: "3.8"

services:
  app:
    image: example/notes:1.2.0
    secrets:
      - token
    configs:
      - source: entry
        target: /entry.sh
    volumes:
      - data:/data
    healthcheck:
      test: ["CMD", "ask"]
      interval: 5s
    deploy:
      update_config:
        failure_action: rollback
        order: stop-first
      labels:
        - "traefik.enable=true"
        - "coop-cloud.${STACK_NAME}.version=0.2.0+1.2.0"
        - "backupbot.backup=true"
        - "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80"
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)"
    networks: [proxy]

networks: {proxy: {external: true}}
volumes:
  data:

secrets:
  token:
    external: true
    name: ${STACK_NAME}_token_${SECRET_TOKEN_VERSION}

configs:
  entry:
    name: ${STACK_NAME}_entry_${ENTRY_VERSION}
    file: entry.sh
"#;

/// An optional file that only adds to a service, and needs a variable that operators set when they take it.
const EXTRA: &str = r#"version: "3.8"

services:
  app:
    environment:
      - EXTRA_HOST=${EXTRA_HOST:?where it is}
"#;

const README: &str = "# Notes\n\n<!-- metadata -->\n\n* **Category**: Apps\n* **Status**: 4\n\
    * **Image**: `notes`\n* **Healthcheck**: Yes\n* **Backups**: Yes\n* **Email**: No\n\
    * **Tests**: No\n* **SSO**: No\n\n<!-- endmetadata -->\n";

pub(super) const CLEAN: [(&str, &str); 6] = [
    ("compose.yml", COMPOSE),
    ("compose.extra.yml", EXTRA),
    (
        ".env.sample",
        "TYPE=notes\nDOMAIN=notes.example.com\nCOMPOSE_FILE=\"compose.yml\"\nSECRET_TOKEN_VERSION=v1\n#EXTRA_HOST=\n",
    ),
    ("abra.sh", "export ENTRY_VERSION=v1\n"),
    ("entry.sh", "#!/bin/sh\nexec notes\n"),
    ("README.md", README),
];

/// Returns a repository with one published version and the clean recipe as its head.
pub(super) fn clean() -> Fixture {
    let fixture = Fixture::new();
    let older = COMPOSE.replace("0.2.0+1.2.0", "0.1.0+1.1.0");
    let files = CLEAN.map(|(name, text)| (name, if name == "compose.yml" { &older } else { text }));
    let published = fixture.commit(&files);
    fixture.annotated_tag("0.1.0+1.1.0", published);
    fixture.commit(&CLEAN);
    fixture
}

/// What is changed: a file, the text in it, and what takes its place; no text means the whole file goes.
type Change = (&'static str, &'static str, &'static str);

fn change(fixture: &Fixture, changes: &[Change]) {
    for (file, from, to) in changes {
        let path = fixture.path().join(file);
        if from.is_empty() {
            fs::remove_file(path).unwrap();
            continue;
        }
        let text = ground::host_file::text(&path).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(path, text.replace(from, to)).unwrap();
    }
    fixture.commit(&[]);
}

pub(super) fn found(lint: &Lint) -> Vec<String> {
    let findings = lint.findings.iter();
    findings
        .map(|f| format!("{} {}", f.id, f.place()))
        .collect()
}

fn skipped(lint: &Lint) -> Vec<&str> {
    lint.skipped
        .iter()
        .map(|skipped| skipped.id.as_str())
        .collect()
}

#[test]
fn a_clean_recipe_passes_and_hides_nothing() {
    let lint = lint(clean().path(), None).unwrap();
    assert_eq!(found(&lint), [""; 0]);
    assert_eq!((lint.status, lint.reason.as_deref()), (Status::Pass, None));
    // What cannot be known here is no pass.
    assert_eq!(skipped(&lint), ["C012"]);
    assert_eq!(lint.passed.len() + lint.skipped.len(), RULES.len());
}

#[test]
fn every_rule_finds_its_own_fault_at_its_place() {
    const CHECK: &str = "    healthcheck:\n      test: [\"CMD\", \"ask\"]\n      interval: 5s\n";
    const IMAGE: &str = "notes:1.2.0";
    const DEPLOY: &str = "    deploy:\n";
    const HOST: &str = "      - EXTRA_HOST=${EXTRA_HOST:?where it is}\n";
    const VERSION: &str = "        - \"coop-cloud.${STACK_NAME}.version=0.2.0+1.2.0\"\n";
    const PORT: &str =
        "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"\n";
    const C: &str = "compose.yml";
    const E: &str = "compose.extra.yml";
    // A database beside the app, on a network of their own.
    const ALONE: &str = "    networks: [proxy]\n\nnetworks: {proxy: {external: true}}\n";
    const WITH_DB: &str = "    networks: [proxy, inner]\n  db:\n    image: example/db:1.2.0\n    networks: [inner]\n    \
        healthcheck: {test: [CMD, ask]}\n\nnetworks: {proxy: {external: true}, inner: }\n";
    const BY_SHORT_NAME: &str = "    environment:\n      - DB_HOST=db\n    deploy:\n";
    const BY_FULL_NAME: &str =
        "    environment:\n      - DB_HOST=${STACK_NAME}_db\n      - DB_NAME=db\n    deploy:\n";
    let cases: &[(&[Change], &[&str])] = &[
        (
            &[(C, DEPLOY, BY_SHORT_NAME), (C, ALONE, WITH_DB)],
            &["C024 compose.yml:16"],
        ),
        (&[(C, DEPLOY, BY_FULL_NAME), (C, ALONE, WITH_DB)], &[]),
        (
            &[(E, "3.8", "3.7")],
            &["R001 compose.extra.yml:1", "C015 compose.extra.yml:1"],
        ),
        (
            &[(E, "version: \"3.8\"\n", "")],
            &["R001 compose.extra.yml:1", "C015 compose.extra.yml:2"],
        ),
        (&[(C, CHECK, "")], &["R002 compose.yml:4"]),
        (
            &[(C, "[\"CMD\", \"ask\"]", "curl -f localhost || exit 0")],
            &["R002 compose.yml:13"],
        ),
        (
            &[(C, "\"CMD\", \"ask\"", "\"NONE\"")],
            &["R002 compose.yml:13"],
        ),
        (&[(C, IMAGE, "notes")], &["R003 compose.yml:5"]),
        (
            &[(C, "example/notes:1.2.0", "host:5000/notes")],
            &["R003 compose.yml:5"],
        ),
        (&[(C, IMAGE, "notes:latest")], &["R004 compose.yml:5"]),
        (&[(C, IMAGE, "notes:slim")], &["R005 compose.yml:5"]),
        (
            &[("README.md", "* **Email**: No", "* **Email**:")],
            &["R007 README.md:10"],
        ),
        (
            &[("README.md", "* **SSO**: No\n", "")],
            &["R007 README.md:3"],
        ),
        (&[("README.md", "", "")], &["R007 README.md"]),
        (
            &[(".env.sample", "", ""), (E, "", "")],
            &["R008 .env.sample"],
        ),
        (
            &[(".env.sample", "TYPE=", "TYPE ")],
            &["R008 .env.sample:1"],
        ),
        (
            &[(C, "  app:\n", "  web:\n"), (E, "", "")],
            &["R009 compose.yml:3", "C011 compose.yml:22"],
        ),
        (
            &[(C, "        - \"traefik.enable=true\"\n", "")],
            &["R010 compose.yml:4", "T002 compose.yml:24"],
        ),
        (&[(C, PORT, "")], &["T008 compose.yml:24"]),
        (&[(C, "port=80", "port=${PORT}")], &["T008 compose.yml:24"]),
        (
            &[(C, "enable=true", "enable=yes")],
            &["R010 compose.yml:4", "T001 compose.yml:21"],
        ),
        (
            &[(C, "    networks: [proxy]\n", "")],
            &["T003 compose.yml:5"],
        ),
        (
            &[
                (
                    C,
                    PORT,
                    "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"\n        - \"traefik.docker.network=web\"\n",
                ),
                (C, "[proxy]", "[proxy, default]"),
            ],
            &["T004 compose.yml:25"],
        ),
        (
            &[(C, "Host(`${DOMAIN}`)", "Host(${DOMAIN})")],
            &["T005 compose.yml:25"],
        ),
        (
            &[(C, "Host(`${DOMAIN}`)", "Host(`a.example.org`)")],
            &["T006 compose.yml:25"],
        ),
        (
            &[(
                C,
                ".rule=Host(`${DOMAIN}`)\"\n",
                ".rule=Host(`${DOMAIN}`)\"\n        - \"traefik.http.routers.${STACK_NAME}.middlewares=${STACK_NAME}-x\"\n",
            )],
            &["T007 compose.yml:26"],
        ),
        (
            &[(
                C,
                "networks: {proxy",
                "  web:\n    image: example/web:1.2.0\n    networks: [proxy]\n    healthcheck: {test: [CMD, x]}\n    deploy: {labels: [\"traefik.enable=true\", \"traefik.http.services.w.loadbalancer.server.port=1\", \"traefik.http.routers.${STACK_NAME}.rule=Host(`x.org`)\"]}\nnetworks: {proxy",
            )],
            &["T009 compose.yml:32"],
        ),
        (
            &[(
                C,
                ".rule=Host(`${DOMAIN}`)\"\n",
                ".rule=Host(`${DOMAIN}`)\"\n        - \"traefik.http.routers.${STACK_NAME}.entrypoints=websecure\"\n",
            )],
            &["T010 compose.yml:26"],
        ),
        (
            // The service that a file still names though nothing gives it an image any more.
            &[(
                E,
                HOST,
                "      - X=y\n  old:\n    healthcheck:\n      test: [\"CMD\", \"ask\"]\n",
            )],
            &["R011 compose.extra.yml:7", "C033 compose.extra.yml:6"],
        ),
        (
            &[("abra.sh", "ENTRY", "OTHER")],
            &["R012 compose.yml:39", "C003 compose.yml:38"],
        ),
        (
            &[("abra.sh", "", "")],
            &["R012 compose.yml:39", "C003 compose.yml:38"],
        ),
        (&[(C, "_${ENTRY_VERSION}", "")], &["R012 compose.yml:39"]),
        (
            &[
                (C, "- token", "- a_much_longer_token"),
                (C, "  token:", "  a_much_longer_token:"),
            ],
            &["R015 compose.yml:33"],
        ),
        (&[(C, IMAGE, "notes:1-slim")], &["C001 compose.yml:5"]),
        (&[(C, IMAGE, "notes:v0.4")], &["C001 compose.yml:5"]),
        (
            &[("entry.sh", "exec notes", "exec notes -v")],
            &["C002 abra.sh:1"],
        ),
        (
            &[
                ("entry.sh", "exec notes", "exec notes -v"),
                (C, "_${ENTRY_VERSION}", "_v1"),
            ],
            &["C002 compose.yml:39"],
        ),
        (
            &[(
                C,
                "_entry_$",
                "_entry_point_of_the_main_service_of_the_app_$",
            )],
            &["C003 compose.yml:38"],
        ),
        (&[(C, "5s", "${EVERY:-5s}")], &["C004 compose.yml:15"]),
        (
            &[(
                C,
                DEPLOY,
                "    labels:\n      - \"backupbot.backup.pre-hook=x\"\n    deploy:\n",
            )],
            &["C005 compose.yml:17"],
        ),
        (
            &[(
                E,
                HOST,
                "      - X=y\n    deploy:\n      labels: {x: y}\n  side:\n    image: a:1.2\n    healthcheck:\n      test: x\n    deploy:\n      labels:\n        backupbot.backup: \"true\"\n",
            )],
            &["C033 compose.extra.yml:6", "C006 compose.extra.yml:15"],
        ),
        (
            &[(C, "    volumes:\n      - data:/data\n", "")],
            &["C007 compose.yml:21"],
        ),
        (
            &[(
                C,
                "        - \"backupbot.backup=true\"\n",
                "        - \"backupbot.backup=true\"\n        - \"backupbot.backup.volumes.data=false\"\n",
            )],
            &["C030 compose.yml:21", "C007 compose.yml:23"],
        ),
        (
            &[(C, "backup=true", "backup=yes")],
            &["C008 compose.yml:23"],
        ),
        (
            &[(C, DEPLOY, "    depends_on:\n      - db\n    deploy:\n")],
            &["C009 compose.yml:16"],
        ),
        (
            &[(C, DEPLOY, "    ports:\n      - \"8080:80\"\n    deploy:\n")],
            &["C010 compose.yml:16"],
        ),
        (&[(C, VERSION, "")], &["C011 compose.yml:4"]),
        (&[(C, "=0.2.0+1.2.0", "=")], &["C011 compose.yml:22"]),
        (&[(C, "=0.2.0+1.2.0", "=0.2.0")], &["C013 compose.yml:22"]),
        (
            &[(C, "stop-first", "start-first")],
            &["C014 compose.yml:19", "C020 compose.yml:19"],
        ),
        (
            &[(
                C,
                "backup=true\"\n",
                "backup=true\"\n        - \"backupbot.backup.pre-hook=sqlite3 /data/db .dump > /data/dump\"\n",
            )],
            &["C017 compose.yml:20"],
        ),
        (
            &[(C, "data:/data", "data:/var/lib/mysql")],
            &["C018 compose.yml:11"],
        ),
        (
            &[
                (C, "data:/data", "data:/var/lib/mysql"),
                (
                    C,
                    "backup=true\"\n",
                    "backup=true\"\n        - \"backupbot.backup.pre-hook=dump\"\n        - \"backupbot.restore.post-hook=load\"\n",
                ),
            ],
            &["C034 compose.yml:11"],
        ),
        (
            &[
                (C, "data:/data", "data:/var/lib/mysql"),
                (C, "stop-first", "start-first"),
                (C, "rollback", "pause"),
                (C, "\"backupbot.backup=true\"", "\"backupbot.backup=false\""),
            ],
            &["C019 compose.yml:19"],
        ),
        (
            &[(
                C,
                DEPLOY,
                "    tmpfs: /run\n    privileged: false\n    restart: no\n    deploy:\n",
            )],
            &["C021 compose.yml:16", "C021 compose.yml:18"],
        ),
        (
            &[(
                C,
                VERSION,
                "        - \"coop-cloud.${STACK_NAME}.timeout=10m\"\n        - \"coop-cloud.${STACK_NAME}.version=0.2.0+1.2.0\"\n",
            )],
            &["C022 compose.yml:22"],
        ),
        (
            &[
                (C, "stop-first", "start-first"),
                (C, "rollback", "pause"),
                (C, "data:/data", "data:/data:ro"),
                (
                    C,
                    DEPLOY,
                    "    ports:\n      - {target: 80, published: 8080, mode: host}\n    deploy:\n",
                ),
            ],
            &["C023 compose.yml:21", "C010 compose.yml:16"],
        ),
        (
            &[(E, "    environment:\n", "    environment: [\n")],
            &["C015 compose.extra.yml:6"],
        ),
        (
            &[(".env.sample", "compose.yml", "compose.yml:none.yml")],
            &["C015 .env.sample:3"],
        ),
        (
            &[(
                E,
                HOST,
                "      - X=y\n    deploy:\n      labels:\n        x$Y: z\n",
            )],
            &["C033 compose.extra.yml:6", "C016 compose.extra.yml:9"],
        ),
    ];
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (changes, expected) in cases {
        let fixture = clean();
        change(&fixture, changes);
        let lint = lint(fixture.path(), None).unwrap();
        let messages: Vec<&str> = lint.findings.iter().map(|f| f.message.as_str()).collect();
        let mut places = found(&lint);
        // What a host would refuse is the policy's matter.
        places.retain(|place| !place.starts_with('P'));
        places.sort_by_key(|place| place.starts_with('C'));
        if &places != expected {
            wrong.push(format!(
                "{changes:?}: {places:?}, not {expected:?}: {messages:?}"
            ));
        }
        let errors = lint.count(Severity::Error);
        let status = if errors > 0 {
            Status::Fail
        } else {
            Status::Pass
        };
        assert_eq!((lint.status, lint.reason.is_some()), (status, errors > 0));
        seen.extend(lint.findings.into_iter().map(|found| found.id));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Those of tags, of what commits lack and of the last version have their own tests; the others are never checked.
    seen.extend(
        [
            "R014", "C012", "C025", "C026", "C027", "C028", "C029", "C030", "C031", "C032", "C033",
            "T011", "T012",
        ]
        .map(str::to_owned),
    );
    let missing: Vec<&str> = RULES
        .iter()
        .map(|rule| rule.id)
        .filter(|id| !seen.contains(*id))
        .collect();
    assert_eq!(missing, [""; 0], "no case breaks these rules");
}

#[test]
fn tags_are_judged_with_the_text_that_they_hold() {
    let fixture = clean();
    let head = fixture.commit(&[]);
    fixture.tag("nightly", head);
    fixture.annotated_tag("0.3.0+1.3.0", head);
    let first = lint(fixture.path(), None).unwrap();
    assert_eq!(found(&first), ["R014 repository", "C012 compose.yml:22"]);
    // Uncommitted changes are no tag's text, and are compared with the tag below them.
    fixture.write("entry.sh", "#!/bin/sh\n");
    let dirty = lint(fixture.path(), None).unwrap();
    assert_eq!(found(&dirty), ["R014 repository", "C002 abra.sh:1"]);
    assert!(skipped(&dirty).contains(&"C012"));
    // The ref is what is asked for, whatever the work tree holds.
    let published = lint(fixture.path(), Some("0.1.0+1.1.0")).unwrap();
    assert_eq!(found(&published), ["R014 repository"]);
    let error = lint(fixture.path(), Some("no-such")).unwrap_err();
    assert!(matches!(error, LintError::Git(GitError::UnknownRef { .. })));
}

#[test]
fn a_directory_without_history_has_no_verdict_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let none = lint(dir.path(), None).unwrap_err();
    assert!(matches!(none, LintError::NoRecipe { .. }));
    for (name, text) in CLEAN {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let lint = lint(dir.path(), None).unwrap();
    assert_eq!(found(&lint), [""; 0]);
    let expected = [
        "R014", "C002", "C012", "C026", "C027", "C028", "C029", "C030", "C031", "C032", "C033",
        "T011", "T012",
    ];
    assert_eq!(skipped(&lint), expected);
}

#[test]
fn odd_text_is_a_finding_and_never_a_panic() {
    for text in [
        "",
        "services",
        "services: []",
        "services: {app: }",
        "services: {app: 5}",
        "services: {app: {image: 5, labels: 7, deploy: {labels: 8}}}",
        "services: {app: {image: \"${X\", healthcheck: {interval: {}}, deploy: []}}",
        "services: {app: {image: \"a:\", ports: [x], depends_on: {db: }}}",
        "configs: 5\nsecrets: [a]\nservices: {\"\": {}}",
        "configs: {a: , b: {name: 5, file: []}}",
        "a: &a [*a]",
        "services: {app: {extends: {service: app}}}",
    ] {
        let fixture = clean();
        fixture.write("compose.yml", text);
        let lint = lint(fixture.path(), None).unwrap();
        assert_eq!(lint.status, Status::Fail, "{text}");
        // What could not be read has passed nothing.
        if found(&lint).iter().any(|found| found.starts_with("C015")) {
            let open = RULES.iter().filter(|rule| rule.reads_compose_files());
            let passed = open.filter(|rule| lint.passed.iter().any(|id| id == rule.id));
            assert_eq!(passed.count(), 0, "{text}");
        }
    }
}

#[test]
fn a_malformed_line_of_the_sample_does_not_take_the_others_away() {
    let fixture = clean();
    let needs = COMPOSE.replace("example/notes:1.2.0", "example/notes:${TAG:?which}");
    fixture.write("compose.yml", &needs);
    fixture.write(
        ".env.sample",
        "TYPE=notes\nDOMAIN=notes.example.com\nthis is no assignment\nOPEN=\"x\nTAG=1.2.0\nSECRET_TOKEN_VERSION=v1\n#EXTRA_HOST=\n",
    );
    let lint = lint(fixture.path(), None).unwrap();
    // The line alone: what the lines behind it set is there.
    assert_eq!(found(&lint), ["R008 .env.sample:3"]);
}

#[test]
fn a_tag_of_another_form_is_named_where_a_version_is_missed() {
    let fixture = Fixture::new();
    let first = fixture.commit(&CLEAN);
    fixture.annotated_tag("v1.0.0", first);
    let lint = lint(fixture.path(), None).unwrap();
    let reason = |id: &str| {
        let skipped = lint.skipped.iter().find(|skipped| skipped.id == id);
        skipped.unwrap().reason.clone()
    };
    for id in ["C002", "C012"] {
        assert!(reason(id).contains("`v1.0.0`"), "{}", reason(id));
    }
}
