//! `recipe-ci janitor install`: files, refusals, and what it says to do next.

use std::fs;

use crate::support::TestEnv;

const SERVICE: &str = "units/recipe-ci-janitor.service";

fn env() -> TestEnv {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    fs::create_dir(env.root.join("units")).unwrap();
    env
}

#[test]
fn it_writes_every_place_in_force_and_says_what_is_next() {
    let mut env = env();
    env.set("CCCI_DEADLINE", "45m");
    let dir = env.root.join("units");
    let dir = dir.to_str().unwrap();
    let done = env.run(["janitor", "install", "--dir", dir, "--every", "5m"]);
    done.expect(0);
    assert!(
        done.stderr
            .contains(&format!("created: {dir}/recipe-ci-janitor.timer")),
        "{}",
        done.stderr
    );
    let next = "next: systemctl daemon-reload && systemctl enable --now recipe-ci-janitor.timer";
    assert!(done.stderr.ends_with(next), "{}", done.stderr);
    let root = env.root.display();
    let zone = &env.zone;
    let service = harness::host_file::text(env.root.join(SERVICE)).unwrap();
    for line in [
        format!("ExecStart=\"{}\" janitor", crate::support::binary()),
        format!("Environment=\"HOME={root}/home\""),
        format!("Environment=\"ABRA_DIR={root}/home/.abra\""),
        format!("Environment=\"CCCI_APP_LOCK_DIR={root}/locks\""),
        format!("Environment=\"CCCI_RUNS_DIR={root}/runs\""),
        format!("Environment=\"CCCI_STATE_DIR={root}/state\""),
        format!("Environment=\"CCCI_WARM_DIR={root}/warm\""),
        format!("Environment=\"CCCI_ZONE={zone}\""),
        "Environment=\"CCCI_DEADLINE=45m\"".to_owned(),
        "Environment=\"DOCKER_HOST=unix:///nowhere/docker.sock\"".to_owned(),
    ] {
        assert!(
            service.lines().any(|found| found == line),
            "no {line} in\n{service}"
        );
    }
    let timer = harness::host_file::text(env.root.join("units/recipe-ci-janitor.timer")).unwrap();
    assert!(timer.contains("\nOnUnitActiveSec=300s\n"), "{timer}");

    let again = env.run(["janitor", "install", "--dir", dir, "--every", "5m"]);
    again.expect(0);
    assert_eq!(
        again.stderr.matches("unchanged: ").count(),
        2,
        "{}",
        again.stderr
    );
    let other = env.run([
        "janitor",
        "install",
        "--dir",
        dir,
        "--zone",
        "ci.example.org",
    ]);
    other.expect(0);
    assert_eq!(
        other.stderr.matches("updated: ").count(),
        2,
        "{}",
        other.stderr
    );
    env.assert_quiet();
}

#[test]
fn what_a_person_changed_stays_until_force() {
    let env = env();
    let dir = env.root.join("units");
    let dir = dir.to_str().unwrap();
    env.write(SERVICE, "[Service]\nExecStart=/bin/true\n");
    let done = env.run(["janitor", "install", "--dir", dir]);
    done.expect(2);
    for word in ["changed by hand", "hint: ", "--force", "--print"] {
        assert!(
            done.stderr.contains(word),
            "no `{word}` in\n{}",
            done.stderr
        );
    }
    assert_eq!(harness::host_file::entries(dir).unwrap().count(), 1);
    env.run(["janitor", "install", "--dir", dir, "--force"])
        .expect(0);
    assert_eq!(harness::host_file::entries(dir).unwrap().count(), 2);
}

#[test]
fn print_is_data_and_writes_nothing() {
    let env = env();
    let dir = env.root.join("units");
    let dir = dir.to_str().unwrap();
    let done = env.run(["janitor", "install", "--dir", dir, "--print"]);
    done.expect(0);
    assert_eq!(done.stderr, "");
    for line in [
        format!("# {dir}/recipe-ci-janitor.service"),
        format!("# {dir}/recipe-ci-janitor.timer"),
        "WantedBy=timers.target".to_owned(),
    ] {
        assert!(
            done.stdout.lines().any(|found| found == line),
            "{}",
            done.stdout
        );
    }
    assert_eq!(harness::host_file::entries(dir).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let mut env = env();
    let dir = env.root.join("units");
    let dir = dir.to_str().unwrap().to_owned();
    for (option, value, word) in [
        ("--every", "often", "`often` is not a duration"),
        ("--every", "5s", "between a minute and half an hour"),
        ("--zone", "UPPER_case", "zone `UPPER_case`"),
        ("--dir", "/no/such", "`/no/such` is no directory"),
    ] {
        let done = env.run(["janitor", "install", option, value]);
        done.expect(2);
        for word in [word, "hint: "] {
            assert!(
                done.stderr.contains(word),
                "no `{word}` in\n{}",
                done.stderr
            );
        }
    }
    env.set("CCCI_DEADLINE", "soon");
    let done = env.run(["janitor", "install", "--dir", &dir]);
    done.expect(2);
    assert!(done.stderr.contains("deadline `soon`"), "{}", done.stderr);
    env.set("CCCI_DEADLINE", "");
    // Two that contradict each other.
    env.run(["janitor", "install", "--print", "--enable"])
        .expect(2);
    env.run(["janitor", "--dry-run", "install"]).expect(2);
    // A place that no unit can name would become another unit's line.
    env.set("CCCI_STATE_DIR", "/srv/a\nExecStartPre=/bin/sh");
    let done = env.run(["janitor", "install", "--dir", &dir]);
    done.expect(2);
    assert!(done.stderr.contains("CCCI_STATE_DIR"), "{}", done.stderr);
    assert_eq!(harness::host_file::entries(&dir).unwrap().count(), 0);
}

/// On a host with another init, and on one where `systemctl` is not on PATH: the host's fault, nothing done.
#[test]
fn without_systemd_there_is_nothing_to_enable() {
    let env = env();
    let dir = env.root.join("units");
    let dir = dir.to_str().unwrap().to_owned();
    let mut command = env.program("env");
    command.arg(format!("PATH={}", env.root.join("empty").display()));
    command.arg(crate::support::binary());
    command.args(["janitor", "install", "--enable", "--dir", &dir]);
    let done = env.follow(command).finish();
    done.expect(3);
    for word in ["systemd does not run this host", "hint: ", "--enable"] {
        assert!(
            done.stderr.contains(word),
            "no `{word}` in\n{}",
            done.stderr
        );
    }
    assert_eq!(harness::host_file::entries(&dir).unwrap().count(), 0);
}
