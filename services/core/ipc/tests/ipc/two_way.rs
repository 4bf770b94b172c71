//! Two-way streams: both directions, their windows, their ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use skerry_ipc::{
    Auth, CallError, Channel, Input, MAX_INPUT_BYTES, RefusalClass, StreamItem, TerminalSize,
};

use crate::support::{connect, eventually, exec, get, lines, serve};

fn output(bytes: &[u8]) -> StreamItem {
    StreamItem::Output { channel: Channel::Out, bytes: bytes.to_vec() }
}

#[tokio::test]
async fn what_is_said_is_answered_and_the_exit_is_the_end() {
    let served = serve();
    let client = connect(&served.path).await;
    let (input, mut items) = client.open_two_way(Auth::Peer, exec("echo")).await.unwrap();
    input.send(Input::Bytes(b"hello\xff".to_vec())).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), output(b"hello\xff"));
    input.send(Input::Resize(TerminalSize { cols: 80, rows: 24 })).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), StreamItem::Line("80x24".to_owned()));
    input.send(Input::End).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), StreamItem::Exit(7));
    assert!(items.next().await.is_none());
    let error = input.send(Input::End).await.unwrap_err();
    assert!(matches!(error, CallError::Disconnected), "{error}");
}

#[tokio::test]
async fn much_goes_both_ways_in_order_and_long_bytes_are_cut() {
    let served = serve();
    let client = connect(&served.path).await;
    let (input, items) = client.open_two_way(Auth::Peer, exec("echo")).await.unwrap();
    let whole: Vec<u8> = (0..=250).cycle().take(MAX_INPUT_BYTES * 200 + 5).collect();
    let sent = whole.clone();
    let sending = tokio::spawn(async move {
        input.send(Input::Bytes(sent)).await.unwrap();
        input.send(Input::End).await.unwrap();
    });
    let mut got = Vec::new();
    let mut items = items;
    while let Some(Ok(StreamItem::Output { bytes, .. })) = items.next().await {
        assert!(bytes.len() <= MAX_INPUT_BYTES);
        got.extend(bytes);
    }
    sending.await.unwrap();
    assert!(got == whole, "{} of {} bytes came back", got.len(), whole.len());
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_up_its_own_user_and_nobody_else() {
    let served = serve();
    let client = connect(&served.path).await;
    let (input, _items) = client.open_two_way(Auth::Peer, exec("deaf")).await.unwrap();
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(200), input.send(Input::End)).await.is_ok() {
        sent += 1;
        assert!(sent < 200, "there is no window");
    }
    // The window, and what is on its way to the program.
    assert!((32..=64).contains(&sent), "{sent}");
    assert!(client.call(Auth::Peer, get("aside")).await.is_ok());
}

#[tokio::test]
async fn a_user_that_does_not_read_stops_the_program() {
    let served = serve();
    let client = connect(&served.path).await;
    let (input, mut items) = client.open_two_way(Auth::Peer, exec("echo")).await.unwrap();
    let sending = tokio::spawn(async move {
        for n in 0..1000_u32 {
            input.send(Input::Bytes(n.to_be_bytes().to_vec())).await.unwrap();
        }
        input
    });
    let taken = || served.counts.taken.load(Ordering::SeqCst);
    eventually("the window is used", || taken() >= 32).await;
    for _ in 0..20 {
        assert!(client.call(Auth::Peer, get("aside")).await.is_ok());
    }
    assert!(taken() <= 34, "{}", taken());
    for n in 0..1000_u32 {
        assert_eq!(items.next().await.unwrap().unwrap(), output(&n.to_be_bytes()));
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_closed_input_swallows_what_comes_and_the_stream_goes_on() {
    let served = serve();
    let client = connect(&served.path).await;
    let (input, mut items) = client.open_two_way(Auth::Peer, exec("gone")).await.unwrap();
    assert!(items.next().await.unwrap().is_ok());
    for _ in 0..200 {
        let sent = tokio::time::timeout(Duration::from_secs(10), input.send(Input::End)).await;
        sent.expect("no room was made").unwrap();
    }
    assert!(client.call(Auth::Peer, get("after")).await.is_ok());
}

#[tokio::test]
async fn dropping_the_items_ends_the_program() {
    let served = serve();
    let client = connect(&served.path).await;
    let (input, items) = client.open_two_way(Auth::Peer, exec("echo")).await.unwrap();
    drop(items);
    let counts = Arc::clone(&served.counts);
    eventually("the source is dropped", || counts.streams_dropped.load(Ordering::SeqCst) == 1)
        .await;
    let error = input.send(Input::End).await.unwrap_err();
    assert!(matches!(error, CallError::Disconnected), "{error}");
}

#[tokio::test]
async fn a_user_who_waits_for_room_hears_that_the_connection_is_gone() {
    let served = serve();
    let client = connect(&served.path).await;
    let (input, items) = client.open_two_way(Auth::Peer, exec("deaf")).await.unwrap();
    let waiting = tokio::spawn(async move { while input.send(Input::End).await.is_ok() {} });
    served.cancel.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    ended.expect("it waits for ever").unwrap();
    let last = items.collect::<Vec<_>>().await.pop().unwrap().unwrap_err();
    assert!(
        matches!(&last, CallError::Refused(r) if r.class == RefusalClass::Unavailable),
        "{last}"
    );
}

#[tokio::test]
async fn two_way_streams_streams_and_answers_are_told_apart() {
    let served = serve();
    let client = connect(&served.path).await;
    for (key, found) in [("answer", "an answer"), ("stream", "a stream")] {
        let error = client.open_two_way(Auth::Peer, exec(key)).await.err().unwrap();
        let CallError::Mismatch { found: this, .. } = error else { panic!("{error}") };
        assert_eq!(this, found);
    }
    let error = client.open_two_way(Auth::Peer, lines(None, "")).await.err().unwrap();
    assert!(matches!(error, CallError::Mismatch { .. }), "{error}");
    let error = client.open(Auth::Peer, exec("echo")).await.err().unwrap();
    assert!(matches!(error, CallError::Mismatch { .. }), "{error}");
    assert!(client.call(Auth::Peer, get("after")).await.is_ok());
}
