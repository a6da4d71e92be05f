//! The files through which a step hands values to its runner, read by the runner's own rules:
//! <https://github.com/actions/runner/blob/v2.336.0/src/Runner.Worker/FileCommandManager.cs>

/// `NAME=value` lines and `NAME<<DELIMITER` blocks. Only `\n` ends a line on Linux: a `\r` stays in the value.
pub(crate) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((line, _)) = next_line(&mut rest) {
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        match (equals, heredoc) {
            _ if line.is_empty() => {}
            (equals, Some(at)) if equals.is_none_or(|equals| at < equals) => {
                let (name, delimiter) = (&line[..at], &line[at + 2..]);
                if name.is_empty() || delimiter.is_empty() {
                    let why = "Name must not be empty and delimiter must not be empty";
                    return Err(format!("Invalid format '{line}'. {why}"));
                }
                pairs.push((name.to_owned(), block(&mut rest, delimiter)?));
            }
            (Some(0), _) => return Err(format!("Invalid format '{line}'. Name must not be empty")),
            (Some(at), _) => pairs.push((line[..at].to_owned(), line[at + 1..].to_owned())),
            _ => return Err(format!("Invalid format '{line}'")),
        }
    }
    Ok(pairs)
}

fn block(rest: &mut &str, delimiter: &str) -> Result<String, String> {
    let body = *rest;
    let mut end = 0;
    loop {
        match next_line(rest) {
            Some((line, _)) if line == delimiter => return Ok(body[..end].to_owned()),
            Some((_, true)) => end = body.len() - rest.len() - 1,
            Some((_, false)) => return Err("Invalid value. EOF marker missing new line.".into()),
            None => return Err(format!("Invalid value. Matching delimiter not found '{delimiter}'")),
        }
    }
}

/// The next line, and whether a newline ended it.
fn next_line<'a>(rest: &mut &'a str) -> Option<(&'a str, bool)> {
    if rest.is_empty() {
        return None;
    }
    let (line, after, ended) = match rest.split_once('\n') {
        Some((line, after)) => (line, after, true),
        None => (*rest, "", false),
    };
    *rest = after;
    Some((line, ended))
}
