//! Fetching over HTTP, from the real git behind a server on the loopback.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use git2::Repository;

use super::super::Fault;
use super::super::checkout::{checkout, target_branch_tip};
use super::super::fetch::{FetchError, FetchRequest, Fetched, fetch};
use super::super::http::TransportError;
use super::super::source::{RemoteUrl, Source};
use super::super::testing::Fixture;
use super::super::testing::server::{Rules, Server};
use super::super::token::Token;
use super::super::transport::Session;
use super::{BRANCHES, ORIGIN, UNPACKING};

const SECRET: &str = "s3cret-0123456789";

fn request(url: &str, reference: Option<&str>, to: &Path) -> FetchRequest {
    FetchRequest {
        source: Source::parse(url, None, Path::new("/")).unwrap(),
        reference: reference.map(|name| name.parse().unwrap()),
        destination: to.to_owned(),
        token: None,
    }
}

/// Everything that anyone might print of an error.
fn shown(error: &FetchError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    text
}

fn refused(result: Result<Fetched, FetchError>) -> TransportError {
    let error = result.unwrap_err();
    assert_eq!(error.fault(), Fault::Infrastructure, "{error}");
    assert!(!shown(&error).contains(SECRET));
    let FetchError::Transport(error) = error else {
        panic!("{error:?}")
    };
    error
}

/// The answer's code, the path that was asked for, and whose fault it is.
fn status_of(result: Result<Fetched, FetchError>) -> (u16, String, Fault) {
    let error = result.unwrap_err();
    let fault = error.fault();
    assert!(!shown(&error).contains(SECRET));
    match error {
        FetchError::Transport(TransportError::Status { status, path, .. }) => (status, path, fault),
        other => panic!("{other:?}"),
    }
}

fn assert_nowhere(directory: &Path, secret: &str) {
    for entry in walkdir::WalkDir::new(directory)
        .into_iter()
        .map(Result::unwrap)
    {
        if entry.file_type().is_file() {
            let content = crate::host_file::bytes(entry.path()).unwrap();
            let found = content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "the token is in {}", entry.path().display());
        }
    }
}

#[test]
fn a_repository_that_takes_too_long_to_unpack_is_at_fault_itself() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")]);
    let server = Server::start(&fixture.served(), Rules::default());
    let url = format!("{}/notes", server.url());
    let Source::Url(url) = Source::parse(&url, None, Path::new("/")).unwrap() else {
        panic!("{url} is no address")
    };
    let fetch = |unpacking: Duration| {
        let repo =
            Repository::init_bare(fixture.outside(&format!("unpacked-{}", unpacking.as_secs())))
                .unwrap();
        let session = Session::new(url.url(), None).unwrap();
        let _entered = session.enter();
        let client = super::Server {
            repo: &repo,
            session,
            origin: url.to_string(),
            unpacking,
        };
        let mut remote = client.remote(&url).unwrap();
        let specs = [format!("+{BRANCHES}*:{ORIGIN}*")];
        client.fetch(&mut remote, &specs)
    };
    let error = fetch(Duration::ZERO).unwrap_err();
    assert!(matches!(error, FetchError::Unpacking { .. }), "{error:?}");
    assert_eq!(error.fault(), Fault::Usage);
    fetch(UNPACKING).unwrap();
}

#[test]
fn every_kind_of_name_is_fetched() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    fixture.tag("light", first);
    fixture.annotated_tag("1.0.0+2", first);
    fixture.reference("refs/heads/feature/x", first);
    let head = fixture.commit(&[("a", "2")]).to_string();
    let pull = fixture.stray_commit("a pull request", first);
    let tip = fixture.stray_commit("more of it", pull);
    fixture.reference("refs/pull/4/head", tip);
    let (first, pull, tip) = (first.to_string(), pull.to_string(), tip.to_string());
    let server = Server::start(&fixture.served(), Rules::default());
    let url = format!("{}/notes", server.url());
    let names = [
        (None, &head, Some("main")),
        (Some("main"), &head, Some("main")),
        (Some("feature/x"), &first, Some("feature/x")),
        (Some("light"), &first, None),
        (Some("1.0.0+2"), &first, None),
        (Some("refs/tags/1.0.0+2"), &first, None),
        (Some(first.as_str()), &first, None),
        (Some(&first[..8]), &first, None),
        (Some("refs/pull/4/head"), &tip, None),
        (Some("pull/4/head"), &tip, None),
        (Some(tip.as_str()), &tip, None),
        (Some(&tip[..8]), &tip, None),
        // Nothing but the pull request's history leads here.
        (Some(pull.as_str()), &pull, None),
        (Some(&pull[..8]), &pull, None),
    ];
    for (place, (name, commit, branch)) in names.into_iter().enumerate() {
        let to = fixture.outside(&format!("copy{place}"));
        let fetched = fetch(&request(&url, name, &to)).unwrap();
        assert_eq!(
            (&fetched.commit.to_string(), fetched.branch.as_deref()),
            (commit, branch),
            "{name:?}"
        );
        let tags: Vec<_> = fetched
            .tags
            .iter()
            .map(|tag| (tag.name.as_str(), tag.annotated))
            .collect();
        assert_eq!(tags, [("1.0.0+2", true), ("light", false)]);
        let copy = Repository::open(&to).unwrap();
        assert!(copy.head_detached().unwrap() && copy.statuses(None).unwrap().is_empty());
        assert_eq!(
            target_branch_tip(&to).unwrap().unwrap().commit.to_string(),
            head
        );
        assert_eq!(checkout(&to, "1.0.0+2").unwrap().to_string(), first);
        assert_eq!(crate::host_file::text(to.join("a")).unwrap(), "1");
    }
}

#[test]
fn a_repository_with_too_many_tags_is_refused_before_one_of_them_is_written() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")]);
    let packed = fixture.path().join(".git/packed-refs");
    let tags = |count: u32| -> String {
        let lines = (0..count).map(|number| format!("{commit} refs/tags/{number:06}\n"));
        let head = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        std::iter::once(head).chain(lines).collect()
    };
    std::fs::write(&packed, tags(10_001)).unwrap();
    let server = Server::start(&fixture.served(), Rules::default());
    let url = format!("{}/notes", server.url());
    let path = fixture.path().display().to_string();
    for (place, source) in [url.as_str(), path.as_str()].into_iter().enumerate() {
        let to = fixture.outside(&format!("copy{place}"));
        let error = fetch(&request(source, Some("main"), &to)).unwrap_err();
        assert!(
            matches!(
                error,
                FetchError::TooManyRefs {
                    count: 10_002..,
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(error.fault(), Fault::Usage);
        assert!(!to.exists(), "{source}");
    }
    std::fs::write(&packed, tags(300)).unwrap();
    let fetched = fetch(&request(&url, Some("main"), &fixture.outside("good"))).unwrap();
    assert_eq!(fetched.tags.len(), 300);
}

#[test]
fn a_commit_is_asked_for_by_its_id_where_the_server_allows_it() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    let stray = fixture.stray_commit("no ref leads here", first).to_string();
    fixture
        .repo
        .config()
        .unwrap()
        .set_bool("uploadpack.allowAnySHA1InWant", true)
        .unwrap();
    let server = Server::start(&fixture.served(), Rules::default());
    let to = fixture.outside("copy");
    let fetched = fetch(&request(
        &format!("{}/notes", server.url()),
        Some(&stray),
        &to,
    ))
    .unwrap();
    assert_eq!(fetched.commit.to_string(), stray);
}

#[test]
fn a_detached_head_of_the_server_is_fetched() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    let stray = fixture.stray_commit("only HEAD leads here", first);
    fixture.repo.set_head_detached(stray).unwrap();
    let server = Server::start(&fixture.served(), Rules::default());
    let fetched = fetch(&request(
        &format!("{}/notes", server.url()),
        None,
        &fixture.outside("copy"),
    ))
    .unwrap();
    assert_eq!(fetched.commit, stray.into());
}

#[test]
fn a_name_that_does_not_exist_is_a_matter_of_usage() {
    let fixture = Fixture::new();
    let server = Server::start(&fixture.served(), Rules::default());
    let url = format!("{}/notes", server.url());
    let to = fixture.outside("copy");
    for name in [None, Some("main")] {
        let error = fetch(&request(&url, name, &to)).unwrap_err();
        assert!(matches!(error, FetchError::NoCommit { .. }), "{error:?}");
        assert_eq!(error.fault(), Fault::Usage);
    }
    let head = fixture.commit(&[("a", "1")]);
    fixture.tag("1.2.3", head);
    for name in ["1.2.4", "refs/pull/9/head", "abcdef12", &"1".repeat(40)] {
        let error = fetch(&request(&url, Some(name), &to)).unwrap_err();
        assert_eq!(error.fault(), Fault::Usage, "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("`{name}`"))
                && text.contains("`1.2.3`")
                && text.contains("`main`"),
            "{text}"
        );
        assert!(!to.exists());
    }
}

#[test]
fn a_private_repository_wants_the_token_and_keeps_no_trace_of_it() {
    let fixture = Fixture::new();
    let head = fixture.commit(&[("a", "1")]);
    fixture.tag("1.0.0", head);
    let pull = fixture.stray_commit("a pull request", head);
    fixture.reference("refs/pull/4/head", pull);
    let rules = Rules {
        password: Some(SECRET.into()),
        ..Rules::default()
    };
    let server = Server::start(&fixture.served(), rules);
    let url = format!("{}/notes", server.url());
    let to = fixture.outside("copy");
    let mut request = request(&url, Some(&pull.to_string()[..10]), &to);
    let path = "/notes/info/refs";
    assert_eq!(status_of(fetch(&request)), (401, path.into(), Fault::Usage));
    request.token = Some(Token::new(&server.url(), "another").unwrap());
    assert_eq!(
        status_of(fetch(&request)),
        (401, path.into(), Fault::Infrastructure)
    );
    assert!(!to.exists());

    request.token = Some(Token::new(&server.url(), SECRET).unwrap());
    assert!(!format!("{request:?}").contains(SECRET));
    assert_eq!(fetch(&request).unwrap().commit, pull.into());
    let sent = server.seen().last().unwrap().authorization.clone().unwrap();
    assert_nowhere(&to, SECRET);
    assert_nowhere(&to, sent.strip_prefix("Basic ").unwrap());

    // An error on the way, with the token in hand.
    request.destination = fixture.outside("other");
    request.reference = Some("nope".parse().unwrap());
    assert!(!shown(&fetch(&request).unwrap_err()).contains(SECRET));
}

#[test]
fn the_token_goes_to_no_other_place() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")]);
    let other = Server::start(&fixture.served(), Rules::default());
    let redirect = Some(("/notes".to_owned(), format!("{}/notes", other.url())));
    let forge = Server::start(
        &fixture.served(),
        Rules {
            redirect,
            ..Rules::default()
        },
    );
    let to = fixture.outside("copy");
    let mut request = request(&format!("{}/notes", forge.url()), None, &to);
    request.token = Some(Token::new(&forge.url(), SECRET).unwrap());
    match refused(fetch(&request)) {
        TransportError::Redirect { target, .. } => assert_eq!(target, other.url()),
        error => panic!("{error:?}"),
    }
    assert!(forge.seen()[0].authorization.is_some());
    assert!(other.seen().is_empty());

    // The forge's token, but another server's repository.
    request.source =
        Source::parse(&format!("{}/notes", other.url()), None, Path::new("/")).unwrap();
    fetch(&request).unwrap();
    assert!(
        other.seen().iter().all(|seen| seen.authorization.is_none()) && !other.seen().is_empty()
    );
}

#[test]
fn a_redirect_within_the_host_is_followed_with_the_token() {
    let fixture = Fixture::new();
    let head = fixture.commit(&[("a", "1")]);
    let rules = Rules {
        password: Some(SECRET.into()),
        redirect: Some(("/old/notes.git".into(), "/notes".into())),
        ..Rules::default()
    };
    let server = Server::start(&fixture.served(), rules);
    let forge = format!("{}/", server.url());
    let source = Source::parse("old/notes", Some(&forge), Path::new("/")).unwrap();
    let token = Some(Token::new(&forge, SECRET).unwrap());
    let to = fixture.outside("copy");
    let fetched = fetch(&FetchRequest {
        source,
        reference: None,
        destination: to,
        token,
    })
    .unwrap();
    assert_eq!(fetched.commit, head.into());
    let targets: Vec<_> = server.seen().into_iter().map(|seen| seen.target).collect();
    assert!(
        targets[0].starts_with("/old/notes.git/info/refs?"),
        "{targets:?}"
    );
    assert_eq!(targets.last().unwrap(), "/notes/git-upload-pack");

    let endless = Rules {
        redirect: Some(("/notes".into(), "/notes".into())),
        ..Rules::default()
    };
    let server = Server::start(&fixture.served(), endless);
    let result = fetch(&request(
        &format!("{}/notes", server.url()),
        None,
        &fixture.outside("endless"),
    ));
    assert!(matches!(refused(result), TransportError::Redirects { .. }));
    assert_eq!(server.seen().len(), 6);
}

#[test]
fn what_the_forge_says_becomes_a_typed_error() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")]);
    let to = fixture.outside("copy");
    let server = Server::start(&fixture.served(), Rules::default());
    let result = fetch(&request(&format!("{}/nothing", server.url()), None, &to));
    let path = "/nothing/info/refs";
    assert_eq!(status_of(result), (404, path.into(), Fault::Usage));
    for (status, again) in [
        (401, false),
        (403, false),
        (404, false),
        (408, true),
        (429, true),
        (500, true),
        (503, true),
    ] {
        let server = Server::start(
            &fixture.served(),
            Rules {
                status: Some(status),
                ..Rules::default()
            },
        );
        let result = fetch(&request(&format!("{}/notes", server.url()), None, &to));
        let transient = result.as_ref().unwrap_err().is_transient();
        assert_eq!((status_of(result).0, transient), (status, again));
    }
    // A page for people.
    let page = Server::start(
        &fixture.served(),
        Rules {
            status: Some(200),
            ..Rules::default()
        },
    );
    let result = fetch(&request(&format!("{}/notes", page.url()), None, &to));
    assert!(matches!(refused(result), TransportError::NotGit { .. }));
    assert!(!to.exists());
}

#[test]
fn no_connection_and_no_tls_are_told_apart() {
    let fixture = Fixture::new();
    let to = fixture.outside("copy");
    let server = Server::start(&fixture.served(), Rules::default());
    let plain = server.port();
    let error = refused(fetch(&request(
        &format!("https://127.0.0.1:{plain}/notes"),
        None,
        &to,
    )));
    assert!(matches!(error, TransportError::Tls { .. }), "{error:?}");
    // A server that answers in clear text instead of hanging up.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        // Until the client has gone: closing on unread bytes would reset the connection.
        std::io::copy(&mut connection, &mut std::io::sink()).unwrap_or_default();
    });
    let error = refused(fetch(&request(
        &format!("https://127.0.0.1:{port}/notes"),
        None,
        &to,
    )));
    assert!(matches!(error, TransportError::Tls { .. }), "{error:?}");
    assert!(!FetchError::from(error).is_transient());
    answering.join().unwrap();
    drop(server);
    // Bound and not listening: the port of a server that is gone may be another test's.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = nobody.local_addr().unwrap().port();
    let error = refused(fetch(&request(
        &format!("http://127.0.0.1:{port}/notes"),
        None,
        &to,
    )));
    assert!(matches!(error, TransportError::Connect { .. }), "{error:?}");
    assert!(FetchError::from(error).is_transient());
    assert!(!to.exists());
}

#[test]
fn a_user_who_rewrites_addresses_still_gets_the_one_that_was_asked_for() {
    let fixture = Fixture::new();
    let head = fixture.commit(&[("a", "1")]);
    let server = Server::start(&fixture.served(), Rules::default());
    let url = RemoteUrl::parse(&format!("{}/notes", server.url())).unwrap();
    let to = Repository::init(fixture.outside("copy")).unwrap();
    to.config()
        .unwrap()
        .set_str("url.ssh://git@127.0.0.1/.insteadOf", "http://127.0.0.1:")
        .unwrap();
    assert!(
        to.remote_anonymous(url.as_str())
            .unwrap()
            .url()
            .unwrap()
            .starts_with("ssh://")
    );
    let landing = super::bring(&to, &url, None, None).unwrap();
    assert_eq!(landing.commit, head);
}

#[test]
fn an_answer_that_breaks_off_is_the_networks_fault() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", &"0123456789".repeat(1000))]);
    let server = Server::start(
        &fixture.served(),
        Rules {
            cut: true,
            ..Rules::default()
        },
    );
    let to = fixture.outside("copy");
    let error = refused(fetch(&request(
        &format!("{}/notes", server.url()),
        None,
        &to,
    )));
    assert!(matches!(error, TransportError::Broken { .. }), "{error:?}");
    assert!(!to.exists());
}

#[test]
fn an_answer_without_end_is_cut_and_the_repositorys_fault() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")]);
    let rules = Rules {
        endless: true,
        ..Rules::default()
    };
    let server = Server::start(&fixture.served(), rules);
    let to = fixture.outside("copy");
    let error = fetch(&request(&format!("{}/notes", server.url()), None, &to)).unwrap_err();
    assert_eq!(error.fault(), Fault::Usage, "{error:?}");
    let words = "sends more than 256 MiB for one repository";
    assert!(error.to_string().ends_with(words), "{error}");
    assert!(!to.exists());
}

#[test]
fn a_name_that_a_branch_and_a_tag_have_is_the_branch_and_that_is_said() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    fixture.annotated_tag("both", first);
    fixture.annotated_tag("same", first);
    fixture.reference("refs/heads/same", first);
    let second = fixture.commit(&[("a", "2")]);
    fixture.reference("refs/heads/both", second);
    let server = Server::start(&fixture.served(), Rules::default());
    let url = format!("{}/notes", server.url());
    for (place, (name, commit, said)) in [
        ("both", second, true),
        ("refs/heads/both", second, false),
        ("refs/tags/both", first, false),
        ("same", first, false),
    ]
    .into_iter()
    .enumerate()
    {
        let to = fixture.outside(&format!("copy{place}"));
        let fetched = fetch(&request(&url, Some(name), &to)).unwrap();
        assert_eq!(fetched.commit, commit.into(), "{name}");
        let remarks = fetched.remarks;
        assert_eq!(!remarks.is_empty(), said, "{name}: {remarks:?}");
        assert!(remarks.iter().all(|said| said.contains("`refs/tags/both`")));
    }
}
