//! Guests that ask with curl, through the node's bridge and packet rules: each gets its own data, and nobody else any.

// In a test a failure to prepare the ground is a failed test, wherever it happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod ground;

use std::time::Duration;

use ground::{answer_guests, ask, daemon, dress, eventually, hold, isolated, node, run, url};
use skerry_metad::Limits;
use tokio_util::sync::CancellationToken;

const SOCKET: &str = "/run/noded.sock";
const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds: 60";

async fn serve(limits: Limits) -> CancellationToken {
    node().await;
    let stop = CancellationToken::new();
    daemon(SOCKET.as_ref(), stop.clone());
    answer_guests(SOCKET.as_ref(), limits);
    stop
}

async fn secret(name: &str) -> Option<String> {
    let (status, text) = ask(name, &[&url("/latest/user-data")]).await;
    assert!(status == 200 || text.is_empty(), "{name}: {status} {text}");
    (status == 200).then_some(text)
}

fn own(name: &str) -> Option<String> {
    Some(format!("#!/bin/sh\necho secret of {name}\n"))
}

#[test]
fn each_guest_gets_its_own_data_and_nobody_else_gets_any() {
    isolated(|| async {
        let _stop = serve(Limits::default()).await;
        assert_eq!(secret("ada").await, own("ada"));
        assert_eq!(secret("bob").await, own("bob"));
        assert_eq!(secret("pod").await, None, "a container is no guest");
        assert_eq!(secret("outside").await, None);
        // Bob tries to be Ada, and Ada goes on.
        dress("bob", 2).await;
        assert_eq!(secret("bob").await, None);
        assert_eq!(secret("ada").await, own("ada"));
        dress("bob", 3).await;
        assert_eq!(secret("bob").await, own("bob"));
    });
}

#[test]
fn an_answer_goes_no_further_than_to_the_guest_itself() {
    isolated(|| async {
        let _stop = serve(Limits::default()).await;
        // A container in the guest, which the guest hides behind its own address.
        run("ip netns add inner").await;
        run("ip -n ada link add in0 type veth peer name eth0 netns inner").await;
        run("ip -n ada address add 172.30.0.1/24 dev in0").await;
        run("ip -n ada link set in0 up").await;
        run("ip -n inner address add 172.30.0.2/24 dev eth0").await;
        run("ip -n inner link set eth0 up").await;
        run("ip -n inner route add default via 172.30.0.1").await;
        run("ip netns exec ada busybox sysctl -w net.ipv4.ip_forward=1").await;
        run("ip netns exec ada nft add table ip hide").await;
        run("ip netns exec ada nft add chain ip hide out { type nat hook postrouting priority 100 ; }")
            .await;
        run("ip netns exec ada nft add rule ip hide out oifname eth0 masquerade").await;
        assert_eq!(secret("inner").await, None);
        assert_eq!(secret("ada").await, own("ada"));
    });
}

#[test]
fn it_speaks_as_clouds_do() {
    isolated(|| async {
        let _stop = serve(Limits::default()).await;
        let token = url("/latest/api/token");
        let (status, token) = ask("ada", &["-X", "PUT", "-H", TTL, &token]).await;
        assert_eq!(status, 200);
        let token = format!("X-aws-ec2-metadata-token: {token}");
        let data = url("/latest/user-data");
        assert_eq!(ask("ada", &["-H", &token, &data]).await.0, 200);
        assert_eq!(ask("bob", &["-H", &token, &data]).await.0, 401, "it is Ada's");
        assert_eq!(ask("ada", &[&url("/")]).await.1, "2009-04-04\nlatest");
        assert_eq!(ask("ada", &[&url("/2009-04-04/meta-data/")]).await.1, "hostname");
        assert_eq!(ask("ada", &["--head", &data]).await.0, 200);

        let token = url("/latest/api/token");
        assert_eq!(ask("ada", &["-X", "PUT", &token]).await.0, 400);
        let forwarded = ["-X", "PUT", "-H", TTL, "-H", "X-Forwarded-For: 1.2.3.4", &token];
        assert_eq!(ask("ada", &forwarded).await.0, 403);
        assert_eq!(ask("ada", &["-H", "Host: evil.example", &data]).await.0, 421);
        assert_eq!(ask("ada", &["-d", "x=y", &data]).await.0, 413);
        assert_eq!(ask("ada", &["-X", "DELETE", &data]).await.0, 405);
        assert_eq!(ask("ada", &[&url("/latest/meta-data/../user-data")]).await.0, 404);
        let long = format!("X-Long: {}", "x".repeat(20_000));
        assert_eq!(ask("ada", &["-H", &long, &data]).await.0, 431);
        assert_eq!(ask("ada", &[&url(&format!("/{}", "x".repeat(7000)))]).await.0, 404);
    });
}

#[test]
fn one_guest_cannot_use_up_what_others_need() {
    isolated(|| async {
        let limits = Limits { burst: 20, per_second: 1, connections: 12, ..Limits::default() };
        let limits = Limits { head: Duration::from_secs(2), ..limits };
        let _stop = serve(limits).await;
        let many = url("/latest/meta-data/hostname?[1-60]");
        let (_, text) = ask("ada", &[&many]).await;
        let answered = text.matches("ada").count();
        assert!((20..30).contains(&answered), "{answered} of 60 were answered");
        assert!(text.contains("too many questions"), "{text}");
        assert_eq!(secret("bob").await, own("bob"));

        let held = hold("ada", 40).await;
        assert_eq!(secret("bob").await, own("bob"), "there is room left for others");
        eventually("a silent connection is ended", || async {
            held.iter().all(|stream| {
                stream.set_nonblocking(true).unwrap();
                // Closed by the other side: neither silence nor bytes.
                matches!(std::io::Read::read(&mut &*stream, &mut [0; 512]), Ok(0) | Err(_))
                    && stream.peek(&mut [0]).map_or_else(
                        |error| error.kind() != std::io::ErrorKind::WouldBlock,
                        |count| count == 0,
                    )
            })
        })
        .await;
    });
}

#[test]
fn without_the_node_daemon_a_guest_is_told_to_ask_again_and_then_gets_its_data() {
    isolated(|| async {
        let stop = serve(Limits::default()).await;
        assert_eq!(secret("ada").await, own("ada"));
        stop.cancel();
        eventually("nothing can be said", || async {
            ask("ada", &[&url("/latest/user-data")]).await.0 == 503
        })
        .await;
        daemon(SOCKET.as_ref(), CancellationToken::new());
        eventually("it is there again", || async { secret("ada").await == own("ada") }).await;
    });
}
