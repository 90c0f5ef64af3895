//! What a run teaches about a recipe beyond its verdict.

use crate::engine::SwarmEnv;
use crate::support::git;

#[test]
fn an_upgrade_teaches_who_ignores_sigterm_and_who_writes_beside_his_successor() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,upgrade");
    let dir = env.root.join("recipes/lessons");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(".env.sample"), "TYPE=lessons\nDOMAIN=x\n").unwrap();
    let write = |version: &str| {
        // As first process a shell or `sleep` gets no signal that it has no handler for.
        let compose = format!(
            "version: \"3.8\"\nservices:\n  app:\n    image: recipe-ci/notes:1\n    stop_grace_period: 1s\n    \
             environment: [VERSION={version}]\n    command: [sleep, '1000']\n    volumes: ['data:/data']\n    deploy:\n      \
             update_config: {{order: start-first}}\n      labels:\n        \
             - \"coop-cloud.${{STACK_NAME}}.version={version}\"\n  polite:\n    image: recipe-ci/notes:1\n    \
             environment: [VERSION={version}]\n    command: [sh, -c, 'trap \"exit 0\" TERM; sleep 1000 & wait']\n    \
             stop_grace_period: 20s\nvolumes: {{data: }}\n"
        );
        std::fs::write(dir.join("compose.yml"), compose).unwrap();
    };
    write("0.1.0+1.0.0");
    git(&dir, &["init", "-q", "-b", "main"]);
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "one"]);
    git(&dir, &["tag", "-a", "-m", "one", "0.1.0+1.0.0"]);
    write("0.2.0+1.0.0");
    git(&dir, &["commit", "-q", "-a", "-m", "two"]);
    let done = env.run(["run".as_ref(), dir.as_os_str()]);
    let results = env.results();
    env.assert_nothing_left();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let found = results["findings"].as_array().unwrap().iter();
    let found: Vec<String> = found
        .filter(|one| ["F001", "F002"].iter().any(|id| one["id"] == **id))
        .map(|one| format!("{} {}", one["id"], one["service"]))
        .collect();
    assert!(
        found.contains(&"\"F001\" \"app\"".to_owned()),
        "{results:#}"
    );
    assert!(
        found.contains(&"\"F002\" \"app\"".to_owned()),
        "{results:#}"
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        done.stderr.contains("did not end on SIGTERM"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("init: true"), "{}", done.stderr);
}
