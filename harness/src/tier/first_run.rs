//! The declared requests that a new app gets once: what its installer wants, without which every later tier would
//! judge an app that holds nothing.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::Value;

use super::{Bench, TierError, beside};
use crate::event::Event;
use engine::http::{Answer, Cookies, MOST_REDIRECTS, Next, Question};
use ground::finding::Finding;
use ground::signal_thread;
use recipe::declared::file::Request;

/// The statuses that count where none are declared.
const STATUSES: [u16; 4] = [200, 201, 202, 204];

/// How many lines of an answer are shown, and how many characters of each.
const SHOWN_LINES: usize = 30;
const SHOWN_WIDTH: usize = 500;

/// What ends a path where an app asks for its installation, without the suffix of a program.
const INSTALLERS: [&str; 9] = [
    "install",
    "installer",
    "installation",
    "setup",
    "initial-setup",
    "first-run",
    "firstrun",
    "onboarding",
    "wizard",
];

/// Sends every request; returns why the first that did not do what it should failed, after its answer was shown.
///
/// Without any it is said when the app asks for its installation.
///
/// # Errors
/// [`TierError`] when the host fails.
pub(super) async fn send(bench: &Bench) -> Result<Result<(), String>, TierError> {
    let requests = bench.declared.first_run();
    if requests.is_empty() {
        look_for_installer(bench).await?;
        return Ok(Ok(()));
    }
    let mut cookies = Cookies::default();
    for request in requests {
        let name = format!("{} {}", method(request), request.path);
        bench
            .events
            .emit(&Event::Progress(format!("first run: {name}")));
        if let Err(reason) = make(bench, request, &mut cookies).await? {
            return Ok(Err(format!("{name}: {reason}")));
        }
    }
    Ok(Ok(()))
}

/// Makes one request and follows its redirects.
async fn make(
    bench: &Bench,
    request: &Request,
    cookies: &mut Cookies,
) -> Result<Result<(), String>, TierError> {
    let asking = Asking {
        request: request.clone(),
        host: bench.health_host(),
        known: [
            ("DOMAIN", bench.lock.domain().to_string()),
            ("STACK_NAME", bench.lock.domain().stack().to_string()),
            ("RECIPE", bench.recipe.to_string()),
        ],
        secrets: bench.driver.site().made_values(),
    };
    let mut question = match beside(move || asking.question()).await {
        Ok(question) => question,
        Err(reason) => return Ok(Err(reason)),
    };
    let accepted = request.statuses.as_deref().unwrap_or(&STATUSES);
    for _ in 0..=MOST_REDIRECTS {
        let Some(web) = bench.web() else {
            return Ok(Err("the recipe has no web port to ask".to_owned()));
        };
        let way = match bench.way(&web).await? {
            Ok(way) => way,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut asked = question.clone();
        asked.headers.extend(cookies.header());
        let answer = match bench.http.ask(&way, &asked).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error.to_string())),
        };
        cookies.take(&answer);
        let following = bench.http.next(&way, &question, &answer);
        let (status, accepts) = (answer.status, accepted.contains(&answer.status));
        let (missing, lines) = match read(request, answer).await {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        let reason = match (missing, following) {
            (None, _) if accepts => return Ok(Ok(())),
            (Some(text), _) if accepts => {
                format!("status {status}, and the body does not contain `{text}`")
            }
            (_, Some(Next::Ask(following))) => {
                question = *following;
                continue;
            }
            (_, Some(Next::Elsewhere(target))) => {
                format!("it redirects to another host, `{target}`, which is not asked")
            }
            (_, Some(Next::Nowhere(target))) => {
                format!("it redirects to `{target}`, which is no address")
            }
            (_, None) => {
                let accepted: Vec<String> = accepted.iter().map(u16::to_string).collect();
                format!("status {status} (accepted: {})", accepted.join(", "))
            }
        };
        bench.events.emit(&Event::FailureOutput {
            title: format!("answer to {} {}", asked.method, asked.path),
            lines,
            log: None,
        });
        return Ok(Err(reason));
    }
    Ok(Err(format!("more than {MOST_REDIRECTS} redirects")))
}

/// Returns which text of `request` an answer lacks, and what is shown of it.
async fn read(request: &Request, answer: Answer) -> Result<(Option<String>, Vec<String>), String> {
    let contains = request.contains.clone();
    beside(move || {
        signal_thread::assert_elsewhere("an answer is read");
        let body = String::from_utf8_lossy(&answer.body);
        let missing = contains.iter().find(|text| !body.contains(*text)).cloned();
        let mut lines = vec![format!("status {}", answer.status)];
        let told = ["location", "content-type"];
        let headers = answer.headers.iter();
        lines.extend(
            headers
                .filter(|(name, _)| told.contains(&name.as_str()))
                .map(|(name, value)| format!("{name}: {value}")),
        );
        let text = body.lines().filter(|line| !line.trim().is_empty());
        let short = |line: &str| line.chars().take(SHOWN_WIDTH).collect();
        lines.extend(text.take(SHOWN_LINES).map(short));
        Ok((missing, lines))
    })
    .await
}

fn method(request: &Request) -> &str {
    match &request.method {
        Some(method) => method,
        None if request.form.is_empty() && request.json.is_none() => "GET",
        None => "POST",
    }
}

/// What a question is made of.
struct Asking {
    request: Request,
    host: Option<String>,
    known: [(&'static str, String); 3],
    /// The values of the app's secrets by name, `-` as `_`.
    secrets: BTreeMap<String, String>,
}

impl Asking {
    fn question(&self) -> Result<Question, String> {
        signal_thread::assert_elsewhere("a request is filled in");
        let request = &self.request;
        let fill = Filling {
            known: self.known.clone().into(),
            secret: |name: &str| self.secrets.get(&name.replace('-', "_")).cloned(),
        };
        let mut headers = Vec::new();
        let mut kind = |value: &str| headers.push(("content-type".to_owned(), value.to_owned()));
        let body = if let Some(value) = &request.json {
            kind("application/json");
            Some(fill.value(value)?.to_string().into_bytes())
        } else if request.form.is_empty() {
            None
        } else {
            kind("application/x-www-form-urlencoded");
            let mut url = Url::parse("http://form/").map_err(|error| error.to_string())?;
            for (name, text) in &request.form {
                url.query_pairs_mut().append_pair(name, &fill.text(text)?);
            }
            Some(url.query().unwrap_or_default().as_bytes().to_vec())
        };
        Ok(Question {
            method: method(request).to_owned(),
            path: fill.text(&request.path)?,
            host: self.host.clone(),
            headers,
            body,
        })
    }
}

/// Fills variables in.
struct Filling<S> {
    known: BTreeMap<&'static str, String>,
    secret: S,
}

impl<S: Fn(&str) -> Option<String>> Filling<S> {
    /// Returns `text` with everything filled in; any other `$` stands for itself.
    fn text(&self, text: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, reference) = rest.split_at(at);
            filled.push_str(before);
            let Some(end) = reference.find('}') else {
                rest = reference;
                break;
            };
            let name = &reference[2..end];
            let value = match name.strip_prefix("secret:") {
                Some(secret) => Some((self.secret)(secret).ok_or_else(|| {
                    format!("the app has no secret `{secret}` whose value this run knows")
                })?),
                None => self.known.get(name).cloned(),
            };
            filled.push_str(value.as_deref().unwrap_or(&reference[..=end]));
            rest = &reference[end + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.value(item));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Object(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), self.value(value)?)));
                Value::Object(entries.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }
}

/// Says when a new app answers with its installer: then it holds nothing, whatever passes.
async fn look_for_installer(bench: &Bench) -> Result<(), TierError> {
    let Some(web) = bench.web() else {
        return Ok(());
    };
    let Ok(way) = bench.way(&web).await? else {
        return Ok(());
    };
    let front = Question {
        host: bench.health_host(),
        ..Question::get("/")
    };
    let Ok(answer) = bench.http.ask(&way, &front).await else {
        return Ok(());
    };
    if let Some(location) = answer.location()
        && is_installer(location)
    {
        bench.events.emit(&Event::Found(Box::new(Finding {
            id: "F022".to_owned(),
            service: Some(web.service),
            message: format!(
                "a new app answers `/` with {} to `{location}`, which looks like its installer: every tier judges an \
                 app that was never set up",
                answer.status
            ),
            fix: "declare what its installer wants in `first_run` of recipe-ci.yml".to_owned(),
        })));
    }
    Ok(())
}

/// Returns whether a path is where an app asks for its installation.
fn is_installer(location: &str) -> bool {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|part| {
        let name = part.to_ascii_lowercase();
        let name = name.split_once('.').map_or(name.as_str(), |(name, _)| name);
        INSTALLERS.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_and_a_secret_that_is_not_there_is_named() {
        let fill = Filling {
            known: BTreeMap::from([("DOMAIN", "a.b".to_owned())]),
            secret: |name: &str| (name == "admin").then(|| "s3cret".to_owned()),
        };
        let filled = fill.text("https://${DOMAIN}/?p=${secret:admin}&x=${OTHER}$1");
        assert_eq!(filled.as_deref(), Ok("https://a.b/?p=s3cret&x=${OTHER}$1"));
        assert_eq!(fill.text("${DOMAIN").as_deref(), Ok("${DOMAIN"));
        let value = serde_json::json!({"user": ["${secret:admin}", 1]});
        let filled = fill.value(&value).unwrap();
        assert_eq!(filled, serde_json::json!({"user": ["s3cret", 1]}));
        let reason = fill.text("${secret:none}").unwrap_err();
        assert!(reason.contains("no secret `none`"), "{reason}");
    }

    /// Returns what comes of `work` on a thread that obeys signals; `None` when it panics.
    fn obeying<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let obeys = move || {
            signal_thread::is_here();
            work()
        };
        std::thread::spawn(obeys).join().ok()
    }

    #[test]
    fn requests_and_answers_are_worked_on_beside_the_thread_that_obeys_signals() {
        let asking = || Asking {
            request: Request {
                path: "/${DOMAIN}".to_owned(),
                contains: vec!["hello".to_owned(), "bye".to_owned()],
                ..Request::default()
            },
            host: None,
            known: [
                ("DOMAIN", "a.b".to_owned()),
                ("X", String::new()),
                ("Y", String::new()),
            ],
            secrets: BTreeMap::new(),
        };
        let answer = || Answer {
            status: 200,
            headers: Vec::new(),
            body: format!("hello\n\n{}", "x".repeat(4 << 20)).into_bytes(),
            elapsed: std::time::Duration::ZERO,
        };
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.build().unwrap()
        };
        let (request, body) = (asking().request, answer());
        let read = obeying(move || runtime().block_on(read(&request, body)));
        let (missing, lines) = read.expect("it is read elsewhere").unwrap();
        assert_eq!(missing.as_deref(), Some("bye"));
        assert_eq!(lines[..2], ["status 200", "hello"]);
        assert_eq!(lines[2].len(), SHOWN_WIDTH);
        let asked = asking();
        let question = obeying(move || runtime().block_on(beside(move || asked.question())));
        assert_eq!(question.unwrap().unwrap().path, "/a.b");
        // What would be the case without it.
        assert!(obeying(move || asking().question()).is_none());
    }

    #[test]
    fn an_installer_is_known_by_its_path() {
        for path in [
            "/wp-admin/install.php",
            "https://a.b/install",
            "/setup/?lang=en",
            "/index.php/installation",
            "/onboarding",
        ] {
            assert!(is_installer(path), "{path}");
        }
        for path in ["/login", "/", "/installed-apps", "/setup-guide"] {
            assert!(!is_installer(path), "{path}");
        }
    }
}
