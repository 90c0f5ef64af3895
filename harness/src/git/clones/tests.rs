//! Shared clones, from the real git behind a server on the loopback.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Barrier;

use git2::{ObjectType, Oid};

use super::super::fetch::{FetchError, FetchRequest, Fetched, fetch};
use super::super::source::Source;
use super::super::testing::{Fixture, Rules, Server};
use super::super::token::Token;
use super::super::{Fault, checkout};
use super::*;

const SECRET: &str = "s3cret-0123456789";

/// A repository behind a server, and a directory for clones of it.
struct Place {
    fixture: Fixture,
    server: Server,
}

impl Place {
    fn new(fixture: Fixture, rules: Rules) -> Self {
        let server = Server::start(&fixture.served(), rules);
        Self { fixture, server }
    }

    fn clones(&self) -> PathBuf {
        self.fixture.outside("state/clones")
    }

    /// The only clone that there is.
    fn shared(&self) -> PathBuf {
        let url = format!("{}/notes", self.server.url());
        self.clones().join(format!("{}.git", TaskId::digest(&url)))
    }

    fn request(&self, reference: Option<&str>, to: &str) -> FetchRequest {
        let url = format!("{}/notes", self.server.url());
        FetchRequest {
            source: Source::parse(&url, None, Path::new("/")).unwrap(),
            reference: reference.map(|name| name.parse().unwrap()),
            destination: self.fixture.outside(to),
            token: None,
            clones: Some(self.clones()),
        }
    }

    fn fetch(&self, reference: Option<&str>, to: &str) -> Result<Fetched, FetchError> {
        fetch(&self.request(reference, to))
    }

    /// How often objects were asked for.
    fn packs_asked(&self) -> usize {
        let seen = self.server.seen();
        seen.iter()
            .filter(|seen| seen.target.ends_with("/git-upload-pack"))
            .count()
    }

    fn pack_files(&self) -> Vec<PathBuf> {
        let entries = crate::host_file::entries(self.shared().join("objects/pack")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "pack"));
        paths
    }
}

fn objects_of_pack(path: &Path) -> u32 {
    let bytes = crate::host_file::bytes(path).unwrap();
    u32::from_be_bytes(bytes[8..12].try_into().unwrap())
}

fn refs_of(path: &Path) -> Vec<String> {
    let repo = Repository::open(path).unwrap();
    let refs = repo.references().unwrap().map(|found| {
        let found = found.unwrap();
        format!(
            "{} {:?} {:?}",
            found.name().unwrap(),
            found.target(),
            found.symbolic_target().ok().flatten()
        )
    });
    let mut refs: Vec<_> = refs.collect();
    refs.sort();
    refs
}

#[test]
fn of_many_at_once_one_gets_the_objects_and_later_ones_only_what_is_new() {
    const MANY: usize = 8;
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1"), ("b", "1")]);
    fixture.annotated_tag("1.0.0", first);
    let place = Place::new(fixture, Rules::default());
    let start = Barrier::new(MANY);
    let (to_fetch, start) = (
        (0..MANY).map(|place_of| place.request(None, &format!("copy{place_of}"))),
        &start,
    );
    std::thread::scope(|scope| {
        let runs: Vec<_> = to_fetch
            .map(|request| {
                scope.spawn(move || {
                    start.wait();
                    fetch(&request)
                })
            })
            .collect();
        for run in runs {
            let fetched = run.join().unwrap().unwrap();
            assert_eq!(fetched.commit, first.to_string());
            assert_eq!(fetched.remarks, [""; 0]);
        }
    });
    assert_eq!(place.packs_asked(), 1);

    // What was pushed since is seen, and only that comes over the network.
    let before = place.pack_files();
    let second = place.fixture.commit(&[("a", "2")]).to_string();
    assert_eq!(place.fetch(None, "later").unwrap().commit, second);
    assert_eq!(place.packs_asked(), 2);
    let new: Vec<_> = place
        .pack_files()
        .into_iter()
        .filter(|path| !before.contains(path))
        .collect();
    // A commit, a tree and a blob.
    assert_eq!(
        new.iter()
            .map(|path| objects_of_pack(path))
            .collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(
        place.fetch(Some("1.0.0"), "nothing-new").unwrap().commit,
        first.to_string()
    );
    assert_eq!(place.packs_asked(), 2);
}

#[test]
fn a_run_gets_what_a_direct_fetch_gives_and_needs_the_clone_no_more() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    fixture.tag("light", first);
    fixture.annotated_tag("1.0.0+2", first);
    fixture.reference("refs/heads/feature/x", first);
    fixture.commit(&[("a", "2")]);
    let pull = fixture.stray_commit("a pull request", first);
    let tip = fixture.stray_commit("more of it", pull);
    fixture.reference("refs/pull/4/head", tip);
    let place = Place::new(fixture, Rules::default());
    let (first, pull, tip) = (first.to_string(), pull.to_string(), tip.to_string());
    let none = "0".repeat(39) + "1";
    let names = [
        None,
        Some("main"),
        Some("feature/x"),
        Some("1.0.0+2"),
        Some(&first),
        Some(&first[..8]),
        Some("refs/pull/4/head"),
        Some(&tip),
        Some(&pull),
        Some(&pull[..8]),
        Some("no-such-branch"),
        Some(&none),
    ];
    for (number, name) in names.into_iter().enumerate() {
        let direct = FetchRequest {
            clones: None,
            ..place.request(name, &format!("direct{number}"))
        };
        let shared = place.request(name, &format!("shared{number}"));
        match (fetch(&direct), fetch(&shared)) {
            (Ok(wanted), Ok(fetched)) => {
                let destination = wanted.destination.clone();
                assert_eq!(
                    refs_of(&fetched.destination),
                    refs_of(&destination),
                    "{name:?}"
                );
                assert_eq!(
                    Fetched {
                        destination,
                        ..fetched
                    },
                    wanted,
                    "{name:?}"
                );
            }
            (Err(wanted), Err(error)) => {
                assert_eq!(error.to_string(), wanted.to_string());
                assert_eq!(error.fault(), Fault::Usage);
            }
            (wanted, got) => panic!("{name:?}: {wanted:?}, but {got:?}"),
        }
    }
    let copy = place.fixture.outside("shared0");
    assert!(!copy.join(".git/objects/info/alternates").exists());
    fs::remove_dir_all(place.clones()).unwrap();
    assert_eq!(checkout::checkout(&copy, "1.0.0+2").unwrap(), first);
    assert_eq!(crate::host_file::text(copy.join("a")).unwrap(), "1");
}

#[test]
fn the_clone_gives_nothing_that_the_server_does_not_show_to_this_run() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    let hidden = fixture.stray_commit("for some eyes only", first);
    fixture.reference("refs/heads/x", hidden);
    let mut place = Place::new(fixture, Rules::default());
    assert_eq!(
        place.fetch(Some("x"), "seen").unwrap().commit,
        hidden.to_string()
    );

    // The branch is gone; another one is where it was, which the clone has to make room for.
    place
        .fixture
        .repo
        .find_reference("refs/heads/x")
        .unwrap()
        .delete()
        .unwrap();
    let other = place.fixture.stray_commit("another", first);
    place.fixture.reference("refs/heads/x/y", other);
    assert_eq!(
        place.fetch(Some("x/y"), "other").unwrap().commit,
        other.to_string()
    );
    let odb = Repository::open_bare(place.shared()).unwrap();
    assert!(odb.odb().unwrap().exists(hidden), "the test proves nothing");
    let error = place
        .fetch(Some(&hidden.to_string()), "hidden")
        .unwrap_err();
    assert!(matches!(error, FetchError::UnknownRef { .. }), "{error}");
    let copy = Repository::open(place.fixture.outside("other")).unwrap();
    assert!(!copy.odb().unwrap().exists(hidden));

    // A server that cannot be asked is exit 3, clone or no clone.
    let gone = place.request(None, "gone");
    place.server = Server::start(&place.fixture.served(), Rules::default());
    let error = fetch(&gone).unwrap_err();
    assert!(matches!(error, FetchError::Transport(_)), "{error}");
}

#[test]
fn a_private_repository_is_not_served_to_a_run_without_its_token_and_no_file_has_the_token() {
    let fixture = Fixture::new();
    let head = fixture.commit(&[("a", "1")]).to_string();
    let rules = Rules {
        password: Some(SECRET.into()),
        ..Rules::default()
    };
    let place = Place::new(fixture, rules);
    let with = |secret: Option<&str>, to| {
        let token = secret.map(|secret| Token::new(&place.server.url(), secret).unwrap());
        fetch(&FetchRequest {
            token,
            ..place.request(None, to)
        })
    };
    assert_eq!(with(Some(SECRET), "with").unwrap().commit, head);
    assert!(has_objects(&place.shared()));
    for (secret, to) in [(None, "without"), (Some("another"), "another")] {
        let error = with(secret, to).unwrap_err();
        assert!(matches!(error, FetchError::Transport(_)), "{error}");
        assert!(!place.fixture.outside(to).exists());
    }
    assert_eq!(place.packs_asked(), 1);

    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(
        (mode(&place.clones()), mode(&place.shared())),
        (0o700, 0o700)
    );
    for entry in walkdir::WalkDir::new(place.clones()) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let content = crate::host_file::bytes(entry.path()).unwrap();
            let text = String::from_utf8_lossy(&content);
            assert!(!text.contains(SECRET), "{}", entry.path().display());
            assert!(!text.contains("[filter"), "{}", entry.path().display());
            let mut above = entry.path().components();
            let hook = above.any(|part| part.as_os_str() == "hooks");
            assert!(!hook, "{}", entry.path().display());
        }
    }
}

fn has_objects(clone: &Path) -> bool {
    crate::host_file::entries(clone.join("objects/pack"))
        .unwrap()
        .count()
        > 0
}

/// Writes every object but one as a file of its own, so that history has a hole.
fn without(clone: &Path, missing: Oid) {
    let repo = Repository::open_bare(clone).unwrap();
    let odb = repo.odb().unwrap();
    let mut ids = Vec::new();
    odb.foreach(|id| {
        ids.push(*id);
        true
    })
    .unwrap();
    let read = |id: Oid| -> (ObjectType, Vec<u8>) {
        let object = odb.read(id).unwrap();
        (object.kind(), object.data().to_vec())
    };
    let objects: Vec<_> = ids
        .into_iter()
        .filter(|id| *id != missing)
        .map(read)
        .collect();
    fs::remove_dir_all(clone.join("objects/pack")).unwrap();
    fs::create_dir(clone.join("objects/pack")).unwrap();
    let repo = Repository::open_bare(clone).unwrap();
    for (kind, data) in objects {
        repo.odb().unwrap().write(kind, &data).unwrap();
    }
}

#[test]
fn a_damaged_clone_is_thrown_away_and_made_again_and_said_so() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    let head = fixture.commit(&[("a", "2")]).to_string();
    let place = Place::new(fixture, Rules::default());
    place.fetch(None, "first").unwrap();
    let damages: [(&str, &dyn Fn()); 4] = [
        ("cut", &|| {
            for path in place.pack_files() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                let file = crate::host_file::options().write(true).open(&path).unwrap();
                file.set_len(40).unwrap();
            }
        }),
        ("hole", &|| without(&place.shared(), first)),
        ("headless", &|| {
            fs::remove_file(place.shared().join("HEAD")).unwrap();
        }),
        ("file", &|| {
            fs::remove_dir_all(place.shared()).unwrap();
            fs::write(place.shared(), "").unwrap();
        }),
    ];
    for (name, damage) in damages {
        damage();
        let fetched = place.fetch(None, name).unwrap();
        assert_eq!(fetched.commit, head, "{name}");
        assert!(
            matches!(&fetched.remarks[..], [remark] if remark.contains("damaged") && remark.contains("made again")),
            "{name}: {:?}",
            fetched.remarks
        );
        let asked = place.packs_asked();
        let after = place.fetch(None, &format!("after-{name}")).unwrap();
        assert_eq!(
            (after.commit, after.remarks),
            (head.clone(), vec![]),
            "{name}"
        );
        assert_eq!(place.packs_asked(), asked, "{name}: it was not made again");
    }
}

#[test]
fn without_a_usable_directory_it_is_fetched_directly_and_said_so() {
    let fixture = Fixture::new();
    let head = fixture.commit(&[("a", "1")]).to_string();
    let place = Place::new(fixture, Rules::default());
    let clones = place.clones();
    fs::create_dir_all(clones.parent().unwrap()).unwrap();
    fs::write(&clones, "").unwrap();
    let spoilt: [(&str, &str, &dyn Fn()); 2] = [
        ("file", "is no directory", &|| {}),
        ("open", "mode 0700", &|| {
            fs::remove_file(&clones).unwrap();
            fs::create_dir(&clones).unwrap();
            fs::set_permissions(&clones, fs::Permissions::from_mode(0o755)).unwrap();
        }),
    ];
    for (name, reason, spoil) in spoilt {
        spoil();
        let fetched = place.fetch(None, name).unwrap();
        assert_eq!(fetched.commit, head);
        assert!(
            matches!(&fetched.remarks[..], [remark] if remark.contains(reason) && remark.contains("fetched directly")),
            "{:?}",
            fetched.remarks
        );
    }
    assert_eq!(crate::host_file::entries(&clones).unwrap().count(), 0);
}

#[test]
fn clones_that_nobody_uses_are_removed_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let old = now - UNUSED - Duration::from_secs(1);
    let set = |path: &Path, time| {
        crate::host_file::open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    let id = |digit: &str| digit.repeat(32);
    let make = |digit: &str, used: SystemTime| {
        let clone = dir.path().join(format!("{}.git", id(digit)));
        fs::create_dir_all(clone.join("objects")).unwrap();
        set(&clone, used);
        for end in ["lock", "exit"] {
            let path = dir.path().join(format!("{}.{end}", id(digit)));
            fs::write(&path, "").unwrap();
            set(&path, old);
        }
    };
    make("a", old);
    make("b", now - UNUSED + Duration::from_secs(60));
    make("c", old);
    make("d", now + UNUSED);
    fs::create_dir(dir.path().join("mine.git")).unwrap();
    set(&dir.path().join("mine.git"), old);
    let held = dir.path().join(format!("{}.lock", id("c")));
    let lock = SectionLock::try_acquire(&held).unwrap().unwrap();
    set(&held, old);
    let mut problems = Vec::new();
    assert_eq!(tidy(dir.path(), now, &mut problems), 1);
    let left = || {
        let entries = crate::host_file::entries(dir.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let of = |digit: &str| ["exit", "git", "lock"].map(|end| format!("{}.{end}", id(digit)));
    let kept = [
        of("b").to_vec(),
        of("c").to_vec(),
        of("d").to_vec(),
        vec!["mine.git".to_owned()],
    ];
    assert_eq!(left(), kept.concat());
    drop(lock);
    assert_eq!(tidy(dir.path(), now, &mut problems), 1);
    assert_eq!(problems, [""; 0]);
    assert!(left().iter().all(|name| !name.starts_with('c')));

    assert_eq!(tidy(&dir.path().join("none"), now, &mut problems), 0);
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        tidy(&dir.path().join(of("b")[0].as_str()), now, &mut problems),
        0
    );
    assert_eq!(problems.len(), 1, "what cannot be listed is said");
}

/// A refresh that hangs, because its process was stopped, hangs nobody else.
#[test]
fn who_waits_too_long_for_another_process_fetches_by_itself_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let clones = dir.path().join("clones");
    private(&clones).unwrap();
    let Source::Url(url) = Source::parse("http://127.0.0.1:9/notes", None, Path::new("/")).unwrap()
    else {
        panic!("a URL is remote")
    };
    let asked = std::cell::Cell::new(false);
    let fetch = |_: &Repository| {
        asked.set(true);
        Ok(())
    };
    let limit = Duration::from_secs(1);
    let shared = Clones {
        wait: limit,
        ..Clones::new(&clones, &url, &fetch)
    };
    assert_eq!(
        Clones::new(&clones, &url, &fetch).wait,
        Duration::from_secs(120)
    );
    let lock = shared.beside("lock");
    #[expect(
        clippy::disallowed_methods,
        reason = "another process that holds the lock"
    )]
    let mut holder = std::process::Command::new("flock")
        .arg("--no-fork")
        .arg(&lock)
        .args(["sleep", "600"])
        .spawn()
        .unwrap();
    let held = || {
        matches!(
            crate::lock::probe(&lock),
            Ok(crate::lock::Probe::Held { .. })
        )
    };
    let started = std::time::Instant::now();
    while !held() {
        assert!(started.elapsed() < Duration::from_secs(60), "never locked");
        std::thread::park_timeout(Duration::from_millis(5));
    }

    let into = Repository::init_bare(dir.path().join("run.git")).unwrap();
    let mut remarks = Vec::new();
    let started = std::time::Instant::now();
    let served = shared.serve(&into, &[], &mut remarks);
    let waited = started.elapsed();
    assert!(matches!(served, Served::Not));
    assert!(waited >= limit, "{waited:?}");
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    for word in [
        "fetched directly",
        lock.to_str().unwrap(),
        "held for more than 1 s",
    ] {
        assert!(remarks[0].contains(word), "no `{word}` in {remarks:?}");
    }
    assert!(
        !asked.get(),
        "who does not hold the lock wrote to the clone"
    );

    holder.kill().unwrap();
    holder.wait().unwrap();
    remarks.clear();
    // Who gave up above may get the lock first, for a moment.
    let patient = Clones::new(&clones, &url, &fetch);
    let served = patient.serve(&into, &[], &mut remarks);
    assert!(matches!(served, Served::Done));
    assert_eq!(remarks, [""; 0]);
}

#[test]
fn a_clone_with_too_many_packs_is_made_again_and_one_with_as_many_as_it_may_have_is_not() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "0")]);
    let place = Place::new(fixture, Rules::default());
    let push_and_fetch = |number: usize| {
        let text = number.to_string();
        let commit = place.fixture.commit(&[("a", &text)]).to_string();
        let fetched = place.fetch(None, &format!("copy{number}")).unwrap();
        assert_eq!(fetched.commit, commit);
        assert_eq!(fetched.remarks, [""; 0]);
    };
    push_and_fetch(1);
    let first = identity(&place.shared());
    for number in 2..=MAX_PACKS + 1 {
        push_and_fetch(number);
        assert_eq!(place.pack_files().len(), number);
    }
    assert_eq!(identity(&place.shared()), first, "it was made again early");

    let asked = place.packs_asked();
    push_and_fetch(MAX_PACKS + 2);
    assert_eq!(place.packs_asked(), asked + 1, "nothing to negotiate about");
    assert_ne!(identity(&place.shared()), first);
    let packs = place.pack_files();
    assert_eq!(packs.len(), 1);
    // With all that there was: a commit, a tree and a blob for each push, and the first three.
    let all = u32::try_from(3 * (MAX_PACKS + 3)).unwrap();
    assert_eq!(objects_of_pack(&packs[0]), all);
}
