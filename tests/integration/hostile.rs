//! Repositories that were made to harm: each is refused with exit 2 before anything is made, soon, and shows nothing of
//! this host.

use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::support::{TestEnv, command, git};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(60);

/// What another app keeps secret; no output and no file of a run may have it.
const CANARY: &str = "canary-of-another-app";

/// What the hostile file itself is.
enum Lure {
    /// A link, in place of what was there.
    Link(&'static str),
    /// Text, behind what was there.
    Text(String),
}

struct Place {
    env: TestEnv,
    recipe: PathBuf,
}

impl Place {
    fn new() -> Self {
        let env = TestEnv::new("unix:///nowhere/docker.sock");
        let recipe = env.recipe("notes");
        env.write("victim/secret", &format!("PASSWORD={CANARY}\n"));
        Self { env, recipe }
    }

    fn lay(&self, path: &str, lure: &Lure) {
        let path = self.recipe.join(path);
        match lure {
            Lure::Link(to) => {
                drop(std::fs::remove_file(&path));
                symlink(to, path).unwrap();
            }
            Lure::Text(more) => {
                let there = harness::host_file::text(&path).unwrap_or_default();
                std::fs::write(path, there + more).unwrap();
            }
        }
    }

    /// Runs a command on the recipe, which must be refused for the reason that `words` are.
    #[track_caller]
    fn refused(&self, args: &[&str], words: &str) {
        let (command, options) = args.split_first().unwrap();
        let path = self.recipe.to_str().unwrap();
        let done = self.env.run([&[*command, path], options].concat());
        done.expect(2);
        // The lines of a terminal are wrapped.
        let said = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{words}\n--- {args:?}\n{said}");
        let by_file = words.contains("leads out")
            || words.contains("longer than 64 KiB")
            || words.contains("8 MiB");
        if by_file {
            assert!(said.contains("P037"), "no rule in {said}");
        }
        assert!(!done.stdout.contains(CANARY) && !done.stderr.contains(CANARY));
        self.assert_clean(&self.env.root);
        self.env.assert_quiet();
    }

    /// Nothing but the victim's own file holds the canary, links of the recipe not followed.
    #[track_caller]
    fn assert_clean(&self, dir: &Path) {
        for entry in harness::host_file::entries(dir).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                self.assert_clean(&path);
            } else if kind.is_file() && !path.starts_with(self.env.root.join("victim")) {
                let bytes = harness::host_file::bytes(&path).unwrap();
                let has = bytes
                    .windows(CANARY.len())
                    .any(|part| part == CANARY.as_bytes());
                assert!(!has, "{} has the canary", path.display());
            }
        }
    }
}

#[test]
fn a_file_that_leads_out_of_the_repository_is_refused_and_not_shown() {
    const OUT: &str = "leads out of the repository: a link in it goes to a place outside";
    for (path, target) in [
        (".env.sample", "../../victim/secret"),
        ("abra.sh", "../../victim/secret"),
        ("compose.yml", "../../victim/secret"),
        ("tests/recipe-ci.yml", "../../../victim/secret"),
        ("tests/ops/pre_backup.sh", "/etc/passwd"),
        (".env.sample", "/dev/zero"),
        ("abra.sh", "/proc/kmsg"),
        ("index.html", "/proc/self/environ"),
    ] {
        let place = Place::new();
        place.lay(path, &Lure::Link(target));
        let words = format!("`{path}` {OUT}");
        place.refused(&["run", "--dry-run"], &words);
        place.refused(&["run"], &words);
        if !path.starts_with("tests/") && path != "index.html" {
            place.refused(&["lint"], &words);
        }
    }
}

#[test]
fn what_only_the_lint_reads_is_refused_as_well() {
    let place = Place::new();
    place.lay("README.md", &Lure::Link("../../victim/secret"));
    let words = "`README.md` leads out of the repository";
    place.refused(&["lint"], words);
    place.refused(&["run"], words);
}

#[test]
fn a_link_that_was_committed_is_refused() {
    let place = Place::new();
    place.lay("abra.sh", &Lure::Link("../../victim/secret"));
    git(&place.recipe, &["commit", "-qam", "x"]);
    let words = "`abra.sh` leads out of the repository";
    place.refused(&["run", "--dry-run", "--ref", "HEAD"], words);
    place.refused(&["lint", "--ref", "HEAD"], words);
}

#[test]
fn a_pipe_does_not_hold_the_lint_up() {
    let place = Place::new();
    for name in [".env.sample", "abra.sh", "compose.yml"] {
        let path = place.recipe.join(name);
        drop(std::fs::remove_file(&path));
        let made = command("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let words = format!("`{name}` is a named pipe, and only a regular file is read");
        place.refused(&["lint"], &words);
        std::fs::remove_file(&path).unwrap();
        git(&place.recipe, &["checkout", "-q", "."]);
    }
}

/// Finding A10: the worker read on the thread that obeys signals, and neither SIGTERM nor the deadline ended it.
#[test]
fn a_repository_that_never_answers_holds_no_cancel_up() {
    for file in [".git/config", ".git/packed-refs", ".git/index"] {
        let place = Place::new();
        let path = place.recipe.join(file);
        drop(std::fs::remove_file(&path));
        let made = command("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let run = place.env.start(["run".as_ref(), place.recipe.as_os_str()]);
        // There is a reader, which waits for as long as this is open.
        let writer = wait_until(LONG, file, || {
            let mut options = harness::host_file::options();
            options.write(true).custom_flags(nix::libc::O_NONBLOCK);
            options.open(&path).ok()
        });
        kill(run.pid, Signal::SIGTERM).unwrap();
        let done = run.finish_within(LONG);
        done.expect(143);
        drop(writer);
        let args = ["run".as_ref(), place.recipe.as_os_str()];
        let late = ["--deadline".as_ref(), "1s".as_ref()];
        let run = place.env.start(args.iter().chain(&late));
        run.finish_within(LONG).expect(142);
        place.env.assert_quiet();
    }
}

/// Ten times the one before, ten times: 10 GB of a few hundred bytes.
fn bomb(export: &str) -> String {
    let mut text = format!("{export}A0={}\n", "x".repeat(100));
    for level in 1..=9 {
        let before = format!("${{A{}}}", level - 1).repeat(10);
        text += &format!("{export}A{level}=\"{before}\"\n");
    }
    text
}

#[test]
fn what_expands_without_end_is_refused_with_its_line() {
    let long = "is longer than 64 KiB, or expands to more";
    let value = "x".repeat(60_000);
    for (path, text, words) in [
        (".env.sample", bomb(""), format!("the value of `A3` {long}")),
        (
            "abra.sh",
            bomb("export "),
            format!("the value of `A3` {long}"),
        ),
        (
            ".env.sample",
            "A=\n".repeat(10_001),
            "are more than 10000".to_owned(),
        ),
        (
            ".env.sample",
            "x".repeat(1 << 20),
            "has more than 1048576 bytes".to_owned(),
        ),
    ] {
        let place = Place::new();
        place.lay(path, &Lure::Text(text));
        for args in [&["run", "--dry-run"][..], &["run"], &["lint"]] {
            place.refused(args, &words);
        }
    }
    let place = Place::new();
    place.lay(".env.sample", &Lure::Text(format!("V={value}\n")));
    let many = "$V".repeat(200);
    let evil = format!("services:\n  evil:\n    image: a\n    labels: {{l: '{many}'}}\n");
    let file = place.recipe.join("compose.yml");
    place.env.edit(&file, "services:\n", &evil);
    for args in [&["run", "--dry-run"][..], &["run"], &["lint"]] {
        place.refused(args, "come to more than 8 MiB of text");
    }
}

/// Makes a tree of these entries, which git itself would refuse, and the branch `bad` with it.
fn bad_branch(place: &Place, entries: &[(&str, &str, &str)]) {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend(format!("{mode} {name}\0").into_bytes());
        let digits = |at: usize| u8::from_str_radix(&id[at..at + 2], 16).unwrap();
        bytes.extend((0..40).step_by(2).map(digits));
    }
    let file = place.env.root.join("tree");
    std::fs::write(&file, bytes).unwrap();
    let file = file.to_str().unwrap();
    let tree = git(
        &place.recipe,
        &["hash-object", "-t", "tree", "-w", "--literally", file],
    );
    let commit = git(
        &place.recipe,
        &["commit-tree", &tree, "-p", "HEAD", "-m", "bad"],
    );
    git(&place.recipe, &["update-ref", "refs/heads/bad", &commit]);
}

#[test]
fn a_tree_that_git_would_not_make_is_the_repositorys_fault() {
    let place = Place::new();
    let blob = git(&place.recipe, &["rev-parse", "HEAD:compose.yml"]);
    let name = "a name that no file of a repository may have";
    for (entries, words) in [
        (
            ["compose.yml", "compose.yml"],
            "has two entries of the name `compose.yml`",
        ),
        (["compose.yml", ".git"], name),
        (["..", "compose.yml"], name),
        (["a\u{1b}[2J", "compose.yml"], name),
    ] {
        let entries = entries.map(|name| ("100644", name, blob.as_str()));
        bad_branch(&place, &entries);
        for args in [
            &["run", "--dry-run", "--ref", "bad"][..],
            &["run", "--ref", "bad"],
            &["lint", "--ref", "bad"],
        ] {
            place.refused(args, words);
        }
    }
}

#[test]
fn a_repository_that_unpacks_to_too_much_never_does() {
    let place = Place::new();
    let zeros = place.env.root.join("zeros");
    let file = std::fs::File::create(&zeros).unwrap();
    file.set_len(30 << 20).unwrap();
    let blob = git(
        &place.recipe,
        &["hash-object", "-w", zeros.to_str().unwrap()],
    );
    std::fs::remove_file(zeros).unwrap();
    let names: Vec<_> = (10..30).map(|n| n.to_string()).collect();
    let entries: Vec<_> = names
        .iter()
        .map(|n| ("100644", n.as_str(), blob.as_str()))
        .collect();
    bad_branch(&place, &entries);
    let words = "holds more than 512 MiB of files";
    place.refused(&["run", "--ref", "bad"], words);
    place.refused(&["lint", "--ref", "bad"], words);
    let used = command("du")
        .args(["-sm"])
        .arg(&place.env.root)
        .stderr(Stdio::null())
        .output();
    let used = String::from_utf8(used.unwrap().stdout).unwrap();
    let megabytes: u64 = used.split_whitespace().next().unwrap().parse().unwrap();
    assert!(megabytes < 30, "{used}");
}
