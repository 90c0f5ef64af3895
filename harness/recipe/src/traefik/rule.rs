//! Rules of Traefik's routers, parsed.

use ground::name::is_plain;
use regex::RegexBuilder;

/// How deep parentheses may be nested.
const DEPTH: usize = 32;

/// How much of a rule an error shows, in characters.
const SHOWN: usize = 80;

/// How many bytes a pattern may be when it is compiled; 4 KiB of `\pL` took 2.7 s of a processor without a limit. A larger
/// one counts as matching.
const PATTERN: usize = 256 << 10;

/// A rule: which requests its router takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule<'a> {
    /// `a || b`.
    Any(Vec<Self>),
    /// `a && b`.
    All(Vec<Self>),
    /// `!a`.
    Not(Box<Self>),
    /// `Host(...)` and the like.
    Matcher(Matcher<'a>),
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher<'a> {
    /// Its name in lower case: Traefik reads it in any.
    pub name: String,
    /// What it is called with.
    pub arguments: Vec<Argument<'a>>,
}

/// An argument of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument<'a> {
    /// The text, as written.
    pub text: &'a str,
    /// Whether it has escapes, which are not resolved.
    pub is_escaped: bool,
}

/// A rule that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(pub String);

fn fail<T>(message: impl Into<String>) -> Result<T, RuleError> {
    Err(RuleError(message.into()))
}

/// Returns whether `host` is one of `hosts`, or below one.
#[must_use]
pub fn is_among(host: &str, hosts: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    is_host(&host)
        && hosts.iter().any(|own| {
            host.strip_suffix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || (rest.ends_with('.') && rest.len() > 1))
        })
}

/// Returns whether a text is a name of a host, or of all below one, and no expression or list that some program makes more
/// of.
#[must_use]
pub fn is_host(text: &str) -> bool {
    is_plain(text.strip_prefix("*.").unwrap_or(text))
}

impl<'a> Rule<'a> {
    /// Returns the rule of `text`.
    ///
    /// # Errors
    /// [`RuleError`] with what cannot be read.
    pub fn parse(text: &'a str) -> Result<Self, RuleError> {
        let mut parser = Parser {
            rest: text,
            depth: 0,
        };
        let rule = parser.any()?;
        parser.space();
        if parser.rest.is_empty() {
            return Ok(rule);
        }
        fail(parser.unreadable())
    }

    /// Returns whether a request for `host`, in lower case, or for a name below it, can match, on some path.
    #[must_use]
    pub fn admits(&self, host: &str) -> bool {
        match self {
            Self::Any(rules) => rules.iter().any(|rule| rule.admits(host)),
            Self::All(rules) => rules.iter().all(|rule| rule.admits(host)),
            Self::Not(rule) => !rule.takes_all_of(host),
            Self::Matcher(matcher) => matcher.admits(host),
        }
    }

    /// Returns whether every request for `host` matches.
    fn takes_all_of(&self, host: &str) -> bool {
        match self {
            Self::Any(rules) => rules.iter().any(|rule| rule.takes_all_of(host)),
            Self::All(rules) => rules.iter().all(|rule| rule.takes_all_of(host)),
            Self::Not(rule) => !rule.admits(host),
            Self::Matcher(matcher) => matcher.names_hosts() && matcher.has(host),
        }
    }

    /// Returns every condition, in the order of the text.
    #[must_use]
    pub fn matchers(&self) -> Vec<&Matcher<'a>> {
        match self {
            Self::Any(rules) | Self::All(rules) => rules.iter().flat_map(Self::matchers).collect(),
            Self::Not(rule) => rule.matchers(),
            Self::Matcher(matcher) => vec![matcher],
        }
    }
}

impl Matcher<'_> {
    /// Returns whether it names hosts by themselves. In an older syntax `Host` has another name.
    #[must_use]
    pub fn names_hosts(&self) -> bool {
        matches!(self.name.as_str(), "host" | "hostheader")
    }

    fn has(&self, host: &str) -> bool {
        let texts = self.arguments.iter().map(|argument| argument.text);
        texts
            .into_iter()
            .any(|text| text.eq_ignore_ascii_case(host))
    }

    fn admits(&self, host: &str) -> bool {
        if self.names_hosts() {
            let own = [host.to_owned()];
            let mut texts = self.arguments.iter();
            return texts.any(|argument| is_among(argument.text, &own));
        }
        if self.name != "hostregexp" {
            return true;
        }
        // In the older syntax patterns stand in braces, which are counts in the newer one.
        self.arguments.iter().any(|argument| {
            let plain = argument.text.replace('\\', "").to_ascii_lowercase();
            let text = argument.text.to_ascii_lowercase();
            let matches = || RegexBuilder::new(&text).size_limit(PATTERN).build();
            plain.contains(host)
                || argument.text.contains('{')
                || matches().map_or(true, |pattern| pattern.is_match(host))
        })
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn unreadable(&self) -> String {
        let mut all = self.rest.chars();
        let mut short: String = all.by_ref().take(SHOWN).collect();
        if all.next().is_some() {
            short.push('…');
        }
        format!("the rule cannot be read at `{short}`")
    }

    fn take(&mut self, what: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn any(&mut self) -> Result<Rule<'a>, RuleError> {
        let mut rules = vec![self.all()?];
        while self.take("||") {
            rules.push(self.all()?);
        }
        Ok(one_or(rules, Rule::Any))
    }

    fn all(&mut self) -> Result<Rule<'a>, RuleError> {
        let mut rules = vec![self.one()?];
        while self.take("&&") {
            rules.push(self.one()?);
        }
        Ok(one_or(rules, Rule::All))
    }

    fn one(&mut self) -> Result<Rule<'a>, RuleError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return fail("the rule is nested too deep");
        }
        let rule = if self.take("!") {
            Rule::Not(Box::new(self.one()?))
        } else if self.take("(") {
            let rule = self.any()?;
            if !self.take(")") {
                return fail("a parenthesis of the rule is not closed");
            }
            rule
        } else {
            Rule::Matcher(self.matcher()?)
        };
        self.depth -= 1;
        Ok(rule)
    }

    fn matcher(&mut self) -> Result<Matcher<'a>, RuleError> {
        self.space();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric());
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if name.is_empty() || !self.take("(") {
            return fail(self.unreadable());
        }
        let mut arguments = Vec::new();
        loop {
            if self.take(")") {
                break;
            }
            arguments.push(self.text()?);
            if !self.take(",") && !self.rest.trim_start().starts_with(')') {
                return fail("the rule's arguments cannot be read");
            }
        }
        Ok(Matcher {
            name: name.to_ascii_lowercase(),
            arguments,
        })
    }

    /// A text in backticks or quotes.
    fn text(&mut self) -> Result<Argument<'a>, RuleError> {
        self.space();
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '`' | '"')) else {
            return fail("an argument of the rule is no text: write it in backticks");
        };
        let body = &self.rest[1..];
        let mut escaped = false;
        let end = body.char_indices().find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = quote == '"' && *c == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else {
            return fail("a text of the rule is not closed");
        };
        let text = &body[..end];
        self.rest = &body[end + 1..];
        Ok(Argument {
            text,
            is_escaped: quote == '"' && text.contains('\\'),
        })
    }
}

fn one_or<'a>(mut rules: Vec<Rule<'a>>, many: fn(Vec<Rule<'a>>) -> Rule<'a>) -> Rule<'a> {
    match rules.len() {
        1 => rules.remove(0),
        _ => many(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_admits_a_host_or_does_not() {
        for (rule, admitted) in [
            ("Host(`a.org`)", true),
            ("Host(`A.org`, `b.org`)", true),
            ("Host(\"www.a.org\")", true),
            ("Host(`b.org`)", false),
            ("Host(``)", false),
            ("Host()", false),
            ("PathPrefix(`/`)", true),
            ("Host(`b.org`) || Host(`a.org`) && PathPrefix(`/x`)", true),
            ("Host(`b.org`) && PathPrefix(`/x`)", false),
            ("!Host(`a.org`)", false),
            ("!(Host(`a.org`) && Path(`/x`))", true),
            ("HostRegexp(`^.+\\.a\\.org$`)", true),
            ("HostRegexp(`{sub:[a-z]+}.a.org`)", true),
            ("HostRegexp(`^b\\.org$`)", false),
            ("HostRegexp(`.*`)", true),
            ("HostHeader(`a.org`) && Header(`X`, `y`)", true),
        ] {
            let parsed = Rule::parse(rule).unwrap();
            assert_eq!(parsed.admits("a.org"), admitted, "{rule}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (rule, words) in [
            ("", "cannot be read at ``"),
            ("Host(a.org)", "no text"),
            ("Host('a.org')", "no text"),
            ("Host(`a.org)", "not closed"),
            ("(Host(`a.org`)", "parenthesis"),
            ("Host(`a.org`) Path(`/`)", "cannot be read at `Path"),
            ("Host(`a.org``b.org`)", "arguments"),
            ("Host:a.org", "cannot be read at `:a.org`"),
        ] {
            let error = Rule::parse(rule).unwrap_err().to_string();
            assert!(error.contains(words), "{rule}: {error}");
        }
        let deep = format!("{}Host(`a`){}", "(".repeat(40), ")".repeat(40));
        assert!(Rule::parse(&deep).is_err());
    }
}
