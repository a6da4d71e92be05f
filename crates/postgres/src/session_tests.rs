//! Connections to a real server, and to one that only shows a certificate.

use kit::{Code, Env, testing};
use testkit::postgres::{Options, Postgres, USER};
use testkit::tls::Authority;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::PgArgs;

fn target(url: &str, env: &[(&str, &str)]) -> Target {
    let args = PgArgs { database_url: Some(url.to_owned()), ..PgArgs::default() };
    args.target(&env.iter().copied().collect::<Env>()).unwrap()
}

async fn refused(target: &Target) -> (Failure, String) {
    let failure = connect(&testing::cx(), target).await.unwrap_err();
    assert_eq!(failure.code(), Code::Failed);
    let text = format!("{failure:?}");
    (failure, text)
}

#[tokio::test]
async fn a_server_says_who_it_is_and_a_refusal_says_what_to_do() {
    let server = Postgres::start(Options::default()).await.unwrap();
    let env = [("PGPASSWORD", server.password.as_str())];
    let url = server.url();
    let right = target(&url, &env);

    let session = connect(&testing::cx(), &right).await.unwrap();
    let asked = server.psql("SELECT system_identifier FROM pg_control_system()").await.unwrap();
    assert_eq!(session.identity.system_identifier.as_deref(), Some(asked.as_str()));
    assert_eq!((session.identity.database.as_str(), session.identity.user.as_str()), ("postgres", USER));
    assert!(!session.identity.in_recovery && !session.identity.encrypted);
    let number = server.psql("SHOW server_version_num").await.unwrap();
    assert_eq!(session.identity.server_version.0.to_string(), number);

    session.client.batch_execute("DO $$ BEGIN RAISE NOTICE 'seen'; END $$").await.unwrap();
    assert_eq!(session.take_notices().0, [Notice { severity: "NOTICE".into(), message: "seen".into() }]);
    let error = session.client.batch_execute("SELECT nope").await.unwrap_err();
    assert_eq!(session.failure("count", &error).chain(), ["column \"nope\" does not exist (SQLSTATE 42703)"]);
    let pid = session.identity.backend_pid;
    server.psql(&format!("SELECT pg_terminate_backend({pid}, 5000)")).await.unwrap();
    let error = session.client.batch_execute("SELECT 1").await.unwrap_err();
    let lost = session.failure("count", &error);
    assert!(lost.is_transient());
    assert!(
        lost.chain()[0].contains("terminating connection due to administrator command"),
        "{:?}",
        lost.chain()
    );

    let (wrong, said) = refused(&target(&url, &[("PGPASSWORD", "not-the-password")])).await;
    assert!(wrong.chain()[0].contains("password authentication failed"), "{:?}", wrong.chain());
    assert!(
        said.contains("the password came from PGPASSWORD") && !said.contains("not-the-password"),
        "{said}"
    );
    let (none, _) = refused(&target(&url, &[])).await;
    assert!(
        none.chain()[0].contains("the server asks for a password, and no password is given"),
        "{:?}",
        none.chain()
    );
    let (missing, said) = refused(&right.with_database("nowhere")).await;
    assert!(missing.chain()[0].contains("database \"nowhere\" does not exist"), "{:?}", missing.chain());
    assert!(said.contains("--dbname"), "{said}");
    let (clear, said) = refused(&target(&url.replace("disable", "require"), &env)).await;
    assert!(clear.chain()[0].contains("does not offer TLS"), "{:?}", clear.chain());
    assert!(said.contains("clear text"), "{said}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_and_one_where_nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgresql://u@127.0.0.1:{port}/d?connect_timeout=1");
    let (silent, _) = refused(&target(&url, &[])).await;
    assert!(silent.chain()[0].contains("can't be reached: no answer within 1 s"), "{:?}", silent.chain());
    drop(listener);
    let (dead, said) = refused(&target(&url, &[])).await;
    assert!(dead.is_transient());
    assert_eq!(dead.to_string(), format!("connect to database d on 127.0.0.1:{port} as u"));
    assert!(dead.chain()[0].contains("can't be reached: Connection refused"), "{:?}", dead.chain());
    assert!(said.contains("check that the server runs"), "{said}");
    let remote = unreachable(&Target { host: "10.1.2.3".to_owned(), ..target(&url, &[]) }, "timed out");
    assert!(format!("{remote:?}").contains("the runner may be outside the VPC"), "{remote:?}");
}

/// A server that does TLS as PostgreSQL does (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>)
/// and then turns everybody away.
async fn shows_its_certificate(authority: &Authority) -> u16 {
    let day = time::Duration::days(1);
    let now = OffsetDateTime::now_utc();
    let acceptor = authority.acceptor("localhost", now - day, now + day).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(b"S").await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 1024]).await;
            let body = b"SFATAL\0C28000\0Mthe door is closed\0\0";
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            let _ = stream.write_all(&[b"E".as_slice(), &length, body].concat()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn certificates_are_verified_as_the_mode_says() {
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (folder.path().join("own.pem"), folder.path().join("other.pem"));
    std::fs::write(&own, authority.pem()).unwrap();
    std::fs::write(&other, stranger.pem()).unwrap();
    let port = shows_its_certificate(&authority).await;
    let reached = "the door is closed";
    let stranger_help = "give the authority that signed it with --ssl-root-cert";
    let table = [
        ("localhost", "verify-full", Some(&own), reached),
        ("127.0.0.1", "verify-full", Some(&own), "connect by a name that the certificate is for"),
        ("127.0.0.1", "verify-ca", Some(&own), reached),
        ("localhost", "verify-ca", Some(&other), stranger_help),
        ("localhost", "verify-full", Some(&other), stranger_help),
        ("localhost", "require", None, reached),
        ("localhost", "require", Some(&other), stranger_help),
        ("localhost", "prefer", None, reached),
    ];
    for (host, mode, roots, expected) in table {
        let roots = roots.map_or_else(String::new, |path| format!("&sslrootcert={}", path.display()));
        let url = format!("postgresql://u@{host}:{port}/d?hostaddr=127.0.0.1&sslmode={mode}{roots}");
        let (_, said) = refused(&target(&url, &[])).await;
        assert!(said.contains(expected), "{url}: {said}");
        assert_eq!(said.contains("certificate is refused"), expected != reached, "{url}: {said}");
    }
}
