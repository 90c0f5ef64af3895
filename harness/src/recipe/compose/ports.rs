//! The short syntax of published ports: `[[address:]published:]target[/protocol]`.
//!
//! Both readers use it: the loader on interpolated text, and the renderer on text with variables.

/// A port in short syntax, taken apart; the parts may hold variables.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spec<'a> {
    pub(super) published: Option<&'a str>,
    pub(super) target: &'a str,
    pub(super) protocol: &'a str,
}

/// Returns the parts of `text`; the address is dropped, as docker drops it in a stack.
pub(super) fn split(text: &str) -> Spec<'_> {
    let (ports, protocol) = match find_last(text, '/') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "tcp"),
    };
    let (rest, target) = match find_last(ports, ':') {
        Some(at) => (Some(&ports[..at]), &ports[at + 1..]),
        None => (None, ports),
    };
    let published = rest.map(|rest| find_last(rest, ':').map_or(rest, |at| &rest[at + 1..]));
    Spec {
        published: published.filter(|published| !published.is_empty()),
        target,
        protocol,
    }
}

/// Returns where `c` occurs last outside `${…}` and `[…]`.
fn find_last(text: &str, c: char) -> Option<usize> {
    let mut depth = 0_usize;
    let mut found = None;
    for (at, here) in text.char_indices() {
        match here {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ if here == c && depth == 0 => found = Some(at),
            _ => {}
        }
    }
    found
}

/// Returns the pairs of published and target ports of a spec without variables, ranges expanded.
pub(super) fn expand(spec: &Spec<'_>) -> Result<Vec<(Option<u16>, u16)>, String> {
    let targets = range(spec.target)?;
    let Some(published) = spec.published else {
        return Ok(targets.map(|target| (None, target)).collect());
    };
    let published = range(published)?;
    if targets.len() == published.len() {
        return Ok(published
            .zip(targets)
            .map(|(outside, target)| (Some(outside), target))
            .collect());
    }
    if targets.len() == 1 {
        let target = *targets.start();
        return Ok(published.map(|outside| (Some(outside), target)).collect());
    }
    Err("the ranges of ports differ in length".to_owned())
}

fn range(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("`{text}` is not a port"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        Err(format!("the range of ports `{text}` is empty"))
    } else {
        Ok(first..=last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<&str>, &str, &str) {
        let spec = split(text);
        (spec.published, spec.target, spec.protocol)
    }

    #[test]
    fn short_syntax_is_taken_apart() {
        assert_eq!(parts("80"), (None, "80", "tcp"));
        assert_eq!(parts("8080:80/udp"), (Some("8080"), "80", "udp"));
        assert_eq!(parts("127.0.0.1:8080:80"), (Some("8080"), "80", "tcp"));
        assert_eq!(parts("127.0.0.1::80"), (None, "80", "tcp"));
        assert_eq!(parts("[::1]:8080:80"), (Some("8080"), "80", "tcp"));
        assert_eq!(
            parts("${PORT:-80}:$INNER/${P}"),
            (Some("${PORT:-80}"), "$INNER", "${P}")
        );
        assert_eq!(parts("${IP:-0.0.0.0}:${A}:80"), (Some("${A}"), "80", "tcp"));
    }

    #[test]
    fn ranges_are_expanded() {
        let pairs = |text: &str| expand(&split(text));
        assert_eq!(
            pairs("3000-3001:4000-4001"),
            Ok(vec![(Some(3000), 4000), (Some(3001), 4001)])
        );
        assert_eq!(
            pairs("8000-8001:80"),
            Ok(vec![(Some(8000), 80), (Some(8001), 80)])
        );
        assert_eq!(pairs("6000-6001"), Ok(vec![(None, 6000), (None, 6001)]));
        for bad in ["x:80", "80:", "1-3:1-2", "70000", "5-4"] {
            assert!(pairs(bad).is_err(), "{bad}");
        }
    }
}
