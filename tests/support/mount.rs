//! File systems of a test's own.

use std::path::PathBuf;

use super::command;

/// A file system that lasts as long as this.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    /// Mounts an empty file system, with options of tmpfs.
    #[track_caller]
    pub(crate) fn tmpfs(path: PathBuf, options: &str) -> Self {
        std::fs::create_dir_all(&path).expect("the place can be made");
        let mounted = command("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path)
            .output()
            .expect("mount starts");
        assert!(mounted.status.success(), "mount needs root: {mounted:?}");
        Self(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(command("umount").arg("--lazy").arg(&self.0).output());
    }
}
