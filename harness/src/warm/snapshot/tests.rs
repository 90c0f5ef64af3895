use super::*;
use ground::git::commit::CommitId;
use std::collections::BTreeMap;

fn snapshot(dir: &Path) -> (WarmDir, Canonical) {
    let recipe: ground::name::RecipeName = "notes".parse().unwrap();
    let place = WarmDir {
        dir: dir.join("notes"),
        recipe: recipe.clone(),
    };
    place.make().unwrap();
    let name = place.new_snapshot().unwrap();
    let at = place.snapshot_dir(&name);
    keep(&at.join("v.tar"), b"data").unwrap();
    keep(&at.join("env"), b"A=1\n").unwrap();
    let meta = Meta {
        version: "0.1.0+1".to_owned(),
        volumes: vec![VolumePart {
            spec: VolumeSpec {
                name: "v".to_owned(),
                driver: "local".to_owned(),
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
            },
            size: 4,
            sha256: hex::encode(Sha256::digest(b"data")),
            tree: String::new(),
        }],
        env_sha256: hex::encode(Sha256::digest(b"A=1\n")),
        secrets: Vec::new(),
        images: Vec::new(),
    };
    let text = serde_json::to_vec(&meta).unwrap();
    keep(&at.join("meta.json"), &text).unwrap();
    let sha256 = hex::encode(Sha256::digest(&text));
    let canonical = Canonical {
        snapshot: Some(SnapshotRef { dir: name, sha256 }),
        ..Canonical::new(
            &recipe,
            "0.1.0+1",
            CommitId::sample('a'),
            "warm-notes.z",
            "default",
        )
    };
    (place, canonical)
}

#[test]
fn one_changed_bit_anywhere_is_found() {
    for (file, content) in [
        ("v.tar", "dat0"),
        ("v.tar", "data and more"),
        ("v.tar", ""),
        ("env", "A=2\n"),
        ("meta.json", "{}"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let (place, canonical) = snapshot(root.path());
        let verify = || Snapshot::read(&place, &canonical)?.verify();
        verify().unwrap();
        let name = &canonical.snapshot.as_ref().unwrap().dir;
        let path = place.snapshot_dir(name).join(file);
        std::fs::write(&path, content).unwrap();
        let error = verify().unwrap_err();
        assert!(error.is_lost_data(), "{file}: {error}");
        assert!(error.to_string().contains(file), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(verify().unwrap_err().is_lost_data(), "{file} is missing");
    }
}

#[test]
fn what_only_cannot_be_read_is_not_lost() {
    use nix::errno::Errno;
    for code in [Errno::EMFILE, Errno::EIO, Errno::EACCES] {
        let error = unread(Path::new("v.tar"))(code.into());
        assert!(!error.is_lost_data(), "{code}: {error}");
        assert!(error.advice().contains("readable"), "{}", error.advice());
    }
    for file in ["v.tar", "env", "meta.json"] {
        let root = tempfile::tempdir().unwrap();
        let (place, canonical) = snapshot(root.path());
        let name = &canonical.snapshot.as_ref().unwrap().dir;
        let path = place.snapshot_dir(name).join(file);
        std::fs::remove_file(&path).unwrap();
        // A link to itself: root cannot read that either.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let read = Snapshot::read(&place, &canonical);
        let env = |snapshot: &Snapshot| match file {
            "env" => snapshot.env().map(drop),
            _ => Ok(()),
        };
        for error in [
            read.and_then(|snapshot| snapshot.verify()).unwrap_err(),
            Snapshot::read(&place, &canonical)
                .and_then(|snapshot| env(&snapshot).and_then(|()| snapshot.verify()))
                .unwrap_err(),
        ] {
            assert!(!error.is_lost_data(), "{file}: {error}");
            assert!(error.to_string().contains(file), "{error}");
        }
    }
}
