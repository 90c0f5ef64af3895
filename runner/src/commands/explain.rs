//! `recipe-ci explain`: what an id of a report or a console line means, and what to do about it.
//!
//! The texts are those of the rules themselves, and of the pages for people; this module has none of its own.

use harness::finding::KINDS;
use harness::lint::rules::RULES as LINT;
use harness::nearest::nearest;
use harness::outcome::Stage;
use harness::policy::rules::RULES as POLICY;
use harness::tier::assertion::ASSERTIONS;

use super::usage;
use crate::exit::Exit;
use crate::settings::UsageError;

/// The page of exit codes and verdicts.
const EXIT_CODES: &str = include_str!("../../../docs/exit-codes.md");

/// The page of words.
const GLOSSARY: &str = include_str!("../../../docs/glossary.md");

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A rule (`C004`, `P013`), a finding (`F001`), an assertion (`generic: converged`), an exit code, a verdict or a word
    /// of a report [default: list what there is].
    #[arg(value_name = "ID")]
    id: Vec<String>,
}

/// What can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: String,
    /// What it is, in one line.
    what: String,
    /// More of it, each with a label.
    more: Vec<(&'static str, String)>,
}

/// Prints what an id means.
pub(crate) fn explain(args: &ExplainArgs) -> Exit {
    let all = entries();
    if args.id.is_empty() {
        let wide = all.iter().map(|entry| entry.id.chars().count()).max();
        let wide = wide.unwrap_or_default();
        let lines: Vec<String> = all
            .iter()
            .map(|Entry { id, what, .. }| format!("{id:wide$}  {what}"))
            .collect();
        return super::data(&lines.join("\n"));
    }
    // A name with blanks need not be quoted.
    let asked = args.id.join(" ");
    let found = find(&all, &asked);
    if found.is_empty() {
        let names = all.iter().map(|entry| entry.id.as_str());
        let short = names.clone().filter_map(|id| id.strip_prefix("generic: "));
        let near = nearest(&key(&asked), names.chain(short));
        return usage(&UsageError {
            error: format!("nothing is called `{asked}`").into(),
            hints: vec![match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`recipe-ci explain` lists what there is".to_owned(),
            }],
        });
    }
    let texts: Vec<String> = found.into_iter().map(Entry::text).collect();
    super::data(&texts.join("\n\n"))
}

impl Entry {
    fn text(&self) -> String {
        let mut text = format!("{}: {}", self.id, self.what);
        for (label, said) in &self.more {
            text.push_str(&format!("\n  {label:8} {said}"));
        }
        text
    }
}

/// Returns what `asked` may be: an id of a report as it is printed, too (`upgrade/generic: it moved#2`).
fn find<'a>(all: &'a [Entry], asked: &str) -> Vec<&'a Entry> {
    let asked = key(asked);
    let is_meant = |entry: &&Entry| {
        let id = entry.id.to_lowercase();
        match id.strip_suffix('…') {
            Some(prefix) => asked.starts_with(prefix),
            None => id == asked || id.strip_prefix("generic: ") == Some(&asked),
        }
    };
    all.iter().filter(is_meant).collect()
}

/// Returns what is left of an id without its tier, its number and what it is about.
fn key(asked: &str) -> String {
    let stages = Stage::ALL.iter();
    let below = stages
        .filter_map(|stage| asked.strip_prefix(stage.name())?.strip_prefix('/'))
        .next();
    let test = below.unwrap_or(asked);
    let test = test.split(" — ").next().unwrap_or(test);
    let test = match test.rsplit_once('#') {
        Some((name, number)) if number.parse::<u32>().is_ok() => name,
        _ => test,
    };
    test.trim().trim_matches('`').to_lowercase()
}

/// Returns everything that can be explained.
fn entries() -> Vec<Entry> {
    let entry = |id: &str, what: &str, more: &[(&'static str, &str)]| Entry {
        id: id.to_owned(),
        what: what.to_owned(),
        more: more
            .iter()
            .map(|(label, said)| (*label, (*said).to_owned()))
            .collect(),
    };
    let lint = LINT.iter().map(|rule| {
        let kind = format!("a rule of the lint, {}", rule.severity);
        entry(
            rule.id,
            rule.title,
            &[("is", &kind), ("why", rule.why), ("do", rule.fix)],
        )
    });
    let policy = POLICY.iter().map(|rule| {
        let kind = match rule.refuses {
            true => "a rule of the policy; a stranger is refused for it",
            false => "a rule of the policy; it refuses nothing",
        };
        let grant = rule.grant.map(|key| format!("`{key}` in grants.yml"));
        let grant = grant.unwrap_or_else(|| "nothing in grants.yml allows it".to_owned());
        entry(
            rule.id,
            rule.keys,
            &[
                ("is", kind),
                ("stranger", rule.stranger),
                ("grant", &grant),
                ("why", rule.why),
                ("do", rule.fix),
            ],
        )
    });
    let kinds = KINDS.iter().map(|kind| {
        let is = "a finding; it changes neither verdict nor level";
        entry(kind.id, kind.seen, &[("is", is), ("do", kind.fix)])
    });
    let assertions = ASSERTIONS.iter().map(|assertion| {
        entry(
            assertion.name,
            assertion.holds,
            &[("is", "an assertion"), ("do", assertion.fix)],
        )
    });
    let codes = rows(EXIT_CODES, "code").map(|row| match row.as_slice() {
        [code, verdict, happened, todo] => entry(
            code,
            happened,
            &[("is", "an exit code"), ("verdict", verdict), ("do", todo)],
        ),
        row => unreachable!("the table of exit codes has four columns: {row:?}"),
    });
    let verdicts = rows(EXIT_CODES, "verdict").map(|row| {
        let id = row[0].trim_matches('`');
        entry(id, row[1], &[("is", "a verdict")])
    });
    let words = rows(GLOSSARY, "our term").map(|row| {
        let id = row[0].trim_matches('`');
        entry(id, row[1], &[("is", "a word of recipe-ci's")])
    });
    let mut all: Vec<Entry> = lint.chain(policy).chain(kinds).chain(assertions).collect();
    all.extend(codes.chain(verdicts).chain(words));
    all
}

/// Returns the rows of the table of a page whose first column is called so.
fn rows<'a>(page: &'a str, first: &str) -> impl Iterator<Item = Vec<&'a str>> {
    let head = format!("| {first} |");
    let lines = page
        .lines()
        .skip_while(move |line| !line.starts_with(&head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use harness::outcome::{Status, Verdict};

    use super::*;

    fn ids(asked: &str) -> Vec<String> {
        let all = entries();
        find(&all, asked)
            .iter()
            .map(|entry| entry.id.clone())
            .collect()
    }

    #[test]
    fn whatever_a_run_can_print_is_explained() {
        let statuses = [
            Status::Pass,
            Status::Fail,
            Status::Skip,
            Status::Unver,
            Status::Flaky,
        ];
        let mut printed: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        printed.extend(Exit::ALL.iter().map(|exit| exit.code().to_string()));
        printed.extend(Exit::ALL.iter().map(|exit| exit.verdict().to_string()));
        printed.push(Verdict::Refused.to_string());
        printed.extend(LINT.iter().map(|rule| rule.id.to_owned()));
        printed.extend(POLICY.iter().map(|rule| rule.id.to_owned()));
        printed.extend(KINDS.iter().map(|kind| kind.id.to_owned()));
        printed.extend(ASSERTIONS.iter().map(|one| one.name.replace('…', "x")));
        for id in printed {
            assert!(!ids(&id).is_empty(), "`{id}` is not explained");
        }
    }

    #[test]
    fn every_entry_says_something_in_every_line() {
        for entry in entries() {
            let blank = entry.more.iter().any(|(_, said)| said.is_empty());
            assert!(!entry.what.is_empty() && !blank, "{entry:?}");
        }
    }

    #[test]
    fn an_id_is_found_as_a_report_has_it() {
        let survived =
            "upgrade/generic: data survived — PostgreSQL database ledger of service db#2";
        assert_eq!(ids(survived), ["generic: data survived"]);
        assert_eq!(ids("it moved"), ["generic: it moved"]);
        assert_eq!(ids("c004"), ["C004"]);
        assert_eq!(ids("check: /notes"), ["check: …"]);
        assert_eq!(
            ids("refused"),
            ["refused", "refused"],
            "a verdict and a word"
        );
        assert_eq!(ids("C999"), [""; 0]);
    }
}
