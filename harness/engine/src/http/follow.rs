//! Where a redirect leads, as far as the app itself answers.

use reqwest::Url;

use super::{Answer, Cookies, Http, HttpError, Question, Way};

/// The most redirects that are followed.
pub const MOST_REDIRECTS: usize = 10;

/// Where an answer sends its client.
#[derive(Debug)]
pub enum Next {
    /// To another address of the app.
    Ask(Box<Question>),
    /// To another host, or another port; its address without the query.
    Elsewhere(String),
    /// To what is no address of a page: none at all, or of another scheme than those of the web.
    Nowhere(String),
}

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
    /// At what is no address of a page.
    Nowhere,
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
    /// Returns where `answer`, which `question` got behind `way`, sends its client; `None` when it is no redirect.
    ///
    /// Only 307 and 308 keep what was sent, as browsers have it.
    #[must_use]
    pub fn next(&self, way: &Way, question: &Question, answer: &Answer) -> Option<Next> {
        let host = question.host.as_deref().unwrap_or(&self.domain);
        let port = match way {
            Way::Direct { .. } => None,
            Way::Gateway(gateway) => Some(gateway.address.port()),
        };
        let location = answer.location()?;
        let here = Url::parse(&format!("https://{host}{}", question.path)).ok()?;
        let target = here.join(location).ok();
        let is_page = |target: &Url| matches!(target.scheme(), "http" | "https");
        let Some(mut target) = target.filter(is_page) else {
            return Some(Next::Nowhere(location.to_owned()));
        };
        let own = target.host_str() == Some(host)
            && target.port().is_none_or(|there| Some(there) == port);
        if !own {
            target.set_query(None);
            target.set_fragment(None);
            return Some(Next::Elsewhere(target.to_string()));
        }
        let path = match target.query() {
            Some(query) => format!("{}?{query}", target.path()),
            None => target.path().to_owned(),
        };
        Some(Next::Ask(Box::new(match answer.status {
            307 | 308 => Question {
                path,
                ..question.clone()
            },
            _ => Question {
                host: question.host.clone(),
                method: "GET".to_owned(),
                ..Question::get(&path)
            },
        })))
    }

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
        let mut cookies = Cookies::default();
        let mut asked = question.clone();
        let mut seen = vec![(asked.path.clone(), cookies.clone())];
        let mut hops = Vec::new();
        let ended = loop {
            match self.next(way, &asked, &answer) {
                None => break Ended::Here,
                Some(Next::Nowhere(shown)) => {
                    hops.push(shown);
                    break Ended::Nowhere;
                }
                Some(Next::Elsewhere(shown)) => {
                    hops.push(shown);
                    break Ended::Elsewhere;
                }
                Some(Next::Ask(next)) => asked = *next,
            }
            hops.push(without_query(&asked.path).to_owned());
            cookies.take(&answer);
            let this = (asked.path.clone(), cookies.clone());
            if seen.contains(&this) {
                break Ended::InACircle;
            }
            if hops.len() > MOST_REDIRECTS {
                break Ended::TooLong;
            }
            seen.push(this);
            let mut next = asked.clone();
            next.headers.extend(cookies.header());
            answer = self.ask(way, &next).await?;
        };
        Ok(End {
            answer,
            ended,
            hops,
        })
    }
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ground::name::Domain;

    #[test]
    fn redirects_are_followed_on_the_apps_own_host_only() {
        let zone = "b.localhost".parse().unwrap();
        let domain = Domain::parse("note-0a1b2c.b.localhost", &zone).unwrap();
        let http = Http::new(&domain, None).unwrap();
        let way = Way::Direct {
            address: [127, 0, 0, 1].into(),
            port: 8080,
            tls: false,
        };
        let follow = |host: Option<&str>, status, to: &str| {
            let asked = Question {
                method: "POST".to_owned(),
                path: "/install?step=2".to_owned(),
                host: host.map(str::to_owned),
                headers: vec![("content-type".to_owned(), "x".to_owned())],
                body: Some(b"x".to_vec()),
            };
            let answer = Answer {
                status,
                headers: vec![("location".to_owned(), to.to_owned())],
                body: Vec::new(),
                elapsed: std::time::Duration::ZERO,
            };
            match http.next(&way, &asked, &answer) {
                None => "no redirect".to_owned(),
                Some(Next::Nowhere(_)) => "nowhere".to_owned(),
                Some(Next::Elsewhere(_)) => "elsewhere".to_owned(),
                Some(Next::Ask(next)) => {
                    assert_eq!(next.host.as_deref(), host);
                    assert_eq!(next.headers.is_empty(), next.body.is_none());
                    format!("{} {} {}", next.method, next.path, next.body.is_some())
                }
            }
        };
        assert_eq!(follow(None, 302, "/done?x=1"), "GET /done?x=1 false");
        let own = "https://note-0a1b2c.b.localhost:443/";
        assert_eq!(follow(None, 303, own), "GET / false");
        assert_eq!(follow(None, 301, "next"), "GET /next false");
        assert_eq!(follow(None, 307, "/y"), "POST /y true");
        for to in ["https://evil.example/", "//other/x", "http://127.0.0.1/"] {
            assert_eq!(follow(None, 302, to), "elsewhere", "{to}");
        }
        for to in ["https://", "javascript:alert(1)", "file:///etc/passwd"] {
            assert_eq!(follow(None, 302, to), "nowhere", "{to}");
        }
        assert_eq!(follow(None, 200, "/y"), "no redirect");
        // An app that is asked by another name answers by it.
        assert_eq!(
            follow(Some("www.x.localhost"), 302, "//www.x.localhost/a"),
            "GET /a false"
        );
        assert_eq!(follow(Some("www.x.localhost"), 302, own), "elsewhere");
    }
}
