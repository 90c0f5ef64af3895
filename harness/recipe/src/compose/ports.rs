//! The short syntax of published ports: `[[address:]published:]target[/protocol]`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Ports in short syntax.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// `tcp`, `udp` or `sctp`.
    pub(super) protocol: String,
    /// Published and target port, in Docker's order: that of the targets' texts.
    pub(super) pairs: Vec<(Option<u16>, u16)>,
}

/// Returns the ports that `text` publishes; the address is dropped, as Docker drops it in a stack.
///
/// # Errors
/// What Docker does not understand, as a sentence.
pub(super) fn parse(text: &str) -> Result<Ports, String> {
    let mut parts = text.rsplitn(3, ':');
    let target = parts.next().unwrap_or_default();
    let published = parts.next().unwrap_or_default();
    if let Some(address) = parts.next().filter(|address| !address.is_empty()) {
        let inner = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        // A zone behind the address is for Docker to judge.
        if inner.unwrap_or(address).parse::<IpAddr>().is_err() {
            return Err(format!("`{address}` is not an address"));
        }
    }
    let mut parts = target.split('/');
    let target = parts.next().unwrap_or_default();
    let protocol = parts.next().filter(|protocol| !protocol.is_empty());
    let protocol = protocol.unwrap_or("tcp").to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("`{protocol}` is not `tcp`, `udp` or `sctp`"));
    }
    let targets = range(target)?;
    let mut pairs: Vec<(Option<u16>, u16)> = if published.is_empty() {
        targets.map(|target| (None, target)).collect()
    } else {
        let published = range(published)?;
        if targets.len() == published.len() {
            published.map(Some).zip(targets).collect()
        } else if targets.len() == 1 {
            let target = *targets.start();
            published.map(|outside| (Some(outside), target)).collect()
        } else {
            return Err("the ranges of ports differ in length".to_owned());
        }
    };
    pairs.sort_by_key(|(_, target)| target.to_string());
    Ok(Ports { protocol, pairs })
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse::<u16>().ok().filter(|_| digits);
        port.ok_or_else(|| format!("`{text}` is not a port"))
    };
    let mut parts = text.split('-');
    let first = port(parts.next().unwrap_or_default())?;
    let last = parts.next().map_or(Ok(first), port)?;
    if first > last {
        return Err(format!("the range of ports `{text}` is empty"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(Option<u16>, u16)> {
        parse(text).unwrap().pairs
    }

    #[test]
    fn short_syntax_is_taken_apart() {
        assert_eq!(pairs("80"), [(None, 80)]);
        assert_eq!(pairs("8080:80/udp"), [(Some(8080), 80)]);
        assert_eq!(parse("53:53/UDP").unwrap().protocol, "udp");
        assert_eq!(parse("53:53/").unwrap().protocol, "tcp");
        for text in ["127.0.0.1:8080:80", "[::1]:8080:80", "::1:8080:80"] {
            assert_eq!(pairs(text), [(Some(8080), 80)], "{text}");
        }
        assert_eq!(pairs("127.0.0.1::80"), [(None, 80)]);
    }

    #[test]
    fn ranges_are_expanded_in_the_order_of_their_texts() {
        assert_eq!(
            pairs("3000-3001:4000-4001"),
            [(Some(3000), 4000), (Some(3001), 4001)]
        );
        assert_eq!(pairs("8000-8001:80"), [(Some(8000), 80), (Some(8001), 80)]);
        assert_eq!(pairs("9-10"), [(None, 10), (None, 9)]);
    }

    #[test]
    fn what_docker_does_not_understand_is_refused() {
        for bad in [
            "",
            "x:80",
            "80:",
            "1-3:1-2",
            "70000",
            "5-4",
            "+80",
            "80x",
            "80 :80",
            "80/icmp",
            "localhost:80:80",
            "1:127.0.0.1:80:80",
            "[::1:80:80",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
