//! Interpolation of compose values, exactly as `docker stack deploy` does it.
//!
//! It differs from the Compose specification: `${V+x}` is refused, defaults are not expanded again
//! (`${A:-${B}}` is the literal `${B}` when `A` is unset), and an unbraced name takes an operator too
//! (`$V-x` is `x` when `V` is unset). The rule was read from, and checked against, docker 28.
//!
//! Docker forgets what is wrong with a value when a variable follows in it: `$? $V` is `? ` and the value of `V`.
//! One deviation: a required variable without a value is an error in every place.

use std::collections::{BTreeMap, BTreeSet};

/// A value that cannot be interpolated; neither variant carries the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolateError {
    /// A `$` that begins neither a variable nor `$$`.
    #[error("invalid interpolation format `{template}`; write `$$` for a literal `$`")]
    Format {
        /// The text as the recipe has it.
        template: String,
    },
    /// A value that, with all before it, becomes too long.
    #[error(
        "the compose files come to more than {} MiB of text when their variables are filled in",
        PROJECT_CEILING >> 20
    )]
    TooLong,
    /// A variable that the recipe requires, with `${V:?}` or `${V?}`.
    #[error("required variable `{name}` is missing a value: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The recipe's message, which may be empty.
        message: String,
    },
}

/// The most text that the compose files of one project come to, with all variables replaced: 8 MiB.
pub const PROJECT_CEILING: usize = 8 << 20;

/// How much text may still come of what is interpolated.
#[derive(Debug, Clone)]
pub struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(PROJECT_CEILING)
    }
}

impl Budget {
    /// Takes `bytes` away.
    ///
    /// # Errors
    /// [`InterpolateError::TooLong`] when there are not as many left.
    pub fn spend(&mut self, bytes: usize) -> Result<(), InterpolateError> {
        self.0 = self.0.checked_sub(bytes).ok_or(InterpolateError::TooLong)?;
        Ok(())
    }
}

/// Returns `template` with its variables replaced by their values in `vars`.
///
/// The names of unset variables without a default, which become empty, are added to `unset`.
///
/// # Errors
/// [`InterpolateError`] when the format is not docker's, or a required variable has no value, or it becomes too long.
pub fn interpolate(
    template: &str,
    vars: &BTreeMap<String, String>,
    unset: &mut BTreeSet<String>,
) -> Result<String, InterpolateError> {
    interpolate_within(&mut Budget::default(), template, vars, unset)
}

/// Does what [`interpolate`] does, with a budget that many values share.
///
/// # Errors
/// As [`interpolate`].
pub fn interpolate_within(
    budget: &mut Budget,
    template: &str,
    vars: &BTreeMap<String, String>,
    unset: &mut BTreeSet<String>,
) -> Result<String, InterpolateError> {
    budget.spend(template.len())?;
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    let mut is_wrong = false;
    let unclosed = behind_last_brace(template);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let Some((substitution, tail)) = scan(rest, unclosed) else {
            is_wrong = true;
            continue;
        };
        rest = tail;
        let value = substitute(substitution, vars, unset)?;
        budget.spend(value.len())?;
        out.push_str(&value);
        is_wrong = false;
    }
    out.push_str(rest);
    if is_wrong {
        return Err(InterpolateError::Format {
            template: template.to_owned(),
        });
    }
    Ok(out)
}

/// Returns `text` such that interpolating it gives it back.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

/// Returns the names of the variables that `template` refers to, in order.
#[must_use]
pub fn variables(template: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = template;
    let unclosed = behind_last_brace(template);
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            rest = tail;
        } else if let Some((substitution, tail)) = scan(rest, unclosed) {
            names.push(&substitution[..name_length(substitution)]);
            rest = tail;
        }
    }
    names
}

/// Returns how many bytes of `template` are behind its last `}`: a `${` among them has no end, and a search from each would
/// take a square of time.
fn behind_last_brace(template: &str) -> usize {
    template.len() - template.rfind('}').map_or(0, |at| at + 1)
}

/// Returns the text between `$` or `${` and its end, and what follows. No `}` is in the last `unclosed` bytes.
fn scan(text: &str, unclosed: usize) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('{') {
        if text.len() <= unclosed {
            return None;
        }
        let end = substitution_length(inner)?;
        let tail = inner[end..].strip_prefix('}')?;
        return Some((&inner[..end], tail));
    }
    let end = substitution_length(text)?;
    Some((&text[..end], &text[end..]))
}

/// Returns how long a name with its operator is: everything up to `}` belongs to the operator.
fn substitution_length(text: &str) -> Option<usize> {
    let name = name_length(text);
    if name == 0 {
        return None;
    }
    let operator = text[name..].strip_prefix(':').unwrap_or(&text[name..]);
    if operator.starts_with(['-', '?']) {
        return Some(text.find('}').unwrap_or(text.len()));
    }
    Some(name)
}

fn name_length(text: &str) -> usize {
    // Docker's pattern ignores case, which makes ASCII letters of two that are not ASCII.
    let is_letter = |c: char| c == '_' || c.is_ascii_alphabetic() || c == 'ſ' || c == '\u{212a}';
    if !text.starts_with(is_letter) {
        return 0;
    }
    text.find(|c: char| !(is_letter(c) || c.is_ascii_digit()))
        .unwrap_or(text.len())
}

fn substitute(
    substitution: &str,
    vars: &BTreeMap<String, String>,
    unset: &mut BTreeSet<String>,
) -> Result<String, InterpolateError> {
    // The order matters, and the operator is sought in the whole text: docker takes `${V:?not-set}` for
    // the variable `V:?not` with the default `set`.
    if let Some((name, default)) = substitution.split_once(":-") {
        let value = vars.get(name).filter(|value| !value.is_empty());
        return Ok(value.map_or(default, String::as_str).to_owned());
    }
    if let Some((name, default)) = substitution.split_once('-') {
        return Ok(vars.get(name).map_or(default, String::as_str).to_owned());
    }
    let required = |name: &str, message: &str| InterpolateError::Required {
        name: name.to_owned(),
        message: message.to_owned(),
    };
    if let Some((name, message)) = substitution.split_once(":?") {
        let value = vars.get(name).filter(|value| !value.is_empty());
        return value.cloned().ok_or_else(|| required(name, message));
    }
    if let Some((name, message)) = substitution.split_once('?') {
        return vars
            .get(name)
            .cloned()
            .ok_or_else(|| required(name, message));
    }
    Ok(vars.get(substitution).cloned().unwrap_or_else(|| {
        unset.insert(substitution.to_owned());
        String::new()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> BTreeMap<String, String> {
        [("TAG", "9"), ("EMPTY", ""), ("B", "b")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    fn run(template: &str) -> Result<String, InterpolateError> {
        interpolate(template, &vars(), &mut BTreeSet::new())
    }

    #[test]
    fn it_agrees_with_docker_stack_config() {
        // Captured from docker 28.2.2.
        for (template, expected) in [
            ("a:${TAG:-1}", "a:9"),
            ("${UNSET:-${TAG}}", "${TAG}"),
            ("$$x $${y} ${UNSET-d}", "$x ${y} d"),
            ("$UNSET-foo", "foo"),
            ("${EMPTY-d}|${EMPTY:-d}", "|d"),
            ("$UNSET:-zzz}", "zzz}"),
            ("${V:?m-x}", "x"),
            ("${V:-a?b}", "a?b"),
            ("${V-a:-b}", "b"),
            ("$V-x y", "x y"),
            ("${V:-a}b}", "ab}"),
            ("${V:?a:-b}", "b"),
            ("$V:x", ":x"),
            ("$$$V", "$"),
            ("$V:-a $B", "a $B"),
            ("$TAG.$B", "9.b"),
            ("", ""),
            ("$? $TAG", "? 9"),
            ("a$ ${V:+x} $B", "a {V:+x} b"),
            ("$ſx", ""),
        ] {
            assert_eq!(run(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        for template in [
            "$TAG $?", "$? $$", "${V:+x}", "${V+x}", "${V", "$", "a$ b", "$1x", "${}", "${Vü}",
            "${V:x}", "${ V }", "${a.b-x}",
        ] {
            assert!(
                matches!(run(template), Err(InterpolateError::Format { .. })),
                "{template}"
            );
        }
    }

    #[test]
    fn a_required_variable_names_itself_and_its_message() {
        let error = run("x${DOMAIN:?set the domain}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "required variable `DOMAIN` is missing a value: set the domain"
        );
        assert!(run("${EMPTY:?m}").is_err());
        assert_eq!(run("${EMPTY?m}").as_deref(), Ok(""));
        assert!(run("${UNSET?m g}").is_err());
        assert!(
            run("${UNSET:?m}${B:-d}").is_err(),
            "docker forgets this one"
        );
    }

    #[test]
    fn unset_variables_are_collected() {
        let mut unset = BTreeSet::new();
        interpolate("$A ${B} ${C} ${D:-} $A", &vars(), &mut unset).unwrap();
        assert_eq!(unset.into_iter().collect::<Vec<_>>(), ["A", "C"]);
    }

    #[test]
    fn a_text_of_unclosed_braces_is_read_in_one_pass() {
        // 59 s when the end was sought from each.
        let many = "${A:-".repeat(150_000);
        assert!(matches!(run(&many), Err(InterpolateError::Format { .. })));
        assert!(variables(&many).is_empty());
        assert_eq!(behind_last_brace("a}bc"), 2);
        assert!(scan("{A}", 3).is_none(), "there was a search");
    }

    #[test]
    fn escaped_text_survives() {
        for text in ["pa$$word", "${X}", "$", "a$b"] {
            assert_eq!(run(&escape(text)).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_grows_without_end_is_refused() {
        let vars: BTreeMap<_, _> = [("V".to_owned(), "x".repeat(64 << 10))].into();
        let all = |text: &str| interpolate(text, &vars, &mut BTreeSet::new());
        assert_eq!(all(&"${V}".repeat(100)).unwrap().len(), 100 << 16);
        assert_eq!(all(&"${V}".repeat(200)), Err(InterpolateError::TooLong));
        let mut budget = Budget::default();
        let mut part = || interpolate_within(&mut budget, "$V", &vars, &mut BTreeSet::new());
        let some = (0..1000).take_while(|_| part().is_ok()).count();
        assert_eq!(some, 127, "values share a budget");
    }

    #[test]
    fn variables_are_named_in_order() {
        assert_eq!(
            variables("${STACK_NAME}_db_${SECRET_DB_VERSION:-v1}$$X"),
            ["STACK_NAME", "SECRET_DB_VERSION"]
        );
    }
}
