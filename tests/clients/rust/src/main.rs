//! The walk-through with async-nats: users, publish on one node and read on another, a replicated
//! stream with a pull consumer.
use async_nats::jetstream::{self, consumer::PullConsumer, stream};
use futures::StreamExt;
use std::time::Duration;

fn node(n: usize) -> String {
    format!("nats://{}", std::env::var(format!("NATS_{n}")).expect("NATS_n is set"))
}

fn user(name: &str, password: &str) -> async_nats::ConnectOptions {
    async_nats::ConnectOptions::with_user_and_password(name.into(), password.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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
