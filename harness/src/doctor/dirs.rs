//! Directories: can they be written, is there room, and is the zone short enough for names.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::{Check, Status, in_full};
use crate::dirs::{HostDirs, ensure_writable};
use crate::lock;
use crate::name::{OBJECT_NAME_LIMIT, Zone};

const GIB: u64 = 1 << 30;

/// What a run app adds to its zone at most: `abcd-012345.`.
const APP_PREFIX: usize = 12;

/// How many bytes recipes should have for the names of their secrets: `_smtp_relay_password_v1` is 23.
const NAME_ROOM: usize = 24;

/// A directory of this host that runs need.
struct Place<'a> {
    id: &'static str,
    title: &'static str,
    path: &'a Path,
    /// Whether a run makes it by itself.
    made_by_runs: bool,
}

fn places(dirs: &HostDirs) -> [Place<'_>; 3] {
    [
        Place {
            id: "locks",
            title: "lock directory",
            path: &dirs.locks,
            made_by_runs: false,
        },
        Place {
            id: "runs",
            title: "runs directory",
            path: &dirs.runs,
            made_by_runs: true,
        },
        Place {
            id: "state",
            title: "state directory",
            path: &dirs.state,
            made_by_runs: true,
        },
    ]
}

pub(super) fn checks(dirs: &HostDirs, engine_root: Option<&Path>) -> Vec<Check> {
    let mut checks: Vec<Check> = places(dirs).iter().map(writable).collect();
    if let Some(root) = engine_root {
        checks.push(room("disk_engine", "disk of the engine", root));
    }
    checks.push(room("disk_runs", "disk of the runs", &nearest(&dirs.runs)));
    checks
}

/// Makes the directory of the check `id`.
pub(super) fn make(dirs: &HostDirs, id: &str) -> Result<(), String> {
    match places(dirs).into_iter().find(|place| place.id == id) {
        Some(place) => ensure_writable(place.title, place.path).map_err(|error| in_full(&error)),
        None => Err(format!("nothing is known about how to fix `{id}`")),
    }
}

fn writable(place: &Place<'_>) -> Check {
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
            Ok(()) if place.made_by_runs => check(
                Status::Ok,
                format!("`{shown}` is not there yet; the first run makes it"),
            ),
            Ok(()) => check(Status::Fail, format!("`{shown}` is missing"))
                .safely(format!("mkdir -p '{shown}'")),
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
    check(Status::Ok, format!("`{shown}` is writable"))
}

/// Returns `path`, or what is there of it.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

fn room(id: &'static str, title: &'static str, path: &Path) -> Check {
    let fix = "docker system prune; recipe-ci gc";
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
        writable(&Place {
            id: "locks",
            title: "lock directory",
            path,
            made_by_runs,
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
