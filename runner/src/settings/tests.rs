use super::*;

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
