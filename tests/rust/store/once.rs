//! What may be used once, on whatever instance.

use std::sync::Arc;
use std::time::Duration;

use bartizan::clock::ManualClock;
use bartizan::error::Kind;
use bartizan::json::Digest;
use bartizan::state::Once;
use bartizan::state::shared::Dated;

use super::server::{Server, instance, opened, until};

const TTL: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn of_many_on_two_instances_one_is_the_first() {
    let Some(server) = Server::start(&[]) else { return };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let instances =
        [instance(&server.config(), one.path()).await, instance(&server.config(), two.path()).await];
    for round in 0..20u8 {
        let id = Digest::of(&[round]);
        let tasks: Vec<_> = (0..50)
            .map(|number| {
                let shared = Arc::clone(&instances[number % 2]);
                tokio::spawn(async move { shared.first("proof", &id, None, TTL).await.unwrap() })
            })
            .collect();
        let mut firsts = 0;
        for task in tasks {
            firsts += u32::from(task.await.unwrap());
        }
        assert_eq!(firsts, 1);
        assert!(instances[0].first("another", &id, None, TTL).await.unwrap(), "namespaces are apart");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_before_the_store_forgot_stays_refused_until_it_has_ended() {
    let Some(mut server) = Server::start(&["--save", "1 1"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_secs(1_700_000_000));
    let wall = || bartizan::clock::Clock::wall(&*clock);
    let shared = opened(&server.config(), folder.path(), None, clock.clone()).await.unwrap();
    let mut made = wall();
    let mut forget: Vec<Box<dyn FnMut(&mut Server)>> = vec![
        Box::new(|server| drop(server.tell(&["FLUSHALL"]))),
        // a server that is started again with an old copy of what it knew
        Box::new(|server| {
            server.tell(&["SAVE"]);
            server.kill();
            server.run();
        }),
    ];
    for (round, forget) in forget.iter_mut().enumerate() {
        let used = Digest::of(format!("used {round}").as_bytes());
        assert!(shared.first("state", &used, Some(made), TTL).await.unwrap());
        assert!(!shared.first("state", &used, Some(made), TTL).await.unwrap());
        forget(&mut server);
        until("it can be asked again", || async {
            shared
                .first("probe", &used, Some(made), TTL)
                .await
                .is_err_and(|error| error.message().contains("begin anew"))
        })
        .await;
        for made in [Some(made), None] {
            let refused = shared.first("state", &used, made, TTL).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::RateLimited);
            assert!(refused.retry_after().unwrap() <= TTL + Duration::from_secs(10));
        }
        clock.advance(Duration::from_secs(10));
        made = wall();
        let fresh = Digest::of(format!("fresh {round}").as_bytes());
        assert!(shared.first("state", &fresh, Some(made), TTL).await.unwrap(), "what is made later is new");
        assert!(!shared.first("state", &fresh, Some(made), TTL).await.unwrap());
        clock.advance(TTL + Duration::from_secs(10));
        made = wall();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dated_ahead_and_was_used_before_the_store_forgot_stays_refused() {
    let Some(server) = Server::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_secs(1_700_000_000));
    let shared = opened(&server.config(), folder.path(), None, clock.clone()).await.unwrap();
    let ahead = Duration::from_mins(1);
    let once = Dated::new(shared, ahead);
    let (made, id) = (bartizan::clock::Clock::wall(&*clock) + ahead, Digest::of(b"ahead"));
    assert!(once.first("dpop", &id, Some(made), TTL).await.unwrap());
    server.tell(&["FLUSHALL"]);
    // whenever it is shown again, as long as it is accepted
    until("it has forgotten", || async { once.first("dpop", &id, Some(made), TTL).await.is_err() }).await;
    for _ in 0..8 {
        clock.advance(Duration::from_secs(40));
        assert!(once.first("dpop", &id, Some(made), TTL).await.is_err());
    }
    let fresh = bartizan::clock::Clock::wall(&*clock);
    assert!(once.first("dpop", &Digest::of(b"fresh"), Some(fresh), TTL).await.unwrap());
}
