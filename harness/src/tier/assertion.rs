//! The assertions that recipe-ci makes itself, as data. `docs/assertions.md` is this table for people.

/// An assertion that needs nothing from the recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assertion {
    /// What it is called; `…` at its end stands for a path, a tier or a rule.
    pub name: &'static str,
    /// What holds where it passes.
    pub holds: &'static str,
    /// What to do where it does not.
    pub fix: &'static str,
}

/// What stands between an assertion and the thing that one of several is about.
const OF: &str = " — ";

macro_rules! assertions {
    ($($name:literal, $holds:literal, $fix:literal;)*) => {
        /// Every assertion, in the order of a run.
        pub const ASSERTIONS: &[Assertion] = &[$(Assertion {
            name: $name,
            holds: $holds,
            fix: $fix,
        }),*];
    };
}

assertions! {
    "overlay: environment only",
        "the operator's `compose.ccci.yml` changes nothing that the proposal changes",
        "drop the key from the overlay, or test a proposal that leaves it alone";
    "generic: images",
        "every image exists in its registry",
        "correct the name or the tag of the image; `docker pull` says the same";
    "routing: …",
        "a gateway can use the labels, and an upgrade cuts nobody off; the rule's own text is `recipe-ci explain` of its id",
        "do what the rule says";
    "compose files: …",
        "an upgrade keeps what the app reads, runs and saves; the rule's own text is `recipe-ci explain` of its id",
        "do what the rule says, or name what goes on purpose in `release/next`";
    "compose files",
        "the files that a declared variant adds can be read and resolved",
        "correct the file at the place that is named, or the variant in recipe-ci.yml";
    "new app: …",
        "`.env.sample` gives a new app every variable that it had; the rule's own text is `recipe-ci explain` of its id",
        "put the variable back into `.env.sample`";
    "generic: deploy",
        "Docker takes the compose files",
        "read what refused it, in the output below the assertion";
    "generic: deployed as planned",
        "the engine runs what was judged and nothing else",
        "look at what stands between recipe-ci and the engine: a wrapper of `docker`, a plugin, another deploy at the same time";
    "generic: install_steps",
        "the hook `install_steps` ends with 0",
        "read its log, `logs/hook-<owner>-install_steps.log`";
    "generic: converged",
        "every service is up, in the time that the recipe has for its deploy",
        "read the log of the service that is named, and what its healthcheck said; a slow start needs `start_period`, and a longer one the label `coop-cloud.<stack>.timeout`";
    "generic: commands after the deploy",
        "the commands that the env file names for after a deploy end with 0",
        "read the output below the assertion; the function is in abra.sh";
    "generic: first run",
        "the requests of `first_run` are answered as declared",
        "correct `first_run` in recipe-ci.yml; the reason has the answer";
    "generic: serving",
        "the app answers at its domain with a status that counts as serving",
        "read the log of the service; what counts as serving is `health` in recipe-ci.yml";
    "check: …",
        "the answer to the path is as `checks` of recipe-ci.yml has it",
        "correct the app, or the check";
    "generic: data seeded",
        "something of recipe-ci's is written into every volume and database, to be looked for later",
        "the reason says what could not be written; `data` in recipe-ci.yml says how a database is reached";
    "ops/pre_…",
        "the hook before the tier ends with 0",
        "read its log, `logs/hook-<owner>-ops-pre_<tier>.log`";
    "ops/verify_…",
        "the hook after the tier ends with 0: what the hook before it made is there",
        "read its log, `logs/hook-<owner>-ops-verify_<tier>.log`";
    "generic: commands after the upgrade",
        "the commands that the env file names for after an upgrade end with 0",
        "read the output below the assertion; the function is in abra.sh";
    "generic: not rolled back",
        "Swarm did not put the version of before back",
        "read the log of the service: its new task failed; what the app has is old though the labels may be new";
    "generic: it moved",
        "what the head changes is what the services run: image, environment, configs",
        "let the compose files set it: an installed app does not read `.env.sample` again";
    "generic: no task of before",
        "no task of the version of before runs",
        "see why the old task does not end: `stop_grace_period`, `order: start-first`";
    "generic: dropped services are gone",
        "services that the head does not have any more are gone",
        "it is the harness's own removal; run `recipe-ci janitor`, and report it";
    "generic: data survived",
        "what was written before the upgrade is there after it",
        "keep the name and the place of the volume, and let migrations change data instead of making it anew";
    "generic: data stays on its volumes",
        "the upgraded image writes where its volumes are",
        "mount the volume where the new image keeps its data, and say in `release/next` what operators have to move";
    "generic: one server on its files",
        "no two servers ran on the same files at once",
        "set `order: stop-first` for the service";
    "generic: backup labels",
        "the backup labels are where a backup tool looks",
        "move them below `deploy.labels`";
    "generic: backup pre-hooks",
        "the commands before a backup end with 0",
        "read `logs/hook-<service>-backup-pre-hook.log`";
    "generic: snapshot",
        "what the labels ask for can be packed",
        "correct the path or the volume in the label";
    "generic: backup post-hooks",
        "the commands after a backup end with 0",
        "read `logs/hook-<service>-backup-post-hook.log`";
    "generic: data is where the image looks",
        "the volume that is saved is the one that the image writes to",
        "mount the volume at the image's own `VOLUME`";
    "generic: databases are dumped",
        "no database is saved as files that its server writes to",
        "dump it in `backupbot.backup.pre-hook`, load it in `backupbot.restore.post-hook`, and save only the dump";
    "generic: SQLite is saved as a whole",
        "a database of SQLite is saved with its write-ahead log, at rest",
        "copy it with `sqlite3 … '.backup …'` in a pre-hook";
    "generic: archive holds what was seeded",
        "what was written before the backup is in the archive",
        "select the volume or the path that has the data";
    "declared: backup verified",
        "the command of `backup.verify` ends with 0",
        "read its output below the assertion";
    "generic: data overwritten",
        "what was seeded is changed before the restore, so that only the restore can bring it back",
        "the reason says what could not be changed: most often the app was not up";
    "generic: restore pre-hooks",
        "the commands before a restore end with 0",
        "read `logs/hook-<service>-restore-pre-hook.log`";
    "generic: restored",
        "the archive can be put back",
        "the reason says what the engine refused";
    "generic: restore post-hooks",
        "the commands after a restore end with 0",
        "read `logs/hook-<service>-restore-post-hook.log`";
    "generic: saved files are back",
        "files that the archive has are in their volumes after the restore",
        "see whether the post-hook removes them";
    "generic: seeded data is back",
        "what was seeded before the backup is what the app has after the restore, and what was written later is gone",
        "load the dump into an empty database in `backupbot.restore.post-hook`";
    "setup_custom_tests",
        "the hook that prepares the custom tests ends with 0",
        "read its log, `logs/hook-<owner>-setup_custom_tests.log`";
    "generic: stayed up",
        "nothing that had come up has died by the end of the tier",
        "read the log of the service that is named; one that ends on purpose needs `restart_policy: none`";
}

impl Assertion {
    /// Returns whether a test that recipe-ci makes is this assertion.
    fn is(&self, name: &str) -> bool {
        match self.name.strip_suffix('…') {
            Some(prefix) => name.starts_with(prefix),
            None => name.split(OF).next() == Some(self.name),
        }
    }
}

/// Returns the assertion that a test is, by its name in a report.
#[must_use]
pub fn of(name: &str) -> Option<&'static Assertion> {
    ASSERTIONS.iter().find(|assertion| assertion.is(name))
}

/// Returns the table of `docs/assertions.md`.
#[must_use]
pub fn table() -> String {
    let mut text = String::from(
        "| assertion | what holds where it passes | what to do where it does not |\n|---|---|---|\n",
    );
    for Assertion { name, holds, fix } in ASSERTIONS {
        text.push_str(&format!("| `{name}` | {holds} | {fix} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_table() {
        let page = include_str!("../../../docs/assertions.md");
        assert!(page.contains(&table()), "docs/assertions.md:\n{}", table());
    }

    #[test]
    fn a_test_is_found_with_what_it_is_about() {
        let name = |test| of(test).map(|assertion| assertion.name);
        let survived = "generic: data survived — PostgreSQL database ledger of service db";
        assert_eq!(name(survived), Some("generic: data survived"));
        assert_eq!(name("check: /notes"), Some("check: …"));
        assert_eq!(name("ops/verify_restore"), Some("ops/verify_…"));
        assert_eq!(name("routing: T001"), Some("routing: …"));
        assert_eq!(name("generic: data"), None);
    }
}
