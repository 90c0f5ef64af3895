//! The cookies that an app sets, brought back with the next request.

use std::collections::BTreeMap;

use super::Answer;

/// What an app gave to be brought back. All of it is the app's own: nothing else is asked with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cookies(BTreeMap<String, String>);

impl Cookies {
    /// Takes over what an answer sets, and forgets what it ends.
    pub fn take(&mut self, answer: &Answer) {
        for (name, text) in &answer.headers {
            if name != "set-cookie" {
                continue;
            }
            let mut parts = text.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let ends = parts.any(|part| {
                let part = part.trim().to_ascii_lowercase();
                let age = part.strip_prefix("max-age=");
                age.and_then(|age| age.parse::<i64>().ok())
                    .is_some_and(|age| age <= 0)
            });
            let name = name.trim().to_owned();
            if ends {
                self.0.remove(&name);
            } else {
                self.0.insert(name, value.trim().to_owned());
            }
        }
    }

    /// Returns the header that brings them back; `None` without any.
    #[must_use]
    pub fn header(&self) -> Option<(String, String)> {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| ("cookie".to_owned(), pairs.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, &str)]) -> Answer {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Answer {
            status: 200,
            headers: headers.iter().map(own).collect(),
            body: Vec::new(),
            elapsed: std::time::Duration::ZERO,
        }
    }

    #[test]
    fn cookies_are_brought_back_until_they_end() {
        let mut cookies = Cookies::default();
        let set = [
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "b=2; HttpOnly"),
        ];
        cookies.take(&answer(&set));
        let header = |cookies: &Cookies| cookies.header().map(|(_, value)| value);
        assert_eq!(header(&cookies).as_deref(), Some("a=1; b=2"));
        cookies.take(&answer(&[("set-cookie", "a=; Max-Age=0")]));
        assert_eq!(header(&cookies).as_deref(), Some("b=2"));
        cookies.take(&answer(&[
            ("set-cookie", "b=; Max-Age=0"),
            ("set-cookie", "c"),
        ]));
        assert_eq!(cookies.header(), None);
    }
}
