use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode as NixMode;

use super::*;

const CANARY: &str = "canary-of-another-app";

/// A repository in which everything that a stranger can think of lies, and a file beside it that must stay unseen.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("recipe");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(dir.path().join("secret"), CANARY).unwrap();
        std::fs::write(root.join("a/b/text"), "within").unwrap();
        Self { dir }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("recipe").join(path)
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.at(name)).unwrap();
    }

    /// The tree, once for each way along a path.
    fn trees(&self) -> [SourceTree; 2] {
        [Way::Kernel, Way::ByHand].map(|way| SourceTree {
            way,
            ..SourceTree::open(&self.at("")).unwrap()
        })
    }

    /// What both ways say to a text, which must be the same.
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        both(&self.trees(), path)
    }
}

fn both(trees: &[SourceTree; 2], path: &str) -> Result<Option<String>, String> {
    let began = Instant::now();
    let [kernel, hand] = trees
        .each_ref()
        .map(|tree| tree.text(path).map_err(|error| error.to_string()));
    assert_eq!(kernel, hand, "{path}");
    assert!(began.elapsed() < Duration::from_secs(1), "{path}");
    kernel
}

#[test]
fn files_and_links_inside_the_tree_are_read() {
    let place = Place::new();
    for (name, target) in [
        ("beside", "a/b/text"),
        ("a/up", "../a/./b/../b/text"),
        ("again", "a/up"),
        ("folder", "a/b"),
    ] {
        place.link(name, target);
    }
    for path in [
        "a/b/text",
        "./a/b/text",
        "beside",
        "a/up",
        "again",
        "folder/text",
    ] {
        assert_eq!(place.text(path), Ok(Some("within".to_owned())), "{path}");
    }
}

#[test]
fn what_is_not_there_is_nothing() {
    let place = Place::new();
    place.link("dangling", "not/there");
    for path in ["no", "a/no", "a/b/text/below", "dangling"] {
        assert_eq!(place.text(path), Ok(None), "{path}");
    }
}

#[test]
fn a_path_that_is_absolute_or_goes_up_is_refused() {
    let place = Place::new();
    for path in ["/etc/passwd", "../secret", "a/../../secret", "..", "", "/"] {
        let error = place.text(path).unwrap_err();
        let words = "is not a path inside the repository: it must be relative and without `..`";
        assert_eq!(error, format!("`{path}` {words}"));
    }
}

#[test]
fn a_link_that_leads_out_is_refused_whatever_is_there() {
    let place = Place::new();
    let secret = place.dir.path().join("secret");
    let own = place.at("a/b/text");
    for (name, target) in [
        ("passwd", "/etc/passwd"),
        ("secret", secret.to_str().unwrap()),
        ("a/up", "../../secret"),
        ("zero", "/dev/zero"),
        ("kmsg", "/proc/kmsg"),
        ("environ", "/proc/self/environ"),
        ("nothing", "/not/there/at/all"),
        ("out-and-in", "../recipe/a/b/text"),
        ("own", own.to_str().unwrap()),
        ("root", "/"),
        ("chain", "a/up"),
    ] {
        place.link(name, target);
    }
    for path in [
        "passwd",
        "secret",
        "a/up",
        "zero",
        "kmsg",
        "environ",
        "nothing",
        "out-and-in",
        "own",
        "root/etc/passwd",
        "chain",
    ] {
        let error = place.text(path).unwrap_err();
        let words = "leads out of the repository: a link in it goes to a place outside";
        assert_eq!(error, format!("`{path}` {words}"));
        assert!(place.trees().iter().all(|tree| tree.kind(path).is_err()));
        assert!(place.trees().iter().all(|tree| tree.entries(path).is_err()));
    }
}

#[test]
fn links_that_go_round_end() {
    let place = Place::new();
    place.link("round", "round");
    place.link("one", "two");
    place.link("two", "one");
    for path in ["round", "one"] {
        let error = place.text(path).unwrap_err();
        assert_eq!(
            error,
            format!("`{path}` goes through too many links or directories")
        );
    }
}

#[test]
fn only_a_regular_file_is_opened() {
    let place = Place::new();
    let mode = NixMode::S_IRUSR | NixMode::S_IWUSR;
    nix::unistd::mkfifo(&place.at("fifo"), mode).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.at("socket")).unwrap();
    place.link("to-fifo", "fifo");
    for (path, kind) in [
        ("fifo", "a named pipe"),
        ("to-fifo", "a named pipe"),
        ("socket", "a socket"),
        ("a", "a directory"),
        (".", "a directory"),
    ] {
        let error = place.text(path).unwrap_err();
        let words = format!("`{path}` is {kind}, and only a regular file is read");
        assert_eq!(error, words);
    }
    let devices = [Way::Kernel, Way::ByHand].map(|way| SourceTree {
        way,
        ..SourceTree::open(Path::new("/dev")).unwrap()
    });
    let error = both(&devices, "zero").unwrap_err();
    assert_eq!(error, "`zero` is a device, and only a regular file is read");
}

#[test]
fn magic_links_are_not_followed() {
    let proc = [Way::Kernel, Way::ByHand].map(|way| SourceTree {
        way,
        ..SourceTree::open(Path::new("/proc/self")).unwrap()
    });
    for path in ["cwd/Cargo.toml", "root/etc/passwd", "exe"] {
        for tree in &proc {
            assert!(tree.text(path).is_err(), "{path}");
        }
    }
    let pipe = std::io::pipe().unwrap();
    let own = format!("fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe.0));
    for tree in &proc {
        // By hand its text is that of a file that does not exist, `pipe:[…]`.
        assert!(matches!(tree.text(&own), Err(_) | Ok(None)));
    }
}

#[test]
fn a_text_has_at_most_a_mebibyte() {
    let place = Place::new();
    let ceiling = usize::try_from(TEXT_CEILING).unwrap();
    std::fs::write(place.at("full"), vec![b'x'; ceiling]).unwrap();
    std::fs::write(place.at("over"), vec![b'x'; ceiling + 1]).unwrap();
    std::fs::File::create(place.at("sparse"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert_eq!(place.text("full").unwrap().unwrap().len(), ceiling);
    for path in ["over", "sparse"] {
        let error = place.text(path).unwrap_err();
        let words = "has more than 1048576 bytes, the most that is read of it";
        assert_eq!(error, format!("`{path}` {words}"));
    }
}

#[test]
fn a_file_that_does_not_say_its_length_is_cut() {
    // Files of the kernel say 0 and go on, as one does that grows.
    for way in [Way::Kernel, Way::ByHand] {
        let proc = SourceTree {
            way,
            ..SourceTree::open(Path::new("/proc")).unwrap()
        };
        assert!(proc.bytes("self/status", 16).is_err() && proc.bytes("version", 4).is_err());
        let version = proc.bytes("version", 4096).unwrap().unwrap();
        assert!(version.starts_with(b"Linux"));
    }
}

#[test]
fn what_is_not_text_is_named_with_its_place() {
    let place = Place::new();
    std::fs::write(place.at("latin"), b"caf\xe9").unwrap();
    let error = place.text("latin").unwrap_err();
    assert_eq!(error, "`latin` is not UTF-8 text: byte 4 cannot be read");
    for tree in place.trees() {
        assert_eq!(tree.bytes("latin", 4).unwrap().unwrap(), b"caf\xe9");
    }
}

#[test]
fn an_error_is_one_line_whatever_the_name() {
    let place = Place::new();
    let error = place.text("/x\n::error::forged\r\u{1b}[2J").unwrap_err();
    assert!(!error.chars().any(char::is_control), "{error}");
}

#[test]
fn a_directory_is_listed_and_its_links_are_not_followed() {
    let place = Place::new();
    place.link("out", "/etc");
    for tree in place.trees() {
        let entries = tree.entries(".").unwrap().unwrap();
        let entry = |name: &str, kind| Entry {
            name: name.into(),
            kind,
        };
        let expected = [entry("a", Kind::Directory), entry("out", Kind::Link)];
        assert_eq!(entries, expected);
        assert_eq!(tree.entries("a/b").unwrap().unwrap().len(), 1);
        assert_eq!(tree.entries("no").unwrap(), None);
        assert!(tree.entries("out").is_err() && tree.entries("a/b/text").is_err());
    }
}

#[test]
fn a_root_that_is_no_directory_is_named() {
    let place = Place::new();
    let error = SourceTree::open(&place.at("a/b/text")).unwrap_err();
    assert!(
        error.to_string().contains("a/b/text` cannot be read"),
        "{error}"
    );
}
