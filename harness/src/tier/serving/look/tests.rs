//! Looks at real servers.

use std::net::SocketAddr;

use super::*;
use engine::http::testing::{OF_ANOTHER, page, serve};
use ground::name::Domain;

fn domain() -> Domain {
    let zone = "ci.localhost".parse().unwrap();
    Domain::parse("note-0a1b2c.ci.localhost", &zone).unwrap()
}

fn through(address: SocketAddr) -> Gateway {
    format!("http://{address}").parse().unwrap()
}

fn at(address: SocketAddr, tls: bool) -> Result<Way, String> {
    Ok(Way::Direct {
        address: address.ip(),
        port: address.port(),
        tls,
    })
}

async fn looked(direct: Result<Way, String>, gateway: Option<&Gateway>, alone: bool) -> Seen {
    let http = Http::new(&domain(), gateway).unwrap();
    let zone = "ci.localhost".parse().unwrap();
    let asked = Asked {
        http: &http,
        question: Question::get("/"),
        accepted: Statuses::of(None),
        fallback: http.fallback(&zone, "/").await,
        alone,
    };
    asked.look(direct, gateway).await
}

fn name(seen: &Seen) -> &'static str {
    match seen {
        Seen::Serves(_) => "serves",
        Seen::NotYet(_) => "not yet",
        Seen::Missing(_) => "missing",
        Seen::Final(_) => "final",
        Seen::NotRouted(_) => "not routed",
        Seen::Never(_) => "never",
    }
}

#[track_caller]
fn is(seen: &Seen, expected: &str, words: &str) {
    assert!(
        name(seen) == expected && seen.said().text.contains(words),
        "{seen:?} is not {expected}: {words}"
    );
}

/// Every path is answered by its name.
fn by_path(request: &str) -> String {
    let path = request.split([' ', '?']).nth(1).unwrap_or_default();
    let to = |status: u16, location: &str| page(status, &format!("Location: {location}\r\n"), "");
    match path {
        "/login" => page(200, "", "log in"),
        "/broken" => page(500, "", "no database"),
        "/none" => page(404, "", "nothing here"),
        "/a" => to(302, "/b"),
        "/b" => to(302, "https://note-0a1b2c.ci.localhost/a"),
        _ => match path.strip_prefix("/more/") {
            Some(number) => to(
                302,
                &format!("/more/{}", number.parse::<u32>().unwrap() + 1),
            ),
            None => page(404, "", ""),
        },
    }
}

/// Returns a server whose front page answers with this status and these headers.
fn front(status: u16, headers: &'static str) -> SocketAddr {
    serve(None, move |request| match request.starts_with("GET / ") {
        true => page(status, headers, "\n  first line \nsecond"),
        false => by_path(request),
    })
}

#[tokio::test(flavor = "current_thread")]
async fn a_status_says_whether_an_app_serves_will_or_never_does() {
    for (status, expected, words) in [
        (200, "serves", "200 at / in "),
        (204, "serves", "204 at / in "),
        (307, "serves", "307 at / in "),
        (304, "final", "status 304"),
        (400, "final", "write `health: {statuses: [400]}`"),
        (
            401,
            "final",
            "status 401 (accepted: 200 to 299, 301, 302, 303, 307, 308), body `first line`; if that is right",
        ),
        (403, "final", "status 403"),
        (404, "missing", "status 404 (accepted: "),
        (408, "not yet", "status 408"),
        (425, "not yet", "status 425"),
        (429, "not yet", "status 429"),
        (500, "missing", "status 500"),
        (502, "not yet", "status 502"),
        (503, "not yet", "status 503"),
        (507, "missing", "status 507"),
    ] {
        let seen = looked(at(front(status, ""), false), None, true).await;
        is(&seen, expected, words);
    }
    is(
        &looked(Err("no container".to_owned()), None, true).await,
        "not yet",
        "no container",
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_redirect_serves_where_it_leads_somewhere() {
    for (status, headers, alone, expected, words) in [
        (
            301,
            "Location: https://sso.example.org/auth?state=1\r\n",
            true,
            "serves",
            "301 at / → https://sso.example.org/auth in ",
        ),
        (
            302,
            "Location: /login\r\n",
            true,
            "serves",
            "302 at / → /login (200)",
        ),
        (
            303,
            "Location: login?next=1\r\n",
            true,
            "serves",
            "303 at / → /login (200)",
        ),
        (
            307,
            "Location: https://note-0a1b2c.ci.localhost/login\r\n",
            true,
            "serves",
            "307 at / → /login (200)",
        ),
        (
            308,
            "Location: http://note-0a1b2c.ci.localhost/login\r\n",
            true,
            "serves",
            "308 at / → /login (200)",
        ),
        (
            302,
            "Location: /broken\r\n",
            true,
            "missing",
            "302 at / → /broken: status 500, body `no database`",
        ),
        (
            302,
            "Location: /none\r\n",
            true,
            "missing",
            "302 at / → /none: status 404",
        ),
        // Another service of the recipe may answer there.
        (
            302,
            "Location: /none\r\n",
            false,
            "serves",
            "302 at / → /none (404)",
        ),
        (
            302,
            "Location: /a\r\n",
            true,
            "final",
            "it redirects in a circle: 302 at / → /a → /b → /a",
        ),
        (
            301,
            "Location: https://note-0a1b2c.ci.localhost/\r\n",
            true,
            "final",
            "in a circle: 301 at / → /",
        ),
        (
            302,
            "Location: /more/1\r\n",
            true,
            "final",
            "it redirects without end",
        ),
        (
            302,
            "Location: javascript:alert(1)\r\n",
            true,
            "final",
            "it redirects to what is no address of a page: 302 at / → javascript:alert(1)",
        ),
    ] {
        let seen = looked(at(front(status, headers), false), None, alone).await;
        is(&seen, expected, words);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_cookie_that_an_app_asks_for_is_brought_back() {
    let address = serve(None, |request| {
        match request.to_lowercase().contains("cookie: seen=1") {
            true => page(200, "", "welcome"),
            false => page(302, "Location: /\r\nSet-Cookie: seen=1; Path=/\r\n", ""),
        }
    });
    let seen = looked(at(address, false), None, true).await;
    is(&seen, "serves", "302 at / → / (200)");
}

#[tokio::test(flavor = "current_thread")]
async fn declared_statuses_and_hosts_are_taken_as_they_are() {
    let http = Http::new(&domain(), None).unwrap();
    let address = serve(None, |request| {
        let named = request
            .to_lowercase()
            .contains("host: side.example.org\r\n");
        let status = if named { 302 } else { 200 };
        page(status, "Location: /\r\n", "")
    });
    let asked = Asked {
        http: &http,
        question: Question {
            host: Some("side.example.org".to_owned()),
            ..Question::get("/")
        },
        accepted: Statuses::of(Some(&[302])),
        fallback: None,
        alone: true,
    };
    // What it leads to is no matter then.
    is(
        &asked.look(at(address, false), None).await,
        "serves",
        "302 at /",
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_is_asked_as_it_speaks() {
    let secure = serve(Some(OF_ANOTHER), |_| page(200, "", "hello"));
    is(
        &looked(at(secure, true), None, true).await,
        "serves",
        "200 at /",
    );
    let plain = serve(None, |_| page(200, "", "hello"));
    is(
        &looked(at(plain, true), None, true).await,
        "final",
        "does not speak TLS",
    );
    for words in PLAIN_TO_TLS {
        let body = format!("<html>\n<h1>The {words}</h1>");
        let address = serve(None, move |_| page(400, "", &body));
        is(
            &looked(at(address, false), None, true).await,
            "never",
            "loadbalancer.server.scheme=https",
        );
    }
    is(
        &looked(at(front(400, ""), false), None, true).await,
        "final",
        "status 400",
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_port_that_nothing_listens_at_is_told_from_an_answer_that_does_not_come() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    for tls in [false, true] {
        let seen = looked(at(address, tls), None, true).await;
        is(&seen, "missing", "refused");
        assert!(seen.said().is_refused() && !seen.said().is_no_page());
    }
    let through_it = looked(at(address, false), Some(&gateway(502, "Bad Gateway")), true).await;
    assert!(through_it.said().is_refused(), "{through_it:?}");
    let serves = serve(None, |_| page(500, "", "down"));
    assert!(
        !looked(at(serves, false), None, true)
            .await
            .said()
            .is_refused()
    );
    let way = Err("service `app` has no running container".to_owned());
    is(
        &looked(way, None, true).await,
        "not yet",
        "no running container",
    );
}

/// Returns a gateway that answers for the app with `status`, and with its own page for everybody else.
fn gateway(status: u16, body: &'static str) -> Gateway {
    through(serve(None, move |request| {
        match request.to_lowercase().contains("host: note-0a1b2c.") {
            true => page(status, "", body),
            false => page(404, "", "404 page not found\n"),
        }
    }))
}

#[tokio::test(flavor = "current_thread")]
async fn an_app_is_asked_both_ways_and_a_difference_is_said() {
    let app = || at(front(200, ""), false);
    let login = || at(front(401, ""), false);
    let booting = || at(front(503, ""), false);
    let own = "404 page not found\n";
    for (direct, gateway, expected, words) in [
        (
            app(),
            gateway(200, "hello"),
            "serves",
            " through the gateway, and directly",
        ),
        (
            app(),
            gateway(404, own),
            "not routed",
            "through the gateway: status 404, but the gateway says the same to a domain that no app has; directly: 200 at /",
        ),
        (
            app(),
            gateway(404, "not the gateway's"),
            "not routed",
            "through the gateway: status 404 (accepted",
        ),
        (
            app(),
            gateway(502, "Bad Gateway"),
            "not routed",
            "through the gateway: status 502",
        ),
        (
            login(),
            gateway(200, "hello"),
            "serves",
            " through the gateway; directly: status 401",
        ),
        // Something answers, and it is not the app.
        (
            booting(),
            gateway(200, "hello"),
            "not yet",
            "directly: status 503 (accepted: 200 to 299, 301, 302, 303, 307, 308), body `first line`: what answers at the gateway is not the app",
        ),
        (
            at(front(500, ""), false),
            gateway(200, "hello"),
            "missing",
            "directly: status 500",
        ),
        (
            at(front(404, ""), false),
            gateway(200, "hello"),
            "serves",
            " through the gateway; directly: status 404",
        ),
        (
            Err("no container".to_owned()),
            gateway(200, "hello"),
            "not yet",
            "directly: no container: what answers at the gateway is not the app",
        ),
        (
            login(),
            gateway(401, "log in"),
            "final",
            "directly: status 401",
        ),
        (
            booting(),
            gateway(404, own),
            "not yet",
            "directly: status 503",
        ),
        (
            Err("no container".to_owned()),
            gateway(404, own),
            "not yet",
            "directly: no container",
        ),
    ] {
        let seen = looked(direct, Some(&gateway), true).await;
        is(&seen, expected, words);
    }
}
/// A gateway whose page for any domain is a new one each time.
#[tokio::test(flavor = "current_thread")]
async fn a_gateway_that_serves_any_domain_proves_nothing_about_an_app() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let any = through(serve(None, move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        page(200, "", &format!("welcome, visitor {number}"))
    }));
    let none = looked(at(front(404, ""), false), Some(&any), true).await;
    is(
        &none,
        "missing",
        "what answers at the gateway is not the app",
    );
    let login = looked(at(front(401, ""), false), Some(&any), true).await;
    is(
        &login,
        "final",
        "what answers at the gateway is not the app",
    );
    let serves = looked(at(front(200, ""), false), Some(&any), true).await;
    is(&serves, "serves", "through the gateway, and directly");
}
