//! Roles and tablespaces, which belong to a server and not to a database, but without which a restore into a new one fails.

use std::io::Write as _;

use age::x25519::Recipient;
use kit::{Cx, Failure, Secret};
use postgres::Session;
use serde::Serialize;
use tokio::process::Command;

use crate::catalogue::column;
use crate::sql::{identifier, split};
use crate::tools::{Runner, Tools};

/// Roles and tablespaces, as `pg_dumpall --globals-only` prints them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Globals {
    NotWanted,
    Read {
        /// What is stored: the script, or with the passwords in it its encrypted form.
        #[serde(skip)]
        stored: Vec<u8>,
        /// The script without passwords.
        #[serde(skip)]
        script: Vec<u8>,
        /// Whom it is encrypted to; nobody where it is in clear.
        recipients: Vec<String>,
    },
    /// The role may not read them, and why.
    Denied(String),
}

/// Reads the public keys. A secret key in their place is not shown to anybody.
pub(crate) fn recipients(keys: &[String]) -> Result<Vec<Recipient>, Failure> {
    let read = |key: &String| {
        if key.trim().to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            let _ = Secret::new(key.trim());
            return Err(Failure::usage("read --age-recipient")
                .because("it is a secret key, which only the one who restores may have")
                .help("give the public key that belongs to it (age-keygen -y), and make a new pair: this one was in an argument"));
        }
        key.trim().parse::<Recipient>().map_err(|why| {
            Failure::usage(format!("read --age-recipient {key}"))
                .because(why)
                .help("give a public key as age-keygen prints it: age1...")
        })
    };
    keys.iter().map(read).collect()
}

fn encrypt(script: &[u8], to: &[Recipient]) -> Result<Vec<u8>, Failure> {
    let failed =
        |why: String| Failure::failed("encrypt the roles and their passwords").because(why).untouched(true);
    let recipients = to.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|error| failed(error.to_string()))?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(|error| failed(error.to_string()))?;
    writer
        .write_all(script)
        .and_then(|()| writer.finish().map(drop))
        .map_err(|error| failed(error.to_string()))?;
    Ok(sealed)
}

/// Reads them. A role that may not read them is no reason to have no backup, unless passwords were asked for.
pub(crate) async fn read(
    cx: &Cx,
    runner: &Runner,
    tools: &Tools,
    passwords_for: &[Recipient],
) -> Result<Globals, Failure> {
    let script = match dumpall(cx, runner, tools, false).await? {
        Ok(script) => script,
        Err(why) if passwords_for.is_empty() => return Ok(Globals::Denied(why)),
        Err(why) => return Err(no_passwords(why)),
    };
    if passwords_for.is_empty() {
        return Ok(Globals::Read { stored: script.clone(), script, recipients: Vec::new() });
    }
    let secret = dumpall(cx, runner, tools, true).await?.map_err(no_passwords)?;
    Ok(Globals::Read {
        stored: encrypt(&secret, passwords_for)?,
        script,
        recipients: passwords_for.iter().map(ToString::to_string).collect(),
    })
}

fn no_passwords(why: String) -> Failure {
    Failure::refused("read the roles with their passwords")
        .because(why)
        .help("connect as a superuser (the passwords are in pg_authid), or leave --role-passwords out: managed servers show them to nobody")
}

async fn dumpall(
    cx: &Cx,
    runner: &Runner,
    tools: &Tools,
    passwords: bool,
) -> Result<Result<Vec<u8>, String>, Failure> {
    let mut command: Command = runner.command(&tools.pg_dumpall);
    // Without --database it would look for a database `postgres` that need not exist.
    let database = command
        .as_std()
        .get_envs()
        .find_map(|(name, value)| {
            (name == "PGDATABASE").then(|| value.map(|value| value.to_string_lossy().into_owned()))
        })
        .flatten()
        .unwrap_or_default();
    command.args(["--globals-only", "--no-password"]).arg(format!("--database={}", conninfo(&database)));
    if !passwords {
        command.arg("--no-role-passwords");
    }
    let output = match cx.in_time("read the roles and tablespaces", command.output()).await? {
        Ok(output) => output,
        Err(error) => return Ok(Err(format!("{} can't be started: {error}", tools.pg_dumpall.display()))),
    };
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(Ok(output.stdout));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Err(said.lines().next().unwrap_or("pg_dumpall printed nothing").to_owned()))
}

/// A database as a connection string: libpq takes a name with `=` in it for one
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE>).
pub(crate) fn conninfo(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What of a script is for a server that is thrown away: not its tablespaces, whose folders are another machine's.
fn for_scratch(script: &str) -> Result<Vec<String>, String> {
    let statements = split(script)?.into_iter().map(|statement| statement.text);
    let of_tablespace = |text: &str| {
        let words: Vec<String> = text.split_whitespace().take(8).map(str::to_ascii_uppercase).collect();
        words.iter().any(|word| word == "TABLESPACE")
    };
    Ok(statements.filter(|text| !of_tablespace(text)).collect())
}

/// Makes the roles on a scratch server: by the script, and what is then still missing of `needed` plainly. Says what did not
/// work, which decides nothing: the restore does.
pub(crate) async fn apply(
    session: &Session,
    script: Option<&[u8]>,
    needed: &[String],
) -> Result<Vec<String>, Failure> {
    let mut troubles = Vec::new();
    if let Some(script) = script {
        match for_scratch(&String::from_utf8_lossy(script)) {
            Err(why) => troubles.push(format!("the script of the roles can't be read: {why}")),
            Ok(statements) => {
                for statement in statements {
                    if let Err(error) = session.client.simple_query(&statement).await {
                        let failure = session.failure("make the roles", &error);
                        if error.as_db_error().is_none() {
                            return Err(failure);
                        }
                        let name: String = statement.chars().take(60).collect();
                        troubles.push(format!("{name}: {}", failure.chain().join(": ")));
                    }
                }
            }
        }
    }
    for role in missing(session, needed).await? {
        let made = session.client.simple_query(&format!("CREATE ROLE {}", identifier(&role))).await;
        made.map_err(|error| session.failure(format!("make the role {role}"), &error))?;
    }
    Ok(troubles)
}

/// Those of the roles for which the session may not act: it can give nothing to them that it makes itself.
pub(crate) async fn not_ours(session: &Session, needed: &[String]) -> Result<Vec<String>, Failure> {
    let others = "SELECT rolname FROM pg_roles WHERE NOT pg_has_role(current_user, oid, 'MEMBER')";
    let others = column(session, "list the roles that this one is no member of", others).await?;
    Ok(needed.iter().filter(|role| others.contains(role)).cloned().collect())
}

/// Those of the roles that a server does not have.
pub(crate) async fn missing(session: &Session, needed: &[String]) -> Result<Vec<String>, Failure> {
    let present = column(session, "list the roles", "SELECT rolname FROM pg_roles").await?;
    Ok(needed.iter().filter(|role| !present.contains(role)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_opens_with_the_key_of_each_recipient_and_has_no_clear_text() {
        let keys = [age::x25519::Identity::generate(), age::x25519::Identity::generate()];
        let texts: Vec<String> = keys.iter().map(|key| key.to_public().to_string()).collect();
        let sealed =
            encrypt(b"ALTER ROLE a PASSWORD 'SCRAM-SHA-256$x'", &recipients(&texts).unwrap()).unwrap();
        assert!(sealed.starts_with(b"age-encryption.org/v1\n"));
        assert!(!sealed.windows(5).any(|part| part == b"SCRAM"));
        for key in &keys {
            assert_eq!(age::decrypt(key, &sealed).unwrap(), b"ALTER ROLE a PASSWORD 'SCRAM-SHA-256$x'");
        }
    }

    #[test]
    fn a_secret_key_in_the_place_of_a_public_one_is_refused_and_hidden() {
        let key = "AGE-SECRET-KEY-1QQPQQQSQQXQQ2QQZQQ9QQ8QQ7QQ6QQ5QQ4QQ3QQ".to_owned();
        let failure = recipients(std::slice::from_ref(&key)).unwrap_err();
        assert!(failure.chain()[0].contains("secret key"));
        assert_eq!(kit::redact(&format!("given: {key}")), "given: ***");
        assert!(recipients(&["ssh-ed25519 AAAA".to_owned()]).is_err());
    }

    #[test]
    fn tablespaces_are_no_business_of_a_scratch_server() {
        let script = "SET client_encoding = 'UTF8';\nCREATE ROLE a;\nCREATE TABLESPACE fast OWNER a LOCATION '/srv/fast';\n\
                      GRANT CREATE ON TABLESPACE fast TO a;\nALTER ROLE a WITH LOGIN;\n";
        assert_eq!(
            for_scratch(script).unwrap(),
            ["SET client_encoding = 'UTF8'", "CREATE ROLE a", "ALTER ROLE a WITH LOGIN"]
        );
    }

    #[test]
    fn a_database_with_an_odd_name_is_a_name_still() {
        assert_eq!(conninfo(r"a=b 'c\"), r"dbname='a=b \'c\\'");
    }
}
