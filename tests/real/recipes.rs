//! Recipes of real software end as their `fixture.json` says; so do their twins, of which those in [`GAPS`] pass still.

use std::time::Instant;

use crate::engine::SwarmEnv;
use crate::fixtures::{assert_says_why, described, judge_repository};
use crate::support::repository;

use super::{SET, port_of, say};

/// Twins that are green today and must not be, with what is missing. One that turns red has to leave this list.
#[cfg(feature = "real")]
const GAPS: [(&str, &str); 0] = [];

/// Runs a recipe and compares; says how long it took.
fn judge(name: &str) {
    let _port = port_of(name);
    let env = SwarmEnv::new();
    let begin = Instant::now();
    let recipe = env.recipe_of(SET, name);
    let (_, _, results) = judge_repository(env, &recipe, &described(SET, name)["expect"]);
    let tiers = results["tiers"].as_array().into_iter().flatten();
    let mut reasons =
        tiers.filter_map(|tier| Some((tier["name"].as_str()?, tier["reason"].as_str()?)));
    say(&format!(
        "{name}: as described after {:.1?}; {:?}",
        begin.elapsed(),
        reasons.next()
    ));
}

/// Runs a twin, which passes while it is a gap.
#[cfg(feature = "real")]
fn twin(name: &str) {
    let Some((_, missing)) = GAPS.iter().find(|(gap, _)| *gap == name) else {
        return judge(name);
    };
    let _port = port_of(name);
    let env = SwarmEnv::new();
    let recipe = env.recipe_of(SET, name);
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    assert!(
        done.code == Some(0),
        "`{name}` is red now: take it out of GAPS ({missing})\n{}",
        done.stderr
    );
    say(&format!("known gap: {name} is green: {missing}"));
    env.assert_nothing_left();
}

macro_rules! recipes {
    (always $always:ident: $always_name:literal; green { $($green:ident: $green_name:literal,)* } red { $($red:ident: $red_name:literal,)* }) => {
        #[test]
        fn $always() {
            judge($always_name);
        }

        $(#[cfg(feature = "real")]
        #[test]
        fn $green() {
            judge($green_name);
        })*

        $(#[cfg(feature = "real")]
        #[test]
        fn $red() {
            twin($red_name);
        })*

        #[test]
        fn every_recipe_of_real_software_is_listed() {
            let mut listed = vec![$always_name, $($green_name,)* $($red_name,)*];
            listed.sort_unstable();
            let entries = harness::host_file::entries(repository().join(SET)).unwrap();
            let mut there: Vec<String> = entries.flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            there.sort_unstable();
            assert_eq!(listed, there);
            for name in [$($red_name,)*] {
                let expected = &described(SET, name)["expect"];
                assert_eq!(expected["exit_code"], 1, "{name} is a red twin");
                assert_says_why(name, expected);
            }
        }
    };
}

recipes! {
    always jobs: "jobs";
    green {
    feeds: "feeds",
    secure: "secure",
    site: "site",
    traefik: "traefik",
    voice: "voice",
    wordpress: "wordpress",
    }
    red {
    feeds_dumps_nothing: "feeds-dumps-nothing",
    feeds_empties_its_database: "feeds-empties-its-database",
    feeds_wrong_password: "feeds-wrong-password",
    jobs_loads_nothing: "jobs-loads-nothing",
    jobs_worker_dies: "jobs-worker-dies",
    secure_in_plain: "secure-in-plain",
    site_check_is_missing: "site-check-is-missing",
    site_check_wrong_port: "site-check-wrong-port",
    site_without_a_page: "site-without-a-page",
    site_without_proxy: "site-without-proxy",
    site_wrong_port: "site-wrong-port",
    voice_loads_nothing: "voice-loads-nothing",
    voice_wrong_port: "voice-wrong-port",
    wordpress_copies_live_files: "wordpress-copies-live-files",
    wordpress_dumps_another_database: "wordpress-dumps-another-database",
    wordpress_moves_its_database: "wordpress-moves-its-database",
    wordpress_restores_nothing: "wordpress-restores-nothing",
    wordpress_starts_database_first: "wordpress-starts-database-first",
    }
}
