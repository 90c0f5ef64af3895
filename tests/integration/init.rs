//! `recipe-ci init`: the first tests of a recipe.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::TestEnv;

#[test]
fn the_first_tests_are_written_once_and_a_run_finds_them() {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let recipe = env.recipe("wild-no-abra-sh");
    drop(std::fs::remove_dir_all(recipe.join("tests")));
    let done = env.run(["init".as_ref(), recipe.as_os_str()]);
    done.expect(0);
    assert!(
        done.stdout.contains("wrote tests/recipe-ci.yml"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("next: recipe-ci run "),
        "{}",
        done.stdout
    );
    let hook = recipe.join("tests/ops/pre_upgrade");
    let mode = hook.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "{mode:o}");
    let checked = env.run([
        "overlay".as_ref(),
        "check".as_ref(),
        recipe.join("tests").as_os_str(),
    ]);
    checked.expect(0);
    for words in [
        "ops/pre_upgrade",
        "ops/verify_upgrade",
        "custom/test_page.sh",
    ] {
        assert!(checked.stdout.contains(words), "{}", checked.stdout);
    }
    assert!(!checked.stdout.contains("warning"), "{}", checked.stdout);

    std::fs::write(&hook, "mine").unwrap();
    env.run(["init".as_ref(), recipe.as_os_str()])
        .refused(&["there already", "recipe-ci overlay check"]);
    assert_eq!(harness::host_file::text(&hook).unwrap(), "mine");
}

#[test]
fn what_is_no_recipe_gets_no_tests() {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    env.run(["init", "./nowhere"]).refused(&["no directory"]);
    env.write("docs/README.md", "no recipe\n");
    env.run(["init", "./docs"]).refused(&["no compose.yml"]);
    assert!(!env.root.join("docs/tests").exists());
}
