//! The report where a pipeline wants it.

use std::os::unix::fs::symlink;

use crate::support::TestEnv;

#[test]
fn a_workspace_gets_the_files_that_the_run_left_and_none_through_a_link() {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let recipe = env.recipe("notes");
    let run = |more: &[&str]| {
        let args = ["run", recipe.to_str().unwrap()].into_iter();
        env.run(args.chain(more.iter().copied()))
    };
    let text = |path: &str| harness::host_file::text(env.root.join(path)).unwrap();
    env.write(
        "workspace/tests.xml",
        "of an older build, and longer than what comes",
    );
    // The engine does not answer: such a run has a report, too.
    let both = [
        "--junit",
        "workspace/tests.xml",
        "--html",
        "workspace/page.html",
    ];
    run(&both).expect(3);
    let dir = env.run_dirs().pop().unwrap();
    for (copy, left) in [("tests.xml", "junit.xml"), ("page.html", "report.html")] {
        let left = harness::host_file::text(dir.join(left)).unwrap();
        assert_eq!(text(&format!("workspace/{copy}")), left);
        assert!(left.contains("notes"), "{left}");
    }
    env.write("elsewhere", "as it was");
    symlink(env.root.join("elsewhere"), env.root.join("workspace/link")).unwrap();
    for (option, path, word) in [
        ("--junit", "workspace/link", "is a link"),
        ("--html", "workspace", "it is no file"),
        ("--html", "nowhere/page.html", "nowhere"),
    ] {
        run(&[option, path]).refused(&[word, option]);
    }
    assert_eq!(text("elsewhere"), "as it was");
}
