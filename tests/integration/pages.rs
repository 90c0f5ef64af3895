//! The pages for people: their links lead somewhere, and the index of decisions is complete.

use std::path::{Path, PathBuf};

use crate::support::repository;

/// Returns the Markdown files of this repository.
fn pages() -> Vec<PathBuf> {
    let listed = crate::support::git(&repository(), &["ls-files", "*.md"]);
    listed.lines().map(|path| repository().join(path)).collect()
}

fn text(path: &Path) -> String {
    harness::host_file::text(path).unwrap()
}

#[test]
fn links_between_pages_lead_to_files_that_exist() {
    let mut checked = 0;
    let mut dead = Vec::new();
    for page in pages() {
        for rest in text(&page).split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            checked += 1;
            if !page.parent().unwrap().join(target).exists() {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
    assert!(checked > 100, "only {checked} links were found");
}

#[test]
fn the_index_of_decisions_names_each_by_its_title() {
    let dir = repository().join("docs/decisions");
    let index = text(&dir.join("README.md"));
    let mut count = 0;
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        if page.parent() != Some(&dir) || name == "README.md" {
            continue;
        }
        count += 1;
        let text = text(&page);
        let title = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let (number, title) = title.split_once(": ").unwrap();
        assert!(
            index.contains(&format!("| [{number}]({name}) | {title} |")),
            "{name} is not in the index as `{title}`"
        );
    }
    assert!(count > 30, "only {count} decisions were found");
}
