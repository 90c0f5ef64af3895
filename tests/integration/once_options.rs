//! `recipe-ci once`: each option as the users of the shell function `run_once` know it.

use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::once::{TASK, Tasks, kill9, mode, until};
use crate::support::{Done, repository};

impl Tasks {
    /// Runs a script as the task `x` and waits for it, with these options.
    fn script(&self, options: &[&str], script: &str) -> Done {
        let words = [options, &["-i", "x", "--", "bash", "-c", script]].concat();
        self.once(&words).finish()
    }

    fn x(&self, options: &[&str]) -> Done {
        self.once(&[options, &["-i", "x"]].concat()).finish()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }
}

#[track_caller]
fn lines(text: &str, expected: &[&str]) {
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_first_result_counts_success_and_failure_alike_whatever_command_asks_later() {
    for code in [0, 42] {
        let tasks = Tasks::new();
        let first = format!("echo first; exit {code}");
        tasks.script(&["-w"], &first).expect(code);
        let done = tasks.script(&["-w"], "echo second; exit 9");
        done.expect(code);
        assert!(done.stderr.contains("another command"), "{}", done.stderr);
        assert!(done.stderr.contains("echo first"), "{}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        let done = tasks.script(&["-s"], "exit 9");
        done.expect(0);
        assert!(done.stderr.contains("another command"), "{}", done.stderr);
        assert_eq!(tasks.text("log"), "first\n");
        // Of its own command there is nothing to say.
        let done = tasks.script(&["-w"], &first);
        done.expect(code);
        assert_eq!(done.stderr, "");
    }
}

#[test]
fn another_command_waits_for_the_task_that_runs_and_says_so() {
    let tasks = Tasks::new();
    tasks.task(&[]).finish().expect(0);
    let other = tasks.once(&["-w", "-i", "x", "--", "echo", "other"]);
    let line = other.wait_line("another command");
    assert!(line.contains("bash -c"), "{line}");
    other.wait_line(&format!("(pid {})", tasks.pid()));
    tasks.go();
    other.finish().expect(7);
    assert_eq!(tasks.runs(), 1);
}

#[test]
fn ended_by_a_signal_is_an_interruption_and_no_result_and_w_runs_it_again() {
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGKILL, 137),
        (Signal::SIGINT, 130),
    ] {
        let tasks = Tasks::new();
        // Without job control a shell ignores SIGINT in the background only; this one is the task itself.
        tasks.task(&[]).finish().expect(0);
        until("the first run", || tasks.runs() == 1);
        tasks.signal(signal);
        until("the exit file", || tasks.file("exit").exists());
        assert_eq!(tasks.text("exit"), format!("{code}\n"));
        assert_eq!(mode(&tasks.file("exit")), 0o644);
        until("its end", || tasks.x(&["-p"]).stdout == "dead");
        let done = tasks.x(&["-E"]);
        done.expect(0);
        assert_eq!(done.stdout, code.to_string());
        tasks.x(&["-A"]).expect(1);
        tasks.go();
        tasks.task(&["-w"]).finish().expect(7);
        assert_eq!(tasks.runs(), 2);
        assert_eq!(tasks.text("exit"), "7\n");
    }
}

#[test]
fn an_exit_code_of_a_signal_and_no_result_with_a_free_lock_are_interruptions_too() {
    let tasks = Tasks::new();
    for code in [128, 165] {
        let script = format!("echo run >>count; exit {code}");
        tasks.script(&["-w"], &script).expect(code);
        tasks.state("dead");
        tasks.script(&["-w"], &script).expect(code);
        tasks.x(&["-r"]).expect(0);
    }
    assert_eq!(tasks.runs(), 4);
    for code in [127, 166] {
        let script = format!("echo run >>count; exit {code}");
        for _ in 0..2 {
            tasks.script(&["-w"], &script).expect(code);
        }
        tasks.x(&["-r"]).expect(0);
    }
    assert_eq!(tasks.runs(), 6);
    let script = "echo run >>count";
    tasks.script(&["-w"], script).expect(0);
    std::fs::remove_file(tasks.file("exit")).unwrap();
    tasks.state("dead");
    tasks.script(&["-w"], script).expect(0);
    assert_eq!(tasks.runs(), 8);
}

#[test]
fn w_without_a_command_takes_the_command_and_the_directory_that_were_recorded_at_the_start() {
    let tasks = Tasks::new();
    let there = tasks.env.root.join("there");
    std::fs::create_dir(&there).unwrap();
    let script = r#"echo "$(pwd) $1" >>"$HOME/ran"; exit 5"#;
    let mut first = tasks.env.program(crate::support::binary());
    first
        .args([
            "once",
            "-w",
            "-i",
            "x",
            "--",
            "bash",
            "-c",
            script,
            "-",
            "two  words",
        ])
        .current_dir(&there);
    tasks.env.follow(first).finish().expect(5);
    let ran = || harness::host_file::text(tasks.env.root.join("home/ran")).unwrap();
    let line = format!("{} two  words", there.display());
    tasks.x(&["-w"]).expect(5);
    lines(&ran(), &[&line]);
    // Interrupted, or too old: it is run again from here, where it ran.
    std::fs::write(tasks.file("exit"), "137\n").unwrap();
    tasks.x(&["-w"]).expect(5);
    tasks.x(&["-w", "-t", "0"]).expect(5);
    lines(&ran(), &[line.as_str(); 3]);
    assert_eq!(mode(&tasks.file("cmd")), 0o600);
    // `-s` needs a command, and so does what was forgotten.
    std::fs::write(tasks.file("exit"), "137\n").unwrap();
    tasks.x(&["-s"]).expect(2);
    std::fs::remove_dir(&there).unwrap();
    let done = tasks.x(&["-w"]);
    done.expect(2);
    assert!(
        done.stderr.contains(&there.display().to_string()),
        "{}",
        done.stderr
    );
    tasks.x(&["-r"]).expect(0);
    tasks.x(&["-w"]).expect(2);
}

#[test]
fn a_wait_of_so_many_seconds_ends_with_124_and_the_task_goes_on() {
    let tasks = Tasks::new();
    for _ in 0..2 {
        // The one who starts it, and the one who finds it running.
        let done = tasks.task(&["-w", "-W", "1"]).finish();
        done.expect(124);
        let pid = tasks.pid();
        assert!(
            done.stderr
                .contains(&format!("waiting for task `x` (pid {pid})")),
            "{}",
            done.stderr
        );
        assert!(done.stderr.contains("goes on"), "{}", done.stderr);
        tasks.state(&format!("running {pid}"));
    }
    tasks.task(&["-w", "-W", "0"]).finish().expect(124);
    tasks.go();
    tasks.task(&["-w", "-W", "600"]).finish().expect(7);
    tasks.task(&["-w", "-W", "0"]).finish().expect(7);
    assert_eq!(tasks.runs(), 1);
}

#[test]
fn c_forgets_the_task_after_a_wait() {
    let tasks = Tasks::new();
    // Not when the wait was too short.
    tasks.task(&["-w", "-c", "-W", "0"]).finish().expect(124);
    assert!(tasks.file("task").exists());
    let other = tasks.task(&["-w"]);
    other.wait_line("waiting for task");
    let waiter = tasks.task(&["-w", "-c"]);
    waiter.wait_line("waiting for task");
    tasks.go();
    waiter.finish().expect(7);
    other.finish().expect(7);
    assert_eq!(tasks.files(), [""; 0]);
    assert_eq!(tasks.runs(), 1);
    // One that is done already, one that was interrupted.
    tasks.script(&["-w"], "exit 3").expect(3);
    tasks.script(&["-w", "-c"], "exit 3").expect(3);
    tasks.state("none");
    tasks.script(&["-w", "-c"], "kill -TERM $$").expect(143);
    tasks.state("none");
}

#[test]
fn e_o_and_capital_e_print_the_standard_error_the_standard_output_and_the_exit_code() {
    let tasks = Tasks::new();
    for options in [&["-e"][..], &["-o"]] {
        let done = tasks.x(options);
        done.expect(0);
        assert_eq!(done.stdout, "");
    }
    tasks.x(&["-E"]).expect(1);
    let script = format!("echo to out; echo to err >&2; {TASK}");
    tasks
        .once(&["-i", "x", "--", "bash", "-c", &script])
        .finish()
        .expect(0);
    // While it runs there is what it has written, and no code.
    until("its output", || tasks.x(&["-o"]).stdout == "to out");
    until("its error", || tasks.x(&["-e"]).stdout == "to err");
    let done = tasks.x(&["-E"]);
    done.expect(1);
    assert_eq!(done.stdout, "");
    tasks.go();
    tasks.x(&["-w", "-q"]).expect(7);
    lines(&tasks.x(&["-o"]).stdout, &["to out"]);
    lines(&tasks.x(&["-e"]).stdout, &["to err"]);
    let done = tasks.x(&["-E"]);
    done.expect(0);
    lines(&done.stdout, &["7"]);
}

#[test]
fn all_that_a_task_wrote_is_there_when_it_has_ended_also_when_something_it_left_holds_its_streams()
{
    let tasks = Tasks::new();
    let script = "setsid bash -c 'until test -e go; do read -t 0.02 _ <>fifo; done; echo late; echo late >&2; : >said' & \
                  for i in {1..20000}; do echo line $i; echo error $i >&2; done";
    tasks.script(&["-w"], script).expect(0);
    let text = tasks.text("out");
    assert_eq!(
        (text.lines().count(), text.lines().last()),
        (20000, Some("line 20000"))
    );
    let text = tasks.text("err");
    assert_eq!(
        (text.lines().count(), text.lines().last()),
        (20000, Some("error 20000"))
    );
    assert_eq!(tasks.text("log").lines().count(), 40000);
    // It is done, whatever it left behind, which may write on.
    tasks.state("done 0");
    tasks.go();
    until("the one that stayed", || {
        tasks.env.root.join("said").exists()
    });
    until("its words", || tasks.text("log").lines().count() == 40002);
    until("that no runner stays", || {
        !tasks
            .env
            .processes()
            .iter()
            .any(|(_, line)| line.contains("once runner"))
    });
}

#[test]
fn capital_a_is_0_while_it_runs_or_has_a_result() {
    let tasks = Tasks::new();
    tasks.x(&["-A"]).expect(1);
    tasks.task(&[]).finish().expect(0);
    tasks.x(&["-A"]).expect(0);
    tasks.go();
    tasks.x(&["-w", "-q"]).expect(7);
    let done = tasks.x(&["-A"]);
    done.expect(0);
    assert_eq!(done.stdout, "");
    tasks
        .script(&["-w", "-t", "0"], "kill -TERM $$")
        .expect(143);
    tasks.x(&["-A"]).expect(1);
}

#[test]
fn capital_f_forgets_what_failed_or_died_and_nothing_else_and_may_be_repeated() {
    let tasks = Tasks::new();
    let run = |id: &str, script: &str, code| {
        let words = ["-w", "-q", "-i", id, "--", "sh", "-c", script];
        tasks.once(&words).finish().expect(code);
    };
    run("good", "exit 0", 0);
    run("failed", "exit 1", 1);
    run("other", "exit 42", 42);
    run("died", "kill -TERM $$", 143);
    run("killed", "kill -KILL $$", 137);
    tasks.task(&[]).finish().expect(0);
    for _ in 0..2 {
        tasks.once(&["-F"]).finish().expect(0);
        let ids: Vec<String> = tasks
            .files()
            .iter()
            .filter_map(|name| name.strip_suffix(".task").map(str::to_owned))
            .collect();
        assert_eq!(ids, ["good", "x"]);
        let left = tasks.files();
        assert!(
            left.iter()
                .all(|name| name.starts_with("good.") || name.starts_with("x.")),
            "{left:?}"
        );
    }
    run("good", "exit 9", 0);
    tasks.go();
    tasks.x(&["-w", "-q"]).expect(7);
    assert_eq!(tasks.runs(), 1);
}

#[test]
fn the_message_is_not_shown_for_what_is_done_already_and_a_failure_shows_the_last_lines_of_its_error()
 {
    let tasks = Tasks::new();
    let script = format!("for i in 1 2 3 4 5 6 7; do echo error $i >&2; done; {TASK}");
    let ask = |options: &[&str]| {
        tasks.once(&[options, &["-w", "-i", "x", "--", "bash", "-c", &script]].concat())
    };
    let waiters = [ask(&["-m", "one moment"]), ask(&[]), ask(&["-q"])];
    waiters[0].wait_line("one moment");
    waiters[1].wait_line("waiting for task");
    until("the quiet one to wait, too", || tasks.runs() == 1);
    tasks.go();
    let [with, without, quiet] = waiters.map(|waiter| waiter.finish());
    let pid = tasks.pid();
    let last = ["error 3", "error 4", "error 5", "error 6", "error 7"];
    lines(
        &with.stderr,
        &[&[format!("one moment (pid {pid})").as_str()], &last[..]].concat(),
    );
    let message = format!("waiting for task `x` (pid {pid})");
    lines(&without.stderr, &[&[message.as_str()], &last[..]].concat());
    assert_eq!(quiet.stderr, "");
    // Done already: no message, and the failure is shown again.
    let done = ask(&["-m", "one moment"]).finish();
    done.expect(7);
    lines(&done.stderr, &last);
    let done = ask(&["-q"]).finish();
    done.expect(7);
    assert_eq!(done.stderr, "");
    // And nothing is shown of what is good.
    tasks.x(&["-r"]).expect(0);
    tasks.script(&["-w", "-q"], "echo fine >&2").expect(0);
    assert_eq!(tasks.script(&["-w"], "echo fine >&2").stderr, "");
}

#[test]
fn the_age_of_a_result_is_that_of_its_exit_file() {
    let tasks = Tasks::new();
    let script = "echo run >>count";
    tasks.script(&["-w"], script).expect(0);
    tasks.script(&["-w", "-t", "3600"], script).expect(0);
    assert_eq!(tasks.runs(), 1);
    let exit = harness::host_file::options()
        .append(true)
        .open(tasks.file("exit"))
        .unwrap();
    exit.set_modified(SystemTime::now() - Duration::from_secs(7200))
        .unwrap();
    tasks.script(&["-w"], script).expect(0);
    assert_eq!(tasks.runs(), 1, "it counts for who asks for no age");
    tasks.script(&["-s", "-t", "3600"], script).expect(0);
    tasks.x(&["-w"]).expect(0);
    assert_eq!(tasks.runs(), 2);
    // A clock that is set back makes nothing younger than the time since boot says, and nothing older than 0.
    let exit = harness::host_file::options()
        .append(true)
        .open(tasks.file("exit"))
        .unwrap();
    exit.set_modified(SystemTime::now() + Duration::from_secs(7200))
        .unwrap();
    tasks.script(&["-w", "-t", "3600"], script).expect(0);
    assert_eq!(tasks.runs(), 2);
}

#[test]
fn the_files_hold_numbers_alone_both_streams_one_stream_and_one_older_generation() {
    let tasks = Tasks::new();
    let script = "echo $$ to out; echo to err >&2; exit 3";
    tasks.script(&["-w"], script).expect(3);
    let pid = tasks.pid();
    assert_eq!(tasks.text("pid"), format!("{pid}\n"));
    assert_eq!(tasks.text("exit"), "3\n");
    assert_eq!(tasks.text("out"), format!("{pid} to out\n"));
    assert_eq!(tasks.text("err"), "to err\n");
    let mut both: Vec<String> = tasks.text("log").lines().map(str::to_owned).collect();
    both.sort();
    assert_eq!(both, [format!("{pid} to out"), "to err".to_owned()]);
    for (what, expected) in [
        ("pid", 0o644),
        ("exit", 0o644),
        ("task", 0o644),
        ("log", 0o600),
        ("err", 0o600),
        ("out", 0o600),
    ] {
        assert_eq!(mode(&tasks.file(what)), expected, "{what}");
    }
    let record = tasks.record();
    for who in ["task", "runner"] {
        for what in ["pid", "started", "boot"] {
            assert!(
                !record[who][what].is_null(),
                "no {what} of {who} in {record}"
            );
        }
    }
    assert_eq!(record["task"]["pid"], pid);
    // Two more: one older generation is kept.
    for generation in ["second", "third"] {
        let script = format!("echo {generation}; echo {generation} error >&2");
        tasks.script(&["-w", "-t", "0"], &script).expect(0);
    }
    for (what, text) in [
        ("out", "third\n"),
        ("out.1", "second\n"),
        ("err", "third error\n"),
        ("err.1", "second error\n"),
    ] {
        assert_eq!(tasks.text(what), text, "{what}");
    }
    let expected = [
        "cmd", "err", "err.1", "exit", "lock", "log", "log.1", "out", "out.1", "pid", "task",
    ];
    assert_eq!(tasks.files(), expected.map(|what| format!("x.{what}")));
}

#[test]
fn the_number_in_the_pid_file_is_the_task_that_kill_ends_with_its_own_word() {
    let tasks = Tasks::new();
    let script = "trap 'echo ended; exit 4' TERM; echo run >>count; until test -e go; do read -t 0.02 _ <>fifo; done";
    tasks
        .once(&["-i", "x", "--", "bash", "-c", script])
        .finish()
        .expect(0);
    until("the first run", || tasks.runs() == 1);
    let waiter = tasks.once(&["-w", "-i", "x"]);
    waiter.wait_line("waiting for task");
    let mut shell = tasks.env.program("sh");
    shell.args(["-c", "kill $(cat once/x.pid)"]);
    tasks.env.follow(shell).finish().expect(0);
    waiter.finish().expect(4);
    lines(&tasks.x(&["-o"]).stdout, &["ended"]);
}

#[test]
fn files_of_the_version_before_are_read_once_and_replaced() {
    let tasks = Tasks::new();
    tasks.go();
    tasks.task(&["-w"]).finish().expect(7);
    // There the record was in one file with the pid, and its copy in one with the code.
    let text = tasks.text("task");
    let record: Vec<&str> = text.lines().take(2).collect();
    let now = jiff::Timestamp::now();
    let ended_ms: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("result 7 "))
        .unwrap()
        .parse()
        .unwrap();
    let kept = serde_json::json!({ "record": tasks.record(), "ended_ms": ended_ms, "ended": now });
    std::fs::write(
        tasks.file("pid"),
        format!("{}\n{}\nend 7\n", record[0], record[1]),
    )
    .unwrap();
    std::fs::write(tasks.file("exit"), format!("7\n{kept}\n")).unwrap();
    for what in ["task", "cmd", "out", "err"] {
        std::fs::remove_file(tasks.file(what)).unwrap();
    }
    std::fs::write(tasks.file("log"), "both streams\n").unwrap();
    lines(&tasks.x(&["-o"]).stdout, &["both streams"]);
    lines(&tasks.x(&["-e"]).stdout, &[]);
    tasks.task(&["-w"]).finish().expect(7);
    assert_eq!(tasks.runs(), 1);
    assert_eq!(tasks.text("pid"), format!("{}\n", record[0]));
    assert_eq!(tasks.text("exit"), "7\n");
    tasks.state("done 7");
    tasks.task(&["-w", "-t", "3600"]).finish().expect(7);
    assert_eq!(tasks.runs(), 1);
    tasks.task(&["-w", "-t", "0"]).finish().expect(7);
    assert_eq!(tasks.runs(), 2);
}

#[test]
fn the_help_and_the_page_name_the_options_in_the_same_order() {
    let help = Tasks::new().once(&["--help"]).finish().stdout;
    let options = |text: &str, prefix: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.trim_start().strip_prefix(prefix))
            .filter_map(|line| line.chars().next())
            // Long options and possible values have no letter there.
            .filter(char::is_ascii_alphabetic)
            .map(String::from)
            .collect()
    };
    let shown = options(&help, "-");
    let shown: Vec<String> = shown.into_iter().filter(|option| option != "h").collect();
    let page = harness::host_file::text(repository().join("docs/operating.md")).unwrap();
    let section = page.split("\n## Background tasks\n").nth(1).unwrap();
    let section = section.split("\n### ").next().unwrap();
    assert_eq!(options(section, "| `-"), shown);
    assert_eq!(shown.len(), 16, "{help}");
}

#[test]
fn the_end_of_the_runner_that_kept_the_task_leaves_no_exit_code() {
    let tasks = Tasks::new();
    tasks.task(&[]).finish().expect(0);
    until("the first run", || tasks.runs() == 1);
    let pid = tasks.pid();
    kill9(tasks.runner());
    until("its end", || tasks.x(&["-p"]).stdout == "dead");
    until("the task's end", || {
        !tasks.env.processes().iter().any(|(other, _)| *other == pid)
    });
    tasks.x(&["-E"]).expect(1);
    tasks.go();
    tasks.x(&["-w"]).expect(7);
    assert_eq!(tasks.runs(), 2);
}
