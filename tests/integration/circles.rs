//! Which crate and which file of the library uses which, and that none of them uses itself over others.
//!
//! Rust allows circles of modules within a crate. Where one is, no file of it can be read, tested or moved to a crate of
//! its own without all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::support::repository;

/// The crates of the library, and which of them each may use.
const CRATES: [(&str, &str, &[&str]); 4] = [
    ("ground", "harness/ground", &[]),
    ("engine", "harness/engine", &["ground"]),
    ("recipe", "harness/recipe", &["ground"]),
    ("harness", "harness", &["engine", "ground", "recipe"]),
];

/// A module as its path, below its crate: `["ground", "git", "fetch"]`.
type Module = Vec<String>;

/// Modules of tests see everything by design.
const OF_TESTS: [&str; 2] = ["tests", "testing"];

#[test]
fn no_file_of_the_library_uses_itself_over_others() {
    let mut files = BTreeMap::new();
    for (name, dir, _) in CRATES {
        let root = repository().join(dir).join("src");
        read(name, &root, &root, &mut files);
    }
    assert!(files.len() > 200, "only {} files", files.len());
    let uses: BTreeMap<&Module, BTreeSet<&Module>> = files
        .iter()
        .map(|(module, text)| (module, used(module, text, &files)))
        .collect();
    let mut left: BTreeSet<&Module> = files.keys().collect();
    let mut circles = Vec::new();
    while let Some(first) = left.first().copied() {
        let there = reached(first, &uses);
        let circle: BTreeSet<&Module> = there
            .iter()
            .filter(|other| reached(other, &uses).contains(first))
            .copied()
            .collect();
        left.remove(first);
        for member in &circle {
            left.remove(member);
        }
        if circle.len() > 1 {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            circles.push(names);
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

/// Collects the text of every module that is no test, without comments and inline tests.
fn read(name: &str, root: &Path, dir: &Path, files: &mut BTreeMap<Module, String>) {
    for entry in harness::host_file::entries(dir).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            read(name, root, &path, files);
            continue;
        }
        let module = path.strip_prefix(root).unwrap().with_extension("");
        let parts = module.iter().map(|part| part.to_str().unwrap());
        let module: Module = [name].into_iter().chain(parts).map(str::to_owned).collect();
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        if !is_rust
            || module[1..] == ["lib"]
            || module.iter().any(|part| OF_TESTS.contains(&&**part))
        {
            continue;
        }
        let text = harness::host_file::text(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().map(|line| line.split("//").next().unwrap());
        files.insert(module, lines.collect::<Vec<_>>().join("\n"));
    }
}

/// Returns the modules that the text of `module` names.
fn used<'a>(
    module: &Module,
    text: &str,
    files: &'a BTreeMap<Module, String>,
) -> BTreeSet<&'a Module> {
    // At the beginning of a line: texts have the word, too.
    let statement = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap();
    let inline = Regex::new(r"\b(?:crate|super|self)(?:::\w+)+").unwrap();
    let mut paths = Vec::new();
    for found in statement.captures_iter(text) {
        spread("", &found[1], &mut paths);
    }
    let rest = statement.replace_all(text, "");
    paths.extend(inline.find_iter(&rest).map(|path| path.as_str().to_owned()));
    let targets = paths.iter().filter_map(|path| target(module, path, files));
    targets.filter(|target| *target != module).collect()
}

/// Takes the braces of a `use` apart.
fn spread(before: &str, tree: &str, paths: &mut Vec<String>) {
    let mut depth = 0;
    let parts = tree.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((start, inner)) => {
                let inner = inner.strip_suffix('}').expect("braces are in pairs");
                spread(&format!("{before}{start}"), inner, paths);
            }
            None => paths.push(format!("{before}{part}")),
        }
    }
}

/// Returns the file that a path of `module` leads to, if it is one of the library's.
fn target<'a>(
    module: &Module,
    path: &str,
    files: &'a BTreeMap<Module, String>,
) -> Option<&'a Module> {
    let mut words = path.split("::").map(str::trim).peekable();
    let mut at: Module = match *words.peek()? {
        "crate" => {
            words.next();
            vec![module[0].clone()]
        }
        "self" | "super" => module.clone(),
        _ => return None,
    };
    while let Some(word) = words.next_if(|word| ["self", "super"].contains(word)) {
        if word == "super" {
            at.pop();
        }
    }
    for word in words {
        let mut deeper = at.clone();
        deeper.push(word.to_owned());
        if !files.contains_key(&deeper) {
            break;
        }
        at = deeper;
    }
    files.get_key_value(&at).map(|(module, _)| module)
}

/// Returns every module that `from` leads to.
fn reached<'a>(
    from: &Module,
    uses: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&Module> = uses[from].iter().copied().collect();
    while let Some(module) = next.pop() {
        if found.insert(module) {
            next.extend(&uses[module]);
        }
    }
    found
}

/// The compiler refuses circles of crates, and knows no crate that should not know another.
#[test]
fn each_crate_of_the_library_uses_only_those_below_it() {
    let ours = CRATES.map(|(name, ..)| name);
    for (name, dir, may_use) in CRATES {
        let text = harness::host_file::text(repository().join(dir).join("Cargo.toml")).unwrap();
        let (_, dependencies) = text.split_once("\n[dependencies]\n").unwrap();
        let dependencies = dependencies.split("\n\n").next().unwrap();
        let uses: Vec<&str> = dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ']).next())
            .filter(|used| ours.contains(used))
            .collect();
        assert_eq!(uses, may_use, "{name}");
    }
}
