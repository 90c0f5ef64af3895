//! The one place that parses YAML: with fixed options, the order of keys, and the place of every value.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_yaml::{Error, Spanned};

use super::{ComposeError, Location};

/// Largest compose file, in bytes; the largest seen in the wild has 20 KB.
const MAX_BYTES: usize = 1 << 20;

/// Most values and keys in a file, with aliases expanded: the largest seen in the wild has some 1,500. Without
/// optimization 50,000 took 1.7 s of a core, and a refusal is to cost less than one.
const MAX_NODES: usize = 10_000;

/// Deepest nesting; each level takes up to 40 KiB of a thread's stack, which has 2 MiB.
const MAX_DEPTH: usize = 32;

/// Most text in a file, in bytes, with aliases expanded.
const MAX_TEXT: usize = 4 * MAX_BYTES;

/// A parsed file, as it is written: nothing is interpolated, merged or brought to one form.
pub struct Document {
    /// Its content.
    pub value: Value,
    /// The place of every value, by its path; the file itself is the empty path.
    pub marks: BTreeMap<String, Location>,
    /// The place of every key, by the path of its value: the value of `app:` begins a line below it.
    pub(super) keys: BTreeMap<String, Location>,
    /// The paths of values without quotes that YAML takes for dates.
    pub(crate) dates: Vec<String>,
}

impl Document {
    /// Returns the place of the key at `path`, or of the item where it is one of a list; `None` when the
    /// file has no such path.
    pub(crate) fn key(&self, path: &str) -> Option<&Location> {
        self.keys.get(path).or_else(|| self.marks.get(path))
    }
}

/// Returns the content of the first document in `text`, the text of a compose file: Docker does not look at others, be
/// they broken.
pub(crate) fn parse_first(text: &str, file: &str) -> Result<Document, ComposeError> {
    parse(first_document(text), file)
}

/// Returns `text` up to the mark that ends its first document.
fn first_document(text: &str) -> &str {
    let mut length = 0;
    let mut begun = false;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches('\u{feff}').trim_end();
        let mark = content.get(..3).filter(|_| {
            let behind = content.as_bytes().get(3);
            behind.is_none_or(|byte| matches!(byte, b' ' | b'\t'))
        });
        match mark {
            Some("---") if !begun => begun = true,
            Some("---" | "...") => return &text[..length],
            _ if content.is_empty() || content.starts_with(['#', '%']) => {}
            _ => begun = true,
        }
        length += line.len();
    }
    text
}

/// Returns the content of `text`, the text of `file`.
pub fn parse(text: &str, file: &str) -> Result<Document, ComposeError> {
    let at = |line, column| Location {
        file: file.to_owned(),
        line,
        column,
    };
    if text.len() > MAX_BYTES {
        return Err(ComposeError::TooLarge {
            location: at(1, 1),
            limit: format!("{MAX_BYTES} bytes"),
        });
    }
    let options = serde_yaml::options! {
        // `yes` and `on` are text, and 0440 is octal, as for docker.
        strict_booleans: true,
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_yaml::budget! {
            // The default refuses an anchor that is used a hundred times, as `x-common` blocks are.
            enforce_alias_anchor_ratio: false,
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_total_scalar_bytes: MAX_TEXT,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 2 * MAX_NODES },
    };
    let node: Option<Node> = serde_yaml::from_str_with_options(text, options)
        .map_err(|error| translate(error.without_snippet(), &at))?;
    let mut document = Document {
        value: Value::Null,
        marks: BTreeMap::new(),
        keys: BTreeMap::new(),
        dates: Vec::new(),
    };
    let lines: Vec<&str> = text.lines().collect();
    document.value = node.map_or(Value::Null, |node| {
        node.flatten("", &at, &lines, &mut document)
    });
    let marks = &mut document.marks;
    marks.entry(String::new()).or_insert_with(|| at(1, 1));
    Ok(document)
}

/// Returns whether a text without quotes is a date to YAML, with or without a time.
fn is_date(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_clock = |time: &str| {
        let digits = |c: char| c.is_ascii_digit() || ":.+-Zz ".contains(c);
        time.contains(':') && time.chars().all(digits)
    };
    year.len() == 4
        && [year, month, day].into_iter().all(is_number)
        && month
            .parse()
            .is_ok_and(|month: u8| (1..=12).contains(&month))
        && day.parse().is_ok_and(|day: u8| (1..=31).contains(&day))
        && time.is_none_or(is_clock)
}

fn translate(error: &Error, at: &dyn Fn(u64, u64) -> Location) -> ComposeError {
    let location = error
        .location()
        .map_or_else(|| at(1, 1), |l| at(l.line().max(1), l.column().max(1)));
    let message = first_line(error);
    match error {
        Error::DuplicateMappingKey { key, .. } => ComposeError::DuplicateKey {
            location,
            key: key.clone().unwrap_or_else(|| "?".to_owned()),
        },
        // What happens inside an alias is wrapped, with the place where the alias is used.
        Error::AliasError { error, .. } => match translate(error, at) {
            ComposeError::TooLarge { limit, .. } => ComposeError::TooLarge { location, limit },
            _ => ComposeError::Yaml { location, message },
        },
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => too_large(location),
        _ => ComposeError::Yaml { location, message },
    }
}

fn too_large(location: Location) -> ComposeError {
    let limit = format!(
        "at most {MAX_NODES} values, {MAX_DEPTH} levels and {} MiB of text",
        MAX_TEXT >> 20
    );
    ComposeError::TooLarge { location, limit }
}

/// Returns the message without the place, which the caller prints its own way.
pub(crate) fn first_line(error: &Error) -> String {
    let message = error.to_string();
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ")
        .next()
        .unwrap_or(line)
        .trim()
        .to_owned()
}

struct Node(Spanned<Raw>);

enum Raw {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<Name>, Node)>),
}

impl Node {
    fn flatten(
        self,
        path: &str,
        at: &dyn Fn(u64, u64) -> Location,
        lines: &[&str],
        document: &mut Document,
    ) -> Value {
        let (place, defined) = (self.0.referenced, self.0.defined);
        if place.line() > 0 {
            let place = at(place.line(), place.column());
            document.marks.insert(path.to_owned(), place);
        }
        match self.0.value {
            Raw::Scalar(value) => {
                if value.as_str().is_some_and(is_date) {
                    let index = |number: u64| usize::try_from(number).ok()?.checked_sub(1);
                    let line = index(defined.line()).and_then(|line| lines.get(line));
                    let first =
                        index(defined.column()).and_then(|column| line?.chars().nth(column));
                    if first.is_some_and(|first| first.is_ascii_digit()) {
                        document.dates.push(path.to_owned());
                    }
                }
                value
            }
            Raw::List(nodes) => nodes
                .into_iter()
                .enumerate()
                .map(|(index, node)| node.flatten(&format!("{path}[{index}]"), at, lines, document))
                .collect(),
            Raw::Map(entries) => {
                let mut map = Map::new();
                for (key, node) in entries {
                    let path = join(path, &key.value.0);
                    if key.referenced.line() > 0 {
                        let place = at(key.referenced.line(), key.referenced.column());
                        document.keys.insert(path.clone(), place);
                    }
                    let value = node.flatten(&path, at, lines, document);
                    map.insert(key.value.0, value);
                }
                Value::Object(map)
            }
        }
    }
}

/// Returns the path of `key` below `path`.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

/// A key, which has to be a text: Docker refuses `1:` and `true:`.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Raw::deserialize(deserializer)? {
            Raw::Scalar(Value::String(text)) => Ok(Self(text)),
            Raw::Scalar(value) => Err(de::Error::custom(format!(
                "the key `{value}` is not a text; write it in quotes"
            ))),
            Raw::List(_) | Raw::Map(_) => Err(de::Error::custom("a key is not a text")),
        }
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_string().into()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.to_string().into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        let number =
            Number::from_f64(value).ok_or_else(|| E::custom("the number is not finite"))?;
        Ok(Raw::Scalar(number.into()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, "compose.yml").err().unwrap().to_string()
    }

    #[test]
    fn values_keep_their_order_type_and_place() {
        let document = parse("b: 0440\na:\n  - yes\n  - 1.10\n  - ~\n  - true\n", "c.yml").unwrap();
        assert_eq!(
            document.value.to_string(),
            r#"{"b":288,"a":["yes",1.1,null,true]}"#
        );
        assert_eq!(document.marks["a[1]"].to_string(), "c.yml:4:5");
        // The value of `a` begins a line below its key.
        assert_eq!(document.marks["a"].line, 3);
        let key = |path| document.key(path).map(|place| place.line);
        assert_eq!((key("a"), key("a[1]"), key("x")), (Some(2), Some(4), None));
    }

    #[test]
    fn merges_and_aliases_are_resolved() {
        let text = "x: &x {k: 1, l: 2}\ny: &y {k: 3, m: 4}\nz:\n  <<: [*x, *y]\n  l: 5\nw: *x\n";
        let value = parse(text, "c.yml").unwrap().value;
        assert_eq!(value["z"]["k"], 1);
        assert_eq!(value["z"]["l"], 5);
        assert_eq!(value["z"]["m"], 4);
        assert_eq!(value["w"]["l"], 2);
    }

    #[test]
    fn one_anchor_may_be_used_often() {
        use std::fmt::Write;
        let mut text = "x-common: &c\n  environment: {A: 1, B: 2}\nservices:\n".to_owned();
        for index in 0..200 {
            writeln!(text, "  s{index}:\n    <<: *c\n    image: x").unwrap();
        }
        let value = parse(&text, "c.yml").unwrap().value;
        assert_eq!(value["services"]["s199"]["environment"]["B"], 2);
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let item = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![item; 9].join(","));
        }
        let message = error(&text);
        assert!(message.contains("aliases expand to too much"), "{message}");
        let quadratic = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(100_000),
            vec!["*a"; 5000].join(",")
        );
        let message = error(&quadratic);
        assert!(message.contains("aliases expand to too much"), "{message}");
    }

    #[test]
    fn deep_values_do_not_exhaust_the_stack_of_a_worker() {
        // Tests run on threads of 2 MiB, as workers of the runtime do.
        let block: String = (1..1300)
            .map(|at| format!("{}a:\n", " ".repeat(at)))
            .collect();
        for text in [block, "{a: ".repeat(200_000), "- ".repeat(400_000)] {
            let message = error(&text);
            assert!(message.starts_with("compose.yml:"), "{message}");
        }
    }

    #[test]
    fn nested_brackets_do_not_exhaust_the_stack() {
        let message = error(&"[".repeat(20_000));
        assert!(message.starts_with("compose.yml:1:"), "{message}");
    }

    #[test]
    fn duplicate_keys_and_syntax_errors_have_a_place() {
        assert_eq!(
            error("services:\n  app: {}\n  app: {}\n"),
            "compose.yml:3:3: the key `app` occurs twice in the same mapping"
        );
        let message = error("a: 1\nb: [\nc: 2\n");
        assert!(message.starts_with("compose.yml:"), "{message}");
        assert_eq!(message.matches("line").count(), 0, "{message}");
    }

    #[test]
    fn a_key_that_is_no_text_is_refused() {
        for text in ["a:\n  1: x\n", "true: x\n", "{~: x}", "[a]: x"] {
            assert!(error(text).contains("text"), "{text}: {}", error(text));
        }
        assert_eq!(
            parse("\"1\": x\nyes: y\n", "c.yml").unwrap().value["1"],
            "x"
        );
    }

    #[test]
    fn only_the_first_document_is_read() {
        for (text, first) in [
            ("a: 1\n---\nb: [\n", "a: 1\n"),
            (
                "# c\n%YAML 1.1\n--- # x\na: 1\n...\nb",
                "# c\n%YAML 1.1\n--- # x\na: 1\n",
            ),
            ("---\n---\na: 1\n", "---\n"),
            ("a: |\n  ---\n----: x\n", "a: |\n  ---\n----: x\n"),
        ] {
            assert_eq!(first_document(text), first);
        }
        assert!(parse_first("a: 1\n---\nb: [\n", "c.yml").is_ok());
    }

    #[test]
    fn dates_without_quotes_are_known() {
        let text = "a: &x 2026-11-29\nb: '2026-11-29'\nc: [2026-1-2T10:00:00Z, 2026-13-01, v2026-01-01, 12:30]\nd: *x\n\
                    e: |\n  2026-11-29\nf: 2026-11-29 at noon\n";
        let mut dates = parse(text, "c.yml").unwrap().dates;
        dates.sort();
        assert_eq!(dates, ["a", "c[0]", "d"]);
    }

    #[test]
    fn an_empty_file_is_null() {
        assert_eq!(parse("# nothing\n", "c.yml").unwrap().value, Value::Null);
    }
}
