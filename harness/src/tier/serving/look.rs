//! One look at an app: what it answers, directly and through the gateway, and what that means.

use engine::http::{Answer, Ended, Gateway, Http, HttpError, Question, Way};
use recipe::declared::Statuses;

/// What is the same for two redirects to a page that is not there.
const NO_PAGE: &str = "redirect to 404";

/// What is the same for two connections that nothing accepted.
const REFUSED: &str = "refused";

/// How much of a body is shown, in characters.
const SHOWN: usize = 100;

/// What servers say that speak TLS and were asked without: nginx, Go, Apache, Tomcat.
const PLAIN_TO_TLS: [&str; 4] = [
    "plain HTTP request was sent to HTTPS port",
    "HTTP request to an HTTPS server",
    "speaking plain HTTP to an SSL-enabled server port",
    "combination of host and port requires TLS",
];

/// What an answer through the gateway is worth that the app does not give.
const NOT_THE_APP: &str = ": what answers at the gateway is not the app";

/// What one look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// It serves.
    Serves(Said),
    /// It may serve later.
    NotYet(Said),
    /// A page that is not there, an error of the app's own, or a port that nothing listens at: its answer, if it has
    /// begun.
    Missing(Said),
    /// If it goes on so, that is its answer.
    Final(Said),
    /// It serves, and the gateway does not lead to it. If that goes on, it is so.
    NotRouted(Said),
    /// It will not serve so.
    Never(Said),
}

/// What is said of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// What is the same for two looks that saw the same: bodies and addresses often have something new in them.
    pub(super) key: String,
    /// What is shown.
    pub(super) text: String,
}

impl Said {
    /// Returns whether a page is not there, in contrast to an error of the app's own.
    pub(super) fn is_no_page(&self) -> bool {
        matches!(self.key.as_str(), "404" | NO_PAGE)
    }

    /// Returns whether nothing listens at the port.
    pub(super) fn is_refused(&self) -> bool {
        self.key == REFUSED
    }
}

fn said(key: impl Into<String>, text: impl Into<String>) -> Said {
    Said {
        key: key.into(),
        text: text.into(),
    }
}

/// What an app is asked, and what counts.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) http: &'a Http,
    pub(super) question: Question,
    pub(super) accepted: Statuses<'a>,
    /// What the gateway says to a domain that no app has, at the same path.
    pub(super) fallback: Option<Answer>,
    /// Whether one service alone answers for the domain, so that all of its paths are there.
    pub(super) alone: bool,
}

impl Asked<'_> {
    /// Asks `direct`, or says why there is no such way, and `gateway`. With one the gateway has to lead to the app, and
    /// what the app says by itself is said as well.
    pub(super) async fn look(
        &self,
        direct: Result<Way, String>,
        gateway: Option<&Gateway>,
    ) -> Seen {
        let direct = match direct {
            Ok(way) => self.one(&way).await,
            Err(reason) => Seen::NotYet(said("", reason)),
        };
        let Some(gateway) = gateway else {
            return direct;
        };
        let through = self.one(&Way::Gateway(gateway.clone())).await;
        let (key, there, here) = (
            &direct.said().key,
            &through.said().text,
            &direct.said().text,
        );
        let both = |key: &str, then: &str| {
            let text = format!("through the gateway: {there}; directly: {here}{then}");
            said(key, text)
        };
        let then = match &through {
            Seen::Serves(_) => NOT_THE_APP,
            _ => "",
        };
        match (&through, &direct) {
            (Seen::Serves(_), Seen::Serves(_)) => {
                let text = format!("{there} through the gateway, and directly");
                Seen::Serves(said("", text))
            }
            // The gateway may ask for another path, or lead to another service of the recipe. An error of the app's own
            // is the app's, wherever it is asked.
            (Seen::Serves(_), Seen::Missing(said) | Seen::Final(said) | Seen::Never(said))
                if self.routes_by_name()
                    && (said.is_no_page() || !matches!(direct, Seen::Missing(_))) =>
            {
                let text = format!("{there} through the gateway; directly: {here}");
                Seen::Serves(self::said("", text))
            }
            (_, Seen::Serves(_)) => {
                let then = ": the gateway does not lead to it. Its labels, its network and the gateway's log say why";
                Seen::NotRouted(both("not routed", then))
            }
            (_, Seen::NotYet(_)) => Seen::NotYet(both("", then)),
            (_, Seen::Missing(_)) => Seen::Missing(both(key, then)),
            (_, Seen::Never(_)) => Seen::Never(both(key, then)),
            (_, Seen::Final(_) | Seen::NotRouted(_)) => Seen::Final(both(key, then)),
        }
    }

    /// Returns whether the gateway serves only domains that some app has. Of one that serves any domain, what it says to
    /// the app's is no proof: not every page that is made for anybody is the same twice.
    fn routes_by_name(&self) -> bool {
        let fallback = self.fallback.as_ref();
        fallback.is_none_or(|answer| !self.accepted.accept(answer.status))
    }

    async fn one(&self, way: &Way) -> Seen {
        let answer = match self.http.ask(way, &self.question).await {
            Ok(answer) => answer,
            Err(error) => return without_answer(&error),
        };
        if let Some(wrong) = speaks_tls(&answer) {
            return Seen::Never(said("TLS", wrong));
        }
        let is_gateways = |answer: &Answer| {
            let same = |other: &Answer| other.status == answer.status && other.body == answer.body;
            matches!(way, Way::Gateway(_)) && self.fallback.as_ref().is_some_and(same)
        };
        let path = &self.question.path;
        let status = answer.status;
        if is_gateways(&answer) {
            let text = format!(
                "status {status}, but the gateway says the same to a domain that no app has"
            );
            return Seen::NotYet(said("", text));
        }
        if !self.accepted.accept(status) {
            return self.unaccepted(&answer);
        }
        let millis = answer.elapsed.as_millis();
        if answer.location().is_none() || !self.accepted.is_default() {
            return Seen::Serves(said("", format!("{status} at {path} in {millis} ms")));
        }
        let end = match self.http.follow(way, &self.question, answer).await {
            Ok(end) => end,
            Err(error) => {
                let text = format!("{status} at {path}, and where it leads: {error}");
                return Seen::NotYet(said("", text));
            }
        };
        let hops: Vec<String> = end.hops.iter().map(|hop| one_line(hop)).collect();
        let to = format!("{status} at {path} → {}", hops.join(" → "));
        match end.ended {
            Ended::Elsewhere => Seen::Serves(said("", format!("{to} in {millis} ms"))),
            Ended::InACircle => {
                Seen::Final(said("circle", format!("it redirects in a circle: {to}")))
            }
            Ended::Nowhere => Seen::Final(said(
                "nowhere",
                format!("it redirects to what is no address of a page: {to}"),
            )),
            Ended::TooLong => {
                Seen::Final(said("endless", format!("it redirects without end: {to}")))
            }
            Ended::Here => {
                let last = end.answer.status;
                let reached = format!("{to}: status {last}{}", body_of(&end.answer));
                match last {
                    500 | 501 | 505.. => Seen::Missing(said("redirect to an error", reached)),
                    502..=504 => Seen::NotYet(said("", reached)),
                    404 if is_gateways(&end.answer) => Seen::NotYet(said("", reached)),
                    404 if self.alone => Seen::Missing(said(NO_PAGE, reached)),
                    _ => Seen::Serves(said("", format!("{to} ({last}) in {millis} ms"))),
                }
            }
        }
    }

    fn unaccepted(&self, answer: &Answer) -> Seen {
        let status = answer.status;
        let location = match answer.header("location") {
            Some(location) => format!(", location {}", one_line(location)),
            None => String::new(),
        };
        let text = format!(
            "status {status} (accepted: {}){location}{}",
            self.accepted,
            body_of(answer)
        );
        let key = status.to_string();
        match status {
            404 => Seen::Missing(said(key, text)),
            // What a gateway or a maintenance page says, 502 to 504, ends by itself; these are the app's own words.
            500 | 501 | 505.. => Seen::Missing(said(key, text)),
            // It asks to come back, or has not begun.
            408 | 425 | 429 | 500.. => Seen::NotYet(said(key, text)),
            _ => {
                let hint = format!(
                    "{text}; if that is right, write `health: {{statuses: [{status}]}}` or another `health.path` into recipe-ci.yml"
                );
                Seen::Final(said(key, hint))
            }
        }
    }
}

impl Seen {
    fn said(&self) -> &Said {
        match self {
            Self::Serves(said)
            | Self::NotYet(said)
            | Self::Missing(said)
            | Self::Final(said)
            | Self::NotRouted(said)
            | Self::Never(said) => said,
        }
    }
}

fn without_answer(error: &HttpError) -> Seen {
    if error.is_no_tls() {
        let text = "it was asked in HTTPS and does not speak TLS: see the label `loadbalancer.server.scheme` of its Traefik service, and `health.scheme` in recipe-ci.yml";
        return Seen::Final(said("no TLS", text));
    }
    match error.is_refused() {
        true => Seen::Missing(said(REFUSED, error.to_string())),
        false => Seen::NotYet(said("", error.to_string())),
    }
}

/// Returns what is wrong where a server says that it was asked without TLS.
fn speaks_tls(answer: &Answer) -> Option<String> {
    let body = String::from_utf8_lossy(&answer.body);
    let says = PLAIN_TO_TLS.iter().any(|words| body.contains(words));
    (answer.status == 400 && says).then(|| {
        "it speaks TLS, and was asked without: set the label `loadbalancer.server.scheme=https` of its Traefik service, or `health: {scheme: https}` in recipe-ci.yml where the gateway knows by other means".to_owned()
    })
}

/// Returns the first line of a body that says something, for an error.
fn body_of(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map_or_else(String::new, |line| format!(", body `{}`", one_line(line)))
}

fn one_line(text: &str) -> String {
    let mut all = text.chars().filter(|c| !c.is_control());
    let mut short: String = all.by_ref().take(SHOWN).collect();
    if all.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
