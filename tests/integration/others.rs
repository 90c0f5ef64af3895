//! Plans of runs with several apps of a recipe: older bases and variants.

use serde_json::{Value, json};

use crate::dry_run::{env, plan};
use crate::support::git;

/// Everything that a run upgrades from is in its plan, and what is asked for wrongly is refused before anything is made.
#[test]
fn several_bases_each_have_an_app_and_nothing_else_passes_for_one() {
    let env = env();
    let recipe = env.recipe("notes");
    let all = plan(&env, &recipe, &["--bases", "last:3"]);
    assert_eq!(all["base_version"], "0.2.0+1.1.0");
    let others = all["others"].as_array().unwrap();
    assert_eq!(others.len(), 1, "{others:#?}");
    let other = &others[0];
    assert_eq!(
        (&other["kind"], &other["name"]),
        (&json!("base"), &json!("0.1.0+1.0.0"))
    );
    assert_eq!(other["how"], "parallel");
    assert_ne!(other["domain"], all["domain"]);
    assert_ne!(other["domain"], all["fresh"]["domain"]);
    assert_eq!(other["tiers"].as_array().unwrap().len(), 1);
    assert_eq!(other["tiers"][0]["will"], "run");
    assert_eq!(all["deploy_count"], 3);
    let said = all["warnings"].to_string();
    assert!(said.contains("2 versions and not from 3"), "{said}");
    let named = plan(&env, &recipe, &["--bases", "0.1.0+1.0.0,0.2.0+1.1.0"]);
    assert_eq!(named["base_version"], "0.2.0+1.1.0");
    assert_eq!(named["others"], all["others"]);
    let serial = plan(&env, &recipe, &["--bases", "all", "--fresh", "serial"]);
    assert_eq!(serial["others"][0]["domain"], serial["domain"]);
    git(&recipe, &["tag", "0.3.0+1.2.0", "HEAD"]);
    for (more, says) in [
        (vec!["--bases", "last:0"], "it is 1 or more"),
        (
            vec!["--bases", "newest"],
            "`newest` is not a recipe version",
        ),
        (
            vec!["--bases", "0.9.0+1"],
            "`0.9.0+1` is not a tag of this recipe",
        ),
        (vec!["--bases", "0.3.0+1.2.0"], "is the head itself"),
        (
            vec!["--bases", "all", "--base", "0.1.0+1.0.0"],
            "both say what to upgrade from",
        ),
        (
            vec!["--bases", "all", "--quick"],
            "starts from the canonical",
        ),
        (
            vec!["--bases", "all", "--stages", "install"],
            "no upgrade is asked for",
        ),
    ] {
        for dry in [true, false] {
            let mut args = vec!["run", recipe.to_str().unwrap()];
            args.extend(dry.then_some("--dry-run"));
            args.extend(more.iter().copied());
            let done = env.run(&args);
            done.expect(2);
            assert!(done.stderr.contains(says), "{args:?}: {}", done.stderr);
        }
    }
}

/// Every variant is in the plan, also one that cannot be read; what is asked for and not declared is refused.
#[test]
fn variants_each_have_an_app_and_an_unknown_one_is_refused() {
    let env = env();
    let recipe = env.recipe("optional-files");
    let names = |plan: &Value| -> Vec<String> {
        let others = plan["others"].as_array().unwrap().iter();
        let name = |other: &Value| other["name"].as_str().unwrap().to_owned();
        others.map(name).collect()
    };
    let all = plan(&env, &recipe, &[]);
    assert_eq!(names(&all), ["db", "metrics", "oidc", "s3", "smtp"]);
    let fault = |at: usize| all["others"][at]["fault"].as_str().unwrap_or_default();
    assert!(fault(3).contains("s3_key"), "{all:#}");
    assert_eq!(fault(4), "");
    let tiers = all["others"][0]["tiers"].as_array().unwrap();
    let tiers: Vec<_> = tiers.iter().map(|tier| &tier["name"]).collect();
    assert_eq!(tiers, ["install", "custom"]);
    let some = plan(&env, &recipe, &["--variants", "smtp,oidc"]);
    assert_eq!(names(&some), ["oidc", "smtp"]);
    let custom = plan(
        &env,
        &recipe,
        &["--stages", "custom", "--variants", "smtp,db"],
    );
    assert_eq!(names(&custom), ["db"]);
    assert!(names(&plan(&env, &recipe, &["--variants", "none"])).is_empty());
    for (list, says) in [
        ("smtp,nope", "the recipe has no variant `nope`"),
        ("smtp,", "empty name"),
        ("smtp,smtp", "named twice"),
    ] {
        let done = env.run(["run", recipe.to_str().unwrap(), "--variants", list]);
        done.expect(2);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
}
