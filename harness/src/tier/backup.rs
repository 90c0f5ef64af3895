//! The backup tier: a snapshot by the convention that really holds what was seeded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::time::Duration;

use super::mounts;
use super::seed::{MarkerDir, Mounted, Seeds, note_left_out};
use super::{Bench, Tally, TierError, app_fault, driver_fault, hook, label_hooks, recipe_tests};
use crate::driver::backup::{AppSnapshot, HookKind, Part};
use crate::event::Event;
use engine::swarm::EngineError;
use ground::finding::Finding;
use ground::host_file;
use ground::outcome::{Stage, TierOutcome};
use recipe::backup::database::{is_dumped, live_copies};
use recipe::backup::{BackupPaths, BackupPlan, BackupProblem};
use recipe::declared::read::MOST_ATTEMPTS;

/// The assertion about what is in the archive.
const ARCHIVE: &str = "generic: archive holds what was seeded";

/// The assertion about databases that are files of an app.
const SQLITE: &str = "generic: SQLite is saved as a whole";

/// How much older than the seeding a saved file may look: the container's clock is the host's, but tar
/// cuts to seconds.
const CLOCK_SLACK: u64 = 1;

/// How long the declared check of a backup may take; as long as a hook of the labels.
const VERIFY_LIMIT: Duration = Duration::from_secs(900);

/// Returns what of `plan` is saved and restored, which is only what is on volumes of the app's own, and why the rest is
/// not.
///
/// # Errors
/// [`EngineError`].
pub async fn own_part(
    bench: &Bench,
    mut plan: BackupPlan,
) -> Result<(BackupPlan, BTreeSet<String>), EngineError> {
    let mut foreign = BTreeSet::new();
    let mut own = Vec::new();
    for volume in plan.volumes {
        match bench.own_mount(&volume.volume).await? {
            Mounted::Foreign(reason) => drop(foreign.insert(reason)),
            // Of one that is not mounted the backup says so.
            Mounted::At(..) | Mounted::Nowhere => own.push(volume),
        }
    }
    plan.volumes = own;
    for problem in &plan.problems {
        if matches!(problem, BackupProblem::ExternalVolume { .. }) {
            foreign.insert(problem.to_string());
        }
    }
    Ok((plan, foreign))
}

/// Seeds, takes a snapshot, examines it. The snapshot is returned when there is one. `foreign` is why volumes that the
/// labels name are not in `plan`.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn run(
    bench: &mut Bench,
    plan: &BackupPlan,
    foreign: &BTreeSet<String>,
) -> Result<(TierOutcome, Option<AppSnapshot>), TierError> {
    let events = bench.events.clone();
    let mut tally = Tally::start(&events, Stage::Backup);
    if !hook(bench, &mut tally, "pre", Stage::Backup).await? {
        return Ok((tally.end(), None));
    }
    let project = &bench.current.project;
    let mut targets = super::seed::targets(project, Some(plan), Stage::Backup);
    let seeded = async {
        targets.extend(named_directories(bench, plan).await?);
        bench.seed(&targets, "backup").await
    }
    .await;
    match app_fault(seeded)? {
        Ok(left_out) => {
            note_left_out(&mut tally, &left_out);
            note_left_out(&mut tally, foreign);
        }
        Err(reason) => {
            tally.check("generic: data seeded", Err(reason));
            return Ok((tally.end(), None));
        }
    }
    super::database::seed_for_backup(bench, &mut tally, plan).await?;

    if !databases_are_safe(bench, &mut tally, plan).await? {
        return Ok((tally.end(), None));
    }
    let attempts = bench
        .declared
        .verify()
        .map_or(1, |verify| verify.attempts.unwrap_or(MOST_ATTEMPTS));
    for attempt in 1.. {
        let last = attempt >= attempts;
        let snapshot = match back_up(bench, &mut tally, plan).await? {
            Some(snapshot) if !tally.has_failed() => snapshot,
            snapshot => {
                if let Some(snapshot) = &snapshot {
                    note_live_sqlite(bench, &mut tally, snapshot, plan);
                }
                return Ok((tally.end(), snapshot));
            }
        };
        match verify(bench).await? {
            Ok(false) => {}
            Ok(true) => {
                let seen = format!("held at attempt {attempt} of {attempts}");
                tally.check("declared: backup verified", Ok(Some(seen)));
            }
            Err(reason) if last => {
                let reason = format!("{reason}, at each of {attempts} attempts");
                tally.check("declared: backup verified", Err(reason));
            }
            Err(reason) => {
                bench.events.warn(format!(
                    "backup {attempt} of {attempts} was not good: {reason}; backing up again"
                ));
                continue;
            }
        }
        note_live_sqlite(bench, &mut tally, &snapshot, plan);
        if !tally.has_failed() && hook(bench, &mut tally, "verify", Stage::Backup).await? {
            recipe_tests(bench, &mut tally, Stage::Backup).await?;
        }
        return Ok((tally.end(), Some(snapshot)));
    }
    unreachable!("the last attempt returns")
}

/// Asserts that no database is saved by a copy of its live files, or not at all; returns whether the backup is worth
/// its time.
async fn databases_are_safe(
    bench: &Bench,
    tally: &mut Tally<'_>,
    plan: &BackupPlan,
) -> Result<bool, TierError> {
    let project = &bench.current.project;
    let seen = bench.mounts_of(&bench.state().await?).await?;
    let unsaved = mounts::unsaved(&seen, project, plan);
    let mut wrong = unsaved.databases;
    wrong.extend(live_copies(project, plan).iter().map(ToString::to_string));
    for why in unsaved.doubtful {
        tally.unver("generic: data is where the image looks", why);
    }
    if wrong.is_empty() {
        return Ok(true);
    }
    Ok(tally.check("generic: databases are dumped", Err(wrong.join("; "))))
}

/// Makes one backup by the labels and examines it; `None` when there is no snapshot.
async fn back_up(
    bench: &Bench,
    tally: &mut Tally<'_>,
    plan: &BackupPlan,
) -> Result<Option<AppSnapshot>, TierError> {
    if !label_hooks(bench, tally, plan, HookKind::BackupPre).await? {
        return Ok(None);
    }
    let snapshot = match take(bench, tally, plan).await? {
        Ok(snapshot) => snapshot,
        Err(reason) => {
            tally.check("generic: snapshot", Err(reason));
            return Ok(None);
        }
    };
    let bytes: u64 = snapshot.parts.iter().map(|part| part.size).sum();
    tally.check(
        "generic: snapshot",
        Ok(Some(format!(
            "{} of {} parts, {bytes} bytes",
            snapshot.id,
            snapshot.parts.len()
        ))),
    );
    label_hooks(bench, tally, plan, HookKind::BackupPost).await?;
    match &snapshot.sealed {
        None => {
            let holds = holds_the_seed(&bench.seeds, &snapshot, plan.has_pre_hook());
            tally.check(ARCHIVE, holds);
        }
        Some(why) => tally.skip(ARCHIVE, format!("{why}; the restore has to prove it")),
    }
    Ok(Some(snapshot))
}

/// Says which databases of SQLite a snapshot has as they lay there.
fn note_live_sqlite(
    bench: &Bench,
    tally: &mut Tally<'_>,
    snapshot: &AppSnapshot,
    plan: &BackupPlan,
) {
    for (service, found) in live_sqlite(snapshot, plan) {
        if found.unproven {
            tally.unver(SQLITE, found.message.clone());
        }
        bench.events.emit(&Event::Found(Box::new(Finding {
            id: "F023".to_owned(),
            service: Some(service),
            message: found.message,
            fix: "have a `backupbot.backup.pre-hook` make a copy, such as `sqlite3 FILE \".backup COPY\"`, and save the \
                  copy (`backupbot.backup.volumes.<name>.path`)"
                .to_owned(),
        })));
    }
}

/// Databases of SQLite that were saved as they lay there.
#[derive(Debug, PartialEq, Eq)]
struct LiveSqlite {
    message: String,
    /// Whether nothing tells that the copies are whole.
    unproven: bool,
}

/// Returns the databases of SQLite in a snapshot that no hook before it has anything to do with, by the service that
/// has them.
fn live_sqlite(snapshot: &AppSnapshot, plan: &BackupPlan) -> Vec<(String, LiveSqlite)> {
    let mut by_service: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for part in snapshot.parts.iter().filter(|part| part.sqlite.count > 0) {
        let volume = plan
            .volumes
            .iter()
            .find(|saved| saved.volume == part.volume);
        let mounts = volume.into_iter().flat_map(|volume| &volume.mounts);
        let mut services: Vec<&str> = mounts.map(|mount| mount.service.as_str()).collect();
        services.push(&part.service);
        if !services.iter().any(|service| is_dumped(plan, service)) {
            by_service.entry(&part.service).or_default().push(part);
        }
    }
    let found = by_service.into_iter().map(|(service, parts)| {
        let unproven = parts.iter().any(|part| part.sqlite.has_wal);
        let count: usize = parts.iter().map(|part| part.sqlite.count).sum();
        let more = match count - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let torn = match unproven {
            true => {
                "it has a write-ahead log, so a copy of both files is of two moments, and nothing here shows that it is \
                 whole"
            }
            false => "a copy from the middle of a write is torn",
        };
        let message = format!(
            "`{}`{more} on volume `{}` is a database of SQLite, and is saved as it lies there while `{service}` runs: \
             {torn}",
            parts[0].sqlite.first, parts[0].volume
        );
        (service.to_owned(), LiveSqlite { message, unproven })
    });
    found.collect()
}

/// Runs the declared check of the backup; returns whether there is one, or why it does not hold.
async fn verify(bench: &Bench) -> Result<Result<bool, String>, TierError> {
    let Some(verify) = bench.declared.verify() else {
        return Ok(Ok(false));
    };
    let project = &bench.current.project;
    let service = match &verify.service {
        Some(service) => Some(service.clone()),
        None => project.main_service().map(|service| service.name.clone()),
    };
    let state = bench.state().await?;
    let container = service
        .as_ref()
        .and_then(|service| state.container_of(service));
    let Some(container) = container else {
        return Ok(Err("its service has no running container".to_owned()));
    };
    let command = ["/bin/sh", "-c", &verify.command].map(str::to_owned);
    let ran = bench
        .engine()
        .exec(container, &command, None, VERIFY_LIMIT)
        .await;
    Ok(match app_fault(ran)? {
        Ok(output) if output.code == 0 => Ok(true),
        Ok(output) => {
            let said = output.tail.last().cloned().unwrap_or_default();
            Err(format!(
                "the check ended with exit code {}: {said}",
                output.code
            ))
        }
        Err(reason) => Err(reason),
    })
}

/// Takes the snapshot; the inner error is the recipe's fault.
async fn take(
    bench: &Bench,
    tally: &mut Tally<'_>,
    plan: &BackupPlan,
) -> Result<Result<AppSnapshot, String>, TierError> {
    // Hooks may have replaced the container.
    let state = bench.state().await?;
    let own = bench.own_volumes()?;
    let taken = bench.driver.back_up(&bench.lock, &state, plan, &own).await;
    driver_fault(tally, "backup", taken)
}

/// Returns the saved paths that are directories, so that a marker can go into each of them.
async fn named_directories(
    bench: &Bench,
    plan: &BackupPlan,
) -> Result<BTreeSet<MarkerDir>, EngineError> {
    let mut found = BTreeSet::new();
    for volume in &plan.volumes {
        let BackupPaths::Named(paths) = &volume.paths else {
            continue;
        };
        let Mounted::At(container, target) = bench.own_mount(&volume.volume).await? else {
            continue;
        };
        let own = bench.own_volumes()?;
        for path in paths {
            let path = path.trim_matches('/');
            let place = own.place(&container, &format!("{target}/{path}")).await?;
            if let Ok(at) = place
                && bench.engine().is_directory(&at.container, &at.path).await?
            {
                found.insert(MarkerDir {
                    volume: volume.volume.clone(),
                    dir: path.to_owned(),
                });
            }
        }
    }
    Ok(found)
}

/// Every part must be non-empty and hold its marker; one that has none, because it is a single saved file,
/// must be newer than the seeding where `dumps` says that a pre-hook makes such files, or it is the dump of some
/// earlier day. Without one the app wrote the file when it liked, and the restore has to bring it back.
fn holds_the_seed(
    seeds: &Seeds,
    snapshot: &AppSnapshot,
    dumps: bool,
) -> Result<Option<String>, String> {
    if snapshot.parts.is_empty() {
        return Err("the backup labels select nothing".to_owned());
    }
    let mut proven = BTreeSet::new();
    for part in &snapshot.parts {
        let place = MarkerDir {
            volume: part.volume.clone(),
            dir: part.below.clone(),
        };
        let name = format!("`{}` of volume `{}`", part.path, part.volume);
        if part.content_bytes == 0 {
            return Err(format!("the archive of {name} is empty"));
        }
        match seeds.markers.get(&place) {
            Some(said) => match read_marker(part, &place.marker()) {
                Ok(Some(content)) if content == *said => {
                    proven.insert(place);
                }
                Ok(Some(_)) => return Err(format!("the archive of {name} holds an older marker")),
                Ok(None) => {
                    return Err(format!(
                        "the archive of {name} does not hold the marker that was seeded"
                    ));
                }
                Err(error) => {
                    return Err(format!("the archive of {name} is not readable: {error}"));
                }
            },
            None if dumps && part.newest + CLOCK_SLACK < seeds.at => {
                return Err(format!(
                    "{name} was saved as it was before the data was seeded: nothing refreshed it"
                ));
            }
            None => {}
        }
    }
    if let Some(place) = seeds.markers.keys().find(|place| !proven.contains(place)) {
        return Err(format!(
            "no archive is of `{place}`, where a marker was seeded"
        ));
    }
    let files: usize = snapshot.parts.iter().map(|part| part.files).sum();
    Ok(Some(format!("{files} files, {} markers", proven.len())))
}

/// Reads the marker out of an archive; its path there begins with the last name of the saved path, or `.`.
fn read_marker(part: &Part, marker: &str) -> std::io::Result<Option<String>> {
    let wanted = marker.rsplit('/').next().unwrap_or(marker);
    let mut archive = tar::Archive::new(std::io::BufReader::new(host_file::open(&part.file)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let depth = entry.path()?.components().count();
        if depth == 2 && entry.path()?.file_name().is_some_and(|name| name == wanted) {
            let mut content = String::new();
            entry.read_to_string(&mut content)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::backup::SqliteFiles;

    /// The archive of one saved path, as the engine's is: everything lies behind the path's last name.
    fn part(dir: &std::path::Path, below: &str, files: &[(&str, &str)], newest: u64) -> Part {
        let (tar, file) = tempfile::NamedTempFile::new_in(dir)
            .unwrap()
            .keep()
            .unwrap();
        let mut archive = tar::Builder::new(tar);
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap();
        Part {
            volume: "data".to_owned(),
            service: "app".to_owned(),
            path: format!("/data/{below}"),
            below: below.to_owned(),
            file,
            size: 1,
            files: files.len(),
            content_bytes: 1,
            newest,
            ..Part::default()
        }
    }

    #[test]
    fn a_database_of_sqlite_that_no_hook_copies_is_named_and_its_log_proves_nothing() {
        let plan = |hook: &str| {
            let dir = tempfile::tempdir().unwrap();
            let labels = format!("backupbot.backup: 'true', {hook}");
            let text = format!(
                "services:\n  app:\n    image: a\n    volumes: ['data:/data']\n    deploy: {{labels: {{{labels}}}}}\n\
                 volumes: {{data: }}\n"
            );
            std::fs::write(dir.path().join("compose.yml"), text).unwrap();
            let files = ["compose.yml".to_owned()];
            let project = recipe::compose::Project::load(dir.path(), &files, &BTreeMap::new());
            BackupPlan::from_project(&project.unwrap())
        };
        let dir = tempfile::tempdir().unwrap();
        let of = |count, has_wal| {
            let mut part = part(dir.path(), "", &[("data/x", "y")], 100);
            part.sqlite = SqliteFiles {
                count,
                first: "data/a.db".to_owned(),
                has_wal,
            };
            AppSnapshot {
                id: "x".to_owned(),
                parts: vec![part],
                sealed: None,
            }
        };
        assert_eq!(live_sqlite(&of(0, false), &plan("")), []);
        let found = live_sqlite(&of(2, false), &plan(""));
        let (service, found) = &found[0];
        assert_eq!((service.as_str(), found.unproven), ("app", false));
        assert!(
            found
                .message
                .starts_with("`data/a.db` and 1 more on volume `data`"),
            "{found:?}"
        );
        let found = live_sqlite(&of(1, true), &plan(""));
        assert!(
            found[0].1.unproven && found[0].1.message.contains("write-ahead log"),
            "{found:?}"
        );
        // A hook of the service makes the copy, or has it hold still.
        let hook = "backupbot.backup.pre-hook: 'sqlite3 /data/a.db .dump'";
        assert_eq!(live_sqlite(&of(1, true), &plan(hook)), []);
    }

    fn place(dir: &str) -> MarkerDir {
        MarkerDir {
            volume: "data".to_owned(),
            dir: dir.to_owned(),
        }
    }

    #[test]
    fn every_saved_path_of_one_volume_is_held_to_its_own_marker() {
        let dir = tempfile::tempdir().unwrap();
        // Each archive is a file of its own, also where two are of one path.
        let make = |below: &str, files: &[(&str, &str)]| part(dir.path(), below, files, 100);
        let seeds = Seeds {
            markers: [
                (place("a"), "one".to_owned()),
                (place("b/c"), "two".to_owned()),
            ]
            .into(),
            at: 100,
        };
        let of = |parts: Vec<Part>| AppSnapshot {
            id: "x".to_owned(),
            parts,
            sealed: None,
        };
        let a = make("a", &[("a/.recipe-ci-marker", "one")]);
        let c = make("b/c", &[("c/.recipe-ci-marker", "two")]);
        let dump = make("dump.sql", &[("dump.sql", "insert")]);
        let all = of(vec![a.clone(), c.clone(), dump.clone()]);
        let said = holds_the_seed(&seeds, &all, true).unwrap().unwrap();
        assert_eq!(said, "3 files, 2 markers");

        // The other path's marker proves nothing, whichever of the two it is.
        for (parts, words) in [
            (
                vec![a.clone(), make("b/c", &[("c/x", "y")])],
                "`/data/b/c` of volume `data` does not hold",
            ),
            (
                vec![make("a", &[("a/.recipe-ci-marker", "two")]), c.clone()],
                "`/data/a` of volume `data` holds an older",
            ),
            (
                vec![
                    make("a", &[("a/.recipe-ci-marker", "one")]),
                    c.clone(),
                    part(dir.path(), "dump.sql", &[("dump.sql", "old")], 98),
                ],
                "`/data/dump.sql` of volume `data` was saved as it was before",
            ),
            (
                vec![make("a", &[("a/.recipe-ci-marker", "one")])],
                "`data/b/c`",
            ),
        ] {
            let reason = holds_the_seed(&seeds, &of(parts), true).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }

        // A plain file that nobody promised to make anew may be as old as the app; it must not be empty.
        let old = part(dir.path(), "config.php", &[("config.php", "x")], 98);
        let of_old = |old: &Part| of(vec![a.clone(), c.clone(), old.clone()]);
        holds_the_seed(&seeds, &of_old(&old), false).unwrap();
        let empty = Part {
            content_bytes: 0,
            ..old
        };
        holds_the_seed(&seeds, &of_old(&empty), false).unwrap_err();
    }
}
