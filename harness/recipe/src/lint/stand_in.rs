//! What a recipe uses and its commits do not have: files behind pointers of Git LFS, and in submodules.
//!
//! A work tree may have both, and an operator's app never gets them. A commit that is unpacked has neither, and is
//! refused where they are read.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::finding::Checked;
use super::view::{View, in_file};
use crate::TESTS;

pub(super) fn files(view: &View) -> Checked {
    let Ok(history) = &view.history else {
        return Ok(Vec::new());
    };
    let used = used(view);
    let is_test = |path: &Path| path.starts_with(TESTS);
    let mut hits = Vec::new();
    let mut hit = |path: &Path, what: &str| {
        let path = path.display().to_string();
        hits.push(in_file(&path, None, format!("`{path}` is {what}")));
    };
    for path in &history.stand_ins.pointers {
        if is_test(path) || used.iter().any(|file| Path::new(file) == path) {
            hit(path, "a pointer of Git LFS in every clone of abra's");
        }
    }
    for path in &history.stand_ins.submodules {
        if is_test(path) || used.iter().any(|file| Path::new(file).starts_with(path)) {
            hit(
                path,
                "a submodule, an empty directory in every clone of abra's",
            );
        }
    }
    Ok(hits)
}

/// Returns the files that a deploy reads, relative to the root.
fn used(view: &View) -> BTreeSet<String> {
    let mut used: BTreeSet<String> = view.files.iter().map(|file| file.name.clone()).collect();
    used.extend([".env.sample", "abra.sh"].map(str::to_owned));
    let mut add = |file: &Value| {
        if let Some(text) = file.as_str() {
            let text = view.fill_in(text);
            used.insert(text.strip_prefix("./").unwrap_or(&text).to_owned());
        }
    };
    for file in &view.files {
        for section in ["configs", "secrets"] {
            let objects = file.document.value.get(section).and_then(Value::as_object);
            let files = objects.into_iter().flatten();
            files
                .filter_map(|(_, object)| object.get("file"))
                .for_each(&mut add);
        }
    }
    for (_, _, service) in view.raw_services() {
        match service.get("env_file") {
            Some(Value::Array(files)) => files.iter().for_each(&mut add),
            Some(file) => add(file),
            None => {}
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::super::lint;
    use super::super::tests::{clean, found};

    #[test]
    fn what_the_work_tree_has_and_its_commit_does_not_is_found_where_it_is_used() {
        const POINTER: &str =
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
        let fixture = clean();
        for used in ["entry.sh", ".env.sample", "tests/custom/test_x.sh"] {
            let content = fixture
                .path()
                .join(used)
                .exists()
                .then(|| fixture.read(used));
            fixture.commit(&[(used, POINTER), ("logo.png", POINTER)]);
            // As `git lfs pull` leaves it.
            fixture.write(used, content.as_deref().unwrap_or("#!/bin/sh\n"));
            let lint = lint(fixture.path(), None).unwrap();
            assert!(
                found(&lint).contains(&format!("C025 {used}")),
                "{:?}",
                found(&lint)
            );
            assert!(!found(&lint).contains(&"C025 logo.png".to_owned()));
            fixture.commit(&[]);
        }
    }
}
