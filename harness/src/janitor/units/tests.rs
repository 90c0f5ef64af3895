//! The units as text, as files, and as systemd reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use engine::process::write_program;

fn plan() -> Plan {
    Plan {
        exe: "/usr/local/bin/recipe-ci".into(),
        user: None,
        environment: vec![
            ("CCCI_ZONE".to_owned(), "ci.example.org".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ],
        writable: vec!["/run/lock".into(), "/etc/recipe-ci".into()],
        every: Duration::from_secs(600),
    }
}

/// Returns what `systemd-analyze verify` says about the units of `plan`: nothing, when all is well.
///
/// Warnings (an unknown key, an assignment that is ignored) leave its exit code at 0, so its output counts.
async fn verify(plan: &Plan, change: impl Fn(&str) -> String) -> String {
    let dir = tempfile::tempdir().unwrap();
    let units = render(plan).unwrap();
    for unit in &units {
        fs::write(dir.path().join(unit.name), change(&unit.text)).unwrap();
    }
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let base = [
        ("PATH".into(), path.into()),
        ("LC_ALL".into(), "C.UTF-8".into()),
        ("HOME".into(), dir.path().into()),
    ];
    let processes = Processes::new(base.into());
    let program = processes
        .which("systemd-analyze")
        .expect("systemd-analyze is missing: apt-get install systemd (tests/run does)");
    let cmd = Cmd::new(program, dir.path())
        .args(["verify", "--man=no"])
        .args(units.map(|unit| dir.path().join(unit.name)));
    let finished = processes.run(&cmd, SYSTEMCTL_LIMIT).await.unwrap();
    let said = finished.tail.join("\n");
    assert_eq!(
        finished.success(),
        !said.contains("not executable") && !said.contains("fatal"),
        "{said}"
    );
    said
}

fn program(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_program(path, "#!/bin/sh\n");
}

/// Returns what is below the hash.
fn body(unit: &Unit) -> String {
    unit.text.splitn(3, '\n').nth(2).unwrap().to_owned()
}

#[test]
fn the_units_as_text() {
    let [service, timer] = render(&plan()).unwrap();
    insta::assert_snapshot!(body(&service), @r#"
    [Unit]
    Description=Remove the apps of dead recipe-ci runs
    # Only an order: on a host without this unit the engine is somebody else's.
    After=docker.service

    [Service]
    Type=oneshot
    ExecStart="/usr/local/bin/recipe-ci" janitor
    Environment="CCCI_ZONE=ci.example.org"
    Environment="HOME=/root"
    TimeoutStartSec=60min
    # A bound on accidents and not on malice: a process with the engine's socket has the host. Homes stay
    # visible for ~/.abra, /tmp is shared because places and sockets may be there.
    ProtectSystem=full
    ReadWritePaths="-/etc/recipe-ci"
    NoNewPrivileges=yes
    ProtectKernelTunables=yes
    ProtectKernelModules=yes
    ProtectControlGroups=yes
    RestrictSUIDSGID=yes
    RestrictRealtime=yes
    LockPersonality=yes
    # The engine is a unix socket; nothing else is asked.
    RestrictAddressFamilies=AF_UNIX
    "#);
    insta::assert_snapshot!(body(&timer), @"
    [Unit]
    Description=Remove the apps of dead recipe-ci runs, again and again

    [Timer]
    # No Persistent=: it is for calendar times; after a boot these begin anew.
    OnBootSec=1min
    OnUnitActiveSec=600s
    AccuracySec=10s

    [Install]
    WantedBy=timers.target
    ");
}

#[tokio::test]
async fn systemd_has_nothing_to_say_about_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan();
    plan.user = Some("daemon".to_owned());
    plan.exe = dir.path().join("recipe-ci");
    program(&plan.exe);
    assert_eq!(verify(&plan, str::to_owned).await, "");
    // And it would say something: an unknown key, a path that is not one word, a bad timer.
    for (from, to, word) in [
        ("LockPersonality", "LockPerson", "Unknown key"),
        ("OnUnitActiveSec=", "OnUnitActiveSec=often", "timer value"),
        ("\"CCCI_ZONE=", "\"CCCI ZONE=", "environment"),
    ] {
        let said = verify(&plan, |text| text.replace(from, to)).await;
        assert!(said.contains(word), "no `{word}` in `{said}`");
    }
}

/// A home or a check-out may be called anything; every sign that means something in a unit file is in here.
#[tokio::test]
async fn paths_with_spaces_percent_and_dollar_signs_mean_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a b/100%h/$HOME/${x}/c;d #e");
    let mut plan = plan();
    plan.exe = odd.join("recipe-ci");
    program(&plan.exe);
    let value = format!("{}/f\"g\\h'i", odd.display());
    plan.environment = vec![("CCCI_STATE_DIR".to_owned(), value.clone())];
    plan.writable = vec![Path::new("/etc").join(&value[1..])];
    // systemd looks for the program: it must arrive at the very file.
    assert_eq!(verify(&plan, str::to_owned).await, "");
    for (from, to) in [("%%h", "%h"), ("/$HOME", "/$$HOME")] {
        let said = verify(&plan, |text| text.replace(from, to)).await;
        assert!(
            said.contains("not executable"),
            "`{to}` was taken: `{said}`"
        );
    }
    let [service, _] = render(&plan).unwrap();
    let escaped = value
        .replace('%', "%%")
        .replace('\\', r"\\")
        .replace('"', "\\\"");
    for line in [
        format!("Environment=\"CCCI_STATE_DIR={escaped}\"\n"),
        format!("ReadWritePaths=\"-/etc{escaped}\"\n"),
    ] {
        assert!(
            service.text.contains(&line),
            "no {line} in\n{}",
            service.text
        );
    }
}

#[test]
fn what_a_unit_cannot_say_is_refused() {
    for value in [
        "/srv/a\nExecStartPre=/bin/sh",
        "/srv/\u{fffd}",
        "/srv/\u{7}",
    ] {
        let mut plan = plan();
        plan.environment = vec![("ABRA_DIR".to_owned(), value.to_owned())];
        let error = render(&plan).unwrap_err();
        assert!(
            error.is_usage() && error.to_string().contains("ABRA_DIR"),
            "{error}"
        );
        plan.environment.clear();
        plan.exe = value.into();
        assert!(render(&plan).is_err(), "{value}");
    }
    let user = Some("a b".to_owned());
    assert!(render(&Plan { user, ..plan() }).is_err());
    for exe in ["/srv/a\"b", "/srv/a'b", "/srv/a\\b"] {
        let plan = Plan {
            exe: exe.into(),
            ..plan()
        };
        assert!(render(&plan).is_err(), "{exe}");
    }
}

#[test]
fn a_file_is_replaced_only_while_it_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let units = render(&plan()).unwrap();
    let how = |units, force| -> Vec<Written> {
        let written = write(units, dir.path(), force).unwrap();
        written.into_iter().map(|(_, written)| written).collect()
    };
    assert_eq!(how(&units, false), [Written::Created, Written::Created]);
    let service = dir.path().join(SERVICE);
    let timer = dir.path().join(TIMER);
    let mode = fs::metadata(&service).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(how(&units, false), [Written::Unchanged, Written::Unchanged]);

    // Another setting, or a later version: ours, so it may go.
    let later = render(&Plan {
        every: Duration::from_secs(60),
        ..plan()
    })
    .unwrap();
    assert_eq!(how(&later, false), [Written::Unchanged, Written::Updated]);

    // A person's change to the second file keeps the first as it was, too.
    let changed = ground::host_file::text(&timer)
        .unwrap()
        .replace("60s", "61s");
    fs::write(&timer, &changed).unwrap();
    fs::remove_file(&service).unwrap();
    let error = write(&units, dir.path(), false).unwrap_err();
    assert!(
        matches!(&error, UnitsError::Changed { path } if *path == timer),
        "{error}"
    );
    assert_eq!(ground::host_file::text(&timer).unwrap(), changed);
    assert!(!service.exists());
    assert_eq!(how(&units, true), [Written::Created, Written::Updated]);

    // One that was never ours, and one whose first lines were taken from ours.
    fs::write(&timer, "[Timer]\nOnBootSec=5\n").unwrap();
    assert!(write(&units, dir.path(), false).is_err());
    let stolen: String = units[1]
        .text
        .lines()
        .take(2)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&timer, stolen).unwrap();
    assert!(write(&units, dir.path(), false).is_err());
    let names: Vec<_> = ground::host_file::entries(dir.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn systemctl_is_called_where_systemd_runs_and_only_there() {
    let dir = tempfile::tempdir().unwrap();
    let told = dir.path().join("told");
    let bin = dir.path().join("bin");
    program(&bin.join("systemctl"));
    let processes = Processes::new([("PATH".into(), bin.clone().into())].into());
    let error = systemctl(&processes, dir.path()).unwrap_err();
    assert!(error.to_string().contains("run/systemd/system"), "{error}");
    assert!(!error.is_usage());
    fs::create_dir_all(dir.path().join("run/systemd/system")).unwrap();

    let script = format!("#!/bin/sh\necho \"$@\" >>{}\n", told.display());
    write_program(&bin.join("systemctl"), &script);
    let found = systemctl(&processes, dir.path()).unwrap();
    enable(&processes, &found).await.unwrap();
    assert_eq!(
        ground::host_file::text(&told).unwrap(),
        format!("daemon-reload\nenable --now {TIMER}\n")
    );
    write_program(
        &bin.join("systemctl"),
        "#!/bin/sh\necho no bus >&2\nexit 1\n",
    );
    let error = enable(&processes, &found).await.unwrap_err().to_string();
    assert!(
        error.contains("daemon-reload") && error.contains("no bus"),
        "{error}"
    );
    fs::remove_file(bin.join("systemctl")).unwrap();
    assert!(systemctl(&processes, dir.path()).is_err());
}
