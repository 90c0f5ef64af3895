//! For which databases a backup vouches, and which are asked.

use super::*;
use crate::event::Events;
use engine::swarm::service::{Task, samples};
use ground::outcome::{Stage, Status};
use recipe::backup::{VolumeBackup, VolumeMount};

fn database(kind: Kind, directory: &str) -> Database {
    Database {
        service: "db".to_owned(),
        kind,
        name: "notes".to_owned(),
        user: "notes".to_owned(),
        directory: directory.to_owned(),
    }
}

fn plan(hook: bool, paths: Option<BackupPaths>) -> BackupPlan {
    let hooks = ServiceHooks {
        service: "db".to_owned(),
        backup_pre: Some("dump".to_owned()),
        backup_post: None,
        restore_pre: None,
        restore_post: None,
        names_paths: false,
    };
    let mounts = vec![VolumeMount {
        service: "db".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
    }];
    let volume = |paths| VolumeBackup {
        volume: "db-data".to_owned(),
        mounts,
        paths,
    };
    BackupPlan {
        services: hook.then_some(hooks).into_iter().collect(),
        volumes: paths.map(volume).into_iter().collect(),
        problems: Vec::new(),
    }
}

/// The hook of another service than the database's.
fn elsewhere(command: &str) -> BackupPlan {
    let mut plan = plan(true, None);
    plan.services[0].service = "app".to_owned();
    plan.services[0].backup_pre = Some(command.to_owned());
    plan
}

#[test]
fn a_backup_vouches_for_what_it_dumps_or_saves() {
    let named = |path: &str| Some(BackupPaths::Named(vec![path.to_owned()]));
    let sql = database(Kind::PostgreSql, "/data/pg");
    let redis = database(Kind::Redis, "/data");
    let unknown = database(Kind::MariaDb, "");
    let file = database(Kind::Sqlite, "/data");
    for (database, plan, excused) in [
        (&sql, plan(true, named("dump.sql")), false),
        (&sql, plan(false, Some(BackupPaths::Whole)), false),
        (&unknown, plan(false, Some(BackupPaths::Whole)), false),
        (&sql, plan(false, named("pg")), false),
        // Not its files, and no hook of its service.
        (&sql, plan(false, named("uploads")), true),
        (&sql, plan(false, None), true),
        // A cache is saved along with the rest.
        (&redis, plan(false, Some(BackupPaths::Whole)), true),
        (&redis, plan(true, Some(BackupPaths::Whole)), false),
        // The hook of this service dumps something else.
        (&file, plan(true, Some(BackupPaths::Whole)), true),
        (&file, plan(false, None), true),
        (&sql, elsewhere("pg_dump -h db notes >/dump"), false),
        (&sql, elsewhere("mysqldump -h other x >/dump"), true),
        (&redis, elsewhere("pg_dump -h db notes >/dump"), true),
    ] {
        assert_eq!(
            excuse(&plan, database).is_some(),
            excused,
            "{database} {plan:?}"
        );
    }
}
fn unseeded(database: Database, reason: &str) -> Unseeded {
    Unseeded {
        database,
        reason: reason.to_owned(),
        is_declared: false,
        is_no_data: false,
    }
}

/// Returns how the backup tier ends that saves by `plan`, with the reason.
fn ends(mut databases: Databases, plan: &BackupPlan) -> (Status, String) {
    let events = Events::default();
    let mut tally = Tally::start(&events, Stage::Backup);
    databases.judge_by(plan);
    databases.say_what_is_not_saved(&mut tally);
    let outcome = tally.end();
    (outcome.status, outcome.reason.unwrap_or_default())
}

#[test]
fn a_backup_of_a_database_that_could_not_be_seeded_is_not_verified_with_the_reason() {
    let refused = "password authentication failed";
    let of = |one| Databases {
        unseeded: vec![one],
        ..Databases::default()
    };
    let sql = || unseeded(database(Kind::PostgreSql, "/data"), refused);
    let (status, reason) = ends(of(sql()), &plan(true, None));
    assert_eq!(status, Status::Unver);
    assert_eq!(
        reason,
        format!(
            "generic: data seeded — PostgreSQL database notes of service db: {refused}: nothing can show that a \
             backup of it is good"
        )
    );
    // No backup is for it, or it is only a cache; unless that is declared.
    let (status, _) = ends(of(sql()), &plan(false, None));
    assert_eq!(status, Status::Pass);
    let cache = || Unseeded {
        is_no_data: true,
        ..unseeded(database(Kind::Redis, ""), "it keeps nothing")
    };
    assert_eq!(ends(of(cache()), &plan(false, None)).0, Status::Pass);
    assert_eq!(ends(of(cache()), &plan(true, None)).0, Status::Unver);
    let declared = Unseeded {
        is_declared: true,
        ..sql()
    };
    assert_eq!(ends(of(declared), &plan(false, None)).0, Status::Unver);
}

#[test]
fn a_database_that_no_backup_has_is_not_verified_unless_that_is_declared() {
    let seeded = |is_declared| Databases {
        seeded: vec![Seeded {
            database: database(Kind::PostgreSql, "/data"),
            value: "backup_1".to_owned(),
            is_declared,
            excused: None,
        }],
        ..Databases::default()
    };
    let (status, reason) = ends(seeded(false), &plan(false, None));
    assert_eq!(status, Status::Unver);
    assert!(
        reason.contains("a restore would come without it"),
        "{reason}"
    );
    // It has to come back then, and the restore asks for it.
    assert_eq!(ends(seeded(true), &plan(false, None)).0, Status::Pass);
}

fn of_yml(text: &str) -> Vec<Data> {
    serde_yaml::from_str(text).unwrap()
}

/// A stack whose services run, `db` in the image of PostgreSQL and `app` in one of its own.
fn stack() -> StackState {
    let mut state = samples::state(&["app", "db"], Vec::new());
    for name in ["app", "db"] {
        state.tasks.push(Task {
            container_id: Some(format!("c-{name}")),
            ..samples::task(name, name, "running")
        });
    }
    if let Some(db) = state.services.get_mut("db") {
        db.image = "postgres:15".to_owned();
    }
    state
}

/// Returns which services are asked, each with what for, and what is not.
fn asked(declared: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (declared, state) = (of_yml(declared), stack());
    let (wanted, not_asked) = wanted(&declared, &state);
    let of = |one: &SeedRequest<'_>| match one.known() {
        Some(known) => format!(
            "{} {} {} {}",
            one.service, known.kind, known.name, known.user
        ),
        None => one.service.to_owned(),
    };
    (wanted.iter().map(of).collect(), not_asked)
}

#[test]
fn what_is_declared_is_asked_in_the_place_of_what_is_guessed_and_none_is_not_asked() {
    let none = || Vec::<(String, String)>::new();
    assert_eq!(asked("[]"), (vec!["db".to_owned()], none()));
    let named = "[{service: db, kind: postgresql, database: other, user: admin}]";
    assert_eq!(
        asked(named),
        (vec!["db PostgreSQL other admin".to_owned()], none())
    );
    // A second one beside the guess.
    let beside = "[{service: app, kind: sqlite, database: /data/app.db}]";
    let both = vec!["app SQLite /data/app.db ".to_owned(), "db".to_owned()];
    assert_eq!(asked(beside), (both, none()));
    let why = |what: &str| vec![(what.to_owned(), "only sessions".to_owned())];
    assert_eq!(
        asked("[{service: db, none: only sessions}]"),
        (Vec::new(), why("databases of service db"))
    );
    assert_eq!(
        asked("[{none: only sessions}]"),
        (Vec::new(), why("databases"))
    );
}

#[test]
fn a_declared_database_that_is_not_there_is_not_verified() {
    let (declared, state) = (of_yml("[{service: cache, kind: redis}]"), stack());
    let (wanted, _) = wanted(&declared, &state);
    assert!(wanted[0].candidate.is_none());
    let databases = Databases {
        unseeded: wanted[0].not_there("its service has no running container".to_owned()),
        ..Databases::default()
    };
    let (status, reason) = ends(databases, &plan(false, None));
    assert_eq!(status, Status::Unver);
    assert!(
        reason.contains("of service cache: its service has no running container"),
        "{reason}"
    );
}
