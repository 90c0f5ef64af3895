//! The protocol with one rule broken at a time: the check must find each, or it proves nothing.

use super::{Acquire, At, Breach, Found, Leave, Left, PRODUCTION, Rules, check, say};

/// What production is broken from, one rule at a time: only damage counts, so that every trace ends in some.
const LENIENT: Rules = Rules {
    strict: false,
    ..PRODUCTION
};

/// Asserts that the check finds `breach` when one rule is broken.
#[track_caller]
fn assert_caught(broken: &str, rules: &Rules, breach: Breach) {
    match check(rules) {
        Ok(worlds) => panic!("{broken}: {worlds} worlds, and nothing wrong with any"),
        Err(found) => {
            say(&format!("{broken}: {found}"));
            assert_eq!(found.breach, breach, "{broken}: {found}");
        }
    }
}

const TWO: Breach = "two processes believe that they own the domain";

/// The rule that the predecessor's bug was about: a waiter wins a file that a reaper has unlinked.
#[test]
fn without_the_inode_check_two_own_one_domain() {
    let rules = Rules {
        acquire: |step, found| match step.next(found) {
            Acquire::Compare => Acquire::Own,
            next => next,
        },
        ..LENIENT
    };
    assert_caught("nothing is compared", &rules, TWO);
}

#[test]
fn an_inode_check_before_the_lock_is_too_early() {
    let rules = Rules {
        acquire: |step, found| match (step, found) {
            (Acquire::Open, _) => Acquire::Compare,
            (Acquire::Compare, Found::Same) => Acquire::Lock,
            (Acquire::Lock, Found::Locked) => Acquire::Own,
            _ => step.next(found),
        },
        ..LENIENT
    };
    assert_caught("compared before locking", &rules, TWO);
}

#[test]
fn a_lock_that_is_stolen_has_two_owners() {
    let rules = Rules {
        acquire: |step, found| match found {
            Found::Busy => Acquire::Own,
            _ => step.next(found),
        },
        ..LENIENT
    };
    assert_caught("stolen", &rules, TWO);
}

#[test]
fn who_locks_the_same_dead_file_again_never_comes_to_an_end() {
    let rules = Rules {
        acquire: |step, found| match (step, found) {
            (Acquire::Compare, Found::Other) => Acquire::Lock,
            _ => step.next(found),
        },
        ..LENIENT
    };
    assert_caught(
        "not opened again",
        &rules,
        "steps lead round in a circle from here",
    );
}

#[test]
fn unlinking_after_the_release_takes_the_file_of_the_next_owner() {
    let rules = Rules {
        leave: |step, left| match (step, left) {
            (Leave::Clear, _) => Leave::Close,
            (Leave::Close, Left::Nothing) => Leave::Unlink,
            _ => Leave::Gone,
        },
        ..LENIENT
    };
    assert_caught("unlinked after the release", &rules, TWO);
}

#[test]
fn a_removal_without_the_lock_touches_what_is_not_its_own() {
    let rules = Rules {
        first: Leave::Close,
        leave: |step, left| match (step, left) {
            (Leave::Close, _) => Leave::Clear,
            (Leave::Clear, Left::Nothing) => Leave::Unlink,
            _ => Leave::Gone,
        },
        ..LENIENT
    };
    let breach = "a live run's app is touched by another";
    assert_caught("removed after the release", &rules, breach);
    let strict = Rules {
        strict: true,
        ..rules
    };
    let breach = "the app is touched by a process that does not own the domain";
    assert_caught("the same, before it does harm", &strict, breach);
}

#[test]
fn a_probe_that_unlinks_what_is_held_lets_a_second_owner_in() {
    let rules = Rules {
        held: Some(Leave::Unlink),
        ..LENIENT
    };
    assert_caught("a held file is unlinked", &rules, TWO);
}

#[test]
fn a_reaper_that_does_not_unlink_leaves_its_file_and_one_that_does_not_look_the_app() {
    let rules = Rules {
        leave: |step, left| match step {
            Leave::Clear => Leave::Close,
            _ => step.next(left),
        },
        ..LENIENT
    };
    let breach = "one sweep after all have died leaves the lock file";
    assert_caught("nothing is unlinked", &rules, breach);
    let rules = Rules {
        first: Leave::Unlink,
        ..LENIENT
    };
    let breach = "one sweep after all have died leaves the app";
    assert_caught("nothing is removed", &rules, breach);
}

#[test]
fn a_run_that_does_not_look_begins_on_what_a_dead_run_left() {
    let rules = Rules {
        owned: At::Make,
        ..LENIENT
    };
    let breach = "a run begins on what a dead run left";
    assert_caught("nothing is inherited", &rules, breach);
}
