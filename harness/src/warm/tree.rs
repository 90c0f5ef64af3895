//! What a tar archive holds, as one number: two archives of the same files have the same, whatever the order.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use engine::hash::HashWriter;

/// Reads an archive to its end and returns the SHA-256 of every entry's path, kind, mode, owner, time, link
/// and content, in the order of the paths.
///
/// # Errors
/// What is wrong with the archive.
pub(super) fn digest(archive: impl Read) -> io::Result<String> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let mut hash = Sha256::new();
        let path = entry.path_bytes().trim_ascii_end().to_vec();
        let path = path.strip_suffix(b"/").map_or(path.clone(), <[u8]>::to_vec);
        let header = entry.header();
        let kind = header.entry_type().as_byte();
        let numbers = format!(
            "{kind} {:o} {} {} {} {:?} {:?}",
            header.mode()?,
            header.uid()?,
            header.gid()?,
            header.mtime()?,
            // Empty for anything but devices.
            header.device_major().unwrap_or(None),
            header.device_minor().unwrap_or(None),
        );
        let link = entry.link_name_bytes().map(|link| link.into_owned());
        let mut attributes = Vec::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            // The rest (times, long names) is in the entry already.
            if extension.key_bytes().starts_with(b"SCHILY.xattr.") {
                attributes.push((
                    extension.key_bytes().to_vec(),
                    extension.value_bytes().to_vec(),
                ));
            }
        }
        attributes.sort();
        let size = io::copy(&mut entry, &mut HashWriter(&mut hash))?;
        let content = hash.finalize();
        let mut whole = Sha256::new();
        for part in [
            path.as_slice(),
            numbers.as_bytes(),
            link.as_deref().unwrap_or_default(),
            &size.to_le_bytes(),
            &content,
        ] {
            whole.update((part.len() as u64).to_le_bytes());
            whole.update(part);
        }
        for (key, value) in attributes {
            whole.update((key.len() as u64).to_le_bytes());
            whole.update(key);
            whole.update((value.len() as u64).to_le_bytes());
            whole.update(value);
        }
        entries.push((path, whole.finalize()));
    }
    // What is behind the end of the archive still has to be taken from the sender.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    entries.sort();
    let mut all = Sha256::new();
    for (_, entry) in entries {
        all.update(entry);
    }
    Ok(hex::encode(all.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str, u32, u64)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content, mode, uid) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            header.set_uid(*uid);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_cksum();
            builder
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let of = |files: &[_]| digest(archive(files).as_slice()).unwrap();
        let plain = of(&[("v/a", "1", 0o644, 0), ("v/b", "2", 0o644, 0)]);
        assert_eq!(plain, of(&[("v/b", "2", 0o644, 0), ("v/a", "1", 0o644, 0)]));
        for other in [
            &[("v/a", "1", 0o644, 0)][..],
            &[("v/a", "1", 0o600, 0), ("v/b", "2", 0o644, 0)],
            &[("v/a", "1", 0o644, 70), ("v/b", "2", 0o644, 0)],
            &[("v/a", "2", 0o644, 0), ("v/b", "1", 0o644, 0)],
            &[("v/a", "1", 0o644, 0), ("v/c", "2", 0o644, 0)],
        ] {
            assert_ne!(plain, of(other), "{other:?}");
        }
    }

    #[test]
    fn half_an_archive_is_an_error() {
        let whole = archive(&[("v/a", "0123456789", 0o644, 0)]);
        assert!(digest(&whole[..515]).is_err());
    }
}
