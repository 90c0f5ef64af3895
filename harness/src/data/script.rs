//! The script that a container is asked with, and its answers.

use super::{Answer, Database, Kind, Question, Said, Wish};
use ground::name::legible;

/// What every kind shares, one file per kind, and the part that begins.
const PARTS: [&str; 7] = [
    include_str!("common.sh"),
    include_str!("postgresql.sh"),
    include_str!("mariadb.sh"),
    include_str!("redis.sh"),
    include_str!("mongodb.sh"),
    include_str!("sqlite.sh"),
    include_str!("main.sh"),
];

/// What every line of an answer begins with.
const MARK: &str = "recipe-ci";

/// Returns the script for `question`.
pub(super) fn text(question: &Question<'_>) -> String {
    let (op, value) = match question.wish {
        Wish::Locate => ("locate", ""),
        Wish::Seed(value) => ("seed", value),
        Wish::Read => ("read", ""),
        Wish::Overwrite(value) => ("overwrite", value),
        Wish::Drop => ("drop", ""),
    };
    let known = question.of;
    let hints = question.hints;
    let settings = [
        ("op", op.to_owned()),
        ("table", question.table.to_owned()),
        ("value", value.to_owned()),
        ("kinds", known.map_or("", |of| of.kind.word()).to_owned()),
        ("wanted_user", known.map_or("", |of| of.user).to_owned()),
        ("wanted_database", known.map_or("", |of| of.name).to_owned()),
        ("mounts", hints.mounts.join("\n")),
        ("requirepass", hints.requirepass.clone().unwrap_or_default()),
        ("configs", hints.configs.join("\n")),
    ];
    let mut text = String::new();
    for (name, value) in settings {
        text.push_str(&format!("{name}={}\n", quoted(&value)));
    }
    for part in PARTS {
        text.push_str(part);
    }
    text
}

/// Returns `text` as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns whether the script was begun at all.
pub(super) fn was_read(stdout: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stdout);
    text.lines().any(|line| line == "recipe-ci\tshell")
}

/// How many values are read of one: a marker is the only one in its table.
const MOST_VALUES: usize = 16;

/// The longest name of a database, its user or its directory that is read, in bytes.
const LONGEST_NAME: usize = 1024;

/// How many answers are read of one container: it has one server, or a few files of SQLite.
const MOST_ANSWERS: usize = 32;

/// Returns the answers in what a container of `service` wrote, at most 32. Lines of another form are not ours; what is in
/// those of ours is the container's all the same, whose shell may be any program.
pub(super) fn answers(stdout: &[u8], service: &str) -> Vec<Answer> {
    let text = String::from_utf8_lossy(stdout);
    text.lines()
        .filter_map(|line| answer(line, service))
        .take(MOST_ANSWERS)
        .collect()
}

fn answer(line: &str, service: &str) -> Option<Answer> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [MARK, kind, outcome, user, name, directory, text] = fields[..] else {
        return None;
    };
    let is_name = |text: &&str| text.len() <= LONGEST_NAME && !text.contains(char::is_control);
    if ![user, name, directory].iter().all(is_name) {
        return None;
    }
    let said = || legible(text);
    Some(Answer {
        database: Database {
            service: service.to_owned(),
            kind: Kind::of_word(kind)?,
            name: name.to_owned(),
            user: user.to_owned(),
            directory: directory.trim_end_matches('/').to_owned(),
        },
        said: match outcome {
            "done" => {
                let values = text.split_whitespace().map(legible);
                Said::Done(values.take(MOST_VALUES).collect())
            }
            "wait" => Said::Starting(said()),
            "refused" => Said::Refused(said()),
            "noclient" => Said::NoClient(said()),
            "failed" => Said::Failed(said()),
            "cache" => Said::Cache(said()),
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Hints, Known};

    #[test]
    fn what_is_set_before_the_script_is_one_word_each() {
        let hints = Hints {
            requirepass: Some("it's; rm -rf / $(x)".to_owned()),
            ..Hints::default()
        };
        let question = Question {
            wish: Wish::Seed("upgrade_1"),
            table: "recipe_ci_1",
            hints: &hints,
            of: Some(Known {
                kind: Kind::PostgreSql,
                name: "a b",
                user: "",
            }),
        };
        let text = text(&question);
        for line in [
            "op='seed'\n",
            "value='upgrade_1'\n",
            "kinds='postgresql'\n",
            "wanted_database='a b'\n",
            "requirepass='it'\\''s; rm -rf / $(x)'\n",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(was_read(b"motd\nrecipe-ci\tshell\n"));
        assert!(!was_read(b"exec: sh: not found\n"));
        assert!(text.ends_with("main </dev/null\nexit 0\n"));
    }

    #[test]
    fn only_lines_of_ours_are_answers() {
        let said = "warning: x\nrecipe-ci\tpostgresql\tdone\tledger\tbooks\t/data/\tupgrade_1\n\
                    recipe-ci\toracle\tdone\t\t\t\t\nrecipe-ci\tredis\twait\t\t\t\tConnection refused\n\
                    recipe-ci\tredis\tmaybe\t\t\t\t\nrecipe-ci\tredis\tdone\n";
        let answers = answers(said.as_bytes(), "db");
        assert_eq!(answers.len(), 2);
        assert_eq!(
            answers[0].database.to_string(),
            "PostgreSQL database books of service db"
        );
        assert_eq!(answers[0].database.directory, "/data");
        assert_eq!(answers[0].said, Said::Done(vec!["upgrade_1".to_owned()]));
        assert_eq!(
            answers[1].said,
            Said::Starting("Connection refused".to_owned())
        );
    }

    #[test]
    fn a_shell_that_says_anything_fills_no_report() {
        let line = format!("recipe-ci\tredis\tfailed\t\t\t\t{}\n", "x".repeat(5000));
        let answers = answers(line.repeat(20_000).as_bytes(), "db");
        assert_eq!(answers.len(), MOST_ANSWERS);
        let Said::Failed(reason) = &answers[0].said else {
            panic!("{answers:?}")
        };
        assert_eq!(reason.chars().count(), 301);
    }
}
