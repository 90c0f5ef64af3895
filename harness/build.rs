//! Embeds the demo recipe: writes a table of its files, with modes, for `src/demo.rs`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The fixture that is embedded, as seen from this package.
const RECIPE: &str = "../tests/recipes/notes";

#[expect(
    clippy::disallowed_methods,
    reason = "cargo talks to a build script by its environment"
)]
fn main() {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECIPE);
    // Cargo looks into a directory by itself, for changed and for new files.
    println!("cargo::rerun-if-changed={}", recipe.display());
    println!("cargo::rerun-if-changed=build.rs");
    let table = table(&recipe);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("demo.rs"), table).expect("OUT_DIR can be written");
}

/// Returns the table as Rust source: the versions from old to new, `head` last.
fn table(recipe: &Path) -> String {
    let mut versions: Vec<String> = entries(recipe)
        .into_iter()
        .filter(|path| path.is_dir())
        .map(|path| name(&path))
        .collect();
    versions.sort_by_key(|version| (version == "head", numbers(version)));
    assert_eq!(
        versions.last().map(String::as_str),
        Some("head"),
        "`{}` has no `head`",
        recipe.display()
    );
    let mut source = String::from("&[\n");
    for version in versions {
        let root = recipe.join(&version);
        let mut files = Vec::new();
        collect(&root, &mut files);
        writeln!(source, "    Version {{ name: {version:?}, files: &[")
            .expect("writing to a string succeeds");
        for file in files {
            let path = file.strip_prefix(&root).expect("it was found below it");
            let mode = fs::metadata(&file)
                .expect("it was just listed")
                .permissions()
                .mode();
            writeln!(
                source,
                "        File {{ path: {:?}, executable: {}, content: include_bytes!({:?}) }},",
                path.to_str().expect("the fixture's names are ASCII"),
                mode & 0o100 != 0,
                file.to_str().expect("the build runs in a UTF-8 path"),
            )
            .expect("writing to a string succeeds");
        }
        source.push_str("    ] },\n");
    }
    source.push_str("]\n");
    source
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for path in entries(dir) {
        let kind = fs::symlink_metadata(&path).expect("it was just listed");
        assert!(
            !kind.is_symlink(),
            "`{}`: links are not embedded",
            path.display()
        );
        if kind.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Returns what is in `dir`, sorted, so that the same tree gives the same binary.
fn entries(dir: &Path) -> Vec<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a build script has none of the harness's doors"
    )]
    let listed = fs::read_dir(dir);
    let mut paths: Vec<PathBuf> = listed
        .unwrap_or_else(|error| panic!("the demo recipe `{}`: {error}", dir.display()))
        .map(|entry| entry.expect("the directory can be read").path())
        .collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    let name = path.file_name().expect("an entry has a name");
    name.to_str()
        .expect("the fixture's names are ASCII")
        .to_owned()
}

/// Returns the numbers of a version, so that 0.10 comes after 0.9.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}
