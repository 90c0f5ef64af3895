//! A recipe with ports and routers, what an upgrade takes from its clients, and what it does not.

use super::*;

mod ways;

const STACK: &str = "talk-0a1b2c_ci_localhost";
const DOMAIN: &str = "talk-0a1b2c.ci.localhost";

const RECIPE: &str = r#"version: "3.8"
services:
  app:
    image: a
    networks: [proxy]
    ports:
      - "64738:64738"
      - target: 64738
        published: 64738
        protocol: udp
        mode: host
      - "9000"
    deploy:
      labels:
        - "traefik.enable=true"
        - "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80"
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)"
        - "traefik.http.routers.${STACK_NAME}.entrypoints=web-secure"
        - "traefik.http.routers.${STACK_NAME}.tls.certresolver=${LETS_ENCRYPT_ENV}"
        - "traefik.http.routers.${STACK_NAME}-plain.rule=Host(`plain.example.org`)"
  relay:
    image: b
    ports:
      - "10000-10009:10000-10009/udp"
networks: {proxy: {external: true}}
"#;

/// One of its services.
const RELAY_SERVICE: &str =
    "  relay:\n    image: b\n    ports:\n      - \"10000-10009:10000-10009/udp\"\n";

fn project(text: &str) -> Project {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yml"), text).unwrap();
    let vars = [("STACK_NAME", STACK), ("DOMAIN", DOMAIN)];
    let vars: BTreeMap<String, String> = vars
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    Project::load(dir.path(), &["compose.yml".to_owned()], &vars).unwrap()
}

fn edited(changes: &[(&str, &str)]) -> Project {
    let text = changes.iter().fold(RECIPE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no `{from}`");
        text.replace(from, to)
    });
    project(&text)
}

/// Returns what the changes take, each as `rule line: message`.
fn taken(changes: &[(&str, &str)], notes: &str) -> Vec<String> {
    let head = edited(changes);
    let lost = lost(&project(RECIPE), &head, Some(DOMAIN), notes);
    let lost = lost.into_iter().map(|fault| {
        let line = head.location(&fault.path).map_or(0, |place| place.line);
        format!("{} {line}: {}", fault.rule, fault.message)
    });
    lost.collect()
}

const UDP: &str =
    "      - target: 64738\n        published: 64738\n        protocol: udp\n        mode: host\n";
const RESOLVER: &str =
    "        - \"traefik.http.routers.${STACK_NAME}.tls.certresolver=${LETS_ENCRYPT_ENV}\"\n";

#[test]
fn a_port_that_is_dropped_moved_or_of_another_protocol_is_lost() {
    for (changes, expected) in [
        (&[(UDP, "")][..], "C026 7: the host's port `64738/udp`"),
        (
            &[("\"64738:64738\"", "\"64739:64738\"")],
            "C026 7: the host's port `64738/tcp`",
        ),
        (
            &[("protocol: udp", "protocol: sctp")],
            "C026 7: the host's port `64738/udp`",
        ),
        (
            &[("    ports:\n      - \"10000-10009:10000-10009/udp\"\n", "")],
            "C026 22: the host's port `10000-10009/udp`",
        ),
        (
            &[("10000-10009:10000-10009", "10000-10004:10000-10004")],
            "C026 24: the host's port `10005-10009/udp`",
        ),
        (
            &[(
                "    image: b\n",
                "    image: b\n    deploy: {replicas: 0}\n",
            )],
            "C026 25: the host's port `10000-10009/udp`",
        ),
    ] {
        let mut taken = taken(changes, "");
        // A service that is stopped is said as well.
        taken.retain(|said| said.starts_with(PORTS));
        assert_eq!(taken.len(), 1, "{changes:?}: {taken:?}");
        assert!(taken[0].starts_with(expected), "{changes:?}: {taken:?}");
    }
}

#[test]
fn a_service_that_ran_and_has_no_replica_is_stopped_unless_operators_are_told() {
    const RELAY: &str = "    image: b\n";
    let none = |more: &str| format!("    image: b\n    deploy: {{replicas: 0{more}}}\n");
    const PORTS: (&str, &str) = ("    ports:\n      - \"10000-10009:10000-10009/udp\"\n", "");
    const NOTES: &str = "Close 10000-10009.";
    let stopped = |head: &str, notes: &str| taken(&[(RELAY, head), PORTS], notes);
    let said = stopped(&none(""), NOTES);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("C029 23: service `relay` runs in the version before"),
        "{said:?}"
    );
    let cronjob = none(", labels: {swarm.cronjob.enable: 'true'}");
    assert_eq!(stopped(&cronjob, NOTES), [""; 0]);
    let told = "`relay` is off by default now. Close 10000-10009.";
    assert_eq!(stopped(&none(""), told), [""; 0]);
    // The base has none either, or it is gone.
    let base = edited(&[(RELAY, &none(""))]);
    assert!(lost(&base, &base, None, "").is_empty());
}

#[test]
fn a_secret_that_is_declared_and_that_no_service_has_any_more_is_lost() {
    const DECLARED: (&str, &str) = (
        "networks: {proxy: {external: true}}\n",
        "networks: {proxy: {external: true}}\nsecrets: {token: {external: true}}\nconfigs: {conf: {external: true}}\n",
    );
    const APP: (&str, &str) = (
        "    image: a\n",
        "    image: a\n    secrets: [token]\n    configs: [conf]\n",
    );
    let base = edited(&[DECLARED, APP]);
    let lost_of = |changes: &[(&str, &str)]| -> Vec<String> {
        let lost = lost(&base, &edited(changes), None, "");
        lost.into_iter()
            .map(|fault| format!("{} {}", fault.rule, fault.path))
            .collect()
    };
    assert_eq!(
        lost_of(&[DECLARED]),
        ["C028 secrets.token", "C028 configs.conf"]
    );
    assert_eq!(
        lost_of(&[
            DECLARED,
            ("    image: a\n", "    image: a\n    configs: [conf]\n")
        ]),
        ["C028 secrets.token"]
    );
    // Another service has it; the declaration goes, too; nothing changes.
    let moved = (
        "    image: b\n",
        "    image: b\n    secrets: [token]\n    configs: [conf]\n",
    );
    for changes in [&[DECLARED, moved][..], &[], &[DECLARED, APP]] {
        assert_eq!(lost_of(changes), [""; 0], "{changes:?}");
    }
    // Both have other names now; an optional compose file takes what is still declared, and operators are told.
    let renamed = edited(&[
        (
            DECLARED.0,
            "networks: {proxy: {external: true}}\nsecrets: {key: {external: true}}\nconfigs: {main: {external: true}}\n",
        ),
        (
            "    image: a\n",
            "    image: a\n    secrets: [key]\n    configs: [main]\n",
        ),
    ]);
    assert_eq!(lost(&base, &renamed, None, "").len(), 0);
    let optional = edited(&[DECLARED]);
    for (notes, count) in [
        ("`token` and `conf` are for compose.mail.yml now.\n", 0),
        ("`token` is for compose.mail.yml now.\n", 1),
        ("The token and the conf are gone.\n", 2),
    ] {
        assert_eq!(lost(&base, &optional, None, notes).len(), count, "{notes}");
    }
    // The service that had it is one with another, which needs none.
    let relay = (
        "  relay:\n    image: b\n",
        "  relay:\n    image: b\n    secrets: [token]\n",
    );
    let merged = edited(&[DECLARED, (RELAY_SERVICE, "")]);
    assert_eq!(
        lost(&edited(&[DECLARED, relay]), &merged, None, "")
            .iter()
            .filter(|fault| fault.rule == OBJECTS)
            .count(),
        0
    );
}

const SAVED: &str = r#"services:
  app:
    image: a
    environment:
      - PASSWORD_FILE=/run/secrets/password
      - OTHER_FILE=/run/secrets/from_the_image
    secrets: [password]
    volumes: [data:/data, cache:/cache]
    deploy:
      labels:
        - "backupbot.backup=true"
volumes: {data: , cache: }
secrets: {password: {external: true}, pw2: {external: true}}
"#;

/// Returns the rules of what `changes` to [`SAVED`] take, whose release notes are `notes`.
fn rules(changes: &[(&str, &str)], notes: &str) -> Vec<String> {
    let text = changes.iter().fold(SAVED.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no `{from}`");
        text.replace(from, to)
    });
    let lost = lost(&project(SAVED), &project(&text), None, notes);
    lost.iter()
        .map(|fault| format!("{} {}", fault.rule, fault.path))
        .collect()
}

#[test]
fn a_volume_that_the_backup_leaves_out_from_now_on_is_lost_unless_it_is_dumped_or_operators_are_told()
 {
    const SWITCH: &str = "        - \"backupbot.backup=true\"\n";
    let with = |more: &str| format!("{SWITCH}{more}");
    let without_data = with("        - \"backupbot.backup.volumes.data=false\"\n");
    assert_eq!(
        rules(&[(SWITCH, &without_data)], ""),
        ["C030 services.app.deploy.labels"]
    );
    // The first version of the labels saves what it names and nothing else.
    let first = with("        - \"backupbot.backup.path=/data\"\n");
    assert_eq!(
        rules(&[(SWITCH, &first)], "The `data` is saved."),
        ["C030 services.app.deploy.labels"]
    );
    let dumped = format!("{without_data}        - \"backupbot.backup.pre-hook=dump\"\n");
    let part = with("        - \"backupbot.backup.volumes.data.path=notes\"\n");
    for (changes, notes) in [
        (
            &[(SWITCH, without_data.as_str())][..],
            "`data` is a copy, and not saved any more.",
        ),
        (&[(SWITCH, &dumped)], ""),
        (&[(SWITCH, &part)], ""),
        // Said elsewhere; and it is gone.
        (&[(SWITCH, "        - \"x=y\"\n")], ""),
        (
            &[
                ("[data:/data, cache:/cache]", "[data:/data]"),
                ("data: , cache: ", "data: "),
            ],
            "",
        ),
        (&[("data:/data", "data:/srv")], ""),
    ] {
        assert_eq!(rules(changes, notes), [""; 0], "{changes:?}");
    }
}

#[test]
fn a_variable_that_names_no_secrets_file_any_more_is_lost() {
    const NAMES: &str = "PASSWORD_FILE=/run/secrets/password";
    const FAULT: [&str; 1] = ["C031 services.app.environment.PASSWORD_FILE"];
    assert_eq!(
        rules(&[(NAMES, "PASSWORD_FILE=/run/secrets/pasword")], ""),
        FAULT
    );
    // The secret has another name now; it is gone with its declaration.
    assert_eq!(
        rules(
            &[
                ("secrets: [password]", "secrets: [pw2]"),
                ("{password: {external: true}, ", "{")
            ],
            ""
        ),
        FAULT
    );
    assert_eq!(
        rules(
            &[
                ("    secrets: [password]\n", ""),
                ("password: {external: true}, ", "")
            ],
            ""
        ),
        FAULT
    );
    // A config of that name is in the root, and a mount beside it is not in its place.
    const NO_SECRET: (&str, &str) = ("    secrets: [password]\n", "");
    const NOT_DECLARED: (&str, &str) = ("password: {external: true}, ", "");
    for changes in [
        vec![
            ("    secrets: [password]\n", "    configs: [password]\n"),
            NOT_DECLARED,
            (
                "secrets: {pw2",
                "configs: {password: {external: true}}\nsecrets: {pw2",
            ),
        ],
        vec![
            NO_SECRET,
            NOT_DECLARED,
            ("cache:/cache", "cache:/run/secrets/pass"),
        ],
    ] {
        assert_eq!(rules(&changes, ""), FAULT, "{changes:?}");
    }
    for (changes, notes) in [
        (
            &[
                (
                    "secrets: [password]",
                    "secrets: [{source: pw2, target: password}]",
                ),
                ("{password: {external: true}, ", "{"),
            ][..],
            "",
        ),
        (
            &[
                (NAMES, "PASSWORD_FILE=/run/secrets/pw2"),
                ("secrets: [password]", "secrets: [password, pw2]"),
            ],
            "",
        ),
        (&[(NAMES, "PASSWORD=none")], ""),
        (
            &[
                ("cache:/cache", "cache:/run/secrets"),
                ("secrets: [password]", "secrets: [password, pw2]"),
            ],
            "",
        ),
        // Of what no version had nothing is known: the image may have it.
        (&[("from_the_image", "of_the_image")], ""),
        (
            &[
                ("    secrets: [password]\n", ""),
                ("password: {external: true}, ", ""),
            ],
            "`password` is for compose.mail.yml now.",
        ),
    ] {
        assert_eq!(rules(changes, notes), [""; 0], "{changes:?}");
    }
}

#[test]
fn a_port_that_is_kept_or_that_operators_are_told_of_is_not_lost() {
    const RELAY: &str = "    ports:\n      - \"10000-10009:10000-10009/udp\"\n";
    for (changes, notes) in [
        (&[][..], ""),
        // Another way to write it, another mode, another port in the container, one that the engine chooses.
        (&[(UDP, "      - \"64738:64738/udp\"\n")], ""),
        (&[("\"64738:64738\"", "\"64738:1234\"")], ""),
        (&[("      - \"9000\"\n", "")], ""),
        // Another service has it.
        (
            &[
                (UDP, ""),
                (
                    RELAY,
                    "    ports: [\"64738:1/udp\", \"10000-10009:10000-10009/udp\"]\n",
                ),
            ],
            "",
        ),
        (&[(UDP, "")], "Voice goes over TCP: close 64738/udp.\n"),
        (
            &[(RELAY, "")],
            "The ports 10000-10009 are not needed any more.\n",
        ),
        (&[("image: a\n", "image: a:2\n")], ""),
    ] {
        let taken = taken(changes, notes);
        assert!(taken.is_empty(), "{changes:?}: {taken:?}");
    }
    let told_of_another = taken(&[(UDP, "")], "Version 2.0.0 listens on 647380.\n");
    assert_eq!(told_of_another.len(), 1, "{told_of_another:?}");
}

#[test]
fn release_notes_are_those_of_the_next_version_and_of_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let release = dir.path().join("release");
    std::fs::create_dir(&release).unwrap();
    for (name, text) in [("next", "one"), ("1.1.0+2", "two"), ("1.0.0+2", "three")] {
        std::fs::write(release.join(name), text).unwrap();
    }
    std::fs::write(dir.path().join("four"), "four").unwrap();
    let tree = SourceTree::open(dir.path()).unwrap();
    assert_eq!(notes(&tree, Some("1.1.0+2")), "one\ntwo");
    assert_eq!(notes(&tree, Some("../four")), "one");
    assert_eq!(notes(&tree, None), "one");
}

const SERVER: &str = r#"services:
  db:
    image: IMAGE
    environment: [VARIABLES]
  web: {image: nginx, environment: [POSTGRES_USER=app]}
"#;

/// Returns the variables that a new app lacks where those of a server were `before` and are `now`.
fn lacking(image: &str, before: &str, now: &str, notes: &str) -> Vec<String> {
    let of = |variables: &str| {
        let text = SERVER.replace("IMAGE", image);
        project(&text.replace("VARIABLES", variables))
    };
    let lost = lost(&of(before), &of(now), None, notes);
    let variable = |fault: &Fault| {
        assert_eq!(fault.rule, FIRST_START, "{}", fault.message);
        let mut words = fault.message.split('`');
        words.nth(1).unwrap_or_default().to_owned()
    };
    lost.iter().map(variable).collect()
}

#[test]
fn what_a_server_takes_at_its_first_start_is_missed_by_a_new_app_alone() {
    const MARIA: &str =
        "MYSQL_DATABASE=x, MYSQL_USER=x, MYSQL_PASSWORD_FILE=/run/y, MYSQL_ROOT_PASSWORD=z";
    let all = [
        "MYSQL_DATABASE",
        "MYSQL_USER",
        "MYSQL_PASSWORD_FILE",
        "MYSQL_ROOT_PASSWORD",
    ];
    for variable in all {
        let kept: Vec<&str> = MARIA
            .split(", ")
            .filter(|one| !one.starts_with(variable))
            .collect();
        assert_eq!(
            lacking("mariadb:10.11", MARIA, &kept.join(", "), ""),
            [variable]
        );
        // Operators are told.
        let notes = format!("`{variable}` is set by hand.");
        assert_eq!(
            lacking("mariadb:10.11", MARIA, &kept.join(", "), &notes),
            [""; 0]
        );
        // The same text of what is no server.
        assert_eq!(
            lacking("phpmyadmin:5", MARIA, &kept.join(", "), ""),
            [""; 0]
        );
    }
    assert_eq!(
        lacking("mariadb", MARIA, "MYSQL_USER=", ""),
        all.map(str::to_owned)
    );
    let other_names = "MARIADB_DATABASE_FILE=/x, MARIADB_USER=x, MARIADB_PASSWORD_HASH=h, MARIADB_RANDOM_ROOT_PASSWORD=1";
    assert_eq!(lacking("mariadb", MARIA, other_names, ""), [""; 0]);

    const POSTGRES: &str = "POSTGRES_USER=x, POSTGRES_DB=x, POSTGRES_PASSWORD_FILE=/run/y";
    for (now, expected) in [
        // Without a name of its own the database is called as its user is.
        ("POSTGRES_USER=x, POSTGRES_PASSWORD=z", &[][..]),
        ("POSTGRES_USER=y, POSTGRES_PASSWORD=z", &["POSTGRES_DB"]),
        ("POSTGRES_DB=x, POSTGRES_PASSWORD=z", &["POSTGRES_USER"]),
        ("POSTGRES_PASSWORD=z", &["POSTGRES_USER", "POSTGRES_DB"]),
        ("POSTGRES_USER=x, POSTGRES_HOST_AUTH_METHOD=trust", &[]),
        ("POSTGRES_USER=x", &["POSTGRES_PASSWORD_FILE"]),
    ] {
        assert_eq!(lacking("postgres:15", POSTGRES, now, ""), expected, "{now}");
    }
    assert_eq!(
        lacking(
            "postgres",
            "POSTGRES_USER=postgres, POSTGRES_DB=postgres",
            "X=y",
            ""
        ),
        [""; 0]
    );
    let mongo =
        "MONGO_INITDB_ROOT_USERNAME=x, MONGO_INITDB_ROOT_PASSWORD=y, MONGO_INITDB_DATABASE=z";
    assert_eq!(
        lacking("mongo:4.4", mongo, "MONGO_INITDB_ROOT_USERNAME=x", ""),
        ["MONGO_INITDB_ROOT_PASSWORD"]
    );
}

#[test]
fn a_variable_that_a_service_has_no_more_is_said_unless_it_is_given_renamed_or_announced() {
    const TEXT: &str = r#"services:
  app: {image: "docker.io/team/feeds:1", environment: [THEME=x, BASE_URL=https://x, NONE=, DOMAIN=y]}
  db: {image: "postgres:15", environment: [POSTGRES_USER=x]}
"#;
    let said = |from: &str, to: &str, notes: &str| {
        assert!(TEXT.contains(from), "no `{from}`");
        let vars = [("DOMAIN".to_owned(), "y".to_owned())].into();
        let found = dropped(
            &project(TEXT),
            &project(&TEXT.replace(from, to)),
            &vars,
            notes,
        );
        let said = |fault: &Fault| {
            let names = fault.message.split('`').skip(3).step_by(2);
            let names = names.take_while(|name| *name != "release/next");
            format!("{} {}", fault.path, names.collect::<Vec<_>>().join(" "))
        };
        found.iter().map(said).collect::<Vec<String>>()
    };
    const APP: &str = "services.app.environment";
    assert_eq!(said("THEME=x, ", "", ""), [format!("{APP} THEME")]);
    assert_eq!(
        said("[THEME=x, BASE_URL=https://x, NONE=, ", "[", ""),
        [format!("{APP} BASE_URL THEME")]
    );
    assert_eq!(
        said(
            "docker.io/team/feeds:1\", environment: [THEME=x, ",
            "team/feeds:2\", environment: [",
            ""
        ),
        [format!("{APP} THEME")]
    );
    for (from, to, notes) in [
        ("THEME=x, ", "", "`THEME` is set by hand."),
        ("THEME=x, ", "USERNAME=x, ", ""),
        ("NONE=, ", "", ""),
        (", DOMAIN=y", "", ""),
        ("[POSTGRES_USER=x]", "[]", ""),
        (
            "team/feeds:1\", environment: [THEME=x, ",
            "team/other:1\", environment: [",
            "",
        ),
    ] {
        assert_eq!(said(from, to, notes), [""; 0], "{from} {to}");
    }
}

#[test]
fn what_makes_the_first_account_is_missed_by_a_new_app_alone() {
    const TEXT: &str = r#"services:
  app: {image: "feeds:1", environment: [CREATE_ADMIN=1, ADMIN_USERNAME=admin, ADMIN_PASSWORD_FILE=/run/secrets/x, ADMIN_URL=/a]}
  sso: {image: "keycloak:1", environment: [KEYCLOAK_ADMIN=root]}
"#;
    let missed = |from: &str, to: &str, notes: &str| {
        assert!(TEXT.contains(from), "no `{from}`");
        let head = project(&TEXT.replace(from, to));
        let vars = [("ADMIN_USERNAME".to_owned(), "admin".to_owned())].into();
        let faults = first_account(&project(TEXT), &head, &vars, notes);
        assert!(faults.iter().all(|fault| fault.rule == FIRST_START));
        let named = |fault: &Fault| fault.message.split('`').nth(1).unwrap().to_owned();
        faults.iter().map(named).collect::<Vec<String>>()
    };
    assert_eq!(missed("CREATE_ADMIN=1, ", "", ""), ["CREATE_ADMIN"]);
    assert_eq!(missed("KEYCLOAK_ADMIN=root", "", ""), ["KEYCLOAK_ADMIN"]);
    let password = "ADMIN_PASSWORD_FILE=/run/secrets/x, ";
    assert_eq!(missed(password, "", ""), ["ADMIN_PASSWORD_FILE"]);
    for (from, to, notes) in [
        (
            "CREATE_ADMIN=1, ",
            "",
            "`CREATE_ADMIN`: the first visitor is asked.",
        ),
        (password, "ADMIN_PASSWORD=x, ", ""),
        // abra gives all of the env file to it, and what is no account is a warning.
        ("ADMIN_USERNAME=admin, ", "", ""),
        (", ADMIN_URL=/a", "", ""),
        ("feeds:1", "other:1", ""),
    ] {
        assert_eq!(missed(from, to, notes), [""; 0], "{from} {to}");
    }
}
