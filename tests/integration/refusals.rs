//! What is wrong with a stranger's recipe before its project can be judged: each with a rule's id, file and line.

use serde_json::Value;

use crate::support::{TestEnv, git};

#[test]
fn what_is_wrong_with_the_recipes_text_has_a_rule_a_file_and_a_line() {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let compose = "version: '3.8'\nservices:\n  app:\n    image: nginx:1.27\n";
    let secret = |name: &str| {
        let variable = name.to_uppercase();
        format!(
            "  {name}: {{external: true, name: \"${{STACK_NAME}}_{name}_${{SECRET_{variable}_VERSION}}\"}}\n"
        )
    };
    let secrets = format!("{compose}secrets:\n{}{}", secret("smtp"), secret("key"));
    for (index, (sample, compose, expected)) in [
        (
            "TYPE=x\nSECRET_SMTP_VERSION=v1 # generate=false\nSECRET_KEY_VERSION=v1 # generate=false\n",
            secrets.as_str(),
            vec![("P038", ".env.sample", 2), ("P038", ".env.sample", 3)],
        ),
        (
            "TYPE=x\n",
            &format!("{compose}configs:\n  c: {{file: ../../victim}}\n"),
            vec![("P037", "compose.yml", 6)],
        ),
        ("TYPE=x\n", &format!("{compose}    no_such_key: 1\n"), vec![("C015", "compose.yml", 5)]),
        ("TYPE=x\n", &format!("{compose}    image: twice\n"), vec![("C015", "compose.yml", 5)]),
        // Docker's client says this at the deploy, with networks and secrets made.
        (
            "TYPE=x\n",
            &format!("{compose}    volumes:\n      - /x\n      - dtaa:/y\nvolumes:\n  data:\n"),
            vec![("C015", "compose.yml", 7)],
        ),
        (
            "TYPE=x\n",
            &format!("{compose}    networks: [default, inner]\n"),
            vec![("C015", "compose.yml", 5)],
        ),
        ("TYPE=x\n", &format!("{compose}    secrets: [key]\n"), vec![("C015", "compose.yml", 5)]),
        ("TYPE=x\n", &format!("{compose}    configs: [conf]\n"), vec![("C015", "compose.yml", 5)]),
        ("TYPE=x\nno assignment\n", compose, vec![("R008", ".env.sample", 2)]),
        (
            "TYPE=x\nSECRET_KEY_VERSION=v1 # length=much\n",
            &format!("{compose}secrets:\n{}", secret("key")),
            vec![("R008", ".env.sample", 2)],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = format!("recipes/evil{index}");
        env.write(&format!("{dir}/compose.yml"), compose);
        env.write(&format!("{dir}/.env.sample"), sample);
        let path = env.root.join(&dir);
        git(&path, &["init", "-q", "-b", "main"]);
        git(&path, &["add", "-A"]);
        git(&path, &["commit", "-qm", "first"]);
        let args = ["run", "--src", path.to_str().unwrap()];
        let done = env.run(args);
        done.expect(2);
        let results = env.results();
        assert_eq!(results["verdict"], "refused", "{results:#}");
        let commit = results["head_commit"].as_str().unwrap_or_default();
        assert_eq!(commit.len(), 40, "{results:#}");
        let found = |results: &Value| -> Vec<(String, String, u64)> {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let all = results["policy"].as_array().unwrap().iter();
            all.map(|one| (text(&one["rule"]), text(&one["file"]), one["line"].as_u64().unwrap_or(0)))
                .collect()
        };
        let expected: Vec<(String, String, u64)> = expected
            .into_iter()
            .map(|(rule, file, line)| (rule.to_owned(), file.to_owned(), line))
            .collect();
        assert_eq!(found(&results), expected, "{results:#}");
        for (rule, file, line) in &expected {
            let said = format!("{rule} {file}:{line}");
            assert!(done.stderr.contains(&said), "no `{said}` in\n{}", done.stderr);
        }
        assert_ne!(results["hints"].as_array().unwrap().len(), 0);
        std::fs::remove_dir_all(env.root.join("runs")).unwrap();
        let done = env.run(args.into_iter().chain(["--dry-run"]));
        done.expect(2);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(found(&plan), expected);
        env.assert_quiet();
    }
}
