use std::collections::BTreeMap;

use super::*;

fn plan(services: &str, rest: &str) -> BackupPlan {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("compose.yml"),
        format!("services:\n{services}{rest}"),
    )
    .unwrap();
    let project = Project::load(dir.path(), &["compose.yml".to_owned()], &BTreeMap::new()).unwrap();
    BackupPlan::from_project(&project)
}

const VOLUMES_OF: &str =
    "volumes: {data: , db-data: , cache: , unused: , shared: {external: true}}\n";

fn typical(app_labels: &str, db_labels: &str) -> BackupPlan {
    plan(
        &format!(
            "  app:\n    image: a\n    volumes: ['data:/data', 'cache:/cache:ro', '/etc/hosts:/hosts']\n    deploy: {{labels: {app_labels}}}\n  \
             db:\n    image: b\n    volumes: ['db-data:/var/lib/db', 'data:/shared']\n    deploy: {{labels: {db_labels}}}\n"
        ),
        VOLUMES_OF,
    )
}

fn saved(plan: &BackupPlan) -> Vec<(&str, BackupPaths)> {
    plan.volumes
        .iter()
        .map(|volume| (volume.volume.as_str(), volume.paths.clone()))
        .collect()
}

fn problems(plan: &BackupPlan) -> Vec<String> {
    plan.problems.iter().map(ToString::to_string).collect()
}

fn named<const N: usize>(paths: [&str; N]) -> BackupPaths {
    BackupPaths::Named(paths.map(str::to_owned).into())
}

#[test]
fn every_volume_of_the_stack_is_saved_by_default() {
    let plan = typical("['backupbot.backup=True']", "[]");
    assert!(plan.is_backup_capable());
    assert_eq!(
        saved(&plan),
        [
            ("data", BackupPaths::Whole),
            ("db-data", BackupPaths::Whole),
            ("cache", BackupPaths::Whole)
        ]
    );
    let mounts: Vec<_> = plan.volumes[0]
        .mounts
        .iter()
        .map(|mount| (mount.service.as_str(), mount.target.as_str()))
        .collect();
    assert_eq!(mounts, [("app", "/data"), ("db", "/shared")]);
    assert!(plan.volumes[2].mounts[0].read_only);
    assert_eq!(problems(&plan), Vec::<String>::new());
}

#[test]
fn without_the_switch_there_is_no_backup() {
    for labels in [
        "[]",
        "['backupbot.backup=false']",
        "['backupbot.backup=${ENABLE_BACKUPS:-false}']",
    ] {
        let plan = typical(labels, "[]");
        assert!(!plan.is_backup_capable(), "{labels}");
        assert_eq!(plan, BackupPlan::default());
    }
}

#[test]
fn volumes_are_excluded_and_limited() {
    let plan = typical(
        "{backupbot.backup: 'true', backupbot.backup.volumes.cache: 'false'}",
        "{backupbot.backup: '${ENABLE_BACKUPS:-true}', backupbot.backup.volumes.db-data.path: 'backup.sql, ./wal/x/'}",
    );
    assert_eq!(
        saved(&plan),
        [
            ("data", BackupPaths::Whole),
            ("db-data", named(["backup.sql", "wal/x"]))
        ]
    );
    assert_eq!(problems(&plan), Vec::<String>::new());
}

#[test]
fn hooks_come_in_the_order_of_the_files() {
    let plan = typical(
        "{backupbot.backup: 'true', backupbot.restore.post-hook: migrate}",
        "{backupbot.backup: 'true', backupbot.backup.pre-hook: /pg_backup.sh backup, backupbot.backup.post-hook: ''}",
    );
    let services: Vec<_> = plan
        .services
        .iter()
        .map(|hooks| hooks.service.as_str())
        .collect();
    assert_eq!(services, ["app", "db"]);
    assert_eq!(plan.services[0].restore_post.as_deref(), Some("migrate"));
    assert_eq!(
        plan.services[1].backup_pre.as_deref(),
        Some("/pg_backup.sh backup")
    );
    assert_eq!(plan.services[1].backup_post, None);
}

#[test]
fn paths_that_leave_the_volume_are_refused() {
    let plan = typical(
        "{backupbot.backup: 'true', backupbot.backup.volumes.data.path: '/etc,../x,a/../../b,ok,'}",
        "[]",
    );
    assert_eq!(saved(&plan)[0], ("data", named(["ok"])));
    assert_eq!(plan.problems.len(), 4, "{:?}", problems(&plan));
    let plan = typical(
        "{backupbot.backup: 'true', backupbot.backup.volumes.data.path: '/etc'}",
        "[]",
    );
    assert_eq!(
        saved(&plan)[0].0,
        "db-data",
        "a volume without a usable path is not saved"
    );
}

#[test]
fn odd_labels_are_reported() {
    let plan = typical(
        "{backupbot.backup: 'yes', backupbot.backup.volumes.data: 'false'}",
        "{backupbot.backup.pre-hook: x}",
    );
    assert_eq!(
        problems(&plan),
        [
            "service `app`: `backupbot.backup=yes` is neither `true` nor `false`",
            "service `db`: `backupbot.backup.pre-hook` has no effect: no service of the stack has `backupbot.backup=true`",
        ]
    );
    let plan = typical(
        "{backupbot.backup: 'true', backupbot.backup.volumes.nodata.path: x, backupbot.backup.volumes.nodata: 'false', \
         backupbot.backup.volumes.data: 'no'}",
        "{backupbot.backup: 'true', backupbot.backup.volumes.db-data: 'false', backupbot.backup.volumes.data: 'false'}",
    );
    assert_eq!(
        problems(&plan),
        [
            "service `app`: `backupbot.backup.volumes.data=no` is neither `true` nor `false`",
            "service `app`: the backup labels name the volume `nodata`, which does not exist",
            "service `db` has backup labels, but none of its volumes is saved",
        ]
    );
}

#[test]
fn labels_of_the_container_are_reported_even_without_a_backup() {
    let plan = plan(
        "  app:\n    image: a\n    labels: ['backupbot.backup=true']\n",
        "",
    );
    assert!(!plan.is_backup_capable());
    assert_eq!(
        problems(&plan),
        ["service `app`: `backupbot.backup` is in `labels`; it has to be in `deploy.labels`"]
    );
}

#[test]
fn external_volumes_are_left_alone() {
    let plan = plan(
        "  app:\n    image: a\n    volumes: ['shared:/s', '/anon']\n    deploy: {labels: {backupbot.backup: 'true'}}\n",
        VOLUMES_OF,
    );
    assert_eq!(saved(&plan), []);
    assert_eq!(
        problems(&plan),
        [
            "the volume `shared` is external, so it is not part of the backup",
            "service `app` has backup labels, but none of its volumes is saved",
        ]
    );
}

#[test]
fn paths_of_the_first_version_are_mapped_to_volumes() {
    let v1 = |paths: &str| {
        plan(
            &format!(
                "  app:\n    image: a\n    volumes: ['data:/data', 'cache:/data/cache', '/h:/data/host']\n    \
                 deploy: {{labels: {{backupbot.backup: 'true', backupbot.backup.path: '{paths}'}}}}\n"
            ),
            VOLUMES_OF,
        )
    };
    assert_eq!(
        saved(&v1("/data/")),
        [("data", BackupPaths::Whole), ("cache", BackupPaths::Whole)]
    );
    assert_eq!(
        saved(&v1("/data/a,/data/b/c")),
        [("data", named(["a", "b/c"]))]
    );
    assert_eq!(saved(&v1("/data/cache/x")), [("cache", named(["x"]))]);
    let off = v1("/etc/app,/data/host/x,/database,relative,/data/../x");
    assert_eq!(saved(&off), []);
    let problems = problems(&off);
    assert_eq!(problems.len(), 6, "{problems:?}");
    assert!(
        problems[0].contains("`/etc/app` is on no volume"),
        "{problems:?}"
    );
}

#[test]
fn labels_of_both_versions_mean_the_second() {
    let plan = typical(
        "{backupbot.backup: 'true', backupbot.backup.path: /data/x}",
        "{backupbot.backup: 'true', backupbot.backup.volumes.cache: 'false'}",
    );
    assert_eq!(
        saved(&plan),
        [
            ("data", BackupPaths::Whole),
            ("db-data", BackupPaths::Whole)
        ]
    );
    assert_eq!(
        plan.problems,
        [BackupProblem::MixedVersions {
            service: "app".to_owned()
        }]
    );
}

#[test]
fn in_the_first_version_a_service_without_a_path_saves_its_own_volumes() {
    let plan = plan(
        "  app:\n    image: a\n    deploy: {labels: ['backupbot.backup=true']}\n  \
         db:\n    image: b\n    volumes: ['db-data:/db']\n    \
         deploy: {labels: ['backupbot.backup=true', 'backupbot.backup.command=dump']}\n  \
         files:\n    image: c\n    volumes: ['data:/data']\n    \
         deploy: {labels: ['backupbot.backup=true', 'backupbot.backup.path=/data', 'backupbot.restore=true']}\n  \
         relay:\n    image: d\n    volumes: ['cache:/c']\n",
        VOLUMES_OF,
    );
    assert_eq!(
        saved(&plan),
        [
            ("data", BackupPaths::Whole),
            ("db-data", BackupPaths::Whole)
        ]
    );
    assert_eq!(
        problems(&plan),
        ["service `db`: no backup tool knows the label `backupbot.backup.command`"]
    );
}

#[test]
fn labels_that_ask_and_get_nothing_are_told_from_none() {
    let in_vain = |labels: &str, more: &str| {
        let plan = plan(
            &format!("  app:\n    image: a\n    {more}\n    deploy: {{labels: {labels}}}\n"),
            "",
        );
        plan.asked_in_vain().len()
    };
    for (labels, more) in [
        ("[]", "labels: ['backupbot.backup=true']"),
        ("['backupbot.backup=${ENABLE_BACKUPS}']", ""),
        ("['backupbot.backup=1']", ""),
        ("['backupbot.backup.pre-hook=dump']", ""),
    ] {
        assert_eq!(in_vain(labels, more), 1, "{labels} {more}");
    }
    for (labels, more) in [
        ("[]", ""),
        ("[]", "labels: ['backupbot.backup=false']"),
        (
            "['backupbot.backup=false', 'backupbot.backup.pre-hook=dump']",
            "",
        ),
        // There is a backup, and a label that does nothing beside it.
        (
            "['backupbot.backup=true']",
            "labels: ['backupbot.backup=true']",
        ),
    ] {
        assert_eq!(in_vain(labels, more), 0, "{labels} {more}");
    }
}

#[test]
fn what_is_promised_and_not_saved_is_told_from_what_nobody_misses() {
    let not_saved = |app: &str, db: &str| {
        let plan = typical(app, db);
        let found = plan.not_saved().into_iter();
        found.map(ToString::to_string).collect::<Vec<_>>()
    };
    // Another service's volume is saved, so the archive is good.
    let app = "{backupbot.backup: 'true', backupbot.backup.path: /data}";
    let dump = "{backupbot.backup: 'true', backupbot.backup.path: /tmp/backup/, backupbot.backup.pre-hook: dump}";
    let found = not_saved(app, dump);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("`/tmp/backup/` is on no volume"));

    let app = "{backupbot.backup: 'true', backupbot.backup.volumes.db-data: 'false', backupbot.backup.volumes.data: 'false'}";
    let hook = "{backupbot.backup: 'true', backupbot.backup.pre-hook: dump}";
    assert_eq!(not_saved(app, hook).len(), 1);
    let path = "{backupbot.backup: 'true', backupbot.backup.volumes.db-data.path: dump.sql}";
    assert_eq!(not_saved(app, path).len(), 1);
    // It has only the switch, or names a path of another's volume, which is saved.
    assert!(not_saved(app, "{backupbot.backup: 'true'}").is_empty());
    let other = "{backupbot.backup: 'true', backupbot.backup.volumes.cache.path: x}";
    assert!(not_saved(app, other).is_empty());
}

#[test]
fn the_switch_is_the_stacks_and_labels_count_on_any_service() {
    for off in ["", "backupbot.backup: 'false', "] {
        let plan = typical(
            "{backupbot.backup: 'true'}",
            &format!(
                "{{{off}backupbot.backup.pre-hook: dump, backupbot.restore.post-hook: load, \
                 backupbot.backup.volumes.db-data.path: dump.sql}}"
            ),
        );
        let db = plan.services.iter().find(|hooks| hooks.service == "db");
        let hooks = db.map(|db| (db.backup_pre.as_deref(), db.restore_post.as_deref()));
        assert_eq!(hooks, Some((Some("dump"), Some("load"))), "{off}");
        let db = VolumeBackup::paths_of(&plan, "db-data");
        assert_eq!(db, Some(named(["dump.sql"])), "{off}");
        assert_eq!(problems(&plan), Vec::<String>::new(), "{off}");
    }
}

impl VolumeBackup {
    fn paths_of(plan: &BackupPlan, volume: &str) -> Option<BackupPaths> {
        let found = plan.volumes.iter().find(|saved| saved.volume == volume);
        found.map(|saved| saved.paths.clone())
    }
}
