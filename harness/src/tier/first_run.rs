//! The declared requests that a new app gets once: what its installer wants, without which every later tier would
//! judge an app that holds nothing.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::Value;

use super::{Bench, TierError};
use crate::declared::file::Request;
use crate::event::Event;
use crate::finding::Finding;
use crate::http::{Answer, Cookies, MOST_REDIRECTS, Next, Question};

/// The statuses that count where none are declared.
const STATUSES: [u16; 4] = [200, 201, 202, 204];

/// How many lines of an answer are shown.
const SHOWN_LINES: usize = 30;

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
    let mut question = match question(bench, request) {
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
        if accepted.contains(&answer.status) {
            let body = String::from_utf8_lossy(&answer.body);
            let missing = request.contains.iter().find(|text| !body.contains(*text));
            let Some(text) = missing else {
                return Ok(Ok(()));
            };
            show(bench, &asked, &answer);
            return Ok(Err(format!(
                "status {}, and the body does not contain `{text}`",
                answer.status
            )));
        }
        match bench.http.next(&way, &question, &answer) {
            Some(Next::Ask(following)) => question = *following,
            Some(Next::Elsewhere(target)) => {
                show(bench, &asked, &answer);
                return Ok(Err(format!(
                    "it redirects to another host, `{target}`, which is not asked"
                )));
            }
            Some(Next::Nowhere(target)) => {
                show(bench, &asked, &answer);
                return Ok(Err(format!(
                    "it redirects to `{target}`, which is no address"
                )));
            }
            None => {
                show(bench, &asked, &answer);
                let accepted: Vec<String> = accepted.iter().map(u16::to_string).collect();
                return Ok(Err(format!(
                    "status {} (accepted: {})",
                    answer.status,
                    accepted.join(", ")
                )));
            }
        }
    }
    Ok(Err(format!("more than {MOST_REDIRECTS} redirects")))
}

fn show(bench: &Bench, asked: &Question, answer: &Answer) {
    let mut lines = vec![format!("status {}", answer.status)];
    let told = ["location", "content-type"];
    let headers = answer.headers.iter();
    lines.extend(
        headers
            .filter(|(name, _)| told.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {value}")),
    );
    let body = String::from_utf8_lossy(&answer.body);
    let text = body.lines().filter(|line| !line.trim().is_empty());
    lines.extend(text.take(SHOWN_LINES).map(str::to_owned));
    bench.events.emit(&Event::FailureOutput {
        title: format!("answer to {} {}", asked.method, asked.path),
        lines,
    });
}

fn method(request: &Request) -> &str {
    match &request.method {
        Some(method) => method,
        None if request.form.is_empty() && request.json.is_none() => "GET",
        None => "POST",
    }
}

fn question(bench: &Bench, request: &Request) -> Result<Question, String> {
    let fill = Filling {
        known: BTreeMap::from([
            ("DOMAIN", bench.lock.domain().to_string()),
            ("STACK_NAME", bench.lock.domain().stack().to_string()),
            ("RECIPE", bench.recipe.to_string()),
        ]),
        secret: |name: &str| bench.driver.site().value_of(name),
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
        host: bench.health_host(),
        headers,
        body,
    })
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
