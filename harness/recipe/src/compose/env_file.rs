//! Files that `env_file` names, as Docker reads them: `parseKeyValueFile` in `cli/opts/file.go`. They are not
//! interpolated, and quotes stay.

/// The longest line, in bytes: `bufio.MaxScanTokenSize` less the end of the line.
const MAX_LINE: usize = 65_535;

/// Returns the variables of `text` in their order; one that is named without `=` has no value.
///
/// # Errors
/// What is wrong with the file, as the end of a sentence that begins with its name.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut vars = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.split('\n').enumerate() {
        if line.len() > MAX_LINE {
            let number = index + 1;
            return Err(format!(
                "has a line of more than {MAX_LINE} bytes: line {number}"
            ));
        }
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        let number = index + 1;
        if name.is_empty() {
            return Err(format!("has a line without a name: line {number}"));
        }
        if name.contains([' ', '\t']) {
            return Err(format!(
                "has a space in the name of a variable: line {number}"
            ));
        }
        vars.push((name.to_owned(), value.map(str::to_owned)));
    }
    Ok(vars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_is_read_as_docker_reads_it() {
        let text = "\u{feff}# comment\n\n  A=1\nB=\"x y\" # kept\nC\nD=a=b\nE=$A\n";
        let vars = parse(text).unwrap();
        let vars: Vec<_> = vars
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let expected = [
            ("A", Some("1")),
            ("B", Some("\"x y\" # kept")),
            ("C", None),
            ("D", Some("a=b")),
            ("E", Some("$A")),
        ];
        assert_eq!(vars, expected);
        assert_eq!(
            parse("A=1\r").unwrap(),
            [("A".to_owned(), Some("1".to_owned()))]
        );
        assert!(parse(&"x".repeat(MAX_LINE)).is_ok());
        assert!(parse(&"x".repeat(MAX_LINE + 1)).is_err());
        assert!(parse("A B=1").unwrap_err().ends_with("line 1"));
        assert!(parse("A=1\n=2").unwrap_err().ends_with("line 2"));
    }
}
