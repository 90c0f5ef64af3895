//! Keeps secrets out of everything that is written.
//!
//! Every secret that the harness makes or is given is registered here before it is used, and every consumer
//! of events passes its text through [`Redactor::apply`]. Files that others wrote into the run directory
//! (test reports, tool logs) are swept at the end. A secret inside a compressed file is not found.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use self::form::forms;

mod form;

/// What stands in a secret's place.
const MARK: &[u8] = b"[redacted]";

/// How much of a file is read at a time.
const CHUNK: usize = 64 * 1024;

/// Replaces registered secrets; cheap to clone, all clones share the secrets.
#[derive(Clone, Default)]
pub struct Redactor(Rc<RefCell<Patterns>>);

/// Never shows the secrets.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// Registers `secret` and the forms that it takes in JSON, XML, base64 and URLs.
    ///
    /// Values of fewer than four bytes are ignored. Each long line of a value of several lines counts as a
    /// secret too, because logs show such a value line by line.
    pub fn add(&self, secret: &str) {
        let mut patterns = self.0.borrow_mut();
        for form in forms(secret)
            .into_iter()
            .filter(|form| form.len() >= form::SHORTEST)
        {
            patterns.add(form.into_bytes());
        }
    }

    /// Returns `text` with every secret replaced by `[redacted]`.
    ///
    /// Where secrets overlap, everything that any of them covers is replaced as one.
    #[must_use]
    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.apply_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // A pattern is UTF-8, so it only ever matches whole characters; lossy is for the type alone.
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// Returns `bytes` with every secret replaced by `[redacted]`.
    #[must_use]
    pub fn apply_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let patterns = self.0.borrow();
        if !patterns.matches(bytes) {
            return Cow::Borrowed(bytes);
        }
        let mut scan = Scan {
            patterns: &patterns,
            covered: 0,
        };
        let mut clean = Vec::with_capacity(bytes.len());
        scan.push(bytes, bytes.len(), &mut clean);
        Cow::Owned(clean)
    }

    /// Rewrites every regular file below `dir` that contains a secret and returns how many there were.
    ///
    /// `skip` holds paths relative to `dir` that are left alone, with everything below them. Symbolic links
    /// are never followed. A file is replaced and not written over, so a hard link elsewhere keeps what it
    /// has; mode is kept.
    ///
    /// # Errors
    /// The first file or directory that could not be read or replaced; the sweep goes on past it.
    pub fn sweep_dir(&self, dir: &Path, skip: &[&str]) -> io::Result<usize> {
        let mut swept = 0;
        let mut first_error = None;
        let left_alone = |path: &Path| {
            path.strip_prefix(dir)
                .is_ok_and(|inner| skip.iter().any(|s| inner == Path::new(s)))
        };
        let walk = walkdir::WalkDir::new(dir).follow_links(false);
        for entry in walk
            .into_iter()
            .filter_entry(|entry| !left_alone(entry.path()))
        {
            let done = match entry {
                Ok(entry) if entry.file_type().is_file() => self.sweep_file(entry.path()),
                Ok(_) => Ok(false),
                Err(error) => Err(error.into()),
            };
            match done {
                Ok(changed) => swept += usize::from(changed),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(swept), Err)
    }

    fn sweep_file(&self, path: &Path) -> io::Result<bool> {
        let patterns = self.0.borrow();
        if patterns.longest == 0 {
            return Ok(false);
        }
        let open = || {
            ground::host_file::options()
                .read(true)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(path)
        };
        // Nearly every file is clean: look first, so that only the others are written.
        if !patterns.copy(open()?, &mut io::sink())? {
            return Ok(false);
        }
        let source = open()?;
        let mode = source.metadata()?.permissions().mode() & 0o777;
        let beside = beside(path);
        let replaced = (|| {
            let mut target = BufWriter::new(create(&beside, mode)?);
            patterns.copy(source, &mut target)?;
            target
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all()?;
            fs::rename(&beside, path)
        })();
        if replaced.is_err() {
            fs::remove_file(&beside).ok();
        }
        replaced.map(|()| true)
    }
}

/// Returns the path of the file that takes `path`'s place.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".redacted");
    path.with_file_name(name)
}

/// Creates a file that did not exist, with exactly `mode` whatever the umask says.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    fs::remove_file(path).ok();
    let file = ground::host_file::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// The secrets in all their forms, by first byte, longest first.
struct Patterns {
    by_first: [Vec<Vec<u8>>; 256],
    longest: usize,
}

impl Default for Patterns {
    fn default() -> Self {
        Self {
            by_first: [const { Vec::new() }; 256],
            longest: 0,
        }
    }
}

impl Patterns {
    fn add(&mut self, pattern: Vec<u8>) {
        let bucket = &mut self.by_first[usize::from(pattern[0])];
        if !bucket.contains(&pattern) {
            self.longest = self.longest.max(pattern.len());
            bucket.push(pattern);
            bucket.sort_by_key(|pattern| std::cmp::Reverse(pattern.len()));
        }
    }

    /// Returns the length of the longest pattern that `bytes` begin with, 0 without one.
    fn length_at(&self, bytes: &[u8]) -> usize {
        let Some(first) = bytes.first() else { return 0 };
        let bucket = &self.by_first[usize::from(*first)];
        bucket
            .iter()
            .find(|pattern| bytes.starts_with(pattern))
            .map_or(0, Vec::len)
    }

    fn matches(&self, bytes: &[u8]) -> bool {
        self.longest > 0 && (0..bytes.len()).any(|at| self.length_at(&bytes[at..]) > 0)
    }

    /// Copies `source` to `target` without the secrets and returns whether there were any.
    fn copy(&self, source: impl Read, target: &mut impl Write) -> io::Result<bool> {
        let mut source = BufReader::with_capacity(CHUNK, source);
        let mut scan = Scan {
            patterns: self,
            covered: 0,
        };
        let mut buffer = Vec::new();
        let mut clean = Vec::new();
        let mut found = false;
        loop {
            let read = source
                .by_ref()
                .take(CHUNK as u64)
                .read_to_end(&mut buffer)?;
            // A pattern that begins near the buffer's end may go on in what has not been read yet.
            let sure = if read == 0 {
                buffer.len()
            } else {
                (buffer.len() + 1).saturating_sub(self.longest.max(1))
            };
            found |= scan.push(&buffer, sure, &mut clean);
            target.write_all(&clean)?;
            clean.clear();
            buffer.drain(..sure);
            if read == 0 {
                return Ok(found);
            }
        }
    }
}

/// A pass over bytes that may come in pieces.
struct Scan<'a> {
    patterns: &'a Patterns,
    /// How many of the next bytes belong to a secret that has already been replaced.
    covered: usize,
}

impl Scan<'_> {
    /// Appends to `clean` what becomes of the first `sure` of `bytes` and returns whether a secret began
    /// there.
    fn push(&mut self, bytes: &[u8], sure: usize, clean: &mut Vec<u8>) -> bool {
        let mut found = false;
        for (at, byte) in bytes[..sure].iter().enumerate() {
            let length = self.patterns.length_at(&bytes[at..]);
            if length > 0 {
                found = true;
                if self.covered == 0 {
                    clean.extend_from_slice(MARK);
                }
            }
            self.covered = self.covered.max(length);
            if self.covered == 0 {
                clean.push(*byte);
            } else {
                self.covered -= 1;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let redactor = Redactor::default();
        for secret in secrets {
            redactor.add(secret);
        }
        redactor
    }

    #[test]
    fn text_without_secrets_is_borrowed() {
        assert!(matches!(
            redactor(&["hunter22"]).apply("nothing here"),
            Cow::Borrowed(_)
        ));
        assert!(matches!(
            redactor(&["", "abc"]).apply("abc"),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn the_longer_secret_wins() {
        let redactor = redactor(&["pass", "password", "passw0rd"]);
        assert_eq!(
            redactor.apply("password, passw0rd, passport"),
            "[redacted], [redacted], [redacted]port"
        );
    }

    #[test]
    fn overlapping_secrets_leave_nothing_of_either() {
        let redactor = redactor(&["abcdef", "defghi", "efgh"]);
        assert_eq!(redactor.apply("<abcdefghi>"), "<[redacted]>");
        assert_eq!(redactor.apply("<defghi>"), "<[redacted]>");
        assert_eq!(redactor.apply("<abcdefgh>"), "<[redacted]>");
        assert_eq!(
            super::tests::redactor(&["aaaa"]).apply("aaaaaaa!"),
            "[redacted]!"
        );
    }

    #[test]
    fn neighbours_in_utf_8_stay_whole() {
        assert_eq!(redactor(&["gehöim"]).apply("ö→gehöim✔"), "ö→[redacted]✔");
    }

    #[test]
    fn every_form_of_a_secret_is_found() {
        let redactor = redactor(&["p@ss\"w/rd &<ü"]);
        for form in [
            r#"p@ss\"w/rd &<ü"#,
            "cEBzcyJ3L3JkICY8w7w=",
            "cEBzcyJ3L3JkICY8w7w",
            "p%40ss%22w%2Frd%20%26%3C%C3%BC",
            "p%40ss%22w%2frd%20%26%3c%c3%bc",
            "p%40ss%22w%2Frd+%26%3C%C3%BC",
            "p@ss\"w/rd &amp;&lt;ü",
            "p@ss&quot;w/rd &amp;&lt;ü",
        ] {
            assert_eq!(
                redactor.apply(&format!("a {form}.")),
                "a [redacted].",
                "{form}"
            );
        }
    }

    #[test]
    fn a_key_is_found_line_by_line() {
        let redactor = redactor(&["-----BEGIN KEY-----\nMIIBOgIBAAJBAK\n-----END KEY-----\n"]);
        assert_eq!(redactor.apply("  | MIIBOgIBAAJBAK"), "  | [redacted]");
    }

    #[test]
    fn a_sweep_rewrites_what_holds_a_secret_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("logs/deep")).unwrap();
        fs::create_dir_all(at("kept/below")).unwrap();
        fs::write(outside.path().join("theirs"), "hunter22").unwrap();
        symlink(outside.path(), at("linked-dir")).unwrap();
        symlink(outside.path().join("theirs"), at("linked-file")).unwrap();
        fs::hard_link(outside.path().join("theirs"), at("hard-link")).unwrap();
        fs::write(at("logs/deep/binary"), b"\xff\x00hunter22\xfe").unwrap();
        fs::set_permissions(at("logs/deep/binary"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(at("logs/clean"), "nothing").unwrap();
        fs::write(at("kept/below/file"), "hunter22").unwrap();
        // On both sides of every boundary between the pieces in which a file is read.
        let big = format!(
            "{}hunter22{}hunter22",
            "x".repeat(CHUNK - 4),
            "y".repeat(CHUNK - 13)
        );
        fs::write(at("big"), &big).unwrap();

        assert_eq!(
            redactor(&["hunter22"])
                .sweep_dir(dir.path(), &["kept/below"])
                .unwrap(),
            3
        );
        assert_eq!(
            ground::host_file::bytes(at("logs/deep/binary")).unwrap(),
            b"\xff\x00[redacted]\xfe"
        );
        assert_eq!(
            fs::metadata(at("logs/deep/binary"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o640
        );
        assert_eq!(
            ground::host_file::text(at("big")).unwrap(),
            big.replace("hunter22", "[redacted]")
        );
        assert_eq!(
            ground::host_file::text(at("hard-link")).unwrap(),
            "[redacted]"
        );
        assert_eq!(
            ground::host_file::text(at("kept/below/file")).unwrap(),
            "hunter22"
        );
        assert_eq!(
            ground::host_file::text(outside.path().join("theirs")).unwrap(),
            "hunter22"
        );
        assert!(at("linked-file").is_symlink());
        let names = ground::host_file::entries(at("logs/deep")).unwrap().count();
        assert_eq!(names, 1, "the sweep left a file of its own");
    }

    #[test]
    fn a_sweep_goes_on_past_what_it_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            redactor(&["hunter22"])
                .sweep_dir(&dir.path().join("missing"), &[])
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_secret_survives(secrets in prop::collection::vec("[ab]{4,7}", 1..4), text in "[abc]{0,60}") {
            let all: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let clean = redactor(&all).apply(&text).into_owned();
            for secret in &secrets {
                prop_assert!(!clean.contains(secret.as_str()), "{secret} is in {clean}");
            }
            // Nothing but secrets goes: each `c` is outside all of them.
            prop_assert_eq!(clean.replace("[redacted]", "").matches('c').count(), text.matches('c').count());
        }

        #[test]
        fn pieces_and_the_whole_come_out_alike(text in "[ab]{0,40}", cut in 1usize..9) {
            let redactor = redactor(&["abab", "babba"]);
            let patterns = redactor.0.borrow();
            let mut copied = Vec::new();
            patterns.copy(Trickle(text.as_bytes(), cut), &mut copied).unwrap();
            let whole = redactor.apply_bytes(text.as_bytes());
            prop_assert_eq!(&copied[..], &*whole);
        }
    }

    /// Hands out a few bytes at a time, as a pipe may.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let some = self.0.len().min(self.1).min(buffer.len());
            buffer[..some].copy_from_slice(&self.0[..some]);
            self.0 = &self.0[some..];
            Ok(some)
        }
    }
}
