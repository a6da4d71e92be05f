//! Keys that are to be gone from a real Redis server.

use std::time::{Duration, Instant};

use testkit::redis::{Options, Redis, installation};
use testkit::tls::Authority;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};

use super::{Going, Web, command, wait};
use crate::world::Ran;

async fn start(settings: &[(&str, &str)]) -> Option<Redis> {
    if installation().is_none() {
        testkit::inputs::skipped("there is no Redis server on this machine (make setup)");
        return None;
    }
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Some(Redis::start(Options { settings }).await.unwrap())
}

async fn look(redis: &Redis, keys: &str) -> Ran {
    let keys = format!("{}{keys}", redis.url());
    wait(&["--once", "--redis-empty", &keys], &[("REDISCLI_AUTH", &redis.password)]).await
}

#[tokio::test]
async fn it_waits_until_three_scans_in_a_row_find_none() {
    let Some(redis) = start(&[]).await else { return };
    redis.send(&["SET WRITE-CUBOID&1 secret-value", "SET write-cuboid&2 x", "SET CACHED&1 x"]).await.unwrap();
    let keys = format!("{}=WRITE-CUBOID*", redis.url());
    let args = ["--redis-empty", &keys, "--interval", "50ms", "--format", "json"];
    let mut going = Going::start(command(&args, &[("REDISCLI_AUTH", &redis.password)]));
    going.says("1 key of database 0 fits WRITE-CUBOID*, such as WRITE-CUBOID&1").await;
    redis.send(&["DEL WRITE-CUBOID&1"]).await.unwrap();
    going.says("as wanted 2 of 3 times in a row").await;
    let seen = Instant::now();
    let (code, stdout) = going.end().await;
    assert!(seen.elapsed() < Duration::from_secs(2), "{:?} from the last look but one", seen.elapsed());
    assert_eq!(code, 0, "{stdout}");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["probes"][0]["in-a-row"], 3);
    assert_eq!(json["probes"][0]["seen"], "none of the 2 keys of database 0 fits WRITE-CUBOID*");
    assert!(!stdout.contains("secret-value") && !stdout.contains(&redis.password));
}

#[tokio::test]
async fn one_key_among_many_thousands_is_found() {
    let Some(redis) = start(&[]).await else { return };
    let sets: Vec<String> = (0..30)
        .map(|part| (0..1000).fold("MSET".to_owned(), |line, n| format!("{line} other&{part}&{n} x")))
        .collect();
    redis.send(&sets.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    look(&redis, "=WRITE-CUBOID*").await.expect(0);
    redis.send(&["SET WRITE-CUBOID&7 x"]).await.unwrap();
    look(&redis, "=WRITE-CUBOID*").await.expect(1).says(&["such as WRITE-CUBOID&7"]);
    look(&redis, "=other*").await.expect(1).says(&["10000 or more keys"]);
    // No part of the server's log of slow commands is from a command that stops others.
    let stats = redis.send(&["INFO commandstats"]).await.unwrap();
    assert!(stats.contains("cmdstat_scan:") && !stats.contains("cmdstat_keys:"), "{stats}");
}

#[tokio::test]
async fn each_database_has_keys_of_its_own() {
    let Some(redis) = start(&[]).await else { return };
    redis.send(&["SELECT 3", "SET WRITE-CUBOID&1 x"]).await.unwrap();
    let ran = look(&redis, "=WRITE-CUBOID*").await.expect(0);
    assert!(ran.stdout.contains("database 0 has no keys at all (database 3 has 1)"), "{}", ran.stdout);
    look(&redis, "/3=WRITE-CUBOID*").await.expect(1).says(&["1 key of database 3"]);
    look(&redis, "/99=a*").await.expect(3).says(&["DB index is out of range", "after the last slash"]);
}

#[tokio::test]
async fn a_replica_and_a_node_of_a_cluster_are_not_taken_for_empty() {
    let Some(primary) = start(&[]).await else { return };
    let port = primary.port.to_string();
    let of = [("replicaof", format!("127.0.0.1 {port}")), ("masterauth", primary.password.clone())];
    let of: Vec<(&str, &str)> = of.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let replica = start(&of).await.unwrap();
    look(&replica, "=WRITE-CUBOID*")
        .await
        .expect(3)
        .says(&["it is a replica", &format!("name the primary: it says that this is 127.0.0.1:{port}")]);
    let node = start(&[("cluster-enabled", "yes")]).await.unwrap();
    look(&node, "=WRITE-CUBOID*")
        .await
        .expect(3)
        .says(&["it is one node of a cluster", "nothing was changed"]);
}

#[tokio::test]
async fn who_may_not_look_is_told_what_to_do() {
    let Some(redis) = start(&[]).await else { return };
    let keys = format!("{}=a*", redis.url());
    let args = ["--once", "--redis-empty", &keys];
    wait(&args, &[]).await.expect(3).says(&["NOAUTH", "environment variable REDISCLI_AUTH"]);
    let wrong = wait(&args, &[("REDISCLI_AUTH", "hunter22")])
        .await
        .expect(3)
        .says(&["WRONGPASS", "correct REDISCLI_AUTH"]);
    assert!(!wrong.stderr.contains("hunter22"));
    redis.send(&["ACL SETUSER drain on >sesame-4711 +info +select"]).await.unwrap();
    let keys = format!("redis://drain@127.0.0.1:{}=a*", redis.port);
    let args = ["--once", "--redis-empty", &keys];
    let sesame = [("REDISCLI_AUTH", "sesame-4711")];
    wait(&args, &sesame).await.expect(3).says(&["NOPERM", "+info +select +scan"]);
    redis.send(&["ACL SETUSER drain +scan"]).await.unwrap();
    wait(&args, &sesame).await.expect(0);
}

#[tokio::test]
async fn a_server_that_was_started_anew_while_it_waited_is_told() {
    let Some(redis) = start(&[]).await else { return };
    redis.send(&["SET WRITE-CUBOID&1 x"]).await.unwrap();
    // Before the server, so that its place can be taken by another one.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = format!("redis://{}=WRITE-CUBOID*", listener.local_addr().unwrap());
    let other = Redis::start(Options { settings: vec![("requirepass".into(), redis.password.clone())] })
        .await
        .unwrap();
    let (first, then) = (redis.port, other.port);
    let (switch, switched) = tokio::sync::watch::channel(first);
    let proxy = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let port = *switched.borrow();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let args = ["--redis-empty", &keys, "--interval", "50ms"];
    let mut going = Going::start(command(&args, &[("REDISCLI_AUTH", &redis.password)]));
    going.says("1 key of database 0 fits").await;
    switch.send(then).unwrap();
    going.says("warning: ").await;
    going.says("the server was started anew since the last look").await;
    assert_eq!(going.end().await.0, 0);
    proxy.abort();
}

#[tokio::test]
async fn over_tls_the_certificate_is_checked() {
    let Some(redis) = start(&[]).await else { return };
    let authority = Authority::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let time = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    let acceptor = authority.acceptor("localhost", time(1_000_000_000), time(4_000_000_000)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().port();
    let port = redis.port;
    let proxy = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let env = [("REDISCLI_AUTH", redis.password.as_str())];
    let keys = format!("rediss://localhost:{place}=a*");
    let ca = ["--ca-file", ca.to_str().unwrap()];
    let args = ["--once", "--redis-empty", &keys];
    wait(&[&args[..], &ca].concat(), &env).await.expect(0);
    wait(&args, &env).await.expect(1).says(&["certificate's issuer is not trusted"]);
    let other = format!("rediss://127.0.0.1:{place}=a*");
    let args = ["--once", "--redis-empty", &other];
    wait(&[&args[..], &ca].concat(), &env).await.expect(1).says(&["not for 127.0.0.1"]);
    let plain = format!("redis://localhost:{place}=a*");
    wait(&["--once", "--redis-empty", &plain], &env).await.expect(1).says(&["write rediss:// then"]);
    proxy.abort();
}

#[tokio::test]
async fn beside_an_endpoint_the_worst_is_the_outcome() {
    let Some(redis) = start(&[("cluster-enabled", "yes")]).await else { return };
    let web = Web::start("200 OK", "").await;
    let keys = format!("{}=a*", redis.url());
    let args = ["--url", &web.url, "--redis-empty", &keys];
    let ran = wait(&args, &[("REDISCLI_AUTH", &redis.password)]).await.expect(3);
    assert!(ran.stdout.contains(&format!("healthy   {}", web.url)), "{}", ran.stdout);
    assert!(ran.stdout.contains("not yet   keys a* in database 0"), "{}", ran.stdout);
}
