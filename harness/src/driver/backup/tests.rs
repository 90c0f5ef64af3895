use super::*;

fn want(below: &str) -> RequiredPart {
    let path = format!("/data/{below}").trim_end_matches('/').to_owned();
    RequiredPart {
        full_name: "note_ci_data".to_owned(),
        part: Part {
            volume: "data".to_owned(),
            service: "app".to_owned(),
            path,
            below: below.to_owned(),
            ..Part::default()
        },
    }
}

#[test]
fn an_archive_goes_back_onto_its_own_volume() {
    for (below, from, to) in [
        ("", "/data/.", "/data"),
        ("dump.sql", "/data/dump.sql", "/data"),
        ("a/b", "/data/a/b", "/data/a"),
    ] {
        let part = want(below).part;
        assert_eq!(source(&part.path, &part.below), from);
        assert_eq!(destination(&part), to);
    }
}

#[test]
fn entries_find_their_part_by_the_volumes_name() {
    let root = "var/lib/docker/volumes/note_ci_data";
    for (path, below, name) in [
        (format!("{root}/_data/notes/1"), "", Some("data/notes/1")),
        (format!("{root}/_data"), "", Some("data")),
        (
            "note_ci_data/backup.sql".to_owned(),
            "backup.sql",
            Some("backup.sql"),
        ),
        (format!("/{root}/_data/dump/a"), "dump", Some("dump/a")),
        (format!("{root}/_data/dumper"), "dump", None),
        (
            "var/lib/docker/volumes/note_ci_data2/_data/x".to_owned(),
            "",
            None,
        ),
    ] {
        let found = name_in_part(Path::new(&path), &want(below));
        assert_eq!(found.as_deref(), name.map(Path::new), "{path}");
    }
}

#[test]
fn a_gzipped_archive_is_taken_apart_and_a_missing_part_is_a_fault() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup.tar.gz");
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mtime(77);
    let name = "var/lib/docker/volumes/note_ci_data/_data/backup.sql";
    builder.append_data(&mut header, name, &b"abc"[..]).unwrap();
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    std::fs::File::create(&file)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    let parts = unpack(&file, dir.path(), vec![want("backup.sql")])
        .unwrap()
        .unwrap();
    assert_eq!(
        (parts[0].files, parts[0].content_bytes, parts[0].newest),
        (1, 3, 77)
    );
    assert_eq!(parts[0].first_file.as_deref(), Some("backup.sql"));
    let fault = unpack(&file, dir.path(), vec![want("other.sql")])
        .unwrap()
        .unwrap_err();
    assert!(fault.reason.contains("`other.sql`"), "{}", fault.reason);
    std::fs::write(&file, &bytes[..40]).unwrap();
    assert!(unpack(&file, dir.path(), vec![want("")]).is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn an_archive_that_broke_off_is_read_again_and_one_that_always_does_says_why() {
    use super::reading::Unread;
    use std::cell::Cell;
    let read = |breaks: u32, again: bool| async move {
        let readings = Cell::new(0);
        let result = steadily(|| {
            readings.set(readings.get() + 1);
            let broken = readings.get() <= breaks;
            async move {
                Ok::<_, ()>(match broken {
                    true => Err(Unread(Fault::new("it broke off"), again)),
                    false => Ok("whole"),
                })
            }
        });
        let result = result.await.unwrap().map_err(|unread| unread.0.reason);
        (readings.get(), result)
    };
    assert_eq!(read(0, true).await, (1, Ok("whole")));
    assert_eq!(read(2, true).await, (3, Ok("whole")));
    let (readings, reason) = read(9, true).await;
    let reason = reason.unwrap_err();
    assert!(
        readings == 3 && reason.contains("at each of 3 readings"),
        "{reason}"
    );
    assert_eq!(read(1, false).await, (1, Err("it broke off".to_owned())));
}

#[test]
fn an_archive_of_a_file_that_shrank_breaks_off_and_may_be_whole_another_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let content = vec![7; 100_000];
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    archive
        .append_data(&mut header, "f", content.as_slice())
        .unwrap();
    let whole = archive.into_inner().unwrap();
    let file = dir.path().join("x.tar");
    let mut part = want("").part;
    std::fs::write(&file, &whole).unwrap();
    examine(&file, &mut part, Room::ALL).unwrap();
    std::fs::write(&file, &whole[..50_000]).unwrap();
    let error = examine(&file, &mut part, Room::ALL).unwrap_err();
    assert!(reading::may_pass(&error), "{error:?}");
    // One that has too much has it the next time, too.
    std::fs::write(&file, &whole).unwrap();
    let room = Room { bytes: 1, files: 0 };
    let error = examine(&file, &mut part, room).unwrap_err();
    assert!(!reading::may_pass(&error), "{error:?}");
}

#[test]
fn what_is_noted_of_an_archive_does_not_grow_with_its_files_and_tells_two_apart() {
    let dir = tempfile::tempdir().unwrap();
    let noted = |files: &[(String, &str)]| {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            let content = content.as_bytes();
            archive.append_data(&mut header, name, content).unwrap();
        }
        let file = dir.path().join("x.tar");
        std::fs::write(&file, archive.into_inner().unwrap()).unwrap();
        let mut part = want("").part;
        examine(&file, &mut part, Room::ALL).unwrap();
        part
    };
    let deep = "d/".repeat(400);
    let many: Vec<_> = (0..200).map(|n| (format!("{deep}{n}"), "")).collect();
    let part = noted(&many);
    assert_eq!(part.files, 200);
    let text = serde_json::to_string(&part).unwrap();
    assert!(text.len() < 2000, "{}", text.len());
    let file = |name: &str, content| vec![(name.to_owned(), content)];
    let digests = [
        file("a", "b"),
        file("a", "c"),
        file("ab", ""),
        file("c", "b"),
    ]
    .map(|files| noted(&files).digest);
    let different: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(different.len(), digests.len());
    assert_eq!(noted(&file("a", "b")).digest, digests[0]);
}

#[test]
fn a_database_of_sqlite_is_known_by_its_first_bytes_whatever_it_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&file).unwrap());
    let sqlite = |version: u8| {
        let mut content = b"SQLite format 3\0\x10\0".to_vec();
        content.extend([version, version]);
        content.resize(4096, 0);
        content
    };
    for (name, content) in [
        ("data/app", sqlite(1)),
        ("data/app.db", sqlite(2)),
        ("data/app.sqlite", b"SQLite format".to_vec()),
        ("data/empty", Vec::new()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, name, content.as_slice())
            .unwrap();
    }
    archive.into_inner().unwrap();
    let mut part = want("").part;
    examine(&file, &mut part, Room::ALL).unwrap();
    let expected = SqliteFiles {
        count: 2,
        first: "data/app".to_owned(),
        has_wal: true,
    };
    assert_eq!(part.sqlite, expected);
    assert_eq!((part.files, part.content_bytes), (4, 2 * 4096 + 13));
}
