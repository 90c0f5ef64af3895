//! Functions of `abra.sh` that abra runs inside containers after a deploy and after an upgrade.

use crate::engine::SwarmEnv;

const MARK: &str = r#"
mark() {
    echo "$TARGET $STACK_NAME $1" >>/data/marks
}
fail() {
    echo "there is no $1" >&2
    return 3
}
"#;

/// Returns a recipe whose head names these functions for after the deploy of a new app.
fn recipe(env: &SwarmEnv, commands: &str) -> std::path::PathBuf {
    let recipe = env.recipe("notes");
    let sample = "COMPOSE_FILE=\"compose.yml\"\n";
    let named = format!("{sample}POST_DEPLOY_CMDS=\"{commands}\"\n");
    env.edit(&recipe.join(".env.sample"), sample, &named);
    let version = "export APP_NOTES_VERSION=v3\n";
    env.edit(
        &recipe.join("abra.sh"),
        version,
        &format!("{version}{MARK}"),
    );
    recipe
}

#[test]
fn what_the_env_file_names_runs_in_the_apps_own_container_after_deploy_and_upgrade() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,upgrade");
    let recipe = recipe(&env, "app mark 'a new app'|app mark again");
    let marks = |words: &str| {
        format!(
            "#!/bin/sh\nrecipe-ci app exec -- cat /data/marks >marks && [ \"$(cut -d' ' -f1,3- marks | tr '\\n' ';')\" = '{words}' ] && \
             ! grep -v \"$(echo $CCCI_APP_DOMAIN | tr . _)\" marks\n"
        )
    };
    let settings = "upgrade_env: {POST_UPGRADE_CMDS: app mark upgraded}\n";
    env.overlay("notes", "recipe-ci.yml", settings);
    let (install, upgrade) = (marks("app a new app;app again;"), marks("app upgraded;"));
    env.overlay("notes", "test_install.sh", &install);
    env.overlay("notes", "test_upgrade.sh", &upgrade);
    env.run(["run".as_ref(), recipe.as_os_str()]).expect(0);
    env.assert_nothing_left();
}

#[test]
fn a_function_that_fails_makes_the_install_red_with_its_output() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = recipe(&env, "app fail database");
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(1);
    let reason = env.results()["reason"].as_str().unwrap().to_owned();
    let says = "POST_DEPLOY_CMDS: `fail database` in service `app` ended with exit code 3";
    assert!(reason.contains(says), "{reason}");
    assert!(
        done.stderr.contains("there is no database"),
        "{}",
        done.stderr
    );
    env.assert_nothing_left();
}
