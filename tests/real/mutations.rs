//! No mutant of a green recipe passes but those that are listed: in [`PASSING`] with the reason why that is right,
//! in [`OPEN`] with what is missing.
//!
//! A mutant has none of the recipe's own tests: what is red is red for what every recipe is asked.

#[cfg(feature = "real")]
use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::engine::SwarmEnv;
use crate::support::{locked, variable};

use super::SET;
use super::breakage::{Mutant, mutants};
use super::passing::{OPEN, PASSING, RACING};

/// How long the sample of every run may take.
const SAMPLE: Duration = Duration::from_secs(45);

/// How long one mutant may take. What never gets healthy waits for the whole deploy limit, and once more with its checks
/// as shipped.
const LIMIT: Duration = Duration::from_secs(900);

/// How many mutants of a recipe run at once: a run waits more than it works.
#[cfg(feature = "real")]
const THREADS: usize = 2;

/// The set of fixtures that a recipe is in.
fn set_of(recipe: &str) -> &'static str {
    match recipe {
        "notes" | "ledger" => "tests/recipes",
        _ => SET,
    }
}

/// Returns the mutants of a recipe: all that its text allows.
fn all(recipe: &str) -> Vec<Mutant> {
    let env = crate::support::TestEnv::new("unix:///nowhere");
    mutants(&env.recipe_of(set_of(recipe), recipe))
}

/// Removes the tests that a recipe brings: hooks, custom tests and declared checks. What else `recipe-ci.yml` says, such
/// as how an app without HTTP is known to be ready, is no test and stays.
fn remove_tests(recipe: &Path) {
    let tests = recipe.join("tests");
    for entry in harness::host_file::entries(&tests).unwrap().flatten() {
        let path = entry.path();
        let kept = entry.file_name() == "recipe-ci.yml"
            && !harness::host_file::text(&path).unwrap().contains("checks:");
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else if !kept {
            std::fs::remove_file(&path).unwrap();
        }
    }
}

/// Runs one mutant; returns what is wrong with how it ended.
fn judge(recipe: &str, mutant: &Mutant) -> Option<String> {
    let _port = super::port_of(recipe);
    let env = SwarmEnv::new();
    let begin = Instant::now();
    let path = env.recipe_of(set_of(recipe), recipe);
    remove_tests(&path);
    mutant.apply(&path);
    let run = env.start(["run".as_ref(), path.as_os_str()]);
    let done = run.finish_within(LIMIT);
    let name = format!("{recipe}: {}", mutant.name());
    let verdict = done
        .stderr
        .lines()
        .rev()
        .find(|line| line.contains("verdict") || line.starts_with("error"));
    let took = begin.elapsed();
    super::say(&format!(
        "{name}: exit {:?} after {took:.1?}: {}",
        done.code,
        verdict.unwrap_or_default().trim()
    ));
    let listed = PASSING
        .iter()
        .chain(OPEN)
        .find(|(listed, _)| *listed == name);
    env.assert_nothing_left();
    match (done.code, listed) {
        (Some(0), None) => Some(format!("`{name}` passes, and is in no list")),
        (Some(0), Some(_)) | (Some(1 | 2), None) => None,
        (Some(1), Some(_)) if RACING.contains(&name.as_str()) => None,
        // The registry of a tag that is nowhere cannot be asked on a machine without one.
        (Some(3), None) if mutant.kind == "wrong tag" => None,
        (_, Some((_, reason))) => Some(format!(
            "`{name}` is red, and the list says why it is green: {reason}"
        )),
        (code, None) => Some(format!(
            "`{name}` ends with {code:?}, which no recipe is to blame for\n{}",
            done.stderr
        )),
    }
}

/// Runs mutants, as many at once as there are `threads`; fails with all that ended wrong.
#[track_caller]
fn none_passes<'a>(
    recipe: &str,
    threads: usize,
    mutants: impl IntoIterator<Item = &'a Mutant, IntoIter: Send>,
) {
    let (mutants, wrong) = (Mutex::new(mutants.into_iter()), Mutex::new(Vec::new()));
    let work = || {
        // The lock is given back before the mutant runs.
        let next = || locked(&mutants).next();
        while let Some(mutant) = next() {
            locked(&wrong).extend(judge(recipe, mutant));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of each kind and service the first; `MUTANTS=all` takes every one, `MUTANTS=listed` those that may pass, other texts
/// those whose names hold it.
#[cfg(feature = "real")]
fn chosen(recipe: &str) -> Vec<Mutant> {
    let wanted = variable("MUTANTS");
    let mut seen = HashSet::new();
    let mut list = all(recipe);
    list.retain(|mutant| match wanted.as_deref() {
        Some("all") => true,
        Some("listed") => {
            let name = format!("{recipe}: {}", mutant.name());
            PASSING
                .iter()
                .chain(OPEN)
                .any(|(listed, _)| *listed == name)
        }
        Some(part) => mutant.name().contains(part),
        None => {
            let service = mutant.place.split(' ').next().unwrap_or_default();
            let key = if mutant.kind == "drop" {
                mutant.place.split(' ').nth(1).unwrap_or_default()
            } else {
                ""
            };
            seen.insert((mutant.kind, key.to_owned(), service.to_owned()))
        }
    });
    list
}

macro_rules! recipes {
    ($($test:ident: $name:literal,)*) => {
        $(#[cfg(feature = "real")]
        #[test]
        fn $test() {
            let list = chosen($name);
            none_passes($name, THREADS, &list);
        })*

        /// A mutant that is listed and no longer made would be a hole in the list.
        #[cfg(feature = "real")]
        #[test]
        fn every_mutant_that_may_pass_is_made() {
            let mut made = HashSet::new();
            $(for mutant in all($name) {
                assert!(made.insert(format!("{}: {}", $name, mutant.name())), "{}: {} twice", $name, mutant.name());
            })*
            for name in RACING {
                assert!(PASSING.iter().any(|(passing, _)| *passing == name), "{name} passes by no list");
            }
            for (name, reason) in PASSING.iter().chain(OPEN) {
                assert!(made.contains(*name), "no mutant is called `{name}`");
                assert!(reason.len() > 10, "{name} has no reason");
            }
        }
    };
}

recipes! {
    no_mutant_of_notes_passes: "notes",
    no_mutant_of_ledger_passes: "ledger",
    no_mutant_of_feeds_passes: "feeds",
    no_mutant_of_jobs_passes: "jobs",
    no_mutant_of_secure_passes: "secure",
    no_mutant_of_site_passes: "site",
    no_mutant_of_voice_passes: "voice",
    no_mutant_of_wordpress_passes: "wordpress",
}

/// Some mutants of the fixture that runs fastest; `MUTATION_SEED` takes the same ones again.
#[test]
fn no_mutant_of_a_sample_passes() {
    let seed = variable("MUTATION_SEED").and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    super::say(&format!("MUTATION_SEED={seed}"));
    let mut list = all("notes");
    list.shuffle(&mut StdRng::seed_from_u64(seed));
    let begin = Instant::now();
    none_passes(
        "notes",
        1,
        list.iter().take_while(|_| begin.elapsed() < SAMPLE),
    );
}
