//! Where a redirect leads, as far as the app itself answers.

use reqwest::Url;

use super::cookies::Cookies;
use super::{Answer, Http, HttpError, Question, Way};

/// The most redirects that are followed.
const MOST: usize = 10;

/// How following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// An answer that is no redirect, or a redirect without a target.
    Here,
    /// At another host.
    Elsewhere,
    /// At an address that was asked before, with the same cookies.
    InACircle,
    /// After too many redirects.
    TooLong,
}

/// Where a redirect led.
#[derive(Debug)]
pub struct End {
    /// The last answer.
    pub answer: Answer,
    /// How it ended.
    pub ended: Ended,
    /// Where each redirect led: a path of the app, or an address elsewhere, without its query.
    pub hops: Vec<String>,
}

impl Answer {
    /// Returns the first value of a header; `name` is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns where it redirects to.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
            .then(|| self.header("location"))
            .flatten()
    }
}

impl Http {
    /// Follows `answer`, which `question` got behind `way`, through redirects to the same host.
    ///
    /// Cookies are kept on the way: there are apps that set one and look whether it comes back.
    ///
    /// # Errors
    /// [`HttpError`] when one of them gets no answer.
    pub async fn follow(
        &self,
        way: &Way,
        question: &Question,
        mut answer: Answer,
    ) -> Result<End, HttpError> {
        let host = question.host.as_deref().unwrap_or(&self.domain);
        let port = match way {
            Way::Direct { .. } => None,
            Way::Gateway(gateway) => Some(gateway.address.port()),
        };
        let mut cookies = Cookies::default();
        let mut seen = vec![(question.path.clone(), cookies.clone())];
        let mut hops = Vec::new();
        let mut here = Url::parse(&format!("https://{host}{}", question.path)).ok();
        let ended = loop {
            let target = here.as_ref().zip(answer.location());
            let Some(target) = target.and_then(|(here, location)| here.join(location).ok()) else {
                break Ended::Here;
            };
            let own = target.host_str() == Some(host)
                && target.port().is_none_or(|there| Some(there) == port);
            if !own {
                let mut shown = target;
                shown.set_query(None);
                shown.set_fragment(None);
                hops.push(shown.to_string());
                break Ended::Elsewhere;
            }
            hops.push(target.path().to_owned());
            cookies.take(&answer);
            let path = path_of(&target);
            let asked = (path.clone(), cookies.clone());
            if seen.contains(&asked) {
                break Ended::InACircle;
            }
            if hops.len() > MOST {
                break Ended::TooLong;
            }
            seen.push(asked);
            let mut next = Question {
                path,
                method: String::new(),
                body: None,
                ..question.clone()
            };
            next.headers.extend(cookies.header());
            answer = self.ask(way, &next).await?;
            here = Some(target);
        };
        Ok(End {
            answer,
            ended,
            hops,
        })
    }
}

/// Returns path and query of an address, as they are asked for.
#[must_use]
pub fn path_of(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}
