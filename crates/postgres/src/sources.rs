//! The places libpq reads connection parameters from, as pure parsers.

use std::collections::BTreeMap;

/// Parameters by libpq's keyword.
pub(crate) type Params = BTreeMap<String, String>;

/// Parses a connection URI (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>).
///
/// A component that is empty is absent. Which keywords are known is not decided here.
pub(crate) fn parse_url(url: &str) -> Result<Params, String> {
    let rest = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))
        .ok_or("it does not begin with postgresql:// or postgres://")?;
    let mut params = Params::new();
    let mut set = |key: &str, value: &str| -> Result<(), String> {
        let value = percent_decode(value)?;
        if !value.is_empty() {
            params.insert(key.to_owned(), value);
        }
        Ok(())
    };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    // Characters of a password that end its part make others of what follows: a host, a port, a database, which messages show.
    // The errors show nothing of the URL, for the same reason.
    let port_of =
        |hostport: &str| hostport.split_once(':').map(|(_, port)| port.to_owned()).unwrap_or_default();
    let cut_off = !authority.contains('@')
        && url.contains('@')
        && !authority.starts_with('[')
        && !port_of(authority).bytes().all(|byte| byte.is_ascii_digit());
    let signs = url.matches('@').count();
    let has_password = authority.split_once('@').is_some_and(|(userinfo, _)| userinfo.contains(':'));
    if cut_off || authority.matches('@').count() > 1 || (has_password && signs > 1) {
        return Err(
            "a name or password in it has one of @ : / ? # [ ] %: write them as %40 and the like".to_owned()
        );
    }
    // The first @ ends the user's part in libpq; a raw @ in a password is an error there too.
    let (userinfo, hostport) = authority.split_once('@').map_or(("", authority), |(user, host)| (user, host));
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    set("user", user)?;
    set("password", password)?;
    if hostport.contains(',') {
        return Err("it names several hosts, and a release must know which one it works on".to_owned());
    }
    let (host, port) = if let Some(rest) = hostport.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the IPv6 address lacks its closing bracket")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, port),
            None if rest.is_empty() => (host, ""),
            None => {
                return Err(
                    "after the IPv6 address in its brackets stands something other than a port".to_owned()
                );
            }
        }
    } else {
        hostport.split_once(':').unwrap_or((hostport, ""))
    };
    set("host", host)?;
    set("port", port)?;
    set("dbname", dbname)?;
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter behind its ? has no value")?;
        if value.contains('=') {
            return Err("a parameter behind its ? has a second = in its value".to_owned());
        }
        match (key, value) {
            // For compatibility with JDBC, as libpq does.
            ("ssl", "true") => set("sslmode", "require")?,
            _ => set(&percent_decode(key)?, value)?,
        }
    }
    Ok(params)
}

fn percent_decode(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(0), Some(0)) => return Err("%00 is not allowed".to_owned()),
            (Some(high), Some(low)) => out.push(u8::try_from(high * 16 + low).unwrap_or_default()),
            _ => return Err("a % is not followed by two hexadecimal digits".to_owned()),
        }
    }
    String::from_utf8(out).map_err(|_| "a percent-encoded part is not UTF-8".to_owned())
}

/// The section of a service in a service file, or `None` when the file has no such section
/// (<https://www.postgresql.org/docs/current/libpq-pgservice.html>).
///
/// Within a section the first value of a keyword counts; an error names its line.
pub(crate) fn parse_service(file: &str, service: &str) -> Result<Option<Params>, String> {
    let mut found: Option<Params> = None;
    for (n, line) in file.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if section.strip_suffix(']') == Some(service) {
                found = Some(Params::new());
            }
            continue;
        }
        let Some(params) = &mut found else { continue };
        let (key, value) = line.split_once('=').ok_or_else(|| format!("line {} is no KEY=VALUE", n + 1))?;
        match key {
            "service" => return Err(format!("line {} names a service within a service", n + 1)),
            _ if key.starts_with("ldap") => {
                return Err(format!("line {} asks LDAP, which is not supported", n + 1));
            }
            _ if value.is_empty() => {}
            _ => {
                params.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
    }
    Ok(found)
}

/// The password that a password file has for a connection: the first line that matches
/// (<https://www.postgresql.org/docs/current/libpq-pgpass.html>).
pub(crate) fn find_password(file: &str, host: &str, port: &str, dbname: &str, user: &str) -> Option<String> {
    file.lines().find_map(|line| {
        if line.starts_with('#') {
            return None;
        }
        let mut fields = fields(line);
        let wanted = [host, port, dbname, user];
        let matches = wanted
            .iter()
            .all(|wanted| fields.next().is_some_and(|(raw, field)| raw == "*" || field == *wanted));
        if matches { fields.next().map(|(_, password)| password) } else { None }
    })
}

/// The fields of a line of a password file, as written and with `\:` and `\\` resolved. As in libpq, a colon that is not
/// escaped ends the password too.
fn fields(line: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = false;
        let end = text.char_indices().find(|&(_, c)| {
            let ends = c == ':' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let raw = if let Some((at, _)) = end {
            rest = Some(text.get(at + 1..).unwrap_or_default());
            text.get(..at).unwrap_or_default()
        } else {
            rest = None;
            text
        };
        let mut value = String::with_capacity(raw.len());
        let mut chars = raw.chars();
        while let Some(c) = chars.next() {
            value.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
        }
        Some((raw, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_uris_of_the_libpq_documentation() {
        // https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
        let table: [(&str, &[(&str, &str)]); 12] = [
            ("postgresql://", &[]),
            ("postgresql://localhost", &[("host", "localhost")]),
            ("postgresql://localhost:5433", &[("host", "localhost"), ("port", "5433")]),
            ("postgresql://localhost/mydb", &[("host", "localhost"), ("dbname", "mydb")]),
            ("postgresql://user@localhost", &[("host", "localhost"), ("user", "user")]),
            (
                "postgresql://user:secret@localhost",
                &[("host", "localhost"), ("user", "user"), ("password", "secret")],
            ),
            (
                "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp",
                &[
                    ("host", "localhost"),
                    ("user", "other"),
                    ("dbname", "otherdb"),
                    ("connect_timeout", "10"),
                    ("application_name", "myapp"),
                ],
            ),
            (
                "postgresql:///mydb?host=localhost&port=5433",
                &[("host", "localhost"), ("port", "5433"), ("dbname", "mydb")],
            ),
            ("postgresql://[2001:db8::1234]/database", &[("host", "2001:db8::1234"), ("dbname", "database")]),
            (
                "postgresql:///dbname?host=/var/lib/postgresql",
                &[("host", "/var/lib/postgresql"), ("dbname", "dbname")],
            ),
            (
                "postgresql://%2Fvar%2Flib%2Fpostgresql/dbname",
                &[("host", "/var/lib/postgresql"), ("dbname", "dbname")],
            ),
            (
                "postgresql://user@localhost:5433/mydb?options=-c%20synchronous_commit%3Doff",
                &[
                    ("user", "user"),
                    ("host", "localhost"),
                    ("port", "5433"),
                    ("dbname", "mydb"),
                    ("options", "-c synchronous_commit=off"),
                ],
            ),
        ];
        for (url, expected) in table {
            assert_eq!(parse_url(url), Ok(params(expected)), "{url}");
        }
        assert_eq!(parse_url("postgres://h/d?ssl=true").unwrap().get("sslmode").unwrap(), "require");
    }

    #[test]
    fn a_url_that_can_not_be_read_says_what_is_wrong() {
        for (url, why) in [
            ("mysql://h/d", "does not begin with"),
            ("postgresql://host1:123,host2:456/somedb", "several hosts"),
            ("postgresql://[::1/db", "closing bracket"),
            ("postgresql://h/d?sslmode", "has no value"),
            ("postgresql://h/d%zz", "two hexadecimal digits"),
            ("postgresql://h/d%00", "%00"),
        ] {
            let said = parse_url(url).unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
        }
    }

    #[test]
    fn a_service_is_a_section_and_the_first_value_counts() {
        // The example of https://www.postgresql.org/docs/current/libpq-pgservice.html, and a section after it.
        let file =
            "# comment\n[mydb]\nhost=somehost\nport=5433\nuser=admin\nuser=other\n\n[next]\nhost=elsewhere\n";
        let mydb = parse_service(file, "mydb").unwrap().unwrap();
        assert_eq!(mydb, params(&[("host", "somehost"), ("port", "5433"), ("user", "admin")]));
        assert_eq!(parse_service(file, "my").unwrap(), None);
        assert!(parse_service("[a]\nhost\n", "a").unwrap_err().contains("line 2"));
        assert!(parse_service("[a]\nservice=b\n", "a").unwrap_err().contains("within a service"));
    }

    #[test]
    fn the_first_line_of_a_password_file_that_matches() {
        let file = "#db:5432:a:u:comment\n\
                    db:5432:rally:rally:one\n\
                    db:*:*:admin:p\\:w\\\\d:rest\n\
                    \\*:5432:rally:rally:star\n\
                    ::1:5432:rally:rally:wrong\n\
                    \\:\\:1:5432:rally:rally:six\n\
                    *:*:*:rally:any\n";
        let find = |host, dbname, user| find_password(file, host, "5432", dbname, user);
        assert_eq!(find("db", "rally", "rally").as_deref(), Some("one"));
        assert_eq!(find("db", "x", "admin").as_deref(), Some("p:w\\d"));
        assert_eq!(find("*", "rally", "rally").as_deref(), Some("star"));
        assert_eq!(find("::1", "rally", "rally").as_deref(), Some("six"));
        assert_eq!(find("elsewhere", "rally", "rally").as_deref(), Some("any"));
        assert_eq!(find("elsewhere", "rally", "nobody"), None);
    }
}
