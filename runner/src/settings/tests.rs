use super::*;
use harness::git::source::Source;

#[test]
fn stages_are_put_in_order_and_unknown_ones_refused() {
    assert_eq!(
        stages(Some("custom, install")).unwrap(),
        [Stage::Install, Stage::Custom]
    );
    assert_eq!(stages(Some("")).unwrap().len(), 5);
    assert!(stages(Some(",")).is_err());
    assert!(stages(Some("restore, backup")).is_ok());
    let alone = stages(Some("install,restore")).unwrap_err();
    assert!(alone.hints[0].contains("add `backup`"), "{alone:?}");
    let error = stages(Some("install,updrade"))
        .unwrap_err()
        .error
        .to_string();
    assert!(
        error.contains("`updrade`") && error.contains("upgrade"),
        "{error}"
    );
}

#[test]
fn deadlines_are_durations_within_reason() {
    assert_eq!(deadline("60m").unwrap(), Duration::from_secs(3600));
    assert_eq!(deadline("1h 30m").unwrap(), Duration::from_secs(5400));
    for bad in ["", "0s", "-5m", "sixty", "400d"] {
        assert!(deadline(bad).is_err(), "{bad} was accepted");
    }
}

#[test]
fn only_the_published_recipe_and_a_path_given_by_hand_become_canonicals() {
    let forge = Some("https://git.example.org");
    let notes: RecipeName = "notes".parse().unwrap();
    let origin =
        |text: &str| Origin::Repository(Source::parse(text, forge, Path::new("/srv")).unwrap());
    let is = |origin: &Origin, by_hand| is_promotable(origin, by_hand, &notes, forge).unwrap();
    let published = published(&notes, forge).unwrap();
    assert!(is(&Origin::Repository(published), false));
    for foreign in [
        "alice/notes",
        "https://git.example.com/coop-cloud/notes",
        "file:///srv/notes",
        "./notes",
    ] {
        assert!(!is(&origin(foreign), false), "{foreign}");
    }
    // A pipeline's SRC may be a path as well, which makes it a stranger's.
    assert!(is(&origin("./notes"), true));
    assert!(!is(&Origin::Staged, false));
}
