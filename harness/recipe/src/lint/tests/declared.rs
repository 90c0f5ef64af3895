//! What services name and no file declares.

use super::*;

#[test]
fn what_an_optional_file_names_another_may_declare() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in CLEAN {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let optional = |name: &str, text: &str| {
        fs::write(dir.path().join(name), format!("version: \"3.8\"\n{text}")).unwrap();
    };
    let c015 = || -> Vec<String> {
        let lint = lint(dir.path(), None).unwrap();
        let mut found = found(&lint);
        found.retain(|one| one.starts_with("C015"));
        found
    };
    optional(
        "compose.one.yml",
        "services:\n  app:\n    volumes: [\"media:/m\"]\n",
    );
    assert_eq!(c015(), ["C015 compose.one.yml:4"]);
    optional("compose.two.yml", "services: {}\nvolumes: {media: }\n");
    assert_eq!(c015(), [""; 0]);
    // A new app is made of the default file alone.
    let text = ground::host_file::text(dir.path().join("compose.yml")).unwrap();
    let text = text.replacen("    image:", "    secrets: [nowhere]\n    image:", 1);
    fs::write(dir.path().join("compose.yml"), text).unwrap();
    assert!(
        c015()
            .iter()
            .any(|one| one.starts_with("C015 compose.yml:")),
        "{:?}",
        c015()
    );
}
