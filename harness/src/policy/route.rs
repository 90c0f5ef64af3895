//! Rules of Traefik's routers, parsed: whether they match requests for given hosts only.

/// Why a rule is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    /// The host that would have to be granted, where there is one.
    pub(super) host: Option<String>,
}

fn refuse<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        message: message.into(),
        host: None,
    })
}

/// Returns whether `host` is one of `hosts`, or below one.
pub(super) fn is_among(host: &str, hosts: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    hosts.iter().any(|own| {
        host.strip_suffix(own.as_str())
            .is_some_and(|rest| rest.is_empty() || (rest.ends_with('.') && rest.len() > 1))
    })
}

/// Makes sure that a rule matches requests for `hosts` and what is below them, and no others.
pub(super) fn confined(rule: &str, tcp: bool, hosts: &[String]) -> Result<(), Refusal> {
    let mut parser = Parser {
        rest: rule,
        tcp,
        hosts,
        other: None,
        depth: 0,
    };
    let confined = parser.any()?;
    parser.space();
    if !parser.rest.is_empty() {
        return refuse(format!(
            "the rule cannot be read at `{}`",
            super::shortened(parser.rest)
        ));
    }
    if confined {
        return Ok(());
    }
    let own = hosts.first().map_or("", String::as_str);
    Err(match parser.other {
        Some(host) => Refusal {
            message: format!("the rule matches `{host}`, and the run has `{own}`"),
            host: Some(host),
        },
        None => Refusal {
            message: format!("the rule matches requests for other hosts than `{own}`"),
            host: None,
        },
    })
}

/// How deep parentheses may be nested.
const DEPTH: usize = 32;

struct Parser<'a> {
    rest: &'a str,
    tcp: bool,
    hosts: &'a [String],
    /// The first host that is not the run's.
    other: Option<String>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
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

    /// `a || b`: each has to be confined.
    fn any(&mut self) -> Result<bool, Refusal> {
        let mut confined = self.all()?;
        while self.take("||") {
            confined &= self.all()?;
        }
        Ok(confined)
    }

    /// `a && b`: one is enough.
    fn all(&mut self) -> Result<bool, Refusal> {
        let mut confined = self.one()?;
        while self.take("&&") {
            confined |= self.one()?;
        }
        Ok(confined)
    }

    fn one(&mut self) -> Result<bool, Refusal> {
        self.depth += 1;
        if self.depth > DEPTH {
            return refuse("the rule is nested too deep");
        }
        let confined = if self.take("!") {
            self.one()?;
            false
        } else if self.take("(") {
            let confined = self.any()?;
            if !self.take(")") {
                return refuse("a parenthesis of the rule is not closed");
            }
            confined
        } else {
            self.matcher()?
        };
        self.depth -= 1;
        Ok(confined)
    }

    fn matcher(&mut self) -> Result<bool, Refusal> {
        self.space();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric());
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if name.is_empty() || !self.take("(") {
            return refuse(format!(
                "the rule cannot be read at `{}`",
                super::shortened(self.rest)
            ));
        }
        let mut arguments = Vec::new();
        loop {
            if self.take(")") {
                break;
            }
            arguments.push(self.text()?);
            if !self.take(",") && !self.rest.trim_start().starts_with(')') {
                return refuse("the rule's arguments cannot be read");
            }
        }
        // Names are read in any case, and in an older syntax `Host` has another name.
        let lower = name.to_ascii_lowercase();
        let names_hosts = match self.tcp {
            true => lower == "hostsni",
            false => matches!(lower.as_str(), "host" | "hostheader"),
        };
        if !names_hosts || arguments.is_empty() {
            return Ok(false);
        }
        let other = arguments.iter().find(|host| !is_among(host, self.hosts));
        if let Some(host) = other {
            self.other.get_or_insert_with(|| (*host).to_owned());
        }
        Ok(other.is_none())
    }

    /// A text in backticks or quotes, without escapes.
    fn text(&mut self) -> Result<&'a str, Refusal> {
        self.space();
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '`' | '"')) else {
            return refuse("an argument of the rule is no text");
        };
        let body = &self.rest[1..];
        let Some(end) = body.find(quote) else {
            return refuse("a text of the rule is not closed");
        };
        let text = &body[..end];
        if quote == '"' && text.contains('\\') {
            return refuse("a text of the rule has escapes");
        }
        self.rest = &body[end + 1..];
        Ok(text)
    }
}
