//! Markers in databases: a table of ours in each database of the app, beside the app's own.
//!
//! Files say nothing of a database that is saved by a dump: what a restore hook loads, or does not, only the server
//! knows. So the server is asked, after the upgrade and after the restore, whether it still has what it was given.

mod seeding;

use futures_util::future::try_join_all;

pub(super) use seeding::{seed_for_backup, seed_for_upgrade};

use super::{Bench, Tally, TierError};
use crate::data::{Answer, Database, Hints, Kind, Known, Question, Said, Wish, ask};
use engine::swarm::EngineError;
use engine::swarm::service::StackState;

/// What is written after the backup, in the place of what was seeded.
const LATER: &str = "later";

/// The databases of an app that were found, and what was put into them.
#[derive(Debug, Clone, Default)]
pub struct Databases {
    /// The name of our table; the same for all of a run.
    table: String,
    /// Those that have it.
    seeded: Vec<Seeded>,
    /// Those that could not get it.
    unseeded: Vec<Unseeded>,
    /// What is not asked because that is declared, and why.
    not_asked: Vec<(String, String)>,
}

/// A database that has our table.
#[derive(Debug, Clone)]
struct Seeded {
    database: Database,
    /// What the table says.
    value: String,
    /// Whether `recipe-ci.yml` names it.
    is_declared: bool,
    /// Why it need not come back from a backup, where that is so.
    excused: Option<String>,
}

/// A database that does not have our table.
#[derive(Debug, Clone)]
struct Unseeded {
    database: Database,
    reason: String,
    /// Whether `recipe-ci.yml` names it.
    is_declared: bool,
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

impl<'a> Candidate<'a> {
    fn of(state: &'a StackState, service: &'a str) -> Option<Self> {
        let there = state.services.get(service)?;
        Some(Self {
            service,
            container: state.container_of(service)?,
            hints: Hints::of(&there.container_spec).named(&there.image),
        })
    }
}

fn candidates(state: &StackState) -> Vec<Candidate<'_>> {
    let services = state.services.iter();
    services
        .filter_map(|(name, _)| Candidate::of(state, name))
        .filter(|candidate| candidate.hints.may_have_a_database())
        .collect()
}

fn known(database: &Database) -> Known<'_> {
    Known {
        kind: database.kind,
        name: &database.name,
        user: &database.user,
    }
}

impl Databases {
    /// Returns the databases that were found to run, where their own files are known to be.
    pub fn found(&self) -> impl Iterator<Item = &Database> {
        let seeded = self.seeded.iter().map(|one| &one.database);
        seeded.chain(self.unseeded.iter().map(|one| &one.database))
    }
}

impl Bench {
    /// Overwrites what was seeded and says so.
    async fn overwrite_databases(&self, tally: &mut Tally<'_>) -> Result<(), EngineError> {
        let state = self.state().await?;
        let asked = self.databases.seeded.iter().map(async |one| {
            let answer = self.ask_again(&state, one, Wish::Overwrite(LATER)).await?;
            Ok::<_, EngineError>((one, answer))
        });
        for (one, answer) in try_join_all(asked).await? {
            let overwritten = match answer {
                Some(Said::Done(values)) if values == [LATER] => Ok(None),
                answer => Err(format!(
                    "what was seeded cannot be changed, so a restore proves nothing: {}",
                    in_words(answer)
                )),
            };
            tally.check(
                &format!("generic: data overwritten — {}", one.database),
                overwritten,
            );
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
            hints: &Hints::of(&service.container_spec).named(&service.image),
            of: Some(known(database)),
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
            Some(said) => return Ok(found(said, &one.value, kind)),
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
            .map(|answer| found(answer.said, &one.value, kind))
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

/// Overwrites what was seeded; what cannot be overwritten fails the tier.
pub(super) async fn overwrite(bench: &Bench, tally: &mut Tally<'_>) -> Result<(), TierError> {
    let overwritten = bench.overwrite_databases(tally).await;
    if let Err(reason) = super::app_fault(overwritten)? {
        tally.check("generic: data overwritten", Err(reason));
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

/// Judges what a database said when it was asked for `value`.
fn found(said: Said, value: &str, kind: Kind) -> Found {
    match said {
        Said::Done(values) if values == [value] => Found::Kept,
        Said::Done(values) if values.iter().any(|one| one == LATER) => Found::Lost(
            "it has what was written after the backup: nothing is loaded, or only what is not there. `pg_dump --clean` and \
             `mongorestore --drop` put back rows that are there"
                .to_owned(),
        ),
        Said::Done(values) if values.is_empty() => {
            Found::Lost("what was written into it is gone".to_owned())
        }
        Said::Done(_) => Found::Lost("it has what was written at an earlier time".to_owned()),
        Said::Starting(reason) | Said::Refused(reason) | Said::Failed(reason) => {
            Found::Lost(format!("it can no longer be asked: {reason}"))
        }
        Said::NoClient(reason) if kind == Kind::Sqlite => Found::Gone(reason),
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

    #[test]
    fn only_the_value_that_was_written_is_what_was_written() {
        let done = |values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned());
            found(Said::Done(values.collect()), "upgrade_1", Kind::Redis)
        };
        assert_eq!(done(&["upgrade_1"]), Found::Kept);
        // A restore that only adds what is missing, and one that adds it once more.
        for values in [&["later"][..], &["later", "upgrade_1"]] {
            assert!(
                matches!(done(values), Found::Lost(reason) if reason.contains("after the backup"))
            );
        }
        assert!(matches!(done(&["upgrade_1", "upgrade_1"]), Found::Lost(_)));
        assert!(matches!(done(&[]), Found::Lost(_)));
        assert!(matches!(done(&["upgrade_2"]), Found::Lost(_)));
        let refused = Said::Refused("password authentication failed".to_owned());
        assert!(matches!(
            found(refused, "upgrade_1", Kind::PostgreSql),
            Found::Lost(_)
        ));
        let blind = Said::NoClient("there is no `psql`".to_owned());
        assert!(matches!(
            found(blind, "upgrade_1", Kind::PostgreSql),
            Found::Blind(_)
        ));
    }
}
