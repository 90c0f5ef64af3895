//! Forms that recipes have in practice: each is planned, or refused with what is wrong and where.
//!
//! No file of a real recipe is here. Each is the good recipe `notes`, changed in one point; forms that have to be run
//! are fixtures (`wild-*`), which `dry_run` plans.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{TestEnv, git};

/// `notes` with `change`, committed.
fn recipe(env: &TestEnv, change: impl FnOnce(&TestEnv, &Path)) -> String {
    let recipe = env.recipe("notes");
    change(env, &recipe);
    git(&recipe, &["add", "-A"]);
    git(&recipe, &["commit", "-qm", "a form of the wild"]);
    recipe.to_str().unwrap().to_owned()
}

#[track_caller]
fn planned(change: impl FnOnce(&TestEnv, &Path)) -> Value {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let done = env.run(["run", &recipe(&env, change), "--dry-run"]);
    done.expect(0);
    serde_json::from_str(&done.stdout).unwrap()
}

#[track_caller]
fn refused(words: &[&str], change: impl FnOnce(&TestEnv, &Path)) {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let done = env.run(["run", &recipe(&env, change), "--dry-run"]);
    done.refused(words);
}

#[track_caller]
fn warns(plan: &Value, words: &str) {
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains(words), "no `{words}` in {warnings}");
}

#[test]
fn a_version_label_of_another_form_has_the_newest_tag_as_its_base() {
    let plan = planned(|env, recipe| {
        env.edit(
            &recipe.join("compose.yml"),
            "version=0.3.0+1.2.0",
            "version=v1.2",
        );
    });
    assert_eq!(plan["head_version"], "v1.2");
    assert_eq!(plan["base_version"], "0.2.0+1.1.0");
    warns(&plan, "`v1.2` is not a recipe version: it has no `+`");
}

#[test]
fn without_a_version_label_the_newest_tag_is_the_base() {
    let plan = planned(|env, recipe| {
        let line = "        - \"coop-cloud.${STACK_NAME}.version=0.3.0+1.2.0\"\n";
        env.edit(&recipe.join("compose.yml"), line, "");
    });
    assert_eq!(plan["head_version"], Value::Null);
    assert_eq!(plan["base_version"], "0.2.0+1.1.0");
    warns(&plan, "the head has no version label");
}

#[test]
fn an_env_sample_in_another_place_is_none() {
    let move_away = |_: &TestEnv, recipe: &Path| {
        std::fs::create_dir(recipe.join("docs")).unwrap();
        std::fs::rename(recipe.join(".env.sample"), recipe.join("docs/.env.sample")).unwrap();
    };
    refused(
        &[
            "secret `admin_token` has no version: `SECRET_ADMIN_TOKEN_VERSION` is not set",
            "hint     put a .env.sample into the root of the recipe",
        ],
        move_away,
    );
    // What can be planned without one says so.
    let plan = planned(|env, recipe| {
        move_away(env, recipe);
        env.edit(
            &recipe.join("compose.yml"),
            "${STACK_NAME}_admin_token_${SECRET_ADMIN_TOKEN_VERSION}",
            "shared_token",
        );
    });
    warns(
        &plan,
        "the recipe has no .env.sample; the app gets only DOMAIN and TYPE",
    );
}

/// Docker takes keys of a map as they are, so what names the stack has to stand in a list.
#[test]
fn deploy_labels_are_a_list_or_a_map() {
    let labels = |text: &str, map: bool| {
        let mut changed = String::new();
        for line in text.lines() {
            let entry = line.strip_prefix("        - \"").filter(|_| map);
            match entry.and_then(|entry| entry.split_once('=')) {
                Some((key, value)) => changed += &format!("        \"{key}\": \"{value}\n"),
                None => changed += &format!("{line}\n"),
            }
        }
        changed
    };
    let plan = |map: bool| {
        planned(|_, recipe| {
            let path = recipe.join("compose.yml");
            let text = harness::host_file::text(&path).unwrap();
            let text = text.replace("${STACK_NAME}.", "x.");
            std::fs::write(path, labels(&text, map)).unwrap();
        })
    };
    let (list, map) = (plan(false), plan(true));
    assert_eq!(list["backed_up_volumes"], json!(["data"]));
    for key in [
        "backed_up_volumes",
        "tiers",
        "warnings",
        "head_version",
        "images",
    ] {
        assert_eq!(list[key], map[key], "{key}");
    }
    let named = planned(|_, recipe| {
        let path = recipe.join("compose.yml");
        let text = harness::host_file::text(&path).unwrap();
        std::fs::write(path, labels(&text, true)).unwrap();
    });
    assert_eq!(named["head_version"], Value::Null);
    warns(
        &named,
        "services.app.deploy.labels.coop-cloud.${STACK_NAME}.version: docker does not interpolate keys; write the \
         entry as `- \\\"key=value\\\"`",
    );
}

#[test]
fn extends_is_refused_with_its_place_and_what_to_do() {
    refused(
        &[
            "compose.yml:5:14: service `app` uses `extends`, which `docker stack deploy` does not support",
            "hint     write the service out in full",
        ],
        |env, recipe| {
            let base = "version: \"3.8\"\nservices:\n  app: {image: recipe-ci/notes:2}\n";
            std::fs::write(recipe.join("base.yml"), base).unwrap();
            let line = "    image: recipe-ci/notes:2";
            let extends = "    extends: {file: base.yml, service: app}";
            env.edit(&recipe.join("compose.yml"), line, extends);
        },
    );
}

#[test]
fn anchors_of_a_fragment_are_merged() {
    let plan = planned(|env, recipe| {
        let fragment = "x-common: &common\n  image: recipe-ci/notes:1\n  init: true\n  volumes: [\"side:/side\"]\n  \
             healthcheck: &check {test: [\"CMD\", \"true\"], interval: 1s}\n\nservices:\n  side:\n    <<: *common\n    \
             healthcheck:\n      <<: *check\n      retries: 7\n";
        let compose = recipe.join("compose.yml");
        env.edit(&compose, "services:\n", fragment);
        env.edit(
            &compose,
            "volumes:\n  data:\n",
            "volumes:\n  data:\n  side:\n",
        );
    });
    // The image and the volume come through the anchor alone.
    assert_eq!(
        plan["images"],
        json!(["recipe-ci/notes:1", "recipe-ci/notes:2"])
    );
    assert_eq!(plan["backed_up_volumes"], json!(["data", "side"]));
    assert_eq!(plan["warnings"], json!([]));
}

#[test]
fn a_secret_whose_name_is_too_long_is_refused_before_the_deploy() {
    refused(
        &[
            "_a_token_for_the_administrator_of_all_the_notes_v1` has ",
            " bytes; docker allows 64",
            "shorten the name in the recipe",
        ],
        |_, recipe| {
            for file in ["compose.yml", ".env.sample"] {
                let path = recipe.join(file);
                let text = harness::host_file::text(&path).unwrap();
                let long = "a_token_for_the_administrator_of_all_the_notes";
                let text = text.replace("admin_token", long);
                let text = text.replace("ADMIN_TOKEN", &long.to_uppercase());
                std::fs::write(&path, text).unwrap();
            }
        },
    );
}

#[test]
fn compose_files_in_a_folder_must_be_named() {
    let move_down = |recipe: &Path| {
        std::fs::create_dir(recipe.join("stack")).unwrap();
        let text = harness::host_file::text(recipe.join("compose.yml")).unwrap();
        std::fs::remove_file(recipe.join("compose.yml")).unwrap();
        // Its paths are meant from where it is.
        let text = text.replace("file: ", "file: ../");
        std::fs::write(recipe.join("stack/compose.yml"), text).unwrap();
    };
    let plan = planned(|env, recipe| {
        move_down(recipe);
        env.edit(
            &recipe.join(".env.sample"),
            "COMPOSE_FILE=\"compose.yml\"",
            "COMPOSE_FILE=\"stack/compose.yml\"",
        );
    });
    assert_eq!(plan["compose_files"], json!(["stack/compose.yml"]));
    // The app of the published version has the old name in its env file, so its upgrade fails.
    assert_eq!(plan["no_base"], json!(null), "{plan:#}");
    let reason = plan["warnings"].to_string();
    assert!(
        reason.contains("`compose.yml` is not in the root"),
        "{reason}"
    );
    refused(
        &[
            "the recipe has no compose file",
            "name the files in COMPOSE_FILE of .env.sample",
        ],
        |env, recipe| {
            move_down(recipe);
            env.edit(
                &recipe.join(".env.sample"),
                "COMPOSE_FILE=\"compose.yml\"\n",
                "",
            );
        },
    );
}
