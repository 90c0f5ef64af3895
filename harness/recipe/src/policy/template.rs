//! Go templates, which the engine evaluates in its own memory.
//!
//! Swarm evaluates secrets and configs with a template driver, and in every service `environment`, `hostname`, mounts
//! and labels of volumes; the engine evaluates the tag of a log. The full language defines templates that call each other, and prints with any width: a few
//! lines ask for all memory of the engine. A stranger gets a part of it in which the result is at most the text and a
//! value for each action.

use serde_json::Value;

use super::Case;
use super::rules::TEMPLATE;

/// How large what is evaluated may become, in bytes.
const MOST: usize = 1 << 20;

/// How many actions a template may have, and how many words an action. Both bound how deep Go's parser recurses: it
/// descends into parentheses and into what stands between `if` and `end`, and up to Go 1.19 without a limit of its own.
/// 180,000 parentheses end such an engine with a stack overflow, which no caller of the parser can catch.
/// See `Tree.term` and `Tree.ifControl` in <https://cs.opensource.google/go/go/+/refs/tags/go1.19:src/text/template/parse/parse.go>.
const ACTIONS: usize = 1_000;
const WORDS: usize = 100;

/// How large a value that an action puts in may be: a secret or config of Swarm, or a variable.
const VALUE: usize = 500 * 1024;

/// What an action may call.
const FUNCTIONS: [&str; 8] = ["secret", "config", "env", "eq", "ne", "not", "and", "or"];

/// What an action may name.
const FIELDS: [&str; 9] = [
    ".Service.ID",
    ".Service.Name",
    ".Node.ID",
    ".Node.Hostname",
    ".Node.Platform.OS",
    ".Node.Platform.Architecture",
    ".Task.ID",
    ".Task.Name",
    ".Task.Slot",
];

/// What the tag of a log may name.
const LOG_FIELDS: [&str; 7] = [
    ".ID",
    ".FullID",
    ".Name",
    ".ImageID",
    ".ImageFullID",
    ".ImageName",
    ".DaemonName",
];

pub(super) fn check(case: &mut Case<'_>) {
    if case.granted(|grant| grant.template_driver) {
        return;
    }
    let largest = largest(case);
    for section in ["secrets", "configs"] {
        for (key, entry) in case.section(section) {
            let path = format!("{section}.{key}");
            file(case, &path, entry, largest);
        }
    }
    for (name, service) in case.section("services") {
        let path = format!("services.{name}");
        let environment = service.get("environment").and_then(Value::as_object);
        for (key, value) in environment.into_iter().flatten() {
            let at = format!("{path}.environment.{key}");
            text(case, &at, value);
        }
        let options = service
            .pointer("/logging/options")
            .and_then(Value::as_object);
        for (option, value) in options.into_iter().flatten() {
            log_option(case, &format!("{path}.logging.options.{option}"), value);
        }
        if let Some(hostname) = service.get("hostname") {
            text(case, &format!("{path}.hostname"), hostname);
        }
        let mounts = service.get("volumes").and_then(Value::as_array);
        for (index, mount) in mounts.into_iter().flatten().enumerate() {
            for key in ["source", "target"] {
                if let Some(value) = mount.get(key) {
                    text(case, &format!("{path}.volumes[{index}].{key}"), value);
                }
            }
        }
    }
    for (key, entry) in case.section("volumes") {
        let labels = entry.get("labels").and_then(Value::as_object);
        for (label, value) in labels.into_iter().flatten() {
            text(case, &format!("volumes.{key}.labels.{label}"), value);
        }
        let options = entry.get("driver_opts").and_then(Value::as_object);
        for (option, value) in options.into_iter().flatten() {
            text(case, &format!("volumes.{key}.driver_opts.{option}"), value);
        }
    }
}

/// Returns how large the largest value is that a template of the project can put in. What is not in a file is a
/// secret that the harness makes, and short.
fn largest(case: &Case<'_>) -> usize {
    let mut most = 1 << 10;
    for section in ["secrets", "configs"] {
        for (key, _) in case.section(section) {
            let content = case.resolved.content(&format!("{section}.{key}"));
            most = most.max(content.map_or(4 << 10, <[u8]>::len));
        }
    }
    for (_, service) in case.section("services") {
        let environment = service.get("environment").and_then(Value::as_object);
        for value in environment.into_iter().flatten().map(|(_, value)| value) {
            most = most.max(value.as_str().map_or(0, str::len));
        }
    }
    most.min(VALUE)
}

fn grant() -> Option<String> {
    Some("template_driver: true".to_owned())
}

fn file(case: &mut Case<'_>, path: &str, entry: &Value, largest: usize) {
    let driver = entry.get("template_driver").and_then(Value::as_str);
    let Some(driver) = driver.filter(|driver| !driver.is_empty()) else {
        return;
    };
    let at = format!("{path}.template_driver");
    let value = Value::from(driver);
    if driver != "golang" {
        let message = format!("`{driver}` is no template driver that this host judges");
        case.find(&TEMPLATE, &at, &value, message, None);
        return;
    }
    let content = case.resolved.content(path);
    let judged = match content {
        None => Err("its content is not here to be judged".to_owned()),
        Some(content) => match std::str::from_utf8(content) {
            Err(_) => Err("it is no text".to_owned()),
            Ok(text) => actions(text).and_then(|count| bounded(text, count, largest)),
        },
    };
    if let Err(reason) = judged {
        let message = format!("its template is not one of a stranger's: {reason}");
        case.find(&TEMPLATE, &at, &value, message, grant());
    }
}

fn text(case: &mut Case<'_>, path: &str, value: &Value) {
    let Some(text) = value.as_str().filter(|text| text.contains("{{")) else {
        return;
    };
    // Of these only names and ids can be put in.
    if let Err(reason) = actions(text).and_then(|count| bounded(text, count, 256)) {
        let message = format!(
            "Swarm evaluates it as a template, and it is not one of a stranger's: {reason}"
        );
        case.find(&TEMPLATE, path, value, message, grant());
    }
}

/// Judges an option of a log driver: the engine evaluates `tag` with the full language, and with fields of its own.
fn log_option(case: &mut Case<'_>, path: &str, value: &Value) {
    let Some(text) = value.as_str() else {
        return;
    };
    let mut rest = text.to_owned();
    for field in LOG_FIELDS {
        rest = rest.replace(&format!("{{{{{field}}}}}"), "");
    }
    // What is left of a text may have become an action; it was none, so it is refused as well.
    if rest.contains("{{") {
        let message = format!(
            "the engine evaluates it as a template, and a stranger's may name only `{}`",
            LOG_FIELDS.join("`, `")
        );
        case.find(&TEMPLATE, path, value, message, grant());
    }
}

fn bounded(text: &str, actions: usize, largest: usize) -> Result<(), String> {
    let size = text.len().saturating_add(actions.saturating_mul(largest));
    if size < MOST {
        return Ok(());
    }
    Err(format!(
        "{actions} actions can make {size} bytes of it, of at most {MOST}"
    ))
}

/// Returns how many actions a template has, all of them in the part of the language that is bounded.
fn actions(text: &str) -> Result<usize, String> {
    let mut rest = text;
    let mut count = 0;
    while let Some(at) = rest.find("{{") {
        rest = &rest[at + 2..];
        count += 1;
        if count > ACTIONS {
            return Err(format!("it has more than {ACTIONS} actions"));
        }
        rest = action(rest)?;
    }
    Ok(count)
}

/// Reads one action, from behind `{{` to behind `}}`.
fn action(text: &str) -> Result<&str, String> {
    let mut rest = match text.strip_prefix('-') {
        Some(after) if after.starts_with(is_space) => after,
        _ => text,
    };
    let open = || "an action is not closed".to_owned();
    if let Some(comment) = rest.trim_start_matches(is_space).strip_prefix("/*") {
        let end = comment.find("*/").ok_or_else(open)?;
        let rest = comment[end + 2..].trim_start_matches(is_space);
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        return rest.strip_prefix("}}").ok_or_else(open);
    }
    let mut words = 0;
    loop {
        let spaced = rest.starts_with(is_space);
        rest = rest.trim_start_matches(is_space);
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok(after);
        }
        if spaced && let Some(after) = rest.strip_prefix("-}}") {
            return Ok(after);
        }
        let (word, after) = word(rest).ok_or_else(open)?;
        judge(word, words)?;
        words += 1;
        if words > WORDS {
            return Err(format!("an action has more than {WORDS} words"));
        }
        rest = after;
    }
}

/// Go's notion of a space between words of an action.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Splits the first word off: a text in quotes, a parenthesis, or what stands up to a space.
fn word(text: &str) -> Option<(&str, &str)> {
    let first = text.chars().next()?;
    let end = match first {
        '(' | ')' => 1,
        '`' => text[1..].find('`')? + 2,
        '"' => {
            let mut escaped = false;
            let close = text.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            let (at, _) = close?;
            // Go ends a quoted text at the end of its line.
            if text[..at].contains('\n') {
                return None;
            }
            at + 1
        }
        _ => {
            let ends = |c: char| is_space(c) || matches!(c, '(' | ')' | '"' | '`' | '}');
            let end = text.find(ends).unwrap_or(text.len());
            end.max(first.len_utf8())
        }
    };
    Some((&text[..end], &text[end..]))
}

fn judge(word: &str, index: usize) -> Result<(), String> {
    let number = !word.is_empty() && word.len() < 10 && word.bytes().all(|b| b.is_ascii_digit());
    let is_else_if = index <= 1 && word == "if";
    let fine = word.starts_with(['"', '`'])
        || matches!(word, "(" | ")" | "true" | "false")
        || number
        || FUNCTIONS.contains(&word)
        || FIELDS.contains(&word)
        || is_else_if
        || (index == 0 && matches!(word, "else" | "end"));
    if fine {
        return Ok(());
    }
    Err(format!(
        "`{}` is not among what it may use",
        super::shortened(word)
    ))
}
