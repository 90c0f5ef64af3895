//! Declared HTTP checks of the version under test.
//!
//! They run where the head is deployed: after its install, its upgrade and its restore. While the base is
//! deployed they do not, for a proposal's check of its own new page would fail there.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use reqwest::Url;

use super::{Bench, Tally, TierError, beside};
use engine::http::{Answer, Question, Way};
use engine::wait::{Deadline, Poll, WaitError, poll_until};
use recipe::declared::file::Check;

/// How long a check may take to hold: the app serves already, and a page may still be filling a cache.
const LIMIT: Duration = Duration::from_secs(10);

/// How often it is tried.
const INTERVAL: Duration = Duration::from_millis(500);

/// The most assets of one page that are asked for.
const MOST_ASSETS: usize = 200;

/// Makes every declared check of the head; a row each.
///
/// # Errors
/// [`TierError`] when the host fails.
pub(super) async fn run(bench: &Bench, tally: &mut Tally<'_>) -> Result<(), TierError> {
    if !bench.is_on_head() {
        return Ok(());
    }
    for check in bench.declared.checks() {
        let held = poll_until(Deadline::after(LIMIT), INTERVAL, || async {
            Ok::<_, TierError>(match make(bench, check).await? {
                Ok(seen) => Poll::Ready(seen),
                Err(reason) => Poll::NotYet(reason),
            })
        })
        .await;
        let result = match held {
            Ok(seen) => Ok(Some(seen)),
            Err(WaitError::TimedOut { last, .. }) => Err(last),
            Err(WaitError::Failed(error)) => return Err(error),
        };
        tally.check(&format!("check: {}", check.path), result);
    }
    Ok(())
}

async fn make(bench: &Bench, check: &Check) -> Result<Result<String, String>, TierError> {
    let Some(web) = bench.web() else {
        return Ok(Err("the recipe has no web port to ask".to_owned()));
    };
    let way = match bench.way(&web).await? {
        Ok(way) => way,
        Err(reason) => return Ok(Err(reason)),
    };
    let answer = match bench.http.ask(&way, &Question::get(&check.path)).await {
        Ok(answer) => answer,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (mut seen, paths) = match judged(bench, check, answer).await {
        Ok(judged) => judged,
        Err(reason) => return Ok(Err(reason)),
    };
    if check.assets {
        match load_assets(bench, &way, &paths).await {
            Ok(()) => seen.push(format!("{} assets load", paths.len())),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    Ok(Ok(seen.join(", ")))
}

/// Holds an answer against its check, and returns what was seen and the assets to ask for.
async fn judged(
    bench: &Bench,
    check: &Check,
    answer: Answer,
) -> Result<(Vec<String>, Vec<String>), String> {
    let (check, domain) = (check.clone(), bench.lock.domain().to_string());
    beside(move || {
        let seen = judge(&check, &answer)?;
        let paths = match check.assets {
            true => assets(&String::from_utf8_lossy(&answer.body), &domain, &check.path)?,
            false => Vec::new(),
        };
        Ok((seen, paths))
    })
    .await
}

/// Holds an answer against everything that the check names, assets aside.
fn judge(check: &Check, answer: &Answer) -> Result<Vec<String>, String> {
    ground::signal_thread::assert_elsewhere("an answer is judged");
    let wanted = check.status.unwrap_or(200);
    if answer.status != wanted {
        return Err(format!("status {}, not {wanted}", answer.status));
    }
    let mut seen = vec![format!("status {wanted}")];
    let body = String::from_utf8_lossy(&answer.body);
    if let Some(wanted) = &check.title {
        match title(&body) {
            Some(title) if title == squeeze(wanted) => seen.push("title".to_owned()),
            Some(title) => return Err(format!("the title is `{title}`, not `{wanted}`")),
            None => return Err(format!("the page has no title; `{wanted}` was expected")),
        }
    }
    if let Some(text) = check.contains.iter().find(|text| !body.contains(*text)) {
        return Err(format!("the body does not contain `{text}`"));
    }
    if !check.contains.is_empty() {
        seen.push(format!("{} texts", check.contains.len()));
    }
    for (name, wanted) in &check.header {
        let name = name.to_lowercase();
        let values: Vec<&str> = answer
            .headers
            .iter()
            .filter(|(header, _)| *header == name)
            .map(|(_, value)| value.as_str())
            .collect();
        if values.is_empty() {
            return Err(format!("there is no header `{name}`"));
        }
        if !values.iter().any(|value| value.contains(wanted)) {
            return Err(format!(
                "header `{name}` is `{}`, which does not contain `{wanted}`",
                values.join("`, `")
            ));
        }
        seen.push(format!("header {name}"));
    }
    if !check.json.is_empty() {
        let value: serde_json::Value = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("the body is no JSON: {error}"))?;
        for (pointer, wanted) in &check.json {
            match value.pointer(pointer) {
                Some(there) if same(there, wanted) => seen.push(format!("json {pointer}")),
                Some(there) => return Err(format!("{pointer} is {there}, not {wanted}")),
                None => return Err(format!("the body has nothing at {pointer}")),
            }
        }
    }
    Ok(seen)
}

/// YAML's `1.0` and JSON's `1` are one number.
fn same(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn title(page: &str) -> Option<String> {
    static TITLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?is)<title(?:\s[^>]*)?>(.*?)</title\s*>").expect("the pattern is valid")
    });
    let inner = TITLE.captures(page)?.get(1)?.as_str();
    Some(squeeze(&unescape(inner)))
}

/// Resolves the entities that titles and URLs really have.
fn unescape(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&apos;", "'"),
        ("&nbsp;", " "),
        ("&#x2F;", "/"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (entity, plain)| {
        text.replace(entity, plain)
    })
}

/// Asks for every asset.
async fn load_assets(bench: &Bench, way: &Way, paths: &[String]) -> Result<(), String> {
    for path in paths {
        match bench.http.ask(way, &Question::get(path)).await {
            Ok(answer) if answer.status < 400 => {}
            Ok(answer) => return Err(format!("asset `{path}` answers {}", answer.status)),
            Err(error) => return Err(format!("asset `{path}`: {error}")),
        }
    }
    Ok(())
}

/// Returns the paths of a page's scripts, links and images of its own origin.
///
/// A page without any is an error: nothing would be verified. A parser of HTML would know more forms; for
/// finding attributes of three elements its weight was not worth it.
fn assets(page: &str, domain: &str, at: &str) -> Result<Vec<String>, String> {
    static COMMENT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?s)<!--.*?-->").expect("the pattern is valid"));
    static TAG: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?is)<(script|link|img|base)\b((?:[^>"']|"[^"]*"|'[^']*')*)>"#)
            .expect("the pattern is valid")
    });
    let mut base = Url::parse(&format!("https://{domain}{at}"))
        .map_err(|error| format!("`{at}` is no path: {error}"))?;
    let origin = base.origin();
    let page = COMMENT.replace_all(page, "");
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    for tag in TAG.captures_iter(&page) {
        let attributes = &tag[2];
        let reference = match tag[1].to_lowercase().as_str() {
            "link" if !loads(attribute(attributes, "rel").as_deref()) => None,
            "link" | "base" => attribute(attributes, "href"),
            _ => attribute(attributes, "src"),
        };
        let Some(url) = reference.and_then(|reference| base.join(reference.trim()).ok()) else {
            continue;
        };
        if tag[1].eq_ignore_ascii_case("base") {
            base = url;
            continue;
        }
        // The app may write its own address with the scheme that its gateway has for it.
        let own = url.origin() == origin
            || (url.scheme() == "http" && url.host_str() == Some(domain) && url.port().is_none());
        if !own {
            continue;
        }
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        if known.insert(path.clone()) {
            found.push(path);
        }
        if found.len() > MOST_ASSETS {
            return Err(format!("the page names more than {MOST_ASSETS} assets"));
        }
    }
    if found.is_empty() {
        return Err("the page names no script, style sheet or image of its own".to_owned());
    }
    Ok(found)
}

/// Whether a browser loads a link of these relations with the page.
fn loads(rel: Option<&str>) -> bool {
    let loaded = [
        "stylesheet",
        "icon",
        "preload",
        "modulepreload",
        "manifest",
        "apple-touch-icon",
        "mask-icon",
    ];
    rel.is_some_and(|rel| {
        rel.split_whitespace()
            .any(|word| loaded.contains(&word.to_lowercase().as_str()))
    })
}

fn attribute(attributes: &str, name: &str) -> Option<String> {
    static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?is)([a-z][a-z0-9:_-]*)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))"#)
            .expect("the pattern is valid")
    });
    ATTRIBUTE
        .captures_iter(attributes)
        .find(|found| found[1].eq_ignore_ascii_case(name))
        .and_then(|found| found.get(2).or(found.get(3)).or(found.get(4)))
        .map(|value| unescape(value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer {
            status: 200,
            headers: vec![(
                "content-type".to_owned(),
                "text/html; charset=utf-8".to_owned(),
            )],
            body: body.as_bytes().to_vec(),
            elapsed: Duration::ZERO,
        }
    }

    fn check(text: &str) -> Check {
        let text = format!("checks: [{text}]");
        let read = recipe::declared::read::parse(&text, "f", None).unwrap();
        read.file.checks.into_iter().next().unwrap()
    }

    #[test]
    fn each_word_of_a_check_can_fail() {
        let page = "<head><title lang=en>\n Notes &amp;\n more </title></head>hello";
        for (good, bad, words) in [
            ("{path: /}", "{path: /, status: 302}", "status 200, not 302"),
            (
                "{path: /, title: Notes & more}",
                "{path: /, title: Notes}",
                "the title is `Notes & more`",
            ),
            (
                "{path: /, contains: hello}",
                "{path: /, contains: [hello, bye]}",
                "does not contain `bye`",
            ),
            (
                "{path: /, header: {Content-Type: text/html}}",
                "{path: /, header: {x-frame: deny}}",
                "no header `x-frame`",
            ),
            (
                "{path: /, header: {content-type: utf-8}}",
                "{path: /, header: {content-type: json}}",
                "does not contain `json`",
            ),
        ] {
            judge(&check(good), &answer(page)).unwrap();
            let reason = judge(&check(bad), &answer(page)).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
        let json = answer(r#"{"notes": [{"n": 1, "text": "hi"}]}"#);
        judge(
            &check("{path: /, json: {/notes/0/text: hi, /notes/0/n: 1.0}}"),
            &json,
        )
        .unwrap();
        for (bad, words) in [
            (
                "{path: /, json: {/notes/0/text: ho}}",
                r#"/notes/0/text is "hi", not "ho""#,
            ),
            ("{path: /, json: {/notes/1: null}}", "nothing at /notes/1"),
        ] {
            assert!(judge(&check(bad), &json).unwrap_err().contains(words));
        }
        assert!(
            judge(&check("{path: /, json: {/a: 1}}"), &answer("<p>"))
                .unwrap_err()
                .contains("no JSON")
        );
    }

    #[test]
    fn assets_are_those_that_a_browser_loads_from_the_app() {
        let page = r#"<base href="/app/"><!-- <img src="/old.png"> -->
            <LINK href='style.css?v=1&amp;x=2' rel="stylesheet"> <link rel=canonical href="/elsewhere">
            <script async src=/js/main.js></script><script>var x = "<img src=/no>";</script>
            <img alt="a > b" src="https://notes.localhost/logo.png"><img src="//cdn.example.org/x.png">
            <img src="data:image/png;base64,AAAA"><img src="http://notes.localhost/plain.png">"#;
        assert_eq!(
            assets(page, "notes.localhost", "/deep/page").unwrap(),
            [
                "/app/style.css?v=1&x=2",
                "/js/main.js",
                "/no",
                "/logo.png",
                "/plain.png"
            ]
        );
        assert!(assets("<p>hello", "notes.localhost", "/").is_err());
    }

    #[test]
    fn the_assets_of_a_page_are_counted_until_they_are_too_many() {
        let page = |from: u32, to: u32| -> String {
            (from..to).map(|n| format!("<img src={n}>")).collect()
        };
        // Each twice, and then as many as 4 MiB have room for.
        let most = page(0, 200);
        let found = assets(&format!("{most}{most}"), "notes.localhost", "/");
        assert_eq!(found.unwrap().len(), 200);
        let watch = engine::wait::Stopwatch::start();
        let error = assets(&page(0, 270_000), "notes.localhost", "/").unwrap_err();
        assert_eq!(error, "the page names more than 200 assets");
        let elapsed = watch.elapsed();
        assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    }
}
