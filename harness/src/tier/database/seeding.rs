//! Which databases of an app get a marker, and for which of them a backup vouches.

use futures_util::future::try_join_all;

use super::{Candidate, Databases, Seeded, Unseeded, candidates, known};
use crate::data::{Answer, Database, Kind, Known, Question, Said, Wish, ask};
use crate::tier::{Bench, Tally, TierError, app_fault};
use engine::swarm::EngineError;
use engine::swarm::service::StackState;
use recipe::backup::{BackupPaths, BackupPlan, ServiceHooks};
use recipe::declared::file::Data;

/// What is asked of one container: what is declared of it, or whatever runs there.
struct SeedRequest<'a> {
    service: &'a str,
    candidate: Option<Candidate<'a>>,
    declared: Option<&'a Data>,
}

impl<'a> SeedRequest<'a> {
    fn known(&self) -> Option<Known<'a>> {
        let declared = self.declared?;
        Some(Known {
            kind: declared.kind?,
            name: declared.database.as_deref().unwrap_or_default(),
            user: declared.user.as_deref().unwrap_or_default(),
        })
    }

    /// Notes that what is declared is not there.
    fn not_there(&self, reason: String) -> Vec<Unseeded> {
        let known = self.known().into_iter();
        known
            .map(|known| Unseeded {
                database: Database {
                    service: self.service.to_owned(),
                    kind: known.kind,
                    name: known.name.to_owned(),
                    user: known.user.to_owned(),
                    directory: String::new(),
                },
                reason: reason.clone(),
                is_declared: true,
                is_no_data: false,
            })
            .collect()
    }
}

impl Databases {
    /// Says what is declared to be no database, and why.
    fn say_what_is_not_asked(&self, tally: &mut Tally<'_>) {
        for (what, reason) in &self.not_asked {
            let name = format!("generic: data seeded — {what}");
            tally.skip(&name, format!("declared to be none: {reason}"));
        }
    }

    /// Says of which databases nothing can show that a restore brings them back.
    fn say_what_is_not_saved(&self, tally: &mut Tally<'_>) {
        self.say_what_is_not_asked(tally);
        for one in &self.seeded {
            // A cache need not be saved, and a file is judged with its volume.
            if let Some(excuse) = &one.excused
                && !matches!(one.database.kind, Kind::Redis | Kind::Sqlite)
            {
                let reason = format!(
                    "{excuse}: a restore would come without it; if that is right, say so with `none` under `data` in recipe-ci.yml"
                );
                tally.unver(&seeded_name(&one.database), reason);
            }
        }
        for one in &self.unseeded {
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
    }

    /// Notes for which of them a backup by `plan` vouches; a loss of the others is not its fault.
    fn judge_by(&mut self, plan: &BackupPlan) {
        for one in self.seeded.iter_mut().filter(|one| !one.is_declared) {
            one.excused = excuse(plan, &one.database);
        }
        for one in self.unseeded.iter_mut().filter(|one| !one.is_declared) {
            // What a recipe saves by name is more than a cache to it, whatever its settings say.
            let is_named =
                one.database.kind == Kind::Redis && is_saved_by_name(plan, &one.database.service);
            one.is_no_data = (one.is_no_data && !is_named) || excuse(plan, &one.database).is_some();
        }
    }
}

/// Returns why a backup by `plan` need not bring `database` back, if so.
fn excuse(plan: &BackupPlan, database: &Database) -> Option<String> {
    let hooks = plan
        .services
        .iter()
        .find(|hooks| hooks.service == database.service);
    if database.kind == Kind::Sqlite {
        let file = database.name.rsplit('/').next().unwrap_or_default();
        let dump = hooks.and_then(|hooks| hooks.backup_pre.as_deref());
        let is_dumped = dump.is_some_and(|dump| dump.contains("sqlite") || dump.contains(file));
        let luck = "its file is copied while the app has it open, and such a copy is whole by luck";
        return (!is_dumped).then(|| luck.to_owned());
    }
    let mut hooks_of_all = plan.services.iter();
    if is_saved_by_name(plan, &database.service)
        || hooks_of_all.any(|hooks| dumps(hooks, database.kind))
    {
        return None;
    }
    let is_saved = plan.volumes.iter().any(|volume| {
        let mut mounts = volume
            .mounts
            .iter()
            .filter(|mount| mount.service == database.service);
        mounts.any(|mount| {
            let below = below(&database.directory, &mount.target);
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

/// Returns whether a service has a hook before backups, or names what is saved of its volumes.
fn is_saved_by_name(plan: &BackupPlan, service: &str) -> bool {
    let mut hooks = plan.services.iter();
    hooks.any(|hooks| hooks.service == service && (hooks.backup_pre.is_some() || hooks.names_paths))
}

/// Returns whether a hook looks as if it dumped a database of this kind, over the network where it is another service's.
fn dumps(hooks: &ServiceHooks, kind: Kind) -> bool {
    let words: &[&str] = match kind {
        Kind::PostgreSql => &["pg_dump", "pg_backup"],
        Kind::MariaDb => &["mysqldump", "mariadb-dump", "mariabackup"],
        Kind::MongoDb => &["mongodump"],
        Kind::Redis => &["redis-cli", "bgsave"],
        Kind::Sqlite => &[],
    };
    let command = hooks.backup_pre.as_deref().unwrap_or_default();
    words.iter().any(|word| command.contains(word))
}

/// Returns the part of `directory` that is below the root of a volume that is mounted at `target`, if any of it is there.
fn below(directory: &str, target: &str) -> Option<String> {
    let (directory, target) = (
        std::path::Path::new(directory),
        std::path::Path::new(target),
    );
    if target.starts_with(directory) {
        return Some(String::new());
    }
    let rest = directory.strip_prefix(target).ok()?;
    Some(rest.display().to_string())
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
        let value = format!("{word}_{:016x}", rand::random::<u64>());
        let (wanted, not_asked) = wanted(self.declared.data(), &state);
        databases.not_asked = not_asked;
        let asked = wanted
            .iter()
            .map(|wanted| self.seed_those_of(wanted, &databases.table, &value));
        for (wanted, found) in wanted.iter().zip(try_join_all(asked).await?) {
            let (answers, mut foreign) = found;
            databases.unseeded.append(&mut foreign);
            let is_declared = wanted.declared.is_some();
            for Answer { database, said } in answers {
                let (reason, is_no_data) = match said {
                    Said::Done(values) if values == [value.as_str()] => {
                        databases.seeded.push(Seeded {
                            database,
                            value: value.clone(),
                            is_declared,
                            excused: None,
                        });
                        continue;
                    }
                    Said::Done(_) => ("it did not keep what was written".to_owned(), false),
                    Said::Cache(reason) => (reason, true),
                    // The files of its volume are judged as files.
                    Said::NoClient(reason) => (reason, database.kind == Kind::Sqlite),
                    Said::Starting(reason) | Said::Refused(reason) | Said::Failed(reason) => {
                        (reason, false)
                    }
                };
                databases.unseeded.push(Unseeded {
                    database,
                    reason,
                    is_declared,
                    is_no_data: is_no_data && !is_declared,
                });
            }
        }
        self.databases = databases;
        Ok(())
    }

    /// Seeds the databases of one container. Where something foreign is mounted in it, each is first asked
    /// where its files are.
    async fn seed_those_of(
        &self,
        wanted: &SeedRequest<'_>,
        table: &str,
        value: &str,
    ) -> Result<(Vec<Answer>, Vec<Unseeded>), EngineError> {
        let is_declared = wanted.declared.is_some();
        let Some(candidate) = &wanted.candidate else {
            let reason = "its service has no running container".to_owned();
            return Ok((Vec::new(), wanted.not_there(reason)));
        };
        let app = self.belongings()?;
        let question = |wish| Question {
            wish,
            table,
            hints: &candidate.hints,
            of: wanted.known(),
        };
        let ask = async |question: &Question<'_>| {
            let (container, service) = (candidate.container, candidate.service);
            ask(self.engine(), container, service, question, is_declared).await
        };
        let mounts = &candidate.hints.mounts;
        let foreign = self
            .engine()
            .foreign(&app, candidate.container, mounts)
            .await?;
        if foreign.is_empty() {
            let answers = ask(&question(Wish::Seed(value))).await?;
            let missing = if answers.is_empty() {
                wanted.not_there("no such server runs in its container".to_owned())
            } else {
                Vec::new()
            };
            return Ok((answers, missing));
        }
        let mut answers = Vec::new();
        let mut unseeded = Vec::new();
        for Answer { database, said } in ask(&question(Wish::Locate)).await? {
            let theirs = foreign.iter().find(|(path, _)| {
                database.directory.is_empty()
                    || std::path::Path::new(&database.directory).starts_with(path)
            });
            match (said, theirs) {
                (Said::Done(_), Some((_, reason))) => unseeded.push(Unseeded {
                    reason: format!("{reason}: nothing is written into it"),
                    database,
                    is_declared,
                    is_no_data: true,
                }),
                (Said::Done(_), None) => {
                    let question = Question {
                        of: Some(known(&database)),
                        ..question(Wish::Seed(value))
                    };
                    answers.append(&mut ask(&question).await?);
                }
                (said, _) => answers.push(Answer { database, said }),
            }
        }
        Ok((answers, unseeded))
    }
}

/// Returns whose databases are asked, and what is not asked because it is declared so, with the reason.
fn wanted<'a>(
    declared: &'a [Data],
    state: &'a StackState,
) -> (Vec<SeedRequest<'a>>, Vec<(String, String)>) {
    let none = |one: &&'a Data| one.none.is_some();
    let not_asked = declared.iter().filter(none).map(|one| {
        let what = match &one.service {
            Some(service) => format!("databases of service {service}"),
            None => "databases".to_owned(),
        };
        (what, one.none.clone().unwrap_or_default())
    });
    let named = declared.iter().filter(|one| one.kind.is_some());
    let mut wanted: Vec<SeedRequest<'_>> = named
        .map(|one| {
            let service = one.service.as_deref().unwrap_or_default();
            SeedRequest {
                service,
                candidate: Candidate::of(state, service),
                declared: Some(one),
            }
        })
        .collect();
    let all = candidates(state).into_iter().filter(|candidate| {
        let mut of = declared.iter();
        !of.any(|one| {
            one.service
                .as_deref()
                .is_none_or(|name| name == candidate.service)
        })
    });
    wanted.extend(all.map(|candidate| SeedRequest {
        service: candidate.service,
        candidate: Some(candidate),
        declared: None,
    }));
    (wanted, not_asked.collect())
}

/// Seeds before the upgrade, and notes which databases could not be.
pub(in crate::tier) async fn seed_for_upgrade(
    bench: &mut Bench,
    tally: &mut Tally<'_>,
) -> Result<(), TierError> {
    let seeded = bench.seed_databases("upgrade").await;
    if let Err(reason) = app_fault(seeded)? {
        tally.skip("generic: data seeded", reason);
    }
    bench.databases.say_what_is_not_asked(tally);
    for one in &bench.databases.unseeded {
        tally.skip(&seeded_name(&one.database), not_judged(&one.reason));
    }
    Ok(())
}

/// Seeds before the backup by `plan`. Of what is saved and could not be seeded, nothing can show that it comes back.
pub(in crate::tier) async fn seed_for_backup(
    bench: &mut Bench,
    tally: &mut Tally<'_>,
    plan: &BackupPlan,
) -> Result<(), TierError> {
    let seeded = bench.seed_databases("backup").await;
    if let Err(reason) = app_fault(seeded)? {
        tally.unver("generic: data seeded", reason);
    }
    bench.databases.judge_by(plan);
    bench.databases.say_what_is_not_saved(tally);
    Ok(())
}

fn seeded_name(database: &Database) -> String {
    format!("generic: data seeded — {database}")
}

fn not_judged(reason: &str) -> String {
    format!("{reason}: what becomes of it is not judged")
}

#[cfg(test)]
mod tests;
