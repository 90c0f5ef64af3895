//! Markers in databases: a table of ours in each database of the app, beside the app's own.
//!
//! Files say nothing of a database that is saved by a dump: what a restore hook loads, or does not, only the server
//! knows. So the server is asked, after the upgrade and after the restore, whether it still has what it was given.

use futures_util::future::try_join_all;

use super::{Bench, Tally, TierError};
use crate::data::{Answer, Database, Hints, Kind, Known, Question, Said, Wish, ask};
use crate::recipe::backup::{BackupPaths, BackupPlan};
use crate::swarm::EngineError;
use crate::swarm::service::StackState;

/// The databases of an app that were found, and what was put into them.
#[derive(Debug, Clone, Default)]
pub struct Databases {
    /// The name of our table; the same for all of a run.
    table: String,
    /// Those that have it.
    seeded: Vec<Seeded>,
    /// Those that could not get it.
    unseeded: Vec<Unseeded>,
}

/// A database that has our table.
#[derive(Debug, Clone)]
struct Seeded {
    database: Database,
    /// What the table says.
    value: String,
    /// Why it need not come back from a backup, where that is so.
    excused: Option<String>,
}

/// A database that does not have our table.
#[derive(Debug, Clone)]
struct Unseeded {
    database: Database,
    reason: String,
    /// Whether nothing is lost with it: a cache, or what is not the app's own.
    is_no_data: bool,
}

/// What became of what a database was given.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// It has it.
    Kept,
    /// It has it no more, for all that it says.
    Lost(String),
    /// It is no longer part of the app.
    Gone(String),
    /// It cannot be asked, which is not the recipe's fault.
    Blind(String),
}

/// A service whose containers may run a database.
struct Candidate<'a> {
    service: &'a str,
    container: &'a str,
    hints: Hints,
}

fn candidates(state: &StackState) -> Vec<Candidate<'_>> {
    let services = state.services.iter();
    services
        .filter_map(|(name, service)| {
            Some(Candidate {
                service: name,
                container: state.container_of(name)?,
                hints: Hints::of(&service.container_spec),
            })
        })
        .filter(|candidate| candidate.hints.may_have_a_database())
        .collect()
}

impl Databases {
    /// Returns the databases that were found to run, where their own files are known to be.
    pub fn found(&self) -> impl Iterator<Item = &Database> {
        let seeded = self.seeded.iter().map(|one| &one.database);
        seeded.chain(self.unseeded.iter().map(|one| &one.database))
    }

    /// Notes for which of them a backup by `plan` vouches; a loss of the others is not its fault.
    fn judge_by(&mut self, plan: &BackupPlan) {
        for one in &mut self.seeded {
            one.excused = excuse(plan, &one.database);
        }
        for one in &mut self.unseeded {
            one.is_no_data |= excuse(plan, &one.database).is_some();
        }
    }
}

/// Returns why a backup by `plan` need not bring `database` back, if so.
fn excuse(plan: &BackupPlan, database: &Database) -> Option<String> {
    let hooks = plan
        .services
        .iter()
        .find(|hooks| hooks.service == database.service);
    if hooks.is_some_and(|hooks| hooks.backup_pre.is_some() || hooks.names_paths) {
        return None;
    }
    let is_saved = plan.volumes.iter().any(|volume| {
        let mut mounts = volume
            .mounts
            .iter()
            .filter(|mount| mount.service == database.service);
        mounts.any(|mount| {
            let below = crate::data::below(&database.directory, &mount.target);
            match &volume.paths {
                BackupPaths::Whole => below.is_some() || database.directory.is_empty(),
                BackupPaths::Named(paths) => below.is_some_and(|below| {
                    paths.iter().any(|path| {
                        std::path::Path::new(&below).starts_with(path.trim_matches('/'))
                    })
                }),
            }
        })
    });
    let service = &database.service;
    match (is_saved, database.kind) {
        (true, Kind::Redis) if hooks.is_none() => Some(format!(
            "it is saved only because every volume is, and service {service} asks for no backup"
        )),
        (true, _) => None,
        (false, _) => Some(format!(
            "the backup labels neither save its files nor name a hook of service {service}"
        )),
    }
}

impl Bench {
    /// Puts a new marker into every database of the app whose files are the app's own.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn seed_databases(&mut self, word: &str) -> Result<(), EngineError> {
        let state = self.state().await?;
        let mut databases = Databases {
            table: std::mem::take(&mut self.databases.table),
            ..Databases::default()
        };
        if databases.table.is_empty() {
            databases.table = format!(
                "recipe_ci_{:012x}",
                rand::random::<u64>() & 0xffff_ffff_ffff
            );
        }
        let candidates = candidates(&state);
        let value = format!("{word}_{:016x}", rand::random::<u64>());
        let asked = candidates
            .iter()
            .map(|candidate| self.seed_those_of(candidate, &databases.table, &value));
        for (answers, mut foreign) in try_join_all(asked).await? {
            databases.unseeded.append(&mut foreign);
            for Answer { database, said } in answers {
                let (reason, is_no_data) = match said {
                    Said::Done(values) if values == [value.as_str()] => {
                        databases.seeded.push(Seeded {
                            database,
                            value: value.clone(),
                            excused: None,
                        });
                        continue;
                    }
                    Said::Done(_) => ("it did not keep what was written".to_owned(), false),
                    Said::Cache(reason) => (reason, true),
                    Said::Starting(reason)
                    | Said::Refused(reason)
                    | Said::NoClient(reason)
                    | Said::Failed(reason) => (reason, false),
                };
                databases.unseeded.push(Unseeded {
                    database,
                    reason,
                    is_no_data,
                });
            }
        }
        self.databases = databases;
        Ok(())
    }

    /// Seeds the databases of one container. Where something of somebody else's is mounted in it, each is first asked
    /// where its files are.
    async fn seed_those_of(
        &self,
        candidate: &Candidate<'_>,
        table: &str,
        value: &str,
    ) -> Result<(Vec<Answer>, Vec<Unseeded>), EngineError> {
        let Candidate {
            service,
            container,
            hints,
        } = candidate;
        let app = self.belongings()?;
        let question = |wish| Question {
            wish,
            table,
            hints,
            of: None,
        };
        let engine = self.engine();
        let foreign = self
            .engine()
            .foreign(&app, container, &hints.mounts)
            .await?;
        if foreign.is_empty() {
            let question = question(Wish::Seed(value));
            let answers = ask(engine, container, service, &question, false).await?;
            return Ok((answers, Vec::new()));
        }
        let mut answers = Vec::new();
        let mut unseeded = Vec::new();
        let locate = question(Wish::Locate);
        let located = ask(engine, container, service, &locate, false).await?;
        for Answer { database, said } in located {
            let theirs = foreign.iter().find(|(path, _)| {
                database.directory.is_empty()
                    || std::path::Path::new(&database.directory).starts_with(path)
            });
            match (said, theirs) {
                (Said::Done(_), Some((_, reason))) => unseeded.push(Unseeded {
                    reason: format!("{reason}: nothing is written into it"),
                    database,
                    is_no_data: true,
                }),
                (Said::Done(_), None) => {
                    let question = Question {
                        of: Some(Known {
                            kind: database.kind,
                            name: &database.name,
                            user: &database.user,
                        }),
                        ..question(Wish::Seed(value))
                    };
                    answers.append(&mut ask(engine, container, service, &question, false).await?);
                }
                (said, _) => answers.push(Answer { database, said }),
            }
        }
        Ok((answers, unseeded))
    }

    /// Empties our tables and says so.
    async fn wipe_databases(&self, tally: &mut Tally<'_>) -> Result<(), EngineError> {
        let state = self.state().await?;
        let asked = self.databases.seeded.iter().map(async |one| {
            let answer = self.ask_again(&state, one, Wish::Wipe).await?;
            Ok::<_, EngineError>((one, answer))
        });
        for (one, answer) in try_join_all(asked).await? {
            let wiped = match answer {
                Some(Said::Done(values)) if values.is_empty() => Ok(None),
                answer => Err(format!(
                    "what was seeded cannot be removed, so a restore proves nothing: {}",
                    in_words(answer)
                )),
            };
            tally.check(&format!("generic: data wiped — {}", one.database), wiped);
        }
        Ok(())
    }

    /// Removes our tables; returns what is left of them, in words.
    async fn clear_databases(&self) -> Result<Vec<String>, EngineError> {
        let state = self.state().await?;
        let asked = self.databases.seeded.iter().map(async |one| {
            let answer = self.ask_again(&state, one, Wish::Drop).await?;
            Ok::<_, EngineError>(match answer {
                Some(Said::Done(values)) if values.is_empty() => None,
                // It went with its container.
                None => None,
                answer => Some(format!(
                    "{} still has the table {}: {}",
                    one.database,
                    self.databases.table,
                    in_words(answer)
                )),
            })
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }

    /// Asks a seeded database where it was seeded; `None` when no such server runs there any more.
    async fn ask_again(
        &self,
        state: &StackState,
        one: &Seeded,
        wish: Wish<'_>,
    ) -> Result<Option<Said>, EngineError> {
        let database = &one.database;
        let service = state.services.get(&database.service);
        let (Some(service), Some(container)) = (service, state.container_of(&database.service))
        else {
            return Ok(None);
        };
        let question = Question {
            wish,
            table: &self.databases.table,
            hints: &Hints::of(&service.container_spec),
            of: Some(Known {
                kind: database.kind,
                name: &database.name,
                user: &database.user,
            }),
        };
        let answers = ask(self.engine(), container, &service.name, &question, true).await?;
        let mut of_kind = answers
            .into_iter()
            .filter(|answer| answer.database.kind == database.kind);
        Ok(of_kind.next().map(|answer| answer.said))
    }

    /// Looks what became of what was seeded in `one`.
    async fn look_into(&self, state: &StackState, one: &Seeded) -> Result<Found, EngineError> {
        let kind = one.database.kind;
        match self.ask_again(state, one, Wish::Read).await? {
            Some(said) => return Ok(found(said, &one.value)),
            None if !state.services.contains_key(&one.database.service) => {}
            None => {
                return Ok(Found::Lost(format!(
                    "no {kind} runs in service {} any more",
                    one.database.service
                )));
            }
        }
        // The head may have given the service another name.
        let question = |hints| Question {
            wish: Wish::Read,
            table: &self.databases.table,
            hints,
            of: Some(Known {
                kind,
                name: "",
                user: "",
            }),
        };
        let candidates = candidates(state);
        let asked = candidates.iter().map(async |candidate| {
            let question = question(&candidate.hints);
            ask(
                self.engine(),
                candidate.container,
                candidate.service,
                &question,
                false,
            )
            .await
        });
        let answers: Vec<Answer> = try_join_all(asked).await?.into_iter().flatten().collect();
        let looked: Vec<Found> = answers
            .into_iter()
            .map(|answer| found(answer.said, &one.value))
            .collect();
        let gone = format!(
            "service {} is gone, and no {kind} runs",
            one.database.service
        );
        let kept = looked.iter().position(|found| *found == Found::Kept);
        Ok(kept.map_or_else(
            || looked.first().cloned().unwrap_or(Found::Gone(gone)),
            |_| Found::Kept,
        ))
    }

    /// Asserts of every seeded database that it has what it was given; `data` is what that is called.
    pub(super) async fn judge_databases(
        &self,
        tally: &mut Tally<'_>,
        data: &str,
    ) -> Result<(), TierError> {
        if self.databases.seeded.is_empty() {
            return Ok(());
        }
        let state = self.state().await?;
        let asked = self.databases.seeded.iter().map(async |one| {
            let found = self.look_into(&state, one).await?;
            Ok::<_, EngineError>((one, found))
        });
        let looked = match super::app_fault(try_join_all(asked).await)? {
            Ok(looked) => looked,
            Err(reason) => {
                tally.check(data, Err(reason));
                return Ok(());
            }
        };
        for (one, found) in looked {
            let name = format!("{data} — {}", one.database);
            match (found, &one.excused) {
                (Found::Kept, _) => drop(tally.check(&name, Ok(None))),
                (Found::Lost(reason), Some(excuse)) => {
                    tally.skip(&name, format!("{reason}; {excuse}, so that is not judged"));
                }
                (Found::Lost(reason), None) => drop(tally.check(&name, Err(reason))),
                (Found::Gone(reason), _) => {
                    tally.skip(&name, format!("{reason}: what became of it is not judged"));
                }
                (Found::Blind(reason), Some(_)) => tally.skip(&name, reason),
                (Found::Blind(reason), None) => tally.unver(&name, reason),
            }
        }
        Ok(())
    }
}

/// Wipes our tables; what cannot be wiped fails the tier.
pub(super) async fn wipe(bench: &Bench, tally: &mut Tally<'_>) -> Result<(), TierError> {
    let wiped = bench.wipe_databases(tally).await;
    if let Err(reason) = super::app_fault(wiped)? {
        tally.check("generic: data wiped", Err(reason));
    }
    Ok(())
}

/// Removes our tables before the tests of others run; what stays is said.
pub(super) async fn clear(bench: &Bench) -> Result<(), TierError> {
    let left = match super::app_fault(bench.clear_databases().await)? {
        Ok(left) => left,
        Err(reason) => vec![format!("a table of recipe-ci may be left: {reason}")],
    };
    left.into_iter().for_each(|line| bench.events.warn(line));
    Ok(())
}

/// Seeds before the upgrade, and notes which databases could not be.
pub(super) async fn seed_for_upgrade(
    bench: &mut Bench,
    tally: &mut Tally<'_>,
) -> Result<(), TierError> {
    let seeded = bench.seed_databases("upgrade").await;
    if let Err(reason) = super::app_fault(seeded)? {
        tally.skip("generic: data seeded", reason);
    }
    for one in &bench.databases.unseeded {
        tally.skip(&seeded_name(&one.database), not_judged(&one.reason));
    }
    Ok(())
}

/// Seeds before the backup by `plan`. Of what is saved and could not be seeded, nothing can show that it comes back.
pub(super) async fn seed_for_backup(
    bench: &mut Bench,
    tally: &mut Tally<'_>,
    plan: &BackupPlan,
) -> Result<(), TierError> {
    let seeded = bench.seed_databases("backup").await;
    if let Err(reason) = super::app_fault(seeded)? {
        tally.unver("generic: data seeded", reason);
    }
    bench.databases.judge_by(plan);
    for one in &bench.databases.unseeded {
        let name = seeded_name(&one.database);
        if one.is_no_data {
            tally.skip(&name, not_judged(&one.reason));
        } else {
            let reason = format!(
                "{}: nothing can show that a backup of it is good",
                one.reason
            );
            tally.unver(&name, reason);
        }
    }
    Ok(())
}

fn seeded_name(database: &Database) -> String {
    format!("generic: data seeded — {database}")
}

fn not_judged(reason: &str) -> String {
    format!("{reason}: what becomes of it is not judged")
}

/// Judges what a database said when it was asked for `value`.
fn found(said: Said, value: &str) -> Found {
    match said {
        Said::Done(values) if values.iter().any(|one| one == value) => Found::Kept,
        Said::Done(values) if values.is_empty() => {
            Found::Lost("what was written into it is gone".to_owned())
        }
        Said::Done(_) => Found::Lost("it has what was written at an earlier time".to_owned()),
        Said::Starting(reason) | Said::Refused(reason) | Said::Failed(reason) => {
            Found::Lost(format!("it can no longer be asked: {reason}"))
        }
        Said::NoClient(reason) => Found::Blind(format!("it can no longer be asked: {reason}")),
        Said::Cache(reason) => Found::Gone(reason),
    }
}

fn in_words(said: Option<Said>) -> String {
    match said {
        None => "its server is gone".to_owned(),
        Some(Said::Done(values)) => format!("it says {}", values.join(" ")),
        Some(
            Said::Starting(reason)
            | Said::Refused(reason)
            | Said::NoClient(reason)
            | Said::Failed(reason)
            | Said::Cache(reason),
        ) => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::backup::{ServiceHooks, VolumeBackup, VolumeMount};

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

    #[test]
    fn a_backup_vouches_for_what_it_dumps_or_saves() {
        let named = |path: &str| Some(BackupPaths::Named(vec![path.to_owned()]));
        let sql = database(Kind::PostgreSql, "/data/pg");
        let redis = database(Kind::Redis, "/data");
        let unknown = database(Kind::MariaDb, "");
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
        ] {
            assert_eq!(
                excuse(&plan, database).is_some(),
                excused,
                "{database} {plan:?}"
            );
        }
    }

    #[test]
    fn only_the_value_that_was_written_is_what_was_written() {
        let done = |values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned());
            found(Said::Done(values.collect()), "upgrade_1")
        };
        assert_eq!(done(&["upgrade_1"]), Found::Kept);
        // A restore may add what it has to what is there.
        assert_eq!(done(&["other", "upgrade_1"]), Found::Kept);
        assert!(matches!(done(&[]), Found::Lost(_)));
        assert!(matches!(done(&["upgrade_2"]), Found::Lost(_)));
        let refused = Said::Refused("password authentication failed".to_owned());
        assert!(matches!(found(refused, "upgrade_1"), Found::Lost(_)));
        let blind = Said::NoClient("there is no `psql`".to_owned());
        assert!(matches!(found(blind, "upgrade_1"), Found::Blind(_)));
    }
}
