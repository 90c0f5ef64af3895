//! `recipe-ci once`: many callers of one id, while results are replaced, expire, or the process that starts the task dies.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::once::{Tasks, kill9, until};
use crate::support::{Run, command};

/// Counts a run and ends with 0 after a moment, as a download that is there already does.
const SHORT: &str = "echo run >>count; read -t 0.05 _ <>fifo; exit 0";

impl Tasks {
    /// Has this many callers ask for one id at once, so often, each time anew.
    fn callers(&self, callers: usize, times: usize) {
        for time in 1..=times {
            let all: Vec<Run> = (0..callers)
                .map(|_| self.once(&["-w", "-q", "-i", "x", "--", "bash", "-c", SHORT]))
                .collect();
            for caller in all {
                let done = caller.finish();
                done.expect(0);
                assert_eq!(done.stderr, "");
            }
            assert_eq!(
                self.runs(),
                time,
                "it ran twice for callers who came at once"
            );
            self.once(&["-r", "-i", "x"]).finish().expect(0);
        }
    }
}

#[test]
fn three_callers_of_one_id_at_once_ten_times_over() {
    Tasks::new().callers(3, 10);
}

#[test]
fn five_callers_of_one_id_at_once_twenty_times_over() {
    Tasks::new().callers(5, 20);
}

#[test]
fn a_reader_while_the_result_is_being_replaced_sees_the_old_one_or_the_new_one() {
    let tasks = Tasks::new();
    tasks.go();
    tasks.task(&["-w"]).finish().expect(7);
    let (exit, stop) = (tasks.file("exit"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // As a shell does with `cat`: a number, or no file while the task runs again.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(text) = harness::host_file::text(&exit) {
                    assert_eq!(text, "7\n");
                }
            }
        });
        for time in 1..=10 {
            let replacing = tasks.task(&["-w", "-t", "0"]);
            let readers = [
                tasks.once(&["-w", "-q", "-i", "x"]),
                tasks.task(&["-w", "-q"]),
                tasks.once(&["-w", "-q", "-i", "x"]),
            ];
            let codes = tasks.once(&["-E", "-i", "x"]).finish();
            assert!(codes.stdout == "7" || codes.code == Some(1), "{codes:?}");
            for reader in readers {
                let done = reader.finish();
                done.expect(7);
                assert_eq!(done.stderr, "");
            }
            replacing.finish().expect(7);
            // The readers ask for no age of their own, but a result that was asked for at 0 seconds counts for no other caller.
            assert!(tasks.runs() > time);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn expiry_while_others_wait_runs_it_once_more_for_all_of_them() {
    let tasks = Tasks::new();
    tasks.go();
    tasks.task(&["-w"]).finish().expect(7);
    std::fs::remove_file(tasks.env.root.join("go")).unwrap();
    tasks.env.write("code", "8");
    // All of them find it too old, and one of them starts it.
    let old: Vec<Run> = (0..4).map(|_| tasks.task(&["-w", "-t", "0"])).collect();
    for waiter in &old {
        waiter.wait_line("waiting for task");
    }
    // Those who would have taken the old result wait for the new one, too; it is gone.
    let any = [tasks.task(&["-w"]), tasks.once(&["-w", "-i", "x"])];
    for waiter in &any {
        waiter.wait_line("waiting for task");
    }
    tasks.go();
    for waiter in old.into_iter().chain(any) {
        waiter.finish().expect(8);
    }
    assert_eq!(tasks.runs(), 2);
}

#[test]
fn forgetting_by_some_of_those_who_wait_takes_the_result_from_none_of_them() {
    let tasks = Tasks::new();
    let waiters: Vec<Run> = (0..6)
        .map(|number| {
            let options: &[&str] = if number % 2 == 0 {
                &["-w", "-c"]
            } else {
                &["-w"]
            };
            tasks.task(options)
        })
        .collect();
    for waiter in &waiters {
        waiter.wait_line("waiting for task");
    }
    tasks.go();
    for waiter in waiters {
        waiter.finish().expect(7);
    }
    assert_eq!(tasks.runs(), 1);
    tasks.state("none");
}

#[test]
fn a_reset_by_another_is_the_end_for_all_who_wait_and_a_start_right_after_it_is_its_own() {
    let tasks = Tasks::new();
    let waiters: Vec<Run> = (0..3).map(|_| tasks.task(&["-w"])).collect();
    for waiter in &waiters {
        waiter.wait_line("waiting for task");
    }
    until("the first run", || tasks.runs() == 1);
    tasks.env.write("code", "8");
    let (reset, next) = (tasks.once(&["-r", "-i", "x"]), tasks.once(&["list"]));
    reset.finish().expect(0);
    next.finish().expect(0);
    for waiter in waiters {
        waiter.finish().expect(143);
    }
    tasks.go();
    tasks.task(&["-w"]).finish().expect(8);
    assert_eq!(tasks.runs(), 2);
}

#[test]
fn capital_f_while_others_wait_and_start_takes_nothing_from_them() {
    let tasks = Tasks::new();
    let waiters: Vec<Run> = (0..3).map(|_| tasks.task(&["-w"])).collect();
    for waiter in &waiters {
        waiter.wait_line("waiting for task");
    }
    let forgetting: Vec<Run> = (0..5).map(|_| tasks.once(&["-F"])).collect();
    for run in forgetting {
        run.finish().expect(0);
    }
    tasks.state(&format!("running {}", tasks.pid()));
    tasks.go();
    for waiter in waiters {
        waiter.finish().expect(7);
    }
    assert_eq!(tasks.runs(), 1);
}

#[test]
fn ten_tasks_run_side_by_side() {
    let tasks = Tasks::new();
    // Each ends only when all ten have begun. The code of a loop is that of its last command, and that of `read -t` is
    // 142, an interruption, after which `-w` runs the task again.
    let script = r#": >"begun-$1"; until test "$(ls begun-* | wc -l)" = 10; do read -t 0.02 _ <>fifo; done; exit 0"#;
    let ids: Vec<String> = (0..10).map(|number| format!("t{number}")).collect();
    for id in &ids {
        let words = ["-i", id, "--", "bash", "-c", script, "-", id];
        tasks.once(&words).finish().expect(0);
    }
    for id in &ids {
        tasks.once(&["-w", "-i", id]).finish().expect(0);
    }
}

/// Puts a program in front of the one that starts runners, which waits at a door; returns the door and what says that it
/// was reached.
fn hold_the_start(tasks: &mut Tasks) -> (PathBuf, PathBuf) {
    let found = command("sh")
        .args(["-c", "command -v setsid"])
        .output()
        .unwrap();
    let real = String::from_utf8(found.stdout).unwrap();
    let (door, reached) = (tasks.env.root.join("door"), tasks.env.root.join("reached"));
    let script = format!(
        "#!/bin/bash\nif mkdir {} 2>/dev/null; then until test -e {}; do read -t 0.02 _ <>{}; done; fi\nexec {} \"$@\"\n",
        reached.display(),
        door.display(),
        tasks.env.root.join("fifo").display(),
        real.trim()
    );
    let program = tasks.env.write("held/setsid", &script);
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    tasks.env.prepend_path(program.parent().unwrap());
    (door, reached)
}

#[test]
fn a_caller_that_dies_while_it_starts_the_task_leaves_one_run_for_all_others() {
    let mut tasks = Tasks::new();
    let (door, reached) = hold_the_start(&mut tasks);
    let starter = tasks.task(&["-w"]);
    until("the start", || reached.exists());
    let others: Vec<Run> = (0..3).map(|_| tasks.task(&["-w"])).collect();
    kill9(starter.pid.as_raw());
    assert_eq!(starter.ended().code(), None);
    // What it began goes on, and has the right to start until it has.
    std::fs::write(&door, "").unwrap();
    for other in &others {
        other.wait_line("waiting for task");
    }
    until("the first run", || tasks.runs() == 1);
    tasks.go();
    for other in others {
        other.finish().expect(7);
    }
    assert_eq!(tasks.runs(), 1);
}

#[test]
fn a_caller_that_dies_with_all_that_it_began_leaves_the_start_to_the_next() {
    let mut tasks = Tasks::new();
    let (_door, reached) = hold_the_start(&mut tasks);
    let starter = tasks.task(&["-w"]);
    until("the start", || reached.exists());
    let others: Vec<Run> = (0..3).map(|_| tasks.task(&["-w"])).collect();
    kill9(starter.pid.as_raw());
    starter.ended();
    let held = |(_, line): &&(i32, String)| line.contains("held/setsid");
    for (pid, _) in tasks.env.processes().iter().filter(held) {
        kill9(*pid);
    }
    for other in &others {
        other.wait_line("waiting for task");
    }
    tasks.go();
    for other in others {
        other.finish().expect(7);
    }
    assert_eq!(tasks.runs(), 1);
}
