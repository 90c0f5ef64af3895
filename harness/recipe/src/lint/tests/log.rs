use super::*;

#[test]
fn sarif_names_every_rule_and_a_line_for_every_result() {
    let fixture = clean();
    change(
        &fixture,
        &[
            ("compose.yml", "notes:1.2.0", "notes"),
            ("README.md", "", ""),
        ],
    );
    let head = fixture.commit(&[]);
    fixture.tag("nightly", head);
    let lint = lint(fixture.path(), None).unwrap();
    let log = sarif::sarif(&lint, "1.2.3");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let policies = crate::policy::rules::RULES.iter();
    let refusing = policies.filter(|rule| rule.refuses).count();
    assert_eq!(rules.len(), RULES.len() + refusing);
    let results = run["results"].as_array().unwrap();
    let shown: Vec<String> = results
        .iter()
        .map(|result| {
            let at = &result["locations"][0]["physicalLocation"];
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(
                result["message"]["text"]
                    .as_str()
                    .is_some_and(|text| text.len() > 20)
            );
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            format!(
                "{} {} {}:{}",
                text(&result["ruleId"]),
                text(&result["level"]),
                text(&at["artifactLocation"]["uri"]),
                at["region"]["startLine"]
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "R014 error compose.yml:1",
            "R007 warning README.md:1",
            "R003 warning compose.yml:5",
        ]
    );
}
