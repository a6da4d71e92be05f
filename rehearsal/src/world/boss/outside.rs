//! What is around `BossDB`'s stacks: people who come by a public name, a redis with what they have written, and a mailing list.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::routing::get;
use reqwest::Method;
use serde_json::json;
use testkit::emulator::Emulator;
use testkit::redis::{self, Redis};
use testkit::same_port;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::stacks::texts;
use crate::world::traffic::{Entry, Traffic, Wanted};

const NAME: &str = "api.theboss.io";
const ZONE: &str = "theboss.io";
/// The heading of the project's own page (runbook step B5).
const TEXT: &str = "Down for Maintenance";
const LIST: &str = "ProductionMicronsMailingList";
/// Whose address stays on the list; the second one's is silenced.
pub(super) const OPERATOR: &str = "operator@example.org";
const OTHERS: [&str; 2] = ["team@example.org", "oncall@example.org"];
/// As spdb names a cuboid that is still to be written to S3.
const CUBOID: &str = "WRITE-CUBOID&1&1&1&0&12";
const EVERY: Duration = Duration::from_millis(500);

/// All of it; ends with this value.
pub(super) struct Outside {
    pub(super) entry: Entry,
    pub(super) topic: String,
    /// `None` where this machine has no redis.
    pub(super) redis: Option<Access>,
    _traffic: Traffic,
    _running: JoinSet<()>,
}

pub(super) struct Access {
    pub(super) url: String,
    pub(super) password: String,
}

impl Outside {
    /// `balancer` is the host name to which the stacks lead the public name.
    pub(super) async fn start(emulator: &Arc<Emulator>, balancer: &str, port: u16) -> io::Result<Self> {
        let mut running = JoinSet::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, same_port(port).await?)).await?;
        let port = listener.local_addr()?.port();
        let service = axum::Router::new().route("/ping/", get(async || Json(json!({ "ping": "pong" }))));
        running.spawn(async move {
            // It ends with the world.
            let _ = axum::serve(listener, service).await;
        });
        let page = distribution(emulator).await?;
        let wanted = Wanted { zone: ZONE, name: NAME, live: balancer, page: &page, text: TEXT, port };
        let traffic = Traffic::start(emulator, &wanted).await?;
        let entry = traffic.entry.clone();
        let mut access = None;
        if redis::installation().is_some() {
            let redis = Redis::start(redis::Options::default()).await?;
            access = Some(Access { url: format!("{}/0", redis.url()), password: redis.password.clone() });
            running.spawn(people(entry.clone(), redis));
        }
        Ok(Self { entry, topic: list(emulator).await?, redis: access, _traffic: traffic, _running: running })
    }
}

/// They write as long as they get to the service; what they have written goes to S3 by and by.
async fn people(entry: Entry, redis: Redis) {
    let mut waiting = 0_u32;
    loop {
        let commands: Vec<String> = if entry.seen("/ping/").await.contains(TEXT) {
            waiting = waiting.saturating_sub(1);
            vec![format!("DEL {CUBOID}&{waiting}")]
        } else {
            waiting = 5;
            (0..waiting).map(|n| format!("SET {CUBOID}&{n} 1")).collect()
        };
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        // A redis that is not there is what the release has to notice.
        let _ = redis.send(&commands).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// The domain name of the distribution with the page.
async fn distribution(emulator: &Emulator) -> io::Result<String> {
    const PATH: &str = "/2020-05-31/distribution";
    let call = async |method: Method, body: String| {
        let (status, answer) = emulator.rest("cloudfront", method, PATH, body.into_bytes()).await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        if (200..300).contains(&status) { Ok(text) } else { Err(io::Error::other(text)) }
    };
    let domain =
        |answer: &str| texts(answer, "DomainName").into_iter().find(|name| name.ends_with(".cloudfront.net"));
    let listed = call(Method::GET, String::new()).await?;
    if let Some(there) = domain(&listed).filter(|_| texts(&listed, "CNAME").iter().any(|name| name == NAME)) {
        return Ok(there);
    }
    let body = format!(
        "<DistributionConfig xmlns=\"http://cloudfront.amazonaws.com/doc/2020-05-31/\"><CallerReference>page</CallerReference>\
         <Aliases><Quantity>1</Quantity><Items><CNAME>{NAME}</CNAME></Items></Aliases><Comment></Comment><Enabled>true</Enabled>\
         <Origins><Quantity>1</Quantity><Items><Origin><Id>page</Id><DomainName>maintenance.theboss.io.s3.amazonaws.com</DomainName>\
         </Origin></Items></Origins><DefaultCacheBehavior><TargetOriginId>page</TargetOriginId>\
         <ViewerProtocolPolicy>allow-all</ViewerProtocolPolicy></DefaultCacheBehavior></DistributionConfig>"
    );
    let made = call(Method::POST, body).await?;
    domain(&made).ok_or_else(|| io::Error::other(format!("no domain name in {made}")))
}

/// The ARN of the mailing list's topic, with its subscribers.
async fn list(emulator: &Emulator) -> io::Result<String> {
    let call = async |form: &[(&str, &str)]| {
        let form = [form, &[("Version", "2010-03-31")]].concat();
        let (status, answer) = emulator.query("sns", &form).await?;
        if status == 200 { Ok(answer) } else { Err(io::Error::other(answer)) }
    };
    let made = call(&[("Action", "CreateTopic"), ("Name", LIST)]).await?;
    let topic = texts(&made, "TopicArn").into_iter().next();
    let topic = topic.ok_or_else(|| io::Error::other(format!("no topic in {made}")))?;
    let there = call(&[("Action", "ListSubscriptionsByTopic"), ("TopicArn", &topic)]).await?;
    let there = texts(&there, "Endpoint");
    for address in
        OTHERS.into_iter().chain([OPERATOR]).filter(|address| !there.iter().any(|one| one == address))
    {
        let form =
            [("Action", "Subscribe"), ("TopicArn", &topic), ("Protocol", "email"), ("Endpoint", address)];
        call(&form).await?;
    }
    Ok(topic)
}
