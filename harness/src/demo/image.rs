//! The images of the demo recipe, `recipe-ci/notes:1` and `:2`.
//!
//! Both are made here from one static busybox, and not pulled: an upgrade is only real when the two tags are
//! two images, and they must carry the file `/version` that the recipe shows. So a registry can give the
//! busybox and never the images. It is looked for
//!
//! 1. on this host, because that takes no network and gives the same images as `tests/images/notes.sh`;
//! 2. in the registry's `busybox`, whose musl variant is static;
//! 3. where the caller allows it, in Debian's package `busybox-static`, which is unpacked and not installed:
//!    to install it would remove the package `busybox`, which many an initramfs needs.
//!
//! Tree, label and label value are those of `tests/images/notes.sh`, so that each leaves the other's images
//! alone.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::DemoError;
use engine::process::{Cmd, Processes};
use engine::record;
use engine::swarm::Engine;
use engine::swarm::host::Import;
use ground::host_file;

/// The images' name without their tags.
const REPO: &str = "recipe-ci/notes";

/// Their tags; the recipe's first version wants the first, later ones the second.
const TAGS: [&str; 2] = ["1", "2"];

/// The label that tells what is in an image.
const LABEL: &str = "recipe-ci.content";

/// Part of the label's value; counted up, here and in `tests/images/notes.sh`, when the tree changes.
const LAYOUT: u32 = 1;

/// Where the registry's busybox is.
const REGISTRY_IMAGE: &str = "busybox:1.36.1-musl";

/// How long the registry may take.
const PULL_LIMIT: Duration = Duration::from_secs(90);

/// How long a local program may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(120);

/// Modification time of every file: 2024-01-01.
const MTIME: u64 = 1_704_067_200;

/// Where the images came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// They were there.
    Kept,
    /// From a busybox on this host.
    Host(PathBuf),
    /// From the registry's busybox.
    Registry,
    /// From Debian's package.
    Package,
}

/// What else may be done when neither this host nor a registry has a static busybox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing.
    None,
    /// Debian's package may be downloaded and unpacked.
    Package,
}

/// Makes sure that the engine has the demo's images. `dir` is where a busybox from elsewhere is kept.
///
/// # Errors
/// [`DemoError`], above all [`DemoError::NoBusybox`].
pub async fn images(
    engine: &Engine,
    processes: &Processes,
    dir: &Path,
    fallback: Fallback,
) -> Result<Origin, DemoError> {
    let kept = dir.join("busybox");
    let here = find_static(&kept);
    if are_there(engine, here.as_deref()).await? {
        return Ok(Origin::Kept);
    }
    let (busybox, origin) = match here {
        Some(path) => (path.clone(), Origin::Host(path)),
        None => {
            let origin = fetch(engine, processes, &kept, fallback).await?;
            (kept, origin)
        }
    };
    let content = read(&busybox)?;
    let applets = applets(processes, &busybox).await?;
    for tag in TAGS {
        let what = || format!("pack the root file system of `{REPO}:{tag}`");
        let rootfs = rootfs(&content, &applets, tag).map_err(|source| DemoError::Local {
            what: what(),
            source,
        })?;
        let import = Import {
            repo: REPO,
            tag,
            rootfs,
            changes: vec![
                format!("LABEL {LABEL}={}", label(tag, &content)),
                "ENV PATH=/bin".to_owned(),
                r#"CMD ["sh"]"#.to_owned(),
            ],
            message: "recipe-ci: static busybox",
        };
        engine.import_image(import).await?;
    }
    Ok(origin)
}

/// Returns whether the engine has both images, made from the busybox of this host if it has one.
async fn are_there(engine: &Engine, busybox: Option<&Path>) -> Result<bool, DemoError> {
    let content = busybox.map(read).transpose()?;
    for tag in TAGS {
        let have = engine.image_label(&format!("{REPO}:{tag}"), LABEL).await?;
        let good = match (&have, &content) {
            (None, _) => false,
            (Some(have), Some(content)) => *have == label(tag, content),
            (Some(have), None) => have.starts_with(&format!("{LAYOUT}-{tag}-")),
        };
        if !good {
            return Ok(false);
        }
    }
    Ok(true)
}

fn label(tag: &str, busybox: &[u8]) -> String {
    let sum = hex::encode(Sha256::digest(busybox));
    format!("{LAYOUT}-{tag}-{}", &sum[..12])
}

fn read(path: &Path) -> Result<Vec<u8>, DemoError> {
    host_file::bytes(path).map_err(|source| DemoError::Local {
        what: format!("read `{}`", path.display()),
        source,
    })
}

fn find_static(kept: &Path) -> Option<PathBuf> {
    [
        Path::new("/bin/busybox"),
        Path::new("/usr/bin/busybox"),
        kept,
    ]
    .into_iter()
    .find(|path| {
        path.metadata()
            .is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
            && host_file::bytes(path).is_ok_and(|content| is_static(&content))
    })
    .map(Path::to_owned)
}

/// Returns whether `elf` is an ELF program that asks for no interpreter, which is what loads libraries
/// (`elf(5)`: a program header of type `PT_INTERP`). Only 64-bit little-endian files are understood.
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        bytes.iter().rev().try_fold(0_usize, |number, byte| {
            Some(number.checked_mul(256)? + usize::from(*byte))
        })
    };
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let interpreted = || -> Option<bool> {
        let (start, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
        for index in 0..count {
            let header = start.checked_add(index.checked_mul(size)?)?;
            if number(header, 4)? == PT_INTERP as usize {
                return Some(true);
            }
        }
        Some(false)
    };
    interpreted() == Some(false)
}

/// Brings a static busybox to `kept`.
async fn fetch(
    engine: &Engine,
    processes: &Processes,
    kept: &Path,
    fallback: Fallback,
) -> Result<Origin, DemoError> {
    let dir = kept.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(dir).map_err(|source| DemoError::Local {
        what: format!("create `{}`", dir.display()),
        source,
    })?;
    let refusal = match tokio::time::timeout(PULL_LIMIT, pull(engine, processes, dir)).await {
        Ok(Ok(content)) => {
            keep(kept, &content)?;
            return Ok(Origin::Registry);
        }
        Ok(Err(DemoError::Engine(error))) => error.to_string(),
        Ok(Err(error)) => return Err(error),
        Err(_) => format!(
            "the registry did not give `{REGISTRY_IMAGE}` within {} s",
            PULL_LIMIT.as_secs()
        ),
    };
    match fallback {
        Fallback::None => Err(DemoError::NoBusybox { reason: refusal }),
        Fallback::Package => match unpack(processes, dir).await? {
            Ok(content) => {
                keep(kept, &content)?;
                Ok(Origin::Package)
            }
            Err(said) => Err(DemoError::NoBusybox {
                reason: format!("{refusal}; `apt-get download busybox-static` says: {said}"),
            }),
        },
    }
}

/// Returns the registry's busybox.
async fn pull(engine: &Engine, processes: &Processes, dir: &Path) -> Result<Vec<u8>, DemoError> {
    if !engine.has_image(REGISTRY_IMAGE).await? {
        engine.pull(processes, REGISTRY_IMAGE, None).await?;
    }
    let container = engine.create_idle_container(REGISTRY_IMAGE).await?;
    let archive = dir.join("busybox.tar");
    let downloaded = engine
        .download(&container, "/bin/busybox", &archive, u64::MAX)
        .await;
    let removed = engine.remove_idle_container(&container).await;
    downloaded?;
    removed?;
    let unpacked = || -> std::io::Result<Vec<u8>> {
        let mut content = Vec::new();
        for entry in tar::Archive::new(host_file::open(&archive)?).entries()? {
            let mut entry = entry?;
            if entry.header().entry_type().is_file() {
                entry.read_to_end(&mut content)?;
            }
        }
        std::fs::remove_file(&archive)?;
        Ok(content)
    };
    unpacked().map_err(|source| DemoError::Local {
        what: format!("unpack `{}`", archive.display()),
        source,
    })
}

/// Returns the busybox of Debian's package, or what apt said.
async fn unpack(processes: &Processes, dir: &Path) -> Result<Result<Vec<u8>, String>, DemoError> {
    let local = |what: String| move |source| DemoError::Local { what, source };
    let work = tempfile::Builder::new()
        .prefix("busybox-")
        .tempdir_in(dir)
        .map_err(local(format!("create a directory in `{}`", dir.display())))?;
    // As root, apt downloads as another user, who must be able to write here.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(work.path(), open)
        .map_err(local(format!("open `{}`", work.path().display())))?;
    let download = Cmd::new("apt-get", work.path()).args(["-q", "download", "busybox-static"]);
    let finished = processes.run(&download, PROGRAM_LIMIT).await?;
    let package = host_file::entries(work.path())
        .map_err(local(format!("list `{}`", work.path().display())))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"));
    let Some(package) = package.filter(|_| finished.success()) else {
        let said = finished.tail.last().cloned().unwrap_or_default();
        return Ok(Err(said));
    };
    let tree = work.path().join("tree");
    let extract = Cmd::new("dpkg-deb", work.path())
        .arg("-x")
        .arg(&package)
        .arg(&tree);
    let finished = processes.run(&extract, PROGRAM_LIMIT).await?;
    if !finished.success() {
        let said = finished.tail.last().cloned().unwrap_or_default();
        return Ok(Err(said));
    }
    // trixie has it under /usr.
    let found = ["bin/busybox", "usr/bin/busybox"]
        .into_iter()
        .map(|path| tree.join(path))
        .find(|path| path.is_file());
    match found {
        Some(path) => read(&path).map(Ok),
        None => Ok(Err("the package holds no busybox".to_owned())),
    }
}

/// Writes the busybox to where the next run finds it, whole or not at all.
fn keep(path: &Path, content: &[u8]) -> Result<(), DemoError> {
    let put = record::put(path, 0o755, content, |_| Ok(()));
    put.map(drop).map_err(|source| DemoError::Local {
        what: format!("write `{}`", path.display()),
        source,
    })
}

/// Returns the commands that the busybox has.
async fn applets(processes: &Processes, busybox: &Path) -> Result<Vec<String>, DemoError> {
    let cmd = Cmd::new(busybox, Path::new("/")).arg("--list");
    let finished = processes.run(&cmd, PROGRAM_LIMIT).await?;
    let text = String::from_utf8_lossy(&finished.stdout).into_owned();
    let applets: Vec<String> = text
        .lines()
        .filter(|name| !name.is_empty() && !name.contains('/') && *name != "busybox")
        .map(str::to_owned)
        .collect();
    if !finished.success() || !applets.iter().any(|name| name == "httpd") {
        return Err(DemoError::BadBusybox {
            path: busybox.to_owned(),
            how: if finished.success() {
                "it has no httpd".to_owned()
            } else {
                finished.how()
            },
        });
    }
    Ok(applets)
}

/// Returns the root file system of the image with `tag` as a tar archive.
fn rootfs(busybox: &[u8], applets: &[String], tag: &str) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, mode: u32, size: usize| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(MTIME);
        header.set_size(size as u64);
        header
    };
    for (path, mode) in [
        ("bin", 0o755),
        ("data", 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("www", 0o755),
    ] {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        archive.append_data(&mut header, path, std::io::empty())?;
    }
    let version = format!("{tag}\n");
    let files: [(&str, u32, &[u8]); 3] = [
        ("bin/busybox", 0o755, busybox),
        ("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n"),
        ("version", 0o644, version.as_bytes()),
    ];
    for (path, mode, content) in files {
        let mut header = header(tar::EntryType::Regular, mode, content.len());
        archive.append_data(&mut header, path, content)?;
    }
    for applet in applets {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_and_layout_are_those_of_the_script() {
        let script = include_str!("../../../tests/images/notes.sh");
        assert!(script.contains(&format!("\nlabel={LABEL}\n")));
        assert!(script.contains(&format!("\nlayout={LAYOUT} ")));
        assert!(script.contains("want=$layout-$tag-$sum"));
        assert_eq!(label("2", b""), "1-2-e3b0c44298fc");
    }

    #[test]
    fn a_program_is_static_when_it_names_no_interpreter() {
        assert!(!is_static(&ground::host_file::bytes("/bin/sh").unwrap()));
        assert!(!is_static(b"#!/bin/sh\n"));
        assert!(!is_static(b"\x7fELF\x02\x01"));
        let mut elf = vec![0_u8; 0x40 + 0x38];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[0x20], elf[0x36], elf[0x38]) = (0x40, 0x38, 1);
        elf[0x40] = 1;
        assert!(is_static(&elf));
        elf[0x40] = 3;
        assert!(!is_static(&elf));
    }

    #[test]
    fn the_root_file_system_has_what_the_recipe_needs() {
        let bytes = rootfs(b"program", &["sh".to_owned()], "2").unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            found.push(format!("{:o} {path}", entry.header().mode().unwrap()));
        }
        assert_eq!(
            found,
            [
                "755 bin",
                "755 data",
                "755 etc",
                "1777 tmp",
                "755 www",
                "755 bin/busybox",
                "644 etc/passwd",
                "644 version",
                "777 bin/sh"
            ]
        );
    }
}
