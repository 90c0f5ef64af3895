//! Examples and exit codes, below the long help and at the end of the manual pages.

pub(super) const RUN: &str = "\
Examples:
  recipe-ci run .                            the recipe in this directory
  recipe-ci run keycloak                     the published recipe
  recipe-ci run ./notes --stages=upgrade     one tier of it
  recipe-ci run ./notes --dry-run            what a run would do
  recipe-ci run ./notes --junit junit.xml    a report for a pipeline

Exit codes:
  0 passed, 1 failed, 2 wrong input or refused, 3 the host failed, 4 something is left,
  129, 130, 131, 143 a signal, 137 killed, 142 the deadline
  `recipe-ci explain 3` says what to do.";

pub(super) const LINT: &str = "\
Examples:
  recipe-ci lint                             the work tree here
  recipe-ci lint ./notes --ref v2            a branch, tag or commit
  recipe-ci lint --sarif >lint.sarif         for a code host

Exit codes:
  0 no rule of severity error is broken, 1 one is, 2 there is no recipe, 3 it cannot be read";

pub(super) const JANITOR: &str = "\
Examples:
  recipe-ci janitor --dry-run                what dead runs left
  recipe-ci janitor                          remove it
  recipe-ci janitor install                  a timer of systemd that does so

Exit codes:
  0 nothing is left, 2 wrong input, 3 the host failed, 4 something could not be removed";

pub(super) const REPORT: &str = "\
Examples:
  recipe-ci report latest junit >junit.xml   for a pipeline's test view
  recipe-ci report 4711 html >report.html    a page in one file
  recipe-ci report schema                    the JSON schema of results.json

Exit codes:
  0 it was printed, 2 there is no such run";

pub(super) const EXPLAIN: &str = "\
Examples:
  recipe-ci explain C004                     a rule
  recipe-ci explain generic: converged       an assertion
  recipe-ci explain 4                        an exit code
  recipe-ci explain                          all that there is";
