//! Streams: order, ends, cancelling, and slow readers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use skerry_ipc::{Auth, CallError, RefusalClass, Request, StreamItem};

use crate::support::{connect, eventually, get, lines, serve};

#[tokio::test]
async fn every_item_arrives_once_and_in_order_and_then_the_end() {
    let served = serve();
    let client = connect(&served.path).await;
    let stream = client.open(Auth::Peer, lines(Some(1000), "")).await.unwrap();
    let items: Vec<_> = stream.map(Result::unwrap).collect().await;
    let expected: Vec<_> = (0..1000).map(|n| StreamItem::Line(n.to_string())).collect();
    assert_eq!(items, expected);
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_the_reason() {
    let served = serve();
    let client = connect(&served.path).await;
    let mut stream = client.open(Auth::Peer, Request::Graph).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, CallError::Refused(r) if r.class == RefusalClass::Gone), "{error}");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_panics_ends_with_a_refusal_and_the_connection_lives() {
    let served = serve();
    let client = connect(&served.path).await;
    let mut stream = client.open(Auth::Peer, Request::WhoAmI).await.unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, CallError::Refused(r) if r.class == RefusalClass::Internal),
        "{error}"
    );
    assert!(client.call(Auth::Peer, get("after")).await.is_ok());
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_source_and_nothing_else() {
    let served = serve();
    let client = connect(&served.path).await;
    let mut stream = client.open(Auth::Peer, lines(None, "")).await.unwrap();
    let made = || served.counts.made.load(Ordering::SeqCst);
    eventually("the window is used", || made() >= 32).await;
    // Other requests go on, and the source makes no more than there is room for.
    for _ in 0..20 {
        assert!(client.call(Auth::Peer, get("aside")).await.is_ok());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(made() <= 33, "{}", made());
    for n in 0..500 {
        assert_eq!(stream.next().await.unwrap().unwrap(), StreamItem::Line(n.to_string()));
    }
    assert!(made() <= 500 + 33, "{}", made());
}

#[tokio::test]
async fn dropping_a_stream_ends_its_source() {
    let served = serve();
    let client = connect(&served.path).await;
    let mut stream = client.open(Auth::Peer, lines(None, "")).await.unwrap();
    assert!(stream.next().await.is_some());
    drop(stream);
    let counts = Arc::clone(&served.counts);
    eventually("the source is dropped", || counts.streams_dropped.load(Ordering::SeqCst) == 1)
        .await;
    assert!(client.call(Auth::Peer, get("after")).await.is_ok());
}

#[tokio::test]
async fn many_streams_share_a_connection_fairly() {
    let served = serve();
    let client = connect(&served.path).await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(client.open(Auth::Peer, lines(None, &"p".repeat(10_000))).await.unwrap());
    }
    let read = client.open(Auth::Peer, lines(Some(300), "")).await.unwrap();
    let count = tokio::time::timeout(Duration::from_secs(20), read.count()).await;
    assert_eq!(count.expect("unread streams held up another one"), 300);
}

#[tokio::test]
async fn an_item_that_is_too_large_ends_the_stream_with_the_reason() {
    let served = serve();
    let client = connect(&served.path).await;
    let pad = "p".repeat(2 * 1024 * 1024);
    let mut stream = client.open(Auth::Peer, lines(None, &pad)).await.unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, CallError::Refused(r) if r.class == RefusalClass::TooLarge),
        "{error}"
    );
}

#[tokio::test]
async fn a_stream_and_an_answer_are_not_mistaken_for_each_other() {
    let served = serve();
    let client = connect(&served.path).await;
    let error = client.call(Auth::Peer, lines(None, "")).await.unwrap_err();
    assert!(matches!(error, CallError::Mismatch { .. }), "{error}");
    let counts = Arc::clone(&served.counts);
    eventually("the source is dropped", || counts.streams_dropped.load(Ordering::SeqCst) == 1)
        .await;
    let error = client.open(Auth::Peer, get("x")).await.err().unwrap();
    assert!(matches!(error, CallError::Mismatch { .. }), "{error}");
}

#[tokio::test]
async fn when_the_server_ends_streams_end() {
    let served = serve();
    let client = connect(&served.path).await;
    let mut stream = client.open(Auth::Peer, lines(None, "")).await.unwrap();
    assert!(stream.next().await.is_some());
    served.cancel.cancel();
    let rest = tokio::time::timeout(Duration::from_secs(10), stream.collect::<Vec<_>>()).await;
    let rest = rest.expect("the stream went on");
    assert!(rest.len() < 200);
    let last = rest.last().unwrap().as_ref().unwrap_err();
    assert!(
        matches!(last, CallError::Refused(r) if r.class == RefusalClass::Unavailable),
        "{last}"
    );
    served.task.await.unwrap();
}
