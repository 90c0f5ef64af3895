//! Fetching from paths and `file` addresses.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use git2::Repository;

use super::super::Fault;
use super::super::checkout::target_branch_tip;
use super::super::fetch::{FetchError, FetchRequest, Fetched, fetch};
use super::super::source::Source;
use super::super::testing::Fixture;

fn from(source: Source, reference: Option<&str>, to: &Path) -> Result<Fetched, FetchError> {
    let reference = reference.map(|name| name.parse().unwrap());
    fetch(&FetchRequest {
        source,
        reference,
        destination: to.to_owned(),
        token: None,
    })
}

fn from_path(path: &Path, reference: Option<&str>, to: &Path) -> Result<Fetched, FetchError> {
    from(Source::Path(path.to_owned()), reference, to)
}

fn usage(result: Result<Fetched, FetchError>) -> FetchError {
    let error = result.unwrap_err();
    assert_eq!(error.fault(), Fault::Usage, "{error}");
    error
}

fn status(path: &Path) -> Vec<String> {
    let repo = Repository::open(path).unwrap();
    let mut options = git2::StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true);
    let statuses = repo.statuses(Some(&mut options)).unwrap();
    statuses
        .iter()
        .map(|entry| format!("{} {:?}", entry.path().unwrap(), entry.status()))
        .collect()
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0
}

#[test]
fn a_clean_work_tree_gives_its_commit() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[(".gitignore", "*.log\n"), ("a", "1")]);
    fixture.annotated_tag("0.1.0+1.0.0", first);
    let head = fixture.commit(&[("a", "2"), ("dir/b", "x")]);
    fixture.write("ignored.log", "x");
    let before = (
        fixture.everything(),
        fixture.index_state(),
        status(fixture.path()),
    );
    let to = fixture.outside("deep/copy");
    let fetched = from_path(fixture.path(), None, &to).unwrap();
    assert_eq!(fetched.commit, head.into());
    assert_eq!(fetched.branch.as_deref(), Some("main"));
    assert_eq!(
        (fetched.dirty, fetched.tags.len(), fetched.tags[0].annotated),
        (false, 1, true)
    );
    assert!(!to.join("ignored.log").exists());
    assert_eq!(crate::host_file::text(to.join("dir/b")).unwrap(), "x");
    assert_eq!(
        target_branch_tip(&to).unwrap().unwrap().commit,
        fetched.commit
    );
    let copy = Repository::open(&to).unwrap();
    assert!(copy.head_detached().unwrap() && !copy.is_shallow());
    assert!(copy.find_commit(first).is_ok());
    assert_eq!(status(&to), [] as [String; 0]);
    assert_eq!(
        (
            fixture.everything(),
            fixture.index_state(),
            status(fixture.path())
        ),
        before
    );
}

#[test]
fn uncommitted_changes_lie_over_the_commit() {
    let fixture = Fixture::new();
    fixture.write("run.sh", "#!/bin/sh\n");
    symlink("a", fixture.path().join("link")).unwrap();
    let head = fixture.commit(&[
        (".gitignore", "*.log\nsecret\n"),
        ("a", "1"),
        ("gone/deep", "x"),
        ("file-to-dir", "x"),
        ("dir-to-file/x", "x"),
        ("staged-gone", "x"),
        ("cached-gone", "x"),
        ("kept", "x"),
    ]);
    let root = fixture.path().to_owned();
    let remove = |path: &str| fs::remove_file(root.join(path)).unwrap();
    fixture.write("a", "2");
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [
        "link",
        "gone/deep",
        "file-to-dir",
        "dir-to-file/x",
        "staged-gone",
    ] {
        remove(path);
    }
    symlink("kept", root.join("link")).unwrap();
    fs::remove_dir(root.join("dir-to-file")).unwrap();
    fixture.write("dir-to-file", "now a file");
    fixture.write("file-to-dir/x", "now a directory");
    fixture.write("new/untracked", "x");
    fixture.write("new/ignored.log", "x");
    fixture.write("staged-new", "x");
    symlink("/nowhere", root.join("dangling")).unwrap();
    let mut index = fixture.repo.index().unwrap();
    index.remove_path(Path::new("staged-gone")).unwrap();
    index.remove_path(Path::new("cached-gone")).unwrap();
    index.add_path(Path::new("staged-new")).unwrap();
    index.write().unwrap();
    fixture.write(".gitignore", "*.log\nsecret\ncached-gone\n");
    let inner = Repository::init(root.join("inner")).unwrap();
    fixture.write("inner/x", "of a repository inside");
    drop(inner);
    let before = (fixture.everything(), fixture.index_state());

    let to = fixture.outside("copy");
    let fetched = from_path(&root, None, &to).unwrap();
    assert!(fetched.dirty);
    assert_eq!(fetched.commit, head.into());
    let read = |path: &str| crate::host_file::text(to.join(path)).unwrap();
    assert_eq!(read("a"), "2");
    assert!(executable(&to.join("run.sh")) && !executable(&to.join("a")));
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("kept"));
    assert_eq!(
        fs::read_link(to.join("dangling")).unwrap(),
        Path::new("/nowhere")
    );
    assert_eq!(read("dir-to-file"), "now a file");
    assert_eq!(read("file-to-dir/x"), "now a directory");
    assert_eq!(
        (read("new/untracked"), read("staged-new"), read("kept")),
        ("x".into(), "x".into(), "x".into())
    );
    assert_eq!(read("inner/x"), "of a repository inside");
    for absent in [
        "gone",
        "staged-gone",
        "cached-gone",
        "new/ignored.log",
        "inner/.git",
    ] {
        assert!(fs::symlink_metadata(to.join(absent)).is_err(), "{absent}");
    }
    let copy = Repository::open(&to).unwrap();
    assert_eq!(copy.head().unwrap().peel_to_commit().unwrap().id(), head);
    assert_eq!((fixture.everything(), fixture.index_state()), before);

    // With a reference, what is not committed does not count.
    let clean = fixture.outside("clean");
    let fetched = from_path(&root, Some("main"), &clean).unwrap();
    assert!(!fetched.dirty);
    assert_eq!(crate::host_file::text(clean.join("a")).unwrap(), "1");
    assert_eq!(status(&clean), [] as [String; 0]);
}

#[test]
fn a_directory_in_place_of_a_link_is_not_written_through_the_link() {
    let fixture = Fixture::new();
    let victim = fixture.outside("victim");
    fs::create_dir(&victim).unwrap();
    symlink(&victim, fixture.path().join("dir")).unwrap();
    fixture.commit(&[("a", "1")]);
    fs::remove_file(fixture.path().join("dir")).unwrap();
    fixture.write("dir/x", "mine");
    let to = fixture.outside("copy");
    assert!(from_path(fixture.path(), None, &to).unwrap().dirty);
    assert_eq!(crate::host_file::text(to.join("dir/x")).unwrap(), "mine");
    assert_eq!(crate::host_file::entries(&victim).unwrap().count(), 0);
}

#[test]
fn every_kind_of_name_is_found() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    fixture.tag("light", first);
    fixture.annotated_tag("1.0.0+2", first);
    fixture.reference("refs/heads/feature/x", first);
    fixture.reference("refs/remotes/origin/published", first);
    fixture.commit(&[("a", "2")]);
    let pull = fixture.stray_commit("of a pull request", first);
    fixture.reference("refs/pull/4/head", pull);
    let (first, pull) = (first.to_string(), pull.to_string());
    let names = [
        ("light", &first),
        ("1.0.0+2", &first),
        ("refs/tags/1.0.0+2", &first),
        ("feature/x", &first),
        ("published", &first),
        ("origin/published", &first),
        ("refs/pull/4/head", &pull),
        ("pull/4/head", &pull),
        (&first, &first),
        (&first[..7], &first),
        (&pull, &pull),
    ];
    for (place, (name, commit)) in names.into_iter().enumerate() {
        let to = fixture.outside(&format!("copy{place}"));
        let fetched = from_path(fixture.path(), Some(name), &to).unwrap();
        assert_eq!(
            (&fetched.commit.to_string(), fetched.tags.len()),
            (commit, 2),
            "{name}"
        );
        assert_eq!(to.join("stray").exists(), *commit == pull, "{name}");
        let copy = Repository::open(&to).unwrap();
        for branch in ["main", "feature/x", "published"] {
            assert!(
                copy.find_reference(&format!("refs/remotes/origin/{branch}"))
                    .is_ok(),
                "{branch}"
            );
        }
    }
}

#[test]
fn a_name_that_does_not_exist_is_refused_with_close_ones() {
    let fixture = Fixture::new();
    let head = fixture.commit(&[("a", "1")]);
    fixture.tag("1.2.3", head);
    let to = fixture.outside("copy");
    for name in [
        "1.2.4",
        "mian",
        "refs/pull/9/head",
        "abcdef12",
        &"0".repeat(40),
    ] {
        let error = usage(from_path(fixture.path(), Some(name), &to));
        let FetchError::UnknownRef {
            reference, close, ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!((reference.as_str(), close.len()), (name, 2));
        assert!(error.to_string().contains("1.2.3"), "{error}");
        assert!(!to.exists(), "a failed fetch leaves nothing behind");
    }
}

#[test]
fn what_is_no_repository_of_its_own_is_refused() {
    let fixture = Fixture::new();
    let to = fixture.outside("copy");
    assert!(matches!(
        usage(from_path(fixture.path(), None, &to)),
        FetchError::NoCommit { .. }
    ));
    fixture.commit(&[("sub/a", "1")]);
    for inside in ["sub", ".git"] {
        let error = usage(from_path(&fixture.path().join(inside), None, &to));
        let FetchError::SubDirectory { root, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(
            root.canonicalize().unwrap(),
            fixture.path().canonicalize().unwrap()
        );
    }
    let plain = fixture.outside("plain");
    assert!(matches!(
        usage(from_path(&plain, None, &to)),
        FetchError::SourceMissing { .. }
    ));
    fs::create_dir(&plain).unwrap();
    assert!(matches!(
        usage(from_path(&plain, None, &to)),
        FetchError::NotARepository { .. }
    ));
    let error = from_path(fixture.path(), None, &plain).unwrap_err();
    assert!(
        matches!(error, FetchError::DestinationExists { .. }),
        "{error:?}"
    );
    assert!(plain.exists(), "what was there before stays");
}

#[test]
fn bare_repositories_linked_worktrees_and_file_addresses_work() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    fixture.tag("1.0.0", first);
    fixture.reference("refs/heads/trunk", first);
    let linked = fixture.outside("linked");
    fixture.repo.worktree("linked", &linked, None).unwrap();
    let head = fixture.commit(&[("a", "2")]);

    let bare = fixture.outside("bare.git");
    let made = git2::build::RepoBuilder::new()
        .bare(true)
        .clone(&format!("file://{}", fixture.path().display()), &bare);
    made.unwrap().set_head("refs/heads/main").unwrap();
    let fetched = from_path(&bare, None, &fixture.outside("from-bare")).unwrap();
    assert_eq!((fetched.commit, fetched.tags.len()), (head.into(), 1));

    fs::write(linked.join("b"), "untracked in the linked one").unwrap();
    let to = fixture.outside("from-linked");
    let fetched = from_path(&linked, None, &to).unwrap();
    assert_eq!((fetched.commit, fetched.dirty), (first.into(), true));
    assert_eq!(
        crate::host_file::text(to.join("b")).unwrap(),
        "untracked in the linked one"
    );

    fixture.write("a", "uncommitted");
    let source = Source::parse(
        &format!("file://{}", fixture.path().display()),
        None,
        Path::new("/"),
    )
    .unwrap();
    let fetched = from(source, None, &fixture.outside("from-file")).unwrap();
    assert_eq!((fetched.commit, fetched.dirty), (head.into(), false));
}

#[test]
fn what_the_origin_has_is_the_target_not_the_local_branch() {
    let fixture = Fixture::new();
    let published = fixture.commit(&[("a", "1")]);
    fixture.reference("refs/remotes/origin/main", published);
    // A dangling symbolic ref, as after a renamed default branch, and a branch in the way of another.
    fixture
        .repo
        .reference_symbolic(
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/old",
            true,
            "",
        )
        .unwrap();
    fixture.reference("refs/heads/topic", published);
    fixture.reference("refs/remotes/origin/topic/x", published);
    let head = fixture.commit(&[("a", "2")]);
    let to = fixture.outside("copy");
    assert_eq!(
        from_path(fixture.path(), None, &to).unwrap().commit,
        head.into()
    );
    let tip = target_branch_tip(&to).unwrap().unwrap();
    assert_eq!((tip.name.as_str(), tip.commit), ("main", published.into()));
}

#[test]
fn a_shallow_source_gives_a_shallow_copy() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    let cut = fixture.commit(&[("a", "2")]);
    let head = fixture.commit(&[("a", "3")]);
    fs::write(fixture.path().join(".git/shallow"), format!("{cut}\n")).unwrap();
    let id = first.to_string();
    fs::remove_file(
        fixture
            .path()
            .join(".git/objects")
            .join(&id[..2])
            .join(&id[2..]),
    )
    .unwrap();
    let to = fixture.outside("copy");
    assert_eq!(
        from_path(fixture.path(), None, &to).unwrap().commit,
        head.into()
    );
    let copy = Repository::open(&to).unwrap();
    assert!(copy.is_shallow());
    assert_eq!(copy.find_commit(cut).unwrap().parent_count(), 0);
    // The copy is a source like any other.
    let again = from_path(&to, None, &fixture.outside("again")).unwrap();
    assert_eq!(again.commit, head.into());
}

#[test]
fn a_repository_of_another_user_can_be_read() {
    let fixture = Fixture::new();
    let head = fixture.commit(&[("a", "1")]);
    let mut paths: Vec<PathBuf> = vec![fixture.path().to_owned()];
    paths.push(fixture.path().join(".git"));
    for path in paths {
        // Only root may give files away; another user's test run shows the rest.
        if std::os::unix::fs::chown(&path, Some(12_345), Some(12_345)).is_err() {
            return;
        }
    }
    assert_eq!(
        from_path(fixture.path(), None, &fixture.outside("copy"))
            .unwrap()
            .commit,
        head.into()
    );
}

#[test]
fn a_submodules_work_tree_is_a_repository_of_its_own() {
    let fixture = Fixture::new();
    let head = fixture.commit(&[("a", "1")]);
    let root = fixture.path().to_owned();
    fixture
        .repo
        .config()
        .unwrap()
        .set_str("core.worktree", "../../served/notes")
        .unwrap();
    fs::create_dir(fixture.outside("modules")).unwrap();
    fs::rename(root.join(".git"), fixture.outside("modules/notes")).unwrap();
    fs::write(root.join(".git"), "gitdir: ../../modules/notes\n").unwrap();
    fs::write(root.join("b"), "untracked").unwrap();
    let to = fixture.outside("copy");
    let fetched = from_path(&root, None, &to).unwrap();
    assert_eq!((fetched.commit, fetched.dirty), (head.into(), true));
    assert!(to.join("b").exists() && to.join(".git").is_dir());
}

#[test]
fn a_work_tree_is_not_copied_into_itself() {
    let fixture = Fixture::new();
    fixture.commit(&[(".gitignore", "ignored/\n")]);
    let error = usage(from_path(
        fixture.path(),
        None,
        &fixture.path().join("runs/1"),
    ));
    assert!(
        matches!(error, FetchError::DestinationInside { .. }),
        "{error:?}"
    );
    let fetched = from_path(fixture.path(), None, &fixture.path().join("ignored/1")).unwrap();
    assert!(!fetched.dirty);
    from_path(fixture.path(), Some("main"), &fixture.path().join("runs/1")).unwrap();
}

#[test]
fn a_name_that_a_branch_and_a_tag_have_is_the_branch_and_that_is_said() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    fixture.annotated_tag("both", first);
    fixture.annotated_tag("same", first);
    fixture.reference("refs/heads/same", first);
    let second = fixture.commit(&[("a", "2")]);
    fixture.reference("refs/heads/both", second);
    for (place, (name, commit, said)) in [
        ("both", second, true),
        ("refs/heads/both", second, false),
        ("refs/tags/both", first, false),
        ("same", first, false),
    ]
    .into_iter()
    .enumerate()
    {
        let to = fixture.outside(&format!("copy{place}"));
        let fetched = from_path(fixture.path(), Some(name), &to).unwrap();
        assert_eq!(fetched.commit, commit.into(), "{name}");
        let remarks = fetched.remarks;
        assert_eq!(!remarks.is_empty(), said, "{name}: {remarks:?}");
        assert!(remarks.iter().all(|said| said.contains("`refs/tags/both`")));
    }
}
