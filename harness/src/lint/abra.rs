//! abra's own lint: the table that `abra recipe lint` prints, and the same rules of both side by side.
//!
//! abra exits with 0 though rules failed, so its table is the only answer. It draws one for a terminal: box
//! characters between the columns `ref`, `rule`, `severity`, `satisfied`, `skipped` and `how to fix`, colours,
//! and long cells that go on in the next line. No example of a real one was at hand; the parser takes the
//! columns from the heading, and what it cannot read is an error that carries the line.

use serde::{Deserialize, Serialize};

use super::finding::{Lint, Severity};
use crate::outcome::Status;
use crate::report::printable;

/// Why abra's output could not be read as a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// abra gave up.
    #[error("abra could not lint the recipe: {0}")]
    Fatal(String),
    /// There is no table.
    #[error("abra printed no table of rules")]
    NoTable,
    /// A row or a heading that does not have the known form.
    #[error("a line of abra's table has an unknown form: {0}")]
    Unknown(String),
}

/// A row of abra's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The rule's id, such as `R001`.
    pub id: String,
    /// What the rule asks for, in abra's words.
    pub rule: String,
    /// abra's severity.
    pub severity: Severity,
    /// Whether it holds.
    pub satisfied: bool,
    /// Whether abra did not check it.
    pub skipped: bool,
    /// abra's advice.
    pub fix: String,
}

/// abra's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its rows, in abra's order.
    pub rows: Vec<Row>,
}

impl Table {
    /// Returns the rows that abra calls errors and that do not hold.
    pub fn errors(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(|row| row.severity == Severity::Error && !row.satisfied && !row.skipped)
    }
}

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Id,
    Rule,
    Severity,
    Satisfied,
    Skipped,
    Fix,
}

impl Column {
    fn of(heading: &str) -> Option<Self> {
        let heading = heading.to_ascii_lowercase();
        Some(match heading.trim() {
            "ref" => Self::Id,
            "rule" => Self::Rule,
            "severity" => Self::Severity,
            "satisfied" => Self::Satisfied,
            "skipped" => Self::Skipped,
            "how to fix" | "how-to-fix" | "resolve" => Self::Fix,
            _ => return None,
        })
    }
}

/// Returns the table in `output`, what `abra recipe lint` wrote to a terminal. Lines of the log around it are
/// passed over.
///
/// # Errors
/// [`TableError`] when abra gave up, or wrote something that is not understood: silence is no pass.
pub fn parse(output: &str) -> Result<Table, TableError> {
    let mut columns: Option<Vec<Column>> = None;
    let mut cells: Vec<Vec<String>> = Vec::new();
    for line in output.lines() {
        let line = printable(line);
        let line = line.trim();
        if let Some(text) = line.strip_prefix("FATA") {
            return Err(TableError::Fatal(text.trim().to_owned()));
        }
        let Some(row) = split(line) else { continue };
        let Some(columns) = &columns else {
            let found: Option<Vec<Column>> = row.iter().map(|cell| Column::of(cell)).collect();
            columns = Some(found.ok_or_else(|| TableError::Unknown(line.to_owned()))?);
            continue;
        };
        if row.len() != columns.len() {
            return Err(TableError::Unknown(line.to_owned()));
        }
        let at = columns.iter().position(|column| *column == Column::Id);
        let begins = at.is_some_and(|at| !row[at].is_empty());
        match cells.last_mut() {
            // A cell that was too wide goes on in a line whose other cells are empty.
            Some(last) if !begins => {
                for (cell, more) in last.iter_mut().zip(row) {
                    if !more.is_empty() {
                        *cell = format!("{cell} {more}").trim().to_owned();
                    }
                }
            }
            _ => cells.push(row),
        }
    }
    let columns = columns.ok_or(TableError::NoTable)?;
    let rows: Vec<Row> = cells
        .iter()
        .map(|cells| row(&columns, cells).ok_or_else(|| TableError::Unknown(cells.join(" | "))))
        .collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Err(TableError::NoTable);
    }
    Ok(Table { rows })
}

/// Returns the cells of a line of a table; none for a line that is a rule or no part of one.
fn split(line: &str) -> Option<Vec<String>> {
    const BARS: [char; 4] = ['│', '┃', '║', '|'];
    let inner = line.strip_prefix(BARS)?;
    let inner = inner.strip_suffix(BARS).unwrap_or(inner);
    let is_rule = |c: char| "─━═-+┼╋╬┿ ".contains(c) || BARS.contains(&c);
    if inner.chars().all(is_rule) && inner.contains(['─', '━', '═', '-', '┼']) {
        return None;
    }
    // A `|` inside a cell of a table drawn with `│` is text.
    let bar = line.chars().next()?;
    Some(
        inner
            .split(bar)
            .map(|cell| cell.trim().to_owned())
            .collect(),
    )
}

fn row(columns: &[Column], cells: &[String]) -> Option<Row> {
    let cell = |wanted: Column| {
        let at = columns.iter().position(|column| *column == wanted)?;
        cells.get(at).map(String::as_str)
    };
    let id = cell(Column::Id)?;
    let known = id
        .strip_prefix('R')
        .is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()));
    if !known {
        return None;
    }
    Some(Row {
        id: id.to_owned(),
        rule: cell(Column::Rule).unwrap_or_default().to_owned(),
        severity: match cell(Column::Severity)?.to_ascii_lowercase().as_str() {
            "error" | "critical" => Severity::Error,
            "warn" | "warning" => Severity::Warning,
            _ => return None,
        },
        satisfied: mark(cell(Column::Satisfied)?)?,
        skipped: cell(Column::Skipped).map_or(Some(false), mark)?,
        fix: cell(Column::Fix).unwrap_or_default().to_owned(),
    })
}

/// Returns what a mark says; `-` and nothing are no.
fn mark(text: &str) -> Option<bool> {
    match text
        .trim_end_matches('\u{fe0f}')
        .to_ascii_lowercase()
        .as_str()
    {
        "✅" | "✓" | "✔" | "true" | "yes" => Some(true),
        "❌" | "✗" | "✘" | "false" | "no" | "-" | "" => Some(false),
        _ => None,
    }
}

/// A rule as both lints judge it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The rule's id.
    pub id: String,
    /// What recipe-ci says; null for a rule that it does not know.
    pub ours: Option<Status>,
    /// What abra says; null for a rule that is not in its table.
    pub abra: Option<Status>,
    /// The rule in abra's words.
    pub rule: Option<String>,
    /// abra's severity.
    pub severity: Option<Severity>,
}

impl Side {
    /// Returns whether both checked the rule and came to different answers.
    #[must_use]
    pub fn disagree(&self) -> bool {
        let checked = |status: Option<Status>| {
            status.filter(|status| matches!(status, Status::Pass | Status::Fail))
        };
        matches!(
            (checked(self.ours), checked(self.abra)),
            (Some(ours), Some(abra)) if ours != abra
        )
    }
}

/// Returns abra's table and ours in one, by id; rules that only recipe-ci has are left out.
#[must_use]
pub fn side_by_side(lint: &Lint, table: &Table) -> Vec<Side> {
    let ours = |id: &str| {
        if lint.findings.iter().any(|found| found.id == id) {
            Some(Status::Fail)
        } else if lint.skipped.iter().any(|skipped| skipped.id == id) {
            Some(Status::Skip)
        } else {
            let passed = lint.passed.iter().any(|passed| passed == id);
            passed.then_some(Status::Pass)
        }
    };
    let mut sides: Vec<Side> = table
        .rows
        .iter()
        .map(|row| Side {
            id: row.id.clone(),
            ours: ours(&row.id),
            abra: Some(match (row.skipped, row.satisfied) {
                (true, _) => Status::Skip,
                (false, true) => Status::Pass,
                (false, false) => Status::Fail,
            }),
            rule: Some(row.rule.clone()),
            severity: Some(row.severity),
        })
        .collect();
    for rule in super::rules::RULES.iter().filter(|rule| rule.of_abra()) {
        if !sides.iter().any(|side| side.id == rule.id) {
            sides.push(Side {
                id: rule.id.to_owned(),
                ours: ours(rule.id),
                abra: None,
                rule: None,
                severity: None,
            });
        }
    }
    sides.sort_by(|a, b| a.id.cmp(&b.id));
    sides
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Finding, Skipped};
    use super::*;

    /// As a terminal would get it: colours, carriage returns, a cell that goes on, lines of the log.
    const TABLE: &str = "\u{1b}[33mWARN\u{1b}[0m recipe is offline\r\n\
        ┏━━━━━━┯━━━━━━━━━━━━━━━━━━┯━━━━━━━━━━┯━━━━━━━━━━━┯━━━━━━━━━┯━━━━━━━━━━━━━━━━━━━━┓\r\n\
        ┃ REF  ┃ RULE             ┃ SEVERITY ┃ SATISFIED ┃ SKIPPED ┃ HOW TO FIX         ┃\r\n\
        ┃──────┃──────────────────┃──────────┃───────────┃─────────┃────────────────────┃\r\n\
        ┃ \u{1b}[1mR001\u{1b}[0m ┃ compose config   ┃ warn     ┃ ✅        ┃ -       ┃ ensure             ┃\r\n\
        ┃      ┃ has a version    ┃          ┃           ┃         ┃ `version: \"3.8\"`   ┃\r\n\
        ┃ R010 ┃ traefik routing  ┃ error    ┃ ❌        ┃ ✅      ┃ a | b              ┃\r\n\
        ┃ R014 ┃ annotated tags   ┃ error    ┃ ❌        ┃ -       ┃ replace the tag    ┃\r\n\
        ┃ R099 ┃ something new    ┃ warn     ┃ ❌        ┃ -       ┃ read the docs      ┃\r\n\
        ┗━━━━━━┷━━━━━━━━━━━━━━━━━━┷━━━━━━━━━━┷━━━━━━━━━━━┷━━━━━━━━━┷━━━━━━━━━━━━━━━━━━━━┛\r\n";

    #[test]
    fn a_table_is_read_with_its_colours_and_long_cells() {
        let table = parse(TABLE).unwrap();
        let ids: Vec<&str> = table.rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["R001", "R010", "R014", "R099"]);
        let first = &table.rows[0];
        assert_eq!(first.rule, "compose config has a version");
        assert_eq!(first.fix, "ensure `version: \"3.8\"`");
        assert!(first.satisfied && !first.skipped);
        assert_eq!(table.rows[1].fix, "a | b");
        // Skipped and only warned about are no failures, whatever the exit code was.
        let failed: Vec<&str> = table.errors().map(|row| row.id.as_str()).collect();
        assert_eq!(failed, ["R014"]);
        let ascii = parse(&TABLE.replace('┃', "|").replace("a | b", "a")).unwrap();
        assert_eq!(ascii.rows.len(), 4);
    }

    #[test]
    fn what_is_not_understood_is_no_pass() {
        assert_eq!(
            parse("FATA .env.sample is missing\r\n"),
            Err(TableError::Fatal(".env.sample is missing".to_owned()))
        );
        assert_eq!(parse("INFO all is well\n"), Err(TableError::NoTable));
        let heading = TABLE.lines().nth(2).unwrap();
        assert_eq!(parse(heading), Err(TableError::NoTable));
        for (from, to) in [
            ("REF ", "ID  "),
            ("❌", "maybe"),
            ("R014", "X014"),
            ("warn ", "info "),
        ] {
            let changed = TABLE.replace(from, to);
            let error = parse(&changed).unwrap_err();
            assert!(matches!(error, TableError::Unknown(_)), "{from}: {error}");
        }
    }

    #[test]
    fn both_lints_stand_side_by_side() {
        let finding = Finding {
            id: "R001".to_owned(),
            severity: Severity::Warning,
            title: String::new(),
            file: None,
            line: None,
            message: String::new(),
            why: String::new(),
            fix: String::new(),
        };
        let lint = Lint {
            status: Status::Pass,
            reason: None,
            findings: vec![finding],
            skipped: vec![Skipped {
                id: "R006".to_owned(),
                reason: "offline".to_owned(),
            }],
            passed: vec!["R010".to_owned(), "R014".to_owned()],
            abra: Vec::new(),
        };
        let both = lint.beside(&parse(TABLE).unwrap());
        // abra exited with 0; the failed error is a failure all the same.
        assert_eq!(both.status, Status::Fail);
        assert_eq!(both.reason.as_deref(), Some("abra's own lint fails R014"));
        let side = |id: &str| both.abra.iter().find(|side| side.id == id).unwrap();
        let seen = |id: &str| (side(id).ours, side(id).abra, side(id).disagree());
        use Status::{Fail, Pass, Skip};
        assert_eq!(seen("R001"), (Some(Fail), Some(Pass), true));
        assert_eq!(seen("R006"), (Some(Skip), None, false));
        assert_eq!(seen("R010"), (Some(Pass), Some(Skip), false));
        assert_eq!(seen("R014"), (Some(Pass), Some(Fail), true));
        assert_eq!(seen("R099"), (None, Some(Fail), false));
    }
}
