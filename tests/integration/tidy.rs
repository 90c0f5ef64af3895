//! The repository keeps its own promises.

use std::path::{Path, PathBuf};

use crate::support::{TestEnv, repository};

pub(crate) fn read(path: &Path) -> String {
    harness::host_file::text(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files below `dir` with this extension.
pub(crate) fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![repository().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in harness::host_file::entries(&dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{dir} has no .{extension}");
    found
}

/// Returns every text in quotes that looks like the name of a variable.
pub(crate) fn variables(source: &str) -> Vec<String> {
    source
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            text.len() >= 2
                && text.starts_with(|c: char| c.is_ascii_uppercase())
                && text
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
        .map(str::to_owned)
        .collect()
}

/// Returns the sources in which settings are read, without their tests.
pub(crate) fn sources_of_settings() -> Vec<String> {
    let mut all: Vec<PathBuf> = files("runner/src/settings", "rs");
    all.retain(|path| !path.ends_with("tests.rs"));
    let names = ["cli", "env", "settings"];
    all.extend(names.map(|name| repository().join(format!("runner/src/{name}.rs"))));
    let without_tests = |path: &PathBuf| {
        let source = read(path);
        source.split("#[cfg(test)]").next().unwrap().to_owned()
    };
    all.iter().map(without_tests).collect()
}

#[test]
fn every_variable_is_in_the_documentation() {
    let mut pages = read(&repository().join("README.md"));
    for page in files("docs", "md") {
        pages.push_str(&read(&page));
    }
    let mut missing = Vec::new();
    let mut seen = Vec::new();
    for source in sources_of_settings() {
        let names = variables(&source);
        seen.extend(names.clone());
        let names = names.into_iter();
        // Value names of options look the same; a variable is read, or belongs to an option.
        missing.extend(names.filter(|name| {
            let is_value_name = source.contains(&format!("value_name = \"{name}\""));
            !is_value_name && !pages.contains(name.as_str())
        }));
    }
    for known in [
        "STAGES",
        "CCCI_ZONE",
        "DRONE_BUILD_NUMBER",
        "CCCI_APP_LOCK_DIR",
    ] {
        assert!(
            seen.iter().any(|name| name == known),
            "{known} was not found"
        );
    }
    assert_eq!(missing, [""; 0], "add them to docs/operating.md");
}

#[test]
fn the_changelog_has_a_heading_for_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    let changelog = read(&repository().join("CHANGELOG.md"));
    assert!(
        changelog.contains(&heading) || changelog.contains("## [Unreleased]"),
        "CHANGELOG.md lacks `{heading}`"
    );
}

#[test]
fn no_source_file_is_too_long_to_read() {
    let sources = files("harness", "rs").into_iter();
    for path in sources
        .chain(files("runner", "rs"))
        .chain(files("tests", "rs"))
    {
        let text = read(&path);
        let below = path.strip_prefix(repository()).unwrap();
        // The model of the lock is compiled for its tests alone.
        let of_tests = ["tests", "tests.rs", "testing.rs", "model.rs"];
        let is_test = below
            .iter()
            .any(|part| of_tests.iter().any(|name| part == *name));
        let (counted, limit) = match is_test {
            true => (text.as_str(), 600),
            false => (text.split("#[cfg(test)]\nmod tests").next().unwrap(), 500),
        };
        let lines = counted.lines().count();
        assert!(
            lines <= limit,
            "{} has {lines} lines without its tests",
            path.display()
        );
        assert!(
            text.lines().count() <= 600,
            "{} is longer than 600 lines",
            path.display()
        );
    }
}

#[test]
fn every_test_file_is_declared() {
    for binary in ["integration", "swarm"] {
        let main = read(&repository().join(format!("tests/{binary}/main.rs")));
        for path in files(&format!("tests/{binary}"), "rs") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(
                name == "main" || main.contains(&format!("mod {name};")),
                "tests/{binary}/main.rs does not declare {name}"
            );
        }
    }
}

#[test]
fn the_dependencies_stay_within_their_budget() {
    let lock = read(&repository().join("Cargo.lock"));
    let packages = lock.matches("[[package]]").count();
    assert!(packages <= 300, "Cargo.lock has {packages} packages");
}

/// clippy denies an ignored test only where somebody thinks of it.
#[test]
fn no_test_is_ignored() {
    for dir in ["tests", "harness", "runner"] {
        for path in files(dir, "rs") {
            let text = read(&path);
            let ignored = text
                .lines()
                .any(|line| line.trim_start().starts_with("#[ignore"));
            assert!(!ignored, "{}", path.display());
        }
    }
}

/// Debian's own cargo would end in the middle, in its own words, after everything has been installed.
#[test]
fn the_tests_say_first_which_cargo_they_need() {
    let mut env = TestEnv::new("unix:///nowhere");
    // Not root: whatever the cargo, nothing is installed, started or tested.
    env.write("bin/id", "#!/bin/sh\necho 1000\n");
    env.write("bin/docker", "#!/bin/sh\nexit 1\n");
    env.prepend_path(&env.root.join("bin"));
    for (version, wanted) in [
        (
            "cargo 1.85.0 (d73d2caf9 2024-12-31)",
            "Rust 1.95 or newer is needed",
        ),
        (
            "cargo 1.94.9-nightly (d73d2caf9 2026-01-31)",
            "https://rustup.rs",
        ),
        ("cargo 1.95.0 (f2d3ce0bd 2026-03-21)", "they need root"),
        ("cargo 1.100.0", "they need root"),
    ] {
        env.write("bin/cargo", &format!("#!/bin/sh\necho '{version}'\n"));
        let mut run = env.program("sh");
        run.arg(repository().join("tests/run"));
        let done = env.follow(run).finish();
        done.expect(3);
        assert!(done.stdout.contains(wanted), "{version}: {}", done.stdout);
    }
}

/// Whether `source` defines something of this name.
fn defines(source: &str, name: &str) -> bool {
    let kinds = [
        "fn", "mod", "struct", "enum", "const", "static", "trait", "type",
    ];
    kinds.iter().any(|kind| {
        let wanted = format!("{kind} {name}");
        source.match_indices(&wanted).any(|(at, _)| {
            let next = source[at + wanted.len()..].chars().next();
            next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
        })
    })
}

/// Returns what stands between backticks in a text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Returns the cells of every row of a page's tables.
fn table_rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// All that has tests, as one text.
fn sources() -> String {
    let dirs = ["tests", "harness", "runner"];
    let paths = dirs.map(|dir| files(dir, "rs")).concat();
    paths.iter().map(|path| read(path)).collect()
}

/// Every bug of the predecessor and every verdict that was not true has a row, and what stands for a test in it is one.
#[test]
fn every_past_bug_has_a_test_that_exists_or_a_reason() {
    let page = read(&repository().join("docs/regressions.md"));
    let rows = table_rows(&page);
    let rows: Vec<_> = rows
        .iter()
        .filter(|row| row[0].ends_with(|c: char| c.is_ascii_digit()))
        .collect();
    let numbers: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let of = |start: &'static str, last| (1..=last).map(move |number| format!("{start}{number}"));
    let mut wanted: Vec<String> = of("8.", 55).chain(of("B", 32)).chain(of("C", 15)).collect();
    // What is about the resolved project and about several apps.
    wanted.retain(|number| !["B4", "B6", "B7"].contains(&number.as_str()));
    assert_eq!(numbers, wanted);
    let sources = sources();
    for row in rows {
        let names = quoted(row[2]).into_iter();
        // A name of a test has an underscore; flags, commands and words do not look like one.
        let tests: Vec<&str> = names
            .filter(|name| {
                name.contains('_') && *name != "start_period" && *name != "reason_contains"
            })
            .collect();
        for test in &tests {
            assert!(
                defines(&sources, test) || is_fixture(&sources, test),
                "{}: there is no test `{test}`",
                row[0]
            );
        }
        let plain = row[2].split('`').step_by(2).collect::<String>();
        assert!(
            !tests.is_empty() || plain.len() > 20,
            "{}: neither a test nor a reason",
            row[0]
        );
    }
}

/// Whether a macro makes a test of this name for a fixture: `name: "fixture",`.
fn is_fixture(sources: &str, name: &str) -> bool {
    let fixture = name.replace('_', "-");
    sources.contains(&format!("{name}: \"{fixture}\","))
}

/// What the page on security says holds, a test holds.
#[test]
fn every_sentence_of_the_page_on_security_has_a_test_that_exists() {
    let page = read(&repository().join("docs/security.md"));
    let rows = table_rows(&page);
    let rows = rows.iter().filter(|row| row.len() == 3);
    // Behind the heading and the line below it.
    let rows: Vec<_> = rows.skip(2).collect();
    assert!(rows.len() > 20, "the table is not where it was");
    let sources = sources();
    for row in rows {
        let tests = quoted(row[2]);
        assert!(!tests.is_empty(), "without a test: {}", row[0]);
        for test in tests {
            assert!(defines(&sources, test), "there is no test `{test}`");
        }
    }
    // Those that stand beside the table; nothing else has as many underscores.
    for test in quoted(&page) {
        let is_test = test.matches('_').count() > 3;
        assert!(
            !is_test || defines(&sources, test),
            "there is no test `{test}`"
        );
    }
}

/// A row of what once harmed the host that is not run on the engine names the test that stands in for it.
#[test]
fn every_test_that_stands_in_for_a_row_of_the_table_exists() {
    let rows = read(&repository().join("tests/swarm/security/rows.rs"));
    let sources = sources();
    let named: Vec<&str> = quoted(&rows)
        .into_iter()
        .filter(|name| name.matches('_').count() > 3)
        .collect();
    assert!(named.len() > 2, "{named:?}");
    for test in named {
        assert!(defines(&sources, test), "there is no test `{test}`");
    }
}

#[test]
fn every_test_and_symbol_of_the_page_on_concurrency_exists() {
    let page = read(&repository().join("docs/concurrency.md"));
    let rows = table_rows(&page);

    // The last column of the table of failures has names of tests.
    let sources = sources();
    let tests: Vec<&str> = rows
        .iter()
        .filter(|row| row.len() == 4)
        .flat_map(|row| quoted(row[3]))
        .collect();
    assert!(
        tests.len() > 40,
        "the table of failures is not where it was"
    );
    for test in &tests {
        assert!(defines(&sources, test), "there is no test `{test}`");
    }
    // And no numbered test is left out.
    for line in sources.lines().map(str::trim_start) {
        let Some((_, name)) = line
            .split_once("fn t")
            .filter(|(before, _)| before.is_empty())
        else {
            continue;
        };
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            let name = format!("t{}", name.split('(').next().unwrap());
            assert!(
                tests.contains(&name.as_str()),
                "the page does not name {name}"
            );
        }
    }

    // The index of symbols has what a file defines, and the file.
    let mut symbols = 0;
    for row in rows
        .iter()
        .filter(|row| row.len() == 2 && row[1].ends_with(".rs`"))
    {
        let file = quoted(row[1])[0];
        let source = read(&repository().join(file));
        for symbol in quoted(row[0]) {
            assert!(
                defines(&source, symbol),
                "{file} does not define `{symbol}`"
            );
            symbols += 1;
        }
    }
    assert!(symbols > 30, "the index of symbols is not where it was");
}

/// What the page on architecture says stays true, a test, the compiler or clippy holds.
#[test]
fn every_invariant_names_what_holds_it() {
    let page = read(&repository().join("docs/architecture.md"));
    let (_, section) = page.split_once("\n## Invariants\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = table_rows(section);
    assert!(rows.len() > 30, "the table is not where it was");
    let sources = sources();
    for row in rows.iter().skip(2) {
        let tests = quoted(row[1]).into_iter();
        let tests: Vec<&str> = tests.filter(|word| word.matches('_').count() > 2).collect();
        for test in &tests {
            assert!(defines(&sources, test), "there is no test `{test}`");
        }
        let by_compiler = ["A type", "clippy", "unsafe_code"];
        assert!(
            !tests.is_empty() || by_compiler.iter().any(|word| row[1].contains(word)),
            "nothing holds: {}",
            row[0]
        );
    }
}

/// Returns the files of the library, but tests, in which a line has one of `words`; `of` says which files are meant.
fn users(words: &[&str], of: &str) -> Vec<String> {
    let root = repository().join("harness");
    let paths = files("harness", "rs").into_iter();
    let paths =
        paths.filter(|path| !path.ends_with("tests.rs") && path.to_string_lossy().contains(of));
    let uses = paths.filter(|path| {
        let text = read(path);
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let mut lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        lines.any(|line| words.iter().any(|word| line.contains(word)))
    });
    let uses = uses.map(|path| path.strip_prefix(&root).unwrap().display().to_string());
    let mut uses: Vec<String> = uses.collect();
    uses.sort();
    uses
}

#[test]
fn only_those_who_undo_remove_an_app() {
    let undo = [
        "src/janitor.rs",
        "src/run/locks.rs",
        "src/run/teardown.rs",
        "src/warm.rs",
    ];
    assert_eq!(users(&["app::remove("], "/src/"), undo);
}

#[test]
fn only_copies_are_checked_out_after_the_fetch() {
    let of_copies = ["src/driver/abra.rs", "src/run/dependencies/published.rs"];
    assert_eq!(users(&["checkout::checkout("], "/src/"), of_copies);
}

/// A lock that nobody holds is the only sign of a dead run: what is old may be at work.
#[test]
fn no_age_decides_what_is_removed() {
    let ages = [
        ".modified()",
        ".created()",
        ".accessed()",
        "SystemTime",
        "Timestamp::now",
    ];
    // These say times, of sweeps and of how long a lock has been held.
    let known = [
        "src/janitor.rs",
        "src/janitor/record.rs",
        "src/janitor/units.rs",
    ];
    let found = users(&ages, "/src/janitor");
    let found: Vec<&String> = found
        .iter()
        .filter(|file| !known.contains(&&***file))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// What differs between drivers is methods and data of `driver`; whoever asks which one it is has to be found and
/// changed for the next one.
#[test]
fn nothing_above_the_driver_asks_which_one_it_is() {
    let words = ["Driver::Abra", "Driver::Stack", "by_abra", "chosen.abra"];
    let below = ["harness/src/driver", "harness/src/abra"].map(|dir| repository().join(dir));
    let mut asks = Vec::new();
    for path in [files("harness", "rs"), files("runner", "rs")].concat() {
        let is_below = |dir: &PathBuf| path.starts_with(dir) || path == dir.with_extension("rs");
        if below.iter().any(is_below) {
            continue;
        }
        for line in read(&path).lines() {
            let asked = |word: &&str| {
                let mut before = line.match_indices(*word).map(|(at, _)| &line[..at]);
                // `GrantedDriver::Abra` is what an operator grants.
                before.any(|text| !text.ends_with(char::is_alphanumeric))
            };
            if words.iter().any(asked) {
                asks.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    assert_eq!(asks, [""; 0], "make it a method of `Driver` or `Chosen`");
}

/// Two steps in one function of the run are an order that `run/flow.rs` does not know of, and that its tests do not see.
#[test]
fn the_order_of_steps_is_decided_in_the_flow_alone() {
    let steps = [
        "fetch::fetch(&",
        "draft::make_plan(",
        "lint::found(",
        "gateway::answers(",
        "site::engine(",
        "sweep::sweep(",
        "locks::acquire(",
        "warm::lock(",
        ".recover()",
        "locks::remove_leftovers(",
        "ownership::claim(",
        "ownership::claim_warm(",
        "images::prepull(",
        "network::make(",
        "dependencies::bring_up(",
        "install::judge(",
        "tier::upgrade::run(",
        "tier::backup::run(",
        "tier::restore::run(",
        "tier::custom::run(",
        ".check_deploys()",
        "teardown::tear_down(",
        "promote::promote(",
    ];
    let mut seen = std::collections::BTreeSet::new();
    let mut orders = Vec::new();
    let run = repository().join("harness/src/run.rs");
    for path in files("harness/src/run", "rs").into_iter().chain([run]) {
        let text = read(&path);
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for function in text.split("fn ").skip(1) {
            let name = function.split(['(', '<']).next().unwrap_or_default();
            let done: Vec<&str> = (steps.iter().copied())
                .filter(|step| function.contains(step))
                .collect();
            seen.extend(done.iter().copied());
            // Each arm of these does one.
            if done.len() > 1 && !["step", "tier"].contains(&name) {
                orders.push(format!("{}: {name}: {done:?}", path.display()));
            }
        }
    }
    let unknown: Vec<&&str> = steps.iter().filter(|step| !seen.contains(**step)).collect();
    assert!(
        unknown.is_empty(),
        "these are called otherwise now: {unknown:?}"
    );
    assert_eq!(orders, [""; 0], "make each a step of its own");
}
