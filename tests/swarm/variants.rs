//! Variants of a recipe: an app for each, and a row for each in the report.

use serde_json::Value;

use crate::fixtures::judge;

/// Returns how the tiers of a variant ended, and why the first that did not pass did not.
fn row(results: &Value, name: &str) -> (Vec<String>, String) {
    let apps = results["apps"].as_array().unwrap();
    let app = apps.iter().find(|app| app["name"] == name);
    let app = app.unwrap_or_else(|| panic!("no variant {name} in {results:#}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tiers = app["tiers"].as_array().unwrap();
    let ends = tiers.iter().map(|tier| {
        let (name, status) = (text(&tier["name"]), text(&tier["status"]));
        format!("{name} {status}")
    });
    let red = tiers.iter().find(|tier| tier["status"] != "pass");
    (
        ends.collect(),
        red.map_or_else(String::new, |tier| text(&tier["reason"])),
    )
}

/// A recipe in the style of the catalogue: what is wrong with an optional file shows in the row of its variant alone.
#[test]
fn each_variants_fault_shows_in_its_row_alone() {
    let results = judge("optional-files");
    for (tier, status) in [
        ("install", "pass"),
        ("upgrade", "skip"),
        ("backup", "pass"),
        ("restore", "pass"),
        ("custom", "pass"),
    ] {
        let mut tiers = results["tiers"].as_array().unwrap().iter();
        let found = tiers.find(|row| row["name"] == tier).unwrap();
        assert_eq!(found["status"], status, "{found:#}");
    }
    for (variant, ends, why) in [
        ("smtp", vec!["install pass"], ""),
        ("s3", vec!["install fail"], "compose.s3.yml"),
        ("metrics", vec!["install fail"], "metrics"),
        ("oidc", vec!["install fail"], "service `oidc`"),
        (
            "db",
            vec!["install pass", "custom fail"],
            "custom/test_dump.sh: exit code 1",
        ),
    ] {
        let (seen, said) = row(&results, variant);
        assert_eq!(seen, ends, "{variant}: {results:#}");
        assert!(said.contains(why), "{variant}: `{said}` lacks `{why}`");
    }
    // The recipe itself, and the three that can be deployed.
    assert_eq!(results["deploy_count"], 4);
    let output = results["output"].as_array().unwrap();
    let of_oidc = |shown: &&Value| shown["app"] == "variant oidc";
    let shown: Vec<_> = output.iter().filter(of_oidc).collect();
    assert!(
        shown
            .iter()
            .any(|shown| shown["lines"].to_string().contains("no issuer"))
    );
    let smtp = results["apps"].as_array().unwrap().iter();
    let smtp = smtp.clone().find(|app| app["name"] == "smtp").unwrap();
    let tests = smtp["tiers"][0]["tests"].to_string();
    assert!(tests.contains("install variant smtp/"), "{tests}");
}
