//! Directories: can they be written, is there room, and is the zone short enough for names.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::{Check, Status, in_full};
use engine::dirs::{HostDirs, ensure_writable};
use engine::lock;
use ground::name::{OBJECT_NAME_LIMIT, Zone};

const GIB: u64 = 1 << 30;

/// Not `docker system prune`: that would take the network `proxy`, too, where no app uses it just then.
const PRUNE: &str = "docker image prune --all --filter until=720h";

/// The check of the directory that only the quick lane needs.
const WARM: &str = "warm";

/// What a run app adds to its zone at most: `abcd-012345.`.
const APP_PREFIX: usize = 12;

/// How many bytes recipes should have for the names of their secrets: `_smtp_relay_password_v1` is 23.
const NAME_ROOM: usize = 24;

/// A directory of this host that runs need.
struct RequiredDir<'a> {
    id: &'static str,
    title: &'static str,
    path: &'a Path,
    /// Who makes it: `the first run`; `None` for one that a person has to make.
    maker: Option<&'static str>,
}

fn places(dirs: &HostDirs) -> [RequiredDir<'_>; 4] {
    [
        RequiredDir {
            id: "locks",
            title: "lock directory",
            path: &dirs.locks,
            maker: None,
        },
        RequiredDir {
            id: "runs",
            title: "runs directory",
            path: &dirs.runs,
            maker: Some("the first run"),
        },
        RequiredDir {
            id: "state",
            title: "state directory",
            path: &dirs.state,
            maker: Some("the first run"),
        },
        RequiredDir {
            id: WARM,
            title: "warm directory",
            path: &dirs.warm,
            maker: Some("the first promotion"),
        },
    ]
}

pub(super) fn checks(dirs: &HostDirs, engine_root: Option<&Path>) -> Vec<Check> {
    let mut checks: Vec<Check> = places(dirs).iter().map(writable).collect();
    if let Some(root) = engine_root {
        checks.push(room("disk_engine", "disk of the engine", root, PRUNE));
    }
    // As docs/operating.md has it: no version removes them by itself.
    let old = format!(
        "find '{}' -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {{}} +",
        dirs.runs.display()
    );
    let runs = nearest(&dirs.runs);
    checks.push(room("disk_runs", "disk of the runs", &runs, &old));
    let (warm, look) = (
        nearest(&dirs.warm),
        format!("du -sh '{}'/*", dirs.warm.display()),
    );
    let disk = room("disk_warm", "disk of warm apps", &warm, &look);
    checks.push(at_most_a_warning(disk));
    checks
}

/// Makes the directory of the check `id`.
pub(super) fn make(dirs: &HostDirs, id: &str) -> Result<(), String> {
    match places(dirs).into_iter().find(|place| place.id == id) {
        Some(place) => ensure_writable(place.title, place.path).map_err(|error| in_full(&error)),
        None => Err(format!("nothing is known about how to fix `{id}`")),
    }
}

/// Without warm apps every run is a cold one, which takes longer and proves the same.
fn at_most_a_warning(mut check: Check) -> Check {
    if check.status == Status::Fail {
        check.status = Status::Warn;
        check
            .found
            .push_str("; runs work, but none is quick and no canonical is kept");
    }
    check
}

fn writable(place: &RequiredDir<'_>) -> Check {
    let check = look(place);
    if place.id == WARM {
        at_most_a_warning(check)
    } else {
        check
    }
}

fn look(place: &RequiredDir<'_>) -> Check {
    let shown = place.path.display();
    let check = |status, found: String| Check::new(place.id, place.title, status, found);
    let take = format!("sudo install -d -o \"$USER\" '{shown}'");
    if !place.path.exists() {
        let parent = nearest(place.path);
        if !parent.is_dir() {
            return check(
                Status::Fail,
                format!(
                    "`{shown}` cannot be made: `{}` is no directory",
                    parent.display()
                ),
            )
            .by_hand(format!("ls -ld '{}'", parent.display()));
        }
        let can_make = access(&parent, AccessFlags::W_OK | AccessFlags::X_OK);
        return match can_make {
            Ok(()) => match place.maker {
                Some(maker) => check(
                    Status::Ok,
                    format!("`{shown}` is not there yet; {maker} makes it"),
                ),
                None => check(Status::Fail, format!("`{shown}` is missing"))
                    .safely(format!("mkdir -p '{shown}'")),
            },
            Err(error) => check(
                Status::Fail,
                format!(
                    "`{shown}` is missing and cannot be made: {}: {}",
                    parent.display(),
                    error.desc()
                ),
            )
            .by_hand(take),
        };
    }
    // A file is written, because permissions alone do not tell of a read-only or a full disk.
    if let Err(error) = ensure_writable(place.title, place.path) {
        return check(Status::Fail, in_full(&error)).by_hand(take);
    }
    if place.id == "locks"
        && let Err(error) = lock::refuse_network_file_system(place.path)
    {
        return check(Status::Fail, in_full(&error))
            .by_hand("export CCCI_APP_LOCK_DIR=/run/lock   # or another local directory");
    }
    if place.id == WARM
        && let Some(why) = not_for_warm_apps(place.path)
    {
        return check(Status::Fail, format!("`{shown}` {why}"))
            .by_hand("export CCCI_WARM_DIR=…   # a local directory of this user");
    }
    check(Status::Ok, format!("`{shown}` is writable"))
}

/// Returns why a directory that can be written is still no place for snapshots and their records: they are what
/// is deployed, so no other user may replace them, and a record is only as good as its rename.
fn not_for_warm_apps(path: &Path) -> Option<String> {
    if let Err(error) = lock::refuse_network_file_system(path) {
        return Some(match error {
            lock::LockError::NetworkFileSystem { .. } => {
                "is on a network file system, where a snapshot and its record may part".to_owned()
            }
            error => format!("cannot be looked at: {}", in_full(&error)),
        });
    }
    match path.metadata() {
        Err(error) => Some(format!("cannot be looked at: {error}")),
        Ok(meta) if meta.uid() != nix::unistd::geteuid().as_raw() => {
            Some(format!("belongs to another user (uid {})", meta.uid()))
        }
        Ok(meta) if meta.mode() & 0o022 != 0 => Some(format!(
            "may be written by others (mode {:o})",
            meta.mode() & 0o7777
        )),
        Ok(_) => None,
    }
}

/// Returns `path`, or what is there of it.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

fn room(id: &'static str, title: &'static str, path: &Path, fix: &str) -> Check {
    match statvfs(path) {
        // The engine may live in another mount namespace (a virtual machine, a container).
        Err(error) => Check::new(
            id,
            title,
            Status::Warn,
            format!("`{}` cannot be asked: {}", path.display(), error.desc()),
        )
        .by_hand(format!("df -h '{}'", path.display())),
        Ok(stat) => {
            let (status, found) = judge(Room {
                bytes: stat.blocks_available() * stat.fragment_size(),
                inodes: stat.files_available(),
                all_inodes: stat.files(),
            });
            let check = Check::new(id, title, status, format!("`{}`: {found}", path.display()));
            if status == Status::Ok {
                check
            } else {
                check.by_hand(fix)
            }
        }
    }
}

/// What a file system has left for this user.
#[derive(Debug, Clone, Copy)]
struct Room {
    bytes: u64,
    inodes: u64,
    /// 0 where inodes are not counted (btrfs).
    all_inodes: u64,
}

/// Space is judged by what a recipe needs, inodes by their share: images are many small files.
fn judge(room: Room) -> (Status, String) {
    let by_bytes = match room.bytes {
        bytes if bytes < GIB => Status::Fail,
        bytes if bytes < 5 * GIB => Status::Warn,
        _ => Status::Ok,
    };
    let percent = (room.all_inodes > 0).then(|| room.inodes.saturating_mul(100) / room.all_inodes);
    let by_inodes = match percent {
        Some(0..2) => Status::Fail,
        Some(2..10) => Status::Warn,
        _ => Status::Ok,
    };
    let tenths = room.bytes / (GIB / 10);
    let mut found = format!("{}.{} GiB free", tenths / 10, tenths % 10);
    if let Some(percent) = percent {
        found.push_str(&format!(", {percent} % of the inodes free"));
    }
    match by_bytes.max(by_inodes) {
        Status::Ok => {}
        _ if by_bytes >= by_inodes => found.push_str("; images alone often take 5 GiB"),
        _ => found.push_str("; a disk without free inodes is as good as full"),
    }
    (by_bytes.max(by_inodes), found)
}

pub(super) fn zone(zone: &Zone) -> Check {
    let left = OBJECT_NAME_LIMIT.saturating_sub(zone.as_str().len() + APP_PREFIX);
    let found = format!("`{zone}` leaves {left} bytes for the names of secrets and configs");
    if left < NAME_ROOM {
        Check::new(
            "zone",
            "zone",
            Status::Warn,
            format!("{found}, which is too little for some recipes"),
        )
        .by_hand("export CCCI_ZONE=…   # a shorter one")
    } else {
        Check::new("zone", "zone", Status::Ok, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &Path, made_by_runs: bool) -> Check {
        let maker = made_by_runs.then_some("somebody");
        writable(&RequiredDir {
            id: "locks",
            title: "lock directory",
            path,
            maker,
        })
    }

    #[test]
    fn directories_are_writable_missing_or_impossible_and_nothing_is_made() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(place(root.path(), false).status, Status::Ok);
        let absent = root.path().join("a/b");
        let missing = place(&absent, false);
        assert_eq!(missing.status, Status::Fail);
        assert!(missing.fix.is_some_and(|fix| fix.safe));
        assert_eq!(place(&absent, true).status, Status::Ok);
        assert!(!root.path().join("a").exists());
        std::fs::write(root.path().join("file"), "").unwrap();
        let under_a_file = place(&root.path().join("file/locks"), true);
        assert_eq!(under_a_file.status, Status::Fail, "{under_a_file:?}");
        assert!(!under_a_file.fix.unwrap().safe);
        assert_eq!(place(&root.path().join("file"), true).status, Status::Fail);
    }

    #[test]
    fn a_warm_directory_that_snapshots_are_not_safe_in_warns_and_fails_no_host() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let check = |dirs: &HostDirs| {
            let mut found = checks(dirs, None).into_iter();
            found.find(|check| check.id == WARM).unwrap()
        };
        let mut dirs = HostDirs::below(root.path());
        assert_eq!(check(&dirs).status, Status::Ok);
        assert!(!dirs.warm.exists(), "a look makes nothing");
        std::fs::create_dir(&dirs.warm).unwrap();
        let set = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&dirs.warm, mode).unwrap();
        };
        set(0o700);
        assert_eq!(check(&dirs).status, Status::Ok);
        set(0o777);
        let open = check(&dirs);
        assert_eq!(open.status, Status::Warn);
        assert!(open.found.contains("(mode 777)"), "{open:?}");
        assert!(open.fix.unwrap().command.contains("CCCI_WARM_DIR"));
        if nix::unistd::geteuid().is_root() {
            set(0o700);
            std::os::unix::fs::chown(&dirs.warm, Some(65534), None).unwrap();
            let foreign = check(&dirs);
            assert_eq!(foreign.status, Status::Warn);
            assert!(foreign.found.contains("uid 65534"), "{foreign:?}");
        }
        std::fs::write(root.path().join("file"), "").unwrap();
        dirs.warm = root.path().join("file/warm");
        let impossible = check(&dirs);
        assert_eq!(impossible.status, Status::Warn);
        assert!(impossible.found.contains("none is quick"), "{impossible:?}");
        // Room is judged where the directory is, or will be.
        let ids: Vec<_> = checks(&dirs, None).iter().map(|check| check.id).collect();
        assert!(ids.contains(&"disk_warm"), "{ids:?}");
    }

    #[test]
    fn room_is_judged_by_bytes_and_by_the_share_of_inodes() {
        for (bytes, inodes, all_inodes, status) in [
            (5 * GIB, 10, 100, Status::Ok),
            (5 * GIB - 1, 10, 100, Status::Warn),
            (GIB - 1, 10, 100, Status::Fail),
            (9 * GIB, 9, 100, Status::Warn),
            (9 * GIB, 1, 100, Status::Fail),
            (9 * GIB, 0, 0, Status::Ok),
        ] {
            let room = Room {
                bytes,
                inodes,
                all_inodes,
            };
            assert_eq!(judge(room).0, status, "{room:?}");
        }
        let room = Room {
            bytes: GIB * 3 / 2,
            inodes: 0,
            all_inodes: 0,
        };
        assert!(judge(room).1.starts_with("1.5 GiB free"));
    }

    #[test]
    fn a_long_zone_warns() {
        assert_eq!(zone(&"ci.localhost".parse().unwrap()).status, Status::Ok);
        let long = "continuous-integration.example.org".parse().unwrap();
        assert_eq!(zone(&long).status, Status::Warn);
    }
}
