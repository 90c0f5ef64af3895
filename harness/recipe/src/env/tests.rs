use super::*;

fn base() -> BTreeMap<String, String> {
    [("STACK_NAME", "note_ci"), ("EMPTY", "")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
}

fn file(text: &str) -> EnvFile {
    EnvFile::parse(text, ".env.sample").unwrap()
}

fn value(text: &str, key: &str) -> String {
    file(text).resolve(&base()).unwrap().remove(key).unwrap()
}

#[test]
fn values_are_read_as_documented() {
    for (text, expected) in [
        ("A=two words", "two words"),
        ("A=  padded  ", "padded"),
        ("A = spaced", "spaced"),
        ("export A=x", "x"),
        ("\u{feff}A=x", "x"),
        ("A=x\r\n", "x"),
        ("A=x # comment", "x"),
        ("A= # comment", ""),
        ("A=", ""),
        ("A=#fff", "#fff"),
        ("A=a#b", "a#b"),
        ("A={\"a\": 1, \"b\": [2]}", "{\"a\": 1, \"b\": [2]}"),
        (r"A=C:\new\dir", r"C:\new\dir"),
        (r#"A="a\tb\n\"c\" \\ \x""#, "a\tb\n\"c\" \\ \\x"),
        ("A=', `www.x`' # more", ", `www.x`"),
        ("A='$B # not a comment'", "$B # not a comment"),
        ("A=\"one\ntwo\" # c\nB=x", "one\ntwo"),
        ("A='one\r\ntwo'\r\nB=x", "one\r\ntwo"),
        ("A=pa$$word", "pa$$word"),
        ("A=p$1x", "p$1x"),
        ("A=pa$word", "pa$word"),
        ("A=\"pa$word$\"", "pa$word$"),
        (r"A=a\$B", "a$B"),
        (r#"A="a\$B""#, "a$B"),
        ("A=$B", ""),
        ("A=${b}", ""),
        ("A=${B:-x y}", "x y"),
        ("A=${EMPTY:-x}|${EMPTY-x}", "x|"),
        ("A=${B:-${STACK_NAME}_x}", "note_ci_x"),
        ("A=${STACK_NAME:?needed}", "note_ci"),
        ("A=${B:+x} ${", "${B:+x} ${"),
        ("B=1\nA=$B-${B}\nB=2", "1-1"),
        ("A=1\nA=2", "2"),
        ("# A=no\nA=ü", "ü"),
    ] {
        assert_eq!(value(text, "A"), expected, "{text:?}");
    }
}

#[test]
fn compose_file_is_appended_to() {
    let text = "COMPOSE_FILE=\"compose.yml\"\nCOMPOSE_FILE=\"$COMPOSE_FILE:compose.postgres.yml\"\n\
                #COMPOSE_FILE=\"$COMPOSE_FILE:compose.smtp.yml\"\nCOMPOSE_FILE=\"$COMPOSE_FILE:postgres/compose.tune.yml\"\n";
    assert_eq!(
        value(text, "COMPOSE_FILE"),
        "compose.yml:compose.postgres.yml:postgres/compose.tune.yml"
    );
}

#[test]
fn an_unmodified_file_is_kept_byte_for_byte() {
    for text in [
        "",
        "\n\n",
        "\u{feff}# c\r\nA=x  # y\r\n\r\n",
        "export  A = 'x' \n\tB=\"a\nb\"  # c\n#C=1\nD=  v  \nE=",
        "A=\\$x\nB=\"\\\"\"\n",
    ] {
        assert_eq!(file(text).to_string(), text);
    }
}

#[test]
fn set_replaces_the_last_assignment_in_place() {
    let mut env = file("A=1 # first\n#A=0\nexport A='2'  # length=32\nB=3\n");
    env.set("A", "new value");
    assert_eq!(
        env.to_string(),
        "A=1 # first\n#A=0\nexport A='new value'  # length=32\nB=3\n"
    );
    assert_eq!(env.trailing_comment("A"), Some("length=32"));
}

#[test]
fn set_appends_what_is_missing() {
    let mut env = file("#A=1\r\nB=2");
    env.set("A", "x");
    assert_eq!(env.to_string(), "#A=1\r\nB=2\r\nA=x\r\n");
    assert_eq!(env.line_of("A"), Some(3));
    let mut empty = file("");
    empty.set("A", "");
    assert_eq!(empty.to_string(), "A=\n");
}

#[test]
fn an_empty_value_stays_apart_from_its_comment() {
    let mut env = file("A= # comment\n");
    env.set("A", "x");
    assert_eq!(env.to_string(), "A=x # comment\n");
}

#[test]
fn every_value_that_is_set_is_read_back() {
    for text in [
        "",
        " ",
        "plain",
        "two words",
        "a#b",
        "a #b",
        "#",
        "it's",
        "\"",
        "'\"'",
        "$A",
        "${A:?x}",
        "pa$$w'ord",
        "\\",
        "\\'$\\n",
        "a\nb",
        "'\r\n\t'",
        "`x`",
        "{\"a\": \"b'c\"}",
        "\\$'",
        "tail ",
        "ü'€",
        "$'$1",
    ] {
        let mut env = file("A=old # comment\nB=$A\n");
        env.set("A", text);
        let again = file(&env.to_string());
        assert_eq!(again.resolve(&base()).unwrap()["A"], text, "{env}");
        assert_eq!(again.trailing_comment("A"), Some("comment"));
    }
}

#[test]
fn errors_name_file_and_line_and_never_the_value() {
    for (text, line) in [
        ("A=1\nhunter2", 2),
        ("A=1\n\n2A=hunter2", 3),
        ("A=\"x\ny\"\nB='hunter2\n", 3),
        ("B=\"hunter2", 1),
        ("B='x' hunter2", 1),
        ("A=1\nB=hunter2${C:?set it}", 2),
    ] {
        let error = EnvFile::parse(text, "x.env")
            .and_then(|env| env.resolve(&base()))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("x.env:{line}: ")), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn comments_and_keys_are_found() {
    let env = file("S=v1 # length=128 charset=hex\nT=v1\nU=\"v1\"# x\nS=v2\n");
    assert_eq!(
        env.trailing_comment("S"),
        None,
        "the last assignment counts"
    );
    assert_eq!(env.trailing_comment("T"), None);
    assert_eq!(env.trailing_comment("U"), Some("x"));
    assert_eq!(env.keys(), ["S", "T", "U"]);
    assert_eq!(env.get_raw("S"), Some("v2"));
    assert_eq!(env.get_raw("X"), None);
}

#[test]
fn values_that_grow_without_end_are_refused_with_their_line() {
    let mut text = format!("A0={}\n", "x".repeat(1000));
    for level in 1..10 {
        let before = format!("${{A{}}}", level - 1).repeat(10);
        text += &format!("A{level}={before}\n");
    }
    let resolve = |text: &str| {
        let file = EnvFile::parse(text, ".env.sample").unwrap();
        file.resolve(&BTreeMap::new()).map_err(|e| e.to_string())
    };
    let words = "the value of `A2` is longer than 64 KiB, or expands to more";
    assert_eq!(resolve(&text), Err(format!(".env.sample:3: {words}")));
    // By defaults, one in another, too.
    let text = format!("A={}\nB=${{X:-${{Y:-$A$A}}}}\n", "x".repeat(40_000));
    assert!(resolve(&text).unwrap_err().starts_with(".env.sample:2: "));
    let written = format!("A='{}'\n", "x".repeat(VALUE_CEILING + 1));
    assert!(resolve(&written).is_err());
    let full = format!("A={}\n", "x".repeat(VALUE_CEILING));
    assert_eq!(resolve(&full).unwrap()["A"].len(), VALUE_CEILING);
    let text = full + &(0..40).map(|n| format!("B{n}=$A\n")).collect::<String>();
    let error = resolve(&text).unwrap_err();
    let words = "the variables up to here are more than 10000, or expand to more than 1 MiB";
    assert_eq!(error, format!(".env.sample:16: {words}"));
    let many = "A=\n".repeat(COUNT_CEILING + 1);
    assert!(
        resolve(&many)
            .unwrap_err()
            .starts_with(".env.sample:10001: ")
    );
}

#[test]
fn braces_that_never_close_cost_no_square_of_time() {
    // A search for its end from each of them took minutes for the 16 lines that fit into a file.
    let line = "${a".repeat(VALUE_CEILING / 3);
    let text: String = (0..15).map(|n| format!("V{n}={line}\n")).collect();
    let file = EnvFile::parse(&text, "x").unwrap();
    let began = std::time::Instant::now();
    assert_eq!(file.resolve(&BTreeMap::new()).unwrap()["V3"], line);
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}
