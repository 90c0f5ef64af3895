//! Where the trees of control groups are mounted, and where in them this process is.

use std::io;
use std::path::{Path, PathBuf};

use ground::host_file;

/// Returns where this process is in the tree that ends processes.
pub(super) fn kill_tree() -> io::Result<PathBuf> {
    tree("").or_else(|_| tree("freezer"))
}

/// Returns where this process is in the tree of a controller of version 1, or with no name in that of version 2.
pub(super) fn tree(controller: &str) -> io::Result<PathBuf> {
    let mounts = host_file::text("/proc/self/mountinfo")?;
    let groups = host_file::text("/proc/self/cgroup")?;
    find(&mounts, &groups, controller).ok_or_else(|| {
        let what = format!("no control groups are mounted here ({controller:?})");
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}

/// Returns the part of a tree that is mounted, and where.
pub(super) fn mount_of<'a>(mounts: &'a str, controller: &str) -> Option<(&'a str, &'a str)> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let is_it = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && options.split(',').any(|option| option == name),
        };
        let mut left = left.split(' ').skip(3);
        is_it.then_some((left.next()?, left.next()?))
    })
}

/// See `proc_pid_mountinfo(5)` and `cgroups(7)`.
pub(super) fn find(mounts: &str, groups: &str, controller: &str) -> Option<PathBuf> {
    let (root, mount) = mount_of(mounts, controller)?;
    let path = groups.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        names
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })?;
    // What is mounted may be a part of the tree; a process outside of it has no place there.
    let below = Path::new(path).strip_prefix(root).ok()?;
    let is_inside = below.components().all(|part| part.as_os_str() != "..");
    is_inside.then(|| Path::new(mount).join(below))
}
