//! The walk-through with async-nats: users, publish on one node and read on another, queue workers, headers,
//! large payloads, drain, TLS, reconnecting, a replicated stream with a pull consumer.
use async_nats::jetstream::{self, consumer::PullConsumer, stream};
use futures::StreamExt;
use std::time::Duration;

fn node(n: usize) -> String {
    format!("nats://{}", std::env::var(format!("NATS_{n}")).expect("NATS_n is set"))
}

fn user(name: &str, password: &str) -> async_nats::ConnectOptions {
    async_nats::ConnectOptions::with_user_and_password(name.into(), password.into())
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"))
}

async fn next(sub: &mut async_nats::Subscriber, what: &str) -> async_nats::Message {
    tokio::time::timeout(Duration::from_secs(10), sub.next()).await.expect(what).expect(what)
}

/// Queue workers answer on one node what is asked on another; nobody answers where nobody is.
async fn requests(here: &async_nats::Client, there: &async_nats::Client) -> Outcome {
    for _ in 0..2 {
        let mut work = there.queue_subscribe("rs.work", "workers".into()).await?;
        let worker = there.clone();
        tokio::spawn(async move {
            while let Some(m) = work.next().await {
                let answer = [b"did ", m.payload.as_ref()].concat();
                let _ = worker.publish(m.reply.expect("a reply subject"), answer.into()).await;
            }
        });
    }
    there.flush().await?;
    let mut reply = here.request("rs.work", "it".into()).await;
    for _ in 0..50 {
        if reply.is_ok() {
            break;
        }
        reply = here.request("rs.work", "it".into()).await; // interest is on its way
    }
    assert_eq!(reply?.payload, "did it");
    let nobody = here.request("nobody.there", "".into()).await.unwrap_err();
    assert_eq!(nobody.kind(), async_nats::client::RequestErrorKind::NoResponders);
    Ok(())
}

/// Headers, a large payload, and a drain that loses nothing.
async fn messaging(here: &async_nats::Client, there: &async_nats::Client) -> Outcome {
    let mut sub = there.subscribe("rm.*").await?;
    there.flush().await?;
    let mut ready = false;
    for _ in 0..100 {
        here.publish("rm.ping", "".into()).await?;
        here.flush().await?;
        if tokio::time::timeout(Duration::from_millis(100), sub.next()).await.is_ok() {
            ready = true;
            break;
        }
    }
    assert!(ready, "interest crosses");
    let mut headers = async_nats::HeaderMap::new();
    headers.append("Key", "one");
    headers.append("Key", "two");
    here.publish_with_headers("rm.headers", headers, "".into()).await?;
    here.publish("rm.big", vec![7u8; 1_000_000].into()).await?;
    for _ in 0..1000 {
        here.publish("rm.drain", "".into()).await?;
    }
    // A drain promises what the server has, and that is the other node: the last one has to be there.
    let mut last = there.subscribe("rm.last").await?;
    there.flush().await?;
    here.publish("rm.last", "".into()).await?;
    next(&mut last, "what was published last").await;
    let mut drained = 0;
    while drained < 1000 {
        let m = next(&mut sub, "what was published before the end").await;
        match m.subject.as_str() {
            "rm.headers" => {
                let headers = m.headers.expect("headers");
                let values: Vec<_> = headers.get_all("Key").map(|v| v.as_str().to_string()).collect();
                assert_eq!(values, ["one", "two"]);
            }
            "rm.big" => assert!(m.payload.len() == 1_000_000 && m.payload[999_999] == 7),
            "rm.drain" => {
                drained += 1;
                if drained == 1 {
                    sub.drain().await?; // what is under way still comes
                }
            }
            _ => {}
        }
    }
    Ok(())
}

async fn encryption() -> Outcome {
    let tls = || async_nats::ConnectOptions::new().require_tls(true).add_root_certificates(var("TLS_CA").into());
    tls().connect(format!("tls://{}", var("NATS_TLS"))).await?.flush().await?;
    assert!(tls().connect(format!("tls://{}", var("NATS_MTLS"))).await.is_err(), "no certificate");
    let nc = tls()
        .add_client_certificate(var("TLS_CERT").into(), var("TLS_KEY").into())
        .connect(format!("tls://{}", var("NATS_MTLS")))
        .await?;
    let mut sub = nc.subscribe("t").await?;
    nc.publish("t", vec![1u8; 500_000].into()).await?;
    assert_eq!(next(&mut sub, "a message over TLS").await.payload.len(), 500_000);
    Ok(())
}

async fn reconnection() -> Outcome {
    let (tell, mut told) = tokio::sync::mpsc::channel(16);
    let nc = async_nats::ConnectOptions::new()
        .reconnect_delay_callback(|_| Duration::from_millis(50))
        .event_callback(move |event| {
            let tell = tell.clone();
            async move {
                let _ = tell.try_send(event);
            }
        })
        .connect(var("NATS_RESTART"))
        .await?;
    let mut sub = nc.subscribe("again").await?;
    nc.flush().await?;
    let pid = std::fs::read_to_string(var("NATS_RESTART_PID"))?;
    assert!(std::process::Command::new("kill").args(["-9", pid.trim()]).status()?.success());
    let (mut lost, mut back) = (false, false);
    while !back {
        let event = tokio::time::timeout(Duration::from_secs(20), told.recv()).await?.expect("an event");
        lost = lost || matches!(event, async_nats::Event::Disconnected);
        back = lost && matches!(event, async_nats::Event::Connected);
    }
    nc.publish("again", "x".into()).await?;
    next(&mut sub, "a message after reconnecting").await;
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    let (tell, mut told) = tokio::sync::mpsc::channel::<String>(16);
    let service = user("im_service", "service").connect(node(1)).await?;
    let reader = user("im_readonly", "readonly")
        .event_callback(move |event| {
            let tell = tell.clone();
            async move {
                let _ = tell.try_send(event.to_string());
            }
        })
        .connect(node(2))
        .await?;

    let mut greetings = reader.subscribe("greet.*").await?;
    reader.flush().await?;
    let mut got = None;
    for _ in 0..50 {
        service.publish("greet.joe", "hello".into()).await?;
        if let Ok(m) = tokio::time::timeout(Duration::from_millis(100), greetings.next()).await {
            got = m;
            break;
        }
    }
    assert_eq!(got.expect("a greeting across nodes").payload, "hello");

    reader.publish("greet.joe", "no".into()).await?;
    tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(event) = told.recv().await {
            if event.contains("Permissions Violation for Publish to \"greet.joe\"")
                || event.to_lowercase().contains("permissions violation for publish")
            {
                return;
            }
        }
    })
    .await
    .expect("the read-only user is told that it may not publish");

    let wrong = user("im_service", "wrong").connect(node(1)).await;
    assert!(wrong.is_err(), "a wrong password");
    let third = user("im_service", "service").connect(node(3)).await?;
    requests(&service, &third).await?;
    messaging(&service, &third).await?;
    encryption().await?;
    reconnection().await?;

    let js = jetstream::new(service.clone());
    let created = js
        .create_stream(stream::Config {
            name: "EVENTS".into(),
            subjects: vec!["events.>".into()],
            max_messages: 1000,
            max_bytes: 1 << 20,
            num_replicas: 3,
            ..Default::default()
        })
        .await?;
    for i in 0..50u64 {
        let ack = js.publish("events.rust", i.to_string().into()).await?.await?;
        assert_eq!(ack.sequence, i + 1);
    }
    let consumer: PullConsumer = created
        .create_consumer(jetstream::consumer::pull::Config {
            durable_name: Some("worker".into()),
            ..Default::default()
        })
        .await?;
    let mut seen = 0u64;
    while seen < 50 {
        let mut batch = consumer.fetch().max_messages(20).messages().await?;
        while let Some(m) = batch.next().await {
            let m = m?;
            assert_eq!(m.payload, seen.to_string());
            m.double_ack().await?;
            seen += 1;
        }
    }
    js.delete_stream("EVENTS").await?;
    println!("async-nats: ok");
    Ok(())
}
